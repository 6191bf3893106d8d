//! Draws a start and a shutdown as an SVG image: either those of a plan, or those of a report.
//!
//! [`plan`] and [`report`] make [`Chart`]s, and [`svg`] draws them.

pub mod command;
pub mod plan;
pub mod read;
pub mod report;
#[cfg(test)]
mod tests;

use std::fmt::Write as _;

use crate::plan::text::{LABEL, cut_to};

const WIDTH: f64 = 920.0;
const MARGIN: f64 = 16.0;
/// The widths of the labels and of the times to the right of the labels.
const LABELS: f64 = 200.0;
const TIMES: f64 = 100.0;
const GAP: f64 = 12.0;
/// The x coordinate at which the bars begin.
const LEFT: f64 = MARGIN + LABELS + GAP + TIMES + GAP;
/// The width of a bar that takes the whole time.
const BARS: f64 = WIDTH - MARGIN - LEFT;
const ROW: f64 = 22.0;
/// The height of a chart's title.
const HEAD: f64 = 24.0;
/// The height of a line of small text.
const LINE: f64 = 16.0;
const FONT: f64 = 13.0;
const SMALL: f64 = 11.0;
/// The width of a letter of a wide font, as a share of the font's size.
const WIDEST: f64 = 0.68;
/// How many characters fit into a title.
const TITLE: usize = 90;
/// How many characters of the small font fit into a line.
const CHARACTERS: usize = 115;
/// The possible distances between two ticks of a time axis, in seconds.
const TICKS: [f64; 16] = [
    0.01, 0.05, 0.1, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0,
    14400.0,
];

/// The colours, for light and for dark pages. Amber is a drain, blue a stop, red a process that was
/// killed. A step that is cut or late has a red edge. docs/shutdown.svg has the same amber and
/// blue.
const STYLE: &str = "\
.page { fill: #ffffff }
text { fill: #24292f }
.small { fill: #57606a }
.drain { fill: #d29922 }
.stop { fill: #3b82c4 }
.wait { fill: #8c959f }
.start { fill: #2da44e }
.killed { fill: #cf222e }
.reserve { fill: #8c959f; fill-opacity: .18 }
.aside { fill-opacity: .5 }
.planned { fill-opacity: .25 }
.short { stroke: #cf222e; stroke-width: 1.5; stroke-dasharray: 4 2 }
.axis { stroke: #8c959f; stroke-opacity: .35 }
@media (prefers-color-scheme: dark) {
  .page { fill: #0d1117 }
  text { fill: #e6edf3 }
  .small { fill: #9198a1 }
}
";

/// The steps of a start or of a shutdown on a time axis, in seconds.
#[derive(Clone, Debug, PartialEq)]
struct Chart {
    title: String,
    /// The text below the title.
    text: String,
    /// The moments at which the time axis begins and ends.
    span: (f64, f64),
    /// The moments at which the reserve begins and ends: the deadline, and the end of the grace
    /// period. A start has no reserve.
    reserve: Option<(f64, f64)>,
    rows: Vec<Row>,
}

#[derive(Clone, Debug, PartialEq)]
struct Row {
    label: String,
    times: String,
    /// The bars of the step, in the order in which they are drawn: a later bar covers an earlier
    /// one.
    bars: Vec<Bar>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Bar {
    from: f64,
    to: f64,
    kind: BarKind,
    look: BarLook,
}

/// The kind of a step, which decides the colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum BarKind {
    Start,
    Drain,
    Stop,
    /// A delay or a hook.
    Wait,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum BarLook {
    Plain,
    /// A planned step that is not on the critical path, and so does not lengthen the shutdown.
    Aside,
    /// The time that was planned for a step. The planned time is drawn behind the time that the
    /// step really took.
    Planned,
    /// A step of a plan that gets less time than the config declares.
    Cut,
    /// A step of a report that took longer than planned.
    Late,
    Killed,
}

impl BarKind {
    const ALL: [Self; 4] = [Self::Start, Self::Drain, Self::Stop, Self::Wait];

    /// The CSS class of the bars of this kind, and the name of the kind in the legend.
    fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::Start => ("start", "start"),
            Self::Drain => ("drain", "drain"),
            Self::Stop => ("stop", "stop"),
            Self::Wait => ("wait", "delay or hook"),
        }
    }
}

impl BarLook {
    const ALL: [Self; 6] =
        [Self::Plain, Self::Aside, Self::Planned, Self::Cut, Self::Late, Self::Killed];

    /// The CSS class for this look, and the name of the look in the legend.
    fn names(self) -> Option<(&'static str, &'static str)> {
        match self {
            Self::Plain => None,
            Self::Aside => Some(("aside", "not on the critical path")),
            Self::Planned => Some(("planned", "planned at most")),
            Self::Cut => Some(("short", "cut: gets less than declared")),
            Self::Late => Some(("short", "longer than planned")),
            Self::Killed => Some(("killed", "killed")),
        }
    }

    /// The CSS classes of a bar with this look and kind.
    fn of(self, kind: BarKind) -> String {
        match (self, self.names()) {
            (Self::Killed, _) => "killed".to_owned(),
            (_, Some((class, _))) => format!("{} {class}", kind.names().0),
            (_, None) => kind.names().0.to_owned(),
        }
    }
}

/// Draws an image with the charts one below the other. The image can be read on light and on dark
/// pages.
fn svg(title: &str, charts: &[Chart]) -> String {
    let (mut body, mut top) = (String::new(), MARGIN);
    for chart in charts.iter().filter(|chart| !chart.rows.is_empty() || chart.reserve.is_some()) {
        top = draw(&mut body, chart, top) + ROW;
    }
    legend(&mut body, charts, top);
    let height = top + LINE + MARGIN;
    let title = escaped(title, TITLE);
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" height=\"{height}\" \
         font-family=\"system-ui, -apple-system, 'Segoe UI', Helvetica, Arial, sans-serif\" font-size=\"{FONT}\" \
         role=\"img\">\n<title>{title}</title>\n<style>\n{STYLE}</style>\n\
         <rect class=\"page\" width=\"{WIDTH}\" height=\"{height}\"/>\n{body}</svg>\n"
    )
}

/// Draws a chart whose upper edge is at `top`, and returns the position of its lower edge.
fn draw(out: &mut String, chart: &Chart, top: f64) -> f64 {
    let _ = writeln!(
        out,
        "<text x=\"{MARGIN}\" y=\"{}\" font-size=\"16\" font-weight=\"600\"{}>{}</text>",
        top + 16.0,
        fitted(&chart.title, 16.0, WIDTH - 2.0 * MARGIN, TITLE),
        escaped(&chart.title, TITLE)
    );
    let mut y = top + HEAD;
    for line in lines(&chart.text) {
        let text = Label {
            x: MARGIN,
            y: y + 12.0,
            room: WIDTH - 2.0 * MARGIN,
            class: " class=\"small\"",
            anchor: "",
        };
        text.write(out, &line, SMALL, CHARACTERS);
        y += LINE;
    }
    y += LINE;
    let height: f64 = chart.rows.iter().map(|_| ROW).sum();
    axis(out, chart, (y, height));
    if let Some((from, to)) = chart.reserve {
        rect(out, chart, (from, to), "reserve", (y, height));
    }
    for row in &chart.rows {
        let line = y + 15.0;
        let label = Label { x: MARGIN, y: line, room: LABELS, class: "", anchor: "" };
        label.write(out, &row.label, FONT, LABEL);
        let times = Label { x: LEFT - GAP, room: TIMES, anchor: " text-anchor=\"end\"", ..label };
        times.write(out, &row.times, FONT, LABEL);
        for bar in &row.bars {
            let edge = if bar.look == BarLook::Planned { 3.0 } else { 5.0 };
            let place = (y + edge, ROW - 2.0 * edge);
            rect(out, chart, (bar.from, bar.to), &bar.look.of(bar.kind), place);
        }
        y += ROW;
    }
    y
}

/// The x coordinate of a moment.
fn x(chart: &Chart, at: f64) -> f64 {
    let (first, last) = chart.span;
    LEFT + BARS * ((at - first) / (last - first)).clamp(0.0, 1.0)
}

/// Draws the ticks of the time axis, with their times above the rows.
fn axis(out: &mut String, chart: &Chart, (top, height): (f64, f64)) {
    let (first, last) = chart.span;
    let fits = |tick: &f64| (last - first) / tick <= 8.0;
    let Some(tick) = TICKS.into_iter().find(fits) else { return };
    let mut at = (first / tick).ceil() * tick;
    while at <= last {
        let (x, text, bottom) = (x(chart, at), top - 4.0, top + height);
        let time = crate::types::human(std::time::Duration::from_secs_f64(at.abs()));
        let time = match at {
            at if at < 0.0 => format!("-{time}"),
            0.0 => "0s".to_owned(),
            _ => time,
        };
        let _ = writeln!(
            out,
            "<line class=\"axis\" x1=\"{x:.1}\" y1=\"{top}\" x2=\"{x:.1}\" y2=\"{bottom}\"/>\n\
             <text class=\"small\" x=\"{x:.1}\" y=\"{text}\" font-size=\"{SMALL}\" text-anchor=\"middle\">{time}</text>"
        );
        at += tick;
    }
}

fn rect(
    out: &mut String,
    chart: &Chart,
    (from, to): (f64, f64),
    class: &str,
    (y, height): (f64, f64),
) {
    let left = x(chart, from);
    let width = (x(chart, to) - left).max(1.5);
    let _ = writeln!(
        out,
        "<rect class=\"{class}\" x=\"{left:.1}\" y=\"{y}\" width=\"{width:.1}\" height=\"{height}\" rx=\"2\"/>"
    );
}

/// Draws the legend: a name for each kind and look of the bars, and for the reserve.
fn legend(out: &mut String, charts: &[Chart], top: f64) {
    let has = |is_so: &dyn Fn(&Bar) -> bool| {
        let mut bars = charts.iter().flat_map(|chart| &chart.rows).flat_map(|row| &row.bars);
        bars.any(is_so)
    };
    let kinds = BarKind::ALL.into_iter().filter(|kind| has(&|bar| bar.kind == *kind));
    let kinds = kinds.map(|kind| (kind.names().0.to_owned(), kind.names().1));
    let looks = BarLook::ALL.into_iter().filter(|look| has(&|bar| bar.look == *look));
    let looks = looks.filter_map(|look| Some((look.of(BarKind::Stop), look.names()?.1)));
    let reserve = charts.iter().any(|chart| chart.reserve.is_some());
    let reserve = reserve.then(|| ("reserve".to_owned(), "reserve after the deadline"));
    let mut x = MARGIN;
    for (class, name) in kinds.chain(looks).chain(reserve) {
        let (y, room) = (top + 2.0, length(name, SMALL));
        let _ = writeln!(
            out,
            "<rect class=\"{class}\" x=\"{x:.1}\" y=\"{y}\" width=\"12\" height=\"12\" rx=\"2\"/>"
        );
        let text =
            Label { x: x + 17.0, y: top + 12.0, room, class: " class=\"small\"", anchor: "" };
        text.write(out, name, SMALL, CHARACTERS);
        x += 17.0 + room + 10.0;
    }
}

/// A place for a text.
#[derive(Clone, Copy)]
struct Label {
    x: f64,
    y: f64,
    /// The width that the text may have.
    room: f64,
    class: &'static str,
    anchor: &'static str,
}

impl Label {
    fn write(&self, out: &mut String, text: &str, size: f64, most: usize) {
        let Self { x, y, room, class, anchor } = *self;
        let (fitted, text) = (fitted(text, size, room, most), escaped(text, most));
        let small = if size < FONT { format!(" font-size=\"{size}\"") } else { String::new() };
        let _ = writeln!(
            out,
            "<text{class} x=\"{x:.1}\" y=\"{y}\"{small}{anchor}{fitted}>{text}</text>"
        );
    }
}

/// The width of a text in a wide font.
#[allow(clippy::cast_precision_loss, reason = "a text is short")]
fn length(text: &str, size: f64) -> f64 {
    text.chars().count() as f64 * size * WIDEST
}

/// The attributes that squeeze a text if it might not fit. The fonts of the reader are not known.
fn fitted(text: &str, size: f64, room: f64, most: usize) -> String {
    match length(&cut_to(text, most), size) > room {
        true => format!(" textLength=\"{room:.0}\" lengthAdjust=\"spacingAndGlyphs\""),
        false => String::new(),
    }
}

/// Breaks a text into lines of the small font.
fn lines(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= CHARACTERS => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    // A text of more lines can only come from a hostile report.
    lines.truncate(4);
    lines
}

/// Cuts a text to at most `most` characters, and escapes it for SVG.
fn escaped(text: &str, most: usize) -> String {
    let text = cut_to(text, most);
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
