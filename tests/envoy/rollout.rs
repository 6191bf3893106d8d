//! Tests the main promise: a gateway under load is replaced and no request fails, with real Envoys
//! and drainit as PID 1. The common alternatives are measured for comparison.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::json;
use testkit::envoy;
use testkit::gateway::Runner;
use testkit::load::IdleClose;
use testkit::rolling_restart::{Outcome, RollingRestart};

use crate::support::temp_dir::TempDir;
use crate::support::{in_parallel, namespace};

/// Restarts a gateway with stock Envoy flags under load: 100 keep-alive clients send 1 request/s
/// each, and notice a closed connection only when they use it. The load balancers learn the new
/// endpoint 1 s after SIGTERM.
fn restart(runner: Runner, version: &str, overlays: Vec<PathBuf>) -> Outcome {
    let restart = RollingRestart {
        runner,
        envoy: envoy::binary(version).unwrap(),
        drain_seconds: 8,
        overlays,
        clients: 100,
        rate: 1.0,
        idle_close: IdleClose::Unnoticed,
        before: Duration::from_secs(2),
        learn: Duration::from_secs(1),
        after: Duration::from_secs(2),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(restart.run(|_| {})).unwrap()
}

/// Restarts the gateway, with drainit as PID 1, and asserts that no request failed. Returns the
/// outcome and the output after SIGTERM, or `None` if PID namespaces are not permitted.
#[track_caller]
pub(crate) fn restart_without_loss(
    version: &str,
    overlays: Vec<PathBuf>,
) -> Option<(Outcome, String)> {
    if !namespace::is_possible() {
        return None;
    }
    let outcome = restart(Runner::Init(env!("CARGO_BIN_EXE_drainit").into()), version, overlays);
    let said: Vec<_> = outcome.lines.iter().map(|(_, line)| line.as_str()).collect();
    let said = said.join("\n");
    assert_eq!(outcome.report.total.failed, 0, "{}\n{said}", outcome.report);
    assert_eq!(outcome.status.code(), Some(0), "{said}");
    Some((outcome, said))
}

/// An overlay with a config for Envoy before 1.37, which does not start with `allow_paths`.
fn without_allow_paths() -> TempDir {
    let directory = TempDir::new();
    let config = fs::read_to_string(envoy::checkout().join("examples/gateway/envoy.yaml")).unwrap();
    let (before, rest) = config.split_once("  allow_paths:").unwrap();
    let (_, after) = rest.split_once("\n\n").unwrap();
    directory.write("envoy.yaml", format!("{before}\n{after}"));
    let hook = json!(["sh", "${GATEWAY_DIR}/prepare.sh", directory.join("envoy.yaml")]);
    directory.write("overlay.yaml", json!({"hooks": {"pre_start": {"command": hook}}}).to_string());
    directory
}

#[track_caller]
fn assert_no_loss(version: &str) {
    let before_1_37 = version.starts_with("1.36.").then(without_allow_paths);
    let overlays = before_1_37.iter().map(|directory| directory.join("overlay.yaml"));
    let Some((outcome, said)) = restart_without_loss(version, overlays.collect()) else { return };
    // Envoy announced the end of every open connection, and the drain ended once all were closed.
    assert!(outcome.report.total.told_to_close >= 100, "{}", outcome.report);
    assert!(said.contains("s: no connection left"), "the drain did not end early\n{said}");
    let order: Vec<_> = outcome.went.iter().map(|(_, name)| *name).collect();
    assert_eq!(order, ["router", "policy-engine", "python-executor"], "{said}");
    // On a busy machine the last poll may be too old to show the state at the end. Then the report
    // says "when last seen".
    let none_left = ["0 at the end", "0 when last seen"];
    // The first count comes after the calls that begin the drain, so some clients may already have
    // left.
    let none_left = none_left.map(|end| format!(" at the start, {end}"));
    assert!(none_left.iter().any(|text| said.contains(text)), "{said}");
    let none_cut = [" completed, 0 cut", " completed, 0 in flight when last seen"];
    assert!(none_cut.iter().any(|text| said.contains(text)), "{said}");
}

#[test]
fn no_request_fails_with_any_version_of_envoy() {
    // Runs only two gateways at a time, because each needs a processor for its clients and programs.
    for versions in envoy::TESTED.chunks(2) {
        in_parallel(versions, |version| assert_no_loss(version));
    }
}
