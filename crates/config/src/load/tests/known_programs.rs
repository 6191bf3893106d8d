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
    let not_int = "`a`: nginx stops best at SIGQUIT, and not at SIGINT: write";
    let not_quit = "celery stops best at SIGTERM, and not at SIGQUIT: write `stop_signal: TERM";
    let drain = |signal| format!(": write `drain.signal.signal: {signal}`");
    for (keys, expected) in [
        ("nginx], drain: connections", Some((Warning, quit))),
        ("sh, -c, exec nginx], drain: connections", Some((Warning, quit))),
        // Who writes the signal may have a reason.
        ("nginx], drain: connections, stop_signal: TERM", Some((Note, quit))),
        ("nginx], drain: connections, stop_signal: INT", Some((Note, not_int))),
        ("nginx], drain: connections, stop_signal: QUIT", None),
        ("haproxy, -W], drain: {signal: {signal: USR1}}", None),
        ("huey_consumer, a], drain: {signal: {signal: TERM}}", Some((Note, &*drain("INT")))),
        ("celery, worker], drain: {signal: {signal: QUIT}}", Some((Note, &*drain("TERM")))),
        ("haproxy], drain: {signal: {signal: TTOU, connections: {}}}, stop_signal: USR1", None),
        ("php-fpm8.2, -F]", Some((Warning, "QUIT`, and set `process_control_timeout`"))),
        ("uwsgi, --emperor=/vassals], drain: connections", None),
        ("uwsgi, --master], drain: connections", Some((Warning, "--hook-master-start"))),
        ("uwsgi, --master], drain: connections, stop_signal: TERM", None),
        ("uwsgi, --master], drain: {signal: {signal: HUP}}", Some((Warning, "--hook-master-"))),
        ("huey_consumer, app.huey]", Some((Warning, "`stop_signal: INT`"))),
        ("arq, app.A]", Some((Warning, "set `job_completion_wait`"))),
        ("celery, -A, app, worker], stop_signal: QUIT", Some((Note, not_quit))),
        ("celery, -A, app, worker]", None),
        ("postgres], stop_signal: QUIT", Some((Note, "stops best at SIGINT, and not at SIGQUIT"))),
        ("redis-server], stop_signal: INT", None),
        ("npm, start], drain: connections", Some((Note, "such as `[node, server.js]`"))),
        ("node, a.js]", Some((Note, "arrive from outside, write `drain: connections` for it, or"))),
        ("node, a.js], drain: connections", None),
        ("uvicorn, 'app:app'], drain: connections", None),
        ("nginx, -t], type: oneshot", None),
        // A script may have the name.
        ("./nginx], drain: connections", Some((Note, quit))),
        (
            "/app/nginx], stop_signal: QUIT",
            Some((Note, "if requests arrive from outside, write `drain: conn")),
        ),
        ("/app/huey_consumer.py, a]", Some((Note, "write `stop_signal: INT`"))),
    ] {
        let mut found = found(&format!("command: [{keys}"), "");
        found.retain(|(_, text)| !text.contains("is stopped at once"));
        let (severity, words) = expected.unzip();
        assert_eq!(found.first().map(|it| it.0), severity, "{keys}: {found:?}");
        assert!(found.len() == expected.iter().len(), "{keys}: {found:?}");
        assert!(words.is_none_or(|words| found[0].1.contains(words)), "{keys}: {found:?}");
    }
}

// holds: C941
#[test]
fn the_advice_to_drain_says_how_an_unknown_protocol_is_counted() {
    for (keys, is_assumed) in [
        ("command: [./serve], readiness: {tcp: '127.0.0.1:80'}", true),
        ("command: [./serve], listen: ['tcp://127.0.0.1:80']", true),
        ("command: [./serve], readiness: {http: 'http://127.0.0.1:80/'}", false),
        ("command: [./serve], readiness: {grpc: '127.0.0.1:80'}", false),
        ("command: [uvicorn, 'a:a'], readiness: {tcp: '127.0.0.1:80'}", false),
    ] {
        let found = found(keys, "");
        let advice: Vec<_> =
            found.iter().filter(|it| it.1.contains("is stopped at once")).collect();
        assert_eq!(advice.len(), 1, "{keys}: {found:?}");
        assert_eq!(advice[0].1.contains("`until: read`"), is_assumed, "{keys}: {found:?}");
    }
}

// holds: C786
#[test]
fn a_server_that_cuts_requests_is_told_to_drain_and_not_to_wait() {
    let at_once = found("command: [daphne, 'app:app']", "");
    assert!(at_once[0].1.contains("write `drain: connections` for it; "), "{at_once:?}");
    for keys in ["daphne, 'app:app']", "sanic, app]", "apache2], stop_signal: WINCH"] {
        let waits = found(&format!("command: [{keys}"), "readiness_delay: 5s");
        let (severity, text) = &waits[0];
        let is_it = text.contains(" may lose requests at its stop: write `drain: connections`");
        assert!(waits.len() == 1 && *severity == Note && is_it, "{waits:?}");
    }
    let silent = found("command: [daphne, 'app:app']", "readiness_delay: 0s");
    let of_key = silent[0].1.starts_with("`readiness_delay` is 0: `a` is stopped at once");
    assert!(silent.len() == 1 && of_key, "{silent:?}");
}

// holds: C942
#[test]
fn servers_that_cut_requests_before_the_end_of_their_stop_get_a_note() {
    let drained = "drain: {connections: {time: 5s}}";
    for (command, keys, grace, expected) in [
        (
            "lighttpd, -D",
            "stop_signal: INT",
            "60s",
            "longer than 8s after its stop signal, although it gets 58s: set `server.graceful-shutdown-timeout`, or",
        ),
        (
            "gunicorn, a",
            "",
            "60s",
            "30s after its stop signal, although it gets 58s: set `--graceful-timeout`, or",
        ),
        (
            "traefik",
            "",
            "30s",
            "longer than 10s after its stop signal, although it gets 28s: set `graceTimeOut`, or",
        ),
        (
            "gradio, a.py",
            "stop_signal: INT",
            "30s",
            "longer than 5s after its stop signal, although it gets 28s: write `drain: connections` for it",
        ),
        ("gunicorn, a", "", "30s", ""),
        ("gunicorn, a", "stop_grace_period: 20s", "60s", ""),
        ("gunicorn, a", "stop_grace_period: 31s", "60s", "although it gets 31s"),
        // The user has chosen the limit, or waits before the stop.
        ("gunicorn, --graceful-timeout=20, a", "", "60s", ""),
        ("gunicorn, a", drained, "60s", ""),
        ("nginx, -g, 'daemon off;'", "stop_signal: QUIT", "60s", ""),
        ("sanic, a", "", "60s", ""),
    ] {
        let shutdown = format!("grace_period: {grace}");
        let mut found = found(&format!("command: [{command}], {keys}"), &shutdown);
        found.retain(|(_, text)| text.contains("cuts what takes longer"));
        assert_eq!(found.len(), usize::from(!expected.is_empty()), "{command}, {keys}: {found:?}");
        assert!(found.iter().all(|(_, text)| text.contains(expected)), "{keys}: {found:?}");
    }
}

// holds: C786
#[test]
fn a_program_with_a_longer_time_than_the_stop_gets_a_note() {
    let by_int = "drain: {signal: {signal: INT, time: 10s}}, stop_signal: HUP";
    let (sanic, stop) = ("sanic, app", "stop_grace_period: 10s");
    let of_drain = "drain: {signal: {signal: TERM, time: 21s}}, depends_on: []";
    for (command, keys, shutdown, expected) in [
        (sanic, by_int, "", "before that, or make `drain.signal.time` longer"),
        (sanic, stop, "", "before that, or make `stop_grace_period` longer"),
        (sanic, "stop_grace_period: 1h", "grace_period: 15s", "13s: let its own time"),
        (sanic, "stop_grace_period: 15s", "", ""),
        ("squid, -N", "stop_signal: INT", "", ""),
        ("gunicorn, --graceful-timeout=60", stop, "", "up to 1m (`--graceful-timeout`)"),
        ("gunicorn, --graceful-timeout, '0'", stop, "", "up to 0ms (`--graceful-timeout`), but"),
        ("traefik, --entryPoints.w.transport.lifeCycle.graceTimeOut=1m", stop, "", "up to 1m ("),
        ("sidekiq", of_drain, "readiness_delay: 5s", "21s: let its own time"),
        ("sidekiq", "depends_on: []", "readiness_delay: 5s", "make `shutdown.grace_period`"),
        ("sidekiq, -t23", "depends_on: []", "readiness_delay: 5s", ""),
        ("sidekiq, --timeout=11", stop, "", "up to 11s (`--timeout`), but gets the next signal"),
        ("uvicorn, --timeout-graceful-shutdown, '11'", stop, "", "for up to 11s (`--timeout-grace"),
        ("uvicorn, a", stop, "", ""),
        ("vllm, serve, m, --shutdown-timeout=60", stop, "", "up to 1m (`--shutdown-timeout`), but"),
        (
            "text-generation-launcher",
            "",
            "",
            "up to 1m 30s (`--graceful-termination-timeout`), but",
        ),
        ("epp", "", "", "epp serves on, for up to 30s (`--drain-timeout`), but gets"),
        ("epp, --drain-timeout=9s", "", "", ""),
    ] {
        let mut found = found(&format!("command: [{command}], {keys}"), shutdown);
        found.retain(|(_, text)| text.contains("for up to "));
        assert_eq!(found.len(), usize::from(!expected.is_empty()), "{command}, {keys}: {found:?}");
        assert!(found.iter().all(|(_, text)| text.contains(expected)), "{keys}: {found:?}");
    }
}

// holds: C1045
#[test]
fn a_server_that_waits_without_a_limit_gets_the_option_for_a_limit() {
    let said = |command: &str, keys: &str| {
        let found = found(&format!("command: [{command}]{keys}"), "");
        let is_it =
            |text: &&String| text.contains("add `--timeout-graceful-shutdown` if a stream ");
        found.iter().map(|(_, text)| text).filter(is_it).count()
    };
    assert_eq!(said("uvicorn, 'app:app'", ""), 1);
    assert_eq!(said("uvicorn, 'app:app', --timeout-graceful-shutdown, '5'", ""), 0);
    assert_eq!(said("uvicorn, 'app:app'", ", drain: connections"), 0);
    assert_eq!(said("granian, 'app:app'", ""), 0);
}
