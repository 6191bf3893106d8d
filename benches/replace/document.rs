//! The results in `docs/dev/replace.md`.

use std::fmt::Write;
use std::time::{Duration, SystemTime};

use testkit::envoy;
use testkit::measured::{machine, version};

use crate::Result;
use crate::mode::{self, Mode};
use crate::protocol::{Pace, Protocol};

/// Returns the results as Markdown, and says which ways were not measured, and why.
pub(crate) fn markdown(results: &[Result], missing: &[(Mode, String)], took: Duration) -> String {
    let mut text = String::new();
    let date = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
    let _ = writeln!(
        text,
        "{}, drainit {}, Envoy {}, on {}. The bench took {} minutes.\n",
        date.split('T').next().unwrap_or_default(),
        version(&mode::drainit()),
        envoy::DEFAULT,
        machine(),
        took.as_secs().div_ceil(60)
    );
    for (mode, why) in missing {
        let _ = writeln!(text, "Not measured: {} ({why}).\n", mode.name());
    }
    let promised = || results.iter().filter(|result| result.cell.mode.is_clean());
    let _ = writeln!(
        text,
        "The columns in which drainit promises to lose nothing ({}): {} requests, {} replacements, \
         **{} lost**.\n",
        Mode::ALL
            .into_iter()
            .filter(|mode| mode.is_clean())
            .map(Mode::name)
            .collect::<Vec<_>>()
            .join("; "),
        promised().map(|result| result.outcome.requests()).sum::<u64>(),
        promised().map(|result| u64::from(result.outcome.replacements)).sum::<u64>(),
        promised().map(|result| result.outcome.lost()).sum::<u64>()
    );
    summary(&mut text, results);
    text
}

/// Returns the modes that were measured, in the order of the table.
pub(crate) fn measured(results: &[Result]) -> Vec<Mode> {
    let is_there = |mode: &Mode| results.iter().any(|result| result.cell.mode == *mode);
    Mode::ALL.into_iter().filter(is_there).collect()
}

/// Returns the result of a cell.
pub(crate) fn find(
    results: &[Result],
    mode: Mode,
    protocol: Protocol,
    pace: Pace,
) -> Option<&Result> {
    results.iter().find(|Result { cell, .. }| {
        cell.mode == mode && cell.protocol == protocol && cell.pace == pace
    })
}

/// Writes one line for each kind of traffic, with a column for each way.
fn summary(text: &mut String, results: &[Result]) {
    let modes = measured(results);
    text.push_str("Each cell shows the failed and the refused requests (failed/refused), and the time of the slowest answer in seconds:\n\n| traffic |");
    for mode in &modes {
        let _ = write!(text, " {} |", mode.name());
    }
    let _ = writeln!(text, "\n|---|{}", "--:|".repeat(modes.len()));
    for protocol in Protocol::ALL {
        for pace in Pace::ALL {
            let _ = write!(text, "| {protocol}, {pace} |");
            for mode in &modes {
                let Some(Result { outcome, .. }) = find(results, *mode, protocol, pace) else {
                    text.push_str(" |");
                    continue;
                };
                let bold = if mode.is_clean() { "**" } else { "" };
                let counts = &outcome.counts;
                let _ = write!(
                    text,
                    " {bold}{}/{}{bold}, {:.2} |",
                    counts.failed,
                    counts.refused,
                    counts.slowest.as_secs_f64()
                );
            }
            text.push('\n');
        }
    }
}
