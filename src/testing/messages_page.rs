//! Compares docs/messages.md with the code, both ways. `…` stands for a value in both.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use regex_lite::Regex;

use crate::testing::rust_source::string_literals;

/// Files without messages: texts that are drawn or explain an option, and other pages' texts.
const NOT_SCANNED: &[&str] = &[
    "src/cli/man.rs",
    "src/control/metrics.rs",
    "src/fuzzing.rs",
    "src/plan",
    "src/report/drawing.rs",
    "src/report/svg.rs",
    "src/report/text.rs",
    "src/simulation",
];

/// Where a problem has a help, which follows it and is not on the page.
const WITH_HELP: &[&str] =
    &["src/graph.rs", "src/image", "src/import", "src/kubernetes", "src/load"];

/// A help begins with what to do, or asks.
const HELP: &str = r"^(add|check|close|correct|define|did you mean|end|give|import|indent|keep|known|let|make|name|probe|put|remove|rename|render|save|see|set|shorten|split|start|use|wait|write)\b|\?$|^(\{[^}]*\})?; ";

/// Texts that look like a message and are none: of tables, of sums, of code, or a word or two that
/// the page would not explain.
const OTHERS: &[&str] = &[
    "(drainit …, pid …)",
    ", … left",
    ", …, up …",
    "for …",
    "last exit: …",
    "started in …: …",
    "drain time",
    "pre_stop timeout",
    "post_stop timeout",
    "`grace_period` minus `reserve`",
    "leftover processes",
    "… = help: …",
    "… and …",
    "… and … more",
    "… is …",
    "… min",
    "… of the container",
    "` is not set",
    "`{name: …, value: \"…\"}` under `env`",
    "A config of drainit",
    "exec …",
    "some of what `load` and `plan` offer is only for the tools",
    "(os error",
    "without a name",
    "text/plain; charset=utf-8",
    "text/plain; version=0.0.4; charset=utf-8",
    "drainit exec [OPTIONS] [--] CMD [ARGS]...",
    "error: …",
    "line was",
    "lines were",
    "standard input",
    "… more",
    "epoch …",
    // Of `drainit simulate`, explained in docs/simulation.md.
    "Seed …, in simulated time",
    "longest, if KILL does not end all",
    "planned at most",
    "runs with broken promises",
    "runs with killed processes",
    "killed processes",
    "… (seed …)",
    "… after the start",
    "… runs in …, … a second",
];

#[test]
fn every_message_is_explained_and_every_explained_one_exists() {
    let messages = messages();
    let page = fs::read_to_string(root().join("docs/messages.md")).unwrap();
    let explained = explained(&page);
    let mut wrong = String::new();
    for (message, file) in &messages {
        let is_of_option = message.starts_with("The ");
        if !is_of_option && !explained.contains(message) && !OTHERS.contains(&message.as_str()) {
            let code = code_span(message);
            let _ = writeln!(
                wrong,
                "of {file}, not explained; add it to docs/messages.md, or begin as HELP says if it is a help:"
            );
            let _ = writeln!(wrong, "| {code} | WHAT IT MEANS | WHAT TO DO |");
        }
    }
    for (at, message) in explained.iter().enumerate() {
        if explained[..at].contains(message) || OTHERS.contains(&message.as_str()) {
            let _ = writeln!(wrong, "explained twice, or also in OTHERS: {message}");
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
    let sentence = Regex::new(r"[a-z]{2,}[:,;`]? [A-Za-z{`(]|\{[^}]*\}`?:? [a-z]{3,}").unwrap();
    let help = Regex::new(HELP).unwrap();
    // The description of a key of the config, in its schema.
    let of_key = Regex::new(r"(?s)^[A-Z`].*\.$").unwrap();
    let tests = Regex::new(r"#\[cfg\(test\)\]\n(?:#.*\n)*mod \w+ \{").unwrap();
    let mut messages = BTreeMap::new();
    let sources = files(&root().join("src"));
    let of_tests = modules_of_tests(&sources);
    for path in sources {
        let file = path.strip_prefix(root()).unwrap();
        let is_in = |places: &[&str]| places.iter().any(|place| file.starts_with(place));
        let mut names = file.iter().map(|name| name.to_str().unwrap().trim_end_matches(".rs"));
        if is_in(NOT_SCANNED) || names.any(|name| of_tests.contains(name)) {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        let end = tests.find(&text).map_or(text.len(), |found| found.start());
        let code = &text[..end];
        for literal in string_literals(code) {
            let line = code[..literal.at].rsplit('\n').next().unwrap_or_default().trim_start();
            let is_code =
                (line.starts_with("#[") && !line.starts_with("#[error")) || line.contains("assert");
            // A usage or a template.
            let is_long = literal.text.lines().count() > 3;
            let is_help = is_in(WITH_HELP) && help.is_match(&literal.text);
            let is_of_key = is_in(&["src/load"]) && of_key.is_match(&literal.text);
            let is_message = !is_code && !is_long && !is_help && !is_of_key;
            if is_message && sentence.is_match(&literal.text) {
                messages.entry(with_dots(&literal.text)).or_insert(file.display().to_string());
            }
        }
    }
    messages
}

/// The names of the modules that exist only in tests or in debug builds.
fn modules_of_tests(files: &[PathBuf]) -> BTreeSet<String> {
    let module =
        Regex::new(r"#\[cfg\((?:all\()?(?:test|debug_assertions)\b.*\n(?:#.*\n)*(?:pub(?:\(crate\))? )?mod (\w+);")
            .unwrap();
    let mut names = BTreeSet::new();
    for file in files {
        let text = fs::read_to_string(file).unwrap();
        names.extend(module.captures_iter(&text).map(|found| found[1].to_owned()));
    }
    names
}

/// A format string with `…` in place of its values.
fn with_dots(format: &str) -> String {
    let value = Regex::new(r"\{[\w.]*(?::[^} ]*)?\}").unwrap();
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

pub(super) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The Rust files of a directory.
pub(super) fn files(path: &Path) -> Vec<PathBuf> {
    if path.is_dir() {
        let entries = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path());
        return entries.flat_map(|path| files(&path)).collect();
    }
    let is_rust = path.extension().is_some_and(|extension| extension == "rs");
    if is_rust { vec![path.to_owned()] } else { Vec::new() }
}
