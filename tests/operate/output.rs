//! Tests that output arrives as whole lines, each with its prefix on its own stream, that no line
//! is lost, and that an output that nobody reads does not block drainit.

use std::fs;
use std::io::Read;

use serde_json::Value;

use crate::support::rig::full_pipe;
use crate::support::said;
use crate::support::{Ended, LONG, Rig, Signal, Stream, ms};

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

    // Daemons share the output of a process, and outlive the process.
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
fn json_has_an_object_per_line() {
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

// holds: S72, S270
#[test]
fn a_slow_reader_gets_all_lines_beyond_the_reserve() {
    let Some(rig) = Rig::new() else { return };
    let (mut reader, writer) = std::io::pipe().unwrap();
    let reading = std::thread::spawn(move || {
        let (mut page, mut lines) = ([0; 4096], 0);
        while let count @ 1.. = reader.read(&mut page).unwrap() {
            lines += page[..count].iter().filter(|byte| **byte == b'\n').count();
            std::thread::sleep(ms(40));
        }
        lines
    });
    // The lines have 290 KB, which the reader reads in about 3 s.
    let text = "x".repeat(40);
    let config = format!(
        "
        shutdown: {{reserve: 1s}}
        processes: {{a: {{command: [CHILD, a, 'lines=6000,{text}', exit=0], log: {{prefix: a}}}}}}
        "
    );
    rig.stdout(writer).run(&config).assert_code(0);
    assert_eq!(reading.join().unwrap(), 6000);
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
        drainit
            .stop()
            .assert_code(0)
            .assert_stopped_within(ms(0)..ms(8000))
            .assert_stopped_in_order(&["a", "base"]);
        drop(unread);
    }
}

// holds: C438, C440
#[test]
fn a_process_stuck_in_a_write_can_end() {
    let (unread, pipe) = full_pipe();
    let Some(rig) = Rig::new() else { return };
    // The process writes more than fits into all buffers, and ends only after its last line.
    let drainit = rig.stdout(pipe).start(
        "
        processes:
          a:
            command: [sh, -c, 'trap \"seq 600000; exit 0\" TERM; touch DIR/a; while :; do sleep 0.05; done']
            readiness: {file: DIR/a}
            log: {prefix: a}
        ",
    );
    drainit.wait_for_line(said::ALL_READY);
    let ended = drainit.stop();
    ended.assert_code(0).assert_stopped_within(ms(500)..ms(8000));
    drop(unread);
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
    drainit
        .stop()
        .assert_code(0)
        .assert_stopped_within(ms(0)..ms(8000))
        .assert_stopped_in_order(&["a", "base"]);
    drop(unread);
}

// holds: C647
#[test]
fn an_unknown_log_level_is_info_with_a_warning() {
    let loud = || Some(Rig::new()?.env("DRAINIT_LOG_LEVEL", "loud"));
    let (Some(run), Some(exec)) = (loud(), loud()) else { return };
    // At the level `debug`, drainit would log the end of the orphan.
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
