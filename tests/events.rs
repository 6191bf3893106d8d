//! The events of the real binary, in a file, a FIFO and a descriptor.

use std::fs;
use std::path::Path;

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use serde_json::Value;

use crate::support::{LONG, Rig, Signal, ms};

/// Reads the events of a file.
#[track_caller]
fn events(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Describes events as `event process`.
fn words(events: &[Value]) -> Vec<String> {
    let word = |event: &Value, key: &str| event[key].as_str().unwrap_or_default().to_owned();
    let words = events.iter().map(|event| word(event, "event") + " " + &word(event, "process"));
    words.map(|words| words.trim_end().to_owned()).collect()
}

#[test]
fn a_run_is_told_from_the_first_start_to_the_exit() {
    let Some(rig) = Rig::new() else { return };
    let rig = rig.env("TOKEN", "s3cr3t");
    let config = "
        logging: {events: DIR/events.jsonl}
        shutdown: {grace_period: 12s}
        processes:
          left-out: {command: [CHILD, left-out], only_if: {path_exists: DIR/none}}
          task: {type: oneshot, command: [CHILD, task, exit=0]}
          worker:
            command: [CHILD, worker, await=DIR/end, exit=7]
            environment: {WORKER_TOKEN: '${TOKEN}'}
            depends_on: {task: {condition: completed}}
            restart: always
            restart_delay: 5s
          server:
            command: [CHILD, server, touch=DIR/up, 'on=TERM:ignore']
            depends_on: {task: {condition: completed}}
            readiness: {file: DIR/up}
            drain: {exec: {command: [sleep, '0.2'], time: 3s, min: 100ms}}
            stop_grace_period: 200ms
        ";
    let drainit = rig.start(config);
    drainit.wait_for_line("everything is ready");
    drainit.touch("end");
    drainit.wait_for_line("worker: exited with code 7; restart 1");
    drainit.signal(Signal::SIGTERM);
    let ended = drainit.wait_exit(LONG);
    let told = events(&ended.path("events.jsonl"));
    let words = words(&told);
    let find = |what: &str| {
        let place = words.iter().position(|word| word == what);
        &told[place.unwrap_or_else(|| panic!("no {what} in {words:?}"))]
    };
    assert_eq!(words.last().map(String::as_str), Some("exit"));
    for (before, after) in [
        ("skipped left-out", "all_ready"),
        ("completed task", "started server"),
        ("started server", "ready server"),
        ("ready server", "all_ready"),
        ("all_ready", "ended worker"),
        ("ended worker", "shutdown"),
        ("shutdown", "draining server"),
        ("draining server", "drained server"),
        ("drained server", "stopping server"),
        ("stopping server", "killed server"),
        ("killed server", "stopped server"),
    ] {
        let (before, after) = (find(before), find(after));
        assert!(before["time"].as_str() <= after["time"].as_str(), "{before} {after}");
        let place = |event: &Value| told.iter().position(|other| other == event);
        assert!(place(before) < place(after), "{words:?}");
    }
    let worker = find("ended worker");
    assert_eq!((&worker["exit_code"], &worker["reason"]), (&7.into(), &"error".into()));
    assert_eq!((&worker["next"], &worker["attempt"]), (&"restart".into(), &1.into()));
    assert_eq!(worker["pid"], find("started worker")["pid"]);
    assert!(worker["pid"].as_i64() > Some(0), "{worker}");
    assert_eq!(find("shutdown")["cause"], "SIGTERM received");
    assert_eq!(find("shutdown")["max_seconds"], 10.0);
    assert_eq!(find("drained server")["reason"], "reported");
    let server = find("stopped server");
    assert_eq!((&server["exit_code"], &server["reason"]), (&137.into(), &"killed".into()));
    assert_eq!(find("exit")["exit_code"], ended.code);
    assert!(find("exit")["seconds"].as_f64() > Some(0.2), "{}", find("exit"));
    let text = fs::read_to_string(ended.path("events.jsonl")).unwrap();
    assert!(!text.contains("s3cr3t"), "{text}");
}

#[test]
fn events_go_to_a_descriptor_of_the_caller() {
    let Some(rig) = Rig::new() else { return };
    let file = rig.fill("DIR/told");
    let words = ["sh", "-c", &format!("exec \"$@\" 3>>{file}"), "sh"];
    let config = "
        logging: {events: /dev/fd/3}
        processes: {a: {command: [CHILD, a]}}
        ";
    let drainit = rig.wrapper(&words).start(config);
    drainit.wait_for_line("everything is ready");
    drainit.signal(Signal::SIGTERM);
    let ended = drainit.wait_exit(LONG);
    ended.assert_code(0);
    let words = words_of(&ended.path("told"));
    assert_eq!(words.first().map(String::as_str), Some("started a"));
    assert_eq!(words.last().map(String::as_str), Some("exit"));
}

fn words_of(path: &Path) -> Vec<String> {
    words(&events(path))
}

/// A FIFO holds 64 KiB, and drainit's queue 256 KiB: this run has more events.
#[test]
fn a_fifo_that_nobody_reads_delays_nothing() {
    let Some(rig) = Rig::new() else { return };
    mkfifo(&rig.path("fifo"), Mode::S_IRWXU).unwrap();
    let names: Vec<_> = (0..1500).map(|number| format!("p{number:0>100}")).collect();
    let process = |name: &String| {
        format!("  {name}: {{command: ['true'], only_if: {{path_exists: /none}}}}\n")
    };
    let many: String = names.iter().map(process).collect();
    let config =
        format!("logging: {{events: DIR/fifo}}\nprocesses:\n  a: {{command: [CHILD, a]}}\n{many}");
    let drainit = rig.start(&config);
    drainit.wait_for_line("everything is ready");
    let asked = drainit.signal(Signal::SIGTERM);
    let ended = drainit.wait_exit(LONG);
    ended.assert_code(0).assert_took(asked, ms(0)..ms(8000));
    ended.assert_line("logging.events: [0-9]+ events were dropped");
}

#[test]
fn a_file_that_cannot_be_written_is_found_before_anything_starts() {
    for path in ["DIR/none/events", "DIR"] {
        let config =
            format!("logging: {{events: {path}}}\nprocesses: {{a: {{command: [CHILD, a]}}}}");
        Rig::not_init()
            .run(&config)
            .assert_code(78)
            .assert_line("logging.events /.*: .*; it needs a directory that exists")
            .assert_no_event("a", "start");
    }
}

#[test]
fn an_end_has_the_pid_of_its_own_instance_or_none() {
    let Some(rig) = Rig::new() else { return };
    rig.write_program("app", "#!/bin/sh\nrm \"$0\"\nexit 3\n");
    let drainit = rig.start(
        "
        logging: {events: DIR/events.jsonl}
        processes: {a: {command: [DIR/app], restart: always, restart_delay: 100ms}}
        ",
    );
    drainit.wait_for_line("restart 2");
    drainit.signal(Signal::SIGTERM);
    let ended = drainit.wait_exit(LONG);
    let told = events(&ended.path("events.jsonl"));
    let pids = |what: &str| {
        let of = told.iter().filter(|event| event["event"] == what);
        of.map(|event| event["pid"].as_i64()).collect::<Vec<_>>()
    };
    assert_eq!(pids("started").len(), 1, "{told:?}");
    assert_eq!(pids("ended")[..2], [pids("started")[0], None], "{told:?}");
}
