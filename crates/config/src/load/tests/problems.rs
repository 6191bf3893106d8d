//! Tests the message and the place of every error that a config can have.

use super::*;
use crate::load::load;
use crate::testing::random::Random;

// holds: C6, C73, C152, C153, C154, C170, C265, C277, C325, C524, C617, C624, C655, C853
#[test]
fn every_fault_of_a_process_has_a_message_and_a_place() {
    for (keys, column, message) in [
        ("comand: [b]", 5, "unknown key `comand` in `processes.a`"),
        ("only_if: {}", 14, "`processes.a.only_if` has no condition"),
        ("only_if: {value: x}", 14, "`value` without `is`"),
        ("only_if: {is: x}", 14, "`processes.a.only_if` has no `value` to compare"),
        ("only_if: {value: x, is: x, is_not: y}", 40, "can have one of `is`"),
        ("drain: {only_if: {value: x, is: y}}", 12, "`processes.a.drain` has no method"),
        ("args: {refuse: [x]}", 11, "`processes.a.args` has no `prefix`"),
        ("args: {prefix: ''}", 20, "`prefix` is empty: every argument begins with it"),
        ("sockets: [{a: b}]", 15, "`sockets` must be a single value, not a mapping"),
        ("depends_on: [b]", 18, "process `a` depends on `b`, which does not exist"),
        ("depends_on: [a]", 18, "process `a` depends on itself"),
        ("readiness: {}", 16, "`processes.a.readiness` has no probe"),
        ("readiness: {unix: /a, tcp: 1.2.3.4:5}", 27, "can have `unix` or `tcp`"),
        ("readiness: {unix: /a, interval: 0}", 37, "must be longer than 0"),
        ("liveness: {}", 15, "`processes.a.liveness` has no check"),
        ("liveness: {tcp: '1.2.3.4:5', http: 'http://1.2.3.4/'}", 34, "not both"),
        ("liveness: {notify: true}", 24, "`notify` is `true`: not a duration"),
        ("liveness: {tcp: '1.2.3.4:5', retries: 0}", 43, "`retries` is `0`: 0 is too few"),
        ("readiness: {notify: false}", 25, "`notify` is `false`: `true` is the only value"),
        ("readiness: {log: '('}", 22, "not a regular expression: found open group"),
        ("readiness: {exec: []}", 23, "`exec` does not name a program"),
        ("drain: {envoy: {time: 5s}}", 20, "`processes.a.drain.envoy` has no `admin`"),
        ("stop_signal: STOP", 18, "it only suspends a process"),
        ("forward_signals: [CHLD]", 23, "the exit of every child sends"),
        ("forward_signals: [USR1, KILL]", 29, "no process can catch"),
        ("restart: sometimes", 14, "`restart` is `sometimes`: not a known value"),
        ("restart: unless-stopped", 14, "not needed here"),
        ("restart: 'on-failure:x'", 14, "`restart` is `on-failure:x`: not a whole number"),
        ("drain: {envoy: {admin: 'unix:/a', ignore_listeners: ['']}}", 58, "the name is missing"),
        ("drain: {http: {url: 'unix:/a', until: 99}}", 43, "`until` is `99`: not a status"),
        ("required: false", 5, "its exit stops the container"),
        ("required: false\n    on_exit: failure-shutdown", 5, "its exit stops the container"),
        ("log: {prefix: \"a\\nb\"}", 19, "it has a line break"),
        ("hooks: {pre_stop: {timeout: 5s}}", 23, "`processes.a.hooks.pre_stop` has no `command`"),
        ("environment: ['=x']", 19, "`` cannot be the name of a variable"),
        ("working_dir: \"/a\\0\"", 18, "`working_dir` has a NUL character"),
        ("env_file: none.env", 15, "`env_file` `none.env` does not exist"),
        ("env_file: [{read: start}]", 16, "`processes.a.env_file` has no `path`"),
        ("env_file: [{path: '', read: start}]", 23, "`path` is empty: an empty path"),
        ("env_file: [{path: /a, read: late}]", 33, "`read` is `late`"),
        ("env_file: [{path: /a, read: start, required: maybe}]", 50, "`required` is `maybe`"),
        ("environment: {A: {required: false}}", 22, "needs one of `file` and `value`"),
        ("environment: {'A_*': {file: /a}}", 19, "`A_*` stands for several variables"),
        ("environment: {'A_*_B': !reset}", 19, "`A_*_B` stands for several variables"),
        ("environment: {A: {file: ''}}", 29, "`file` is empty: an empty path"),
        ("render: [{from: /a}]", 14, "`processes.a.render` has no `to`"),
        ("render: [{from: /a, to: /b/}]", 29, "`to` is `/b/`: not the path of a file"),
        ("render: [{from: /a, to: /b, mode: '0999'}]", 39, "`mode` is `0999`"),
        ("render: [{from: /a, to: /b, mode: '64'}]", 39, "`mode` is `64`"),
        ("render: [{from: /b/../a, to: //./a}]", 34, "`from` and `to` are the same file"),
        ("render: [{from: /a, to: /b}, {from: /c, to: /b}]", 49, "`a` already writes"),
        ("watch: [{path: /a}]", 13, "`processes.a.watch` has no `action`"),
        ("watch: [{action: HUP}]", 13, "`processes.a.watch` has no `path`"),
        ("watch: [{path: /a, action: start}]", 32, "`action` is `start`: neither `restart`"),
        ("umask: '028'", 12, "`umask` is `028`: not an octal number from 000 to 777"),
        ("umask: '1777'", 12, "`umask` is `1777`: not an octal number"),
        ("umask: '+27'", 12, "`umask` is `+27`: not an octal number"),
        ("umask: ''", 12, "`umask` is empty: not an octal number"),
        ("ulimits: {nofile: -2}", 23, "`nofile` is `-2`: not a limit"),
        ("ulimits: {nofile: {soft: 5}}", 23, "`processes.a.ulimits.nofile` has no `hard`"),
        ("ulimits: {nofile: {soft: 5, hard: 4}}", 24, "the soft limit of `processes.a.ulimits"),
        ("ulimits: {core: {soft: -1, hard: 4}}", 22, "is above the hard limit"),
        ("log: {mode: none, stderr: {file: /a}}", 23, "goes with `file` or `mode: prefix`"),
        ("log: {file: /a, stderr: {file: /a}}", 21, "both streams have the same file"),
        ("log: {mode: none, file: /a}", 23, "output goes to a `file` or by a `mode`, not both"),
        ("log: {file: /dev/stdout}", 17, "`file` is `/dev/stdout`: drainit's own output"),
        ("log: {file: /dev/null}", 17, "`file` is `/dev/null`: not a file"),
        ("log: {mode: none}\n    readiness: {log: x}", 5, "`readiness: {log: …}` needs the"),
        ("success_codes: []", 20, "`success_codes` is empty"),
        ("success_codes: [0, 256]", 24, "`success_codes` is `256`: not an exit code"),
        ("timeout: 5s", 5, "only a oneshot has a `timeout`"),
        ("timeout: 0", 14, "`timeout` is `0`: must be longer than 0"),
        ("depends_on: {b: {restart: maybe}}\n  b: {command: [b]}", 31, "neither true nor false"),
        ("depends_on: {b: {restarts: true}}\n  b: {command: [b]}", 22, "unknown key `restarts`"),
        ("depends_on: {b: {condition: service_healthy}}\n  b: {command: [b]}", 33, "in Compose"),
        ("depends_on: [b]\n  b: {command: [b], depends_on: [a]}", 18, "circular dependency `a -> "),
        ("environment: {A: '${UNSET}'}", 23, "`UNSET` is not set and becomes empty"),
        ("environment: {A: '${MUST:?say where}'}", 23, "`MUST` is not set: say where"),
        ("liveness: {notify: 3s, interval: 1s}", 28, "`interval` has no effect on `notify`"),
        ("liveness: {notify: 3s, retries: 2}", 28, "`retries` has no effect on `notify`"),
        ("liveness: {notify: 3s, timeout: 1s}", 28, "`timeout` has no effect on `notify`"),
        ("liveness: {notify: 3s, start_period: 9s}", 28, "`start_period` has no effect on"),
        ("readiness: {file: /a}\n    type: oneshot", 5, "a oneshot cannot have `readiness`: it"),
        ("liveness: {exec: [a]}\n    type: oneshot", 5, "a oneshot cannot have `liveness`: it"),
        ("drain: {exec: [a]}\n    type: oneshot", 5, "a oneshot cannot have `drain`: it exits"),
        ("watch: [{path: /a, action: HUP}]\n    type: oneshot", 5, "a oneshot cannot have `watch`"),
        ("update: start-first\n    type: oneshot", 5, "a oneshot cannot have `update`: it exits"),
        ("update: hot-restart\n    type: oneshot", 5, "a oneshot cannot have `update`: it exits"),
        ("<<: 5", 9, "`<<` merges mappings only, not a single value"),
        ("working_dir: !secret /x", 18, "unknown tag `!secret`"),
        ("[a, b]: c", 5, "a key must be text, not a list"),
    ] {
        let found = assert_only(&process_with(keys), message);
        assert_eq!((found.line, found.column), (4, column), "{keys}");
    }
}

// holds: C732, C852
#[test]
fn no_problem_shows_the_value_of_a_variable() {
    let letters: Vec<char> = "жщюфбгдзилцшэя".chars().collect();
    let mut random = Random(49);
    let mut check = |text: &str| {
        let value = |_| (0..=random.below(19)).map(|_| random.pick(&letters)).collect();
        for value in (0..20).map(value).chain(["geheim:geheim/geheim".to_owned()]) {
            let found = problems_in(text, &[("P", &value)]);
            assert!(!found.is_empty(), "{text}");
            let part = value.split(':').next().unwrap();
            for one in found {
                assert!(!one.to_string().contains(part), "{text}{value}\n{one}");
            }
        }
    };
    for keys in [
        "stop_signal: '${P}'",
        "stop_grace_period: '${P}'",
        "restart: 'on-failure:${P}'",
        "restart: '${P}'",
        "user: ':${P}'",
        "readiness: {http: '${P}'}",
        "readiness: {tcp: '${P}'}",
        "readiness: {log: '(${P}'}",
        "ulimits: {nofile: '${P}'}",
        "sockets: ['/${P}/a']¦listen: ['unix:/${P}/a']",
        "listen: ['unix:/${P}']¦readiness: {unix: '/${P}'}",
        "readiness: {unix: '/${P}'}¦update: start-first",
        "depends_on: ['${P}']",
        "depends_on: ['x${P}', x]",
        "env_file: '/none/${P}'",
        "env_file: [{path: '/none/${P}', required: true}]",
        "environment: ['=${P}']",
        "working_dir: '${N:?${P}}'",
        "hooks: {pre_stop: ['a ${P}']}",
        "hooks: {pre_stop: [{join: [{file: '/${P}'}]}]}",
    ] {
        check(&process_with(&keys.replace('¦', "\n    ")));
    }
    // Two processes have the same value, each written in its own way.
    for (one, other) in [
        ("args: {prefix: '--${P}.'}", ""),
        ("sockets: ['/${P}/a']", "sockets: ['/b/../${P}/./a']"),
        ("listen: ['unix:/${P}']", "listen: [{address: 'unix:/${P}', name: a}]"),
        ("render: [{from: /a, to: '/${P}'}]", ""),
        ("readiness: {unix: '/${P}'}", ""),
        ("drain: {envoy: {admin: 'unix:/${P}'}}", ""),
    ] {
        let other = if other.is_empty() { one } else { other };
        check(&format!("{}  b:\n    command: [a]\n    {other}\n", process_with(one)));
    }
    let envoy =
        "update: hot-restart, drain: {envoy: {admin: 'unix:/N'}}, readiness: {envoy: 'unix:/N'}";
    let [one, other] = ["1", "2"].map(|number| envoy.replace('N', number));
    check(&format!(
        "processes:\n  a: {{command: [a, --base-id, '${{P}}'], {one}}}\n  \
         b: {{command: ['a', \"--base-id=${{P}}\"], {other}}}\n"
    ));
}

// holds: C852
#[test]
fn a_problem_shows_an_address_as_written_in_the_file() {
    for kind in ["tcp", "grpc"] {
        let unknown = ["9", "47", "4711", "47119"].map(|port| ("127.0.0.1:${P}", port));
        for (probe, port) in unknown.into_iter().chain([("127.0.0.1:80", "80")]) {
            let readiness = format!("readiness: {{{kind}: '{probe}'}}");
            let text = process_with(&format!("environment: {{A: '${{P}}'}}\n    {readiness}"));
            let text = format!("{text}  b:\n    command: [b]\n    {readiness}\n");
            let found = problems_in(&text, &[("P", port)]);
            assert!(found[0].message.contains(&format!("probes {probe}, like")), "{found:?}");
        }
    }
}

#[test]
fn a_duplicate_of_any_key_of_a_mapping_is_found() {
    for keys in [1, 2, 15, 16, 17, 31, 32, 33, 40] {
        for again in 0..keys {
            let mut text = "processes:\n".to_owned();
            for key in (0..keys).chain([again]) {
                text += &format!("  p{key}: {{command: [a]}}\n");
            }
            assert_only(&text, &format!("{}:3 duplicate key `p{again}`", keys + 2));
        }
    }
}

// holds: C658, C896
#[test]
fn the_help_names_the_remedy() {
    let help = |text: &str| {
        let found = problems(text);
        assert_eq!(found.len(), 1, "{text}: {found:#?}");
        found[0].help.clone().unwrap_or_default()
    };
    let all_drains = "one of `envoy`, `http`, `exec`, `signal`, `notify` and `connections`";
    for (keys, expected) in [
        ("comand: [b]", "did you mean `command`?"),
        ("healthcheck: {}", "did you mean `readiness`?"),
        ("stop_signal: SIGTREM", "did you mean `TERM`?"),
        ("depends_on: b", "write `depends_on: [b]`"),
        ("only_if: {valeu: x, is: y}", "did you mean `value`?"),
        ("drain: {time: 5s, exec: [x]}", "write it inside `exec`: `exec: {time: …}`"),
        ("drain: {time: 3s}", all_drains),
        ("pre_start: [x]", "write it inside `hooks`: `hooks: {pre_start: …}`"),
        ("interval: 5s\n    readiness: {unix: /a}", "write it inside `readiness`"),
        ("interval: 5s", "write it inside one of `readiness` and `liveness`"),
        ("condition: healthy", "known keys: `command`"),
        ("drain: {exec: [x], envoy: {admin: 'unix:/a'}}", "keep one of them"),
        ("drain: {signal: {signal: USR1}, connections: {}}", "`signal: {…, connections: …}`, or"),
        ("restart: unless-stopped", "write `always`"),
        ("restart: maybe", "write one of `no`, `on-failure` and `always`"),
        ("readiness: {tcp: ':80'}", "write `127.0.0.1:PORT`, or `0.0.0.0:PORT`"),
        ("drain: {signal: USR1}", "`KEY: VALUE` lines, indented under it; known keys: `signal`"),
        ("args: --app.", "did you mean `{prefix: --app.}`? Known keys: `prefix`"),
        ("log: a.log", "did you mean `{file: a.log}`?"),
        ("log: /var/log/a", "did you mean `{file: /var/log/a}`?"),
        ("log: web", "did you mean `{prefix: web}`?"),
        ("log: none", "did you mean `{mode: none}`? Known keys: `mode`"),
        ("readiness: http://localhost:80/x", "did you mean `{http: \"http:"),
        ("autorestart: true", "write `restart: always`, `on-failure` or `no`"),
        ("args: [c, d]", "which arguments of the container it gets: `args: {prefix: \"--web.\"}`"),
        ("on_exit: {succes: ignore}", "`success`"),
    ] {
        let help = help(&process_with(keys));
        assert!(help.contains(expected), "{keys}: {help}");
    }
    for (command, expected) in [
        ("[“sleep”]", "if it belongs to the text, put the whole text into such quotes"),
        ("[sleep, 5\u{a0}]", "write an ordinary space; if it belongs to the text, put"),
        ("[sh, -c, 'for i in 1 2; do echo ${i}; done']", "`$${i}` if the shell is to expand it"),
        ("[sh, -c, 'echo ${f%.c}']", "`$${` in place of `${` if the shell is to expand it"),
    ] {
        let help = help(&format!("processes: {{a: {{command: {command}}}}}"));
        assert!(help.contains(expected), "{command}: {help}");
    }
    assert!(!help("processes: {a: {command: [app, '${i}']}}").contains("$$"));
    // Typographic characters within quotes are part of the text.
    assert_eq!(problems("processes: {a: {command: [b, '“c”', \"d\u{a0}e\", f”]}}"), []);
    for (text, expected) in [
        ("services: {a: {image: x}}", "docs/migrating.md#compose shows which keys change"),
        ("[program:a]\ncommand=b\n", "`drainit import FILE` makes a config of it"),
        ("a = 1\n", "write YAML; `env_file: [FILE]` reads a file of variables"),
        ("processes: {a: {command: [a], depends_on: [x-w]}}", "keys that begin with `x-` are left"),
    ] {
        assert!(help(text).contains(expected), "{text}: {}", help(text));
    }
}

// holds: C7, C77, C78, C151, C470, C526, C646
#[test]
fn every_fault_of_a_config_has_a_message_and_a_place() {
    for (text, message) in [
        ("processes: {a: {}}", "1:13 process `a` has no `command`"),
        ("processes: {a: {command: }}", "1:13 process `a` has no `command`"),
        ("processes: {a: {command: ['']}}", "1:26 `command` does not name a program"),
        ("processes: {a: {command: [sleep 10]}}", "1:26 `command` is one word"),
        ("processes: {a: {command: [a, null]}}", "1:30 `command` must be a single value"),
        ("processes: {a: {command: {a: b}}}", "1:26 `command` must be a command, not a mapping"),
        ("processes: {a: [x]}", "1:16 `processes.a` must be a mapping, not a list"),
        ("processes: {a: {command: a | b}}", "1:26 `command` is `a | b`: no shell runs"),
        ("processes: {'a b': {command: [a]}}", "1:13 `a b` cannot be the name of a process"),
        ("processes: {}", "1:1 the config has no processes"),
        ("processes:", "1:1 the config has no processes"),
        ("shutdown: {}", "0:0 the config has no processes"),
        ("process: {a: {command: [a]}}", "1:1 unknown key `process` at the top level"),
        ("processes: [a]", "1:12 `processes` must be a mapping, not a list"),
        ("processes: {drainit: {command: [a]}}", "1:13 `drainit`"),
        ("processes: {a: {command: [a], log: {prefix: drainit}}}", "1:45 `prefix`"),
        ("processes: {a: {command: [a], log: {file: /a, prefix: drainit}}}", "1:55 `prefix`"),
        ("processes: {x-w: {}, a: {command: [a], depends_on: [x-w]}}", "`a` depends on `x-w`"),
    ] {
        let is_error = assert_only(text, message).is_error();
        assert_eq!(is_error, !text.contains("sleep 10"), "{text}");
    }
    assert!(lines(&problems("[a]"))[0].starts_with("1:1 a config must be a mapping, not a list"));
    let long = format!("control: {{socket: /{}}}", "a".repeat(110));
    for (text, message) in [
        ("proceses: {}", "2:1 unknown key `proceses` at the top level"),
        ("shutdown: {signals: []}", "without `signals` the container cannot be stopped"),
        ("shutdown: {signals: [CHLD]}", "a signal that the exit of every child sends"),
        ("control: {listen: 9902}", "`listen` is `9902`: a port without an address"),
        ("logging: {format: yaml}", "`format` is `yaml`: not a known value"),
        ("logging: {event: /x}", "unknown key `event` in `logging`"),
        ("env: {'': x}", "`` cannot be the name of a variable"),
        ("env: [A=1]", "`env` must be a mapping, not a list"),
        (&long, "111 bytes long"),
    ] {
        assert_only(&format!("processes: {{a: {{command: [a]}}}}\n{text}"), message);
    }
    for fine in [
        "x-a: {b: 1}\nprocesses: {a: {command: [a], x-b: \"${C}\"}, x-c: 5}",
        "processes: {x-t: &t {command: [t]}, a: {<<: *t, command: [a]}}",
        "processes: {drainit-x: {command: [a], log: {prefix: drainit2}}}",
        "processes: {a: {command: [a], liveness: {notify: 30s}}}",
    ] {
        assert_eq!(problems(fine), []);
    }
    let found = problems_in("processes: {a: {command: [a]}}", &[("DRAINIT_LOG_FORMAT", "xml")]);
    assert!(found[0].is_error() && found[0].message.starts_with("`DRAINIT_LOG_FORMAT`"));
}

// holds: C5, C6
#[test]
fn broken_yaml_is_explained() {
    for (text, place, message) in [
        ("a: b: c", "1:5", "unexpected `:`"),
        ("a:\n\t- b", "2:2", "a tab where spaces are needed"),
        ("a: [\"x]", "1:5", "this quote is not closed"),
        ("a: 'x\nb: y", "2:1", "quoted text continues on this line, which is not indented"),
        ("a:\n  b: \"x\n y\"", "3:2", "quoted text continues on this line, which is not indented"),
        ("a: \"x\n\ty\"", "2:1", "a tab where spaces are needed"),
        ("a:\n   b: c\n  d: e", "3:3", "wrong indentation"),
        ("a: *b", "1:4", "an alias to an anchor that is not defined above"),
        ("a: [b", "", "unclosed bracket '['"),
        ("a: [b}", "", "mismatched bracket '[' closed by '}'"),
        ("a: [{b: c} d]", "", "missing `,` or `]` in a list"),
        ("a: [${B}]", "", "`${` inside `[…]` or `{…}`"),
        ("a: \"\\q\"", "1:4", "unknown escape"),
        ("a: @b", "1:4", "a character that cannot begin a value"),
    ] {
        let found = assert_only(text, &format!("{place} not valid YAML: {message}"));
        assert!(found.help.is_some(), "{text}");
    }
    // Another version of the parser may accept other texts, so `cargo install` must not choose it.
    assert!(include_str!("../../../Cargo.toml").contains("granit-parser = { version = \"=2.1.0\""));
    assert_only("a: 1\n---\nb: 2\n", "2:1 a second document begins here");
    assert_only("---\n", "0:0 `0.yaml` is empty");
    assert_only("# only this\n", "0:0 `0.yaml` is empty");
    assert_only("", "0:0 `0.yaml` is empty");
}

// holds: C14
#[test]
fn problems_of_an_env_file_have_a_line_and_show_no_secrets() {
    let dir = TempDir::new();
    let load = |config: &[u8], env_file: &[u8]| {
        dir.write("a.env", env_file);
        load(&[dir.write("c.yaml", config)], &Environment::default()).unwrap_err()
    };
    let config = b"processes: {a: {command: [a], env_file: a.env}, b: {command: ['${Y:?why}']}}";
    let errors = load(config, b"A=1\nhunter2 secret=x\nB='x\n");
    assert_eq!(errors.iter().map(|d| d.line).collect::<Vec<_>>(), [1, 2, 3]);
    assert!(errors[1].file.ends_with("a.env"));
    assert!(errors.iter().all(|error| !error.to_string().contains("hunter2")), "{errors:?}");
    let errors = load(config, b"A=hunter2\nB=${X:?not ${A}}\n");
    assert_eq!(lines(&errors), ["1:64 `Y` is not set: why", "2:1 `X` is not set"]);
}

// holds: C157, C619
#[test]
fn a_process_cannot_remove_the_control_socket() {
    let text = "control: {socket: /run/drainit.sock}\nprocesses: {a: {command: [x], KEYS}}";
    for (sockets, message) in [
        ("[/run/drainit.sock]", "`sockets` of `a` contains drainit's own `control.socket`"),
        ("[/run/other, /var/run/x/..//./drainit.sock]", "which would be removed"),
    ] {
        let found = assert_only(&text.replace("KEYS", &format!("sockets: {sockets}")), message);
        assert!(found.is_error() && found.line == 2, "{found}");
    }
    assert_eq!(problems(&text.replace("KEYS", "sockets: [/run/drainit.sock2]")), []);
    // Two processes list the same socket, by different paths.
    let keys = "sockets: [/var/run/./s]}, b: {command: [x], sockets: [/run/s]";
    assert_only(&text.replace("KEYS", keys), "process `a` already has the socket");
}

// holds: C897
#[test]
fn the_list_of_known_keys_is_printed_once() {
    let found =
        problems("processes:\n  a: {command: [b], foo: 1}\n  c: {command: [b], bar: 1, baz: 2}\n");
    let helps: Vec<_> = found.iter().filter_map(|problem| problem.help.as_deref()).collect();
    assert!(helps[0].starts_with("known keys: `command`, "), "{helps:?}");
    assert_eq!(helps[1..], ["known keys: see line 2"; 2]);
}

// holds: C688
#[test]
fn automatic_processes_cannot_depend_on_autostart_false() {
    let text = "processes:
  tool: {command: [a], autostart: false, scale: 2}
  other: {command: [a], autostart: false, depends_on: [tool]}
  job: {command: [a], autostart: false}
  web: {command: [a], depends_on: [job, tool], scale: 2}
  next: {command: [a], depends_on: [web]}
";
    let found = problems(text);
    let expected = [(36, "job"), (41, "tool-1"), (41, "tool-2")].map(|(column, on)| {
        format!(
            "5:{column} `web-1` starts by itself, but needs `{on}`, which has `autostart: false`"
        )
    });
    assert_eq!(lines(&found), expected);
    let help = "write `autostart: false` here too, or remove it there";
    assert_eq!(found[0].help.as_deref(), Some(help));
}

// holds: S886
#[test]
fn a_config_in_which_nothing_starts_by_itself_has_a_warning() {
    let nothing = "3:3 nothing starts by itself: every process has `autostart: false`";
    for (second, expected) in [(", autostart: false", &[nothing][..]), ("", &[])] {
        let found = problems(&format!(
            "\nprocesses:\n  a: {{command: [a], autostart: false}}\n  b: {{command: [b]{second}}}\n"
        ));
        assert_eq!(lines(&found), expected);
    }
}
