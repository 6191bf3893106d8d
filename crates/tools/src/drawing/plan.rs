//! The charts of a plan.

use crate::drawing::{Bar, Chart, Look, Row};
use crate::plan::text::is_shown;
use crate::plan::timeline::Timeline;
use crate::plan::{InOneshot, Plan};
use crate::types::human;

/// Draws the longest shutdown after a stop signal, and after a process has ended by itself.
pub fn svg(plan: &Plan<'_>) -> String {
    let charts = [
        (true, "Shutdown after a stop signal", &plan.after_signal, &plan.signal_in_oneshot),
        (false, "Shutdown after an unasked end", &plan.after_end, &plan.end_in_oneshot),
    ]
    .map(|(asked, title, timeline, in_oneshot)| {
        let total = human(timeline.total);
        let at_most = match in_oneshot {
            Some(InOneshot { name, timeline }) => {
                format!("at most {total}, while {name} runs {}", human(timeline.total))
            }
            None => format!("at most {total}"),
        };
        let text = format!(
            "{at_most}; the deadline is at {}: grace_period {} less reserve {}",
            human(plan.window()),
            human(plan.grace_period),
            human(plan.reserve)
        );
        chart(plan, timeline, asked, title.to_owned(), text)
    });
    crate::drawing::svg("The longest shutdown against the grace period", &charts)
}

fn chart(plan: &Plan<'_>, timeline: &Timeline, asked: bool, title: String, text: String) -> Chart {
    let grace_period = plan.grace_period.as_secs_f64();
    let last = grace_period.max(timeline.total.as_secs_f64()).max(f64::MIN_POSITIVE);
    let shown = timeline.steps.iter().enumerate().filter(|(_, step)| is_shown(step));
    let rows = shown.map(|(place, step)| {
        let (wish, declared) = plan.wish(step, asked);
        let is_cut = declared && step.takes() < wish;
        let look = match (is_cut, timeline.is_critical(place)) {
            (true, _) => Look::Short,
            (false, true) => Look::Good,
            (false, false) => Look::Aside,
        };
        Row {
            label: plan.label(step),
            times: match is_cut {
                true => format!("{} of {}", human(step.takes()), human(wish)),
                false => human(step.takes()),
            },
            bars: vec![Bar {
                from: step.begins.0.as_secs_f64(),
                to: (step.begins + step.takes()).0.as_secs_f64(),
                look,
            }],
        }
    });
    Chart {
        title,
        text,
        span: (0.0, last),
        reserve: (plan.window().as_secs_f64(), grace_period),
        rows: rows.collect(),
    }
}
