//! The members of a log line in JSON, for programs that watch drainit.
//!
//! An event holds only names of the config, numbers and fixed words. The value of a variable or an
//! argument never gets into an event. `docs/events.md` lists the events, and a test compares this
//! list with the code.

use core::time::Duration;

use serde::Serialize;

use crate::prelude::*;
use drainit_core::types::{as_some_seconds, escape_json};

/// One event. Fields without a value are not written.
#[derive(Clone, Debug, Default, Serialize)]
pub struct LogEvent {
    pub event: &'static str,
    /// The name of the process. The field is written as `name`, because the field `process` of
    /// every line of drainit is `drainit`.
    #[serde(rename = "name", skip_serializing_if = "Option::is_none")]
    pub process: Option<String>,
    /// The PID of the last instance that was started.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pid: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hook: Option<&'static str>,
    /// The dependency whose restart makes this process restart, too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dependency: Option<String>,
    /// `stop`, `start` or `restart`; for a changed file also `reload`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request: Option<&'static str>,
    /// The exit code as a shell reports it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<u8>,
    /// The signal that was sent, or that ended the process.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signal: Option<String>,
    /// The reason in one word.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<&'static str>,
    /// The reason in a sentence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    /// The consequence of an end or a failure.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<&'static str>,
    /// The place of the next restart among consecutive restarts, or the number of consecutive
    /// failed probes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attempt: Option<u32>,
    /// The number of consecutive failed probes after which the check fails.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retries: Option<u32>,
    /// The duration of what the event reports, such as a start, a drain or a stop.
    #[serde(skip_serializing_if = "Option::is_none", with = "as_some_seconds")]
    pub seconds: Option<Duration>,
    /// The shortest time that the announced wait will take.
    #[serde(skip_serializing_if = "Option::is_none", with = "as_some_seconds")]
    pub min_seconds: Option<Duration>,
    /// The longest time that the announced wait can take.
    #[serde(skip_serializing_if = "Option::is_none", with = "as_some_seconds")]
    pub max_seconds: Option<Duration>,
    /// The connections that were open at the time of an event about a drain.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connections: Option<u64>,
    /// The requests that were in flight at the time of an event about a drain.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests: Option<u64>,
    /// How many of the `requests` may be in flight, but perhaps are not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unsure: Option<u64>,
}

impl LogEvent {
    /// The members of a JSON object, without its braces.
    pub fn members(&self) -> String {
        // Strings and numbers can always be serialised.
        let object = serde_json::to_string(self).unwrap_or_default();
        let object = escape_json(&object);
        object.trim_start_matches('{').trim_end_matches('}').to_owned()
    }
}

/// The event of a reload that was refused before drainit-core got it. The event has only the last
/// line of `why`, because the other lines may hold text of the config.
pub fn reload_failed(why: &str) -> LogEvent {
    let cause = why.lines().last().map(str::to_owned);
    LogEvent { event: "reload_failed", cause, ..LogEvent::default() }
}

/// The last event, which says that drainit exits with this code. `took` is the time since the
/// shutdown began.
pub fn exit(exit_code: u8, took: Option<Duration>) -> LogEvent {
    LogEvent { event: "exit", exit_code: Some(exit_code), seconds: took, ..LogEvent::default() }
}
