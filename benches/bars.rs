//! Draws the numbers of lost requests: a row for each kind of traffic, and a column of logarithmic
//! bars for each way to stop or replace a process.
//!
//! The greys are readable on both a light and a dark page.

use std::fmt::Write;

const TEXT: &str = "#737b85";
const FONT: &str = "ui-sans-serif, -apple-system, 'Segoe UI', Helvetica, Arial, sans-serif";
const TOP: f64 = 84.0;
const LINE: f64 = 22.0;
/// The width that a column keeps free for the number beside its longest bar.
const NUMBER: f64 = 60.0;
/// From this number of losses on, a bar has its full length.
const FULL: f64 = 10_000.0;

/// A way to stop or replace a process.
pub struct Column {
    /// The heading of the column.
    pub name: &'static str,
    /// The two lines of text below the name.
    pub below: [String; 2],
    /// The colour of the bars.
    pub colour: &'static str,
    /// Whether the column is marked as drainit's.
    pub is_drainit: bool,
}

/// A table of losses to draw.
pub struct Picture {
    /// The title for readers who cannot see the picture.
    pub title: &'static str,
    /// The heading, and two lines below it.
    pub heading: [String; 3],
    /// The width of the column of names, and the width of each other column.
    pub widths: (f64, f64),
    /// The columns, from left to right.
    pub columns: Vec<Column>,
    /// For each row: its name, and the losses in each column, or `None` if they were not measured.
    pub rows: Vec<(String, Vec<Option<u64>>)>,
}

impl Picture {
    /// Returns the picture as SVG.
    pub fn svg(&self) -> String {
        let (names, width) = self.widths;
        let places = std::iter::successors(Some(names), |x| Some(x + width));
        let places: Vec<_> = places.take(self.columns.len()).collect();
        let columns = || self.columns.iter().zip(&places);
        let end = places.last().map_or(names, |x| x + width);
        let height = self.rows.iter().fold(TOP - 8.0, |height, _| height + LINE);
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {end} {height}\" width=\"{end}\" \
             height=\"{height}\" font-family=\"{FONT}\" font-size=\"13\" fill=\"{TEXT}\" role=\"img\">\n\
             <title>{}</title>\n",
            self.title
        );
        let [heading, below @ ..] = &self.heading;
        text(&mut svg, 0.0, 18.0, "font-size=\"16\" font-weight=\"600\"", heading);
        small(&mut svg, 0.0, below);
        for (Column { name, below, colour, is_drainit }, x) in columns() {
            if *is_drainit {
                let _ = writeln!(
                    svg,
                    "<rect x=\"{}\" width=\"{width}\" height=\"{height}\" rx=\"6\" fill=\"{colour}\" fill-opacity=\".1\"/>",
                    x - 12.0
                );
            }
            let style = format!("font-weight=\"600\" fill=\"{colour}\" font-size=\"14\"");
            text(&mut svg, *x, 18.0, &style, name);
            small(&mut svg, *x, below);
        }
        let mut y = TOP;
        for (name, losses) in &self.rows {
            let above = y - 16.0;
            let _ = writeln!(
                svg,
                "<path d=\"M0 {above}H{end}\" stroke=\"{TEXT}\" stroke-opacity=\".25\" fill=\"none\"/>"
            );
            text(&mut svg, 0.0, y, "", name);
            for ((column, x), lost) in columns().zip(losses) {
                if let Some(lost) = lost {
                    bar(&mut svg, *x, y, column, width - NUMBER, *lost);
                }
            }
            y += LINE;
        }
        svg + "</svg>\n"
    }
}

fn bar(svg: &mut String, x: f64, y: f64, column: &Column, longest: f64, lost: u64) {
    let colour = column.colour;
    if lost == 0 {
        let style = format!("font-weight=\"600\" fill=\"{colour}\"");
        return text(svg, x, y, if column.is_drainit { &style } else { "" }, "0");
    }
    let number = f64::from(u32::try_from(lost).unwrap_or(u32::MAX));
    let length = (longest * (number + 1.0).log10() / FULL.log10()).min(longest);
    let above = y - 11.0;
    let _ = writeln!(
        svg,
        "<rect x=\"{x}\" y=\"{above}\" width=\"{length:.1}\" height=\"13\" rx=\"2\" fill=\"{colour}\"/>"
    );
    text(svg, x + length + 5.0, y, "", &lost.to_string());
}

fn small(svg: &mut String, x: f64, lines: &[String; 2]) {
    text(svg, x, 36.0, "font-size=\"11\"", &lines[0]);
    text(svg, x, 52.0, "font-size=\"11\"", &lines[1]);
}

fn text(svg: &mut String, x: f64, y: f64, style: &str, text: &str) {
    let _ = writeln!(svg, "<text x=\"{x:.1}\" y=\"{y}\" {style}>{text}</text>");
}
