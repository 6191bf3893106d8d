//! The members of a log line in JSON, for programs that follow what drainit does.
//!
//! An event holds only names of the config, numbers and fixed words, so no value of a variable or
//! an argument gets into it. `docs/events.md` lists them; a test compares.

use core::time::Duration;

use serde::Serialize;

use crate::prelude::*;
use crate::types::serialize_some_seconds;

/// One event. A field is left out where the event has no such fact.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Event {
    pub event: &'static str,
    /// The `process` of every line of drainit is `drainit`.
    #[serde(rename = "name", skip_serializing_if = "Option::is_none")]
    pub process: Option<String>,
    /// The PID of the instance that was started last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pid: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hook: Option<&'static str>,
    /// The dependency that a process follows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dependency: Option<String>,
    /// `stop`, `start` or `restart`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request: Option<&'static str>,
    /// As a shell reports it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<u8>,
    /// The signal that was sent, or that ended the process.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signal: Option<String>,
    /// Why, in one word.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<&'static str>,
    /// Why, in a sentence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    /// The consequence of an end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<&'static str>,
    /// Consecutive restarts, with the one that follows; consecutive failures of a probe.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attempt: Option<u32>,
    /// The number of consecutive failures that are too many.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retries: Option<u32>,
    /// The time that what is over has taken.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "serialize_some_seconds")]
    pub seconds: Option<Duration>,
    /// The shortest time that what begins will take.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "serialize_some_seconds")]
    pub min_seconds: Option<Duration>,
    /// The longest time that what begins may take.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "serialize_some_seconds")]
    pub max_seconds: Option<Duration>,
    /// Open connections at the end of a drain.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connections: Option<u64>,
    /// Requests in flight at the end of a drain.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests: Option<u64>,
}

impl Event {
    /// The members of a JSON object, without its braces.
    pub fn members(&self) -> String {
        // Strings and numbers can always be written.
        let object = serde_json::to_string(self).unwrap_or_default();
        object.trim_start_matches('{').trim_end_matches('}').to_owned()
    }
}

/// The event of a reload that was refused before the core heard of it. Only the last line of `why`:
/// others may hold text of the config.
pub fn reload_failed(why: &str) -> Event {
    let cause = why.lines().last().map(str::to_owned);
    Event { event: "reload_failed", cause, ..Event::default() }
}

/// The last event: drainit exits with this code, so long after T0.
pub fn exit(exit_code: u8, took: Option<Duration>) -> Event {
    Event { event: "exit", exit_code: Some(exit_code), seconds: took, ..Event::default() }
}
