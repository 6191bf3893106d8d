//! Tests the main promise: a gateway under load is replaced and no request fails, with real Envoys
//! and drainit as PID 1.

use testkit::envoy;

use crate::support::example::{Example, Rolled, roll};
use crate::support::*;

/// Replaces the gateway, with stock Envoy flags and this overlay, under load, and asserts that no
/// request failed. Returns `None` if PID namespaces are not permitted.
#[track_caller]
pub(crate) fn roll_without_loss(
    version: &'static str,
    overlays: &'static [&'static str],
    overlay: &str,
) -> Option<Rolled> {
    let gateway = Example { envoy: version, overlays, ..Example::new("gateway", "GATEWAY_") };
    let rolled = roll(&gateway, &format!("env: {{ROUTER_DRAIN_TIME_SECONDS: 8}}\n{overlay}"))?;
    assert_eq!(rolled.report.total.failed, 0, "{}\n{}", rolled.report, rolled.ended.record);
    rolled.ended.assert_code(0);
    Some(rolled)
}

/// An overlay with a config for Envoy before 1.37, which does not start with `allow_paths`.
fn without_allow_paths(directory: &TempDir) -> String {
    let config = fs::read_to_string(envoy::checkout().join("examples/gateway/envoy.yaml")).unwrap();
    let (before, rest) = config.split_once("  allow_paths:").unwrap();
    let (_, after) = rest.split_once("\n\n").unwrap();
    directory.write("envoy.yaml", format!("{before}\n{after}"));
    let hook = json!(["sh", "${GATEWAY_DIR}/prepare.sh", directory.path("envoy.yaml")]);
    format!("hooks: {{pre_start: {{command: {hook}}}}}")
}

#[track_caller]
fn assert_no_loss(version: &'static str) {
    let directory = TempDir::for_everybody();
    let before_1_37 = version.starts_with("1.36.").then(|| without_allow_paths(&directory));
    let rolled = roll_without_loss(version, &[], &before_1_37.unwrap_or_default());
    let Some(Rolled { report, ended, .. }) = rolled else { return };
    // Envoy announced the end of every open connection, and the drain ended once all were closed.
    assert!(report.total.told_to_close >= 40, "{report}");
    let said = ended.text(Stream::Stderr);
    assert!(said.contains("s: no connection left"), "the drain did not end early\n{said}");
    let order = ["router", "policy-engine", "python-executor"];
    let order = order.map(|name| format!("{name}: (exited with|was ended by)"));
    ended.assert_lines_in_order(&order.each_ref().map(String::as_str));
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
