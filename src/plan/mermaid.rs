//! The shutdown of a plan as a Mermaid Gantt chart, for Markdown.

use std::fmt::Write as _;

use crate::plan::Plan;
use crate::plan::text::is_shown;
use crate::types::human;

/// Times are milliseconds since T0, which Mermaid takes for dates in 1970.
#[must_use]
pub fn mermaid(plan: &Plan<'_>) -> String {
    let mut out = format!(
        "gantt\n    title Shutdown within {} less {}\n    dateFormat x\n    axisFormat %M:%S\n    todayMarker off\n",
        human(plan.grace_period),
        human(plan.reserve)
    );
    let (window, grace) = (plan.window().as_millis(), plan.grace_period.as_millis());
    for (what, timeline) in
        [("a stop signal", &plan.after_signal), ("an unasked end", &plan.after_end)]
    {
        let _ = writeln!(out, "    section After {what}");
        for (place, step) in timeline.steps.iter().enumerate().filter(|(_, step)| is_shown(step)) {
            let tag = if timeline.is_critical(place) { "crit, " } else { "" };
            let (begins, ends) = (step.begins.as_millis(), step.ends().as_millis());
            let (label, takes) = (plan.label(step), human(step.takes));
            let _ = writeln!(out, "    {label} {takes} :{tag}{begins}, {ends}");
        }
        let _ = writeln!(out, "    reserve :done, {window}, {grace}");
    }
    out
}
