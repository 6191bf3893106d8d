//! The picture for the README: the losses of each mode for every kind of traffic on the newest Envoy.

use testkit::envoy;

use crate::bars::{Column, Picture};
use crate::pod::Mode;
use crate::rows::Row;
use crate::schedule::Result;

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

/// Returns an SVG of the rows in which a server can notify its clients in time.
pub(crate) fn svg(rows: &[Row], results: &[Result]) -> String {
    let row = |(place, row): (usize, &Row)| {
        let lost = |mode| {
            let result = results.iter().find(|result| result.row == place && result.mode == mode);
            result.map(|result| result.outcome.lost())
        };
        (row.name.clone(), Mode::ALL.map(lost).into())
    };
    let shown = rows.iter().enumerate().filter(|(_, row)| is_shown(row));
    let picture = Picture {
        title: "Requests lost while a gateway is replaced, by kind of traffic and by what stops it",
        heading: [
            "Requests lost in a rollout".to_owned(),
            format!("a real Envoy {}, clients that never retry;", envoy::DEFAULT),
            "the length of the bars is logarithmic".to_owned(),
        ],
        widths: (280.0, 150.0),
        columns: Mode::ALL.map(|mode| column(rows, results, mode)).into(),
        rows: shown.map(row).collect(),
    };
    picture.svg()
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
