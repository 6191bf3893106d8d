//! Tests `scale`, which makes several processes from one entry.

use super::{lines, problems};
use crate::keys::Config;
use crate::keys::reader::Reader;
use crate::keys::scale::Scaling;
use crate::language::diagnostics::problems::Problems;
use crate::language::environment::Variables;
use crate::language::source::Source;
use crate::load::testing::load;
use crate::load::{Environment, yaml};

fn scaled(text: &str, variables: &[(&str, &str)]) -> Config {
    load(&[text], variables).unwrap().config
}

fn names(config: &Config) -> Vec<&str> {
    config.processes.iter().map(|process| process.name.as_str()).collect()
}

const WORKERS: &str = "
processes:
  cache: {command: [cache]}
  app:
    command: [app, '--port=80${SCALE_INDEX}']
    scale: ${N}
    depends_on: [cache]
    sockets: ['/run/app-${SCALE_INDEX}.sock']
    log: {prefix: wrk}
    args: {prefix: --app.}
  front: {command: [front, '${SCALE_INDEX:-none}'], depends_on: {app: {condition: started}}}
";

// holds: C318, C319
#[test]
fn dependents_do_not_wait_for_a_scale_of_zero() {
    let config = scaled(WORKERS, &[("N", "0")]);
    assert_eq!(names(&config), ["cache", "front"]);
    assert!(config.processes[1].depends_on.is_empty());
    // An entry with `scale: 0` makes no process, but its errors are reported.
    let found = lines(&problems("processes: {a: {command: [a]}, b: {scale: 0, comand: [b]}}"));
    assert_eq!(found, ["1:46 unknown key `comand` in `processes.b`"]);
    let found = problems("processes: {a: {command: [a], scale: 0}}");
    assert_eq!(lines(&found), ["1:1 there is nothing to start: every `scale` is 0"]);
    assert!(!found[0].is_error());
}

// holds: C163, C313, C316
#[test]
fn wrong_scales_are_reported() {
    for (text, expected) in [
        ("processes: {a: {command: [a], scale: 1001}}", "1:38 `scale` is `1001`: more than 1000"),
        (
            "processes: {a: {command: [a], scale: 2}, a-2: {command: [b]}}",
            "1:42 `a-2` is the name of a copy, which `scale` makes",
        ),
        ("processes: {a: {command: [a], scale: 2, depends_on: [a]}}", "1:54 process `a` depends"),
        ("processes: {a: {command: [a], scale: 2, sockets: [/s]}}", "1:51 process `a-1` already"),
        (
            "processes: {a: {command: [a], scale: 2, listen: ['tcp://127.0.0.1:1']}}",
            "1:50 process `a-1` already listens on tcp://127.0.0.1:1",
        ),
        (
            "processes: {a: {command: [a], scale: 2, render: [{from: /f, to: /t}]}}",
            "1:65 process `a-1` already writes `/t`",
        ),
        (
            "processes: {a: {command: [a], scale: 2, stop_signal: TREM}}",
            "1:54 `stop_signal` is `TREM`: not a signal",
        ),
        (
            "processes: {a: {command: [a], scale: 2}, b: {command: [b], \
             depends_on: {a: {condition: completed}}}}",
            "1:88 `a` is a service, which never completes",
        ),
        (
            "processes: {a: {command: [a], scale: 2}, b: {command: [b], depends_on: [a-3]}}",
            "1:73 process `b` depends on `a-3`, which does not exist",
        ),
        (
            "processes: {a: {command: [a], scale: 2}, b: {command: [b], args: {prefix: -x}}, \
             c: {command: [c], scale: 2, args: {prefix: -x}}}",
            "1:124 process `b` already has the prefix `-x`",
        ),
    ] {
        let found = lines(&problems(text));
        assert!(found.first().is_some_and(|line| line.starts_with(expected)), "{text}: {found:?}");
        assert_eq!(found.len(), 1, "{text}: {found:?}");
    }
    let shared = problems("processes: {a: {command: [a], scale: 2, sockets: [/s]}}");
    assert!(shared[0].help.as_ref().unwrap().contains("${SCALE_INDEX}"));
}

#[test]
fn the_number_of_processes_is_bounded() {
    let (mut problems, environment) = (Problems::default(), Environment::default());
    let file = problems.add_source(Source::new("f", "{scale: 1000}".to_owned()));
    let node = yaml::parse(&mut problems, file).unwrap();
    let mut reader = Reader::new(&mut problems, Variables::new(&environment));
    let mut copies = |so_far| Scaling::default().read(&mut reader, "a", &node, so_far);
    assert_eq!([64_535, 64_536].map(&mut copies), [Some(1000), Some(1)]);
    assert_eq!(lines(&problems.finish()), ["1:9 more than 65535 processes"]);
}

#[test]
fn the_number_of_values_is_bounded() {
    // Each copy depends on each copy of the other entry, so the dependencies multiply.
    let dependencies = "processes:
  a: {command: [a], scale: 1000}
  b: {command: [b], scale: 1000, depends_on: [a]}";
    let words = "x, ".repeat(1000);
    let words = format!("processes: {{a: {{command: [{words}x], scale: 1000}}}}");
    for text in [dependencies, &words] {
        let found = lines(&problems(text));
        assert!(found[0].contains("more than 1000000 values in all copies"), "{found:?}");
    }
}
