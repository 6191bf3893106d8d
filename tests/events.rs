//! The events in the JSON log of the real binary.

use serde_json::Value;

use crate::support::{Ended, Rig};

/// The lines of the log that are about an event.
fn events(ended: &Ended) -> Vec<Value> {
    let lines = ended.record.lines.iter().filter(|line| line.text.starts_with('{'));
    let lines = lines.map(|line| serde_json::from_str::<Value>(&line.text).unwrap());
    lines.filter(|line| line["event"].is_string()).collect()
}

/// Describes events as `event process`.
fn words(events: &[Value]) -> Vec<String> {
    let word = |event: &Value, key: &str| event[key].as_str().unwrap_or_default().to_owned();
    let words = events.iter().map(|event| word(event, "event") + " " + &word(event, "name"));
    words.map(|words| words.trim_end().to_owned()).collect()
}

// holds: C140
#[test]
fn a_run_is_told_from_the_first_start_to_the_exit() {
    let Some(rig) = Rig::new() else { return };
    let rig = rig.env("TOKEN", "s3cr3t");
    let config = "
        logging: {format: json}
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
    let drainit = rig.start_ready(config);
    drainit.touch("end");
    drainit.wait_for_line("worker: exited with code 7; restart 1");
    let ended = drainit.stop();
    let told = events(&ended);
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
    ended.assert_no_line("s3cr3t");
    for line in &told {
        assert!(line["process"] == "drainit" && line["message"].is_string(), "{line}");
    }
}
