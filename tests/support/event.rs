//! What the helper program notes in the shared event log, so that tests assert the order of things from facts.
//!
//! One line an event: `<CLOCK_MONOTONIC in ns> <name> <pid> <what>`, appended with a single write.

use std::fmt;
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

/// The environment variable that holds the path of the log.
pub(crate) const LOG_VARIABLE: &str = "RIG_EVENTS";

/// Something that a helper process did or got.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Event {
    /// When, on the clock that [`now`] reads.
    pub(crate) at: Duration,
    /// Who.
    pub(crate) name: String,
    /// Its pid in its own namespace.
    pub(crate) pid: i32,
    /// What.
    pub(crate) what: String,
}

impl Event {
    /// Reads one line of the log.
    pub(crate) fn parse(line: &str) -> Option<Self> {
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
pub(crate) fn now() -> Duration {
    clock_gettime(ClockId::CLOCK_MONOTONIC).map(Duration::from).unwrap_or_default()
}
