//! The faults of the script, and the behaviour of drainit in their place.

use std::time::Duration;

use super::runs::{all_seen, once, seen};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_second_term_during_the_drain_cuts_the_wait_short_and_keeps_the_order() {
    let Some(run) = seen("second-term") else { return };
    run.assert_line("cut short by a second signal").assert_code(0).assert_stopped_in_order();
}

#[test]
fn envoy_dies_during_the_drain_and_it_goes_on_at_once() {
    let Some(run) = seen("envoy-dies") else { return };
    run.assert_line("router: drain over after ")
        .assert_line("the process has ended")
        .assert_code(0);
    let drain = run.duration("drain router: ");
    assert!(drain < 15 * SECOND, "it has slept the full time: {drain:?}\n{run}");
}

#[test]
fn no_traffic_at_all_ends_the_drain_after_min() {
    let Some(run) = seen("usual") else { return };
    run.assert_line("no connection left");
    let drain = run.duration("drain router: ");
    assert!(drain >= 5 * SECOND && drain < 15 * SECOND, "{drain:?}\n{run}");
}

#[test]
fn an_admin_that_answers_403_is_tried_again_reported_and_bounded() {
    refused("403", "403 Forbidden");
}

#[test]
fn an_admin_that_answers_500_is_tried_again_reported_and_bounded() {
    refused("500", "500 Internal Server Error");
}

#[test]
fn an_admin_that_hangs_is_tried_again_reported_and_bounded() {
    refused("hangs", "no answer within 500ms");
}

fn refused(name: &str, why: &str) {
    let Some(run) = seen(name) else { return };
    run.assert_line(why)
        .assert_line("so only min was held")
        .assert_code(0)
        .assert_stopped_in_order();
}

#[test]
fn an_admin_that_is_unreachable_leaves_min() {
    let Some(run) = seen("unreachable") else { return };
    run.assert_line("connection refused").assert_line("so only min was held").assert_code(0);
    let drain = run.duration("drain router: ");
    assert!(drain >= 2 * SECOND, "new requests were cut: {drain:?}\n{run}");
    run.assert_stopped_in_order();
}

#[test]
fn a_drain_time_of_abc_is_refused_before_anything_starts() {
    let Some(finished) = once(&["--env=ROUTER_DRAIN_TIME_SECONDS=abc"], &[]) else { return };
    assert_eq!(finished.code, 78, "{}", finished.output);
    let says = "`time` is `abc`, from `${ROUTER_DRAIN_TIME_SECONDS}`: not a duration";
    assert!(finished.output.contains(says), "{}", finished.output);
    assert!(!finished.output.contains(": started"), "{}", finished.output);
}

#[test]
fn a_child_that_ignores_term_is_killed_at_its_deadline_and_the_rest_stops_in_order() {
    let Some(run) = seen("ignores-term") else { return };
    run.assert_code(137).assert_stopped_in_order();
    run.assert_lines_in_order(&[
        "policy-engine: SIGTERM, then KILL after",
        "python-executor: exited with code 0",
    ]);
}

#[test]
fn the_policy_engine_crashes_and_there_is_a_drain_the_right_order_and_its_code() {
    let Some(run) = seen("crash") else { return };
    run.assert_code(7);
    run.assert_lines_in_order(&[
        "policy-engine: exited with code 7",
        "router: draining",
        "drain router: ",
        "stop router: ",
        "stop python-executor: ",
    ]);
}

#[test]
fn a_socket_never_appears_and_the_siblings_are_stopped_then_exit_1_and_the_log_says_why() {
    let Some(run) = seen("never-ready") else { return };
    run.assert_code(1).assert_no_line("router: started");
    run.assert_lines_in_order(&[
        "policy-engine: not ready after 10",
        "stop policy-engine: ",
        "stop python-executor: ",
    ]);
    run.assert_line("api-platform/policy-engine.sock: no such file or directory");
    let Some(run) = seen("no-python") else { return };
    run.assert_code(1).assert_line("python-executor: not ready after 15");
    run.assert_no_line("policy-engine: started").assert_no_line("router: started");
}

#[test]
fn children_that_are_ready_at_once_let_the_router_start_after_milliseconds() {
    let Some(runs) = all_seen() else { return };
    let gaps = runs.filter_map(|run| {
        Some(run.moment("router: started")? - run.moment("python-executor: started")?)
    });
    // The bound is wide because all containers run at the same time.
    let best = gaps.filter(|gap| *gap >= 0.0).fold(f64::INFINITY, f64::min);
    assert!(best < 1.0, "at best {best} s, and the script takes 2.2 s");
}

#[test]
fn hup_usr1_and_usr2_kill_nothing_and_usr1_reaches_envoy() {
    let Some(run) = seen("usual") else { return };
    run.assert_line("after HUP, USR1 and USR2 all processes are the same: true");
    run.assert_no_event("policy-engine", "got SIGUSR1")
        .assert_no_event("policy-engine", "got SIGHUP");
    assert!(
        run.stderr.lines().any(|line| line.starts_with("[rtr] ") && line.contains("SIGUSR1")),
        "{run}"
    );
}

#[test]
fn a_last_line_without_newline_is_kept() {
    let Some(run) = seen("usual") else { return };
    assert!(run.stdout.lines().any(|line| line == "[pye] bye"), "{run}");
}

#[test]
fn many_log_lines_through_one_prefixer_cost_less_than_in_the_script() {
    let Some(run) = seen("lines") else { return };
    let lines: Vec<&str> = run.stdout.lines().filter(|line| line.starts_with("[pol] x ")).collect();
    assert_eq!(lines.len(), 27_000);
    assert_eq!((lines[0], lines[26_999]), ("[pol] x 0", "[pol] x 26999"));
    // This is the CPU time of everything that drainit has done so far, not only of these lines.
    let used = run.duration("drainit used ");
    let script = 27_000 * Duration::from_micros(36);
    assert!(used < script, "{used:?}, and the script takes {script:?}");
}

#[test]
fn daemonised_grandchildren_get_term_first() {
    let Some(run) = seen("lines") else { return };
    assert!(run.event("grandchild", "start").is_some(), "{run}");
    assert!(run.event("grandchild", "got SIGTERM").is_some(), "killed cold:\n{run}");
    run.assert_code(0);
}
