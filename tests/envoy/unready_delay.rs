//! Tests `unready_delay`: a real Envoy is drained first and turns unready later, behind a load
//! balancer that looks only at the health check.

use std::cell::RefCell;
use std::sync::Arc;

use testkit::envoy::TESTED;
use testkit::load::{IdleClose, Load, Plan, Service, read_response};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::sleep;

use crate::support::*;

/// The period of the load balancer's health checks.
const PERIOD: Duration = ms(200);
/// The number of failed checks in a row after which the load balancer removes an endpoint.
const THRESHOLD: u32 = 3;

/// Makes Envoy answer requests itself, and adds a health check at `/healthz`.
fn with_health_check(config: &mut Value) {
    let listeners = &mut config["static_resources"]["listeners"];
    let manager = &mut listeners[0]["filter_chains"][0]["filters"][0]["typed_config"];
    manager["route_config"]["virtual_hosts"][0]["routes"] = json!([
        {"match": {"prefix": "/"}, "direct_response": {"status": 200, "body": {"inline_string": "ok"}}},
    ]);
    let health_check = json!({"name": "health", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.filters.http.health_check.v3.HealthCheck",
        "pass_through_mode": false,
        "headers": [{"name": ":path", "string_match": {"exact": "/healthz"}}],
    }});
    manager["http_filters"].as_array_mut().unwrap().insert(0, health_check);
}

fn start(version: &'static str) -> Option<(Running, SocketAddr)> {
    let envoy = RealEnvoy {
        version,
        flags: "--concurrency 1",
        drain: "time: 10s, min: 1s",
        shutdown: "grace_period: 16s, reserve: 2s, unready_delay: 4s",
        change: with_health_check,
        ..RealEnvoy::default()
    };
    envoy.start()
}

/// Returns whether a health check, as a load balancer makes it, succeeds. Closes the connection
/// itself, because a draining Envoy would take 5 s for that.
async fn is_healthy(address: SocketAddr) -> bool {
    let Ok(mut stream) = TcpStream::connect(address).await else { return false };
    let request = b"GET /healthz HTTP/1.1\r\nHost: gateway\r\n\r\n";
    stream.write_all(request).await.is_ok() && read_response(&mut stream).await.is_ok()
}

fn is_good(answer: std::io::Result<(u16, String)>) -> bool {
    answer.is_ok_and(|(status, _)| status == 200)
}

/// Acts as a load balancer that removes endpoints only because of their health checks, until it has
/// removed the old endpoint. Returns the results of the old endpoint's checks (Envoy's health
/// check, Envoy's `/ready`, and `/readyz`), with their times.
async fn balance(
    old: &Running,
    endpoints: [SocketAddr; 2],
    service: &Service,
) -> Vec<(Duration, [bool; 3])> {
    let (mut seen, mut bad) = (Vec::new(), 0);
    while bad < THRESHOLD {
        let checks = [
            is_healthy(endpoints[0]).await,
            is_good(get_unix(&old.path("admin.sock"), "/ready")),
            is_good(get_unix(&old.path("control.sock"), "/readyz")),
        ];
        seen.push((now(), checks));
        bad = if checks[0] { 0 } else { bad + 1 };
        sleep(PERIOD).await;
    }
    service.set(&endpoints[1..]);
    seen
}

// holds: S14, S88, C84
#[test]
fn a_load_balancer_that_looks_only_at_the_health_check_loses_nothing() {
    in_parallel(TESTED, |version| {
        let (Some((old, address)), Some((_new, next))) = (start(version), start(version)) else {
            return;
        };
        let endpoints = [address, next];
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let t0 = RefCell::new(Duration::ZERO);
        let (report, seen) = runtime.block_on(async {
            let service: Arc<Service> = Service::new(&endpoints);
            let plan =
                Plan { clients: 50, rate: 4.0, length: ms(30_000), idle_close: IdleClose::Noticed };
            let load = Load::start(&service, plan);
            while load.report().total.ok < 100 {
                assert!(load.elapsed() < LONG, "{}", load.report());
                sleep(ms(50)).await;
            }
            t0.replace(old.signal(Signal::SIGTERM));
            let seen = balance(&old, endpoints, &service).await;
            while load.report().open_to(address) > 0 && load.elapsed() < ms(20_000) {
                sleep(ms(50)).await;
            }
            (load.end_after(ms(1000)), seen)
        });
        let t0 = t0.into_inner();
        let began = old.wait_for_line("router: draining for at least 4s and at most 10s").at;
        let ended = old.wait_exit(LONG);
        let at = |at: Duration| at.saturating_sub(t0);
        let looks: Vec<_> = seen.iter().map(|(when, checks)| (at(*when), *checks)).collect();
        let said = format!("Envoy {version}: {looks:?}\n{report}\n{}", ended.record);
        assert_eq!(report.total.failed, 0, "{said}");
        assert!(report.total.told_to_close >= 20, "{said}");
        assert!(at(began) < ms(3500), "{said}");
        let early = looks.iter().filter(|(at, _)| *at < ms(3900));
        assert!(early.clone().count() >= 3, "{said}");
        assert!(early.clone().all(|(_, checks)| *checks == [true; 3]), "{said}");
        assert_eq!(looks.last().unwrap().1, [false; 3], "{said}");
        // On a busy machine, the clients have moved only when the time of the drain is over.
        ended
            .assert_code(0)
            .assert_line("drain over after [^;]*: (no connection left|.*no connection open)");
    });
}
