//! Tests what `check` says about programs that are known.

use super::*;
use crate::language::diagnostics::diagnostic::Severity::{self, Note, Warning};

/// The problems of a process with these keys: the severity, and the message with the remedy.
fn found(keys: &str, shutdown: &str) -> Vec<(Severity, String)> {
    let text = format!("shutdown: {{{shutdown}}}\nprocesses:\n  a: {{{keys}}}\n");
    let problems = checked(&text, &[]).into_iter();
    problems.map(|it| (it.severity, format!("{}: {}", it.message, it.help.unwrap()))).collect()
}

// holds: C786
#[test]
fn a_known_program_with_a_worse_signal_is_named_with_the_line_to_write() {
    let quit = "`a`: nginx cuts requests at SIGTERM: write `stop_signal: QUIT`";
    for (keys, expected) in [
        ("command: [nginx], drain: connections", Some((Warning, quit))),
        ("command: sh -c 'exec nginx', drain: connections", Some((Warning, quit))),
        // Who writes the signal may have a reason.
        ("command: [nginx], drain: connections, stop_signal: TERM", Some((Note, quit))),
        (
            "command: [nginx], drain: connections, stop_signal: INT",
            Some((Note, "`a`: nginx finishes requests at SIGQUIT, and not at SIGINT: write")),
        ),
        ("command: [nginx], drain: connections, stop_signal: QUIT", None),
        ("command: [haproxy, -W], drain: {signal: {signal: USR1}}", None),
        ("command: [haproxy, -W], drain: connections", Some((Warning, "`stop_signal: USR1`"))),
        ("command: [php-fpm8.2, -F]", Some((Warning, "QUIT`, and set `process_control_timeout`"))),
        ("command: [uwsgi, --master], drain: connections", Some((Warning, "--hook-master-start"))),
        ("command: [uwsgi, --master], drain: connections, stop_signal: TERM", None),
        ("command: [huey_consumer, app.huey]", Some((Warning, "`stop_signal: INT`"))),
        ("command: [arq, app.A]", Some((Warning, "set `job_completion_wait`"))),
        (
            "command: [celery, -A, app, worker], stop_signal: QUIT",
            Some((
                Note,
                "celery finishes jobs at SIGTERM, and not at SIGQUIT: write `stop_signal: TERM`",
            )),
        ),
        ("command: [celery, -A, app, worker]", None),
        ("command: [postgres]", Some((Warning, "write `stop_signal: INT`"))),
        ("command: [npm, start], drain: connections", Some((Note, "such as `[node, server.js]`"))),
        (
            "command: [node, a.js]",
            Some((Note, "arrive from outside, write `drain: connections` for it, or")),
        ),
        ("command: [node, a.js], drain: connections", None),
        ("command: [uvicorn, 'app:app'], drain: connections", None),
        ("command: [daphne, 'app:app'], drain: connections", None),
        ("command: [nginx, -t], type: oneshot", None),
    ] {
        let mut found = found(keys, "");
        found.retain(|(_, text)| !text.contains("is stopped at once"));
        let (severity, words) = expected.unzip();
        assert_eq!(found.first().map(|it| it.0), severity, "{keys}: {found:?}");
        assert!(found.len() == expected.iter().len(), "{keys}: {found:?}");
        assert!(words.is_none_or(|words| found[0].1.contains(words)), "{keys}: {found:?}");
    }
}

// holds: C786
#[test]
fn a_server_that_cuts_requests_is_told_to_drain_and_not_to_wait() {
    let at_once = found("command: [daphne, 'app:app']", "");
    assert!(at_once[0].1.contains("write `drain: connections` for it; "), "{at_once:?}");
    let waits = found("command: [daphne, 'app:app']", "readiness_delay: 5s");
    let (severity, text) = &waits[0];
    let is_it = text.starts_with("`a`: daphne cuts requests at its stop: write `drain: con");
    assert!(waits.len() == 1 && *severity == Note && is_it, "{waits:?}");
    assert_eq!(found("command: [daphne, 'app:app']", "readiness_delay: 0s"), []);
}

// holds: C786
#[test]
fn a_program_with_a_longer_time_than_the_stop_gets_a_note() {
    let sanic = "command: [sanic, app], drain: connections";
    let words = "`a`: sanic waits for clients, for up to 15s \
                 (`GRACEFUL_SHUTDOWN_TIMEOUT`), but gets only";
    for (keys, shutdown, gets) in [
        ("stop_grace_period: 10s", "", Some("10s")),
        ("stop_grace_period: 1h", "grace_period: 15s", Some("13s")),
        ("stop_grace_period: 15s", "", None),
        ("depends_on: []", "", None),
    ] {
        let found = found(&format!("{sanic}, {keys}"), shutdown);
        let found: Vec<_> = found.iter().filter(|(_, text)| text.contains("sanic")).collect();
        let expected = gets.map(|gets| format!("{words} {gets}: "));
        assert_eq!(found.len(), expected.iter().len(), "{keys}: {found:?}");
        assert!(expected.is_none_or(|it| found[0].1.starts_with(&it)), "{keys}: {found:?}");
    }
}
