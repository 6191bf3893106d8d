//! The members of a log line in JSON, for programs that watch drainit.
//!
//! An event holds only names of the config, numbers and fixed words. The value of a variable or an
//! argument never gets into an event. `docs/events.md` lists the events, and a test compares this
//! list with the code.

use alloc::collections::BTreeSet;
use core::time::Duration;

use serde::{Serialize, Serializer};

use crate::prelude::*;
use drainit_core::types::{Signal, as_seconds, escape_json};

/// A field of an event. The fields are written in the order of the variants.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Field {
    Event(&'static str),
    /// The name of the process. The field `process` of every line of drainit is `drainit`.
    Name(String),
    /// The PID of the last instance that was started.
    Pid(i32),
    Hook(&'static str),
    /// The dependency whose restart makes this process restart, too.
    Dependency(String),
    /// `stop`, `start` or `restart`; for a changed file also `reload`.
    Request(&'static str),
    /// The exit code as a shell reports it.
    ExitCode(u8),
    /// The signal that was sent, or that ended the process.
    Signal(#[serde(serialize_with = "as_text")] Signal),
    /// The reason in one word.
    Reason(&'static str),
    /// The reason in a sentence.
    Cause(String),
    /// The consequence of an end or a failure.
    Next(&'static str),
    /// The place of the next restart among consecutive restarts, or the number of consecutive
    /// failed probes.
    Attempt(u32),
    /// The number of consecutive failed probes after which the check fails.
    Retries(u32),
    /// The duration of what the event reports, such as a start, a drain or a stop.
    Seconds(#[serde(with = "as_seconds")] Duration),
    /// The shortest time that the announced wait will take.
    MinSeconds(#[serde(with = "as_seconds")] Duration),
    /// The longest time that the announced wait can take.
    MaxSeconds(#[serde(with = "as_seconds")] Duration),
    /// The connections that were open at the time of an event about a drain.
    Connections(u64),
    /// The requests that were in flight at the time of an event about a drain.
    Requests(u64),
    /// How many of the `requests` may be in flight, but perhaps are not.
    Unsure(u64),
}

fn as_text<S: Serializer>(signal: &Signal, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(signal)
}

/// One event.
#[derive(Clone, Debug, Default)]
pub struct LogEvent {
    pub event: &'static str,
    /// The name of the process.
    pub process: Option<String>,
    /// The other fields.
    pub fields: BTreeSet<Field>,
}

impl LogEvent {
    /// The members of a JSON object, without its braces.
    pub fn members(&self) -> String {
        let name = self.process.clone().map(Field::Name);
        let fields = [Field::Event(self.event)].into_iter().chain(name);
        // Strings and numbers can always be serialised.
        let object = |field| serde_json::to_string(&field).unwrap_or_default();
        let objects = fields.chain(self.fields.iter().cloned()).map(object);
        let members = objects.map(|object| object.trim_matches(['{', '}']).to_owned());
        escape_json(&members.collect::<Vec<_>>().join(",")).into_owned()
    }
}

/// The event of a reload that was refused before drainit-core got it. The event has only the last
/// line of `why`, because the other lines may hold text of the config.
pub fn reload_failed(why: &str) -> LogEvent {
    let cause = why.lines().last().map(|why| Field::Cause(why.to_owned()));
    LogEvent { event: "reload_failed", fields: cause.into_iter().collect(), process: None }
}

/// The last event, which says that drainit exits with this code. `took` is the time since the
/// shutdown began.
pub fn exit(exit_code: u8, took: Option<Duration>) -> LogEvent {
    let fields = [Some(Field::ExitCode(exit_code)), took.map(Field::Seconds)];
    LogEvent { event: "exit", fields: fields.into_iter().flatten().collect(), process: None }
}
