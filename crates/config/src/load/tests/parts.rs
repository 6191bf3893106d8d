//! Tests arguments of a command that are joined from parts.

use super::*;
use crate::load;

/// Loads `processes: {a: {command: [a, ELEMENTS]}}` from a file in a directory, and returns the
/// arguments.
fn load_in(dir: &TempDir, elements: &str) -> Result<Vec<String>, Vec<Diagnostic>> {
    let text = format!("processes: {{a: {{command: [a, {elements}]}}}}");
    let config = dir.write("c.yaml", text.as_bytes());
    let environment: Environment = [("ON", "true"), ("HOST", "h")].into_iter().collect();
    let loaded = load::load(&[config], &environment)?;
    assert_eq!(loaded.warnings, [], "{elements}");
    Ok(loaded.config.processes[0].command[1..].to_vec())
}

// holds: C52, C54, C55, C57, C65, C600
#[test]
fn elements_become_arguments() {
    const OFF: &str = "only_if: {value: \"${ON}\", is: 'false'}";
    const ON: &str = "only_if: {value: \"${ON}\", is: 'true'}";
    for (elements, arguments) in [
        ("{join: [{text: b}]}", &["b"][..]),
        ("{join: [\"${HOST}:1\"]}, c", &["h:1", "c"]),
        ("{join: [{text: ''}]}", &[""]),
        (&format!("{{join: [{{text: b, {ON}}}]}}"), &["b"]),
        (&format!("{{join: [{{text: b, {OFF}}}]}}, c"), &["c"]),
        ("{join: [x, {text: y}]}", &["x\ny"]),
        (&format!("{{join: [x, {{text: y, {OFF}}}, z]}}"), &["x\nz"]),
        ("{join: [{text: b, x-note: c}]}", &["b"]),
        // If the condition of a part does not hold, the part may name a missing file or variable.
        (&format!("{{join: [{{text: \"${{NONE:?not set}}\", {OFF}}}]}}"), &[]),
        ("{join: [{file: /none, only_if: {path_exists: /none}}]}", &[]),
    ] {
        assert_eq!(load_in(&TempDir::new(), elements).unwrap(), arguments, "{elements}");
    }
}

// holds: C53, C58, C60, C74
#[test]
fn variables_in_a_file_are_expanded() {
    let dir = TempDir::new();
    dir.write("override.yaml", b"node: {id: ${HOST}}\n# $HOST $$x\nkey: ${NONE:-d}\n\r\n\n");
    dir.write("empty", b"\n");
    let elements =
        "{join: [{file: override.yaml}]}, {join: [{file: empty}]}, {join: [x, {file: empty}, y]}";
    let expected = ["node: {id: h}\n# $HOST $x\nkey: d", "", "x\n\ny"];
    assert_eq!(load_in(&dir, elements).unwrap(), expected);
    // Hooks and probes can also have arguments with parts. A command in a later file replaces the
    // whole earlier command, including its parts.
    let config = dir.write(
        "h.yaml",
        b"processes: {a: {command: [a, {join: [{file: none}]}], hooks: {pre_start: [b, {join: [{file: empty}]}]}, readiness: {exec: [c, {join: [d]}]}}}",
    );
    let over = dir.write("over.yaml", b"processes: {a: {command: [a, {join: [{file: empty}]}]}}");
    let loaded = load::load(&[config, over], &Environment::default()).unwrap();
    let process = &loaded.config.processes[0];
    assert_eq!(process.command, ["a", ""]);
    assert_eq!(process.hooks.pre_start.as_ref().unwrap().command, ["b", ""]);
}

// holds: C60
#[test]
fn problems_in_a_file_have_a_place() {
    let dir = TempDir::new();
    for (content, expected) in [
        // After a syntax error, the rest of this file is not expanded, so no other error is
        // reported.
        ("ok: 1\nä: ${MUST:?say where} x\nb: ${NONE}\nc: ${X\n", "4:4 `${` without its `}`"),
        ("ok: 1\nä: ${MUST:?say where} x\nb: ${NONE}\n", "2:4 `MUST` is not set: say where"),
    ] {
        dir.write("bad.yaml", content.as_bytes());
        let errors = load_in(&dir, "{join: [{file: bad.yaml}]}").unwrap_err();
        assert_eq!(lines(&errors), [expected]);
        assert!(errors[0].file.ends_with("bad.yaml"));
        assert!(content.contains(&errors[0].source_line));
    }
    dir.write("bad.yaml", b"a: 1\r\nb: ${NONE}\n");
    let config = dir.write("c.yaml", b"processes: {a: {command: [a, {join: [{file: bad.yaml}]}]}}");
    let loaded = load::load(&[config], &Environment::default()).unwrap();
    assert_eq!(lines(&loaded.warnings), ["2:4 `NONE` is not set and becomes empty"]);
}

// holds: C59, C600
#[test]
fn a_file_that_cannot_be_an_argument_is_refused() {
    let dir = TempDir::new();
    let large = dir.write("large", b"");
    std::fs::File::options().write(true).open(&large).unwrap().set_len(10 << 20).unwrap();
    dir.write("long", "x".repeat(128 * 1024).as_bytes());
    dir.write("longest", format!("{}\n", "x".repeat(128 * 1024 - 1)).as_bytes());
    dir.write("half", "x".repeat(64 * 1024).as_bytes());
    nix::unistd::mkfifo(&dir.path("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    for (elements, message) in [
        ("{join: [{file: none}]}", "none` does not exist"),
        ("{join: [{file: large}]}", "large` is larger than 128 KiB"),
        ("{join: [{file: long}]}", "the result of `join` has 131072 bytes"),
        ("{join: [{file: pipe}]}", "pipe` is a pipe"),
        ("{join: [{file: half}, {file: half}]}", "the result of `join` has 131073 bytes"),
    ] {
        let errors = load_in(&dir, elements).unwrap_err();
        assert_eq!(errors.len(), 1, "{errors:?}");
        assert!(errors[0].message.ends_with(message), "{elements}: {errors:?}");
        assert!(errors[0].file.ends_with("c.yaml") && errors[0].line == 1, "{errors:?}");
        assert!(errors[0].help.as_ref().is_some_and(|help| !help.is_empty()), "{errors:?}");
    }
    assert_eq!(load_in(&dir, "{join: [{file: longest}]}").unwrap()[0].len(), 128 * 1024 - 1);
}

#[test]
fn a_file_that_is_named_countless_times_is_refused() {
    let dir = TempDir::new();
    dir.write("x", b"");
    let files = "{file: x}, ".repeat(1000);
    let many: String =
        (0..100).map(|n| format!("  p{n}: {{command: [a, {{join: *x}}]}}\n")).collect();
    let text = format!("x-x: &x [{files}]\nprocesses:\n{many}");
    let config = dir.write("c.yaml", text.as_bytes());
    let errors = load::load(&[config], &Environment::default()).unwrap_err();
    assert!(errors[0].message.starts_with("more than 32 MiB of text"), "{}", errors[0]);
}

// holds: C600
#[test]
fn wrong_elements_are_reported() {
    for (element, message, help) in [
        ("{}", "`processes.a.command` has no `join`", "add it: `join: [{file: PATH}]`"),
        ("{join: [{}]}", "`processes.a.command.join` has no kind", "add one of `text` and `file`"),
        ("{join: [{text: x, file: y}]}", "can have `text` or `file`, not both", "keep one of them"),
        ("{join: [{text: x, only_if: {}}]}", "`processes.a.command.join.only_if`", "is: TEXT}"),
        // If the condition of a part does not hold, the keys of the part are checked all the same.
        ("{join: [{txet: x, only_if: {value: x, is: y}}]}", "unknown key `txet`", "`text`"),
    ] {
        let text = format!("processes: {{a: {{command: [a, {element}]}}}}");
        let found = assert_only(&text, message).help.unwrap();
        assert!(found.contains(help), "{element}: {found}");
    }
    let text = "processes: {a: {command: [{join: [{text: a, only_if: {value: x, is: y}}]}]}}";
    assert_only(text, "`command` does not name a program");
}
