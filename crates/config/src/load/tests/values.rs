//! Tests the values of each key, in all forms that a config can have.

use std::time::Duration;

use crate::keys::key::Table;
use crate::keys::{
    CountUntil, Direction, DrainMethod, DrainUntil, EnvoyDrain, Header, HeaderValue, HttpDrain,
    HttpMethod, Process, RestartPolicy, SignalDrain,
};
use crate::load::testing::{checked, load, variables};
use crate::load::tests::{lines, process_in, process_with};
use crate::types::Signal;

fn process(keys: &str) -> Process {
    process_in(keys, &[("HOST", "h"), ("EMPTY", ""), ("PROC", "proc")])
}

// holds: C11
#[test]
fn a_key_without_a_value_counts_as_absent() {
    let absent = format!("{:?}", process(""));
    for key in Process::KEYS.names().filter(|key| *key != "command") {
        assert_eq!(format!("{:?}", process(&format!("{key}:"))), absent, "{key}");
    }
    let keys = ["env", "shutdown", "control", "logging", "reload_signal", "hooks"];
    let nested = ["shutdown: {grace_period: , signals: }", "control: {listen: , socket: }"];
    for empty in keys.map(|key| format!("{key}:")).into_iter().chain(nested.map(str::to_owned)) {
        let loaded = load(&[&format!("{empty}\n{}", process_with(""))], &[]).unwrap();
        let without = load(&[&process_with("")], &[]).unwrap();
        assert_eq!(format!("{:?}", loaded.config), format!("{:?}", without.config), "{empty}");
    }
}

// holds: C521, C522
#[test]
fn line_breaks_in_a_command_are_refused_if_a_shell_would_run_two_commands() {
    let of = |value: &str| format!("processes:\n  a:\n    {value}");
    let command =
        |value: &str| load(&[&of(value)], &[]).unwrap().config.processes[0].command.clone();
    let words = ["a", "-b", "-c"];
    assert_eq!(command("command: |\n      a -b -c\n"), words);
    assert_eq!(command("command: |\n      a -b \\\n        -c\n"), words);
    assert_eq!(command("command: >\n      a\n      -b\n      -c\n"), words);
    assert_eq!(command("command: a\n      -b\n      -c\n"), words);
    for value in [
        "command: |\n      a\n      b\n",
        "command: >\n      a\n        -b\n",
        "command: >\n      a\n\n      -b\n",
        "command: [a]\n    hooks:\n      pre_start: |\n        a\n        b\n",
        "command: [a]\n    readiness:\n      exec: |\n        a\n        b\n",
    ] {
        let errors = load(&[&of(value)], &[]).unwrap_err();
        let message = &errors[0].message;
        assert!(message.ends_with("a line break would not end the command"), "{message}");
        let help = errors[0].help.as_ref().unwrap();
        assert!(help.contains("`[sh, -c, \"a\\n") && help.contains("below `>`"), "{help}");
    }
}

// holds: C50
#[test]
fn a_variable_with_blanks_is_split_only_in_a_command_as_text() {
    let command = |text: &str| {
        let text = format!("processes: {{a: {{command: {text}}}}}");
        load(&[&text], &[("X", "b c")]).map(|it| it.config.processes[0].command.clone())
    };
    assert_eq!(command("'a ${X} \"${X}\"'").unwrap(), ["a", "b", "c", "b c"]);
    assert_eq!(command("[a, \"${X}\"]").unwrap(), ["a", "b c"]);
}

// holds: C167, C170, C171, C343, C523
#[test]
fn restart_policies_and_signals_are_read() {
    let restart = process("restart: 'on-failure:3'");
    assert_eq!(
        (restart.restart, restart.restart_max, restart.restart_delay),
        (RestartPolicy::OnFailure, Some(3), Duration::from_secs(1))
    );
    // Docker reads this 0 as "no limit". drainit reads it as the number 0.
    let zero = "processes: {a: {command: [a], restart: 'on-failure:0'}}";
    let loaded = load(&[zero], &[]).unwrap();
    assert_eq!(loaded.config.processes[0].restart_max, Some(0));
    assert_eq!(process("stop_signal: RTMIN+3").stop_signal.number(), 37);
}

// holds: C8
#[test]
fn anchors_aliases_and_merge_keys_work() {
    let text = "
x-common: &common
  restart: always
  environment: &env {A: '1'}
x-more: &more {restart: no, stop_grace_period: 3s}
processes:
  a: {<<: *common, command: [a]}
  b:
    <<: [*common, *more]
    command: [b]
    environment: {<<: *env, B: '2'}
  c: {command: [c], <<: *more}
";
    let config = load(&[text], &[]).unwrap().config;
    let [a, b, c] = &config.processes[..] else { panic!("{:?}", config.processes) };
    assert_eq!((a.restart, a.environment.len()), (RestartPolicy::Always, 1));
    assert_eq!(
        (b.restart, b.stop_grace_period),
        (RestartPolicy::Always, Some(Duration::from_secs(3)))
    );
    assert_eq!(b.environment.len(), 2);
    assert_eq!(c.restart, RestartPolicy::No);
}

// holds: C39
#[test]
fn variables_are_not_put_into_keys() {
    let process = process("environment: {'${HOST}': x}");
    assert_eq!(variables(&process), ["${HOST}=x"]);
    let text = format!("env: {{'${{HOST}}': x}}\n{}", process_with(""));
    assert_eq!(load(&[&text], &[("HOST", "h")]).unwrap().config.env[0].0, "${HOST}");
    for text in [
        "processes: {'${HOST}': {command: [a]}}",
        "processes: {a: {command: [a], 'stop_${HOST}': TERM}}",
    ] {
        let problems = load(&[text], &[("HOST", "signal")]).unwrap_err();
        assert!(problems[0].message.contains("${HOST}"), "{text}: {}", problems[0].message);
    }
}

// holds: C46
#[test]
fn variables_do_not_see_the_environment_of_a_process() {
    let seen =
        "B: '${A:-none}'}\n    working_dir: '${A:-none}'\n    hooks: {pre_stop: ['${A:-none}']}";
    for environment in ["environment: {A: x, ", "environment: {A: !reset , "] {
        let process = process(&format!("{environment}{seen}"));
        assert_eq!(variables(&process)[1], "B=none");
        assert_eq!(process.working_dir, Some("none".into()));
        assert_eq!(process.hooks.pre_stop.unwrap().command, ["none"]);
    }
}

#[test]
fn header_fields_are_checked_and_no_value_is_shown() {
    let read = |headers: &str| {
        let keys = format!("drain: {{http: {{url: 'http://127.0.0.1:1/', headers: {headers}}}}}");
        load(&[&process_with(&keys)], &[("TOKEN", "s3cret\n")])
    };
    let loaded = read("{authorization: {file: t}, X-Key: '${NO:-k}'}").unwrap();
    let drain = loaded.config.processes[0].drain.as_ref().unwrap();
    let DrainMethod::Http(http) = &drain.method else { panic!() };
    let header = |name: &str, value| Header { name: name.to_owned(), value };
    assert_eq!(
        http.headers,
        [
            header("authorization", HeaderValue::File("t".into())),
            header("x-key", HeaderValue::Text("k".to_owned()))
        ]
    );
    assert!(!format!("{:?}", loaded.config).contains("\"k\""));
    for (headers, expected) in [
        ("{'a b': x}", "`a b` cannot be a header field"),
        ("{'': x}", "`` cannot be a header field"),
        ("{Host: x}", "`Host` is a header field that drainit sets itself"),
        ("{a: x, A: y}", "`A` is listed twice"),
        ("{a: [x]}", "`a` must be a single value, not a list"),
        ("{a: {path: x}}", "unknown key `path` in `processes.a.drain.http.headers.a`"),
        ("{a: '${TOKEN}'}", "the value of `processes.a.drain.http.headers.a` has a character"),
        ("[a]", "`processes.a.drain.http.headers` must be a mapping, not a list"),
    ] {
        let problems = read(headers).unwrap_err();
        assert!(problems.len() == 1 && problems[0].message.starts_with(expected), "{problems:?}");
        assert!(!problems[0].to_string().contains("s3cret"), "{}", problems[0]);
    }
}

// holds: C810, C811, C812, C813, C814, C815
#[test]
fn a_drain_by_counts_has_a_short_form() {
    let drain = |text: &str| process(&format!("drain: {text}")).drain.unwrap();
    let keys = |text: &str| match drain(text).method {
        DrainMethod::Connections(keys) => keys,
        other => panic!("{other:?}"),
    };
    let seconds = Duration::from_secs;
    let short = drain("connections");
    assert_eq!((short.time, short.min), (seconds(15), seconds(5)));
    assert_eq!(short, drain("{connections: {}}"));
    assert_eq!(
        (keys("connections").counting.until, keys("connections").counting.idle),
        (CountUntil::Answers, seconds(5))
    );
    let whole = keys(
        "{connections: {ports: [80, '8080'], until: connections, exit_at: 2, idle: 1s, min: 0}}",
    );
    assert_eq!(whole.times.min, Some(seconds(0)));
    let counting = whole.counting;
    assert_eq!((counting.ports, counting.until), (vec![80, 8080], CountUntil::Connections));
    assert_eq!((counting.exit_at, counting.idle), (2, seconds(1)));
    // holds: C816
    for method in [
        "signal: {signal: QUIT, ",
        "exec: {command: [a], ",
        "http: {url: 'http://127.0.0.1/', until: 200, ",
    ] {
        let beside = drain(&format!("{{{method}connections: {{exit_at: 3}}}}}}"));
        assert_eq!(beside.method.counting().map(|it| it.exit_at), Some(3), "{method}");
        assert_eq!(beside.min, seconds(5), "{method}");
    }
    for (text, why) in [
        ("envoy", "no drain"),
        ("{connections: {ports: [0]}}", "not a port"),
        ("{connections: {ports: [65536]}}", "not a port"),
        ("{connections: {idle: 0}}", "idle"),
        ("{connections: {until: requests}}", "until"),
        ("{connections: {}, signal: {signal: USR1}}", "`signal` or `connections`, not both"),
        ("{connections: , signal: {signal: USR1}}", "`connections` has no value, so it counts"),
        ("{signal: {signal: USR1, connections: }}", "`connections` has no value, so it counts"),
        ("{signal: , connections: {}}", "`signal` has no value, so it counts as absent"),
    ] {
        let found = lines(&checked(&process_with(&format!("drain: {text}")), &[])).join(" ");
        assert!(found.contains(why), "{text}: {found}");
    }
}

// holds: C366, C383, C390, C394, C642, C735
#[test]
fn each_kind_of_drain_is_read() {
    let drain = |text: &str| process(&format!("drain: {{{text}}}")).drain.unwrap();
    let seconds = Duration::from_secs;
    let http = drain("http: {url: 'http://127.0.0.1:8080/drain', time: 20s, min: 1s}");
    assert_eq!((http.time, http.min), (seconds(20), seconds(1)));
    assert!(matches!(http.method, DrainMethod::Http(HttpDrain { method: HttpMethod::Post, .. })));
    let until = |text: &str| {
        let text = format!("http: {{url: 'http://127.0.0.1:80/', {text}}}");
        let found = checked(&process_with(&format!("drain: {{{text}}}")), &[]);
        match drain(&text).method {
            DrainMethod::Http(http) => (http.until, lines(&found)),
            _ => panic!(),
        }
    };
    assert_eq!(until("until: 204"), (Some(204), vec![]));
    assert_eq!(until(""), (None, vec!["4:20 the first 2xx answer ends the drain".to_owned()]));
    let exec = drain("exec: [/app/drain, --now]");
    assert_eq!((exec.time, exec.min), (seconds(15), seconds(0)));
    assert!(matches!(&exec.method, DrainMethod::Exec(words) if words.command.len() == 2));
    let exec = drain("exec: {command: /app/drain --now, time: 5s}");
    assert!(matches!(&exec.method, DrainMethod::Exec(words) if words.command.len() == 2));
    let signal = drain("signal: {signal: QUIT}");
    assert!(matches!(signal.method, DrainMethod::Signal(SignalDrain { signal: Signal::QUIT, .. })));
    let notify = drain("notify: {signal: USR1}");
    assert!(matches!(notify.method, DrainMethod::Notify(SignalDrain { signal: Signal::USR1, .. })));
    let envoy = drain("envoy: {admin: 'unix:/a', until: requests}");
    assert!(matches!(
        envoy.method,
        DrainMethod::Envoy(EnvoyDrain { until: DrainUntil::Requests, exit_at: 0, .. })
    ));
    assert_eq!(envoy.min, seconds(5));
    let envoy = drain("envoy: {admin: 'unix:/a', exit_at: 3}");
    assert!(matches!(
        envoy.method,
        DrainMethod::Envoy(EnvoyDrain { exit_at: 3, fail_healthcheck: true, .. })
    ));
    // With `direction: inbound`, `fail_healthcheck` is off by default, because a failed health
    // check would also close the connections of egress listeners.
    for (keys, expected, fails) in [
        ("", None, true),
        ("direction: all, ", Some(Direction::All), true),
        ("direction: inbound, ", Some(Direction::Inbound), false),
        ("direction: inbound, fail_healthcheck: true, ", Some(Direction::Inbound), true),
    ] {
        let envoy =
            drain(&format!("envoy: {{{keys}admin: 'unix:/a', ignore_listeners: [a, 'b:1']}}"));
        let DrainMethod::Envoy(envoy) = envoy.method else { panic!() };
        assert_eq!((envoy.direction, envoy.fail_healthcheck), (expected, fails), "{keys}");
        assert_eq!(envoy.ignore_listeners, ["a", "b:1"]);
    }
}
