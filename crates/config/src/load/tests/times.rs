//! Tests whether the steps of a shutdown fit into the grace period.

use super::*;
use crate::check::own_work;
use crate::core::budget::{Ahead, Budget};
use crate::load::Severity;
use crate::types::ProcessId;

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

// holds: S89, C87, C373, C1003
#[test]
fn an_explicit_min_that_does_not_fit_is_an_error() {
    let shutdown = "readiness_delay: 3s, grace_period: 30";
    let text = chain("1s", "time: 20s, min: 10s", "time: 27s, min: 27s", shutdown);
    let found = assert_only(&text, "8:55 `min` does not fit into the shutdown: drain router gets");
    assert!(found.is_error());
    // The `min`s of all levels pass at the same time.
    let both = chain("1s", "time: 20s, min: 20s", "time: 20s, min: 20s", shutdown);
    assert_only(&both, "4:89 the declared waits do not fit into the shutdown: drain engine gets");
    // The error is reported beside other errors.
    let text = chain("1s", "time: 50s, min: 50s", "time: 1s", "");
    let found =
        lines(&problems(&text.replace("[db], s", "[db], depends_on: [router], s"))).concat();
    for expected in ["circular dependency", "drain engine gets 26.5s of 50s"] {
        assert!(found.contains(expected), "{found}");
    }
}

#[test]
fn a_warning_about_waits_names_ten_steps_and_counts_the_others() {
    for (count, others) in [(10, ""), (11, "1 more"), (200, "190 more")] {
        let mut text = "shutdown: {grace_period: 30}\nprocesses:\n".to_owned();
        for n in 0..count {
            let on = if n > 0 { format!("p{}", n - 1) } else { String::new() };
            let keys = format!("command: [a], stop_grace_period: 5s, depends_on: [{on}]");
            text.push_str(&format!("  p{n}: {{{keys}}}\n"));
        }
        let found = checked(&text, &[]);
        let one = found.iter().find(|it| it.message.starts_with("the declared waits do not fit"));
        let (cuts, path) = one.unwrap().message.split_once("; ").unwrap();
        let named = |text: &str| text.matches("stop p").count();
        assert_eq!((named(cuts), named(path)), (10, 10), "{count}: {one:?}");
        let all = [(cuts, format!(", {others}")), (path, format!(" + {others}, and `grace"))];
        for (text, end) in all.iter().filter(|_| !others.is_empty()) {
            assert!(text.contains(end), "{count}: {one:?}");
        }
        assert!(one.unwrap().message.len() < 700, "{one:?}");
    }
}

#[test]
fn waits_that_do_not_fit_are_reported_at_the_key_of_the_longest() {
    for (shutdown, keys) in [
        ("readiness_delay: 9s, ", "stop_grace_period: 2s"),
        ("", "stop_grace_period: 9s"),
        ("", "hooks: {pre_stop: {command: [x], timeout: 9s}}"),
        ("", "hooks: {post_stop: {command: [x], timeout: 9s}}"),
        ("", "drain: {connections: {time: 4999ms}}"),
        // The longest of two waits comes first or second, and of two equal ones, the first counts.
        ("", "stop_grace_period: 8s\n    hooks: {pre_stop: {command: [x], timeout: 9s}}"),
        ("", "stop_grace_period: 9s\n    hooks: {pre_stop: {command: [x], timeout: 8s}}"),
        ("", "stop_grace_period: 9000ms\n    hooks: {pre_stop: {command: [x], timeout: 9s}}"),
    ] {
        let shutdown = format!("shutdown: {{{shutdown}grace_period: 6s, reserve: 1s}}");
        let text = format!("{shutdown}\n{}", process_with(keys));
        let found = checked(&text, &[]);
        let one = found.iter().find(|it| it.message.starts_with("the declared waits do not fit"));
        let one = one.unwrap_or_else(|| panic!("{keys}: {found:?}"));
        let place = &one.source_line[one.offset..];
        assert!(place.starts_with("9s") || place.starts_with("4999ms"), "{keys}: {one}");
    }
}

// holds: C1004
#[test]
fn a_drain_of_the_whole_window_or_without_a_time_is_as_long_as_there_is_time() {
    for time in ["time: 28s", "time: 300s", ""] {
        for web in ["", "time: 20s"] {
            let text = chain("1s", web, time, "grace_period: 30s");
            let found = checked(&text, &[]);
            let is_longer = time == "time: 300s";
            let longer =
                "the drain of `router` gets what the deadline leaves, and not its `time` of 5m";
            assert!(found.iter().all(|it| it.severity == Severity::Note), "{found:?}");
            assert!(found.iter().all(|it| it.message.contains(longer)), "{found:?}");
            assert_eq!(found.len(), usize::from(is_longer), "{text}");
            assert_eq!(lines(&problems(&text)), [""; 0], "only `check` adds the note");
        }
    }
    let text = chain("1s", "time: 20s", "time: 27s", "grace_period: 30s");
    assert_only(&text, "the declared waits do not fit into the shutdown");
}

/// A worker that needs a database, which has this time for its stop.
fn worker(stop: &str) -> String {
    format!(
        "shutdown: {{grace_period: 30s}}\nprocesses:\n  db: {{command: [db], stop_grace_period: {stop}}}\n  \
         worker: {{command: [worker], depends_on: [db]}}\n"
    )
}

// holds: C784
#[test]
fn a_stop_without_a_time_is_named_if_a_later_stop_takes_the_time() {
    let little = "4:3 `stop worker` gets only 1s, because `db` and the steps after it keep 27s";
    for (stop, expected) in [("27s", &[little][..]), ("10s", &[])] {
        let text = worker(stop);
        assert_eq!(lines(&checked(&text, &[])), expected, "{stop}");
        let cut = format!("{text}  other: {{command: [other], stop_grace_period: 1h}}\n");
        let squeezed = lines(&checked(&cut, &[]));
        let squeezed = squeezed.iter().filter(|line| line.contains("gets only"));
        assert!(squeezed.eq(expected), "{stop}");
        // More than the window cannot be kept.
        let short = text.replace("30s", "8s").replace(stop, "1h");
        let short = lines(&checked(&short, &[]));
        assert!(short[1].ends_with("gets only 3s, because `db` and the steps after it keep 6s"));
    }
    // A stop that does not fit takes no time from a hook of another process.
    let hook = "[db], hooks: {pre_stop: {command: [f], timeout: 17s}}}\n  other: {command: [o], depends_on: [db], stop_grace_period: 1m}";
    let text = worker("null").replace("[db]}", hook);
    assert!(!lines(&checked(&text, &[])).iter().any(|line| line.contains("of 17s")));
}

/// A step begins some milliseconds later than planned, and then leaves later stops their time, too.
// holds: S75, S78
#[test]
fn a_stop_that_begins_late_leaves_the_written_time_of_a_later_stop() {
    for (db, left, gets) in [(25, 28_000, 3000), (27, 28_000, 1000), (27, 27_990, 1000)] {
        let loaded = load(&[&worker(&format!("{db}s"))], &[]).unwrap();
        let spec = loaded.config.spec(&loaded.graph);
        let left = Duration::from_millis(left);
        let budget = Budget::new(&spec, left, |id| Ahead::all(spec.of(id)));
        let limit = budget.stop(&spec, ProcessId(1), spec.window, Some(left));
        assert_eq!(limit.as_millis(), gets, "{db} {left:?}");
    }
}

// holds: C373
#[test]
fn a_default_min_is_cut_to_fit() {
    let mins = |text: &str| {
        let loaded = load(&[text], &[]).unwrap();
        let drains = loaded.config.processes.iter().filter_map(|process| process.drain.clone());
        let mins = drains.map(|drain| drain.min.as_millis()).collect::<Vec<_>>();
        (mins, lines(&loaded.warnings).join("\n"))
    };
    let short = "grace_period: 6s, reserve: 1s";
    let (found, warnings) = mins(&chain("0", "time: 1s", "time: 6s", short));
    // Both pass at the same time, so the shorter one fits.
    assert_eq!(found, [1000, 3250]);
    let cut = "8:20 `min` of `router` is cut from 5s to 3.25s to fit into the shutdown";
    assert!(warnings.contains(cut), "{warnings}");
    // A process that is left out does not shorten the `min` of others.
    let both = chain("0", "time: 6s", "time: 6s, min: 3s", short);
    assert_eq!(mins(&both).0, [3250, 3000]);
    let alone = both.replace("[envoy]", "[envoy]\n    only_if: {value: '', is: x}");
    assert_eq!(mins(&alone).0[0], 3750);
}

// holds: S80
#[test]
fn a_default_min_fits_into_the_time_of_docker_before_any_number_of_stops() {
    let mut text = "shutdown: {grace_period: 10s}\nprocesses:\n  p0: {command: [a]}\n".to_owned();
    for next in 1..40 {
        let last = next - 1;
        text += &format!("  p{next}: {{command: [a], depends_on: [p{last}]}}\n");
    }
    text += "  web: {command: [a], depends_on: [p39], drain: {connections: {time: 6s}}}\n";
    let config = config(&text);
    let drain = config.processes.iter().find_map(|process| process.drain.as_ref());
    assert_eq!(drain.unwrap().min.as_secs(), 5);
}

// holds: C639
#[test]
fn a_min_above_time_is_cut_and_check_warns() {
    for (engine, router, cut, warnings) in [
        ("time: 3s, min: 10s", "min: 16s", [3, 16], &[("4:98", 10, 3)][..]),
        ("time: 3s", "time: 15s, min: 16s", [3, 15], &[("8:55", 16, 15)]),
        // If a default `min` of 5 s is longer than `time`, drainit shortens this `min` without a
        // warning.
        ("time: 3s", "time: 4s, min: 4s", [3, 4], &[]),
    ] {
        let text = chain("0", engine, router, "");
        let config = config(&text);
        let drains = config.processes.iter().filter_map(|process| process.drain.as_ref());
        assert!(drains.map(|drain| drain.min.as_secs()).eq(cut), "{text}");
        let warnings = warnings.iter().map(|(at, min, time)| {
            format!("{at} `min` is cut from {min}s to {time}s, which is the `time` of the drain")
        });
        assert_eq!(lines(&checked(&text, &[])), warnings.collect::<Vec<_>>());
        assert_eq!(lines(&problems(&text)), [""; 0], "only `check` warns");
    }
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
    let warning = "5:41 `router` is drained, but has no `depends_on`: other processes are stopped";
    let help = assert_only(text, warning).help.unwrap();
    assert!(help.contains("`depends_on: [engine]`, or write `depends_on: []`"), "{help}");
    assert!(help.ends_with("the other processes are `engine`"), "{help}");
    let many = "  a: {command: [a]}\n  b: {command: [a]}\n  c: {command: [a]}\n  task";
    let help = assert_only(&text.replace("  task", many), "`router` is drained").help.unwrap();
    assert!(help.ends_with("the other processes are `engine` and `a` and 2 more"), "{help}");
    assert_eq!(problems("processes: {a: {command: [a], scale: 3, drain: {exec: [b]}}}"), []);
    // An empty `depends_on` says that the process needs no other process, so there is no warning.
    for none in ["[]", "{}"] {
        let needs_none = text.replace("router: {", &format!("router: {{depends_on: {none}, "));
        assert_eq!(problems(&needs_none), []);
    }
}

// holds: S16, C82, C84, C603, C606
#[test]
fn a_reserve_and_a_delay_must_fit_into_the_grace_period() {
    for (shutdown, expected) in [
        ("grace_period: 2", "`reserve` ("),
        ("grace_period: 5s, reserve: 5s", "`reserve` ("),
        ("reserve: 1m", "`reserve` ("),
        (
            "unready_delay: 9s, readiness_delay: 1s",
            "1:27 `readiness_delay` and `unready_delay` exclude each other: ",
        ),
        (
            "unready_delay: 28s",
            "1:27 `unready_delay` (28s) leaves nothing of the 28s until the deadline",
        ),
    ] {
        let found = lines(&problems(&chain("1s", "time: 1s", "time: 1s", shutdown)));
        assert!(found[0].contains(expected), "{found:?}");
    }
    let loaded = load(&[&chain("1s", "time: 5s", "time: 5s", "unready_delay: 9s")], &[]).unwrap();
    assert_eq!(loaded.config.shutdown.unready_delay, Duration::from_secs(9));
    assert_eq!(loaded.warnings, []);
}

// holds: C765, C1244
#[test]
fn a_server_without_a_drain_is_reported_with_the_line_to_add() {
    const TCP: &str = "readiness: {tcp: '127.0.0.1:80'}";
    let config = |shutdown: &str, server: &str, more: &str| {
        let command = if server.starts_with("command") { "" } else { "command: [a], " };
        format!("shutdown: {{{shutdown}}}\nprocesses:\n  a: {{{command}{server}}}\n{more}")
    };
    let found = |text: &str| {
        let mut found = checked(text, &[]);
        found.retain(|it| it.severity != Severity::Note);
        lines(&found)
    };
    for server in [
        TCP,
        "readiness: {http: 'http://127.0.0.1:80/'}",
        "readiness: {envoy: 'http://127.0.0.1:9901'}",
        "listen: ['tcp://0.0.0.0:80'], readiness: {notify: true}",
        "command: [/usr/sbin/nginx, -g, daemon off;], stop_signal: QUIT",
        "command: [python3, -m, uvicorn, 'app:app']",
        "scale: 2, readiness: {tcp: '127.0.0.1:80${SCALE_INDEX}'}",
    ] {
        for (grace, delay) in [("30s", "5s"), ("6s", "3s"), ("30s, unready_delay: 3s", "5s")] {
            let shutdown = format!("grace_period: {grace}");
            let problems = checked(&config(&shutdown, server, ""), &[]);
            assert_eq!(problems.len(), 1, "{server}: {problems:?}");
            assert!(problems[0].message.contains("is stopped at once"), "{server}: {problems:?}");
            let help = problems[0].help.as_deref().unwrap_or_default();
            let line = format!("readiness_delay: {delay}");
            assert!(help.contains(&format!("`shutdown: {{{line}}}`")), "{server}: {help}");
            // A config that follows the help has no problem.
            let shutdown = shutdown.split(", ").next().unwrap();
            let right = config(&format!("{shutdown}, {line}"), server, "");
            assert_eq!(found(&right), [""; 0], "{server}");
        }
    }
    assert_eq!(found(&config("readiness_delay: 0s", TCP, "")), [""; 0]);
    for (servers, shown) in [
        (1, "`a` is stopped at once"),
        (3, "`a`, `b0` and `b1` are stopped at once"),
        (4, "`a` and 3 more are stopped at once"),
    ] {
        let more = |number| {
            format!(
                "  b{number}: {{command: [b], {}}}\n",
                TCP.replace(":80", &format!(":9{number}"))
            )
        };
        let more: String = (0..servers - 1).map(more).collect();
        let silent = checked(&config("readiness_delay: 0s", TCP, &more), &[]);
        assert!(silent.len() == 1 && silent[0].severity == Severity::Note, "{silent:?}");
        assert_eq!((silent[0].line, silent[0].rule.id()), (1, "no-delay"));
        let message = format!(
            "`readiness_delay` is 0: {shown}, and nothing warns of the requests that arrive before the endpoint is removed"
        );
        assert_eq!(silent[0].message, message);
    }
    // Nothing is silent about a process that serves nobody.
    assert_eq!(checked(&config("readiness_delay: 0s", "readiness: {notify: true}", ""), &[]), []);
    let drain = "drain: {signal: {signal: USR1, min: 5s}}";
    for (server, more) in [
        (&*format!("{TCP}, {drain}"), ""),
        (&format!("{TCP}, drain: {{signal: {{signal: USR1, time: 0}}}}"), ""),
        (&format!("{TCP}, hooks: {{pre_stop: [sleep, '5']}}"), ""),
        (TCP, "hooks: {pre_stop: [sleep, '5']}\n"),
        (&format!("{TCP}, only_if: {{value: '', is: x}}"), ""),
        // A store serves only those that depend on it.
        (&format!("command: [redis-server], {TCP}"), "  b: {command: [b], depends_on: [a]}"),
        ("readiness: {unix: /run/a.sock}, listen: ['unix:/run/b.sock']", ""),
        // The drained process may stand before or behind another process that needs the server.
        (TCP, "  b: {command: [b], depends_on: [a], DRAIN}\n  c: {command: [c], depends_on: [a]}"),
        (TCP, "  c: {command: [c], depends_on: [a]}\n  b: {command: [b], depends_on: [a], DRAIN}"),
        // A server on which a drained process depends runs until the drained process has ended.
        (TCP, "  b: {command: [b], depends_on: [a]}\n  c: {command: [c], depends_on: [b], DRAIN}"),
    ] {
        let fine = config("", server, more).replace("DRAIN", drain);
        assert_eq!(found(&fine), [""; 0], "{fine}");
    }
}

// holds: C724, C725
#[test]
fn a_process_that_may_take_work_during_a_drain_gets_a_note() {
    let found = |processes: &str| {
        let web = "web: {command: [a], readiness: {tcp: '127.0.0.1:80'}, depends_on: [], DRAIN}";
        let text = format!("processes:\n  {web}\n  {processes}\n");
        let drain = "drain: {connections: {time: 20s}}";
        let text = match text.contains("UNDRAINED") {
            true => text.replace(", DRAIN", "").replace("UNDRAINED", ""),
            false => text.replace("DRAIN", drain),
        };
        let loaded = load(&[&text], &[]).unwrap();
        assert_eq!(loaded.warnings, [], "only `check` adds the note: {text}");
        let mut found = checked(&text, &[]);
        found.retain(|it| it.severity == Severity::Note);
        let planned = own_work::in_plan(&loaded.config, &loaded.graph);
        assert_eq!(planned.len(), found.len().min(1), "{planned:?} {text}");
        (found, planned)
    };
    let (notes, planned) = found("w: {command: [w], stop_signal: INT}");
    let during = "after a stop signal, the work continues during the drain of";
    let message = format!(
        "`w` has no dependents, and no key that shows a socket for clients: {during} `web`, for up \
         to 20s"
    );
    assert_eq!(notes[0].message, message);
    let help = notes[0].help.as_deref().unwrap();
    let line = "write `drain: {signal: {signal: INT, time: 26s}}`, so that SIGINT comes at once";
    assert!(help.ends_with(line) && planned[0].ends_with(line), "{help} {planned:?}");
    assert!(planned[0].starts_with("w: ") && planned[0].contains(during), "{planned:?}");
    // A process that follows the line gets no note, and shortens no drain.
    let drained = "w: {command: [w], depends_on: [], drain: {signal: {signal: INT, time: 26s}}}";
    assert_eq!(found(drained).0, []);
    for (process, is_noted) in [
        ("readiness: {log: up}", true),
        ("depends_on: [web]", true),
        ("scale: 3", true),
        ("readiness: {tcp: '127.0.0.1:81'}", false),
        ("readiness: {unix: /run/w.sock}", false),
        ("readiness: {grpc: '127.0.0.1:81'}", false),
        ("liveness: {http: 'http://127.0.0.1:81/'}", false),
        ("listen: ['unix:/run/w.sock']", false),
        ("sockets: [/run/w.sock]", false),
        ("type: oneshot", false),
        ("only_if: {value: '', is: x}", false),
    ] {
        let text = format!("w: {{command: [w], {process}}}");
        assert_eq!(found(&text).0.len(), usize::from(is_noted), "{process}");
    }
    let oneshot = "w: {command: [w]}\n  x: {command: [x], depends_on: [w], type: oneshot}";
    let [server, store] = ["uvicorn", "redis-server"].map(|it| format!("w: {{command: [{it}]}}"));
    for fine in [&*server, &store, oneshot, "w: {command: [w]}UNDRAINED"] {
        assert_eq!(found(fine).0, []);
    }
}

/// A stop that has to begin before the longest drain is over still leaves time for more work.
// holds: C724
#[test]
fn a_process_whose_stop_begins_during_a_drain_gets_a_note() {
    let found = |db: u32, keys: &str| {
        let processes = [
            "web: {command: [a], drain: {connections: {time: 15s}}, depends_on: []}",
            &format!("db: {{command: [db], sockets: [/run/d], stop_grace_period: {db}s}}"),
            &format!("w: {{command: [w], depends_on: [db]{keys}}}"),
        ];
        let text = format!("processes:\n  {}\n", processes.join("\n  "));
        checked(&format!("shutdown: {{grace_period: 30s}}\n{text}"), &[])
    };
    for (db, lasts) in [(5, Some(15)), (20, Some(7)), (25, Some(2)), (26, None)] {
        let mut notes = found(db, "");
        notes.retain(|it| it.severity == Severity::Note);
        assert_eq!(notes.len(), usize::from(lasts.is_some()), "{db} {notes:?}");
        let (Some(note), Some(lasts)) = (notes.first(), lasts) else { continue };
        assert!(note.message.ends_with(&format!("of `web`, for up to {lasts}s")), "{note}");
        // A config that follows the help shortens nothing.
        let drain = note.help.as_deref().unwrap().split('`').nth(1).unwrap();
        let mut problems = found(db, &format!(", {drain}"));
        problems.retain(|it| !it.message.ends_with("while `w` may still drain"));
        assert_eq!(problems, [], "{db} {drain}");
    }
}
