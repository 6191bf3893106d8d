//! The rows of a drawn report and the remarks below them, for the text and for the picture.

use std::time::Duration;

use crate::report::data::{DrainData, ProcessData, ShutdownReport, StepData};
use crate::types::{harmless, human};

/// A real time above its plan by no more than this is not an excess: the plan knows no overhead.
const TOLERANCE: f64 = 0.1;

/// A step with its bars, in seconds since T0.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Row {
    pub(crate) label: String,
    /// `1.2s of 5s`: the real time, and the longest that was planned.
    pub(crate) times: String,
    pub(crate) real: Option<(f64, f64)>,
    pub(crate) planned: Option<(f64, f64)>,
    pub(crate) mark: Mark,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mark {
    Normal,
    /// It took longer than planned.
    Late,
    /// The process was killed.
    Killed,
}

/// The rows of the shutdown: drains, stops, and the other steps that took time.
pub(crate) fn rows(report: &ShutdownReport) -> Vec<Row> {
    report.steps.iter().filter(|step| is_shown(step)).map(|step| row(report, step)).collect()
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
    Row {
        label: harmless(&step.name).into_owned(),
        times: match (took, most) {
            (Some(took), Some(most)) => format!("{took} of {most}"),
            (Some(took), None) => took,
            (None, Some(most)) => format!("- of {most}"),
            (None, None) => "-".to_owned(),
        },
        real,
        planned,
        mark: match (is_killed, is_late) {
            (true, _) => Mark::Killed,
            (false, true) => Mark::Late,
            (false, false) => Mark::Normal,
        },
    }
}

/// The first and the last moment of the shutdown's bars. A drain that was requested began before
/// T0.
pub(crate) fn span(report: &ShutdownReport, rows: &[Row]) -> (f64, f64) {
    let bars = rows.iter().flat_map(|row| [row.real, row.planned]).flatten();
    let (mut first, mut last) = (0.0_f64, report.grace_period.max(report.took).max(0.001));
    for (begins, ends) in bars {
        (first, last) = (first.min(begins), last.max(ends));
    }
    (first, last)
}

/// The text of the first line of the report in the log.
pub(crate) fn summary(report: &ShutdownReport) -> String {
    format!(
        "Stopped in {} of {}, exit code {}: {}",
        time(report.took),
        time(report.deadline),
        report.exit_code,
        harmless(&report.cause.text)
    )
}

/// A line for each remark about a process, and the warnings.
pub(crate) fn remarks(report: &ShutdownReport) -> Vec<String> {
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

/// The critical chain of the start: `engine 1.1s → router 1.7s`.
pub(crate) fn chain(report: &ShutdownReport) -> impl Iterator<Item = String> {
    let links = report.start.chain.iter();
    links.map(|link| format!("{} {}", harmless(&link.name), time(link.takes)))
}

/// Seconds for people. Those of a report that was read are bounded.
pub(crate) fn time(seconds: f64) -> String {
    human(Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or_default())
}
