//! The starts that are under way, and those that wait for them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use tokio::task::Id;

use crate::core::spec::HookId;
use crate::local_task::LocalTask;
use crate::types::ProcessId;

/// The largest number of processes that are started at the same time. The number is limited,
/// because each start takes memory and descriptors.
const MOST_STARTS: usize = 64;
/// The most processes that are started in a turn of the event loop. In a debug build on a busy
/// machine, a start takes 1 to 3 ms of the event loop's thread.
pub(crate) const STARTS_OF_TURN: usize = 4;

/// A process or a hook that is to be started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Start {
    Process(ProcessId),
    Hook(HookId),
}

#[derive(Default)]
pub(crate) struct Starts {
    /// The processes whose start is under way.
    under_way: BTreeSet<ProcessId>,
    /// The processes whose start waits for other starts.
    waiting: VecDeque<ProcessId>,
    /// The number of processes that the current turn of the event loop has started.
    of_turn: usize,
    /// The tasks that gather the files for starts and hooks.
    preparing: BTreeMap<Start, LocalTask>,
}

impl Starts {
    pub(super) fn begin_turn(&mut self) {
        self.of_turn = 0;
    }

    fn may_begin(&self) -> bool {
        self.under_way.len() < MOST_STARTS && self.of_turn < STARTS_OF_TURN
    }

    /// Begins a start, or lets it wait for other starts. Returns whether it begins.
    pub(super) fn begin_or_wait(&mut self, process: ProcessId) -> bool {
        let may_begin = self.may_begin();
        match may_begin {
            true => drop(self.under_way.insert(process)),
            false => self.waiting.push_back(process),
        }
        may_begin
    }

    /// Takes the next process whose start waits for other starts; `None` if there is none, or if no
    /// start can begin now.
    pub(crate) fn next(&mut self) -> Option<ProcessId> {
        if self.may_begin() { self.waiting.pop_front() } else { None }
    }

    /// Counts a process that this turn has started. Returns whether this turn may start no more.
    pub(super) fn count(&mut self) -> bool {
        self.of_turn += 1;
        self.of_turn >= STARTS_OF_TURN
    }

    /// Handles the end of a start, whether it has succeeded or not.
    pub(super) fn end(&mut self, process: ProcessId) {
        self.under_way.remove(&process);
    }

    /// Gives up a start, also one that waits.
    pub(super) fn give_up(&mut self, process: ProcessId) {
        self.waiting.retain(|other| *other != process);
        self.end(process);
        self.stop_preparing(Start::Process(process));
    }

    /// Keeps the task that gathers the files of a start or a hook.
    pub(super) fn prepare(&mut self, start: Start, task: LocalTask) {
        self.preparing.insert(start, task);
    }

    /// Ends the gathering of files by this task. Returns `false` if it was given up.
    pub(super) fn end_preparing(&mut self, start: Start, task: Id) -> bool {
        let is_current = self.preparing.get(&start).is_some_and(|known| known.id() == task);
        is_current && self.preparing.remove(&start).is_some()
    }

    /// Stops the gathering of files for a start or a hook that was given up.
    pub(super) fn stop_preparing(&mut self, start: Start) {
        self.preparing.remove(&start);
    }
}
