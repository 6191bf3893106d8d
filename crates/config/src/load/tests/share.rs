//! Tests `${stop_seconds}` and its kin: a process's share of the deadline.

use super::*;
use crate::keys::{DrainMethod, Probe};
use crate::load::at_start;
use crate::plan::Plan;

/// A gateway whose stops do not fit into the grace period.
const GATEWAY: &str = "
shutdown: {grace_period: '${GRACE:-20s}', reserve: 0.5s}
processes:
  database: {command: [db, '--limit=${stop_seconds}'], stop_grace_period: 5s}
  app:
    command: [app]
    scale: 2
    depends_on: [database]
    environment: {GRACEFUL: '${stop_seconds}', EXACT: '${stop_ms}', DRAIN: '${drain_seconds}', MS: '${drain_ms}'}
    drain: {signal: {signal: USR1, time: 4s}}
  front: {command: 'front ${stop_ms}', depends_on: [app], hooks: {pre_stop: {command: [h, '${stop_seconds}'], timeout: 1s}}}
";

// holds: C805
#[test]
fn processes_learn_the_shares_that_the_plan_shows() {
    for grace in ["2s", "9s", "20s", "5m"] {
        let loaded = load(&[GATEWAY], &[("GRACE", grace)]).unwrap();
        let plan = Plan::new(&loaded.config, &loaded.graph);
        let takes = |step: &str, process: &Process| {
            let mut steps = plan.after_signal.steps.iter();
            let label = format!("{step} {}", process.name);
            steps.find(|step| plan.label(step) == label).unwrap().takes()
        };
        let [database, first, second, front] = &loaded.config.processes[..] else { panic!() };
        let limit = takes("stop", database).as_secs();
        assert_eq!(database.command[1], format!("--limit={limit}"));
        let stop = takes("stop", front);
        assert_eq!(front.command[1], stop.as_millis().to_string());
        let hook = front.hooks.pre_stop.as_ref().unwrap();
        assert_eq!(hook.command[1], stop.as_secs().to_string());
        for app in [first, second] {
            let (stop, drain) = (takes("stop", app), takes("drain", app));
            let expected = [
                format!("GRACEFUL={}", stop.as_secs()),
                format!("EXACT={}", stop.as_millis()),
                format!("DRAIN={}", drain.as_secs()),
                format!("MS={}", drain.as_millis()),
            ];
            assert!(variables(app).ends_with(&expected), "{:?}", variables(app));
        }
    }
}

// holds: S507
#[test]
fn a_count_by_the_kernel_leaves_time_to_the_stop() {
    for drain in
        ["{connections: {time: 15s}}", "{signal: {signal: USR1, time: 15s, connections: {}}}"]
    {
        let keys = format!("drain: {drain}\n    environment: {{A: '${{stop_ms}}'}}");
        let config = config(&format!("shutdown: {{grace_period: 22s}}\n{}", process_with(&keys)));
        // The drain takes 15 s of the 20 s, and the last count 250 ms.
        assert_eq!(variables(&config.processes[0]), ["A=4750"]);
    }
    // A drain without `time` leaves a second to the stop.
    let keys = "drain: connections\n    environment: {A: '${stop_ms}', B: '${drain_ms}'}";
    let config = config(&format!("shutdown: {{grace_period: 22s}}\n{}", process_with(keys)));
    assert_eq!(variables(&config.processes[0]), ["A=1000", "B=18750"]);
}

// holds: C856
#[test]
fn names_of_drainit_with_a_typing_error_are_suggested() {
    for (name, own) in [
        ("stop_second", Some("stop_seconds")),
        ("drain_millis", None),
        ("STOP_MS", Some("stop_ms")),
        ("memory_mb", Some("memory_mib")),
        ("SCALE_INDX", Some("SCALE_INDEX")),
        ("PORT", None),
    ] {
        let found = problems(&format!("processes: {{a: {{command: [a, '${{{name}}}']}}}}"));
        let help = found[0].help.clone().unwrap();
        let hint = own.map(|own| format!("did you mean `${{{own}}}`? Otherwise set it, or write"));
        assert!(help.starts_with(hint.as_deref().unwrap_or("set it, or write")), "{help}");
    }
}

// holds: C806
#[test]
fn no_other_value_than_of_a_process_knows_a_share() {
    for text in [
        "env: {A: '${stop_seconds}'}\nprocesses: {a: {command: [a]}}",
        "hooks: {pre_start: {command: [h, '${stop_seconds}']}}\nprocesses: {a: {command: [a]}}",
        "processes: {a: {command: [a], stop_grace_period: '${stop_seconds}'}}",
        "processes: {a: {command: [a]}}\nshutdown: {grace_period: '${stop_ms}'}",
    ] {
        assert!(lines(&problems(text))[0].contains("` is not known here"), "{text}");
    }
    let text = "shutdown: {grace_period: 2s, reserve: 1500ms}\nprocesses: {a: {command: [a, '${stop_seconds}']}}";
    assert_only(text, "2:26 `${stop_seconds}` is 0 for `a`: its stop gets 500ms");
    let loaded = load(&[text], &[("stop_seconds", "mine")]).unwrap();
    assert_eq!(loaded.config.processes[0].command[1], "mine", "the container counts first");
}

// holds: C805
#[test]
fn files_with_variables_know_the_share() {
    let dir = TempDir::new();
    let path = dir.write("a.env", b"A=${stop_seconds}\n").display().to_string();
    for read in ["config", "start"] {
        let keys =
            format!("env_file: [{{path: {path}, read: {read}}}]\n    stop_grace_period: 7.5s");
        let mut process = process_in(&keys, &[]);
        process.environment =
            at_start::values(&process, &[], &Environment::default(), &[]).unwrap().0;
        assert_eq!(variables(&process), ["A=7"], "{read}");
    }
}

// holds: C805, C806
#[test]
fn each_value_of_a_process_gets_the_share() {
    let dir = TempDir::new();
    for name in ["part-0", "part-7"] {
        dir.write(name, format!("{name} ${{stop_ms}}\n").as_bytes());
    }
    let command = "[c, '${stop_ms}', {join: [{text: zero, only_if: {value: '${stop_seconds}', is: '0'}}]}, \
                   {join: [{text: '${stop_seconds}', only_if: {value: '${stop_seconds}', is: '7'}}, {file: 'part-${stop_seconds}'}]}]";
    let text = format!(
        "processes:
  a:
    command: {command}
    scale: 1
    depends_on: []
    stop_grace_period: 7s
    environment: {{A: '${{stop_ms}}', B: {{value: '${{stop_ms}}'}}, C: {{file: '/x/${{stop_ms}}/y'}}}}
    hooks: {{pre_start: {command}, pre_stop: {command}, post_stop: {command}}}
    readiness: {{exec: {command}}}
    liveness: {{exec: {command}}}
    drain: {{exec: {{command: {command}, time: 2s}}}}
  b: {{command: 'b -t ${{stop_seconds}}', environment: ['V${{stop_ms}}=x${{drain_ms}}'], stop_grace_period: 7s}}
"
    );
    let path = dir.write("c.yaml", text.as_bytes());
    let loaded = crate::load::load(&[path], &Environment::default()).unwrap();
    assert_eq!(loaded.warnings, []);
    let [a, b] = &loaded.config.processes[..] else { panic!() };
    let expected = ["c", "7000", "7\npart-7 7000"];
    let hooks = [&a.hooks.pre_start, &a.hooks.pre_stop, &a.hooks.post_stop].into_iter().flatten();
    let hooks: Vec<_> = hooks.map(|hook| &hook.command).collect();
    let probes: Vec<_> = a.probes().map(|(_, probe)| probe).collect();
    let [Probe::Exec(ready), Probe::Exec(alive)] = probes[..] else { panic!("{probes:?}") };
    let Some(DrainMethod::Exec(drain)) = a.drain.as_ref().map(|drain| &drain.method) else {
        panic!()
    };
    let all: Vec<_> = hooks.into_iter().chain([&a.command, ready, alive, &drain.command]).collect();
    assert_eq!(all.len(), 7);
    assert!(all.iter().all(|command| **command == expected), "{all:?}");
    assert_eq!(variables(a), ["SCALE_INDEX=1", "A=7000", "B=7000", "C from /x/7000/y"]);
    assert_eq!(b.command, ["b", "-t", "7"]);
    assert_eq!(variables(b), ["V7000=x0"]);
}

#[test]
fn errors_of_arguments_that_a_share_decides_about_are_reported_with_all_others() {
    let part = "{join: [{file: none, only_if: {value: '${stop_seconds}', is_not: '1'}}]}";
    let text = format!(
        "processes:
  a: {{command: [a, {part}], scale: 2}}
  b: {{command: [{{join: [{{text: b, only_if: {{value: '${{stop_ms}}', is: ''}}}}]}}]}}
  c: {{command: [c, {part}], scale: 0}}
"
    );
    let expected = [
        "2:35 `file` `none` does not exist",
        "3:16 `command` does not name a program",
        "4:35 `file`",
    ];
    for more in ["", "  d: {command: [d], comand: x}\n"] {
        let found = lines(&problems(&format!("{text}{more}")));
        let is_there = |it: &&str| found.iter().any(|line| line.starts_with(*it));
        assert!(expected.iter().all(is_there), "{found:#?}");
        assert_eq!(found.len(), 3 + usize::from(!more.is_empty()), "{found:#?}");
    }
}

// holds: C771
#[test]
fn text_with_a_share_and_a_variable_is_shown_as_written() {
    let text = "processes: {a: {command: [a, 'x-${SECRET}-${stop_ms}'], stop_grace_period: 7s}}";
    let config = load(&[text], &[("SECRET", "abc")]).unwrap().config;
    assert_eq!(config.processes[0].command[1], "x-abc-7000");
    let shown = crate::language::written::as_written("no `x-abc-7000`");
    assert_eq!(shown, "no `x-${SECRET}-${stop_ms}`");
}
