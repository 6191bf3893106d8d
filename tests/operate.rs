//! `drainit stop`, `start`, `restart` and `kill`, and signals to drainit itself that nobody gets.

use std::process::Stdio;

use serde_json::Value;

use crate::support::{LONG, Rig, Running, Said, Signal};

/// The state and the pid of a process.
fn state(drainit: &Running, name: &str) -> (String, Option<i64>) {
    let said = drainit.exec(&["status", "--format", "json", name]);
    let status: Value = serde_json::from_str(&said.stdout).unwrap();
    let process = &status["processes"][0];
    (process["state"].as_str().unwrap().to_owned(), process["pid"].as_i64())
}

#[test]
fn the_name_of_a_process_with_copies_means_all_of_them() {
    let Some(rig) = Rig::new() else { return };
    let drainit = rig.start(
        "
        processes:
          app:
            command: [CHILD, 'app-${SCALE_INDEX}', print=serving, 'on=USR1:print:heard-${SCALE_INDEX}']
            scale: 3
            readiness: {log: ^serving$}
          other: {command: [CHILD, other, print=up], update: start-first, readiness: {log: ^up$}}
        ",
    );
    drainit.wait_for_line("everything is ready");
    let copies = || ["app-1", "app-2", "app-3"].map(|copy| state(&drainit, copy));
    let before = copies();
    let shown = drainit.exec(&["status", "app"]).stdout;
    assert!(
        shown.contains("app-1") && shown.contains("app-3") && !shown.contains("other"),
        "{shown}"
    );
    drainit.exec(&["kill", "-s", "USR1", "app"]).assert(0, "");
    drainit.wait_for_line("heard-3");
    drainit.exec(&["restart", "app"]).assert(0, "");
    for (before, after) in before.iter().zip(copies()) {
        assert!(after.0 == "ready" && after.1 != before.1, "{after:?}");
    }
    // What is named twice is restarted once.
    drainit.exec(&["restart", "other", "app-1", "other", "app"]).assert(0, "");
    drainit.wait_for_line("restart of other, app-1, app-2, app-3 requested");
    drainit.exec(&["stop", "app"]).assert(0, "");
    assert!(copies().iter().all(|copy| copy.0 == "stopped"));
    drainit.exec(&["start", "app"]).assert(0, "");
    assert!(copies().iter().all(|copy| copy.0 == "ready"));
    drainit.signal(Signal::SIGTERM);
    let ended = drainit.wait_exit(LONG);
    ended.assert_code(0).assert_order(&[
        "app-1 got SIGTERM",
        "app-2 got SIGTERM alive:app-1",
        "app-3 got SIGTERM alive:app-1+app-2",
    ]);
}

#[test]
fn what_was_stopped_by_hand_stays_stopped_in_a_drain() {
    let Some(rig) = Rig::new() else { return };
    let drainit = rig.start("processes: {a: {command: [sleep, 60]}, b: {command: [CHILD, b]}}");
    drainit.wait_for_line("everything is ready");
    drainit.exec(&["stop", "a"]).assert(0, "");
    assert_eq!(state(&drainit, "a").0, "stopped");
    drainit.exec(&["drain"]).assert(0, "");
    assert_eq!(state(&drainit, "a").0, "stopped", "SIGTERM, as it was asked to, is no failure");
    drainit.signal(Signal::SIGTERM);
    drainit.wait_exit(LONG).assert_code(0);
}

#[test]
fn what_one_run_of_a_oneshot_has_left_is_not_killed_with_the_next() {
    let Some(rig) = Rig::new() else { return };
    let drainit = rig.start(
        "
        processes:
          setup:
            type: oneshot
            command:
              - sh
              - -c
              - |
                if [ -e DIR/again ]; then trap '' TERM; while :; do sleep 1; done; fi
                touch DIR/again
                CHILD left &
            timeout: 1s
            stop_grace_period: 100ms
            on_exit: ignore
          other: {command: [CHILD, other]}
        ",
    );
    drainit.wait_for_line("everything is ready");
    drainit.wait_for_start(&["left"]);
    drainit.exec(&["restart", "setup"]);
    drainit.wait_for_line("setup.*(KILL|killed)");
    drainit.signal(Signal::SIGTERM);
    let ended = drainit.wait_exit(LONG);
    ended.assert_order(&["other got SIGTERM", "left got SIGTERM"]);
}

#[test]
fn a_command_that_waits_blocks_nobody_and_its_end_does_not_cancel() {
    let Some(rig) = Rig::new() else { return };
    let drainit = rig.start(
        "
        processes:
          slow: {command: [CHILD, slow, 'on=TERM:ignore', 'on=USR1:exit:0'], stop_grace_period: 25s}
          other: {command: [CHILD, other]}
        ",
    );
    drainit.wait_for_start(&["slow", "other"]);
    drainit.wait_for_line("everything is ready");
    let stop = || drainit.exec_as(None, &["stop", "slow"]).stderr(Stdio::piped()).spawn().unwrap();
    let (mut gone, waits) = (stop(), stop());
    drainit.wait_for_event("slow", "got SIGTERM");
    gone.kill().unwrap();
    gone.wait().unwrap();
    // Longer than another connection may last.
    std::thread::sleep(std::time::Duration::from_secs(6));
    assert_eq!(state(&drainit, "slow").0, "stopping");
    drainit.exec(&["restart", "other"]).assert(0, "");
    drainit.exec(&["kill", "-s", "USR1", "slow"]).assert(0, "");
    Said::of(waits.wait_with_output().unwrap()).assert(0, "");
    assert_eq!(state(&drainit, "slow").0, "stopped");
    drainit.signal(Signal::SIGTERM);
    drainit.wait_exit(LONG).assert_code(0);
}

#[test]
fn a_signal_goes_to_the_process_alone() {
    let Some(rig) = Rig::new() else { return };
    let drainit = rig.start(
        "
        processes:
          a: {command: [CHILD, a, 'on=HUP:print:reloaded']}
          b: {command: [CHILD, b, 'on=HUP:print:wrong']}
          task: {type: oneshot, command: [CHILD, task, exit=0]}
        ",
    );
    drainit.wait_for_start(&["a", "b"]);
    drainit.wait_for_line("everything is ready");
    drainit.exec(&["kill", "-s", "HUP", "a"]).assert(0, "");
    drainit.wait_for_line("reloaded");
    drainit.wait_for_line(r"a: SIGHUP sent, requested by pid \d+ \(uid 0\)");
    drainit.exec(&["kill", "-s", "1", "task"]).assert(1, "task does not run: it is done");
    drainit.exec(&["kill", "-s", "NONE", "a"]).assert(2, "write a name such as HUP");
    drainit.exec(&["kill", "-s", "HUP"]).assert(2, "NAME");
    drainit.exec(&["kill", "c"]).assert(1, "there is no process `c`");
    drainit.signal(Signal::SIGTERM);
    drainit.wait_exit(LONG).assert_code(0).assert_no_line("wrong");
}

#[test]
fn without_a_signal_it_kills_and_the_policy_decides() {
    let Some(rig) = Rig::new() else { return };
    let drainit = rig.start(
        "processes: {a: {command: [CHILD, a], restart: always, restart_delay: 10ms}, b: {command: [CHILD, b]}}",
    );
    drainit.wait_for_line("everything is ready");
    drainit.exec(&["kill", "a"]).assert(0, "");
    drainit.wait_for_line("a: was ended by SIGKILL");
    drainit.wait_until("restarted", || {
        drainit.exec(&["status"]).stdout.contains("last exit: was ended by SIGKILL")
    });
    // The end of PID 1 may be the end of the command, too.
    drainit.exec(&["kill", "b"]);
    drainit.wait_exit(LONG).assert_code(137);
}

#[test]
fn a_signal_to_drainit_that_nobody_gets_is_reported() {
    let Some(rig) = Rig::new() else { return };
    let drainit = rig.start(
        "processes: {a: {command: [CHILD, a, 'on=USR1:print:got'], forward_signals: [USR1]}}",
    );
    drainit.wait_for_start(&["a"]);
    drainit.wait_for_line("everything is ready");
    drainit.signal(Signal::SIGUSR1);
    drainit.wait_for_line("got");
    drainit.signal(Signal::SIGWINCH);
    drainit.signal(Signal::SIGHUP);
    drainit.wait_for_line(
        "warning: SIGHUP has no effect: no process has it in forward_signals; `drainit kill -s SIGHUP NAME` sends it to one",
    );
    drainit.signal(Signal::SIGTERM);
    let ended = drainit.wait_exit(LONG);
    ended
        .assert_code(0)
        .assert_no_line("SIGUSR1 has no effect")
        .assert_no_line("SIGWINCH has no effect");
    ended.assert_no_line("SIGTERM has no effect");
}

#[test]
fn a_command_that_cannot_be_executed_is_the_answer_to_its_start() {
    let Some(rig) = Rig::new() else { return };
    let drainit = rig.start(
        "processes: {a: {command: [CHILD, a]}, b: {command: [DIR/b], on_exit: ignore, required: false, log: {}}}",
    );
    drainit.wait_for_start(&["a"]);
    drainit.wait_for_line("b: .*does not exist");
    let why = format!("b could not be started: `{}` does not exist", drainit.path("b").display());
    drainit.exec(&["start", "b"]).assert(1, &why);
    std::os::unix::fs::symlink("/bin/cat", drainit.path("b")).unwrap();
    drainit.exec(&["start", "b"]).assert(0, "");
}
