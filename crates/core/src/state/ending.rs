//! How the shutdown ends: the signals that hurry it, and what it has to kill.

use alloc::collections::BTreeSet;

use crate::types::{ProcessId, Time};

#[derive(Clone, Debug, Default)]
pub struct Ending {
    /// The processes that were killed since the shutdown began, themselves or the rest of their
    /// process group.
    killed: BTreeSet<ProcessId>,
    killed_leftovers: bool,
    /// Whether a third stop signal ends everything at once, before the deadline.
    pub(crate) is_cut_short: bool,
    /// The time of the last stop signal.
    pub(crate) last_signal: Option<Time>,
    /// The end of the grace period. `None` until the core gives
    /// [`Action::Exit`](crate::action::Action::Exit).
    pub grace_end: Option<Time>,
}

impl Ending {
    /// Forgets what was killed before the shutdown.
    pub(crate) fn begin(&mut self) {
        self.killed.clear();
    }

    pub(crate) fn on_killed(&mut self, process: ProcessId) {
        self.killed.insert(process);
    }

    /// Takes back a process that turns out to have exited by itself.
    pub(crate) fn on_own_exit(&mut self, process: ProcessId) {
        self.killed.remove(&process);
    }

    pub(crate) fn on_leftovers(&mut self, are_killed: bool) {
        self.killed_leftovers |= are_killed;
    }

    /// Whether anything was killed.
    pub(crate) fn has_killed(&self) -> bool {
        self.killed_leftovers || !self.killed.is_empty()
    }
}
