//! The plan as a Gantt chart of Mermaid, which GitHub, GitLab and many wikis draw.
//!
//! The names of sections are short, because Mermaid writes them into a narrow column.

use std::fmt::Write as _;
use std::time::Duration;

use crate::plan::text::is_shown;
use crate::plan::timeline::{StepKind, Timeline};
use crate::plan::{InOneshot, Plan, PlannedStart};
use crate::types::human;

/// Draws the start and the two longest shutdowns. `name` is the name of the config.
pub fn mermaid(plan: &Plan<'_>, name: &str) -> String {
    // `x` are milliseconds, and `%s` are whole seconds, which no time zone changes.
    let mut out = format!(
        "gantt\n    title {}\n    dateFormat x\n    axisFormat %ss\n    todayMarker off\n    section Start\n",
        plain(name)
    );
    if let Some(limit) = plan.pre_start {
        row(&mut out, &format!("pre_start by {}", human(limit)), "", Duration::ZERO, limit);
    }
    let begin_with = plan.start.iter().filter(|start| start.stays_down.is_none());
    begin_with.for_each(|start| start_row(&mut out, plan, start));
    for (asked, section, timeline, in_oneshot) in [
        (true, "Stop signal", &plan.after_signal, &plan.signal_in_oneshot),
        (false, "Unexpected<br>end", &plan.after_end, &plan.end_in_oneshot),
    ] {
        let _ = writeln!(out, "    section {section}");
        steps(&mut out, plan, timeline, asked);
        if let Some(InOneshot { name, timeline }) = in_oneshot {
            let total = human(timeline.total);
            let end = timeline.total;
            row(&mut out, &format!("{total} while {name} runs"), "milestone, ", end, end);
        }
        let reserve = format!("reserve {}", human(plan.reserve));
        row(&mut out, &reserve, "done, ", plan.window(), plan.grace_period);
    }
    out
}

fn start_row(out: &mut String, plan: &Plan<'_>, start: &PlannedStart<'_>) {
    let name = &start.process.name;
    let first = plan.pre_start.unwrap_or_default();
    match start.begins_by.zip(start.ready_by) {
        Some((begins, by)) => row(out, &format!("start {name} by {}", human(by)), "", begins, by),
        None => row(out, &format!("start {name} at any time"), "milestone, ", first, first),
    }
}

/// Draws a step that gets less than declared as `crit`, which is red, a drain as `active`, and a
/// step that is not on the critical path as `done`, which is grey.
fn steps(out: &mut String, plan: &Plan<'_>, timeline: &Timeline, asked: bool) {
    let shown = timeline.steps.iter().enumerate().filter(|(_, step)| is_shown(step));
    for (place, step) in shown {
        let (wish, declared) = plan.wish(step, asked);
        let (cut, of) = match declared && step.takes() < wish {
            true => ("crit, ", format!(" of {}", human(wish))),
            false => ("", String::new()),
        };
        let tag = match (step.kind, timeline.is_critical(place)) {
            (_, false) => "done, ",
            (StepKind::Drain, true) => "active, ",
            (_, true) => "",
        };
        let label = format!("{} {}{of}", plan.label(step), human(step.takes()));
        let ends = step.begins + step.takes();
        row(out, &label, &format!("{cut}{tag}"), step.begins.0, ends.0);
    }
}

fn row(out: &mut String, label: &str, tags: &str, from: Duration, to: Duration) {
    let (from, to) = (from.as_millis(), to.as_millis());
    let _ = writeln!(out, "    {} :{tags}{from}, {to}", plain(label));
}

/// A text without the characters that end a text of Mermaid.
fn plain(text: &str) -> String {
    text.replace(|c: char| c.is_control() || matches!(c, '#' | ':' | ';'), " ")
}
