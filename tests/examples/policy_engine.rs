//! Tests a Policy Engine that implements Envoy's ext_proc. Its stop waits for the streams of Envoy,
//! so the order of the stops matters.

use std::path::PathBuf;
use std::time::Duration;

use testkit::envoy;
use testkit::gateway::{Runner, Spec};
use testkit::load::IdleClose;
use testkit::rolling_restart::{Outcome, RollingRestart};

use crate::support::namespace;

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
