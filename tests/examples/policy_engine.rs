//! Tests a Policy Engine that implements Envoy's ext_proc. Its stop waits for the streams of Envoy,
//! so the order of the stops matters.

use testkit::envoy;

use crate::envoy::rollout::restart_without_loss;

#[test]
fn no_request_fails_also_with_a_router_that_drains_itself() {
    for overlay in [&[][..], &["tests/fixtures/order/right.yaml"]] {
        let overlays = ["examples/policy-engine/drainit.yaml"].iter().chain(overlay);
        let overlays = overlays.map(Into::into).collect();
        let Some((_, said)) = restart_without_loss(envoy::DEFAULT, overlays) else { return };
        let at = |what: &str| said.find(what).unwrap_or_else(|| panic!("no {what}\n{said}"));
        let order = [
            "router: exited",
            "policy-engine: sending SIGTERM",
            "policy-engine: exited",
            "python-executor: sending SIGTERM",
        ];
        assert!(order.map(|what| at(&format!(" {what}"))).is_sorted(), "{said}");
        assert!(said.contains("policy engine is done"), "{said}");
    }
}
