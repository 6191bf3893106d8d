//! The plan as JSON. Times are in seconds; a time that has no limit is null.

use serde_json::{Value, json};

use crate::plan::timeline::{ShutdownStep, Timeline};
use crate::plan::{InOneshot, Plan, PlannedStart};
use crate::types::{escape_json, seconds};

pub fn json(plan: &Plan<'_>) -> String {
    let shutdown = json!({
        "grace_period": seconds(plan.grace_period),
        "reserve": seconds(plan.reserve),
        "deadline": seconds(plan.window()),
        "after_signal": case(plan, &plan.after_signal, true, plan.signal_in_oneshot.as_ref()),
        "after_unasked_end": case(plan, &plan.after_end, false, plan.end_in_oneshot.as_ref()),
    });
    let start = json!({
        "ready_by": plan.ready_by().map(seconds),
        "pre_start": plan.pre_start.map(seconds),
        "processes": plan.start.iter().map(process).collect::<Vec<_>>(),
    });
    let plan = json!({"start": start, "shutdown": shutdown});
    escape_json(&format!("{plan:#}")).into_owned()
}

fn process(start: &PlannedStart<'_>) -> Value {
    let PlannedStart { process, .. } = start;
    let needs = process.depends_on.iter();
    let needs = needs.map(|on| json!({"process": on.process, "condition": on.condition.name()}));
    let readiness = process.readiness.as_ref();
    json!({
        "name": process.name,
        "type": process.kind.name(),
        "waits_for": needs.collect::<Vec<_>>(),
        "only_if_path_exists": start.only_if(),
        "left_out": start.left_out,
        "pre_start": start.pre_start.map(seconds),
        "readiness": readiness.map(|readiness| readiness.probe.key()),
        "ready_within": readiness.map(|readiness| seconds(readiness.timeout)),
        "ready_by": start.ready_by.map(seconds),
    })
}

/// The longest shutdown when no oneshot runs: after a stop signal (`asked`), or after the end of a
/// process. `in_oneshot` is set if a shutdown during a oneshot takes longer.
fn case(
    plan: &Plan<'_>,
    timeline: &Timeline,
    asked: bool,
    in_oneshot: Option<&InOneshot<'_>>,
) -> Value {
    let path = |timeline: &Timeline| -> Vec<_> {
        timeline.critical_steps().map(|step| plan.label(step)).collect()
    };
    let steps = timeline.steps.iter().enumerate();
    let steps = steps.map(|(at, each)| step(plan, each, asked, timeline.is_critical(at)));
    json!({
        "total": seconds(timeline.total),
        "fits": plan.cuts(timeline, asked).next().is_none(),
        "critical_path": path(timeline),
        "steps": steps.collect::<Vec<_>>(),
        "in_oneshot": in_oneshot.map(|it| json!({
            "process": it.name,
            "total": seconds(it.timeline.total),
            "critical_path": path(&it.timeline),
        })),
    })
}

/// One step of a shutdown. `process` is null for a step of the container, and only a drain has
/// `min`.
fn step(plan: &Plan<'_>, step: &ShutdownStep, asked: bool, is_critical: bool) -> Value {
    let (wanted, declared) = plan.wish(step, asked);
    let mut value = json!({
        "name": plan.label(step),
        "step": step.kind.name(),
        "process": step.process.and_then(|id| plan.names.get(id.index())),
        "begins": seconds(step.begins.0),
        "ends": seconds((step.begins + step.takes()).0),
        "takes": seconds(step.takes()),
        "wanted": seconds(wanted),
        "declared": declared,
        "cut": declared && step.takes() < wanted,
        "critical": is_critical,
    });
    if let Some(min) = plan.min(step) {
        value["min"] = json!(seconds(min));
    }
    value
}
