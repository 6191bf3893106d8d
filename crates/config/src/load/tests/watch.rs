//! Tests `watch:` of a process.

use crate::load::tests::{lines, problems, process_with};
use crate::testing::temp_dir::TempDir;

#[test]
fn wrong_values_are_reported() {
    for (keys, expected) in [
        ("watch: [{path: /a}]", "4:13 `processes.a.watch` has no `action`"),
        ("watch: [{action: HUP}]", "4:13 `processes.a.watch` has no `path`"),
        ("watch: [{path: '', action: HUP}]", "4:20 `path` is empty: an empty path"),
        ("watch: [{path: /a, action: start}]", "4:32 `action` is `start`: neither `restart`"),
        (
            "type: oneshot\n    watch: [{path: /a, action: HUP}]",
            "5:5 a oneshot cannot have `watch`",
        ),
    ] {
        let found = lines(&problems(&process_with(keys)));
        assert!(found.len() == 1 && found[0].starts_with(expected), "{keys}: {found:?}");
    }
}

// holds: C309
#[test]
fn files_that_a_process_reads_can_be_watched() {
    let dir = TempDir::new();
    let files = ["a.tmpl", "argument", "a.env", "token"];
    let [template, argument, env_file, secret] =
        files.map(|name| dir.write(name, b"A=1").display().to_string());
    let watched = [&template, &argument, &env_file, &secret]
        .map(|path| format!("{{path: {path}, action: restart}}"))
        .join(", ");
    let text = format!(
        "processes: {{a: {{command: [a, {{join: [{{file: {argument}}}]}}], env_file: {env_file}, \
         environment: {{A: {{file: {secret}}}}}, render: [{{from: {template}, to: /run/a}}], watch: [{watched}]}}}}"
    );
    assert_eq!(lines(&problems(&text)), [""; 0]);
}
