//! Draws the picture: the losses of each way for every kind of traffic.
//!
//! The greys are readable on both a light and a dark page.

use std::fmt::Write;

use crate::Result;
use crate::document::{find, measured};
use crate::mode::Mode;
use crate::protocol::{Pace, Protocol};

const TEXT: &str = "#737b85";
const FONT: &str = "ui-sans-serif, -apple-system, 'Segoe UI', Helvetica, Arial, sans-serif";
/// The widths of the column of names and of the columns of bars.
const NAMES: f64 = 200.0;
const COLUMN: f64 = 112.0;
/// The length of the longest bar. The rest of the column holds the number.
const BAR: f64 = 50.0;
const TOP: f64 = 84.0;
const LINE: f64 = 22.0;
/// The number of losses for the longest bar; the scale is logarithmic.
const FULL: f64 = 10_000.0;

const DRAINIT: &str = "#1f9d72";

fn colour(mode: Mode) -> &'static str {
    match mode {
        Mode::Listen | Mode::StartFirst | Mode::HotRestart => DRAINIT,
        Mode::StopFirst | Mode::EnvoyStopFirst => "#c9a227",
        Mode::HotRestarter => TEXT,
        Mode::Supervisor | Mode::Docker | Mode::S6 => "#d64550",
    }
}

fn heading(mode: Mode) -> [&'static str; 2] {
    match mode {
        Mode::StopFirst => ["stop-first", "the default"],
        Mode::Listen => ["listen", "held sockets"],
        Mode::StartFirst => ["start-first", "held sockets"],
        Mode::Supervisor => ["supervisorctl", "restart"],
        Mode::Docker => ["docker", "restart"],
        Mode::S6 => ["s6-svc", "-r"],
        Mode::EnvoyStopFirst => ["stop-first", "Envoy"],
        Mode::HotRestart => ["hot-restart", "Envoy"],
        Mode::HotRestarter => ["restarter.py", "Envoy's own"],
    }
}

/// Returns an SVG of all cells.
pub(crate) fn svg(results: &[Result]) -> String {
    let modes = measured(results);
    let columns =
        || modes.iter().zip(0_u32..).map(|(mode, at)| (*mode, NAMES + COLUMN * f64::from(at)));
    let width = columns().last().map_or(NAMES, |(_, x)| x + COLUMN);
    let rows = Protocol::ALL.into_iter().flat_map(|it| Pace::ALL.map(|pace| (it, pace)));
    let height = TOP + LINE * rows.clone().fold(0.0, |count, _| count + 1.0) - 8.0;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" \
         height=\"{height}\" font-family=\"{FONT}\" font-size=\"13\" fill=\"{TEXT}\" role=\"img\">\n\
         <title>Requests lost while a process is replaced, by kind of traffic and by what replaces it</title>\n"
    );
    text(&mut svg, 0.0, 18.0, "font-size=\"16\" font-weight=\"600\"", "Requests lost");
    text(&mut svg, 0.0, 36.0, "font-size=\"11\"", "failed and refused, logarithmic,");
    text(&mut svg, 0.0, 52.0, "font-size=\"11\"", "in two restarts or more");
    for (mode, x) in columns() {
        if mode.is_drainit() {
            let _ = writeln!(
                svg,
                "<rect x=\"{}\" width=\"{COLUMN}\" height=\"{height}\" fill=\"{DRAINIT}\" fill-opacity=\".08\"/>",
                x - 8.0
            );
        }
        let [name, what] = heading(mode);
        let style = format!("font-weight=\"600\" fill=\"{}\" font-size=\"14\"", colour(mode));
        text(&mut svg, x, 18.0, &style, name);
        text(&mut svg, x, 36.0, "font-size=\"11\"", what);
        if mode.is_drainit() {
            text(&mut svg, x, 52.0, "font-size=\"11\"", "drainit");
        }
    }
    let mut y = TOP;
    for (protocol, pace) in rows {
        let opacity = if pace == Pace::ALL[0] { ".5" } else { ".15" };
        let _ = writeln!(
            svg,
            "<path d=\"M0 {}H{width}\" stroke=\"{TEXT}\" stroke-opacity=\"{opacity}\" fill=\"none\"/>",
            y - 16.0
        );
        text(&mut svg, 0.0, y, "", &format!("{protocol}, {pace}"));
        for (mode, x) in columns() {
            if let Some(result) = find(results, mode, protocol, pace) {
                bar(&mut svg, x, y, mode, result.outcome.lost());
            }
        }
        y += LINE;
    }
    svg.push_str("</svg>\n");
    svg
}

fn bar(svg: &mut String, x: f64, y: f64, mode: Mode, lost: u64) {
    let colour = colour(mode);
    if lost == 0 {
        let style = format!("font-weight=\"600\" fill=\"{colour}\"");
        return text(svg, x, y, if mode.is_drainit() { &style } else { "" }, "0");
    }
    let number = f64::from(u32::try_from(lost).unwrap_or(u32::MAX));
    let length = (BAR * (number + 1.0).log10() / FULL.log10()).min(BAR);
    let _ = writeln!(
        svg,
        "<rect x=\"{x}\" y=\"{}\" width=\"{length:.1}\" height=\"13\" rx=\"2\" fill=\"{colour}\"/>",
        y - 11.0
    );
    text(svg, x + length + 5.0, y, "", &lost.to_string());
}

fn text(svg: &mut String, x: f64, y: f64, style: &str, text: &str) {
    let _ = writeln!(svg, "<text x=\"{x:.1}\" y=\"{y}\" {style}>{text}</text>");
}
