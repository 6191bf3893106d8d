//! The drain of an Envoy whose admin works, and of one whose admin fails.

use std::time::Duration;

use crate::support::http::free_address;
use crate::support::{Admin, Answer, Ended, LONG, Rig, Running, Signal, ms};

/// The config of a router with a drain and its dependency. The test replaces `TIMES`.
const CONFIG: &str = "
shutdown: {grace_period: 20s, reserve: 1s}
processes:
  python: {command: [CHILD, python, touch=DIR/python, await=DIR/python-fails, exit=9], readiness: {file: DIR/python}}
  router:
    command: [CHILD, router, await=DIR/router-fails, exit=8]
    depends_on: [python]
    stop_grace_period: 1s
    drain: {envoy: {admin: 'ADMIN', TIMES, fail_healthcheck: true}}
";
const DRAIN: &str = "POST /drain_listeners?graceful&skip_exit";
const FAIL: &str = "POST /healthcheck/fail";
const CLOSE: &str = "POST /drain_listeners";

/// Later than anything that ends a drain early on a busy machine, and well before the 8 s of `time`,
/// or the deadline where `time` is shorter.
const LATE: Duration = ms(6000);
/// The same before the 5 s of `min`.
const BEFORE_MIN: Duration = ms(4000);

fn start_at(admin: &str, times: &str) -> Option<Running> {
    let drainit = Rig::new()?.start(&CONFIG.replace("ADMIN", admin).replace("TIMES", times));
    drainit.wait_for_start(&["router"]);
    drainit.wait_for_line("everything is ready");
    Some(drainit)
}

fn start(admin: &Admin, times: &str) -> Option<Running> {
    let drainit = start_at(&format!("http://{}", admin.address()), times)?;
    admin.wait_verified();
    Some(drainit)
}

/// Returns the time from T0 until the router was asked to end.
#[track_caller]
fn drained_for(ended: &Ended, t0: Duration) -> Duration {
    ended.event("router", "got SIGTERM").at - t0
}

#[track_caller]
fn assert_between(ended: &Ended, took: Duration, range: std::ops::Range<Duration>) {
    assert!(range.contains(&took), "drained for {took:?}, and not {range:?}:\n{}", ended.record);
}

// holds: S26, S44, S88, C361, C381
#[test]
fn it_is_drained_then_polled_then_closed_and_only_then_asked_to_end() {
    let admin = Admin::tcp(5);
    let Some(drainit) = start(&admin, "time: 8s, min: 100ms") else { return };
    assert!(admin.seen().is_empty(), "a healthy Envoy is left alone");
    let t0 = drainit.signal(Signal::SIGTERM);
    admin.wait_for(FAIL);
    // The connections are still open after several polls.
    drainit.wait_until("polled", || {
        admin.seen().iter().filter(|seen| seen.what.starts_with("GET /stats")).count() >= 5
    });
    assert!(drainit.record().event("router", "got SIGTERM").is_none());
    let quiet = admin.set_connections(0);
    let ended = drainit.wait_exit(LONG);
    ended.assert_code(0).assert_stopped_in_order(&["router", "python"]);
    assert_eq!(admin.posts(), [DRAIN, FAIL, CLOSE]);
    assert!(admin.wait_for(DRAIN) - t0 < LATE);
    assert!(admin.wait_for(CLOSE) <= ended.event("router", "got SIGTERM").at);
    assert_between(&ended, drained_for(&ended, quiet), ms(100)..LATE);
    ended.assert_line(
        "drain router: .*no connection left; connections 5 at the start, 0 at the end",
    );
}

#[test]
fn without_connections_it_is_over_after_min() {
    let admin = Admin::tcp(0);
    let Some(drainit) = start(&admin, "time: 8s, min: 800ms") else { return };
    let t0 = drainit.signal(Signal::SIGTERM);
    let ended = drainit.wait_exit(LONG);
    ended.assert_code(0);
    assert_between(&ended, drained_for(&ended, t0), ms(800)..LATE);
}

// holds: S48
#[test]
fn a_statistic_that_is_missing_is_unknown_and_not_zero() {
    for missing in ["downstream_", "downstream_cx_active", "downstream_cx_total"] {
        let admin = Admin::tcp(0).answer("/stats", &[Answer::Without(missing)]);
        let Some(drainit) = start(&admin, "time: 1s, min: 100ms") else { return };
        let t0 = drainit.signal(Signal::SIGTERM);
        let ended = drainit.wait_exit(LONG);
        ended.assert_code(0);
        assert_between(&ended, drained_for(&ended, t0), ms(1000)..LATE);
    }
}

// holds: S30
#[test]
fn a_single_refusal_is_tried_again() {
    let admin = Admin::tcp(0)
        .answer("/healthcheck/fail", &[Answer::Status(500), Answer::Close, Answer::Ok]);
    let Some(drainit) = start(&admin, "time: 8s, min: 300ms") else { return };
    let t0 = drainit.signal(Signal::SIGTERM);
    let ended = drainit.wait_exit(LONG);
    ended.assert_code(0).assert_no_line("warning: .*POST /healthcheck");
    assert_eq!(admin.posts(), [DRAIN, FAIL, FAIL, FAIL, CLOSE]);
    assert_between(&ended, drained_for(&ended, t0), ms(300)..LATE);
}

// holds: S30, S51
#[test]
fn one_accepted_call_is_enough_and_the_other_is_tried_again_for_2_s() {
    for refused in ["/drain_listeners", "/healthcheck/fail"] {
        let admin = Admin::tcp(0).answer(refused, &[Answer::Hang]);
        let Some(drainit) = start(&admin, "time: 8s, min: 300ms") else { return };
        let ended = drainit.stop();
        ended.assert_code(0).assert_line("drain router: .*no connection left");
        let calls = admin.seen().into_iter().filter(|seen| {
            let is_graceful = refused != "/drain_listeners" || seen.what.contains("graceful");
            seen.what.contains(refused) && is_graceful
        });
        let at: Vec<_> = calls.map(|seen| seen.at).collect();
        let tries = at.last().unwrap().saturating_sub(at[0]);
        // The admin, too, is of this machine, and may see an attempt late.
        assert!(tries > ms(900) && tries < BEFORE_MIN, "{refused}: tried for {tries:?}");
        assert!((2..=5).contains(&at.len()), "{refused}: {} attempts", at.len());
    }
}

// holds: S42
#[test]
fn a_first_count_that_hangs_delays_the_calls_by_500_ms() {
    let admin = Admin::tcp(0).answer("/stats", &[Answer::Hang, Answer::Ok]);
    let Some(drainit) = start(&admin, "time: 8s, min: 300ms") else { return };
    let t0 = drainit.signal(Signal::SIGTERM);
    let told = admin.wait_for(DRAIN) - t0;
    assert!(told >= ms(450) && told < LATE, "after {told:?}:\n{}", drainit.record());
    drainit.wait_exit(LONG).assert_code(0);
}

// holds: S50
#[test]
fn min_is_held_where_the_admin_refuses_connections() {
    let Some(drainit) = start_at(&format!("http://{}", free_address()), "time: 8s, min: 3s") else {
        return;
    };
    let t0 = drainit.signal(Signal::SIGTERM);
    let ended = drainit.wait_exit(LONG);
    ended
        .assert_code(0)
        .assert_line("warning: router: POST .*connection refused")
        .assert_line("connections unknown");
    assert_between(&ended, drained_for(&ended, t0), ms(3000)..LATE);
}

// holds: S38
#[test]
fn the_drain_leaves_the_stop_its_time() {
    let admin = Admin::tcp(3);
    let Some(rig) = Rig::new() else { return };
    let config = CONFIG
        .replace("ADMIN", &format!("http://{}", admin.address()))
        .replace("TIMES", "time: 60s, min: 100ms")
        .replace("grace_period: 20s", "grace_period: 4s")
        .replace("stop_grace_period: 1s", "stop_grace_period: 500ms")
        .replace("router, await", "router, 'on=TERM:exit:0:300', await");
    let drainit = rig.start_ready(&config);
    drainit.wait_for_start(&["router"]);
    let t0 = drainit.signal(Signal::SIGTERM);
    let ended = drainit.wait_exit(LONG);
    ended
        .assert_code(0)
        .assert_took(t0, ms(1000)..ms(4000))
        .assert_line("the stop needs the rest of the time, 3 connections still open");
}

// holds: S40, C638
#[test]
fn the_end_of_the_process_ends_its_drain() {
    let admin = Admin::tcp(3);
    let Some(drainit) = start(&admin, "time: 8s, min: 5s") else { return };
    drainit.signal(Signal::SIGTERM);
    admin.wait_for(FAIL);
    drainit.touch("router-fails");
    let gone = drainit.wait_for_event("router", "exit 8").at;
    let ended = drainit.wait_exit(LONG);
    ended
        .assert_code(0)
        .assert_took(gone, ms(0)..BEFORE_MIN)
        .assert_line("router: drain over .*the process has ended")
        .assert_stopped_in_order(&["python"]);
}

// holds: S41, S200
#[test]
fn a_second_signal_cuts_the_drain_and_keeps_the_order() {
    let admin = Admin::tcp(3);
    let Some(drainit) = start(&admin, "time: 8s, min: 5s") else { return };
    drainit.signal(Signal::SIGTERM);
    admin.wait_for(FAIL);
    let again = drainit.signal_again(Signal::SIGINT);
    let ended = drainit.wait_exit(LONG);
    ended
        .assert_code(0)
        .assert_took(again, ms(0)..BEFORE_MIN)
        .assert_line("second stop signal: waits are cut short")
        .assert_stopped_in_order(&["router", "python"]);
    assert_eq!(
        admin.posts().iter().filter(|post| *post == DRAIN).count(),
        1,
        "{:?}",
        admin.posts()
    );
}

// holds: S23, C653
#[test]
fn a_process_that_was_never_ready_is_not_drained() {
    let admin = Admin::tcp(3);
    let Some(rig) = Rig::new() else { return };
    let config = CONFIG
        .replace("ADMIN", &format!("http://{}", admin.address()))
        .replace("TIMES", "time: 8s")
        .replace("stop_grace_period: 1s", "readiness: {unix: DIR/never.sock}");
    let drainit = rig.start(&config);
    drainit.wait_for_start(&["router"]);
    let t0 = drainit.signal(Signal::SIGTERM);
    drainit.wait_exit(LONG).assert_code(0).assert_took(t0, ms(0)..BEFORE_MIN);
    assert!(admin.seen().is_empty(), "{:?}", admin.seen());
}

#[test]
fn a_drain_time_that_is_no_time_is_refused_before_anything_starts() {
    let Some(rig) = Rig::new() else { return };
    let config = CONFIG
        .replace("ADMIN", "http://127.0.0.1:9901")
        .replace("TIMES", "time: '${ROUTER_DRAIN_TIME_SECONDS}'");
    rig.env("ROUTER_DRAIN_TIME_SECONDS", "abc")
        .run(&config)
        .assert_code(78)
        .assert_line("error: .*abc.*not a duration")
        .assert_line(r"ROUTER_DRAIN_TIME_SECONDS")
        .assert_no_event("python", "start");
}
