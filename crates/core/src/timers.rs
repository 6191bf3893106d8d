//! Timers of processes, in the order of their times.

use alloc::collections::{BTreeMap, BTreeSet};

use crate::types::{ProcessId, Time};

/// Each process has at most one timer.
#[derive(Clone, Debug, Default)]
pub(crate) struct Timers {
    times: BTreeMap<ProcessId, Time>,
    in_order: BTreeSet<(Time, ProcessId)>,
}

impl Timers {
    /// Replaces or ends the timer of a process.
    pub(crate) fn set(&mut self, id: ProcessId, at: Option<Time>) {
        let before = match at {
            Some(at) => self.times.insert(id, at),
            None => self.times.remove(&id),
        };
        before.map(|time| self.in_order.remove(&(time, id)));
        self.in_order.extend(at.map(|time| (time, id)));
    }

    /// The processes whose timer is due at this time.
    pub(crate) fn due(&self, at: Time) -> impl Iterator<Item = ProcessId> {
        self.in_order.iter().take_while(move |(time, _)| *time <= at).map(|(_, id)| *id)
    }

    /// The time of the first timer.
    pub(crate) fn first(&self) -> Option<Time> {
        self.in_order.first().map(|(time, _)| *time)
    }
}
