//! Tests a Policy Engine that implements Envoy's ext_proc. Its stop waits for the streams of Envoy,
//! so the order of the stops matters.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::sys::signal::kill;
use nix::unistd::Pid;
use testkit::envoy;
use testkit::gateway::{Gateway, Runner, Spec};
use testkit::load::IdleClose;
use testkit::rolling_restart::{Outcome, RollingRestart};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::sleep;

use crate::support::{LONG, Signal, ms, namespace};

const ENGINE: &str = "examples/policy-engine/drainit.yaml";

/// Returns a gateway with that engine, as PID 1, or `None` if PID namespaces are not permitted; the
/// test is then skipped.
fn spec(overlays: &[&str]) -> Option<Spec> {
    let binary = env!("CARGO_BIN_EXE_drainit").into();
    namespace::is_possible().then(|| Spec {
        runner: Runner::Init(binary),
        envoy: envoy::binary(envoy::DEFAULT).unwrap(),
        drain_seconds: 8,
        overlays: [ENGINE].iter().chain(overlays).map(PathBuf::from).collect(),
    })
}

/// Restarts the gateway under 100 keep-alive clients at 1 request/s. The load balancers learn the
/// new endpoint 1 s after SIGTERM.
fn restart(overlays: &[&str]) -> Option<Outcome> {
    let Spec { runner, envoy, drain_seconds, overlays } = spec(overlays)?;
    let restart = RollingRestart {
        runner,
        envoy,
        drain_seconds,
        overlays,
        clients: 100,
        rate: 1.0,
        idle_close: IdleClose::Unnoticed,
        before: Duration::from_secs(2),
        learn: Duration::from_secs(1),
        after: Duration::from_secs(1),
    };
    Some(runtime().block_on(restart.run(|_| {})).unwrap())
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

#[track_caller]
fn assert_no_loss(overlays: &[&str]) {
    let Some(outcome) = restart(overlays) else { return };
    let said: Vec<_> = outcome.lines.iter().map(|(_, line)| line.as_str()).collect();
    let said = said.join("\n");
    assert_eq!(outcome.report.total.failed, 0, "{}\n{said}", outcome.report);
    assert_eq!(outcome.status.code(), Some(0), "{said}");
    let at = |what: &str| said.find(what).unwrap_or_else(|| panic!("no {what}\n{said}"));
    let order = [
        "router: exited",
        "policy-engine: SIGTERM",
        "policy-engine: exited",
        "python-executor: SIGTERM",
    ];
    assert!(order.map(|what| at(&format!(" {what}"))).is_sorted(), "{said}");
    assert!(said.contains("policy engine is done"), "{said}");
}

#[test]
fn no_request_fails() {
    assert_no_loss(&[]);
}

#[test]
fn in_the_right_order_a_router_that_drains_itself_loses_nothing() {
    assert_no_loss(&["tests/fixtures/order/right.yaml"]);
}

#[test]
fn in_another_order_it_loses_requests() {
    let order = ["tests/fixtures/order/right.yaml", "tests/fixtures/order/wrong.yaml"];
    let Some(outcome) = restart(&order) else { return };
    assert!(outcome.report.total.failed >= 50, "{}", outcome.report);
}

#[test]
fn the_engine_ends_only_when_envoys_streams_have() {
    let Some(spec) = spec(&[]) else { return };
    runtime().block_on(async {
        let gateway = Gateway::start(&spec).await.unwrap();
        let mut client = TcpStream::connect(gateway.address()).await.unwrap();
        let request = "GET / HTTP/1.1\r\nHost: gateway\r\nConnection: close\r\nx-envoy-fault-delay-request: 8000\r\n\r\n";
        client.write_all(request.as_bytes()).await.unwrap();
        // The stream is open when the engine is asked to stop, because the executor has already
        // received its request.
        sleep(ms(2000)).await;
        let engine = gateway.members().iter().find(|member| member.name == "policy-engine").unwrap();
        let asked = Instant::now();
        kill(Pid::from_raw(engine.pid), Signal::SIGTERM).unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        let done = loop {
            let lines = gateway.lines();
            if let Some((at, _)) = lines.iter().find(|(_, line)| line.contains("engine is done")) {
                break *at;
            }
            assert!(asked.elapsed() < LONG, "{lines:?}");
            sleep(ms(10)).await;
        };
        assert!(done - asked > ms(1000), "{:?}", done - asked);
    });
}
