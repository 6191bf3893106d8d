//! Tests the report of the shutdown, which includes the times of the start: in a log and in a file.

use nix::sys::signal::kill;
use regex_lite::Regex;

use crate::support::record::Stream;
use crate::support::*;

/// The chain router → policy → python. `policy` ignores its stop signal, and `router` is drained.
const GRAPH: &str = "
shutdown: {grace_period: 8s, REPORT}
processes:
  python: {command: [CHILD, python, 'on=TERM:exit:0', touch=DIR/python], readiness: {file: DIR/python}}
  policy: {command: [CHILD, policy, 'on=TERM:ignore'], depends_on: [python], stop_grace_period: 300ms}
  router:
    command: [CHILD, router, 'on=TERM:exit:0:60']
    depends_on: [policy]
    drain: {exec: {command: [CHILD, drain, sleep=200, exit=0], time: 3s}}
";

fn stopped(rig: Rig, report: &str) -> Ended {
    // A process may run before drainit knows that its exec has succeeded.
    let drainit = rig.start_ready(&GRAPH.replace("REPORT", report));
    drainit.wait_for_start(&["router", "policy"]);
    drainit.stop()
}

// holds: S138, S139, C140
#[test]
fn the_report_is_in_a_file_and_in_the_last_line_of_a_json_log() {
    let Some(rig) = Rig::new() else { return };
    let rig = rig.env("DRAINIT_LOG_FORMAT", "json");
    let ended = stopped(rig, "report: DIR/report.json");
    let report = ended.assert_code(137).report("report.json");
    assert_eq!((&report["version"], &report["exit_code"]), (&1.into(), &137.into()));
    assert_eq!(fs::read_to_string(ended.path("report.json")).unwrap().lines().count(), 1);
    // Each event is a line of the log, with facts that only the supervisor knows.
    for event in [
        r#""event":"started","name":"policy".*"pid":[1-9]"#,
        r#""event":"drained","name":"router".*"reason":"reported""#,
        r#""event":"killed","name":"policy""#,
        r#""event":"exit","exit_code":137"#,
    ] {
        ended.assert_line(event);
    }
    let log = ended.text(Stream::Stderr);
    let last: Value = serde_json::from_str(log.lines().next_back().unwrap()).unwrap();
    assert_eq!(last["report"], report);
    let text = last["message"].as_str().unwrap();
    for part in ["stopped in ", " of 6s, exit code 137: SIGTERM received\n", "\n  killed: 1 of 3"] {
        assert!(text.contains(part), "{text}");
    }
    let names: Vec<_> =
        report["steps"].as_array().unwrap().iter().map(|step| &step["name"]).collect();
    // `policy` and `python` have no drain, so their connections are counted only for the report.
    let expected = [
        "count of connections",
        "drain router",
        "stop router",
        "stop policy",
        "stop python",
        "leftover processes",
    ];
    assert_eq!(names, expected);
}

// holds: S141, C86, C607
#[test]
fn a_report_that_cannot_be_written_is_a_warning_and_changes_nothing() {
    let Some(rig) = Rig::new() else { return };
    let ended = stopped(rig, "report: DIR/none/report.json");
    ended
        .assert_code(137)
        .assert_line("warning: the report cannot be written to .*/none/report.json: its directory does not exist");
    // Only a file has the report as JSON, if the log is not JSON.
    ended.assert_no_line("\"version\"");
    ended.assert_line(r"^\[drainit\].* stopped in .*s of 6s, exit code 137: SIGTERM received$");
    let log = ended.text(Stream::Stderr);
    let at = |text: &str| log.find(text).unwrap_or_else(|| panic!("{log}"));
    assert!(at("the report cannot be written") < at("stopped in "), "{log}");
}

// holds: S130
#[test]
fn a_stop_after_a_failed_start_takes_no_longer_than_the_shutdown() {
    let Some(rig) = Rig::new() else { return };
    // Just before the shutdown, drainit logs the last lines of this output, which takes about 1 ms.
    // This time must not count for the stop.
    let config = "
        shutdown: {grace_period: 8s}
        processes:
          a:
            command: [sh, -c, 'yes $(seq 3000) | head -c 400000; exec sleep 100']
            log: {prefix: a}
            readiness: {file: DIR/never, timeout: 300ms}
        ";
    let ended = rig.env("DRAINIT_LOG_FORMAT", "json").run(config);
    let seconds = |event: &str| {
        let is_of = format!("\"event\":\"{event}\"");
        let lines = &ended.assert_code(1).record.lines;
        let line = lines.iter().find(|line| line.text.contains(&is_of)).expect(event);
        serde_json::from_str::<Value>(&line.text).unwrap()["seconds"].as_f64().unwrap()
    };
    assert!(seconds("stopped") <= seconds("exit"), "{} {}", seconds("stopped"), seconds("exit"));
}

// holds: S775
#[test]
fn the_report_is_in_the_termination_log() {
    let Some(rig) = Rig::as_root("a mount") else { return };
    fs::create_dir(rig.path("dev")).unwrap();
    rig.write("dev/termination-log", "");
    let rig = rig.after_mounts("mount --bind DIR/dev /dev");
    let ended = rig.run("processes: {a: {command: [CHILD, a, exit=3]}}");
    let text = fs::read_to_string(ended.assert_code(3).path("dev/termination-log")).unwrap();
    assert!(text.starts_with("stopped in ") && text.contains("exit code 3"), "{text}");
    let totals =
        Regex::new(r"^[^\n]*; connections \S+, requests \S+, cut \S+, killed 0, counted by ");
    assert!(totals.unwrap().is_match(&text), "{text}");
}

// holds: S115, S262
#[test]
fn a_kill_by_drainit_is_not_taken_for_the_oom_killer() {
    let Some(rig) = Rig::as_root("a mount") else { return };
    // One file stands in for the kernel's files of cgroup v1 and of cgroup v2.
    rig.write("count", "oom_kill 0\n");
    let rig = rig.after_mounts(
        "mount -t tmpfs none /sys/fs/cgroup && mkdir /sys/fs/cgroup/memory && cd /sys/fs/cgroup \
         && ln -s DIR/count memory.events && ln -s DIR/count memory/memory.oom_control",
    );
    let drainit = rig.start_ready(
        "processes: {
           stubborn: {command: [CHILD, stubborn, 'on=TERM:ignore'], stop_grace_period: 100ms},
           victim: {command: [CHILD, victim], on_exit: ignore}}",
    );
    drainit.wait_for_start(&["stubborn", "victim"]);
    drainit.write("count", "oom_kill 1\n");
    drainit.exec(&["stop", "stubborn"]).assert(0, "stubborn");
    kill(drainit.children()[0], Signal::SIGKILL).unwrap();
    drainit.wait_for_line("victim: was ended by SIGKILL, probably by the kernel's OOM killer");
    drainit.stop().assert_no_line("stubborn: .*OOM");
}
