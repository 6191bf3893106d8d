//! Tests the values of each key, in all forms that a config can have.

use std::path::Path;

use super::*;
use crate::keys::key::Table;
use crate::keys::{Address, DrainMethod, Header, HeaderValue, LogFormat, RESOURCES};
use crate::language::environment::OWN;
use crate::load::Loaded;
use crate::types::{ProcessId, Signal};

fn process(keys: &str) -> Process {
    process_in(keys, &[("HOST", "h"), ("EMPTY", ""), ("PROC", "proc"), ("N", "512")])
}

/// Fails unless Rust's `Debug` shows each of these parts in a process with these keys. A `¦` stands
/// between two parts.
#[track_caller]
fn assert_shows(keys: &str, parts: &str) {
    let shown = format!("{:?}", process(keys));
    for part in parts.split('¦') {
        assert!(shown.contains(part), "{keys}: no {part} in {shown}");
    }
}

// holds: C11
#[test]
fn a_key_without_a_value_counts_as_absent() {
    let absent = format!("{:?}", process(""));
    for key in Process::KEYS.names().filter(|key| *key != "command") {
        assert_eq!(format!("{:?}", process(&format!("{key}:"))), absent, "{key}");
    }
    let absent = format!("{:?}", config(&process_with("")));
    for empty in [
        "env:",
        "shutdown:",
        "shutdown: {grace_period: , signals: }",
        "control:",
        "control: {listen: , socket: }",
        "logging:",
        "reload_signal:",
        "hooks:",
    ] {
        let text = format!("{empty}\n{}", process_with(""));
        assert_eq!(format!("{:?}", config(&text)), absent, "{empty}");
    }
}

// holds: S2, C45, C79, C81, C82, C85, C92, C136, C380, C470, C602, C613
#[test]
fn the_environment_overrides_the_defaults() {
    const TEXT: &str = "
env: {HOST: 127.0.0.1, PORT: '9901', TIME: '15'}
shutdown: {grace_period: '${GRACE:-30}', reserve: 2s}
control: {listen: '127.0.0.1:9902', socket: /run/drainit.sock}
logging: {format: text}
processes:
  engine: {command: [engine]}
  router:
    command: [envoy]
    depends_on: [engine]
    drain: {envoy: {admin: 'http://${HOST}:${PORT}', time: '${TIME}'}}
";
    let environment = [
        ("PORT", "9000"),
        ("TIME", "3"),
        ("HOST", ""),
        ("GRACE", "10"),
        ("DRAINIT_LOG_FORMAT", "json"),
    ];
    // The container's variable `HOST` is set but empty. It counts as unset, so `env` gives the
    // value.
    for (environment, exported, window, format, port, time) in [
        (&[][..], 3, 28, LogFormat::Text, 9901, 15),
        (&environment, 1, 8, LogFormat::Json, 9000, 3),
    ] {
        let loaded = load(&[TEXT], environment).unwrap();
        assert_eq!(loaded.warnings, []);
        let config = loaded.config;
        assert_eq!(config.env.len(), exported);
        assert_eq!(config.env[0], ("HOST".to_owned(), "127.0.0.1".to_owned()));
        assert_eq!(config.shutdown.window(), Duration::from_secs(window));
        assert_eq!(config.shutdown.signals, [Signal::TERM, Signal::INT, Signal::QUIT]);
        assert_eq!(config.control.listen, Some("127.0.0.1:9902".parse().unwrap()));
        assert_eq!(config.control.socket.path(), Some(Path::new("/run/drainit.sock")));
        assert_eq!(config.logging.format, format);
        assert_eq!(loaded.graph.order, [ProcessId(0), ProcessId(1)]);
        assert_eq!(loaded.graph.dependents, [vec![ProcessId(1)], vec![]]);
        let drain = config.processes[1].drain.as_ref().unwrap();
        assert_eq!(
            (drain.time, drain.min),
            (Some(Duration::from_secs(time)), Duration::from_secs(time.min(5)))
        );
        let DrainMethod::Envoy(envoy) = &drain.method else { panic!() };
        assert_eq!(envoy.admin, Address::Tcp(([127, 0, 0, 1], port).into()));
    }
    let errors = load(&[TEXT], &[("TIME", "abc")]).unwrap_err();
    let expected = "\
error: `time` is `${TIME}`: not a duration
  --> 0.yaml:11:60
   |
11 |     drain: {envoy: {admin: 'http://${HOST}:${PORT}', time: '${TIME}'}}
   |                                                            ^^^^^^^^^
   |
   = help: write a number of seconds, or a duration such as `500ms`, `15s` or `1m 30s`; TIME comes from the container's environment
   = id: invalid-value";
    assert_eq!(errors.iter().map(ToString::to_string).collect::<Vec<_>>(), [expected]);
}

// holds: C521, C522
#[test]
fn line_breaks_in_a_command_are_refused_if_a_shell_would_run_two_commands() {
    let of = |value: &str| format!("processes:\n  a:\n    {value}");
    for value in [
        "command: |\n      a -b -c\n",
        "command: |\n      a -b \\\n        -c\n",
        "command: >\n      a\n      -b\n      -c\n",
        "command: a\n      -b\n      -c\n",
    ] {
        assert_eq!(config(&of(value)).processes[0].command, ["a", "-b", "-c"], "{value}");
    }
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
    let found = config(text)
        .processes
        .into_iter()
        .map(|it| format!("{:?} {} {:?}", it.restart, it.environment.len(), it.stop_grace_period));
    assert_eq!(found.collect::<Vec<_>>(), ["Always 1 None", "Always 2 Some(3s)", "No 0 Some(3s)"]);
}

// holds: C39
#[test]
fn variables_are_not_put_into_keys() {
    let process = process("environment: {'${HOST}': x}");
    assert_eq!(variables(&process), ["${HOST}=x"]);
    let text = format!("env: {{'${{HOST}}': x}}\n{}", process_with(""));
    assert_eq!(load(&[&text], &[("HOST", "h")]).unwrap().config.env[0].0, "${HOST}");
    for process in ["'${HOST}': {command: [a]}", "a: {command: [a], 'stop_${HOST}': TERM}"] {
        let text = format!("processes: {{{process}}}");
        let problems = load(&[&text], &[("HOST", "signal")]).unwrap_err();
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
    let config = read("{authorization: {file: t}, X-Key: '${NO:-k}'}").unwrap().config;
    assert!(!format!("{config:?}").contains("\"k\""));
    let drain = config.processes[0].drain.clone().unwrap();
    let DrainMethod::Http(http) = drain.method else { panic!() };
    let header = |name: &str, value| Header { name: name.to_owned(), value };
    let file = header("authorization", HeaderValue::File("t".into()));
    assert_eq!(http.headers, [file, header("x-key", HeaderValue::Text("k".to_owned()))]);
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

// holds: C166, C167, C168, C170, C171, C182, C183, C184, C343, C430, C523
#[test]
fn each_form_of_a_value_is_read() {
    let [octal, all, own] = [0o27, 0o666, 0o600].map(|mode: u32| mode.to_string());
    let file = |path: &str, prefix: &str, stderr: &str| {
        let [path, prefix, stderr] = [path, prefix, stderr].map(|it| match it {
            "" => "None".to_owned(),
            text => format!("Some({text:?})"),
        });
        format!("File(LogFile {{ path: {path}, prefix: {prefix}, stderr: {stderr} }})")
    };
    let tcp = format!("Tcp([::1]:80), name: \"a\", mode: {all}, backlog: None");
    let whole = format!("address: Unix(\"///b\"), name: \"c\", mode: {own}, backlog: Some(9)");
    for (keys, parts) in [
        ("restart: 'on-failure:3'", "restart: OnFailure¦restart_delay: 1s¦restart_max: Some(3)"),
        ("stop_signal: RTMIN+3", "stop_signal: SIGRTMIN+3"),
        ("umask: '027'", &format!("umask: Some({octal})")),
        ("umask: 027", &format!("umask: Some({octal})")),
        ("umask: 0o27", &format!("umask: Some({octal})")),
        ("umask: '0'", "umask: Some(0)"),
        ("log: {file: /a, stderr: {file: /b}}", &file("/a", "", "/b")),
        ("log: {stderr: {file: /b}}", &file("", "", "/b")),
        ("log: {mode: prefix, stderr: {file: /b}}", &file("", "a", "/b")),
        ("log: {prefix: x, stderr: {file: /b}}", &file("", "x", "/b")),
        ("log: {mode: prefix, prefix: x, stderr: {file: /b}}", &file("", "x", "/b")),
        ("log: {file: /a, prefix: x}", &file("/a", "x", "")),
        ("log: {file: /a, stderr: stdout}", "path: Some(\"/a\")¦stderr_to_stdout: true"),
        ("log: {mode: none}", "mode: None, stderr_to_stdout: false"),
        ("log: {stderr: stdout}", "mode: Inherit, stderr_to_stdout: true"),
        ("log: {mode: inherit, stderr: stdout}", "mode: Inherit, stderr_to_stdout: true"),
        ("log: {mode: prefix, stderr: stdout}", "mode: Prefix(\"a\"), stderr_to_stdout: true"),
        ("log: {prefix: x, stderr: stdout}", "mode: Prefix(\"x\"), stderr_to_stdout: true"),
        ("log: {}", "mode: Prefix(\"a\"), stderr_to_stdout: false"),
        ("log:", "mode: Inherit, stderr_to_stdout: false"),
        ("listen: ['tcp://[::1]:80']", &tcp),
        ("listen: ['unix:/run/a']", "address: Unix(\"/run/a\"), name: \"a\""),
        ("listen: [{address: 'unix:///b', name: c, mode: 0600, backlog: 9}]", &whole),
    ] {
        assert_shows(keys, parts);
    }
    // Docker reads this 0 as "no limit". drainit reads it as the number 0.
    let zero = config(&process_with("restart: 'on-failure:0'"));
    assert_eq!(zero.processes[0].restart_max, Some(0));
}

// holds: C366, C383, C390, C394, C642, C735, C810, C811, C812, C813, C814, C815, C816
#[test]
fn each_kind_of_drain_is_read() {
    let whole =
        "connections: {ports: [80, '8080'], until: connections, exit_at: 2, idle: 1s, min: 0}";
    let counting = "Counting { ports: [], until: Answers, idle: 5s, exit_at: 3 }¦min: 5s";
    for (drain, parts) in [
        (
            "http: {url: 'unix:/a', time: 20s, min: 1s}",
            "method: Post¦until: None¦time: Some(20s), min: 1s",
        ),
        ("http: {url: 'unix:/a', until: 204}", "until: Some(204)"),
        ("exec: [/b, --now]", "Exec(¦command: [\"/b\", \"--now\"]¦time: None, min: 5s"),
        (
            "exec: {command: /b --now, time: 5s}",
            "command: [\"/b\", \"--now\"]¦time: Some(5s), min: 5s",
        ),
        ("signal: {signal: QUIT}", "Signal(SignalDrain { signal: SIGQUIT"),
        ("notify: {signal: USR1}", "Notify(SignalDrain { signal: SIGUSR1"),
        ("envoy: {admin: 'unix:/a', until: requests}", "until: Requests, exit_at: 0¦min: 5s"),
        ("envoy: {admin: 'unix:/a', exit_at: 3}", "exit_at: 3¦fail_healthcheck: true"),
        ("connections: {}", "until: Answers, idle: 5s¦time: None, min: 5s"),
        (whole, "ports: [80, 8080], until: Connections, idle: 1s, exit_at: 2¦min: Some(0ns)"),
        ("signal: {signal: QUIT, connections: {exit_at: 3}}", counting),
        ("exec: {command: [a], connections: {exit_at: 3}}", counting),
        ("http: {url: 'unix:/a', until: 200, connections: {exit_at: 3}}", counting),
    ] {
        assert_shows(&format!("drain: {{{drain}}}"), parts);
    }
    assert_eq!(process("drain: connections").drain, process("drain: {connections: {}}").drain);
    // With `direction: inbound`, `fail_healthcheck` is off by default, because a failed health
    // check would also close the connections of egress listeners.
    for (keys, parts) in [
        ("", "direction: None¦fail_healthcheck: true"),
        ("direction: all, ", "direction: Some(All)¦fail_healthcheck: true"),
        ("direction: inbound, ", "direction: Some(Inbound)¦fail_healthcheck: false"),
        ("direction: inbound, fail_healthcheck: true, ", "fail_healthcheck: true"),
    ] {
        let drain = format!("envoy: {{{keys}admin: 'unix:/a', ignore_listeners: [a, 'b:1']}}");
        let parts = format!("{parts}¦ignore_listeners: [\"a\", \"b:1\"]");
        assert_shows(&format!("drain: {{{drain}}}"), &parts);
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
        ("{http: {url: 'unix:/a'}}", "the first 2xx answer ends the drain"),
    ] {
        let found = lines(&checked(&process_with(&format!("drain: {text}")), &[])).join(" ");
        assert!(found.contains(why), "{text}: {found}");
    }
}

// holds: C324, C325, C326
#[test]
fn ulimits_have_the_form_of_compose() {
    let ulimits = |text: &str| {
        let ulimits = process(&format!("ulimits: {text}")).ulimits.into_iter();
        let ulimits =
            ulimits.map(|it| (it.resource, format!("{} {:?} {:?}", it.name, it.soft, it.hard)));
        ulimits.collect::<Vec<_>>()
    };
    for (text, expected) in [
        ("{nproc: 65535}", "nproc Number(65535) Number(65535)"),
        ("{nofile: max}", "nofile Max Max"),
        ("{core: -1}", "core Unlimited Unlimited"),
        ("{memlock: unlimited}", "memlock Unlimited Unlimited"),
        ("{nofile: {soft: \"${N}\", hard: max}}", "nofile Number(512) Max"),
    ] {
        assert_eq!(ulimits(text)[0].1, expected, "{text}");
    }
    for (name, resource) in RESOURCES {
        let expected = (*resource, format!("{name} Number(1) Number(1)"));
        assert_eq!(ulimits(&format!("{{{name}: {{soft: 1, hard: 1}}}}")), [expected]);
    }
}

// holds: C162, C621, C622
#[test]
fn a_stop_grace_period_of_0_differs_from_an_unset_stop_grace_period() {
    for (value, limit) in [("0", Some(0)), ("25s", Some(25)), ("", None)] {
        let config = config(&process_with(&format!("stop_grace_period: {value}")));
        let stop = config.spec(&config.graph().unwrap()).processes[0].stop;
        assert_eq!(stop.map(|stop| stop.as_secs()), limit, "{value}");
    }
}

// holds: C689, C690, C624
#[test]
fn on_exit_is_a_word_or_a_mapping_by_kind_of_end() {
    for (text, success, failure, signal) in [
        ("ignore", "Ignore", "Ignore", "Ignore"),
        ("{success: ignore}", "Ignore", "Shutdown", "Shutdown"),
        ("{failure: ignore}", "Shutdown", "Ignore", "Ignore"),
        ("{failure: ignore, signal: shutdown}", "Shutdown", "Ignore", "Shutdown"),
        ("{signal: ignore}", "Shutdown", "Shutdown", "Ignore"),
    ] {
        let shown = format!("success: {success}, failure: {failure}, signal: {signal}");
        assert_shows(&format!("on_exit: {text}"), &shown);
        let text = process_with(&format!("on_exit: {text}\n    required: false"));
        assert_eq!(load(&[&text], &[]).is_ok(), [failure, signal] == ["Ignore"; 2], "{text}");
    }
}

// holds: C190
#[test]
fn wrong_sockets_are_refused() {
    let itself = "drainit itself listens on tcp://0.0.0.0:80 for the process";
    for (listen, message) in [
        ("[80]", "`listen` is `80`: not an address to listen on"),
        ("['tcp://1.2.3.4:0']", "no process can be reached at port 0"),
        ("[{mode: '600'}]", "`processes.a.listen` has no `address`"),
        ("[{address: 'unix:/a', mode: '9'}]", "not permissions"),
        ("[{address: 'unix:/a', name: 'a:b'}]", "cannot be the name of a socket"),
        ("['unix:/run/a', 'unix:/var/run/a']", "`a` already listens on unix:/var/run/a"),
        ("['tcp://[::]:80', 'tcp://[::]:80']", "`a` already listens on tcp://[::]:80"),
        ("['unix:/a']\n    sockets: [/a]", "`sockets` of `a` would remove unix:/a"),
        ("['unix:/a']\n    readiness: {unix: /a}", "`readiness` of `a` always succeeds"),
        ("['tcp://0.0.0.0:80']\n    readiness: {tcp: '127.0.0.1:80'}", itself),
        ("['unix:/a']\n  b: {command: [b], sockets: [/a]}", "`sockets` of `b` would remove"),
        (
            "['unix:/a']\n  b: {command: [b], sockets: [/a], only_if: {value: '', is: x}}",
            "`sockets` of `b` would remove",
        ),
    ] {
        assert_only(&process_with(&format!("listen: {listen}")), message);
    }
    assert!(problems(&process_with("listen: ['tcp://0.0.0.0:80', 'tcp://[::1]:80']")).is_empty());
}

// holds: C776
#[test]
fn sockets_that_exclude_each_other_are_refused() {
    let excludes =
        "drainit's own `control.listen` already listens at this port, which excludes tcp://0.";
    for (control, keys, message) in [
        ("", "listen: ['tcp://0.0.0.0:80', 'tcp://[::]:80']", "`a` already listens at this port"),
        (
            "",
            "listen: ['tcp://127.0.0.2:80']\n  b: {command: [b], listen: ['tcp://0.0.0.0:80']}",
            "process `a` already listens at this port, which excludes tcp://0.0.0.0:80",
        ),
        ("listen: '0.0.0.0:80'", "listen: ['tcp://0.0.0.0:80']", "own `control.listen` already"),
        ("listen: '127.0.0.1:80'", "listen: ['tcp://0.0.0.0:80']", excludes),
        ("socket: /run/a", "listen: ['unix:/var//run/a']", "drainit's own `control.socket` alr"),
        ("listen: '127.0.0.1:0'", "listen: ['tcp://127.0.0.1:80', 'tcp://127.0.0.2:80']", ""),
        ("listen: '0.0.0.0:8'", "listen: ['tcp://0.0.0.0:8']\n    only_if: {value: x, is: y}", ""),
    ] {
        let control = if control.is_empty() { "x-a:" } else { &format!("control: {{{control}}}") };
        let text = format!("{control}\n{}", process_with(keys));
        match message {
            "" => assert_eq!(lines(&problems(&text)), [""; 0], "{text}"),
            message => drop(assert_only(&text, message)),
        }
    }
}

// holds: C76, C601
#[test]
fn a_reload_signal_with_another_meaning_is_refused() {
    let signal = |text: &str| config(&format!("{text}\n{}", process_with(""))).reload_signal;
    assert_eq!((signal("reload_signal: SIGHUP"), signal("")), (Some(Signal::HUP), None));
    let only_int = "TERM\nshutdown: {signals: [INT]}";
    for (signal, keys, expected) in [
        ("TERM", "", "1:16 `reload_signal` is SIGTERM, which stops the container"),
        ("TERM\nshutdown: {signals: [INT, TERM]}", "", "which stops the container"),
        (only_int, "forward_signals: [USR1, TERM]", "forwarded to `a`"),
        (only_int, "forward_signals: [TERM, USR1]\n  b: {command: [b]}", "forwarded to `a`"),
        (only_int, "\n  b: {command: [b], forward_signals: [TERM]}", "forwarded to `b`"),
        ("KILL", "", "1:16 "),
        ("CHLD", "", "1:16 "),
        ("[HUP]", "", "1:16 "),
        ("HUPP", "", "1:16 "),
    ] {
        assert_only(&format!("reload_signal: {signal}\n{}", process_with(keys)), expected);
    }
}

// holds: C309
#[test]
fn files_that_a_process_reads_can_be_watched() {
    let dir = TempDir::new();
    let files = ["a.tmpl", "argument", "a.env", "token"];
    let [template, argument, env_file, secret] =
        files.map(|name| dir.write(name, b"A=1").display().to_string());
    let watched = [&template, &argument, &env_file, &secret]
        .map(|path| format!("{{path: {path}, action: restart}}"))
        .join(", ");
    let text = format!(
        "processes: {{a: {{command: [a, {{join: [{{file: {argument}}}]}}], env_file: {env_file}, \
         environment: {{A: {{file: {secret}}}}}, render: [{{from: {template}, to: /run/a}}], watch: [{watched}]}}}}"
    );
    assert_eq!(lines(&problems(&text)), [""; 0]);
}

// holds: C613, C676
#[test]
fn a_variable_of_drainit_alone_changes_a_single_key() {
    const TEXT: &str = "
logging: {format: text}
processes: {a: {command: [a], profiles: [web]}, b: {command: [b, '${DRAINIT_OTHER:-c}']}}
";
    let plain = load(&[TEXT], &[]).unwrap();
    for variable in OWN.into_iter().chain(["DRAINIT_GRACE_PERIOD", "DRAINIT_DRAIN_ENVOY"]) {
        let value = match variable {
            "DRAINIT_LOG_FORMAT" => "json",
            "DRAINIT_LOG_LEVEL" => "debug",
            "DRAINIT_PROFILES" => "web",
            _ => "/other",
        };
        let mut loaded = load(&[TEXT], &[(variable, value)]).unwrap();
        match variable {
            "DRAINIT_LOG_FORMAT" => {
                assert_eq!(loaded.config.logging.format, LogFormat::Json);
                loaded.config.logging.format = plain.config.logging.format;
            }
            "DRAINIT_PROFILES" => {
                assert_eq!(loaded.config.processes[0].only_if, None);
                loaded.config.processes[0] = plain.config.processes[0].clone();
            }
            _ => {}
        }
        let shown = |loaded: &Loaded| format!("{:?}{:?}", loaded.config, loaded.warnings);
        assert_eq!(shown(&loaded), shown(&plain), "{variable}");
    }
}
