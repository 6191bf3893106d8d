//! The results in `docs/measured/rollout.md`: the tables, and the picture for the README.

use std::fmt::Write;
use std::time::Duration;

use benches::bars::{Column, Picture};
use benches::result::head;
use testkit::envoy;

use crate::pod::Mode;
use crate::rows::Row;
use crate::schedule::Result;

/// Returns the results as Markdown.
pub(crate) fn markdown(rows: &[Row], results: &[Result], took: Duration) -> String {
    let mut text = head(&envoy::TESTED, took);
    summary(&mut text, rows, results);
    notes(&mut text, rows, results);
    text
}

/// Writes the losses, with one line for each kind of traffic. An older version of Envoy has one
/// line, with the sums of all kinds.
fn summary(text: &mut String, rows: &[Row], results: &[Result]) {
    text.push_str(
        "Lost requests (failed and refused), and the seconds until drainit had exited:\n\n",
    );
    text.push_str("| Envoy | traffic |");
    for mode in Mode::ALL {
        let _ = write!(text, " {} |", mode.name());
    }
    text.push_str(" seconds |\n|---|---|--:|--:|--:|--:|--:|\n");
    let newest = envoy::TESTED[envoy::TESTED.len() - 1];
    for version in envoy::TESTED.iter().filter(|version| **version != newest) {
        let is_of = |row: &Row| row.envoy == *version;
        let count = rows.iter().filter(|row| is_of(row)).count();
        if count > 0 {
            let name = format!("{count} kinds, added up");
            line(text, version, &name, results.iter().filter(|result| is_of(&rows[result.row])));
        }
    }
    for (place, row) in rows.iter().enumerate().filter(|(_, row)| row.envoy == newest) {
        let mark = if row.impolite.is_some() { " *" } else { "" };
        let of_row = results.iter().filter(|result| result.row == place);
        line(text, row.envoy, &format!("{}{mark}", row.name), of_row);
    }
}

/// Writes one line: the losses of each way of stopping, added up, and the longest stop of drainit.
fn line<'a>(
    text: &mut String,
    envoy: &str,
    name: &str,
    results: impl Iterator<Item = &'a Result> + Clone,
) {
    let share = results.clone().filter_map(|result| result.outcome.too_slow()).reduce(f64::min);
    let slow = share.map(|share| format!(" † {:.0} %", share * 100.0));
    let _ = write!(text, "| {envoy} | {name}{} |", slow.unwrap_or_default());
    for mode in Mode::ALL {
        let lost: u64 = results
            .clone()
            .filter(|result| result.mode == mode)
            .map(|result| result.outcome.lost())
            .sum();
        let of_mode = results.clone().filter(|result| result.mode == mode);
        let closed: u64 = of_mode.map(|result| result.outcome.closed).sum();
        let bold = if mode == Mode::Drainit { "**" } else { "" };
        let closed = if closed > 0 { format!(" ({closed} closed)") } else { String::new() };
        let _ = write!(text, " {bold}{lost}{bold}{closed} |");
    }
    let ours = results.filter(|result| result.mode == Mode::Drainit);
    let seconds = ours.map(|result| result.outcome.stop.as_secs_f64()).fold(0.0, f64::max);
    let _ = writeln!(text, " {seconds:.1} |");
}

/// Writes the notes below the table: the rows in which clients cannot be notified in time, each
/// with the reason and drainit's report.
fn notes(text: &mut String, rows: &[Row], results: &[Result]) {
    if results.iter().any(|result| result.outcome.too_slow().is_some()) {
        text.push_str(
            "\n† The machine was too busy, and the clients reached only this share of their rate.\n",
        );
    }
    text.push_str("\n\\* In these rows Envoy cannot announce the close early enough. drainit waits for the whole `time`. Its report shows how many connections were then still open:\n");
    for result in results.iter().filter(|result| result.mode == Mode::Drainit) {
        let Some(why) = rows[result.row].impolite else { continue };
        let _ = writeln!(text, "\n- {}: {why}.", rows[result.row].name);
        for line in result.outcome.lines.iter().filter(|(_, line)| line.contains("drain envoy: ")) {
            let said = line.1.split_once("drain envoy: ").map_or("", |(_, said)| said);
            let _ = writeln!(text, "  `drain envoy: {said}`");
        }
    }
}

/// Returns the losses of the servers that are not an Envoy as Markdown.
pub(crate) fn servers(rows: &[Row], results: &[Result]) -> String {
    let mut text = "| server | traffic |".to_owned();
    for mode in Mode::OF_SERVER {
        let _ = write!(text, " {} |", mode.name());
    }
    text.push_str(" seconds |\n|---|---|--:|--:|--:|--:|\n");
    for (place, row) in rows.iter().enumerate().filter(|(_, row)| row.server.is_some()) {
        let _ = write!(text, "| {} | {} |", row.envoy, row.name);
        let of_row = || results.iter().filter(|result| result.row == place);
        for result in of_row() {
            let _ = write!(text, " {} |", result.outcome.lost());
        }

        let stop = of_row().next_back().map(|result| result.outcome.stop.as_secs_f64());
        let _ = writeln!(text, " {:.1} |", stop.unwrap_or_default());
    }
    text
}

fn column(rows: &[Row], results: &[Result], mode: Mode) -> Column {
    let (name, what, colour) = match mode {
        Mode::Plain => ("SIGTERM", "Envoy gets it at once", "#d64550"),
        Mode::Recipe => ("the usual script", "drain_listeners, sleep 15", "#e07b39"),
        Mode::RecipeWithDrainTime => ("the same, tuned", "and --drain-time-s 15", "#c9a227"),
        _ => ("drainit", "stock flags", "#1f9d72"),
    };
    let below = [what.to_owned(), seconds(rows, results, mode)];
    Column { name, below, colour, is_drainit: mode == Mode::Drainit }
}

fn is_shown(row: &Row) -> bool {
    row.envoy == envoy::DEFAULT && row.impolite.is_none()
}

/// Returns a picture of the rows in which a server can notify its clients in time: the losses of
/// each mode for every kind of traffic on the newest Envoy.
pub(crate) fn picture(rows: &[Row], results: &[Result]) -> Picture {
    let row = |(place, row): (usize, &Row)| {
        let lost = |mode| {
            let result = results.iter().find(|result| result.row == place && result.mode == mode);
            result.map(|result| result.outcome.lost())
        };
        (row.name.clone(), Mode::ALL.map(lost).into())
    };
    let shown = rows.iter().enumerate().filter(|(_, row)| is_shown(row));
    Picture {
        title: "Requests lost while a gateway is replaced, by kind of traffic and by what stops it",
        heading: [
            "Requests lost in a rollout".to_owned(),
            format!("a real Envoy {}, clients that never retry;", envoy::DEFAULT),
            "the length of the bars is logarithmic".to_owned(),
        ],
        widths: (280.0, 150.0),
        columns: Mode::ALL.map(|mode| column(rows, results, mode)).into(),
        rows: shown.map(row).collect(),
    }
}

/// Says as text how long the pods of a mode took to stop.
fn seconds(rows: &[Row], results: &[Result], mode: Mode) -> String {
    let times = results.iter().filter(|it| it.mode == mode && is_shown(&rows[it.row]));
    let times: Vec<_> = times.map(|result| result.outcome.stop.as_secs_f64()).collect();
    let least = times.iter().copied().fold(f64::MAX, f64::min).round();
    let most = times.iter().copied().fold(0.0, f64::max).round();
    if least < most {
        format!("gone after {least} to {most} s")
    } else {
        format!("gone after {most} s")
    }
}
