//! A report as an SVG image, like that of the plan.

use std::fmt::Write as _;

use crate::plan::svg::{BARS, HEAD, LEFT, ROW, document, escaped};
use crate::plan::text::{LABEL, cut_to};
use crate::report::data::ShutdownReport;
use crate::report::drawing::{Mark, chain, remarks, rows, span, summary, time};
use crate::report::text::last_ready;
use crate::types::harmless;

const GREEN: &str = "#1f9d72";
const ORANGE: &str = "#e07b39";
const RED: &str = "#d64550";
const GREY: &str = "#9aa3ad";
/// The characters of a line below the bars.
const LINE: usize = 165;
/// The characters of a title.
const TITLE: usize = 100;

/// Draws what happened over the plan. The image is readable on light and dark pages.
#[must_use]
pub fn svg(report: &ShutdownReport) -> String {
    let mut body = String::new();
    let top = start(&mut body, report, 0.0) + ROW;
    let top = shutdown(&mut body, report, top) + ROW;
    document("A shutdown, and its plan", &body, top)
}

/// Draws the start and returns its lower edge.
fn start(out: &mut String, report: &ShutdownReport, top: f64) -> f64 {
    let what = match report.start.ready {
        Some(ready) => {
            let chain: Vec<_> = chain(report).collect();
            let chain = cut_to(chain.join(" → "), LINE - 60);
            format!("everything was ready after {}; critical chain: {chain}", time(ready))
        }
        None => "not everything was ready".to_owned(),
    };
    head(out, "Start", &what, top);
    let last = last_ready(report);
    let mut y = top + HEAD;
    for process in &report.processes {
        let Some(started) = process.started else { continue };
        let is_critical = report.start.chain.iter().any(|link| link.name == process.name);
        let colour = if is_critical { GREEN } else { GREY };
        let ready = process.ready.unwrap_or(started);
        let times = process.ready.map_or("not ready".to_owned(), |at| time(at - started));
        names(out, &harmless(&process.name), &times, y);
        bar(out, (started / last, ready / last), (y + 4.0, 13.0), colour, "1");
        y += ROW;
    }
    y
}

/// Draws the shutdown and returns its lower edge.
fn shutdown(out: &mut String, report: &ShutdownReport, top: f64) -> f64 {
    let rows = rows(report);
    let (first, last) = span(report, &rows);
    let share = |at: f64| (at - first) / (last - first);
    let reserve = time(report.grace_period - report.deadline);
    let what = format!(
        "T0 {}; light: planned at most; solid: what happened, orange if late, red if killed; \
         red area: the reserve of {reserve} after the deadline",
        harmless(&report.t0)
    );
    head(out, &cut_to(summary(report), TITLE), &what, top);
    let mut y = top + HEAD;
    let height = ROW * rows.iter().map(|_| 1.0).sum::<f64>();
    let (from, to) = (share(report.deadline), share(report.grace_period));
    bar(out, (from, to), (y, height), RED, ".15");
    for row in &rows {
        let colour = match row.mark {
            Mark::Normal => GREEN,
            Mark::Late => ORANGE,
            Mark::Killed => RED,
        };
        names(out, &row.label, &row.times, y);
        if let Some((begins, ends)) = row.planned {
            bar(out, (share(begins), share(ends)), (y + 3.0, 15.0), GREY, ".4");
        }
        if let Some((begins, ends)) = row.real {
            bar(out, (share(begins), share(ends)), (y + 6.5, 8.0), colour, "1");
        }
        y += ROW;
    }
    y += ROW / 2.0;
    for remark in remarks(report) {
        let line = y + 11.0;
        let remark = escaped(&cut_to(remark, LINE));
        let _ = writeln!(out, "<text y=\"{line}\" font-size=\"11\">{remark}</text>");
        y += 16.0;
    }
    y
}

fn head(out: &mut String, title: &str, what: &str, top: f64) {
    let (title_y, text) = (top + 18.0, top + 38.0);
    let (title, what) = (escaped(title), escaped(what));
    let _ = writeln!(
        out,
        "<text y=\"{title_y}\" font-size=\"16\" font-weight=\"600\">{title}</text>\n\
         <text y=\"{text}\" font-size=\"11\">{what}</text>"
    );
}

/// The texts in front of a bar.
fn names(out: &mut String, label: &str, times: &str, y: f64) {
    let (line, right) = (y + 15.0, LEFT - 10.0);
    let label = escaped(&cut_to(label.to_owned(), LABEL));
    let _ = writeln!(
        out,
        "<text y=\"{line}\">{label}</text>\n\
         <text x=\"{right}\" y=\"{line}\" text-anchor=\"end\">{times}</text>"
    );
}

/// A bar between two shares of the width, 0 to 1.
fn bar(
    out: &mut String,
    (from, to): (f64, f64),
    (y, height): (f64, f64),
    colour: &str,
    opacity: &str,
) {
    let x = LEFT + BARS * from.clamp(0.0, 1.0);
    let width = (BARS * (to.clamp(0.0, 1.0) - from.clamp(0.0, 1.0))).max(1.5);
    let _ = writeln!(
        out,
        "<rect x=\"{x:.1}\" y=\"{y}\" width=\"{width:.1}\" height=\"{height}\" rx=\"2\" \
         fill=\"{colour}\" fill-opacity=\"{opacity}\"/>"
    );
}
