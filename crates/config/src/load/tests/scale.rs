//! Tests `scale`, which makes several processes from one entry.

use super::*;
use crate::keys::reader::Reader;
use crate::keys::scale::Scaling;
use crate::language::diagnostics::problems::Problems;
use crate::language::environment::Variables;
use crate::language::source::Source;
use crate::load::yaml;

// holds: C318, C319
#[test]
fn dependents_do_not_wait_for_a_scale_of_zero() {
    let text = "processes: {a: {command: [a], scale: 0}, b: {command: [b], depends_on: [a]}}";
    let processes = config(text).processes;
    assert_eq!((processes.len(), processes[0].depends_on.len()), (1, 0));
    // An entry with `scale: 0` makes no process, but its errors are reported.
    let text = "processes: {a: {command: [a]}, b: {scale: 0, comand: [b]}}";
    assert_only(text, "1:46 unknown key `comand` in `processes.b`");
    let text = "processes: {a: {command: [a], scale: 0}}";
    assert!(!assert_only(text, "1:1 there is nothing to start: every `scale` is 0").is_error());
}

// holds: C1103
#[test]
fn copies_may_share_a_socket_of_listen() {
    let keys = "command: [a], scale: 3, listen: ['tcp://127.0.0.1:1', 'unix:/a']";
    assert!(problems(&format!("processes: {{a: {{{keys}}}}}")).is_empty());
}

// holds: C163, C313, C316
#[test]
fn wrong_scales_are_reported() {
    for (keys, more, expected) in [
        ("scale: 1001", "", "1:38 `scale` is `1001`: more than 1000"),
        (
            "scale: 2",
            "a-2: {command: [b]}",
            "1:42 `a-2` is the name of a copy, which `scale` makes",
        ),
        ("scale: 2, depends_on: [a]", "", "1:54 process `a` depends"),
        ("scale: 2, sockets: [/s]", "", "1:51 process `a-1` already"),
        (
            "scale: 2, listen: ['tcp://127.0.0.1:1']",
            "b: {command: [b], listen: ['tcp://127.0.0.1:1']}",
            "1:100 process `a-1` already listens on tcp",
        ),
        (
            "scale: 2, listen: ['unix:/a', 'unix:/a']",
            "",
            "1:61 process `a-1` already listens on unix:/a",
        ),
        ("scale: 2, render: [{from: /f, to: /t}]", "", "1:65 process `a-1` already writes `/t`"),
        ("scale: 2, stop_signal: TREM", "", "1:54 `stop_signal` is `TREM`: not a signal"),
        (
            "scale: 2",
            "b: {command: b, depends_on: {a: {condition: completed}}}",
            "1:86 `a` is a service, which never completes",
        ),
        (
            "scale: 2",
            "b: {command: [b], depends_on: [a-3]}",
            "1:73 process `b` depends on `a-3`, which",
        ),
        (
            "args: {prefix: -x}",
            "c: {command: [c], scale: 2, args: {prefix: -x}}",
            "1:95 process `a` already has the prefix `-x`",
        ),
    ] {
        let found =
            assert_only(&format!("processes: {{a: {{command: [a], {keys}}}, {more}}}"), expected);
        let has_index = found.help.unwrap().contains("${SCALE_INDEX}");
        assert!(has_index || !keys.contains("sockets"), "{keys}");
    }
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
