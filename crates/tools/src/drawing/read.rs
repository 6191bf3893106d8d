//! Reads a report that drainit has written: the file of `shutdown.report`, or a log in JSON, with
//! the report in one of the last lines. The input is not trusted.

use serde_json::Value;

use crate::report::data::{ShutdownReport, VERSION};
use crate::types::harmless;

/// The start of the JSON member that holds the report in a line of a log.
const MEMBER: &str = "\"report\":";

/// Finds the last report in a text.
///
/// # Errors
/// Says why there is no report in the text, and how to get one.
pub fn find(text: &str) -> Result<ShutdownReport, String> {
    // Log tools may put a prefix before each line: the name of the container, or a time.
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
        // This also accepts a line of a log that a tool has spread over several lines.
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
