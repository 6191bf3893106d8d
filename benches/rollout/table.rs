//! Formats the results as a text table with a line for every rollout.

use std::fmt::Write;

use crate::pod::Mode;
use crate::rows::Row;
use crate::schedule::Result;

/// Returns the whole table, which is 89 columns wide.
pub(crate) fn text(rows: &[Row], results: &[Result]) -> String {
    let mut text = format!(
        "{:<41} {:<12} {:>8} {:>7} {:>8} {:>8}\n",
        "traffic", "stopped by", "requests", "failed", "refused", "seconds"
    );
    let mut envoy = "";
    for Result { row, mode, outcome } in results {
        let row = &rows[*row];
        if row.envoy != envoy {
            envoy = row.envoy;
            let name = row.server.map_or("Envoy ", |_| "");
            let _ = writeln!(text, "\n{name}{envoy}");
        }
        let _ = write!(
            text,
            "{:<41} {:<12} {:>8} {:>7} {:>8} {:>8.1}",
            if *mode == Mode::Plain { row.name.as_str() } else { "" },
            mode.name(),
            outcome.served + outcome.lost(),
            outcome.failed,
            outcome.refused,
            outcome.stop.as_secs_f64()
        );
        if outcome.closed > 0 {
            let _ = write!(text, "  {} closed by Envoy before the stop", outcome.closed);
        }
        if let Some(share) = outcome.too_slow() {
            let _ = write!(text, "  only {:.0} % of the rate: machine too busy", share * 100.0);
        }
        text.push('\n');
    }
    text
}
