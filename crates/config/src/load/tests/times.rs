//! Tests whether the steps of a shutdown fit into the grace period.

use std::time::Duration;

use crate::load::testing::{checked, config, load};
use crate::load::tests::{lines, problems};

const CHAIN: &str = "
processes:
  db: {command: [db], stop_grace_period: DB}
  engine: {command: [engine], depends_on: [db], drain: {envoy: {admin: 'unix:/a', ENGINE}}}
  router:
    command: [envoy]
    depends_on: [engine]
    drain: {envoy: {admin: 'unix:/b', ROUTER}}
";

fn chain(db: &str, engine: &str, router: &str, shutdown: &str) -> String {
    let text = CHAIN.replace("DB", db).replace("ENGINE", engine).replace("ROUTER", router);
    format!("shutdown: {{{shutdown}}}{text}")
}

// holds: S89, C87, C373
#[test]
fn explicit_mins_that_do_not_fit_are_an_error_with_the_sum() {
    let text = chain(
        "1s",
        "time: 20s, min: 10s",
        "time: 20s, min: 16s",
        "readiness_delay: 3s, grace_period: 30",
    );
    let found = problems(&text);
    assert_eq!(
        lines(&found),
        [
            "4:99 `min` does not fit into the shutdown: drain engine gets 6.19s of 10s; the longest shutdown is \
             readiness_delay 2.56s + drain router 16s + close router 250ms + drain engine 6.19s + close engine 250ms + \
             count router 250ms + stop router 833ms + stop engine 833ms + stop db 833ms, and `grace_period` minus \
             `reserve` is 28s"
        ]
    );
    assert!(found.iter().any(crate::load::tests::Diagnostic::is_error));
}

#[test]
fn waits_that_do_not_fit_are_reported_at_the_key_of_the_longest() {
    for (shutdown, keys) in [
        ("readiness_delay: 9s, ", "stop_grace_period: 2s"),
        ("", "stop_grace_period: 9s"),
        ("", "hooks: {pre_stop: {command: [x], timeout: 9s}}"),
        ("", "hooks: {post_stop: {command: [x], timeout: 9s}}"),
        ("", "drain: {connections: {time: 9s}}"),
    ] {
        let text = format!(
            "shutdown: {{{shutdown}grace_period: 6s, reserve: 1s}}\nprocesses:\n  a:\n    command: [x]\n    {keys}\n"
        );
        let found = checked(&text, &[]);
        let one = found.iter().find(|it| it.message.starts_with("the declared waits do not fit"));
        let one = one.unwrap_or_else(|| panic!("{keys}: {found:?}"));
        let place = &one.source_line[one.offset..];
        assert!(place.starts_with("9s"), "{keys}: {one}");
    }
}

// holds: C373
#[test]
fn a_default_min_is_cut_to_fit() {
    let text = chain("0", "time: 1s", "time: 6s", "grace_period: 6s, reserve: 1s");
    let loaded = load(&[&text], &[]).unwrap();
    let min = |index: usize| loaded.config.processes[index].drain.as_ref().unwrap().min;
    assert_eq!((min(1), min(2)), (Duration::ZERO, Duration::from_millis(3250)));
    assert_eq!(
        lines(&loaded.warnings)[0],
        "4:64 `min` of `engine` is cut from 1s to 0ms to fit into the shutdown"
    );
}

#[test]
fn a_process_that_is_left_out_does_not_shorten_the_min_of_others() {
    let both = chain("0", "time: 6s", "time: 6s, min: 3s", "grace_period: 6s, reserve: 1s");
    let alone = both.replace("[envoy]", "[envoy]\n    only_if: {value: '', is: x}");
    let min = |text: &str| config(text).processes[1].drain.as_ref().unwrap().min;
    assert_eq!((min(&both).as_millis(), min(&alone).as_millis()), (250, 3750));
}

// holds: C639
#[test]
fn a_min_above_time_is_cut_and_check_warns() {
    let text = chain("0", "time: 3s, min: 10s", "min: 16s", "");
    let drains = config(&text).processes.into_iter().filter_map(|process| process.drain.clone());
    assert!(drains.map(|drain| drain.min.as_secs()).eq([3, 15]));
    assert_eq!(
        lines(&checked(&text, &[])),
        [
            "4:98 `min` is cut from 10s to 3s, which is the `time` of the drain",
            "8:44 `min` is cut from 16s to 15s, which is the `time` of the drain",
        ]
    );
    assert_eq!(lines(&problems(&text)), [""; 0], "only `check` warns");
    // If a default `min` of 5 s is longer than `time`, this `min` is shortened without a warning.
    let text = chain("0", "time: 3s", "time: 4s, min: 4s", "");
    assert_eq!(checked(&text, &[]), []);
    let drains = config(&text).processes.into_iter().filter_map(|process| process.drain.clone());
    assert!(drains.map(|drain| drain.min.as_secs()).eq([3, 4]));
}

// holds: C374
#[test]
fn a_drain_without_depends_on_is_a_warning() {
    let text = "
processes:
  engine: {command: [a]}
  task: {command: [a], type: oneshot}
  router: {command: [a], drain: {envoy: {admin: 'unix:/b'}}}
";
    let found = problems(text);
    assert_eq!(
        lines(&found),
        [
            "5:41 `router` is drained, but has no `depends_on`: other processes are stopped at the same time"
        ]
    );
    assert!(found[0].help.as_ref().unwrap().ends_with("the other processes are `engine`"));
    let many = text
        .replace("  task", "  a: {command: [a]}\n  b: {command: [a]}\n  c: {command: [a]}\n  task");
    let help = problems(&many)[0].help.clone().unwrap();
    assert!(help.ends_with("the other processes are `engine` and `a` and 2 more"), "{help}");
    let alone = "processes: {a: {command: [a], scale: 3, drain: {exec: [b]}}}";
    assert_eq!(problems(alone), []);
    // An empty `depends_on` says that the process needs no other process, so there is no warning.
    assert!(
        found[0]
            .help
            .as_ref()
            .unwrap()
            .contains("`depends_on: [engine]`, or write `depends_on: []`")
    );
    for none in ["[]", "{}"] {
        let needs_none = text.replace("router: {", &format!("router: {{depends_on: {none}, "));
        assert_eq!(problems(&needs_none), []);
    }
}

// holds: C82, C603
#[test]
fn the_reserve_must_be_shorter_than_the_grace_period() {
    for shutdown in ["grace_period: 2", "grace_period: 5s, reserve: 5s", "reserve: 1m"] {
        let found = problems(&chain("0", "time: 1s", "time: 1s", shutdown));
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].message.starts_with("`reserve` ("), "{found:?}");
    }
}

#[test]
fn a_min_that_does_not_fit_is_reported_beside_a_cycle() {
    let text = chain("1s", "time: 50s, min: 50s", "time: 1s", "")
        .replace("[db], s", "[db], depends_on: [router], s");
    let found = lines(&problems(&text));
    assert!(found.iter().any(|line| line.contains("circular dependency")), "{found:?}");
    assert!(found.iter().any(|line| line.contains("drain engine gets 27s of 50s")), "{found:?}");
}

// holds: S16, C84, C606
#[test]
fn an_unready_delay_must_fit_and_excludes_a_readiness_delay() {
    let found = |keys: &str| lines(&problems(&chain("1s", "time: 5s", "time: 5s", keys)));
    assert!(found("unready_delay: 9s").is_empty());
    assert_eq!(
        found("unready_delay: 9s, readiness_delay: 1s"),
        [
            "1:27 `readiness_delay` and `unready_delay` exclude each other: the first waits unready before the drain, the second stays ready during the drain"
        ]
    );
    assert_eq!(
        found("unready_delay: 28s")[..1],
        ["1:27 `unready_delay` (28s) leaves nothing of the 28s until the deadline"]
    );
    let loaded = load(&[&chain("1s", "time: 5s", "time: 5s", "unready_delay: 9s")], &[]).unwrap();
    assert_eq!(loaded.config.shutdown.unready_delay, Duration::from_secs(9));
}

// holds: C765
#[test]
fn a_server_without_a_drain_is_reported_with_the_line_to_add() {
    const SERVERS: [(&str, &str); 13] = [
        ("tcp", "readiness: {tcp: '127.0.0.1:80'}"),
        ("http", "readiness: {http: 'http://127.0.0.1:80/'}"),
        ("envoy", "readiness: {envoy: 'http://127.0.0.1:9901'}"),
        ("listens", "listen: ['tcp://0.0.0.0:80'], readiness: {notify: true}"),
        ("known", "command: [/usr/sbin/nginx, -g, daemon off;]"),
        ("module", "command: [python3, -m, uvicorn, 'app:app']"),
        ("in a shell", "command: [sh, -ec, 'migrate && A=b exec uvicorn app:app 2>&1 | tee /log']"),
        ("wrapped", "command: [/usr/bin/env, -i, A=b, uvicorn, 'app:app']"),
        ("nice", "command: [nice, -n, '10', nginx]"),
        ("as a user", "command: [gosu, '5', nginx]"),
        ("run", "command: [uv, run, uvicorn, 'app:app']"),
        ("serve", "command: [vllm, serve, model]"),
        ("scaled", "scale: 2, readiness: {tcp: '127.0.0.1:80${SCALE_INDEX}'}"),
    ];
    let config = |shutdown: &str, server: &str, more: &str| {
        let command = if server.starts_with("command") { "" } else { "command: [a], " };
        format!("shutdown: {{{shutdown}}}\nprocesses:\n  a: {{{command}{server}}}\n{more}")
    };
    let found = |text: &str| lines(&checked(text, &[]));
    for (kind, server) in SERVERS {
        for (grace, delay) in [("30s", "5s"), ("6s", "3s"), ("30s, unready_delay: 3s", "5s")] {
            let shutdown = format!("grace_period: {grace}");
            let problems = checked(&config(&shutdown, server, ""), &[]);
            assert_eq!(problems.len(), 1, "{kind}: {problems:?}");
            assert!(problems[0].message.contains("is stopped at once"), "{kind}: {problems:?}");
            let help = problems[0].help.as_deref().unwrap_or_default();
            let line = format!("readiness_delay: {delay}");
            assert!(help.contains(&format!("`shutdown: {{{line}}}`")), "{kind}: {help}");
            // A config that follows the help has no problem.
            let shutdown = shutdown.replace("unready_delay: 3s", &line);
            let added = if shutdown.contains(&line) { String::new() } else { format!(", {line}") };
            assert_eq!(found(&config(&(shutdown + &added), server, "")), [""; 0], "{kind}");
        }
    }
    let server = SERVERS[0].1;
    let drain = "drain: {signal: {signal: USR1, min: 5s}}";
    for fine in [
        config("", &format!("{server}, {drain}"), ""),
        config("", &format!("{server}, drain: {{signal: {{signal: USR1, time: 0}}}}"), ""),
        config("", &format!("{server}, hooks: {{pre_stop: [sleep, '5']}}"), ""),
        // The drained process may stand before or behind another process that needs the server.
        config(
            "",
            server,
            &format!(
                "  b: {{command: [b], depends_on: [a], {drain}}}\n  c: {{command: [c], depends_on: [a]}}"
            ),
        ),
        config(
            "",
            server,
            &format!(
                "  c: {{command: [c], depends_on: [a]}}\n  b: {{command: [b], depends_on: [a], {drain}}}"
            ),
        ),
        config("readiness_delay: 0s", server, ""),
        config("", server, "hooks: {pre_stop: [sleep, '5']}\n"),
        config("", "command: [vllm, bench]", ""),
        config("", "command: [sh, -c, 'nginx -t && exec app']", ""),
        config("", "command: [sh, nginx]", ""),
        config("", "readiness: {unix: /run/a.sock}, listen: ['unix:/run/b.sock']", ""),
        config("", &format!("{server}, only_if: {{value: '', is: x}}"), ""),
        // A server on which a drained process depends runs until the drained process has ended.
        config(
            "",
            server,
            &format!(
                "  b: {{command: [b], depends_on: [a]}}\n  c: {{command: [c], depends_on: [b], {drain}}}\n"
            ),
        ),
    ] {
        assert_eq!(found(&fine), [""; 0], "{fine}");
    }
}
