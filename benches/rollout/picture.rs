//! Draws the picture for the README: the losses of each mode for every kind of traffic on the
//! newest Envoy.
//!
//! The greys are readable on both a light and a dark page.

use std::fmt::Write;

use testkit::envoy;

use crate::pod::Mode;
use crate::rows::Row;
use crate::schedule::Result;

const TEXT: &str = "#737b85";
const FONT: &str = "ui-sans-serif, -apple-system, 'Segoe UI', Helvetica, Arial, sans-serif";
/// The widths of the column of names and of the columns of bars.
const NAMES: f64 = 280.0;
const COLUMN: f64 = 150.0;
/// The length of the longest bar. The rest of the column holds the number.
const BAR: f64 = 92.0;
const TOP: f64 = 84.0;
const LINE: f64 = 22.0;
/// The number of losses for the longest bar; the scale is logarithmic.
const FULL: f64 = 10_000.0;

fn colour(mode: Mode) -> &'static str {
    match mode {
        Mode::Plain => "#d64550",
        Mode::Recipe => "#e07b39",
        Mode::RecipeWithDrainTime => "#c9a227",
        Mode::Drainit => "#1f9d72",
    }
}

fn heading(mode: Mode) -> (&'static str, &'static str) {
    match mode {
        Mode::Plain => ("SIGTERM", "Envoy gets it at once"),
        Mode::Recipe => ("the usual script", "drain_listeners, sleep 15"),
        Mode::RecipeWithDrainTime => ("the same, tuned", "and --drain-time-s 15"),
        Mode::Drainit => ("drainit", "stock flags"),
    }
}

/// Returns an SVG of the rows in which a server can notify its clients in time.
pub(crate) fn svg(rows: &[Row], results: &[Result]) -> String {
    let shown = |row: &Row| row.envoy == envoy::DEFAULT && row.impolite.is_none();
    let shown: Vec<_> = rows.iter().enumerate().filter(|(_, row)| shown(row)).collect();
    let width = NAMES + COLUMN * 4.0;
    let count = u32::try_from(shown.len()).unwrap_or(u32::MAX);
    let height = TOP + LINE * f64::from(count) - 8.0;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" \
         height=\"{height}\" font-family=\"{FONT}\" font-size=\"13\" fill=\"{TEXT}\" role=\"img\">\n\
         <title>Requests lost while a gateway is replaced, by kind of traffic and by what stops it</title>\n"
    );
    text(&mut svg, 0.0, 18.0, "font-size=\"16\" font-weight=\"600\"", "Requests lost in a rollout");
    let subtitle = format!("a real Envoy {}, clients that never retry;", envoy::DEFAULT);
    text(&mut svg, 0.0, 36.0, "font-size=\"11\"", &subtitle);
    text(&mut svg, 0.0, 52.0, "font-size=\"11\"", "the length of the bars is logarithmic");
    for (mode, x) in columns() {
        if mode == Mode::Drainit {
            let _ = writeln!(
                svg,
                "<rect x=\"{}\" width=\"{}\" height=\"{height}\" rx=\"6\" fill=\"{}\" fill-opacity=\".1\"/>",
                x - 12.0,
                COLUMN,
                colour(mode)
            );
        }
        let (name, what) = heading(mode);
        let style = format!("font-weight=\"600\" fill=\"{}\" font-size=\"14\"", colour(mode));
        text(&mut svg, x, 18.0, &style, name);
        text(&mut svg, x, 36.0, "font-size=\"11\"", what);
        text(&mut svg, x, 52.0, "font-size=\"11\"", &seconds(rows, results, mode));
    }
    let mut y = TOP;
    for (place, row) in shown {
        rule(&mut svg, y - 16.0, width);
        text(&mut svg, 0.0, y, "", &row.name);
        for (mode, x) in columns() {
            let found = results.iter().find(|result| result.row == place && result.mode == mode);
            if let Some(result) = found {
                bar(&mut svg, x, y, mode, result.outcome.lost());
            }
        }
        y += LINE;
    }
    svg.push_str("</svg>\n");
    svg
}

fn columns() -> impl Iterator<Item = (Mode, f64)> {
    let places = (0..4).map(|number| NAMES + COLUMN * f64::from(number));
    Mode::ALL.into_iter().zip(places)
}

/// Returns the stop times of the pods.
fn seconds(rows: &[Row], results: &[Result], mode: Mode) -> String {
    let times = results.iter().filter(|result| {
        let row = &rows[result.row];
        result.mode == mode && row.envoy == envoy::DEFAULT && row.impolite.is_none()
    });
    let times: Vec<_> = times.map(|result| result.outcome.stop.as_secs_f64()).collect();
    let least = times.iter().copied().fold(f64::MAX, f64::min).round();
    let most = times.iter().copied().fold(0.0, f64::max).round();
    if least < most {
        format!("gone after {least} to {most} s")
    } else {
        format!("gone after {most} s")
    }
}

fn bar(svg: &mut String, x: f64, y: f64, mode: Mode, lost: u64) {
    let colour = colour(mode);
    if lost == 0 {
        let style = match mode {
            Mode::Drainit => format!("font-weight=\"600\" fill=\"{colour}\""),
            _ => String::new(),
        };
        return text(svg, x, y, &style, "0");
    }
    let lost = u32::try_from(lost).unwrap_or(u32::MAX);
    let length = (BAR * (f64::from(lost) + 1.0).log10() / FULL.log10()).min(BAR);
    let _ = writeln!(
        svg,
        "<rect x=\"{x}\" y=\"{}\" width=\"{length:.1}\" height=\"13\" rx=\"2\" fill=\"{colour}\"/>",
        y - 11.0
    );
    text(svg, x + length + 6.0, y, "", &lost.to_string());
}

fn rule(svg: &mut String, y: f64, width: f64) {
    let _ = writeln!(
        svg,
        "<path d=\"M0 {y}H{width}\" stroke=\"{TEXT}\" stroke-opacity=\".25\" fill=\"none\"/>"
    );
}

fn text(svg: &mut String, x: f64, y: f64, style: &str, text: &str) {
    let _ = writeln!(svg, "<text x=\"{x}\" y=\"{y}\" {style}>{text}</text>");
}
