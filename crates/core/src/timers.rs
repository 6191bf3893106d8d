//! The timers of all processes, in the order of their times.

use alloc::collections::BTreeSet;

use crate::types::{ProcessId, Time};

/// Each process has at most one timer.
#[derive(Clone, Debug, Default)]
pub(crate) struct Timers(BTreeSet<(Time, ProcessId)>);

impl Timers {
    /// Replaces the timer of a process.
    pub(crate) fn reset(&mut self, id: ProcessId, before: Option<Time>, now: Option<Time>) {
        if before != now {
            before.map(|time| self.0.remove(&(time, id)));
            self.0.extend(now.map(|time| (time, id)));
        }
    }

    /// The processes whose timer is due at this time.
    pub(crate) fn due(&self, at: Time) -> impl Iterator<Item = ProcessId> {
        self.0.iter().take_while(move |(time, _)| *time <= at).map(|(_, id)| *id)
    }

    /// The time of the first timer.
    pub(crate) fn first(&self) -> Option<Time> {
        self.0.first().map(|(time, _)| *time)
    }
}
