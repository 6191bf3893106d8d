//! Tests that output arrives as whole lines, each with its prefix on its own stream, that nothing
//! is lost, and that a reader that does not read blocks nothing else.

use std::fs;
use std::io::Read;
use std::thread;

use serde_json::Value;

use crate::support::http::{get_unix, post_unix};
use crate::support::rig::full_pipe;
use crate::support::{Ended, LONG, Rig, Signal, Stream, ms, now};

// holds: C429, C435
#[test]
fn lines_get_their_prefix_and_keep_their_stream() {
    let Some(rig) = Rig::new() else { return };
    let ended = rig.run(
        "
        processes:
          a: {command: [CHILD, a, print=out, eprint=err, print=, exit=0], log: {prefix: pa}}
        ",
    );
    ended.assert_code(0);
    assert_eq!(ended.lines_of(Stream::Stdout, "pa"), ["out", ""]);
    assert_eq!(ended.lines_of(Stream::Stderr, "pa"), ["err"]);
    // drainit writes its own lines to stderr; stdout belongs to the processes.
    ended.assert_line(r"^\[drainit\] ");
    assert!(!ended.text(Stream::Stdout).contains("[drainit]"), "{}", ended.record);
}

// holds: S72, C436
#[test]
fn a_last_line_without_newline_is_kept() {
    let Some(rig) = Rig::new() else { return };
    let ended =
        rig.run("processes: {a: {command: [CHILD, a, raw=last words, exit=0], log: {prefix: a}}}");
    assert_eq!(ended.lines_of(Stream::Stdout, "a"), ["last words"]);

    let Some(rig) = Rig::new() else { return };
    let drainit = rig
        .start("processes: {a: {command: [CHILD, a, 'on=TERM:say:farewell'], log: {prefix: a}}}");
    drainit.wait_for_start(&["a"]);
    drainit.signal(Signal::SIGTERM);
    assert_eq!(drainit.wait_exit(LONG).lines_of(Stream::Stdout, "a"), ["farewell"]);

    // Of processes that outlive those whose output they share.
    let Some(rig) = Rig::new() else { return };
    let drainit = rig.start(
        "processes: {a: {scale: 8, command: [CHILD, a, 'daemon=d,on=TERM:say:farewell'], log: {}}}",
    );
    drainit.wait("the daemons", LONG, |record| {
        let events = record.events.iter();
        let begun = events.filter(|event| event.name == "d" && event.what.starts_with("handling"));
        (begun.count() == 8).then_some(())
    });
    let ended = drainit.stop();
    for number in 1..=8 {
        let lines = ended.lines_of(Stream::Stdout, &format!("a-{number}"));
        assert_eq!(lines, ["farewell"], "{}", ended.record);
    }
}

#[track_caller]
fn assert_json(ended: &Ended) {
    ended.assert_code(0);
    let mut messages = Vec::new();
    for line in &ended.record.lines {
        let Ok(object) = serde_json::from_str::<Value>(&line.text) else {
            panic!("not JSON: {}\n{}", line.text, ended.record);
        };
        let text = |key: &str| object[key].as_str().unwrap_or_default().to_owned();
        assert!(text("time").ends_with('Z'), "{object}");
        let stream = if line.stream == Stream::Stdout { "stdout" } else { "stderr" };
        assert_eq!(text("stream"), stream, "{object}");
        messages.push((text("process"), text("message")));
    }
    for (process, message) in
        [("a", "it says \"hi\"\\"), ("a", "err"), ("quiet", "no log:"), ("a", "tail")]
    {
        let wanted = (process.to_owned(), message.to_owned());
        assert!(messages.contains(&wanted), "no {wanted:?}:\n{}", ended.record);
    }
    assert!(messages.iter().any(|(process, _)| process == "drainit"), "{}", ended.record);
}

// holds: C136, C140, C434
#[test]
fn json_is_one_object_per_line() {
    let config = r#"
        processes:
          quiet: {type: oneshot, command: [CHILD, quiet, 'print=no log:', exit=0]}
          a:
            command: [CHILD, a, 'print=it says "hi"\', eprint=err, raw=tail, exit=0]
            depends_on: [quiet]
            log: {prefix: pa}
        "#;
    let Some(rig) = Rig::new() else { return };
    assert_json(
        &rig.run(&format!("logging: {{format: json}}\n{}", config.replace("\n        ", "\n"))),
    );
    let Some(rig) = Rig::new() else { return };
    assert_json(&rig.env("DRAINIT_LOG_FORMAT", "json").run(config));
}

// holds: C141
#[test]
fn a_wrong_config_is_reported_in_json_as_well() {
    let rig = Rig::not_init().env("DRAINIT_LOG_FORMAT", "json");
    let ended = rig.run("processes: {a: {command: [CHILD, a], depends_on: [b], x: 1}}");
    ended.assert_code(78);
    let lines: Vec<serde_json::Value> = ended
        .text(Stream::Stderr)
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line}")))
        .collect();
    assert_eq!(lines.len(), 3, "{lines:?}");
    assert!(lines.iter().all(|line| line["process"] == "drainit" && line["level"] == "error"));
    let first = lines[0]["message"].as_str().unwrap();
    assert!(first.contains("drainit.yaml:1:"), "{first}");
}

// holds: C428
#[test]
fn without_log_a_process_has_the_real_descriptors() {
    let Some(rig) = Rig::new() else { return };
    let drainit = rig.start(
        "
        processes:
          bare: {command: [CHILD, bare, report=DIR/bare.json]}
          said: {command: [CHILD, said, report=DIR/said.json], log: {mode: inherit}}
          piped: {command: [CHILD, piped, report=DIR/piped.json], log: {prefix: p}}
        ",
    );
    for name in ["bare", "said", "piped"] {
        drainit.wait_for_event(name, "report");
    }
    let own = |fd: i32| fs::read_link(format!("/proc/{}/fd/{fd}", drainit.pid())).unwrap();
    let own = [1, 2].map(|fd| own(fd).display().to_string());
    let ended = drainit.stop();
    for (name, is_own) in [("bare", true), ("said", true), ("piped", false)] {
        let report = ended.report(&format!("{name}.json"));
        for (fd, own) in [("1", &own[0]), ("2", &own[1])] {
            assert_eq!(report["fds"][fd] == own.as_str(), is_own, "{name}: {report}");
        }
    }
}

// holds: S72, C440
#[test]
fn an_unread_stdout_does_not_delay_a_stop() {
    for log in ["{prefix: a}", "{mode: inherit}"] {
        let (unread, pipe) = full_pipe();
        let Some(rig) = Rig::new() else { return };
        let config = format!(
            "
            processes:
              base: {{command: [CHILD, base, touch=DIR/base], readiness: {{file: DIR/base}}, log: {log}}}
              a: {{command: [CHILD, a, flood], depends_on: [base], log: {log}}}
            "
        );
        let drainit = rig.stdout(pipe).start(&config);
        drainit.wait_for_start(&["a"]);
        let asked = drainit.signal(Signal::SIGTERM);
        drainit
            .wait_exit(LONG)
            .assert_code(0)
            .assert_took(asked, ms(0)..ms(8000))
            .assert_stopped_in_order(&["a", "base"]);
        drop(unread);
    }
}

// holds: C438, C440
#[test]
fn a_process_that_is_stuck_in_its_output_can_go_on_to_its_end() {
    let (unread, pipe) = full_pipe();
    let Some(rig) = Rig::new() else { return };
    // The process writes more than all buffers hold, and ends only after its last line.
    let drainit = rig.stdout(pipe).start(
        "
        processes:
          a:
            command: [sh, -c, 'trap \"seq 600000; exit 0\" TERM; touch DIR/a; while :; do sleep 0.05; done']
            readiness: {file: DIR/a}
            log: {prefix: a}
        ",
    );
    drainit.wait_for_line("everything is ready");
    let asked = drainit.signal(Signal::SIGTERM);
    let ended = drainit.wait_exit(LONG);
    ended.assert_code(0).assert_took(asked, ms(500)..ms(8000));
    drop(unread);
}

// holds: C95
#[test]
fn drainit_answers_while_a_slow_reader_takes_the_last_lines() {
    let (mut reader, pipe) = std::io::pipe().unwrap();
    let Some(rig) = Rig::new() else { return };
    let drainit = rig.stdout(pipe).start(
        "
        shutdown: {grace_period: 30s, reserve: 10s}
        control: {socket: DIR/control.sock}
        processes: {a: {command: [CHILD, a, 'lines=12000,of many', touch=DIR/done], log: {}}}
        ",
    );
    // The queue holds them all.
    drainit.wait_for_event("a", "touch");
    let asked = drainit.signal(Signal::SIGTERM);
    let reading = thread::spawn(move || {
        let mut page = [0; 4096];
        while reader.read(&mut page).is_ok_and(|count| count > 0) {
            thread::sleep(ms(100));
        }
    });
    let (socket, mut answered) = (drainit.path("control.sock"), asked);
    while get_unix(&socket, "/livez").is_ok_and(|(code, _)| code == 200) {
        answered = now();
        thread::sleep(ms(10));
    }
    let ended = drainit.wait_exit(LONG);
    ended.assert_code(0);
    assert!(answered - asked > ms(1500), "{:?}\n{}", answered - asked, ended.record);
    assert!(ended.at() - answered < ms(3000), "{:?}", ended.at() - answered);
    reading.join().unwrap();
}

// holds: C440
#[test]
fn a_drain_on_request_drops_no_lines() {
    let (mut reader, pipe) = full_pipe();
    let Some(rig) = Rig::new() else { return };
    let drainit = rig.stdout(pipe).start(
        "
        control: {socket: DIR/control.sock}
        processes:
          a: {command: [CHILD, a, await=DIR/go, 'lines=200000,of many', touch=DIR/done], log: {}}
        ",
    );
    drainit.wait_for_line("everything is ready");
    assert_eq!(post_unix(&drainit.path("control.sock"), "/drain").unwrap().0, 202);
    drainit.wait_for_line("a drain was requested|drain requested");
    drainit.touch("go");
    // More than the time in which a shutdown waits for the reader.
    thread::sleep(ms(1500));
    let reading = thread::spawn(move || {
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        text.lines().filter(|line| line.contains("[a] of many ")).count()
    });
    drainit.wait_for_event("a", "touch");
    let ended = drainit.stop();
    ended.assert_code(0).assert_no_line("dropped");
    assert_eq!(reading.join().unwrap(), 200_000);
}

// holds: C439
#[test]
fn an_unread_stderr_does_not_delay_drainit() {
    let (unread, pipe) = full_pipe();
    let Some(rig) = Rig::new() else { return };
    // The stderr of drainit is redirected to the full pipe.
    let rig = rig.stdout(pipe).wrapper(&["sh", "-c", "exec \"$@\" 2>&1", "sh"]);
    let drainit = rig.start(
        "
        processes:
          base: {command: [CHILD, base, touch=DIR/base], readiness: {file: DIR/base}}
          a: {command: [CHILD, a], depends_on: [base]}
        ",
    );
    drainit.wait_for_start(&["a"]);
    let asked = drainit.signal(Signal::SIGTERM);
    drainit
        .wait_exit(LONG)
        .assert_code(0)
        .assert_took(asked, ms(0)..ms(8000))
        .assert_stopped_in_order(&["a", "base"]);
    drop(unread);
}

// holds: S72
#[test]
fn what_a_daemon_holds_open_holds_up_no_end() {
    let Some(rig) = Rig::new() else { return };
    let drainit = rig.start(
        "
        processes:
          a: {command: [CHILD, a, 'daemon=daemon,print=from the daemon'], log: {prefix: a}}
        ",
    );
    drainit.wait_for_line(r"\[a\] from the daemon");
    drainit.wait_for_event("a", "daemon");
    let asked = drainit.signal(Signal::SIGTERM);
    drainit.wait_exit(LONG).assert_code(0).assert_took(asked, ms(0)..ms(8000));
}

// holds: C647
#[test]
fn a_level_that_there_is_not_is_info_with_a_warning() {
    let loud = || Some(Rig::new()?.env("DRAINIT_LOG_LEVEL", "loud"));
    let (Some(run), Some(exec)) = (loud(), loud()) else { return };
    // Where debug is logged, so is the end of an orphan.
    let config = "processes: {a: {command: [sh, -c, '(true &)']}}";
    let drained = ["exec", "--drain-envoy", "unix:/nobody", "--", "sh", "-c", "(true &)"];
    for ended in [run.run(config), exec.run_with(&drained)] {
        ended
            .assert_code(0)
            .assert_line(r"warning: DRAINIT_LOG_LEVEL: .loud. is not one of")
            .assert_line(r"\w: started")
            .assert_no_line("debug: ");
    }
}

// holds: C646, C647
#[test]
fn a_variable_of_drainit_that_is_not_utf_8_is_wrong_and_not_unset() {
    for (name, code, said) in [
        ("DRAINIT_LOG_LEVEL", 0, "DRAINIT_LOG_LEVEL: .* is not one of"),
        ("DRAINIT_LOG_FORMAT", 78, "`DRAINIT_LOG_FORMAT` (is neither|in .* is .*: )"),
    ] {
        let set = format!(r#"export {name}="$(printf '\377')" && exec "$@""#);
        let rig = || Some(Rig::new()?.wrapper(&["sh", "-c", &set, "sh"]));
        let (Some(run), Some(exec)) = (rig(), rig()) else { return };
        let config = "processes: {a: {command: [CHILD, a, exit=0]}}";
        run.run(config).assert_code(code).assert_line(said);
        let drained = ["exec", "--drain-envoy", "unix:/nobody", "--", "true"];
        exec.run_with(&drained).assert_code(code).assert_line(said);
    }
}
