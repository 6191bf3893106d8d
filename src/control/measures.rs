//! The part of `/metrics` that is not in the status: counts since the start of drainit, and
//! durations.

use std::time::Duration;

use crate::control::status::ContainerPhase;
use crate::types::{EndKind, ProcessId, Stream};

/// Everything counted so far.
#[derive(Clone, Debug, Default)]
pub struct Measures {
    /// The current phase.
    pub phase: Option<ContainerPhase>,
    /// The time spent in each phase so far; a phase that has not come is not in it.
    pub phases: Vec<(ContainerPhase, Duration)>,
    /// Lines of output that were dropped because nobody read it.
    pub dropped_lines: Vec<(Stream, u64)>,
    /// Dropped events; `None` without `logging.events`.
    pub dropped_events: Option<u64>,
    /// Processes that were handed to drainit by the death of their parent, and have ended.
    pub reaped_orphans: u64,
    /// In file order.
    pub processes: Vec<ProcessMeasures>,
}

/// The counts of one process, over all of its instances.
#[derive(Clone, Debug)]
pub struct ProcessMeasures {
    pub process: ProcessId,
    /// It has a second instance, which replaces or was replaced.
    pub is_replaced: bool,
    /// The code of its last end, as a shell reports it; `None` before its first end.
    pub last_exit_code: Option<u8>,
    /// Its ends, by [`EndKind::ALL`].
    pub ends: [u64; EndKind::ALL.len()],
    /// Failed attempts of its `readiness`; `None` where it has none.
    pub readiness_failures: Option<u64>,
    /// Failed attempts of its `liveness`; `None` where it has none.
    pub liveness_failures: Option<u64>,
    /// The time from its last start until it was ready, or complete.
    pub start: Option<Duration>,
    /// `None` without a `drain`.
    pub drain: Option<DrainMeasures>,
}

/// The drains of one process.
#[derive(Clone, Debug, Default)]
pub struct DrainMeasures {
    /// Drains that are over, by their reason: its name and their number.
    pub over: Vec<(&'static str, u64)>,
    /// The drain that was begun last. It stays until the exit, unless the process is started anew.
    pub last: Option<LastDrain>,
}

/// A drain under way, or how it was when it was over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LastDrain {
    /// Open connections at the last poll; `None` is unknown.
    pub connections: Option<u64>,
    /// Requests in flight at the last poll; `None` is unknown.
    pub requests: Option<u64>,
    /// Since its begin, at most until it was over.
    pub elapsed: Duration,
    /// Until its longest wait is over; zero once it is over.
    pub left: Duration,
}
