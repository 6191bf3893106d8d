//! Tests SIGTERM for every process of the container at once, as at the shutdown of a node or with
//! `kill -TERM -1`. Envoy ends before it can be drained, and drainit reports that.

use std::fs;
use std::process::Command;

use nix::sys::signal::kill;
use nix::unistd::Pid;

use crate::support::real_envoy::RealEnvoy;
use crate::support::{Ended, LONG, Rig, Running, Signal, ms};

const WARNING: &str = r"^\[drainit\] .* warning: router: ended by itself ";
const REMARK: &str = r"Z   router: ended by itself ";
const BECAUSE: &str = r", before it was drained: SIGTERM was probably sent to every process at once \(kill -TERM -1, a node shutdown\); requests in flight were cut";

fn children(drainit: &Running) -> Vec<Pid> {
    let pid = drainit.pid();
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
    children.split_whitespace().map(|pid| Pid::from_raw(pid.parse().unwrap())).collect()
}

#[track_caller]
fn assert_said(ended: &Ended, when: &str) {
    ended.assert_code(0);
    ended.assert_line(&format!("{WARNING}{when}{BECAUSE}"));
    ended.assert_line(&format!("{REMARK}{when}{BECAUSE}"));
}

#[test]
fn an_envoy_that_ended_before_its_drain_is_reported_with_the_reason() {
    // Longer than the test needs to send all signals.
    let drain = "time: 8s, min: 4s";
    let Some((drainit, _)) = (RealEnvoy { drain, ..RealEnvoy::default() }).start() else { return };
    let all = children(&drainit);
    drainit.signal(Signal::SIGTERM);
    for child in all {
        kill(child, Signal::SIGTERM).unwrap();
    }
    assert_said(&drainit.wait_exit(LONG), "[0-9.]+m?s (after|before) the stop signal");
}

/// A config in which `router` has a drain and ends as Envoy does, while `engine` ends later.
const CONFIG: &str = "
shutdown: {grace_period: 9s, reserve: 1s}
processes:
  engine: {command: [CHILD, engine, 'on=TERM:exit:0:400']}
  router:
    command: [CHILD, router]
    depends_on: [engine]
    drain: {envoy: {admin: 'unix:DIR/nobody.sock', time: 3s, min: 1s}}
";

fn start() -> Option<Running> {
    let drainit = Rig::new()?.start(CONFIG);
    drainit.wait_for_start(&["engine", "router"]);
    drainit.wait_for_line("everything is ready");
    Some(drainit)
}

#[test]
fn an_end_seen_before_the_signal_is_reported_too() {
    let Some(drainit) = start() else { return };
    kill(children(&drainit)[1], Signal::SIGTERM).unwrap();
    drainit.wait_for_line("router: exited with code 0 without being asked to");
    drainit.signal(Signal::SIGTERM);
    let ended = drainit.wait_exit(LONG);
    assert_said(&ended, "[0-9.]+m?s before the stop signal");
    ended.assert_line("stop signal received: the shutdown is already under way");
}

#[test]
fn a_signal_to_all_but_pid_1_is_recognised_by_the_ends_of_the_others() {
    let Some(rig) = Rig::new() else { return };
    // The engine ends first, and Envoy ends during the drain request.
    let config = CONFIG
        .replace("exit:0:400", "exit:0:0")
        .replace("router]", "router, 'on=TERM:exit:0:100']");
    let drainit = rig.start(&config);
    drainit.wait_for_start(&["engine", "router"]);
    drainit.wait_for_line("everything is ready");
    let mut inside = Command::new("nsenter");
    inside.args(["--target", &drainit.pid().to_string(), "--pid", "--mount"]);
    // kill(2) excludes its caller, so the shell survives as well.
    assert!(inside.args(["sh", "-c", "kill -TERM -1"]).status().unwrap().success());
    let ended = drainit.wait_exit(LONG);
    assert_said(&ended, "at the same time as other processes");
    ended.assert_no_line("SIGTERM received");
}

#[test]
fn an_end_long_after_the_signal_or_by_a_crash_has_another_reason() {
    for (end, code) in [("exit=0", 0), ("exit=8", 0)] {
        let Some(rig) = Rig::new() else { return };
        let config = CONFIG
            .replace("router]", &format!("router, await=DIR/go, {end}]"))
            .replace("time: 3s, min: 1s", "time: 6s, min: 5s")
            .replace("exit:0:400", "exit:0:0");
        let drainit = rig.start(&config);
        drainit.wait_for_line("everything is ready");
        let t0 = drainit.signal(Signal::SIGTERM);
        if end == "exit=0" {
            drainit.wait_until("3 s later", || crate::support::now() > t0 + ms(3000));
        }
        drainit.touch("go");
        drainit.wait_exit(LONG).assert_code(code).assert_no_line("probably sent to every");
    }
}
