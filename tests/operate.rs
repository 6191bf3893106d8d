//! `drainit stop`, `start` and `restart`.

use std::process::Stdio;
use std::thread;

use serde_json::Value;
use testkit::event::Event;

use crate::support::http::post_unix;
use crate::support::{LONG, Rig, Running, Said};

/// An app with a drain, and its dependency. The app is drained as soon as it is asked to.
const CONFIG: &str = "
shutdown: {grace_period: 20s, reserve: 1s}
processes:
  store: {command: [CHILD, store]}
  app:
    command: [CHILD, app]
    depends_on: [store]
    drain: {exec: {command: [CHILD, drainer, exit=0], time: 8s}}
  other: {command: [CHILD, other]}
";

fn start(config: &str) -> Option<Running> {
    let drainit = Rig::new()?.start(config);
    drainit.wait_for_start(&["store", "app", "other"]);
    drainit.wait_for_line("everything is ready");
    Some(drainit)
}

/// Waits until a child has recorded exactly so many events that begin with `what`.
#[track_caller]
fn wait_for(drainit: &Running, name: &str, what: &str, times: usize) {
    drainit.wait(&format!("{times} times `{name} {what}`"), LONG, |record| {
        let is_one = |event: &&Event| event.name == name && event.what.starts_with(what);
        (record.events.iter().filter(is_one).count() == times).then_some(())
    });
}

/// The state and the pid of a process.
fn state(drainit: &Running, name: &str) -> (String, Option<i64>) {
    let said = drainit.exec(&["status", "--format", "json", name]);
    let status: Value = serde_json::from_str(&said.stdout).unwrap();
    let process = &status["processes"][0];
    (process["state"].as_str().unwrap().to_owned(), process["pid"].as_i64())
}

/// Asks from outside: a command in the container may be killed with PID 1 before it prints.
#[test]
fn a_request_that_ends_the_container_is_answered() {
    let Some(rig) = Rig::new() else { return };
    let drainit = rig.start(
        "
        control: {socket: DIR/control.sock}
        processes:
          once: {type: oneshot, command: [CHILD, once, await=DIR/go, exit=0]}
        ",
    );
    drainit.wait_for_start(&["once"]);
    let socket = drainit.path("control.sock");
    let asking = thread::spawn(move || post_unix(&socket, "/v1/restart?process=once").unwrap());
    wait_for(&drainit, "once", "start", 2);
    drainit.touch("go");
    drainit.wait_exit(LONG).assert_code(0);
    assert_eq!(asking.join().unwrap(), (200, "done\n".to_owned()));
}

#[test]
fn a_stop_takes_the_dependents_first_and_a_start_the_dependencies() {
    let Some(drainit) = start(CONFIG) else { return };
    drainit.exec(&["stop"]).assert(2, "NAME");
    drainit.exec(&["stop", "store"]).assert(0, "");
    drainit.wait_for_line(r"stop of store requested by pid \d+ \(uid 0\)");
    wait_for(&drainit, "drainer", "start", 1);
    wait_for(&drainit, "app", "got SIGTERM", 1);
    let alive = drainit.wait_for_event("store", "got SIGTERM alive:").what;
    assert_eq!(alive, "got SIGTERM alive:other", "the app was gone");
    for name in ["store", "app"] {
        assert_eq!(state(&drainit, name).0, "stopped");
    }
    drainit.exec(&["health"]).assert(1, "store (stopped");
    drainit.exec(&["stop", "store"]).assert(0, "");
    drainit.exec(&["start", "app"]).assert(0, "");
    for name in ["store", "app"] {
        assert_eq!(state(&drainit, name).0, "ready");
        wait_for(&drainit, name, "handling", 2);
    }
    drainit.exec(&["health"]).assert(0, "");
    drainit.exec(&["stop", "nobody"]).assert(1, "there is no process");
    let ended = drainit.stop();
    ended.assert_code(0).assert_line(r"^\[drainit\].*  drain app: [^;]*complete$");
}

// holds: C331
#[test]
fn a_restart_drains_and_replaces_one_process_alone() {
    let Some(drainit) = start(CONFIG) else { return };
    for times in 1..=2 {
        drainit.exec(&["restart", "app"]).assert(0, "");
        wait_for(&drainit, "drainer", "start", times);
        wait_for(&drainit, "app", "handling", times + 1);
    }
    drainit.exec(&["restart", "store"]).assert(0, "");
    wait_for(&drainit, "store", "handling", 2);
    wait_for(&drainit, "app", "got SIGTERM", 2);
    drainit.stop().assert_code(0);
}

#[test]
fn a_pattern_means_all_processes_whose_names_begin_so() {
    let Some(rig) = Rig::new() else { return };
    let drainit = rig.start_ready(
        "
        processes:
          app:
            command: [CHILD, 'app-${SCALE_INDEX}', print=serving, 'on=USR1:print:heard-${SCALE_INDEX}']
            scale: 3
            readiness: {log: ^serving$}
          app-migrate: {command: [CHILD, migrate, print=migrated, exit=0], type: oneshot}
          app-off: {command: [CHILD, off], only_if: {path_exists: DIR/nothing}}
          other: {command: [CHILD, other, print=up], update: start-first, readiness: {log: ^up$}}
        ",
    );
    let copies = || ["app-1", "app-2", "app-3"].map(|copy| state(&drainit, copy));
    let before = copies();
    let shown = drainit.exec(&["status", "app-*"]).stdout;
    assert!(
        shown.contains("app-1") && shown.contains("app-3") && !shown.contains("other"),
        "{shown}"
    );
    drainit.exec(&["restart", "app"]).assert(1, "there is no process `app`; did you mean `app-*`?");
    drainit.exec(&["kill", "-s", "USR1", "app-*"]).assert(0, "");
    drainit.wait_for_line("heard-3");
    // What has completed or is left out is passed over.
    drainit.exec(&["restart", "app-*"]).assert(0, "");
    drainit.exec(&["restart", "app-o*"]).assert(1, "what is meant is left out or has completed");
    drainit.exec(&["restart", "app-off"]).assert(1, "app-off is left out");
    assert_eq!(state(&drainit, "app-migrate").0, "done");
    for (before, after) in before.iter().zip(copies()) {
        assert!(after.0 == "ready" && after.1 != before.1, "{after:?}");
    }
    // What is named twice is restarted once.
    drainit.exec(&["restart", "other", "app-1", "other", "app*"]).assert(0, "");
    drainit.wait_for_line("restart of other, app-1, app-2, app-3 requested");
    drainit.exec(&["stop", "app-*"]).assert(0, "");
    assert!(copies().iter().all(|copy| copy.0 == "stopped"));
    drainit.exec(&["start", "app-*"]).assert(0, "");
    assert!(copies().iter().all(|copy| copy.0 == "ready"));
    let ended = drainit.stop();
    ended.assert_code(0).assert_order(&[
        "app-1 got SIGTERM",
        "app-2 got SIGTERM alive:app-1",
        "app-3 got SIGTERM alive:app-1+app-2",
    ]);
}

// holds: S61
#[test]
fn what_one_run_of_a_oneshot_has_left_is_not_killed_with_the_next() {
    let Some(rig) = Rig::new() else { return };
    let drainit = rig.start_ready(
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
    drainit.wait_for_start(&["left"]);
    drainit.exec(&["restart", "setup"]);
    drainit.wait_for_line("setup.*(KILL|killed)");
    let ended = drainit.stop();
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
    drainit.stop().assert_code(0);
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
