//! Tests a Policy Engine that implements Envoy's ext_proc. Its stop waits for the streams of Envoy,
//! so the order of the stops matters.

use testkit::envoy;

use crate::envoy::rollout::roll_without_loss;

#[test]
fn no_request_fails_also_with_a_router_that_drains_itself() {
    let both = &["examples/policy-engine/drainit.yaml", "tests/fixtures/order/right.yaml"];
    for overlays in [&both[..1], both] {
        let Some(rolled) = roll_without_loss(envoy::DEFAULT, overlays, "") else { return };
        rolled.ended.assert_line("policy engine is done").assert_lines_in_order(&[
            " router: exited",
            " policy-engine: sending SIGTERM",
            " policy-engine: exited",
            " python-executor: sending SIGTERM",
        ]);
    }
}
