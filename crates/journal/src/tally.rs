//! The counts of a process, over all of its instances.

use alloc::rc::Rc;
use core::time::Duration;

use crate::counts::Cost;
use crate::prelude::*;
use drainit_core::note::{AfterEnd, DrainEnd};
use drainit_core::types::{End, EndKind, ProcessId};

/// The counts of a process, over all of its instances.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// All slots that the process has or had.
    pub(super) slots: Vec<ProcessId>,
    /// The code of the last end of the process, as a shell reports it; `None` before the first end.
    pub last_exit_code: Option<u8>,
    /// The number of restarts by `restart` since the start of the container.
    pub(super) restarts: u32,
    /// The number of ends of each kind, in the order of [`EndKind::ALL`].
    pub ends: [u64; EndKind::ALL.len()],
    /// The number of failed attempts of the readiness probe; `None` if the process has no
    /// `readiness`.
    pub readiness_failures: Option<u64>,
    /// The time from the last start of the process until it was ready or complete.
    pub start: Option<Duration>,
    /// The number of completed drains for each reason, in the order of [`DrainEnd::ALL`].
    pub drains: [u64; DrainEnd::ALL.len()],
    /// The requests that the ends of the process have cut in the last request of an operator.
    pub cost: Option<String>,
    /// The costs of instances whose slots belong to other processes since then.
    pub(super) past_costs: Vec<Cost>,
    /// The slot of the last drain; `None` if the process has not been drained since its last start.
    pub drained: Option<ProcessId>,
    /// The last lines that the last failed instance has written.
    pub last_lines: Rc<Vec<String>>,
}

impl Tally {
    pub(super) fn on_end(&mut self, end: End, killed: bool) {
        self.last_exit_code = Some(end.exit_code());
        self.ends[EndKind::of(end, killed) as usize] += 1;
    }

    /// Counts a restart, if it follows an end or a failure.
    pub(super) fn restarted(&mut self, next: AfterEnd) {
        self.restarts += u32::from(matches!(next, AfterEnd::Restart { .. }));
    }

    pub(super) fn oom_kills(&self) -> u64 {
        self.ends[EndKind::OomKilled as usize]
    }
}
