//! Tests `watch:` of a process.

use crate::load::tests::{lines, problems};
use crate::testing::temp_dir::TempDir;

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
