//! Tests `drainit status` in the container of a running drainit, and the private socket that it
//! uses.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixStream};

use crate::support::rig::NOBODY;
use crate::support::*;

/// The address of the private socket of a drainit that is PID 1.
fn private(drainit: &Running) -> SocketAddr {
    let link = std::fs::read_link(format!("/proc/{}/ns/pid", drainit.pid())).unwrap();
    let inode = link.to_str().unwrap().trim_matches(|c: char| !c.is_ascii_digit()).to_owned();
    SocketAddr::from_abstract_name(format!("drainit/{inode}/1")).unwrap()
}

// holds: C89, C895
#[test]
fn status_shows_every_process_without_a_control_section() {
    let config = "
        processes:
          a: {command: [CHILD, a]}
          waits: {command: [CHILD, waits, await=DIR/go, touch=DIR/w], readiness: {file: DIR/w}}
          task: {type: oneshot, command: [CHILD, task, exit=0]}
          fails: {command: [CHILD, fails, await=DIR/end, exit=7], restart: always, restart_delay: 10ms}
        ";
    let Some(drainit) = Rig::started(config) else { return };
    drainit.wait_for_start(&["a", "waits"]);
    drainit.wait_for_line("task: completed");
    let said = drainit.exec(&["status"]);
    let lines: Vec<_> = said.stdout.lines().collect();
    assert_eq!((said.code, lines.len()), (0, 6), "{said:?}");
    assert!(lines[0].starts_with("starting, not ready, up "), "{said:?}");
    assert!(!said.stdout.contains('…'), "{said:?}");
    let row = |name: &str| -> Vec<&str> {
        let line = lines.iter().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace().collect()
    };
    assert_eq!((row("a")[1], row("waits")[1], row("task")[1]), ("ready", "starting", "done"));
    assert!(row("a")[6].ends_with(['K', 'M']), "memory: {said:?}");

    drainit.touch("go");
    drainit.touch("end");
    drainit.wait_until("restarted", || {
        let now = drainit.status(&[]);
        let fails = &now["processes"][3];
        fails["restarts"].as_u64() > Some(0) && fails["last_exit"] == "exited with code 7"
    });
    drainit.wait_until("ready", || drainit.status(&[])["processes"][1]["ready"] == true);
    let now = drainit.status(&[]);
    assert_eq!((&now["pid"], &now["version"]), (&1.into(), &env!("CARGO_PKG_VERSION").into()));
    let a = &now["processes"][0];
    assert!(a["pid"].as_i64() > Some(1) && a["memory_bytes"].as_u64() > Some(10_000), "{a}");

    for words in [&["status", "-o", "json"][..], &["status", "--json"]] {
        drainit.exec(words).assert(0, "{\"version\":");
    }
    drainit.exec(&["status", "-o", "name", "f*", "a"]).assert(0, "a\nfails\n");
    let said = drainit.exec(&["status", "waits", "a"]);
    assert_eq!((said.code, said.stdout.lines().count()), (0, 4), "{said:?}");
    drainit
        .exec(&["status", "wait"])
        .assert(1, "there is no process `wait`; did you mean `waits`?");
    drainit.exec(&["status", "x y"]).assert(1, "there is no process `x y`");
    drainit.exec(&["health", "--live"]).assert(0, "ok");
}

// holds: S948
#[test]
fn a_oneshot_that_ends_with_another_success_code_is_complete_everywhere() {
    let config = "
        processes:
          task: {type: oneshot, command: [CHILD, task, exit=3], success_codes: [3]}
          either: {type: oneshot, command: [CHILD, either, exit=3], success_codes: [9, 3]}
          a: {command: [CHILD, a], depends_on: {task: {condition: completed}}}
        ";
    let Some(drainit) = Rig::ready(config) else { return };
    let now = drainit.status(&[]);
    for (number, name) in ["task", "either"].into_iter().enumerate() {
        let process = &now["processes"][number];
        let shown = (&process["state"], &process["last_exit"]);
        assert_eq!(shown, (&json!("done"), &json!("exited with code 3")), "{process}");
        drainit.exec(&["start", name]).assert(0, "completed after ");
    }
    drainit.stop().assert_code(0);
}

// holds: C3
#[test]
fn status_needs_no_config_and_no_privileges() {
    let Some(rig) = Rig::new() else { return };
    let drainit = rig.without_privileges().start_ready("processes: {a: {command: [CHILD, a]}}");
    for user in [None, Some(NOBODY)] {
        let mut command = drainit.exec_as(user, &["status"]);
        Said::of(command.env_remove("DRAINIT_CONFIG").output().unwrap()).assert(0, "ready");
        Said::of(drainit.exec_as(user, &["status"]).output().unwrap()).assert(0, "ready");
    }
    // `status` does not need a valid config.
    let mut command = drainit.exec_as(None, &["status", "-c", "/proc/self/status"]);
    Said::of(command.output().unwrap()).assert(0, "ready");
}

#[test]
fn other_users_and_other_containers_are_refused() {
    let Some(rig) = Rig::new() else { return };
    let drainit = rig.readable_by_everybody().start_ready("processes: {a: {command: [CHILD, a]}}");
    for args in [&["status"][..], &["stop", "a"], &["kill", "a"], &["drain"]] {
        let said = Said::of(drainit.exec_as(Some(12_345), args).output().unwrap());
        said.assert(1, "user 12345 may not send requests");
    }
    // This test runs as root, but drainit refuses the request, because the test is in another PID
    // namespace.
    let mut stream = UnixStream::connect_addr(&private(&drainit)).unwrap();
    stream.write_all(b"POST /v1/kill?signal=9&process=a HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(
        answer.starts_with("HTTP/1.1 403 ") && answer.contains("in another PID namespace"),
        "{answer}"
    );
    drainit.exec(&["status"]).assert(0, "running, ready");
}

#[test]
fn status_shows_the_progress_of_a_shutdown_and_watch_ends_then() {
    let config = "
        shutdown: {grace_period: 60s}
        processes: {a: {command: [CHILD, a, 'on=TERM:ignore'], stop_grace_period: 50s}}
        ";
    let Some(drainit) = Rig::started(config) else { return };
    drainit.wait_for_start(&["a"]);
    let mut watch =
        drainit.exec_as(None, &["status", "--watch"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(watch.stdout.take().unwrap()).lines().map(Result::unwrap);
    assert!(lines.next().unwrap().starts_with("running, ready"));
    drainit.signal(Signal::SIGTERM);
    drainit.wait_for_event("a", "got SIGTERM");
    let progress = lines.find(|line| line.starts_with("stopping")).unwrap();
    assert!(
        progress.starts_with("stopping (SIGTERM received) for ") && progress.contains(" left"),
        "{progress}"
    );
    // Two SIGINT that are pending at the same time count as one signal, so the test waits for the
    // first.
    drainit.signal_again(Signal::SIGINT);
    drainit.wait_for_line(said::HURRIED);
    drainit.signal_again(Signal::SIGINT);
    drainit.wait_exit(LONG);
    // The end of PID 1 ends its namespace, in which the command runs.
    let began = Instant::now();
    lines.by_ref().for_each(drop);
    watch.wait().unwrap();
    assert!(began.elapsed() < LONG);
}

// holds: C93, C610
#[test]
fn without_a_socket_the_commands_name_the_reason() {
    let Some(rig) = Rig::new() else { return };
    let drainit =
        rig.start_ready("{control: {socket: off}, processes: {a: {command: [CHILD, a]}}}");
    UnixStream::connect_addr(&private(&drainit)).unwrap_err();
    for args in [&["status"][..], &["drain"], &["health"]] {
        drainit.exec(args).assert(78, "the config has `control: {socket: off}`");
    }
    let mut command = drainit.exec_as(None, &["status"]);
    let said = Said::of(command.env("DRAINIT_CONFIG", "/dev/null").output().unwrap());
    assert_eq!(said.code, 78, "{said:?}");
}

// holds: C891
#[test]
fn the_note_says_why_a_process_is_not_ready_or_could_not_be_started() {
    let config = "
        processes:
          silent: {command: [CHILD, silent], readiness: {notify: true}}
          hang: {command: [CHILD, hang], readiness: {exec: [sleep, '60'], timeout: 60s}}
          bad: {command: [CHILD, bad], autostart: false, hooks: {pre_start: ['false']}}
          deaf:
            command: [CHILD, deaf]
            autostart: false
            readiness: {tcp: '127.0.0.1:1', timeout: 100ms}
        ";
    let Some(drainit) = Rig::started(config) else { return };
    drainit.wait_for_start(&["silent", "hang"]);
    drainit.exec(&["start", "bad"]).assert(1, "bad failed");
    drainit.exec(&["start", "deaf"]).assert(1, "deaf did not become ready");
    for (name, why) in [
        ("silent", "it has not sent READY=1"),
        ("hang", "its probe has not ended"),
        ("bad", "its pre_start hook failed"),
        ("deaf", "did not become ready within 100ms: 127.0.0.1:1: connection refused"),
    ] {
        drainit.wait_until(why, || drainit.processes(&[name])[0]["message"] == why);
    }
    drainit.stop().assert_code(0);
}

// holds: S853
#[test]
fn a_named_process_that_is_not_ready_shows_last_lines_and_listening_addresses() {
    let [open, asked] = [free_address(), free_address()].map(|it| it.to_string());
    let config = "
        processes:
          a:
            command: [CHILD, a, 'print=booted', 'tcp=OPEN']
            readiness: {tcp: 'ASKED', timeout: 60s}
            log: {prefix: a}
          b: {command: [CHILD, b]}
        ";
    let config = config.replace("OPEN", &open).replace("ASKED", &asked);
    let Some(drainit) = Rig::started(&config) else { return };
    drainit.wait_until("a socket", || {
        let said = drainit.exec(&["status", "a"]);
        said.stdout.contains(&format!("\na listens on {open}\n"))
    });
    let said = drainit.exec(&["status", "a"]);
    said.assert(0, "a is not ready; its last lines are:\n  booted\n").assert(0, "refused");
    let said = drainit.exec(&["status", "b"]);
    assert!(!said.stdout.contains("listens") && !said.stdout.contains("lines"), "{said:?}");
    let said = drainit.exec(&["status"]);
    assert!(!said.stdout.contains("listens"), "only for a named process: {said:?}");
    drainit.stop().assert_code(0);
}

// holds: C889, C890, C891
#[test]
fn the_note_says_what_a_process_waits_for_and_nothing_about_a_normal_stop() {
    let config = "
        processes:
          db: {command: [CHILD, db, await=DIR/go, touch=DIR/db], readiness: {file: DIR/db}}
          cache: {command: [CHILD, cache]}
          web:
            command: [CHILD, web]
            depends_on: [db, cache]
            drain: {exec: {command: ['true']}}
        ";
    let Some(drainit) = Rig::started(config) else { return };
    drainit.wait_for_start(&["db", "cache"]);
    let row = |name: &str| {
        let said = drainit.exec(&["status"]).stdout;
        let row = said.lines().find(|line| line.starts_with(name)).unwrap();
        row.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    drainit.wait_until("note", || row("web")[7..] == ["waiting", "for", "db"]);
    drainit.exec(&["health"]).assert(1, ", web (waiting for db)\n");
    drainit.touch("go");
    drainit.wait_for_line(said::ALL_READY);
    // After a restart by hand the table has no note, because whoever restarted the process knows
    // the reason.
    drainit.exec(&["restart", "cache"]).assert(0, "; started");
    assert_eq!((row("cache")[1].as_str(), row("cache").len()), ("ready", 7));
    assert_eq!(drainit.status(&[])["processes"][1]["last_exit_asked"], true);
    drainit.exec(&["drain"]).assert(0, "web: drain over");
    assert!(drainit.exec(&["status"]).stdout.starts_with("drained (drain requested "));
    assert_eq!(row("web")[1], "drained");
    // A later stop has a grace period of its own.
    assert_eq!(drainit.status(&[])["shutdown"].get("deadline_in_seconds"), None);
    drainit.stop().assert_code(0);
}
