//! The charts of a report of a past shutdown.

use std::time::Duration;

use crate::drawing::{Bar, BarKind, BarLook, Chart, Row};
use crate::journal::data::{ShutdownReport, StepData};
use crate::types::{harmless, human};

/// A step counts as late if it takes longer than planned by more than this number of seconds. The
/// plan does not include the time that drainit itself needs.
const TOLERANCE: f64 = 0.1;

/// Draws the start, and the real times of the shutdown over the planned times.
pub fn svg(report: &ShutdownReport) -> String {
    crate::drawing::svg("A shutdown, and its plan", &[start(report), shutdown(report)])
}

/// The start of the container, with the processes in file order.
fn start(report: &ShutdownReport) -> Chart {
    let rows = report.processes.iter().filter_map(|process| {
        let (started, ready) = (process.started?, process.ready);
        let bar = Bar {
            from: started,
            to: ready.unwrap_or(started).max(started),
            kind: BarKind::Start,
            look: BarLook::Plain,
        };
        Some(Row {
            label: harmless(&process.name).into_owned(),
            times: ready.map_or_else(|| "not ready".to_owned(), |ready| time(ready - started)),
            bars: vec![bar],
        })
    });
    let rows: Vec<_> = rows.collect();
    let last = rows.iter().flat_map(|row| &row.bars).fold(0.01, |last: f64, bar| last.max(bar.to));
    Chart {
        title: match report.start.ready {
            Some(ready) => format!("Started in {}", time(ready)),
            None => "Never ready".to_owned(),
        },
        text: format!("from {}, drainit {}", harmless(&report.started), harmless(&report.drainit)),
        span: (0.0, last),
        reserve: None,
        rows,
    }
}

fn shutdown(report: &ShutdownReport) -> Chart {
    let rows: Vec<_> =
        report.steps.iter().filter(|step| is_shown(step)).map(|step| row(report, step)).collect();
    // A drain that an operator requested may have begun before the shutdown, at a negative time.
    let (mut first, mut last) = (0.0_f64, report.grace_period.max(report.took).max(0.001));
    for bar in rows.iter().flat_map(|row| &row.bars) {
        (first, last) = (first.min(bar.from), last.max(bar.to));
    }
    Chart {
        title: summary(report),
        text: format!(
            "T0 {}, drainit {}; the deadline is at {}: grace_period {} less reserve {}",
            harmless(&report.t0),
            harmless(&report.drainit),
            time(report.deadline),
            time(report.grace_period),
            time(report.grace_period - report.deadline)
        ),
        span: (first, last),
        reserve: Some((report.deadline, report.grace_period)),
        rows,
    }
}

fn is_shown(step: &StepData) -> bool {
    let takes = |from: f64, to: f64| to - from >= 0.001;
    let is_long = match (step.begins, step.ends) {
        (Some(begins), Some(ends)) => takes(begins, ends),
        (begins, _) => begins.is_some(),
    };
    is_long || step.step == "drain" || step.step == "stop"
}

fn row(report: &ShutdownReport, step: &StepData) -> Row {
    let process = step.process.as_ref();
    let process = process.and_then(|name| report.processes.iter().find(|p| p.name == *name));
    let stop = process.and_then(|process| process.stop.as_ref());
    let is_killed = step.step == "stop" && stop.is_some_and(|stop| stop.killed);
    let real = step.begins.map(|begins| (begins, step.ends.unwrap_or(report.took).max(begins)));
    let planned = step.planned.map(|planned| (planned.begins, planned.ends.max(planned.begins)));
    let takes = |(begins, ends): (f64, f64)| ends - begins;
    let (took, most) = (real.map(takes).map(time), planned.map(takes).map(time));
    let kind = match &*step.step {
        "drain" | "close" | "count" => BarKind::Drain,
        "stop" | "leftovers" => BarKind::Stop,
        _ => BarKind::Wait,
    };
    // For a hook, the plan shows only the time that is kept free for it. A hook may take longer if
    // nothing else needs the time, so a hook never counts as late.
    let is_late = kind != BarKind::Wait
        && real.map(takes).unwrap_or_default() > planned.map_or(f64::MAX, takes) + TOLERANCE;
    let look = match (is_killed, is_late) {
        (true, _) => BarLook::Killed,
        (false, true) => BarLook::Late,
        (false, false) => BarLook::Plain,
    };
    let bar = |look| move |(from, to)| Bar { from, to, kind, look };
    Row {
        label: harmless(&step.name).into_owned(),
        times: match (took, most) {
            (Some(took), Some(most)) => format!("{took} of {most}"),
            (Some(took), None) => took,
            (None, Some(most)) => format!("- of {most}"),
            (None, None) => "-".to_owned(),
        },
        bars: planned.map(bar(BarLook::Planned)).into_iter().chain(real.map(bar(look))).collect(),
    }
}

/// The first line of the report, as the log has it.
fn summary(report: &ShutdownReport) -> String {
    format!(
        "Stopped in {} of {}, exit code {}: {}",
        time(report.took),
        time(report.deadline),
        report.exit_code,
        harmless(&report.cause.text)
    )
}

/// A number of seconds as text for people. A number that a `Duration` cannot hold becomes 0.
fn time(seconds: f64) -> String {
    human(Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or_default())
}
