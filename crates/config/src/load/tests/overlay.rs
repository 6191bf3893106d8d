//! Tests how several files are merged.

use crate::keys::StartCondition;
use crate::load::Diagnostic;
use crate::load::testing::{load, variables};
use std::time::Duration;

const BASE: &str = r#"
shutdown: {grace_period: 30s, signals: [TERM, INT]}
processes:
  engine:
    command: [engine, --a, --b]
    environment: {LEVEL: info, KEEP: "1"}
    sockets: [/run/e.sock]
    readiness: {unix: /run/e.sock, timeout: 10s, interval: 50ms}
    log: {prefix: eng}
    hooks: {pre_stop: [stop, it]}
  task: {type: oneshot, command: [task]}
  router:
    command: [envoy]
    depends_on: [engine, task]
    stop_grace_period: 5s
"#;

// holds: C520
#[test]
fn a_reset_of_a_misspelled_key_is_refused() {
    for (over, key) in [
        ("processes: {engine: {raediness: !reset }}", "raediness"),
        ("processes: {engine: {readiness: {tcpp: !reset }}}", "tcpp"),
        ("processes: {engine: {hooks: {prestop: !reset {command: [x]}}}}", "prestop"),
        ("shutdwn: !reset", "shutdwn"),
        ("hooks: {prestart: !reset }", "prestart"),
    ] {
        let refused = |texts: &[&str]| {
            let errors = load(texts, &[]).unwrap_err();
            let expected = format!("unknown key `{key}` ");
            assert!(
                errors.iter().any(|e| e.message.starts_with(&expected)),
                "{texts:?} {errors:?}"
            );
        };
        refused(&[BASE, over]);
        refused(&[BASE, over, over]);
        refused(&[over]);
    }
    // A `!reset` makes a known key absent, even if no earlier file has the key.
    let known = "shutdown: !reset {grace_period: x}\nhooks: {pre_stop: !reset }";
    let over = [known, "processes: {task: {user: !reset , hooks: !reset , depends_on: !reset }}"];
    assert!(load(&[BASE, over[0], over[1], over[1]], &[]).unwrap().warnings.is_empty());
}

#[test]
fn variables_in_lists_are_expanded_beside_a_second_file() {
    let base = "
processes:
  a: {command: [a]}
  b: {command: [b]}
  c: {command: [c]}
  d:
    command: [d]
    depends_on: ['${A}', '${NO:-b}']
    environment: ['${N}=1', '${PAIR}', '${NAME}', 'D=4']
";
    let environment = [("A", "a"), ("N", "X"), ("PAIR", "Y=2"), ("NAME", "Z"), ("Z", "3")];
    let over = "{d: {depends_on: [c, '${A}'], environment: {E: '5'}}}";
    let started = "{d: {depends_on: {a: {condition: started}}, environment: ['E=5']}}";
    for (over, names, condition) in [
        (over, &["a", "b", "c"][..], StartCondition::Ready),
        (started, &["a", "b"], StartCondition::Started),
    ] {
        let loaded = load(&[base, &format!("processes: {over}")], &environment).unwrap();
        assert_eq!(loaded.warnings, []);
        let process = &loaded.config.processes[3];
        let found: Vec<_> = process.depends_on.iter().map(|one| one.process.as_str()).collect();
        assert_eq!((&found[..], process.depends_on[0].condition), (names, condition));
        assert_eq!(variables(process), ["X=1", "Y=2", "Z=3", "D=4", "E=5"]);
    }
}

// holds: C520
#[test]
fn a_reset_of_an_unknown_name_is_a_warning() {
    let over = "
env: {NAME: !reset }
processes:
  rooter: !reset
  x-old: !reset
  router: {depends_on: {engin: !reset , engine: , other: !reset }}
";
    let loaded = load(&[BASE, over], &[]).unwrap();
    let help = |warning: &Diagnostic| warning.help.clone().unwrap();
    let found: Vec<_> =
        loaded.warnings.iter().map(|d| (d.line, d.message.clone(), help(d))).collect();
    let found: Vec<_> = found.iter().map(|(line, why, help)| (*line, &**why, &**help)).collect();
    let none = "correct the name, or remove the line";
    assert_eq!(
        found,
        [
            (2, "`!reset` has nothing to remove: no earlier file has `NAME`", none),
            (
                4,
                "`!reset` has nothing to remove: no earlier file has `rooter`",
                "did you mean `router`?"
            ),
            (
                6,
                "`!reset` has nothing to remove: no earlier file has `engin`",
                "did you mean `engine`?"
            ),
            (6, "`!reset` has nothing to remove: no earlier file has `other`", none),
        ]
    );
    assert_eq!(loaded.config.processes[2].depends_on.len(), 2);
}

// holds: C9, C465, C645
#[test]
fn a_removed_variable_is_not_inherited_from_the_container() {
    let over = |over: &[&str]| {
        let texts: Vec<String> =
            over.iter().map(|keys| format!("processes: {{engine: {{{keys}}}}}")).collect();
        let texts: Vec<&str> = [BASE].into_iter().chain(texts.iter().map(String::as_str)).collect();
        variables(&load(&texts, &[("HOST", "h"), ("LEVEL", "c")]).unwrap().config.processes[0])
    };
    let reset = "environment: {LEVEL: !reset , HOST: !reset }";
    assert_eq!(over(&[reset]), ["!LEVEL", "KEEP=1", "!HOST"]);
    // After a `!reset`, a later file can set the variable again, or let the process get the
    // container's value.
    let later = "environment: [LEVEL=debug, HOST]";
    assert_eq!(over(&[reset, later]), ["LEVEL=debug", "KEEP=1", "HOST=h"]);
    assert_eq!(over(&["environment: {LEVEL: }"]), ["LEVEL=c", "KEEP=1"]);
    assert_eq!(over(&["environment: !override {HOST: !reset }"]), ["!HOST"]);
    // If the first file has a value with `!reset`, the value is dropped, so a later file's value is
    // not merged with it.
    let base =
        "processes: {a: {command: [a], readiness: !reset {tcp: '127.0.0.1:1', timeout: 3s}}}";
    let config = load(&[base, "processes: {a: {readiness: {file: /x}}}"], &[]).unwrap().config;
    assert_eq!(config.processes[0].readiness.as_ref().unwrap().timeout, Duration::from_secs(30));
    // A key without a value replaces no other kind of probe.
    let base = "processes: {a: {command: [a], readiness: {tcp: '127.0.0.1:1', timeout: 3s}}}";
    let config = load(&[base, "processes: {a: {readiness: {http: }}}"], &[]).unwrap().config;
    assert_eq!(config.processes[0].readiness.as_ref().unwrap().timeout, Duration::from_secs(3));
}

// holds: C10
#[test]
fn a_tag_without_effect_is_refused() {
    for (keys, tag) in [
        ("environment: [!reset LEVEL]", "!reset"),
        ("environment: {!reset LEVEL}", "!reset"),
        ("sockets: [!reset /run/e.sock]", "!reset"),
        ("depends_on: [!override task]", "!override"),
    ] {
        let over = format!("processes: {{engine: {{{keys}}}}}");
        let errors = load(&[BASE, &over], &[]).unwrap_err();
        let message = format!("`{tag}` has no meaning here");
        assert_eq!((errors.len(), &errors[0].message), (1, &message), "{keys}");
    }
}

#[test]
fn a_broken_file_does_not_hide_the_faults_of_the_next() {
    let errors =
        load(&["a: [", "processes: {a: {command: [a]}, a: {}}", "# nothing"], &[]).unwrap_err();
    let files: Vec<_> = errors.iter().map(|d| d.file.display().to_string()).collect();
    assert_eq!(files, ["0.yaml", "1.yaml", "2.yaml"]);
}
