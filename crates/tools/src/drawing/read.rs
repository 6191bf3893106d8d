//! Reads a report that drainit has written: the file of `shutdown.report`, or a log in JSON, of
//! which one of the last lines has it. The input may be anything.

use serde_json::Value;

use crate::report::data::{ShutdownReport, VERSION};
use crate::types::harmless;

/// No time of a report is longer: three years.
const LONGEST: f64 = 1e8;
/// A member that each line of a log with a report has.
const MEMBER: &str = "\"report\":";

/// Finds the last report in a text.
///
/// # Errors
/// Says why there is no report in it, and how to get one.
pub fn find(text: &str) -> Result<ShutdownReport, String> {
    // A log may put something before each line: the name of the container, or a time.
    let lines = text.lines().rev().filter(|line| line.contains(MEMBER));
    for line in lines {
        let json = line.find('{').map(|at| &line[at..]).unwrap_or_default();
        if let Ok(mut line) = serde_json::from_str::<Value>(json)
            && let Some(report) = line.get_mut("report")
        {
            return checked(report.take());
        }
    }
    match serde_json::from_str::<Value>(text) {
        // Such a line that somebody has made readable.
        Ok(mut value) => match value.get_mut("report") {
            Some(report) => checked(report.take()),
            None => checked(value),
        },
        Err(error) if text.trim_start().starts_with('{') && !text.contains("\n{") => {
            Err(format!("no JSON: {}", harmless(&error.to_string())))
        }
        Err(_) => {
            Err("there is no report: it takes the file of `shutdown: {report: FILE}`, or a log \
                       with `logging: {format: json}` to its last line"
                .to_owned())
        }
    }
}

fn checked(value: Value) -> Result<ShutdownReport, String> {
    match value.get("version").map(Value::as_u64) {
        Some(Some(version)) if version == u64::from(VERSION) => {}
        Some(Some(version)) => {
            return Err(format!(
                "the report has version {version}, and this drainit reads version {VERSION}: use the \
                 drainit that wrote it"
            ));
        }
        Some(None) | None => return Err("not a report of drainit: it has no `version`".to_owned()),
    }
    let report: ShutdownReport = serde_json::from_value(value)
        .map_err(|error| format!("not a report of drainit: {}", harmless(&error.to_string())))?;
    let strange = times(&report).find(|time| !(-LONGEST..=LONGEST).contains(time));
    match strange {
        Some(time) => Err(format!("not a report of drainit: {time:e} is not a time in seconds")),
        None => Ok(report),
    }
}

/// Every time that is drawn.
fn times(report: &ShutdownReport) -> impl Iterator<Item = f64> {
    let steps = report.steps.iter().flat_map(|step| {
        let planned = step.planned.map(|planned| [planned.begins, planned.ends]);
        [step.begins, step.ends].into_iter().flatten().chain(planned.into_iter().flatten())
    });
    let processes = report.processes.iter().flat_map(|process| {
        let drain = process.drain.as_ref().and_then(|drain| drain.counted_before_end);
        [process.started, process.ready, process.ready_within, drain].into_iter().flatten()
    });
    let chain = report.start.chain.iter().map(|link| link.takes);
    let whole = [report.took, report.deadline, report.grace_period];
    let phases = report.phases.iter().flat_map(|phase| [phase.begins, phase.ends]);
    let start = report.start.ready;
    steps.chain(processes).chain(chain).chain(whole).chain(phases).chain(start)
}
