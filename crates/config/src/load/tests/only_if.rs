//! Tests the condition `only_if` of a process, a drain, a part of an argument and an admin address.

use std::os::unix::fs::{lchown, symlink};

use nix::unistd::geteuid;

use super::*;
use crate::keys::{DrainMethod, EnvoyDrain, OnlyIf};

fn process(keys: &str) -> Process {
    process_in(keys, &[("ON", "true"), ("EMPTY", ""), ("MODE", "b")])
}

const DRAIN: &str = "signal: {signal: USR1}";

// holds: C61, C63, C64, C65, C368, C673, C674, C675
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
        let hook = format!("[b, {{join: [{{text: b, only_if: {{{condition}}}}}]}}]");
        let hook = process(&format!("hooks: {{pre_stop: {hook}}}")).hooks.pre_stop.unwrap();
        assert_eq!(hook.command.len() == 2, holds, "{condition}");
    }
}

// holds: C62, C66
#[test]
fn paths_are_checked_at_the_start_of_a_process() {
    let either = "{value: x, is: y}, {path_exists: /a, path_missing: /b}, {path_missing: /c}";
    for (conditions, expected) in [
        (either, Some("/a and no /b or no /c")),
        ("{path_exists: /a}, {value: x, is: x}", None),
        ("{path_exists: /nonexistent}", Some("/nonexistent")),
        ("{path_exists: /nonexistent, value: x, is: x}", Some("/nonexistent")),
        ("{path_exists: /, value: x, is: y}", Some("Never")),
        ("{value: x, is: y}", Some("Never")),
        ("{value: x, is: x}", None),
    ] {
        let found = process(&format!("only_if: [{conditions}]")).only_if;
        let found = found.map(|it| match it {
            OnlyIf::Never => "Never".to_owned(),
            paths => paths.to_string(),
        });
        assert_eq!(found.as_deref(), expected, "{conditions}");
    }
    let condition = process("only_if: {path_missing: /c}").only_if;
    assert_eq!(condition.unwrap().to_string(), "no /c");
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

// holds: C369
#[test]
fn a_disabled_drain_is_still_checked() {
    let keys = "drain: {only_if: {value: x, is: y}, envoy: {admin: 'unix:/a', time: abc}}";
    let errors = load(&[&process_with(keys)], &[]).unwrap_err();
    assert_eq!(errors[0].message, "`time` is `abc`: not a duration");
}

// holds: C65, C380
#[test]
fn the_first_admin_address_whose_condition_holds_is_used() {
    let admin = |admin: &str, over: &str| {
        let base = process_with(&format!("drain: {{envoy: {{admin: {admin}}}}}"));
        let over = format!("processes: {{a: {{drain: {{envoy: {{admin: {over}}}}}}}}}");
        let loaded = load(&[&base, &over], &[("ON", "true")]).map_err(|all| lines(&all))?;
        let drain = loaded.config.processes[0].drain.clone().unwrap();
        let DrainMethod::Envoy(EnvoyDrain { admin, .. }) = drain.method else { panic!() };
        Ok::<_, Vec<_>>(admin.to_string())
    };
    let on = "{text: 'http://127.0.0.1:1', only_if: {value: \"${ON}\", is: \"true\"}}";
    let off = "{text: \"http://${NONE:?x}\", only_if: {value: \"${ON}\", is_not: \"true\"}}";
    for (list, over, expected) in [
        (format!("[{on}, unix:/a]"), "", "http://127.0.0.1:1"),
        (format!("[{off}, unix:/a]"), "", "unix:/a"),
        (format!("[{off}, {on}]"), "", "http://127.0.0.1:1"),
        (format!("[unix:/a, {on}]"), "", "unix:/a"),
        ("[{text: 'unix:/b'}]".to_owned(), "", "unix:/b"),
        // If a later file has an address or another list, this value replaces the whole list of the
        // earlier file.
        (format!("[{off}, unix:/a]"), "unix:/c", "unix:/c"),
        (format!("[{off}, unix:/a]"), "[unix:/c]", "unix:/c"),
    ] {
        assert_eq!(admin(&list, over).as_deref(), Ok(expected), "{list} {over}");
    }
    for (list, message) in [
        (format!("[{off}]"), "no element of `admin` has a condition that holds"),
        ("[]".to_owned(), "no element of `admin` has a condition that holds"),
        (format!("[{on}, {{file: /x}}]"), "unknown key `file` in `processes.a.drain.envoy.admin"),
        (format!("[{off}, nonsense]"), "`admin` is `nonsense`: "),
    ] {
        let problems = admin(&list, "").unwrap_err();
        assert!(problems.len() == 1 && problems[0].contains(message), "{list}: {problems:?}");
    }
}
