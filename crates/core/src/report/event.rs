//! The members of a log line in JSON, for programs that watch drainit.
//!
//! An event holds only names of the config, numbers and fixed words, so no value of a variable or
//! an argument gets into it. `docs/events.md` lists the events, and a test compares both.

use core::time::Duration;

use serde::Serialize;

use crate::prelude::*;
use crate::types::serialize_some_seconds;

/// One event. A field without a value is left out.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Event {
    pub event: &'static str,
    /// The name of the process. It is called `name`, because the `process` of every line is
    /// `drainit`.
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
    /// The consequence of an end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<&'static str>,
    /// The number of consecutive restarts, including the next one, or of consecutive failed probes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attempt: Option<u32>,
    /// The number of consecutive failed probes after which the check fails.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retries: Option<u32>,
    /// The time that the noted step has taken.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "serialize_some_seconds")]
    pub seconds: Option<Duration>,
    /// The shortest time that the noted wait will take.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "serialize_some_seconds")]
    pub min_seconds: Option<Duration>,
    /// The longest time that the noted wait may take.
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
        // Strings and numbers can always be serialised.
        let object = serde_json::to_string(self).unwrap_or_default();
        object.trim_start_matches('{').trim_end_matches('}').to_owned()
    }
}

/// The event of a reload that was refused before the core got it. It has only the last line of
/// `why`: the other lines may hold text of the config.
pub fn reload_failed(why: &str) -> Event {
    let cause = why.lines().last().map(str::to_owned);
    Event { event: "reload_failed", cause, ..Event::default() }
}

/// The last event: drainit exits with this code. `took` is the time since T0.
pub fn exit(exit_code: u8, took: Option<Duration>) -> Event {
    Event { event: "exit", exit_code: Some(exit_code), seconds: took, ..Event::default() }
}
