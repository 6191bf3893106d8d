//! The charts of the report of a shutdown that has happened.

use std::time::Duration;

use crate::drawing::{Bar, Chart, Look, Row};
use crate::report::data::{DrainData, ProcessData, ShutdownReport, StepData};
use crate::types::{harmless, human};

/// A real time above its plan by no more than this is not an excess: the plan knows no overhead.
const TOLERANCE: f64 = 0.1;

/// Draws the start, and what happened in the shutdown over what was planned.
#[must_use]
pub fn svg(report: &ShutdownReport) -> String {
    crate::drawing::svg("A shutdown, and its plan", &[start(report), shutdown(report)])
}

fn start(report: &ShutdownReport) -> Chart {
    let processes = &report.processes;
    let rows = processes.iter().filter_map(|process| {
        let started = process.started?;
        let (from, to) = (started, process.ready.unwrap_or(started));
        Some(Row {
            label: harmless(&process.name).into_owned(),
            times: process.ready.map_or("not ready".to_owned(), |ready| time(ready - started)),
            bars: vec![Bar { from, to, look: Look::Good }],
        })
    });
    let moments = processes.iter().flat_map(|one| [one.started, one.ready]).flatten();
    Chart {
        title: "Start".to_owned(),
        text: match report.start.ready {
            Some(ready) => format!("everything was ready after {}", time(ready)),
            None => "not everything was ready".to_owned(),
        },
        span: (0.0, moments.chain(report.start.ready).fold(0.001, f64::max)),
        reserve: None,
        rows: rows.collect(),
        remarks: Vec::new(),
    }
}

fn shutdown(report: &ShutdownReport) -> Chart {
    let rows: Vec<_> =
        report.steps.iter().filter(|step| is_shown(step)).map(|step| row(report, step)).collect();
    // A drain that was requested began before T0.
    let (mut first, mut last) = (0.0_f64, report.grace_period.max(report.took).max(0.001));
    for bar in rows.iter().flat_map(|row| &row.bars) {
        (first, last) = (first.min(bar.from), last.max(bar.to));
    }
    Chart {
        title: summary(report),
        text: format!(
            "T0 {}, drainit {}; light: planned at most; solid: what happened, orange if late, red if killed; \
             red area: the reserve of {} after the deadline",
            harmless(&report.t0),
            harmless(&report.drainit),
            time(report.grace_period - report.deadline)
        ),
        span: (first, last),
        reserve: Some((report.deadline, report.grace_period)),
        rows,
        remarks: remarks(report),
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
    let is_late = real.map(takes).unwrap_or_default() > planned.map_or(f64::MAX, takes) + TOLERANCE;
    let (took, most) = (real.map(takes).map(time), planned.map(takes).map(time));
    let look = match (is_killed, is_late) {
        (true, _) => Look::Killed,
        (false, true) => Look::Short,
        (false, false) => Look::Good,
    };
    let bar = |look| move |(from, to)| Bar { from, to, look };
    Row {
        label: harmless(&step.name).into_owned(),
        times: match (took, most) {
            (Some(took), Some(most)) => format!("{took} of {most}"),
            (Some(took), None) => took,
            (None, Some(most)) => format!("- of {most}"),
            (None, None) => "-".to_owned(),
        },
        bars: planned.map(bar(Look::Planned)).into_iter().chain(real.map(bar(look))).collect(),
    }
}

/// The text of the first line of the report in the log.
fn summary(report: &ShutdownReport) -> String {
    format!(
        "Stopped in {} of {}, exit code {}: {}",
        time(report.took),
        time(report.deadline),
        report.exit_code,
        harmless(&report.cause.text)
    )
}

/// A line for each remark about a process, and the warnings.
fn remarks(report: &ShutdownReport) -> Vec<String> {
    let mut lines = Vec::new();
    for process in &report.processes {
        if let Some(drain) = &process.drain {
            lines.push(format!("{}: {}", process.name, drained(drain)));
        }
    }
    let mut stopped: Vec<_> = report.processes.iter().filter(|one| one.stop.is_some()).collect();
    let end = |one: &&ProcessData| one.end.as_ref().map_or(f64::MAX, |end| end.at);
    stopped.sort_by(|a, b| end(a).total_cmp(&end(b)));
    lines.extend(stopped.into_iter().filter_map(ended));
    lines.extend(report.warnings.iter().cloned());
    lines.iter().map(|line| harmless(line).into_owned()).collect()
}

fn drained(drain: &DrainData) -> String {
    let count = |count: Option<u64>| count.map_or("unknown".to_owned(), |count| count.to_string());
    let mut text = format!("drain over, {}", drain.text);
    if let Some(connections) = &drain.connections {
        let (start, end) = (count(connections.start), count(connections.end));
        text.push_str(&format!("; connections {start} at the start, {end} at the end"));
        if let Some(new) = connections.new {
            text.push_str(&format!(", {new} new"));
        }
    }
    if let Some(requests) = &drain.requests {
        let completed = count(requests.completed);
        text.push_str(&format!("; requests {completed} completed, {} cut", requests.cut));
    }
    if let Some(age) = drain.counted_before_end {
        text.push_str(&format!("; counted {} before the end", time(age)));
    }
    text
}

fn ended(process: &ProcessData) -> Option<String> {
    let killed = if process.stop.as_ref()?.killed { " (killed)" } else { "" };
    let end = process.end.as_ref().map_or("not seen to end", |end| &end.text);
    Some(format!("{}: {end}{killed}", process.name))
}

/// Seconds for people. Those of a report that was read are bounded.
fn time(seconds: f64) -> String {
    human(Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or_default())
}
