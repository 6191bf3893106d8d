//! The findings of `check` as SARIF 2.1.0, for code scanning.
//!
//! A silenced finding is left out: GitHub does not read `suppressions`, and would show it. GitHub
//! shows a result at its line only if the path is relative to the repository, so a path below the
//! working directory is written relative to it.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Value, json};

use crate::cli::check::Checked;
use crate::language::diagnostics::rule::Rule;
use crate::load::Diagnostic;
use crate::types::escape_json;

pub(super) fn sarif(checked: &Checked) -> String {
    let shown = || checked.problems.iter().filter(|problem| problem.allowed.is_none());
    let mut rules: BTreeMap<Rule, usize> = shown().map(|problem| (problem.rule, 0)).collect();
    rules.values_mut().enumerate().for_each(|(index, place)| *place = index);
    let directory = std::env::current_dir().unwrap_or_default();
    let results = shown().map(|problem| result(problem, rules[&problem.rule], &directory));
    let driver = json!({
        "name": "drainit",
        "semanticVersion": env!("CARGO_PKG_VERSION"),
        "rules": rules.keys().map(|rule| describe(*rule)).collect::<Vec<_>>(),
    });
    let object = json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": {"driver": driver},
            "columnKind": "unicodeCodePoints",
            "results": results.collect::<Vec<_>>(),
        }],
    });
    escape_json(&format!("{object:#}\n")).into_owned()
}

fn describe(rule: Rule) -> Value {
    let text = rule.text();
    let level = text.levels.first().map_or("warning", |level| level.name());
    json!({
        "id": text.id,
        "shortDescription": {"text": text.what},
        "fullDescription": {"text": text.why},
        "help": {"text": format!("{} {}", text.why, text.mend)},
        "defaultConfiguration": {"level": level},
    })
}

fn result(problem: &Diagnostic, rule: usize, directory: &Path) -> Value {
    let text = match &problem.help {
        Some(help) => format!("{}; {help}", problem.message),
        None => problem.message.clone(),
    };
    // A finding about a whole file has no line, but GitHub needs one.
    let region = match problem.line {
        0 => json!({"startLine": 1}),
        line => {
            let (start, end) = (problem.column, problem.column + problem.len);
            json!({"startLine": line, "startColumn": start, "endColumn": end})
        }
    };
    let place = json!({
        "artifactLocation": {"uri": uri(&problem.file, directory)},
        "region": region,
    });
    json!({
        "ruleId": problem.rule.id(),
        "ruleIndex": rule,
        "level": problem.severity.name(),
        "message": {"text": text},
        "locations": [{"physicalLocation": place}],
    })
}

/// The path as a reference to a file: relative below the working directory, else absolute.
fn uri(path: &Path, directory: &Path) -> String {
    if path == Path::new("-") {
        return "stdin".to_owned();
    }
    let path = path.strip_prefix(directory).unwrap_or(path);
    let path = path.strip_prefix(".").unwrap_or(path);
    let start = if path.is_absolute() { "file://" } else { "" };
    path.as_os_str().as_encoded_bytes().iter().fold(start.to_owned(), |uri, byte| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'/' | b'-' | b'_' | b'.' | b'~' => {
            uri + char::from(*byte).encode_utf8(&mut [0; 4])
        }
        _ => uri + &format!("%{byte:02X}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_relative_to_the_working_directory() {
        for (path, expected) in [
            ("deploy/drainit.yaml", "deploy/drainit.yaml"),
            ("./drainit.yaml", "drainit.yaml"),
            ("/repo/deploy/a b.yaml", "deploy/a%20b.yaml"),
            ("/etc/drainit.yaml", "file:///etc/drainit.yaml"),
            ("a:b/é.yaml", "a%3Ab/%C3%A9.yaml"),
            ("-", "stdin"),
        ] {
            assert_eq!(uri(Path::new(path), Path::new("/repo")), expected, "{path}");
        }
    }
}
