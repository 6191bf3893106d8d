//! Tests that output arrives as whole lines, each with its prefix on its own stream, and that no
//! line is lost. An output that nobody reads does not block drainit.

use crate::support::rig::full_pipe;
use crate::support::*;

// holds: C428, C429, C432, C433, C435
#[test]
fn each_form_of_log_leads_the_lines_where_the_config_says() {
    let Some(rig) = Rig::new() else { return };
    let forms = [
        ("bare", ""),
        ("inherit", ", log: {mode: inherit}"),
        ("none", ", log: {mode: none}, hooks: {pre_start: [CHILD, hook, print=none-out, exit=0]}"),
        ("prefix", ", log: {prefix: p}"),
        ("both", ", log: {stderr: stdout}"),
        ("joined", ", log: {prefix: j, stderr: stdout}"),
    ];
    let process = |(name, log): (&str, &str)| {
        let steps = format!("print={name}-out, eprint={name}-err, report=DIR/{name}.json");
        format!("  {name}: {{command: [CHILD, {name}, {steps}]{log}}}\n")
    };
    let drainit = rig.start(&format!("processes:\n{}", forms.map(process).concat()));
    for (name, _) in forms {
        drainit.wait_for_event(name, "report");
    }
    let own = |fd: i32| fs::read_link(format!("/proc/{}/fd/{fd}", drainit.pid())).unwrap();
    let own = [1, 2].map(|fd| own(fd).display().to_string());
    let ended = drainit.stop();
    for (name, prefix) in [("bare", ""), ("inherit", ""), ("prefix", "[p] ")] {
        let out = ended.text(Stream::Stdout);
        assert!(out.contains(&format!("{prefix}{name}-out\n")), "{name}: {out}");
        let err = ended.text(Stream::Stderr);
        assert!(err.contains(&format!("{prefix}{name}-err\n")), "{name}: {err}");
    }
    for (name, prefix) in [("both", ""), ("joined", "[j] ")] {
        let out = ended.text(Stream::Stdout);
        let all = format!("{prefix}{name}-out\n{prefix}{name}-err\n");
        assert!(out.contains(&all) || prefix.is_empty() && out.contains("both-err\n"), "{out}");
    }
    ended.assert_no_line("none-(out|err)").assert_line(r"^\[drainit\] ");
    // drainit writes its own lines to stderr; stdout belongs to the processes.
    assert!(!ended.text(Stream::Stdout).contains("[drainit]"), "{}", ended.record);
    for (name, is_own) in [("bare", true), ("inherit", true), ("prefix", false), ("none", false)] {
        let report = ended.report(&format!("{name}.json"));
        for (fd, own) in [("1", &own[0]), ("2", &own[1])] {
            assert_eq!(report["fds"][fd] == own.as_str(), is_own, "{name}: {report}");
            assert_eq!(report["fds"][fd] == "/dev/null", name == "none", "{name}: {report}");
        }
    }
}

// holds: C136, C140, C434
#[test]
fn json_has_an_object_per_line() {
    let config = r#"
        logging: {format: json}
        processes:
          quiet: {type: oneshot, command: [CHILD, quiet, 'print=no log:', exit=0]}
          a:
            command: [CHILD, a, 'print=it says "hi"\', eprint=err, raw=tail, exit=0]
            depends_on: [quiet]
            log: {prefix: pa}
        "#;
    let Some(ended) = Rig::ran(config) else { return };
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

// holds: C438, C440
#[test]
fn a_process_stuck_in_a_write_can_end() {
    let (unread, pipe) = full_pipe();
    let Some(rig) = Rig::new() else { return };
    // The process writes more than fits into all buffers, and ends only after its last line.
    let config = "
        processes:
          a:
            command: [sh, -c, 'trap \"seq 600000; exit 0\" TERM; touch DIR/a; while :; do sleep 0.05; done']
            readiness: {file: DIR/a}
            log: {prefix: a}
        ";
    let drainit = rig.stdout(pipe).start(config);
    drainit.wait_for_line(said::ALL_READY);
    drainit.stop().assert_code(0).assert_stopped_within(ms(500)..LONG);
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
