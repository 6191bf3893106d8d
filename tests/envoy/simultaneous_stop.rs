//! Tests a SIGTERM that every process of the container gets at the same time, as at the shutdown of
//! a node or with `kill -TERM -1`. Envoy ends before it can be drained, and drainit reports that.

use nix::sys::signal::kill;

use crate::support::real_envoy::RealEnvoy;
use crate::support::{LONG, Signal};

const WARNING: &str = r"^\[drainit\] .* warning: router: ended before it was drained";
const REMARK: &str = r"Z   router: ended before it was drained";

// holds: S116, S119, S217
#[test]
fn an_envoy_that_ended_before_the_drain_is_reported() {
    // `min` is longer than the test needs to send all signals.
    let drain = "time: 8s, min: 4s";
    let Some((drainit, _)) = (RealEnvoy { drain, ..RealEnvoy::default() }).start() else { return };
    let all = drainit.children();
    drainit.signal(Signal::SIGTERM);
    for child in all {
        kill(child, Signal::SIGTERM).unwrap();
    }
    let ended = drainit.wait_exit(LONG);
    for line in [WARNING, REMARK] {
        ended.assert_code(0).assert_line(line);
    }
}
