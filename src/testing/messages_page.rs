//! Compares docs/messages.md with the code, both ways. `…` stands for a value in both.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use regex_lite::Regex;

use crate::testing::rust_source::string_literals;

/// The files that write to the log.
const SOURCES: &[&str] = &[
    "src/cli/ask.rs",
    "src/cli/check.rs",
    "src/cli/control_address.rs",
    "src/cli/drain.rs",
    "src/cli/exec.rs",
    "src/cli/exec_drain.rs",
    "src/cli/kill.rs",
    "src/cli/left_out.rs",
    "src/cli/logs.rs",
    "src/cli/report.rs",
    "src/cli/run.rs",
    "src/control/listen.rs",
    "src/control/mod.rs",
    "src/control/operate.rs",
    "src/control/status.rs",
    "src/envoy",
    "src/exec/event_loop.rs",
    "src/exec/machine.rs",
    "src/http.rs",
    "src/load/args.rs",
    "src/logging",
    "src/os",
    "src/report/messages.rs",
    "src/report/mod.rs",
    "src/report/read.rs",
    "src/report/startup.rs",
    "src/supervisor",
];

/// Texts that look like a message and are none: of debugging, and parts of code.
const OTHERS: &[&str] = &[
    "(os error",
    "orphan … …",
    "descriptor stays open in children",
    "…: nothing speaks against its drain",
    "without a name",
    "text/plain; charset=utf-8",
    "text/plain; version=0.0.4; charset=utf-8",
    "drainit exec [OPTIONS] [--] CMD [ARGS]...",
    "error: …",
    "line was",
    "lines were",
    "standard input",
    "… more",
];

#[test]
fn every_message_is_explained_and_every_explained_one_exists() {
    let messages = messages();
    let page = fs::read_to_string(root().join("docs/messages.md")).unwrap();
    let explained = explained(&page);
    let mut wrong = String::new();
    for (message, file) in &messages {
        let is_help = message.starts_with("The ");
        if !is_help && !explained.contains(message) && !OTHERS.contains(&message.as_str()) {
            let code = code_span(message);
            let _ = writeln!(
                wrong,
                "of {file}, not explained; add to docs/messages.md, in its section:"
            );
            let _ = writeln!(wrong, "| {code} | WHAT IT MEANS | WHAT TO DO |");
        }
    }
    let known = |message: &str| messages.contains_key(message);
    for message in explained.iter().filter(|message| !known(message)) {
        let _ =
            writeln!(wrong, "no file has this message; remove from docs/messages.md: {message}");
    }
    for other in OTHERS.iter().filter(|other| !known(other)) {
        let _ = writeln!(wrong, "no file has this text; remove from OTHERS: {other}");
    }
    assert!(wrong.is_empty(), "{wrong}");
    assert!(messages.len() > 150, "only {} were found", messages.len());
}

/// The sentences among the string literals, and the file of each.
fn messages() -> BTreeMap<String, String> {
    // Two words, or a value and a word.
    let sentence = Regex::new(r"[a-z]{2,}[:,;]? [a-z{`(]|\{[^}]*\}:? [a-z]{3,}").unwrap();
    let mut messages = BTreeMap::new();
    for path in SOURCES.iter().flat_map(|source| files(&root().join(source))) {
        let text = fs::read_to_string(&path).unwrap();
        let code = text.split("\nmod tests {").next().unwrap_or_default();
        for literal in string_literals(code) {
            let line = code[..literal.at].rsplit('\n').next().unwrap_or_default().trim_start();
            let is_code =
                (line.starts_with("#[") && !line.starts_with("#[error")) || line.contains("assert");
            if !is_code && sentence.is_match(&literal.text) {
                let file = path.strip_prefix(root()).unwrap().display().to_string();
                messages.entry(with_dots(&literal.text)).or_insert(file);
            }
        }
    }
    messages
}

/// A format string with `…` in place of its values.
fn with_dots(format: &str) -> String {
    let value = Regex::new(r"\{[^}]*\}").unwrap();
    let text = format.replace("{{", "\u{1}").replace("}}", "\u{2}");
    let text = value.replace_all(&text, "…").replace('\u{1}', "{").replace('\u{2}', "}");
    text.replace('\n', " ").trim().to_owned()
}

/// The messages of the first cells of all tables.
fn explained(page: &str) -> Vec<String> {
    let mut messages = Vec::new();
    for row in page.lines().filter_map(|line| line.strip_prefix("| `")) {
        let cell = row.split("` |").next().unwrap_or_default();
        for message in cell.split("<br>") {
            messages.push(message.trim_matches('`').trim().to_owned());
        }
    }
    messages
}

/// A message as code in Markdown.
fn code_span(message: &str) -> String {
    if message.contains('`') { format!("`` {message} ``") } else { format!("`{message}`") }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The Rust files of a directory, or the file itself, without those of tests.
fn files(path: &Path) -> Vec<PathBuf> {
    if path.is_dir() {
        let entries = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path());
        return entries.flat_map(|path| files(&path)).collect();
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let is_test = name.contains("tests") || name.contains("simulation");
    if name.ends_with(".rs") && !is_test { vec![path.to_owned()] } else { Vec::new() }
}
