//! Tests what `check` says about a drain that is off.

use super::*;
use crate::language::diagnostics::diagnostic::Severity::{self, Note, Warning};
use crate::load::testing::load_of_pod;

const TCP: &str = "readiness: {tcp: '127.0.0.1:80'}, depends_on: []";
const ON: &str = "drain: {connections: {time: \"${TIME}\"}}";

fn found(text: &str, environment: &[(&str, &str)]) -> Vec<(Severity, usize, String)> {
    let problems = checked(text, environment).into_iter();
    problems.map(|it| (it.severity, it.line, it.message)).collect()
}

fn process(keys: &str) -> String {
    format!("processes:\n  a: {{command: [a], {TCP},\n    {keys}}}\n")
}

// holds: C1025, C1026
#[test]
fn a_drain_that_is_off_is_named_with_key_value_and_source() {
    let of_time = "`drain.connections.time` is 0";
    let set = format!("{of_time} (`${{TIME}}`; TIME is set in the environment)");
    let unset = format!("{of_time} (`${{TIME:-0s}}`; TIME is not set)");
    let empty = format!("{of_time} (`${{TIME:-0s}}`; TIME is empty)");
    let condition = "`drain.only_if` does not hold";
    let is =
        format!("{condition} (value: `${{ADMIN:-}}`, is: `yes`; ADMIN is set in the environment)");
    let either = format!("{condition} (path_exists: `/none` or value: `${{B}}`, is: `x`; B is set");
    let envoy = "envoy: {admin: 'unix:/a', time: 0}";
    for (drain, environment, severity, expected) in [
        ("connections: {time: 0}", ("A", ""), Note, of_time),
        ("connections: {time: 0ms}", ("A", ""), Note, of_time),
        (envoy, ("A", ""), Note, "`drain.envoy.time` is 0"),
        ("signal: {signal: USR1, time: 0s}", ("A", ""), Note, "`drain.signal.time` is 0"),
        ("connections: {time: \"${TIME}\"}", ("TIME", "0"), Warning, &set),
        ("connections: {time: \"${TIME:-0s}\"}", ("A", ""), Warning, &unset),
        ("connections: {time: \"${TIME:-0s}\"}", ("TIME", ""), Warning, &empty),
        (
            "connections: {}, only_if: {value: \"${ADMIN:-}\", is: 'yes'}",
            ("ADMIN", "no"),
            Warning,
            &is,
        ),
        (
            "connections: {}, only_if: [{path_exists: /none}, {value: \"${B}\", is: x}]",
            ("B", "y"),
            Warning,
            &either,
        ),
        // Who also writes `time: 0` has decided.
        ("connections: {time: 0}, only_if: {path_exists: /none}", ("A", ""), Note, of_time),
    ] {
        let text = process(&format!("drain: {{{drain}}}"));
        let found = found(&text, &[environment]);
        assert!(found.len() == 1, "the same process has no second finding: {drain}: {found:?}");
        let message = format!("`a` is not drained: its {expected}");
        assert_eq!((found[0].0, found[0].1), (severity, 3), "{drain}: {found:?}");
        assert!(found[0].2.starts_with(&message), "{drain}: {found:?}");
    }
    let by_env = format!("env: {{TIME: '0'}}\n{}", process(ON));
    let by_env = found(&by_env, &[]);
    assert_eq!(by_env[0].0, Note, "the file itself says so");
    assert!(by_env[0].2.ends_with("(`${TIME}`; TIME is set by `env`)"), "{by_env:?}");
    assert_eq!(found(&process(ON), &[("TIME", "9s")]), []);
    // Each variable is named once, and the file must set all of them.
    let both = process(
        "drain: {connections: {}, only_if: {value: \"${A:-}${B:-}\", is: \"${B:-}x${A:-}\"}}",
    );
    for (env, severity, sources) in [
        ("A: a, B: b", Note, "A is set by `env`; B is set by `env`)"),
        ("A: a", Warning, "A is set by `env`; B is not set)"),
        ("B: b", Warning, "A is not set; B is set by `env`)"),
    ] {
        let found = found(&format!("env: {{{env}}}\n{both}"), &[]);
        assert!(
            found[0].0 == severity && found[0].2.ends_with(&format!("`; {sources}")),
            "{env}: {found:?}"
        );
    }
}

// holds: C1027
#[test]
fn a_drain_that_is_off_counts_as_no_drain() {
    let off = &[("TIME", "0")];
    let messages = |text: &str| found(text, off);
    // One finding is enough for the servers behind the process.
    let behind = format!(
        "processes:\n  a: {{command: [a], {TCP}}}\n  b: {{command: [b], depends_on: [a], {ON}}}\n"
    );
    let found = messages(&behind);
    assert!(found.len() == 1 && found[0].1 == 3, "{found:?}");
    // A process that never starts, an empty `drain` and an empty hook drain nobody.
    let never = "only_if: {value: '', is: x}, drain: connections";
    for (keys, more) in [
        ("drain: null", ""),
        ("hooks: {pre_stop: null}", ""),
        ("", &*format!("  b: {{command: [b], depends_on: [a], {never}}}\n")),
    ] {
        let text = process(keys) + more;
        let found = messages(&text);
        assert!(found.len() == 1 && found[0].2.contains("is stopped at once"), "{text}: {found:?}");
    }
    // No finding is about a process that never starts. Copies are named once.
    let never = format!("processes:\n  w: {{command: [w], only_if: {{value: '', is: x}}, {ON}}}\n");
    assert_eq!(messages(&never), []);
    let copies = process(&format!("scale: 3, {ON}")).replace(":80'", ":80${SCALE_INDEX}'");
    assert_eq!(messages(&copies).len(), 1);
    // Whatever else lets the traffic leave, a variable has still turned off the drain.
    let delayed = format!("shutdown: {{readiness_delay: 5s}}\n{}", process(ON));
    assert_eq!(messages(&delayed)[0].0, Warning);
    // A known program that needs a drain gets one finding, too.
    let known = delayed.replace("[a]", "[daphne, 'app:app']");
    assert_eq!(messages(&known).len(), 1, "{:?}", messages(&known));
}

// holds: C1028
#[test]
fn the_pod_is_told_whether_the_traffic_leaves() {
    for (drain, time, says) in [
        ("drain: connections", "0", true),
        ("drain: {connections: {time: 0}}", "0", false),
        // A warning has already said so.
        (ON, "0", true),
        (ON, "9s", true),
    ] {
        let environment = [("TIME", time)].into_iter().collect();
        let loaded = load_of_pod(&process(drain), &environment, false).unwrap();
        assert_eq!(loaded.says_how_traffic_leaves, says, "{drain}");
    }
}
