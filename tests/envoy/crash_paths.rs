//! Tests a real Envoy that dies or hangs while it is stopped: the stop is bounded, and the report
//! gives the reason.

use nix::sys::signal::kill;
use nix::unistd::Pid;

use crate::support::*;

/// Starts an Envoy with a drain of these times and a client that keeps its connection. Also returns
/// the PID of Envoy.
fn start(drain: &'static str) -> Option<(Running, Client, Pid)> {
    let (drainit, address) = RealEnvoy { drain, ..RealEnvoy::default() }.start()?;
    let client = Client::connected(address);
    let envoy = drainit.children()[0];
    Some((drainit, client, envoy))
}

// holds: S40
#[test]
fn an_envoy_that_dies_during_the_drain_is_not_waited_for() {
    let Some((drainit, _client, envoy)) = start("time: 9s, min: 8s") else { return };
    let asked = drainit.signal(Signal::SIGTERM);
    drainit.wait_for_line(&said::draining("router"));
    kill(envoy, Signal::SIGKILL).unwrap();
    drainit
        .wait_exit(LONG)
        .assert_code(0)
        .assert_took(asked, ms(0)..ms(7000))
        .assert_line("drain router: .*, the process has ended; connections ")
        .assert_line("stop router: was ended by SIGKILL without being asked to");
}

#[test]
fn an_envoy_that_hangs_before_the_drain_is_stopped_after_time() {
    let Some((drainit, _client, envoy)) = start("time: 4s, min: 1s") else { return };
    kill(envoy, Signal::SIGSTOP).unwrap();
    drainit
        .stop()
        .assert_code(0)
        .assert_stopped_within(ms(4000)..ms(9000))
        .assert_line(
            "warning: router: its admin has not begun to drain it .*, so the kernel counts",
        )
        .assert_line(
            "drain router: .*its (time|`time` of .*) is over.*, perhaps 1 request still in flight",
        )
        .assert_line("stop router: .*, exited with code 0");
}

#[test]
fn an_envoy_that_hangs_during_the_drain_is_stopped_after_time() {
    let Some((drainit, mut client, envoy)) = start("time: 5s, min: 500ms") else { return };
    let mut leaving = Client::new(client.address());
    let asked = drainit.signal(Signal::SIGTERM);
    drainit.wait_for_line(&said::draining("router"));
    while leaving.request(0).went != CLOSES {}
    // drainit begins the drain with two calls. Envoy may ask the client to close its connection
    // after the first call. The sleep gives drainit time for the second call.
    thread::sleep(ms(400));
    kill(envoy, Signal::SIGSTOP).unwrap();
    drainit
        .wait_exit(LONG)
        .assert_code(0)
        .assert_took(asked, ms(5000)..ms(11_000))
        .assert_line("warning: router: GET /stats: no answer for 1s; its connections are unknown")
        .assert_line(
            "drain router: .*, its (time|`time` of .*) is over.*(, 1 connection still open)?; connections [12] at the start, .* when last seen",
        )
        .assert_line("stop router: .*, exited with code 0");
    assert!(client.is_closed());
}

/// SIGTERM to every process of the container at the same time, as at the shutdown of a node or with
/// `kill -TERM -1`.
// holds: S116, S119, S217
#[test]
fn an_envoy_that_ended_before_the_drain_is_reported() {
    // `min` is longer than the test needs to send all signals.
    let Some((drainit, _client, envoy)) = start("time: 8s, min: 4s") else { return };
    drainit.signal(Signal::SIGTERM);
    kill(envoy, Signal::SIGTERM).unwrap();
    let ended = drainit.wait_exit(LONG);
    ended
        .assert_code(0)
        .assert_line(r"^\[drainit\] .* warning: router: ended before it was drained")
        .assert_line(r"Z   router: ended before it was drained");
}
