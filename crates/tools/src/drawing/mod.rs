//! Draws a shutdown as an SVG image: either the longest shutdown of a plan, or a past shutdown from
//! its report.
//!
//! [`plan`] and [`report`] make [`Chart`]s, and [`svg`] draws them.

pub mod command;
pub mod plan;
pub mod read;
pub mod report;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;

use std::fmt::Write as _;

use crate::plan::text::{LABEL, cut_to};

const WIDTH: f64 = 880.0;
/// The x coordinate at which the bars begin.
const LEFT: f64 = 300.0;
/// The width of a bar that takes the whole time.
const BARS: f64 = WIDTH - LEFT - 10.0;
const ROW: f64 = 22.0;
/// The height of a chart's title together with the line of text below it.
const HEAD: f64 = 56.0;
/// How many characters of the small font fit into a line.
const LINE: usize = 165;
/// How many characters fit into a title.
const TITLE: usize = 100;

/// The steps of one shutdown on a time axis. Times are in seconds since T0.
#[derive(Clone, Debug, PartialEq)]
struct Chart {
    title: String,
    /// The line below the title.
    text: String,
    /// The moments at which the time axis begins and ends.
    span: (f64, f64),
    /// The moments at which the reserve begins and ends: the deadline, and the end of the grace
    /// period.
    reserve: (f64, f64),
    rows: Vec<Row>,
}

#[derive(Clone, Debug, PartialEq)]
struct Row {
    label: String,
    times: String,
    /// The bars of the step. If two bars overlap, the later one covers the earlier.
    bars: Vec<Bar>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Bar {
    from: f64,
    to: f64,
    look: Look,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Look {
    Good,
    /// A step of a plan that is not on the critical path, so it does not make the shutdown longer.
    Aside,
    /// In a plan: a step that gets less time than it needs. In a report: a step that took longer
    /// than planned.
    Short,
    Killed,
    /// The time that was planned for a step. It is drawn behind the time that the step really took.
    Planned,
    Reserve,
}

impl Look {
    /// The colour of a bar, its opacity, and its distance from the edges of its row.
    fn style(self) -> (&'static str, &'static str, f64) {
        match self {
            Self::Good => ("#1f9d72", "1", 5.0),
            Self::Aside => ("#9aa3ad", "1", 5.0),
            Self::Short => ("#e07b39", "1", 5.0),
            Self::Killed => ("#d64550", "1", 5.0),
            Self::Planned => ("#9aa3ad", ".4", 3.0),
            Self::Reserve => ("#d64550", ".15", 0.0),
        }
    }
}

/// Draws an image with the charts one below the other. It can be read on light and on dark pages.
fn svg(title: &str, charts: &[Chart]) -> String {
    let (mut body, mut top) = (String::new(), 0.0);
    for chart in charts {
        top = draw(&mut body, chart, top) + ROW;
    }
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {top}\" width=\"{WIDTH}\" height=\"{top}\" \
         font-family=\"ui-sans-serif, -apple-system, 'Segoe UI', Helvetica, Arial, sans-serif\" font-size=\"13\" \
         fill=\"#737b85\">\n<title>{title}</title>\n{body}</svg>\n"
    )
}

/// Draws a chart whose upper edge is at `top`, and returns the position of its lower edge.
fn draw(out: &mut String, chart: &Chart, top: f64) -> f64 {
    let (title, text) = (escaped(&chart.title, TITLE), escaped(&chart.text, LINE));
    let (title_y, text_y) = (top + 18.0, top + 38.0);
    let _ = writeln!(
        out,
        "<text y=\"{title_y}\" font-size=\"16\" font-weight=\"600\">{title}</text>\n\
         <text y=\"{text_y}\" font-size=\"11\">{text}</text>"
    );
    let mut y = top + HEAD;
    let (from, to) = chart.reserve;
    let height = chart.rows.iter().map(|_| ROW).sum();
    bar(out, chart, Bar { from, to, look: Look::Reserve }, (y, height));
    for row in &chart.rows {
        let (line, right) = (y + 15.0, LEFT - 10.0);
        let (label, times) = (escaped(&row.label, LABEL), &row.times);
        let _ = writeln!(
            out,
            "<text y=\"{line}\">{label}</text>\n\
             <text x=\"{right}\" y=\"{line}\" text-anchor=\"end\">{times}</text>"
        );
        for of_row in &row.bars {
            bar(out, chart, *of_row, (y, ROW));
        }
        y += ROW;
    }
    y
}

fn bar(out: &mut String, chart: &Chart, bar: Bar, (y, height): (f64, f64)) {
    let (first, last) = chart.span;
    let x = |at: f64| BARS * ((at - first) / (last - first)).clamp(0.0, 1.0);
    let (left, width) = (LEFT + x(bar.from), (x(bar.to) - x(bar.from)).max(1.5));
    let (colour, opacity, edge) = bar.look.style();
    let (y, height) = (y + edge, height - 2.0 * edge);
    let _ = writeln!(
        out,
        "<rect x=\"{left:.1}\" y=\"{y}\" width=\"{width:.1}\" height=\"{height}\" rx=\"2\" \
         fill=\"{colour}\" fill-opacity=\"{opacity}\"/>"
    );
}

/// Cuts a text to at most `most` characters, and escapes it for SVG.
fn escaped(text: &str, most: usize) -> String {
    let text = cut_to(text, most);
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
