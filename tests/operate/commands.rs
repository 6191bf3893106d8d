//! Tests `drainit stop`, `start`, `restart` and `shutdown`.

use crate::support::*;

#[test]
fn a_pattern_selects_processes_by_the_beginning_of_the_name() {
    let config = "
        processes:
          app:
            command: [CHILD, 'app-${SCALE_INDEX}', print=serving, 'on=USR1:print:heard-${SCALE_INDEX}']
            scale: 3
            readiness: {log: ^serving$}
          app-migrate: {command: [CHILD, migrate, print=migrated, exit=0], type: oneshot}
          app-off: {command: [CHILD, off], only_if: {path_exists: DIR/nothing}}
          other: {command: [CHILD, other, print=up], update: start-first, readiness: {log: ^up$}}
        ";
    let Some(drainit) = Rig::ready(config) else { return };
    let copies = || ["app-1", "app-2", "app-3"].map(|copy| drainit.state(copy));
    let before = copies();
    let shown = drainit.exec(&["status", "app-*"]).stdout;
    assert!(
        shown.contains("app-1") && shown.contains("app-3") && !shown.contains("other"),
        "{shown}"
    );
    drainit.exec(&["restart", "app"]).assert(1, "there is no process `app`; did you mean `app-*`?");
    drainit.exec(&["kill", "-s", "USR1", "app-*"]).assert(0, "");
    drainit.wait_for_line("heard-3");
    // A pattern skips processes that have completed or are left out.
    drainit.exec(&["restart", "app-*"]).assert(0, "");
    drainit
        .exec(&["restart", "app-o*"])
        .assert(1, "these processes are left out or have completed");
    drainit.exec(&["restart", "app-off"]).assert(1, "app-off is left out");
    assert_eq!(drainit.state("app-migrate").0, "done");
    for (before, after) in before.iter().zip(copies()) {
        assert!(after.0 == "ready" && after.1 != before.1, "{after:?}");
    }
    // A process that is named twice is restarted once.
    drainit.exec(&["restart", "other", "app-1", "other", "app*"]).assert(0, "");
    drainit.wait_for_line("restart of other, app-1, app-2, app-3 requested");
    drainit.exec(&["restart", "app-*", "other"]).assert(0, "");
    drainit.wait_for_line(r"restart of app-1, app-2, app-3, other requested by pid \d+ \(uid 0\)");
    drainit.exec(&["stop", "app-*"]).assert(0, "");
    assert!(copies().iter().all(|copy| copy.0 == "stopped"));
    drainit.exec(&["start", "app-*"]).assert(0, "");
    assert!(copies().iter().all(|copy| copy.0 == "ready"));
    drainit.stop().assert_code(0).assert_order(&[
        "app-1 got SIGTERM",
        "app-2 got SIGTERM alive:app-1",
        "app-3 got SIGTERM alive:app-1+app-2",
    ]);
}

// holds: C1015, C1016
#[test]
fn restart_says_that_the_config_in_the_files_is_another() {
    let Some(rig) = Rig::new() else { return };
    rig.write("over.yaml", "processes: {a: {environment: {A: one}}}");
    let rig = rig.args(&["-c", "DIR/over.yaml"]);
    let drainit =
        rig.start_ready("processes: {a: {command: [CHILD, a]}, b: {command: [CHILD, b]}}");
    let changed = "warning: the config has changed since it was read; `drainit reload`";
    let assert_said = |command: &str, is_changed: bool| {
        let said = drainit.exec(&[command, "a"]);
        said.assert(0, "a: ");
        assert_eq!(said.stderr.contains(changed), is_changed, "{command}: {said:?}");
    };
    assert_said("restart", false);
    // A new file with equal content does not count.
    drainit.write("new", "processes: {a: {environment: {A: one}}}");
    fs::rename(drainit.path("new"), drainit.path("over.yaml")).unwrap();
    assert_said("restart", false);
    drainit.write("over.yaml", "processes: {a: {environment: {A: two}}}");
    assert_said("restart", true);
    assert_said("stop", false);
    assert_said("start", true);
    // A config that cannot be used is not the config of drainit.
    drainit.write("over.yaml", "processes: [");
    drainit.exec(&["reload"]).assert(1, "nothing was changed");
    assert_said("restart", true);
    // drainit says nothing of a file that cannot be read.
    fs::remove_file(drainit.path("over.yaml")).unwrap();
    assert_said("restart", false);
    drainit.write("over.yaml", "processes: {a: {environment: {A: two}}}");
    drainit.exec(&["reload"]).assert(0, "");
    assert_said("restart", false);
    drainit.stop().assert_code(0);
}

/// A container with a drain and a stop that wait for files. SIGTERM is not a stop signal.
const DRAINED: &str = "
shutdown: {signals: [INT]}
processes:
  web:
    command: [CHILD, web, 'on=TERM:touch:DIR/asked', await=DIR/asked, await=DIR/go, exit=0]
    drain: {exec: [CHILD, drain, await=DIR/drained, exit=0]}
";

// holds: S722, S723, C711, C712, C716
#[test]
fn shutdown_drains_and_ends_the_container_and_answers_each_client() {
    let Some(drainit) = Rig::ready(DRAINED) else { return };
    thread::scope(|scope| {
        let first = scope.spawn(|| drainit.exec(&["shutdown"]));
        drainit.wait_for_event("drain", "start");
        drainit.exec(&["shutdown", "--no-wait"]).assert(0, "the shutdown has begun");
        assert!(drainit.record().event("web", "got SIGTERM").is_none());
        drainit.touch("drained");
        drainit.wait_for_event("web", "got SIGTERM");
        let second = scope.spawn(|| drainit.exec(&["shutdown"]));
        drainit.wait_for_lines("shutdown requested by pid", 3);
        drainit.touch("go");
        let said = [first, second].map(|client| client.join().unwrap());
        said[0].assert(0, "exit code 0: requested by `drainit shutdown`\n  drain web: ");
        assert_eq!(said[0], said[1]);
    });
    drainit.wait_exit(LONG).assert_code(0).assert_order(&["drain exit 0", "web got SIGTERM"]);
}

// holds: C712
#[test]
fn a_process_of_the_container_does_not_wait_for_a_shutdown() {
    let Some(rig) = Rig::new() else { return };
    // The shell handles SIGTERM only after its command has ended.
    let drainit = rig.env("DRAINIT", env!("CARGO_BIN_EXE_drainit")).start(
        "processes: {job: {command: [sh, -c, 'trap : TERM; \"$$DRAINIT\" shutdown; exit 0']}}",
    );
    drainit.wait_exit(LONG).assert_code(0).assert_line("the shutdown has begun");
}

// holds: S722, C711
#[test]
fn shutdown_fails_if_the_container_does_not_end_with_code_0() {
    let config =
        "processes: {a: {command: [CHILD, a, 'on=TERM:ignore'], stop_grace_period: 100ms}}";
    let Some(drainit) = Rig::ready(config) else { return };
    drainit.wait_for_start(&["a"]);
    let said = drainit.exec(&["shutdown"]);
    said.assert(1, "error: the container ends with exit code 137").assert(1, "killed: 1 of 1");
    drainit.wait_exit(LONG).assert_code(137);
}

// holds: S945
#[test]
fn a_client_for_which_no_place_is_left_is_not_told_that_the_shutdown_succeeds() {
    let config = "processes: {a: {command: [CHILD, a, 'on=TERM:touch:DIR/asked', await=DIR/asked, await=DIR/go, exit=0]}}";
    let Some(drainit) = Rig::ready(config) else { return };
    drainit.wait_for_start(&["a"]);
    // At most half of the 64 connections may wait for an operation.
    let mut clients: Vec<_> = (0..34)
        .map(|_| {
            drainit
                .exec_as(None, &["shutdown"])
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap()
        })
        .collect();
    drainit.wait_for_lines("shutdown requested by pid", clients.len());
    let late = drainit.exec(&["shutdown"]);
    late.assert(1, "error: the shutdown has begun, but too many operations are waiting");
    drainit.exec(&["shutdown", "--no-wait"]).assert(0, "the shutdown has begun");
    drainit.touch("go");
    let codes = clients.iter_mut().map(|client| client.wait().unwrap().code().unwrap());
    let mut codes: Vec<_> = codes.collect();
    codes.sort_unstable();
    assert_eq!(codes.partition_point(|code| *code == 0), 32, "{codes:?}");
    drainit.wait_exit(LONG).assert_code(0);
}

// holds: S820
#[test]
fn a_second_restart_shares_the_run_and_the_answer_of_the_first() {
    for update in ["stop-first", "start-first"] {
        let Some(rig) = Rig::new() else { return };
        rig.write("go", "");
        let drainit = rig.start_ready(&format!(
            "processes: {{app: {{command: [CHILD, app, await=DIR/go, print=up], update: {update}, readiness: {{log: ^up$}}}}}}"
        ));
        let restart = || drainit.exec_as(None, &["restart", "app"]).spawn().unwrap();
        fs::remove_file(drainit.path("go")).unwrap();
        let mut clients = vec![restart()];
        drainit.wait_for_events("app", "handling", 2);
        clients.push(restart());
        drainit.wait_for_lines("restart of app requested", 2);
        drainit.touch("go");
        for mut client in clients {
            assert!(client.wait().unwrap().success(), "{update}");
        }
        let record = drainit.record();
        assert_eq!(record.count("app", "handling"), 2, "{update}: {record}");
        drainit.stop().assert_code(0);
    }
}

// holds: S950
#[test]
fn a_restart_says_that_new_connections_were_refused_or_have_waited() {
    let server = "import socket, sys, time\ns = socket.socket(fileno=3) if len(sys.argv) < 2 else socket.create_server(('127.0.0.1', int(sys.argv[1])))\ntime.sleep(1000)\n";
    let port = free_address().port();
    let quiet = "command: [CHILD, app]".to_owned();
    let own = format!(
        "command: [python3, DIR/server.py, '{port}'], readiness: {{tcp: '127.0.0.1:{port}'}}"
    );
    let held = format!("command: [python3, DIR/server.py], listen: ['tcp://127.0.0.1:{port}']");
    for (app, said) in [
        (own, "; down for .*: new connections were refused"),
        (held, "; down for .*: new connections waited"),
        (quiet, "; down for [^:;]*$"),
    ] {
        let Some(rig) = Rig::new() else { return };
        rig.write("server.py", server);
        let drainit = rig.start_ready(&format!("processes: {{app: {{{app}}}}}"));
        let line = drainit.exec(&["restart", "app"]).stdout;
        let pattern = regex_lite::Regex::new(said).unwrap();
        assert!(pattern.is_match(line.trim_end()), "{app}: {line}");
        drainit.stop().assert_code(0);
    }
}

// holds: S824
#[test]
fn a_restart_says_how_long_no_instance_was_ready() {
    let app = "command: [CHILD, app, sleep=200, print=up], readiness: {log: ^up$}";
    let Some(drainit) = Rig::ready(&format!("processes: {{app: {{{app}}}}}")) else { return };
    let restart = || drainit.exec(&["restart", "app"]).stdout;
    let down = || drainit.processes(&["app"])[0]["down_seconds"].as_f64();
    assert_eq!(down(), None);
    let said = restart();
    assert!(said.contains("ready after ") && said.contains("; down for "), "{said}");
    assert!(down().unwrap() >= 0.2, "{:?}", down());
    drainit.edit("sleep=200", "sleep=300");
    let said = drainit.exec(&["reload"]).stdout;
    assert!(said.contains("; down for ") && down().unwrap() >= 0.3, "{said}");
    // The next instance starts beside this one, so one of the two is always ready.
    drainit.edit("readiness", "update: start-first, readiness");
    drainit.exec(&["reload"]).assert(0, "");
    let said = restart();
    assert!(!said.contains("down for") && down().is_none(), "{said}");
    drainit.stop().assert_code(0);
}
