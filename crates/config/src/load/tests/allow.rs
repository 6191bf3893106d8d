//! Tests the comments `# drainit: allow ID: REASON`.

use super::*;
use crate::load::Severity;

const SERVER: &str = "command: [a], readiness: {tcp: '127.0.0.1:80'}";

/// The findings that `check` shows, each as `line id: message`, and those that comments silence,
/// each as `line id: reason`.
fn found(text: &str) -> (Vec<String>, Vec<String>) {
    let (allowed, shown): (Vec<_>, Vec<_>) =
        checked(text, &[]).into_iter().partition(|it| it.allowed.is_some());
    let line = |it: &Diagnostic, text: &str| format!("{} {}: {text}", it.line, it.rule.id());
    let shown = shown.iter().map(|it| line(it, &it.message)).collect();
    let allowed = allowed.iter().map(|it| line(it, it.allowed.as_deref().unwrap())).collect();
    (shown, allowed)
}

// holds: C1240, C1241
#[test]
fn a_comment_silences_findings_at_the_same_line_or_in_the_entry_below() {
    const UNSET: &str = "command: [a, '${NONE}', \"${NO}\"]";
    const BOTH: [&str; 2] = ["3 unset-variable: why", "3 unset-variable: why"];
    for (text, shown, allowed) in [
        // Above the process, at its line, and with a further comment and an empty line between.
        (format!("processes:\n  # drainit: allow undrained-server: why\n  a: {{{SERVER}}}"), 0, &["3 undrained-server: why"][..]),
        (format!("processes:\n  a: {{{SERVER}}} # drainit: allow undrained-server: why"), 0, &["2 undrained-server: why"]),
        (format!("processes:\n  #drainit: allow undrained-server : why: so\n  # More.\n\n  a: {{{SERVER}}}"), 0, &["5 undrained-server: why: so"]),
        // Above the process, but the finding is at a key inside.
        ("processes:\n  # drainit: allow undrained-server: why\n  a:\n    command: [a]\n    # More.\n\n    readiness: {tcp: '127.0.0.1:80'}".to_owned(), 0, &["7 undrained-server: why"]),
        // Each finding of the entry.
        (format!("processes:\n  # drainit: allow unset-variable: why\n  a: {{{UNSET}}}"), 0, &BOTH),
        // Another entry, before or behind, is not silent.
        (format!("processes:\n  # drainit: allow undrained-server: why\n  a: {{{SERVER}}}\n  b: {{{}}}", SERVER.replace(":80", ":81")), 1, &["3 undrained-server: why"]),
        (format!("processes:\n  b: {{{}}}\n  # drainit: allow undrained-server: why\n  a: {{{SERVER}}}", SERVER.replace(":80", ":81")), 1, &["4 undrained-server: why"]),
        // At another line of the process, the comment silences nothing, which is a finding.
        ("processes:\n  a:\n    command: [a] # drainit: allow undrained-server: why\n    readiness: {tcp: '127.0.0.1:80'}".to_owned(), 2, &[]),
        // A value is not a comment.
        ("processes:\n  a:\n    command:\n      - sh\n      - -c\n      - |\n        # drainit: allow undrained-server: why\n        exit\n    type: oneshot".to_owned(), 0, &[]),
        ("processes:\n  a: {command: [a, 'x # drainit: allow undrained-server: why']}".to_owned(), 0, &[]),
        ("processes:\n  a: {command: [a]} # see drainit: allow, x#drainit: allow y\n".to_owned(), 0, &[]),
    ] {
        let (lines, silent) = found(&text);
        assert_eq!((lines.len(), &*silent), (shown, &*allowed.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>()), "{text}\n{lines:#?}");
        // `run` says nothing of a silent finding, and does not judge comments.
        let of_run = problems(&text);
        assert!(of_run.iter().all(|it| it.rule.id() != "unused-allow" && it.allowed.is_none()), "{text}");
        assert!(allowed.iter().all(|_| of_run.iter().all(|it| it.rule.id() != "unset-variable")), "{text}");
    }
}

// holds: C1242, C1243
#[test]
fn a_wrong_comment_is_a_warning() {
    for (comment, expected) in [
        (
            "allow unset-variable: why",
            "2 unused-allow: this comment allows `unset-variable`, which is not found here",
        ),
        (
            "allow undrained-server",
            "2 allow-without-reason: this comment allows `undrained-server` without a reason",
        ),
        (
            "allow undrained-server:",
            "2 allow-without-reason: this comment allows `undrained-server` without a reason",
        ),
        ("allow undraned-server: why", "2 unknown-allow: no finding has the id `undraned-server`"),
        ("allow C765: why", "2 unknown-allow: no finding has the id `C765`"),
        ("allow: why", "2 unknown-allow: this comment allows nothing: it has no id"),
        ("allow", "2 unknown-allow: this comment allows nothing: it has no id"),
        ("allow unknown-key: why", "2 unknown-allow: `unknown-key` cannot be allowed"),
        ("allow unused-allow: why", "2 unknown-allow: `unused-allow` cannot be allowed"),
        // Only a check in the image can judge these comments.
        ("allow image-program: why", ""),
        ("allow envoy-tcp-proxy: why", ""),
    ] {
        let text = format!("processes:\n  # drainit: {comment}\n  a: {{{SERVER}}}\n");
        let problems = checked(&text, &[]);
        let of_comment: Vec<_> = problems.iter().filter(|it| it.line == 2).collect();
        assert!(of_comment.iter().all(|it| it.severity == Severity::Warning && it.help.is_some()));
        let lines: Vec<_> =
            of_comment.iter().map(|it| format!("2 {}: {}", it.rule.id(), it.message)).collect();
        assert_eq!(lines.join("\n"), expected, "{comment}");
    }
    let text = "processes:\n  # drainit: allow undraned-server: why\n  a: {command: [a]}\n";
    assert_eq!(checked(text, &[])[0].help.as_deref(), Some("did you mean `undrained-server`?"));
}

// holds: C1241
#[test]
fn an_error_is_never_silenced_and_leaves_the_comments_alone() {
    // A shared probe is an error for `check`, and only a warning for `run`.
    let text = "processes:\n  a: {command: [a], readiness: {tcp: '127.0.0.1:80'}, drain: {connections: {}}, depends_on: []}\n  # drainit: allow shared-probe: why\n  b: {command: [b], readiness: {tcp: '127.0.0.1:80'}, drain: {connections: {}}, depends_on: []}\n";
    let (shown, allowed) = found(text);
    assert!(shown.len() == 1 && shown[0].starts_with("4 shared-probe: "), "{shown:?}");
    assert_eq!(allowed, [""; 0]);
    // The checks behind an error are left out, so nobody knows whether a comment is needed.
    let broken = format!(
        "processes:\n  # drainit: allow undrained-server: why\n  a: {{{SERVER}, depends_on: [b]}}\n"
    );
    let (shown, _) = found(&broken);
    assert!(shown.len() == 1 && shown[0].starts_with("3 unknown-process: "), "{shown:?}");
}

#[test]
fn findings_about_the_whole_file_are_silenced_above_the_first_key() {
    let environment = [("DRAINIT_PROFILES", "x")];
    for (text, silent) in [
        ("# drainit: allow unknown-profile: why\nprocesses:\n  a: {command: [a]}\n", 1),
        ("processes:\n  # drainit: allow unknown-profile: why\n  a: {command: [a]}\n", 0),
    ] {
        let problems = checked(text, &environment);
        assert_eq!(problems.iter().filter(|it| it.allowed.is_some()).count(), silent, "{text}");
        assert_eq!(problems.iter().any(|it| it.allowed.is_none()), silent == 0, "{text}");
    }
}

#[test]
fn many_comments_take_little_time() {
    let line = "  # drainit: allow undraned-server: why\n";
    let text = format!("processes:\n{}  a: {{command: [a]}}\n", line.repeat(50_000));
    let problems = checked(&text, &[]);
    assert!(problems.last().unwrap().message.ends_with(" more"), "{:?}", problems.last());
}
