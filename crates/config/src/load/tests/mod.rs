//! Tests whole configs: the values of valid ones, the messages for invalid ones, and the cost of
//! hostile files.

mod contract;

mod at_start;
mod fits;
mod hostile;
mod hot_restart;
mod likely_faults;
mod listen;
mod only_if;
mod overlay;
mod parts;
mod problems;
mod process_options;
mod reload_signal;
mod same;
mod scale;
mod share;
mod times;
mod tree;
mod values;
mod watch;

use crate::keys::Process;
use crate::load::Diagnostic;
use crate::load::testing::load;

/// Returns the errors and the warnings of a config in one file.
fn problems(text: &str) -> Vec<Diagnostic> {
    problems_in(text, &[])
}

fn problems_in(text: &str, environment: &[(&str, &str)]) -> Vec<Diagnostic> {
    match load(&[text], environment) {
        Ok(loaded) => loaded.warnings,
        Err(diagnostics) => diagnostics,
    }
}

/// Formats each diagnostic as `line:column message`.
fn lines(diagnostics: &[Diagnostic]) -> Vec<String> {
    diagnostics.iter().map(|d| format!("{}:{} {}", d.line, d.column, d.message)).collect()
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
