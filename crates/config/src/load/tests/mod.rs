//! Tests whole configs: the values of valid ones, the messages for invalid ones, and the cost of
//! hostile files.

mod allow;
mod at_start;
mod drain_off;
mod fits;
mod hostile;
mod hot_restart;
mod inner_broker;
mod known_programs;
mod likely_faults;
mod only_if;
mod overlay;
mod parts;
mod problems;
mod revisions;
mod same;
mod scale;
mod share;
mod times;
mod tree;
mod values;

use std::time::Duration;

use crate::keys::Process;
use crate::load::testing::{checked, config, load, variables};
use crate::load::{Diagnostic, Environment};
use crate::testing::temp_dir::TempDir;

/// Returns the errors and the warnings of a config in one file.
fn problems(text: &str) -> Vec<Diagnostic> {
    problems_in(text, &[])
}

fn problems_in(text: &str, environment: &[(&str, &str)]) -> Vec<Diagnostic> {
    load(&[text], environment).map_or_else(|found| found, |loaded| loaded.warnings)
}

/// Formats each diagnostic as `line:column message`.
fn lines(diagnostics: &[Diagnostic]) -> Vec<String> {
    diagnostics.iter().map(|d| format!("{}:{} {}", d.line, d.column, d.message)).collect()
}

/// Fails unless a config has exactly one problem. `expected` is a part of `line:column message`.
#[track_caller]
fn assert_only(text: &str, expected: &str) -> Diagnostic {
    let mut found = problems(text);
    let lines = lines(&found);
    assert!(lines.len() == 1 && lines[0].contains(expected), "{text}: {lines:#?}");
    found.remove(0)
}

/// A config with a single process, `a`, which has a command and these keys.
fn process_with(keys: &str) -> String {
    format!("processes:\n  a:\n    command: [a]\n    {keys}\n")
}

/// Loads the config that [`process_with`] makes, and returns its process. Fails if the config has
/// errors or warnings.
#[track_caller]
fn process_in(keys: &str, environment: &[(&str, &str)]) -> Process {
    let loaded = load(&[&process_with(keys)], environment).unwrap();
    assert_eq!(loaded.warnings, [], "{keys}");
    Process::clone(&loaded.config.processes[0])
}
