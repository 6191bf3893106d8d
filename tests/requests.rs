//! `drainit stop`, `start` and `restart` of single processes.

use std::process::Stdio;

use testkit::event::Event;

use crate::support::{LONG, Rig, Running, Said, Signal};

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

/// The state of a process in `drainit status`.
fn state(drainit: &Running, name: &str) -> String {
    let status = drainit.exec(&["status", name, "--format", "json"]).stdout;
    let status: serde_json::Value = serde_json::from_str(&status).unwrap();
    status["processes"][0]["state"].as_str().unwrap().to_owned()
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
        assert_eq!(state(&drainit, name), "stopped");
    }
    drainit.exec(&["health"]).assert(1, "store (stopped");
    drainit.exec(&["stop", "store"]).assert(0, "");
    drainit.exec(&["start", "app"]).assert(0, "");
    for name in ["store", "app"] {
        assert_eq!(state(&drainit, name), "ready");
        wait_for(&drainit, name, "handling", 2);
    }
    drainit.exec(&["health"]).assert(0, "");
    drainit.exec(&["stop", "nobody"]).assert(1, "there is no process");
    drainit.signal(Signal::SIGTERM);
    let ended = drainit.wait_exit(LONG);
    ended.assert_code(0).assert_line(r"^\[drainit\].*  drain app: [^;]*reported by the process$");
}

#[test]
fn the_container_outlives_a_stop_of_everything() {
    let Some(drainit) = start(CONFIG) else { return };
    drainit.exec(&["stop", "app"]).assert(0, "");
    drainit.exec(&["stop", "other"]).assert(0, "");
    drainit.exec(&["stop", "store"]).assert(0, "");
    for name in ["store", "app", "other"] {
        assert_eq!(state(&drainit, name), "stopped");
    }
    drainit.signal(Signal::SIGTERM);
    drainit.wait_exit(LONG).assert_code(0).assert_no_line("  stop ");
}

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
    drainit.signal(Signal::SIGTERM);
    drainit.wait_exit(LONG).assert_code(0);
}

#[test]
fn a_failed_start_by_request_does_not_end_the_container() {
    let Some(rig) = Rig::new() else { return };
    rig.write("ready", "");
    let drainit = rig.start(
        "
        processes:
          app:
            command: [CHILD, app, 'await=DIR/ready', 'unix=DIR/app.sock']
            sockets: [DIR/app.sock]
            readiness: {unix: DIR/app.sock, timeout: 3s}
        ",
    );
    drainit.wait_for_line("everything is ready");
    std::fs::remove_file(drainit.path("ready")).unwrap();
    let line = "app did not become ready within 3s";
    drainit.exec(&["restart", "app"]).assert(1, line);
    drainit.wait_until("stopped after it", || state(&drainit, "app") == "failed");
    drainit.exec(&["health"]).assert(1, "app (failed");
    drainit.touch("ready");
    drainit.exec(&["start", "app"]).assert(0, "");
    assert_eq!(state(&drainit, "app"), "ready");
    drainit.signal(Signal::SIGTERM);
    drainit.wait_exit(LONG).assert_code(0);
}

#[test]
fn a_refused_restart_is_in_the_log_with_its_reason() {
    let Some(rig) = Rig::new() else { return };
    rig.write("ready", "");
    let drainit = rig.start(
        "processes: {app: {command: [CHILD, app], readiness: {file: DIR/ready, timeout: 60s}}}",
    );
    drainit.wait_for_line("everything is ready");
    std::fs::remove_file(drainit.path("ready")).unwrap();
    let mut first = drainit.exec_as(None, &["restart", "app"]).spawn().unwrap();
    wait_for(&drainit, "app", "handling", 2);
    let why = "app is being stopped or restarted already";
    drainit.exec(&["restart", "app"]).assert(1, why);
    drainit.wait_for_line(&format!("app: restart failed: {why}"));
    drainit.touch("ready");
    assert!(first.wait().unwrap().success());
    drainit.signal(Signal::SIGTERM);
    drainit.wait_exit(LONG).assert_code(0);
}

#[test]
fn a_stop_of_the_container_goes_on_where_a_request_has_got() {
    let config = CONFIG.replace("drainer, exit=0", "drainer, 'await=DIR/drained', exit=0");
    let Some(drainit) = start(&config) else { return };
    let asked = drainit.exec_as(None, &["restart", "app"]).stderr(Stdio::piped()).spawn().unwrap();
    drainit.wait_for_event("drainer", "start");
    drainit.exec(&["start", "app"]).assert(1, "app is being stopped or restarted already");
    drainit.signal(Signal::SIGTERM);
    Said::of(asked.wait_with_output().unwrap()).assert(1, "the container is shutting down");
    drainit.touch("drained");
    let ended = drainit.wait_exit(LONG);
    ended.assert_code(0).assert_line(r"^\[drainit\].*  drain app: [^;]*reported by the process$");
    let starts = |name: &str| {
        ended.record.events.iter().filter(|one| one.name == name && one.what == "start").count()
    };
    assert_eq!((starts("drainer"), starts("app")), (1, 1));
}

#[test]
fn a_dependent_that_asks_for_it_is_restarted_after_its_dependency() {
    let Some(rig) = Rig::new() else { return };
    // Only the first instance of the store ends when it is told to.
    let drainit = rig.start(
        "
        processes:
          store:
            command:
              - sh
              - -c
              - 'test -e DIR/crash && exec CHILD store unix=DIR/store.sock;
                exec CHILD store unix=DIR/store.sock await=DIR/crash exit=7'
            sockets: [DIR/store.sock]
            readiness: {unix: DIR/store.sock}
            restart: on-failure
            restart_delay: 10ms
          app:
            command: [CHILD, app]
            depends_on: {store: {restart: true}}
            drain: {exec: {command: [CHILD, drainer, exit=0], time: 8s}}
          web: {command: [CHILD, web], depends_on: {app: {restart: true}}}
          other: {command: [CHILD, other], depends_on: [store, app]}
        ",
    );
    drainit.wait_for_start(&["store", "app", "web", "other"]);
    drainit.wait_for_line("everything is ready");
    drainit.touch("crash");
    for name in ["app", "web"] {
        wait_for(&drainit, name, "handling", 2);
    }
    wait_for(&drainit, "drainer", "start", 1);
    drainit.wait_until("it is ready again", || drainit.exec(&["health"]).code == 0);
    let status = drainit.exec(&["status", "--format", "json"]).stdout;
    let status: serde_json::Value = serde_json::from_str(&status).unwrap();
    let processes = status["processes"].as_array().unwrap().iter();
    let restarts: Vec<_> = processes.map(|one| one["restarts"].as_u64().unwrap()).collect();
    assert_eq!(restarts, [1, 0, 0, 0], "only the crash is counted");
    // The same after a restart by hand.
    drainit.exec(&["restart", "store"]).assert(0, "");
    for name in ["store", "app", "web"] {
        wait_for(&drainit, name, "handling", 3);
    }
    drainit.wait_until("it is ready again", || drainit.exec(&["health"]).code == 0);
    drainit.signal(Signal::SIGTERM);
    let ended = drainit.wait_exit(LONG);
    ended
        .assert_code(0)
        .assert_line("app: restarting it, because store was started again")
        .assert_line("web: restarting it, because app was started again")
        .assert_order(&["store exit 7", "drainer start", "app got SIGTERM", "web got SIGTERM"]);
    let starts = ended.record.events.iter();
    let starts = starts.filter(|one| one.name == "other" && one.what == "start").count();
    assert_eq!(starts, 1, "the other did not ask for it");
}
