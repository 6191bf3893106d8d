//! Tests `reload_signal`.

use crate::load::testing::config;
use crate::load::tests::{lines, problems, process_with};
use crate::types::Signal;

// holds: C76
#[test]
fn reload_signal_is_unset_by_default() {
    let text = format!("reload_signal: SIGHUP\n{}", process_with(""));
    assert_eq!(config(&text).reload_signal, Some(Signal::HUP));
    assert_eq!(config(&process_with("")).reload_signal, None);
}

// holds: C76, C601
#[test]
fn a_signal_with_another_meaning_is_refused() {
    for (before, keys, expected) in [
        ("", "", "1:16 `reload_signal` is SIGTERM, which stops the container"),
        ("shutdown: {signals: [INT]}", "forward_signals: [TERM]", "is forwarded to `a`"),
        ("shutdown: {signals: [INT, TERM]}", "", "is SIGTERM, which stops the container"),
        (
            "shutdown: {signals: [INT]}",
            "user: '0'\n  b: {command: [b], forward_signals: [USR1, TERM]}",
            "is forwarded to `b`",
        ),
    ] {
        let text = format!("reload_signal: TERM\n{before}\n{}", process_with(keys));
        let found = lines(&problems(&text));
        assert!(found.len() == 1 && found[0].contains(expected), "{found:?}");
    }
    for signal in ["KILL", "CHLD", "[HUP]", "HUPP"] {
        let found = problems(&format!("reload_signal: {signal}\n{}", process_with("")));
        assert!(found.len() == 1 && found[0].is_error(), "{signal}: {found:?}");
    }
}
