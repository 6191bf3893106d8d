//! A goodbye that is spread: clients of a real Envoy are asked to leave one after the other, and the
//! last ones when `min` is over.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Value, json};
use testkit::envoy::TESTED;
use testkit::load::{IdleClose, Load, Plan, Report, Service};
use tokio::time::sleep;

use crate::support::http::get_unix;
use crate::support::real_envoy::RealEnvoy;
use crate::support::{LONG, Running, Signal, in_parallel, ms};

const CLIENTS: u32 = 200;
/// Of one client, in a second.
const REQUESTS: f64 = 5.0;
/// The part of a second in which closed connections are counted.
const SLICE: Duration = ms(250);

fn answers_itself(config: &mut Value) {
    let listeners = &mut config["static_resources"]["listeners"];
    let manager = &mut listeners[0]["filter_chains"][0]["filters"][0]["typed_config"];
    manager["route_config"]["virtual_hosts"][0]["routes"] = json!([
        {"match": {"prefix": "/"}, "direct_response": {"status": 200, "body": {"inline_string": "ok"}}},
    ]);
}

fn start(version: &'static str, drain: &'static str) -> Option<(Running, SocketAddr)> {
    // 5 requests per second, and the square of the 3 s of `min`, by 5.
    let flags = &["--concurrency", "1", "--drain-time-s", "9"];
    RealEnvoy { version, flags, drain, change: answers_itself, ..RealEnvoy::default() }.start()
}

/// Drains one of two Envoys under load. Returns how many clients it told to leave in each slice,
/// and whether its health check was good then.
async fn drained(old: &Running, addresses: [SocketAddr; 2]) -> (Report, Vec<u64>, Vec<bool>) {
    let service = Service::new(&addresses[..1]);
    let plan = Plan {
        clients: CLIENTS,
        rate: REQUESTS,
        length: ms(30_000),
        idle_close: IdleClose::Noticed,
    };
    let load = Load::start(&service, plan);
    while load.report().open_to(addresses[0]) < u64::from(CLIENTS) {
        sleep(ms(50)).await;
    }
    service.set(&addresses[1..]);
    old.signal(Signal::SIGTERM);
    let (mut told, mut good, mut before) = (Vec::new(), Vec::new(), 0);
    while load.report().open_to(addresses[0]) > 0 && told.len() < 40 {
        sleep(SLICE).await;
        let total = load.report().total.told_to_close;
        told.push(total - std::mem::replace(&mut before, total));
        let ready = get_unix(&old.path("admin.sock"), "/ready");
        good.push(ready.is_ok_and(|(status, _)| status == 200));
    }
    load.end_after(ms(500));
    (load.finish().await, told, good)
}

#[test]
fn clients_leave_one_after_the_other_within_min() {
    in_parallel(TESTED, |version| {
        let old = start(version, "time: 9s, min: 3s, strategy: gradual");
        let new = start(version, "time: 0s");
        let (Some((old, address)), Some((_new, next))) = (old, new) else { return };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (report, told, good) = runtime.block_on(drained(&old, [address, next]));
        let seen = format!("Envoy {version}: {told:?} {good:?}\n{report}\n{}", old.record());
        assert_eq!(report.total.failed, 0, "{seen}");
        assert_eq!(told.iter().sum::<u64>(), u64::from(CLIENTS), "{seen}");
        // At once they would all leave in a fifth of a second.
        assert!(told.iter().all(|told| *told < u64::from(CLIENTS) / 2), "{seen}");
        assert!(told.iter().filter(|told| **told > 0).count() >= 6, "{seen}");
        // The health check fails when `min` is over, and not before.
        assert!(good[..8].iter().all(|good| *good), "{seen}");
        old.wait_exit(LONG).assert_code(0).assert_line("no connection left");
    });
}

#[test]
fn an_envoy_that_cannot_spread_it_is_reported_while_it_is_healthy() {
    let envoy = RealEnvoy {
        flags: &["--drain-strategy", "immediate"],
        drain: "time: 3s, min: 1s, strategy: gradual",
        ..RealEnvoy::default()
    };
    let Some((drainit, _)) = envoy.start() else { return };
    drainit.wait_for_line("warning: router: with `--drain-strategy immediate` every response");
    drainit.signal(Signal::SIGTERM);
    drainit.wait_exit(LONG).assert_code(0);
}
