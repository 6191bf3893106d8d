//! A report as text for a terminal of 100 columns, like that of the plan.

use std::fmt::Write as _;

use crate::plan::text::{COLUMNS, LABEL, TIMES, cut_to, paragraph};
use crate::report::data::ShutdownReport;
use crate::report::drawing::{chain, remarks, rows, span, summary, time};
use crate::types::harmless;

/// Draws what happened, and the plan below it.
#[must_use]
pub fn text(report: &ShutdownReport) -> String {
    let (t0, version) = (harmless(&report.t0), harmless(&report.drainit));
    let mut out = String::new();
    wrapped(&mut out, "", &summary(report));
    let _ = writeln!(out, "T0 {t0}, drainit {version}\n\nStart\n");
    start(&mut out, report);
    out.push_str("\nShutdown\n\n");
    let reserve = report.grace_period - report.deadline;
    let legend = format!(
        "# real, ! killed or late, - planned at most; deadline at {}: grace_period {} less reserve {}",
        time(report.deadline),
        time(report.grace_period),
        time(reserve)
    );
    wrapped(&mut out, "  ", &legend);
    out.push('\n');
    shutdown(&mut out, report);
    let remarks = remarks(report);
    if !remarks.is_empty() {
        out.push('\n');
    }
    for remark in remarks {
        wrapped(&mut out, "  ", &remark);
    }
    out
}

fn start(out: &mut String, report: &ShutdownReport) {
    let started: Vec<_> = report.processes.iter().filter(|one| one.started.is_some()).collect();
    let labels: Vec<_> = started.iter().map(|one| cut_to(clean(&one.name), LABEL)).collect();
    let bars = Bars::new(&labels, (0.0, last_ready(report)));
    for (process, label) in started.iter().zip(&labels) {
        let from = process.started.unwrap_or_default();
        let ready = process.ready.map_or("not ready".to_owned(), |at| time(at - from));
        let until = process.ready.unwrap_or(from);
        bars.row(out, label, &ready, Some((from, until)), '#');
    }
    if started.is_empty() {
        out.push_str("  Nothing was started.\n");
    }
    match report.start.ready {
        Some(ready) => {
            let _ = writeln!(out, "\n  Everything was ready after {}.", time(ready));
            paragraph(out, "Critical chain:", " →", chain(report));
        }
        None => out.push_str("\n  Not everything was ready.\n"),
    }
}

/// The end of the bars of the start.
pub(crate) fn last_ready(report: &ShutdownReport) -> f64 {
    let moments = report.processes.iter().flat_map(|one| [one.started, one.ready]).flatten();
    moments.chain(report.start.ready).fold(0.001, f64::max)
}

fn shutdown(out: &mut String, report: &ShutdownReport) {
    let rows = rows(report);
    let mut labels: Vec<_> = rows.iter().map(|row| cut_to(row.label.clone(), LABEL)).collect();
    labels.push("reserve".to_owned());
    let bars = Bars::new(&labels, span(report, &rows));
    for (row, label) in rows.iter().zip(&labels) {
        let mark = if row.mark == crate::report::drawing::Mark::Normal { '#' } else { '!' };
        bars.row(out, label, &row.times, row.real, mark);
        if row.planned.is_some() {
            bars.row(out, "", "", row.planned, '-');
        }
    }
    let reserve = (report.deadline, report.grace_period.max(report.deadline));
    bars.row(out, "reserve", &time(reserve.1 - reserve.0), Some(reserve), '.');
}

/// The columns of a chart.
struct Bars {
    label: usize,
    width: usize,
    first: f64,
    last: f64,
}

impl Bars {
    fn new(labels: &[String], (first, last): (f64, f64)) -> Self {
        let label = labels.iter().map(|label| label.chars().count()).max().unwrap_or_default();
        Self { label, width: COLUMNS - 2 - label - 2 - TIMES - 2, first, last }
    }

    fn column(&self, at: f64) -> usize {
        let share = ((at - self.first) / (self.last - self.first)).clamp(0.0, 1.0);
        // From 0 to `width`.
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss
        )]
        let column = (share * self.width as f64).round() as usize;
        column
    }

    fn row(&self, out: &mut String, label: &str, times: &str, bar: Option<(f64, f64)>, mark: char) {
        let width = self.label;
        let mut line = format!("  {label:width$}  {times:>TIMES$}  ");
        if let Some((begins, ends)) = bar {
            let (from, to) = (self.column(begins), self.column(ends));
            // A step that takes next to no time is a stroke.
            let from = from.min(self.width - 1);
            line.push_str(&" ".repeat(from));
            match to.saturating_sub(from) {
                0 => line.push(if mark == '#' { '|' } else { mark }),
                long => line.extend(std::iter::repeat_n(mark, long)),
            }
        }
        out.extend([line.trim_end(), "\n"]);
    }
}

/// Breaks a line between words where it is too long for the terminal.
fn wrapped(out: &mut String, indent: &str, text: &str) {
    let mut line = indent.to_owned();
    let mut is_empty = true;
    for word in text.split(' ') {
        if !is_empty && line.chars().count() + 1 + word.chars().count() > COLUMNS {
            let _ = writeln!(out, "{line}");
            line = format!("{indent}  ");
            is_empty = true;
        }
        line.push_str(if is_empty { "" } else { " " });
        line.push_str(word);
        is_empty = false;
    }
    let _ = writeln!(out, "{line}");
}

fn clean(text: &str) -> String {
    harmless(text).into_owned()
}
