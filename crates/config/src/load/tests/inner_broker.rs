//! Tests what `check` says about a worker, a server and their broker in one container.

use super::*;
use crate::language::diagnostics::diagnostic::Severity::{self, Note, Warning};

const REDIS: &str = "redis: {command: [redis-server], readiness: {tcp: '127.0.0.1:6379'}}";
const SIGNAL: &str = "drain: {signal: {signal: TERM, time: 5s, min: 0s}}";
const HOOK: &str = "hooks: {pre_stop: [wait]}";

/// The problems of a config with these processes: the severity, and the message with the remedy.
fn found(processes: &[&str]) -> Vec<(Severity, String)> {
    let text = format!("processes:\n  {}\n", processes.join("\n  "));
    let problems = checked(&text, &[]).into_iter();
    problems.map(|it| (it.severity, format!("{}: {}", it.message, it.help.unwrap()))).collect()
}

fn worker(keys: &str) -> String {
    format!("worker: {{command: [celery, -A, app, worker], {keys}}}")
}

fn web(keys: &str) -> String {
    format!("web: {{command: [gunicorn, app], {keys}}}")
}

// holds: C1035
#[test]
fn a_worker_that_may_end_before_a_server_is_named_with_the_lines_to_write() {
    const BOTH: &str = "depends_on: [redis]";
    const LATE: &str = "`worker` may end before `web`: nobody runs the jobs that then come into \
                        `redis`, and they end with the container: write `depends_on: [redis, \
                        worker]` for `web`, and for `worker` ";
    const PLACE: &str = "in place of its `drain` a `hooks.pre_stop` that waits until the queue is";
    let drained = format!("{BOTH}, {SIGNAL}");
    let server = format!("{BOTH}, drain: connections");
    for (of_worker, of_web, words) in [
        (&*drained, &*server, &[LATE, PLACE][..]),
        // Without a drain, both may get their signals at once.
        (BOTH, &server, &[LATE, "`worker` a `hooks.pre_stop` that waits"]),
        (&format!("{BOTH}, {HOOK}"), &server, &[LATE]),
        (&drained, &format!("{BOTH}, readiness: {{tcp: '127.0.0.1:80'}}"), &[LATE, PLACE]),
        // The worker even depends on the server.
        (
            &format!("depends_on: [redis, web], {SIGNAL}"),
            &server,
            &[": let `worker` not depend on `web`, write `depends_on: [redis, worker]` for `web`"],
        ),
        (&format!("scale: 3, {drained}"), &format!("scale: 2, {server}"), &[LATE, PLACE]),
    ] {
        let (of_worker, of_web) = (worker(of_worker), web(of_web));
        let mut found = found(&[REDIS, &of_worker, &of_web]);
        let is_other =
            |text: &str| text.contains("is stopped at once") || text.contains("may still drain");
        found.retain(|(_, text)| !is_other(text));
        assert_eq!(found.len(), 1, "{of_worker} {of_web}: {found:?}");
        assert_eq!(found[0].0, Warning, "{of_worker} {of_web}: {found:?}");
        let missing: Vec<_> = words.iter().filter(|it| !found[0].1.contains(**it)).collect();
        assert!(missing.is_empty(), "{missing:?} {found:?}");
    }
    // Only the servers that enqueue are named, and not the proxy in front of them.
    let api = "api: {command: [uvicorn, a], depends_on: [redis], drain: connections}";
    let proxy =
        "proxy: {command: [nginx], stop_signal: QUIT, depends_on: [api], drain: connections}";
    let mut found = found(&[REDIS, &worker(&drained), &web(&server), api, proxy]);
    found.retain(|(_, text)| text.starts_with("`worker` may end before"));
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].1.contains("before `web` and `api`: "), "{found:?}");
    let lines = "`depends_on: [redis, worker]` for `web`, `depends_on: [redis, worker]` for `api`";
    assert!(found[0].1.contains(lines), "{found:?}");
}

// holds: C1036
#[test]
fn a_worker_behind_a_server_gets_no_signal_from_a_drain() {
    let after = format!("depends_on: [redis], {SIGNAL}");
    for (of_web, more, is_late) in [
        ("drain: connections", "", true),
        ("readiness: {tcp: '127.0.0.1:80'}", "", true),
        ("drain: {signal: {signal: USR1, connections: {}, time: 9s}}", "", true),
        // These accept nothing any more when the drain of the worker begins.
        ("drain: {signal: {signal: TERM, time: 9s}}", "", false),
        (
            "stop_signal: TERM",
            "proxy: {command: [p], depends_on: [web], drain: {envoy: {admin: 'unix:/run/a.sock', time: 9s}}}",
            false,
        ),
    ] {
        let web = web(&format!("depends_on: [redis, worker], {of_web}"));
        let mut found = found(&[REDIS, &worker(&after), &web, more]);
        found.retain(|(_, text)| !text.contains("is stopped at once"));
        let expected = (Warning, "the `drain` of `worker` sends its signal while `web` may still");
        let expected = if is_late { expected } else { (Note, "leaves the jobs that wait") };
        let is_it = found[0].0 == expected.0 && found[0].1.contains(expected.1);
        assert!(is_it && found.len() == 1, "{of_web}: {found:?}");
    }
}

// holds: C1037
#[test]
fn a_worker_behind_a_server_should_wait_for_an_empty_queue() {
    let of_web = web("depends_on: [redis, worker], drain: connections");
    let without = found(&[REDIS, &worker("depends_on: [redis]"), &of_web]);
    assert_eq!(without.len(), 1, "{without:?}");
    assert_eq!(without[0].0, Note);
    let text = "`worker` leaves the jobs that wait in `redis`, and they end with the container: \
                write a `hooks.pre_stop` that waits until the queue is empty";
    assert!(without[0].1.starts_with(text), "{without:?}");
    let with = worker(&format!("depends_on: [redis], {HOOK}"));
    assert_eq!(found(&[REDIS, &with, &of_web]), []);
}

// holds: C1018
#[test]
fn a_server_whose_broker_is_unclear_gets_a_note() {
    let drained = worker(&format!("depends_on: [redis], {SIGNAL}"));
    let alone = web("depends_on: [], drain: connections");
    let other = "cache: {command: [redis-server, --port, '1'], readiness: {tcp: '127.0.0.1:1'}}";
    let at_other = web("depends_on: [cache], drain: connections");
    let api = "api: {command: [uvicorn, a], depends_on: [], drain: connections}";
    for (processes, named) in [
        (&[REDIS, &*drained, &*alone][..], "`web`"),
        (&[REDIS, other, &drained, &at_other], "`web`"),
        (&[REDIS, &drained, &alone, api], "`web` and `api`"),
        // The other server uses the broker, and stops first.
        (
            &[
                REDIS,
                &worker(&format!("depends_on: [redis], {HOOK}")),
                &web("depends_on: [cache], drain: connections"),
                other,
            ],
            "`web`",
        ),
    ] {
        let mut found = found(processes);
        found.retain(|(_, text)| text.contains("jobs that then come into `redis`"));
        let text = format!(
            "`worker` may end before {named}: jobs that then come into `redis` end with the \
             container: if {named} fills `redis`, name `redis` and `worker` in its `depends_on`"
        );
        assert_eq!(found.len(), 1, "{processes:?}");
        assert!(found[0].0 == Note && found[0].1.starts_with(&text), "{found:?}");
    }
    // Without a broker of this worker, or without a server, nothing is unclear.
    for fine in
        [&[&*worker(&format!("depends_on: [], {SIGNAL}")), REDIS, &*alone][..], &[REDIS, &drained]]
    {
        assert!(!found(fine).iter().any(|(_, text)| text.contains("may end before")), "{fine:?}");
    }
}

// holds: C1035
#[test]
fn a_worker_without_a_server_at_the_broker_gets_no_warning() {
    let drained = format!("depends_on: [redis], {SIGNAL}");
    let of_web = web("depends_on: [redis], drain: connections");
    let warnings = |processes: &[&str]| {
        let mut found = found(processes);
        found.retain(|(severity, _)| *severity == Warning);
        found
    };
    for fine in [
        // The broker is elsewhere.
        &[
            &*worker(&format!("depends_on: [], {SIGNAL}")),
            &web("depends_on: [], drain: connections"),
        ][..],
        // One of them does not use it.
        &[REDIS, &worker(&format!("depends_on: [], {SIGNAL}")), &of_web],
        &[REDIS, &worker(&drained), &web("depends_on: [], drain: connections")],
        &[REDIS, &worker(&drained)],
        // The store holds no jobs of this worker.
        &[
            &REDIS.replace("redis-server", "postgres], stop_signal: INT, x-a: ["),
            &worker(&drained),
            &of_web,
        ],
        &[&REDIS.replace("redis-server", "memcached"), &worker(&drained), &of_web],
        // A process without a socket for clients, a oneshot, and what never starts.
        &[REDIS, &worker(&drained), "cron: {command: [cron], depends_on: [redis]}"],
        &[
            REDIS,
            &worker(&drained),
            "web: {command: [gunicorn, a], type: oneshot, depends_on: [redis]}",
        ],
        &[REDIS, &worker(&drained), &web("depends_on: [redis], only_if: {value: '', is: x}")],
        &[REDIS, &worker(&format!("{drained}, only_if: {{value: '', is: x}}")), &of_web],
        // A script may have the name.
        &[REDIS, &worker(&drained).replace("celery, -A", "/app/sidekiq, -A"), &of_web],
    ] {
        assert_eq!(warnings(fine), [], "{fine:?}");
    }
}

// holds: C1038
#[test]
fn a_process_that_may_be_a_worker_gets_both_lines() {
    let of_web = web("depends_on: [redis], drain: connections");
    let unknown = "w: {command: [python3, w.py], depends_on: [redis]}";
    let notes = found(&[REDIS, unknown, &of_web]);
    assert_eq!(notes.len(), 1, "{notes:?}");
    for words in [
        "if the work comes from a queue outside of the container, write `drain: {signal: ",
        "; if it comes from `redis`, let the servers depend on `w`, and write a `hooks.pre_stop`",
    ] {
        assert!(notes[0].1.contains(words), "{notes:?}");
    }
    let outside =
        found(&["w: {command: [python3, w.py]}", &web("depends_on: [], drain: connections")]);
    assert!(outside.len() == 1 && !outside[0].1.contains("if it comes from"), "{outside:?}");
}
