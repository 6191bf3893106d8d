//! The charts of a plan.

use crate::drawing::{Bar, BarKind, BarLook, Chart, Row};
use crate::plan::text::is_shown;
use crate::plan::timeline::{StepKind, Timeline};
use crate::plan::{InOneshot, Plan};
use crate::types::human;

/// Draws the start and two shutdowns: the longest after a stop signal, and the longest after a
/// process has ended by itself. `name` is the name of the config.
pub fn svg(plan: &Plan<'_>, name: &str) -> String {
    let cases = [
        (true, "Shutdown after a stop signal", &plan.after_signal, &plan.signal_in_oneshot),
        (
            false,
            "Shutdown after a process ends unexpectedly",
            &plan.after_end,
            &plan.end_in_oneshot,
        ),
    ];
    let shutdowns = cases.map(|(asked, title, timeline, in_oneshot)| {
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
    let charts: Vec<_> = [start(plan, name)].into_iter().chain(shutdowns).collect();
    crate::drawing::svg(&format!("{name}: the start, and the longest shutdown"), &charts)
}

/// The start, if each process takes as long as its readiness allows.
fn start(plan: &Plan<'_>, name: &str) -> Chart {
    let at_first = plan.pre_start.unwrap_or_default();
    let ready_by = |name: &str| {
        let found = plan.start.iter().find(|start| start.process.name == name);
        found.and_then(|start| start.ready_by)
    };
    let starts = plan.start.iter().filter(|start| !start.left_out && start.stays_down.is_none());
    let rows = starts.map(|start| {
        let mut needs = start.process.depends_on.iter().map(|on| ready_by(&on.process));
        let begins = needs.try_fold(at_first, |all, one| Some(all.max(one?)));
        let bar = begins.zip(start.ready_by).map(|(begins, by)| Bar {
            from: begins.as_secs_f64(),
            to: by.max(begins).as_secs_f64(),
            kind: BarKind::Start,
            look: BarLook::Plain,
        });
        Row {
            label: start.process.name.clone(),
            times: start
                .ready_by
                .map_or_else(|| "any time".to_owned(), |by| format!("by {}", human(by))),
            bars: bar.into_iter().collect(),
        }
    });
    let hook = plan.pre_start.map(|limit| Row {
        label: "pre_start".to_owned(),
        times: format!("by {}", human(limit)),
        bars: vec![Bar {
            from: 0.0,
            to: limit.as_secs_f64(),
            kind: BarKind::Wait,
            look: BarLook::Plain,
        }],
    });
    let last = plan.start.iter().filter_map(|start| start.ready_by).max().unwrap_or_default();
    Chart {
        title: format!("Start of {name}"),
        text: match plan.ready_by() {
            Some(by) if by.is_zero() => "everything is ready at once".to_owned(),
            Some(by) => format!("everything is ready after {} at the latest", human(by)),
            None => "no latest time: a oneshot may take any time".to_owned(),
        },
        span: (0.0, last.as_secs_f64().max(0.01)),
        reserve: None,
        rows: hook.into_iter().chain(rows).collect(),
    }
}

/// The kind of a step, for its colour.
fn kind(step: StepKind) -> BarKind {
    match step {
        StepKind::Drain | StepKind::Close | StepKind::Count => BarKind::Drain,
        StepKind::Stop | StepKind::Leftovers => BarKind::Stop,
        StepKind::ReadinessDelay | StepKind::PreStop | StepKind::PostStop => BarKind::Wait,
    }
}

fn chart(plan: &Plan<'_>, timeline: &Timeline, asked: bool, title: String, text: String) -> Chart {
    let grace_period = plan.grace_period.as_secs_f64();
    let last = grace_period.max(timeline.total.as_secs_f64()).max(f64::MIN_POSITIVE);
    let shown = timeline.steps.iter().enumerate().filter(|(_, step)| is_shown(step));
    let rows = shown.map(|(place, step)| {
        let (wish, declared) = plan.wish(step, asked);
        let is_cut = declared && step.takes() < wish;
        let look = match (is_cut, timeline.is_critical(place)) {
            (true, _) => BarLook::Cut,
            (false, true) => BarLook::Plain,
            (false, false) => BarLook::Aside,
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
                kind: kind(step.kind),
                look,
            }],
        }
    });
    Chart {
        title,
        text,
        span: (0.0, last),
        reserve: Some((plan.window().as_secs_f64(), grace_period)),
        rows: rows.collect(),
    }
}
