//! Tests how several files are merged.

use crate::config::{LogMode, Probe, Process, StartCondition};
use crate::load::Diagnostic;
use crate::load::testing::{load, variables};
use crate::types::Signal;
use std::sync::Arc;
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

fn merged(over: &str) -> Vec<Arc<Process>> {
    load(&[BASE, over], &[("HOST", "h")]).unwrap().config.processes
}

// holds: C450, C454, C455, C458, C462
#[test]
fn a_debug_variant_is_a_few_lines() {
    let over = "
processes:
  engine:
    command: [dlv, exec, engine]
    environment: [LEVEL=debug, HOST]
    sockets: [/run/e.sock, /run/dlv.sock]
    readiness: {tcp: 127.0.0.1:2345}
    log: {mode: inherit}
  router:
    depends_on: {task: {condition: started}}
";
    let processes = merged(over);
    let engine = &processes[0];
    assert_eq!(engine.command, ["dlv", "exec", "engine"]);
    assert_eq!(variables(engine), ["LEVEL=debug", "KEEP=1", "HOST=h"]);
    assert_eq!(engine.sockets.len(), 2);
    let readiness = engine.readiness.as_ref().unwrap();
    assert!(matches!(readiness.probe, Probe::Tcp(_)));
    assert_eq!(readiness.timeout, Duration::from_secs(10));
    assert_eq!(readiness.interval, Duration::from_millis(50));
    assert_eq!(engine.log.mode, LogMode::Inherit);
    let router = &processes[2];
    let needs: Vec<_> =
        router.depends_on.iter().map(|d| (d.process.as_str(), d.condition)).collect();
    assert_eq!(needs, [("engine", StartCondition::Ready), ("task", StartCondition::Started)]);
    assert_eq!(router.stop_grace_period, Some(Duration::from_secs(5)));
}

// holds: C456, C457, C458, C467
#[test]
fn lists_grow_and_commands_replace() {
    let loaded = load(&[BASE, "shutdown: {signals: [INT, USR1]}"], &[]).unwrap();
    let usr1 = Signal::USR1;
    assert_eq!(loaded.config.shutdown.signals, [Signal::TERM, Signal::INT, usr1]);
    let codes = |codes| format!("processes: {{a: {{command: [a], success_codes: {codes}}}}}");
    let loaded = load(&[&codes("[0, 2]"), &codes("[2, 3]")], &[]).unwrap();
    assert_eq!(loaded.config.processes[0].success_codes, [0, 2, 3]);
    let base = "processes: {a: {command: [a], readiness: {exec: [x, y]}, hooks: {pre_stop: {command: [p, q], timeout: 3s}}}}";
    let over = "processes: {a: {readiness: {exec: [z]}, hooks: {pre_stop: {command: [r]}}}}";
    let process = &load(&[base, over], &[]).unwrap().config.processes[0];
    assert!(
        matches!(&process.readiness.as_ref().unwrap().probe, Probe::Exec(words) if words == &["z"])
    );
    let hook = process.hooks.pre_stop.as_ref().unwrap();
    assert_eq!(
        (hook.command.as_slice(), hook.timeout),
        (&["r".to_owned()][..], Some(Duration::from_secs(3)))
    );
}

// holds: C463
#[test]
fn an_overlay_can_add_a_timeout_to_a_hook_in_short_form() {
    let processes = merged("processes: {engine: {hooks: {pre_stop: {timeout: 3s}}}}");
    let hook = processes[0].hooks.pre_stop.as_ref().unwrap();
    assert_eq!((hook.command.len(), hook.timeout), (2, Some(Duration::from_secs(3))));
}

// holds: C760
#[test]
fn a_short_form_in_a_later_file_replaces_the_earlier_full_form() {
    let base = "processes: {a: {command: [a], hooks: {pre_stop: {command: [p, q], timeout: 3s}}}}";
    let hook = |over: &str| {
        let over = format!("processes: {{a: {{hooks: {{pre_stop: {over}}}}}}}");
        load(&[base, &over], &[]).unwrap().config.processes[0].hooks.pre_stop.clone().unwrap()
    };
    let short = hook("[r]");
    assert_eq!((short.command, short.timeout), (vec!["r".to_owned()], None));
    let full = hook("{command: [r]}");
    assert_eq!(full.timeout, Some(Duration::from_secs(3)));
}

// holds: C9, C465, C466, C467
#[test]
fn keys_can_be_removed_and_replaced() {
    let over = "
processes:
  engine:
    readiness: !reset null
    environment: !override {ONLY: this}
    sockets: !reset []
  task: !reset {}
  router: {depends_on: !override [engine]}
";
    let processes = merged(over);
    assert_eq!(processes.len(), 2);
    assert!(processes[0].readiness.is_none() && processes[0].sockets.is_empty());
    assert_eq!(variables(&processes[0]), ["ONLY=this"]);
    assert_eq!(processes[1].depends_on.len(), 1);
    // A `!reset` in the first file has nothing to remove. It makes the key absent all the same.
    let config = load(&["processes: {a: {command: [a], user: !reset x}}"], &[]).unwrap().config;
    assert!(config.processes[0].user.is_none());
}

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
    // A `!reset` makes a known key absent. No earlier file needs to have the key.
    let known = "shutdown: !reset {grace_period: x}\nhooks: {pre_stop: !reset }";
    let over = [known, "processes: {task: {user: !reset , hooks: !reset , depends_on: !reset }}"];
    assert!(load(&[BASE, over[0], over[1], over[1]], &[]).unwrap().warnings.is_empty());
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
    // A `!reset` of the whole `environment` removes it, with every `!reset` of a variable in
    // earlier files.
    let none: &[&str] = &[];
    assert_eq!(over(&["environment: !reset"]), none);
    assert_eq!(over(&[reset, "environment: !reset"]), none);
    assert_eq!(over(&["environment: !reset", "environment: {A: '1'}"]), ["A=1"]);
    // If the first file has a value with `!reset`, the value is dropped, so a later file's value is
    // not merged with it.
    let base =
        "processes: {a: {command: [a], readiness: !reset {tcp: '127.0.0.1:1', timeout: 3s}}}";
    let config = load(&[base, "processes: {a: {readiness: {file: /x}}}"], &[]).unwrap().config;
    assert_eq!(config.processes[0].readiness.as_ref().unwrap().timeout, Duration::from_secs(30));
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

// holds: C11, C464
#[test]
fn a_later_file_can_add_processes_and_empty_values_change_nothing() {
    let processes =
        merged("processes:\n  router:\n  engine: {command: , log: ~}\n  new: {command: [new]}\n");
    assert_eq!(processes.len(), 4);
    assert_eq!(processes[0].command.len(), 3);
    assert_eq!(processes[3].name, "new");
}

#[test]
fn a_broken_file_does_not_hide_the_faults_of_the_next() {
    let errors =
        load(&["a: [", "processes: {a: {command: [a]}, a: {}}", "# nothing"], &[]).unwrap_err();
    let files: Vec<_> = errors.iter().map(|d| d.file.display().to_string()).collect();
    assert_eq!(files, ["0.yaml", "1.yaml", "2.yaml"]);
}
