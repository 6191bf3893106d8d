//! Reads a report that drainit has written. The input is the file of `shutdown.report`, or a log in
//! JSON, which has the report in one of its last lines. The reader does not trust the input.

use serde_json::Value;

use crate::journal::data::{ShutdownReport, VERSION};
use crate::types::harmless;

/// The key of the report in JSON. A line of a log without this text has no report.
const MEMBER: &str = "\"report\":";

/// Finds the last report in a text.
///
/// # Errors
/// Says why the text has no report, and how to get one.
pub fn find(text: &str) -> Result<ShutdownReport, String> {
    // Tools for logs may write a prefix before each line, such as the container's name or a time.
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
        // A tool may have spread one line of a log over several lines.
        Ok(mut value) => match value.get_mut("report") {
            Some(report) => checked(report.take()),
            None => checked(value),
        },
        Err(error) if text.trim_start().starts_with('{') && !text.contains("\n{") => {
            Err(format!("not JSON: {}", harmless(&error.to_string())))
        }
        Err(_) => {
            Err("it has no report: pass the file of `shutdown: {report: FILE}`, or a log with \
                 `logging: {format: json}` up to its last line"
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
    serde_json::from_value(value)
        .map_err(|error| format!("not a report of drainit: {}", harmless(&error.to_string())))
}
