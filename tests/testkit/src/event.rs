//! The event log, in which the children of a test record their actions, so that tests assert the
//! real order of events.
//!
//! One line per event: `<CLOCK_MONOTONIC in ns> <name> <pid> <what>`, appended with a single write.

use std::fmt;
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

/// The environment variable that holds the path of the log.
pub const LOG_VARIABLE: &str = "TESTKIT_EVENTS";

/// An event of a child.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The time on the clock that [`now`] reads.
    pub at: Duration,
    /// The name of the child.
    pub name: String,
    /// The PID of the child in its own namespace.
    pub pid: i32,
    /// The action.
    pub what: String,
}

impl Event {
    /// Reads one line of the log.
    pub fn parse(line: &str) -> Option<Self> {
        let mut fields = line.splitn(4, ' ');
        Some(Self {
            at: Duration::from_nanos(fields.next()?.parse().ok()?),
            name: fields.next()?.to_owned(),
            pid: fields.next()?.parse().ok()?,
            what: fields.next()?.to_owned(),
        })
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {} {}", self.at.as_nanos(), self.name, self.pid, self.what)
    }
}

/// The time on a clock that all processes of the machine share.
pub fn now() -> Duration {
    clock_gettime(ClockId::CLOCK_MONOTONIC).map(Duration::from).unwrap_or_default()
}
