//! The results as a text table, with a line for every cell.

use std::fmt::Write;

use crate::Result;

/// Returns the whole table, which is 98 columns wide.
pub(crate) fn text(results: &[Result]) -> String {
    let mut text = format!(
        "{:<19} {:<13} {:<11} {:>8} {:>9} {:>7} {:>8} {:>8} {:>7}\n",
        "replaced by",
        "protocol",
        "pace",
        "replaced",
        "requests",
        "failed",
        "refused",
        "repeated",
        "slowest"
    );
    let mut last = None;
    for Result { cell, outcome } in results {
        if last.is_some_and(|mode| mode != cell.mode) {
            text.push('\n');
        }
        let name = if last == Some(cell.mode) { "" } else { cell.mode.name() };
        last = Some(cell.mode);
        let counts = &outcome.counts;
        let _ = writeln!(
            text,
            "{name:<19} {:<13} {:<11} {:>8} {:>9} {:>7} {:>8} {:>8} {:>5.2} s",
            cell.protocol,
            cell.pace,
            outcome.replacements,
            outcome.requests(),
            counts.failed,
            counts.refused,
            counts.repeated,
            counts.slowest.as_secs_f64()
        );
    }
    text
}
