//! The plan as JSON. Times are seconds.

use serde::Serialize;

use crate::config::StartCondition;
use crate::plan;
use crate::plan::Plan;
use crate::plan::timeline::Timeline;
use crate::types::seconds;

#[derive(Serialize)]
struct Whole<'a> {
    start: Start<'a>,
    shutdown: Shutdown<'a>,
}

#[derive(Serialize)]
struct Start<'a> {
    /// Null if there is no latest time.
    ready_by: Option<f64>,
    /// Null if there is no such hook.
    pre_start: Option<f64>,
    processes: Vec<Process<'a>>,
}

#[derive(Serialize)]
struct Process<'a> {
    name: &'a str,
    r#type: &'static str,
    waits_for: Vec<Need<'a>>,
    only_if_path_exists: Option<&'a str>,
    left_out: bool,
    pre_start: Option<f64>,
    readiness: Option<&'static str>,
    ready_within: Option<f64>,
    ready_by: Option<f64>,
}

#[derive(Serialize)]
struct Need<'a> {
    process: &'a str,
    condition: &'static str,
}

#[derive(Serialize)]
struct Shutdown<'a> {
    grace_period: f64,
    reserve: f64,
    deadline: f64,
    after_signal: Case<'a>,
    after_unasked_end: Case<'a>,
}

#[derive(Serialize)]
struct Case<'a> {
    total: f64,
    fits: bool,
    critical_path: Vec<String>,
    steps: Vec<Step<'a>>,
    /// Null unless a oneshot that still runs makes it longer.
    in_oneshot: Option<InOneshot<'a>>,
}

#[derive(Serialize)]
struct InOneshot<'a> {
    process: &'a str,
    total: f64,
    critical_path: Vec<String>,
}

#[derive(Serialize)]
struct Step<'a> {
    name: String,
    step: &'static str,
    /// Null for a step of the container.
    process: Option<&'a str>,
    begins: f64,
    ends: f64,
    takes: f64,
    wanted: f64,
    declared: bool,
    cut: bool,
    critical: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    min: Option<f64>,
}

#[must_use]
pub fn json(plan: &Plan<'_>) -> String {
    let processes = plan.start.iter().map(|start| Process {
        name: start.name,
        r#type: if start.is_oneshot { "oneshot" } else { "service" },
        waits_for: start
            .waits_for
            .iter()
            .map(|(process, condition)| need(&process.name, *condition))
            .collect(),
        only_if_path_exists: start.only_if.as_deref(),
        left_out: start.left_out,
        pre_start: start.pre_start.map(seconds),
        readiness: start.probe,
        ready_within: start.ready_within.map(seconds),
        ready_by: start.ready_by.map(seconds),
    });
    let whole = Whole {
        start: Start {
            ready_by: plan.ready_by().map(seconds),
            pre_start: plan.pre_start.map(seconds),
            processes: processes.collect(),
        },
        shutdown: Shutdown {
            grace_period: seconds(plan.grace_period),
            reserve: seconds(plan.reserve),
            deadline: seconds(plan.window()),
            after_signal: case(plan, &plan.after_signal, true, plan.signal_in_oneshot.as_ref()),
            after_unasked_end: case(plan, &plan.after_end, false, plan.end_in_oneshot.as_ref()),
        },
    };
    // No type here can fail to be serialised.
    serde_json::to_string_pretty(&whole).unwrap_or_default()
}

fn need(process: &str, condition: StartCondition) -> Need<'_> {
    let condition = match condition {
        StartCondition::Started => "started",
        StartCondition::Ready => "ready",
        StartCondition::Completed => "completed",
    };
    Need { process, condition }
}

fn case<'a>(
    plan: &Plan<'a>,
    timeline: &Timeline,
    asked: bool,
    in_oneshot: Option<&plan::InOneshot<'a>>,
) -> Case<'a> {
    let path = |timeline: &Timeline| {
        timeline.critical_steps().map(|step| plan.label(step)).collect::<Vec<_>>()
    };
    let steps = timeline.steps.iter().enumerate().map(|(place, step)| {
        let (wanted, declared) = plan.wish(step, asked);
        Step {
            name: plan.label(step),
            step: step.kind.name(),
            process: step.process.and_then(|id| plan.names.get(id.index()).copied()),
            begins: seconds(step.begins),
            ends: seconds(step.ends()),
            takes: seconds(step.takes),
            wanted: seconds(wanted),
            declared,
            cut: declared && step.takes < wanted,
            critical: timeline.is_critical(place),
            min: plan.min(step).map(seconds),
        }
    });
    Case {
        total: seconds(timeline.total),
        fits: plan.cuts(timeline, asked).next().is_none(),
        critical_path: path(timeline),
        steps: steps.collect(),
        in_oneshot: in_oneshot.map(|it| InOneshot {
            process: it.name,
            total: seconds(it.timeline.total),
            critical_path: path(&it.timeline),
        }),
    }
}
