//! The shutdown of a plan as an SVG image.

use std::fmt::Write as _;
use std::time::Duration;

use crate::plan::text::{LABEL, cut_to, is_shown};
use crate::plan::timeline::Timeline;
use crate::plan::{InOneshot, Plan};
use crate::types::human;

pub(crate) const WIDTH: f64 = 880.0;
/// The left edge and the full width of the bars.
pub(crate) const LEFT: f64 = 300.0;
pub(crate) const BARS: f64 = WIDTH - LEFT - 10.0;
pub(crate) const ROW: f64 = 22.0;
/// The height of a title and the line below it.
pub(crate) const HEAD: f64 = 56.0;

/// The image is readable on light and dark pages.
#[must_use]
pub fn svg(plan: &Plan<'_>) -> String {
    let mut body = String::new();
    let mut top = 0.0;
    for (asked, what, timeline, in_oneshot) in [
        (true, "Shutdown after a stop signal", &plan.after_signal, &plan.signal_in_oneshot),
        (false, "Shutdown after an unasked end", &plan.after_end, &plan.end_in_oneshot),
    ] {
        let total = human(timeline.total);
        let at_most = match in_oneshot {
            Some(InOneshot { name, timeline }) => {
                format!("at most {total}, while {name} runs {}", human(timeline.total))
            }
            None => format!("at most {total}"),
        };
        top = case(&mut body, plan, timeline, (what, &at_most, asked), top) + ROW;
    }
    document("The longest shutdown against the grace period", &body, top)
}

/// An image of this height, readable on light and dark pages.
pub(crate) fn document(title: &str, body: &str, height: f64) -> String {
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" height=\"{height}\" \
         font-family=\"ui-sans-serif, -apple-system, 'Segoe UI', Helvetica, Arial, sans-serif\" font-size=\"13\" \
         fill=\"#737b85\">\n<title>{title}</title>\n{body}</svg>\n"
    )
}

/// Draws one timeline and returns its lower edge.
fn case(
    out: &mut String,
    plan: &Plan<'_>,
    timeline: &Timeline,
    (what, at_most, asked): (&str, &str, bool),
    top: f64,
) -> f64 {
    let whole = plan.grace_period.max(timeline.total).as_secs_f64().max(f64::MIN_POSITIVE);
    let x = |at: Duration| LEFT + BARS * at.as_secs_f64() / whole;
    let shown: Vec<_> =
        timeline.steps.iter().enumerate().filter(|(_, step)| is_shown(step)).collect();
    let (title, text) = (top + 18.0, top + 38.0);
    let _ = writeln!(out, "<text y=\"{title}\" font-size=\"16\" font-weight=\"600\">{what}</text>");
    let _ = writeln!(
        out,
        "<text y=\"{text}\" font-size=\"11\">{}; the deadline is at {}: grace_period {} less reserve {}</text>",
        escaped(at_most),
        human(plan.window()),
        human(plan.grace_period),
        human(plan.reserve)
    );
    let mut y = top + HEAD;
    let end = y + ROW * f64::from(u32::try_from(shown.len()).unwrap_or(u32::MAX));
    let deadline = x(plan.window());
    let _ = writeln!(
        out,
        "<rect x=\"{deadline:.1}\" y=\"{y}\" width=\"{:.1}\" height=\"{}\" fill=\"#d64550\" fill-opacity=\".15\"/>",
        x(plan.grace_period) - deadline,
        end - y
    );
    for (place, step) in shown {
        let (wish, declared) = plan.wish(step, asked);
        let is_cut = declared && step.takes < wish;
        let times = match is_cut {
            true => format!("{} of {}", human(step.takes), human(wish)),
            false => human(step.takes),
        };
        let colour = match (is_cut, timeline.is_critical(place)) {
            (true, _) => "#e07b39",
            (false, true) => "#1f9d72",
            (false, false) => "#9aa3ad",
        };
        let (line, from) = (y + 15.0, x(step.begins));
        let width = (x(step.ends()) - from).max(1.0);
        let _ = writeln!(
            out,
            "<text y=\"{line}\">{}</text>",
            escaped(&cut_to(plan.label(step), LABEL))
        );
        let _ = writeln!(
            out,
            "<text x=\"{}\" y=\"{line}\" text-anchor=\"end\">{times}</text>",
            LEFT - 10.0
        );
        let _ = writeln!(
            out,
            "<rect x=\"{from:.1}\" y=\"{}\" width=\"{width:.1}\" height=\"13\" rx=\"2\" fill=\"{colour}\"/>",
            y + 4.0
        );
        y += ROW;
    }
    end
}

pub(crate) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
