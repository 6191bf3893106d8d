//! Tests the condition `only_if` of a process, a drain, a part of an argument and an admin address.

use std::os::unix::fs::{lchown, symlink};

use nix::unistd::geteuid;

use crate::keys::{DrainMethod, EnvoyDrain, OnlyIf, Paths, Process};
use crate::load::testing::load;
use crate::load::tests::{process_in, process_with};
use crate::testing::temp_dir::TempDir;

fn process(keys: &str) -> Process {
    process_in(keys, &[("ON", "true"), ("EMPTY", ""), ("MODE", "b")])
}

const DRAIN: &str = "signal: {signal: USR1}";

// holds: C61, C63, C64, C65, C673, C674, C675
#[test]
fn a_value_is_compared_when_the_config_is_read() {
    for (condition, holds) in [
        ("value: \"${ON}\", is: true", true),
        ("value: \"${ON}\", is: TRUE", false),
        ("value: \"${ON}\", is_not: true", false),
        ("value: \"${EMPTY:-false}\", is: true", false),
        ("value: \"${MODE}\", is: [a, b]", true),
        ("value: \"${MODE}\", is_not: [a, b]", false),
        ("value: \"${MODE}\", is_not: [a, c]", true),
        ("value: \"${NONE:-}\", is_not: ''", false),
        ("value: \"${MODE}\", is_not: ''", true),
        ("path_exists: /, value: \"${ON}\", is: true", true),
        ("path_exists: /nonexistent, value: \"${ON}\", is: true", false),
        ("path_exists: /nonexistent", false),
        ("path_missing: /nonexistent", true),
        ("path_missing: /", false),
        ("value: 'a, b,c', contains: b", true),
        ("value: 'a, b,c', contains: d", false),
        ("value: \"${EMPTY:-}\", contains: b", false),
    ] {
        let any = format!("drain: {{only_if: [{{path_missing: /}}, {{{condition}}}], {DRAIN}}}");
        assert_eq!(process(&any).drain.is_some(), holds, "{any}");
        let drain = process(&format!("drain: {{only_if: {{{condition}}}, {DRAIN}}}")).drain;
        assert_eq!(drain.is_some(), holds, "{condition}");
        let text = format!(
            "processes: {{a: {{command: [a, {{join: [{{text: b, only_if: {{{condition}}}}}]}}]}}}}"
        );
        let loaded = load(&[&text], &[("ON", "true"), ("EMPTY", ""), ("MODE", "b")]).unwrap();
        assert_eq!(loaded.config.processes[0].command.len() == 2, holds, "{condition}");
    }
}

// holds: C62, C66
#[test]
fn paths_are_checked_at_the_start_of_a_process() {
    let path =
        Some(OnlyIf::Any(vec![Paths { exists: Some("/nonexistent".into()), missing: None }]));
    let either =
        "only_if: [{value: x, is: y}, {path_exists: /a, path_missing: /b}, {path_missing: /c}]";
    let paths = [(Some("/a"), "/b"), (None, "/c")].map(|(exists, missing)| Paths {
        exists: exists.map(Into::into),
        missing: Some(missing.into()),
    });
    assert_eq!(process(either).only_if, Some(OnlyIf::Any(paths.to_vec())));
    assert_eq!(process(either).only_if.unwrap().to_string(), "/a and no /b or no /c");
    assert_eq!(process("only_if: [{path_exists: /a}, {value: x, is: x}]").only_if, None);
    for (condition, expected) in [
        ("path_exists: /nonexistent", path.clone()),
        ("path_exists: /nonexistent, value: x, is: x", path),
        ("path_exists: /, value: x, is: y", Some(OnlyIf::Never)),
        ("value: x, is: y", Some(OnlyIf::Never)),
        ("value: x, is: x", None),
    ] {
        assert_eq!(process(&format!("only_if: {{{condition}}}")).only_if, expected, "{condition}");
    }
}

// holds: C676
#[test]
fn a_process_is_left_out_unless_a_profile_is_enabled() {
    for (enabled, holds) in
        [("", false), ("web", true), ("debug, all", true), ("debug", false), ("*", true)]
    {
        let text = "processes: {a: {command: [a], profiles: [web, all]}, b: {command: [b]}}";
        let loaded = load(&[text], &[("DRAINIT_PROFILES", enabled)]).unwrap();
        let left_out = (!holds).then_some(OnlyIf::Never);
        assert_eq!(loaded.config.processes[0].only_if, left_out, "{enabled}");
        assert_eq!(loaded.config.processes[1].only_if, None);
        assert_eq!(loaded.warnings.len(), usize::from(enabled.contains("debug")), "{enabled}");
    }
}

#[test]
fn a_condition_on_a_link_of_another_user_is_an_error() {
    if !geteuid().is_root() {
        return; // only root can give a link to another user
    }
    let dir = TempDir::new();
    let link = dir.path("link");
    symlink("/", &link).unwrap();
    lchown(&link, Some(10_001), None).unwrap();
    let link = link.display();
    for key in ["path_exists", "path_missing"] {
        let keys = format!("drain: {{only_if: {{{key}: {link}}}, envoy: {{admin: 'unix:/a'}}}}");
        let errors = load(&[&process_with(&keys)], &[]).unwrap_err();
        let refused = format!("`only_if`: the symbolic link `{link}` belongs to user 10001, ");
        assert!(errors[0].message.starts_with(&refused), "{key}: {errors:?}");
    }
}

// holds: C65, C368, C369
#[test]
fn a_disabled_drain_is_still_checked() {
    let keys = "drain: {only_if: {value: x, is: y}, envoy: {admin: 'unix:/a', time: abc}}";
    let errors = load(&[&process_with(keys)], &[]).unwrap_err();
    assert_eq!(errors[0].message, "`time` is `abc`: not a duration");
    for (value, is_drained) in [("x", false), ("y", true)] {
        for method in ["envoy: {admin: 'unix:/a', time: 9s}", "exec: [drain]"] {
            let keys = format!("drain: {{only_if: {{value: {value}, is: y}}, {method}}}");
            let config = load(&[&process_with(&keys)], &[]).unwrap().config;
            assert_eq!(config.processes[0].drain.is_some(), is_drained, "{keys}");
        }
    }
}

fn admin(admin: &str, more: &[&str]) -> Result<String, Vec<String>> {
    let base = process_with(&format!("drain: {{envoy: {{admin: {admin}}}}}"));
    let texts: Vec<&str> = [base.as_str()].into_iter().chain(more.iter().copied()).collect();
    let loaded = load(&texts, &[("ON", "true")]);
    let loaded = loaded.map_err(|all| all.into_iter().map(|d| d.message).collect::<Vec<_>>())?;
    let drain = loaded.config.processes[0].drain.as_ref().unwrap();
    let DrainMethod::Envoy(EnvoyDrain { admin, .. }) = &drain.method else { panic!() };
    Ok(admin.to_string())
}

// holds: C65, C380
#[test]
fn the_first_admin_address_whose_condition_holds_is_used() {
    let on = "{text: 'http://127.0.0.1:1', only_if: {value: \"${ON}\", is: \"true\"}}";
    let off = "{text: \"http://${NONE:?x}\", only_if: {value: \"${ON}\", is_not: \"true\"}}";
    let last = "unix:/a";
    for (list, expected) in [
        (format!("[{on}, {last}]"), "http://127.0.0.1:1"),
        (format!("[{off}, {last}]"), "unix:/a"),
        (format!("[{off}, {on}]"), "http://127.0.0.1:1"),
        (format!("[{last}, {on}]"), "unix:/a"),
        ("[{text: 'unix:/b'}]".to_owned(), "unix:/b"),
    ] {
        assert_eq!(admin(&list, &[]).as_deref(), Ok(expected), "{list}");
    }
    // If a later file has an address or another list, this value replaces the whole list of the
    // earlier file.
    let list = format!("[{off}, {last}]");
    for over in ["unix:/c", "[unix:/c]"] {
        let over = format!("processes: {{a: {{drain: {{envoy: {{admin: '{over}'}}}}}}}}")
            .replace("'[", "[")
            .replace("]'", "]");
        assert_eq!(admin(&list, &[&over]).as_deref(), Ok("unix:/c"), "{over}");
    }
    for (list, message) in [
        (format!("[{off}]"), "no element of `admin` has a condition that holds"),
        ("[]".to_owned(), "no element of `admin` has a condition that holds"),
        (format!("[{on}, {{file: /x}}]"), "unknown key `file` in `processes.a.drain.envoy.admin`"),
        (format!("[{off}, nonsense]"), "`admin` is `nonsense`: "),
    ] {
        let problems = admin(&list, &[]).unwrap_err();
        assert!(problems.len() == 1 && problems[0].starts_with(message), "{list}: {problems:?}");
    }
}
