//! The third phase: every process is asked to end once all of its dependents are gone.

use alloc::collections::BinaryHeap;
use core::time::Duration;

use crate::event::Event;
use crate::family;
use crate::note::{Hurry, Note};
use crate::phase::Phase;
use crate::phase::finishing::Finishing;
use crate::prelude::*;
use crate::spec::Stage;
use crate::state::{Killing, Lifecycle, Shutdown, State};
use crate::timers::Timers;
use crate::types::{AFTER_KILL, ProcessId, Time};

#[derive(Clone, Debug)]
pub struct Stopping {
    /// The time at which drainit stops waiting even for a process that survives SIGKILL.
    give_up_at: Time,
    /// Whether the next step reviews every process, and not only those that have changed or whose
    /// timer has expired.
    review_all: bool,
    /// For each process, the number of dependents that are not gone yet.
    holders: Vec<usize>,
    /// For each process, whether its dependencies no longer wait for it.
    released: Vec<bool>,
    /// The timers of the processes whose stop waits for a final count of connections or requests.
    /// The count is needed if their dependents took long to stop, because clients may have sent
    /// requests meanwhile.
    counting: Timers,
}

/// The processes to review, dependents first.
type Queue = BinaryHeap<(u16, ProcessId)>;

impl Stopping {
    pub(crate) fn enter(state: &mut State) -> Phase {
        let give_up_at = state.hard_end();
        state.plan_budget(Duration::ZERO, true);
        let count = state.spec.processes.len();
        let mut holders = vec![0; count];
        for (on, _) in state.spec.processes.iter().flat_map(|process| &process.dependencies) {
            holders[on.index()] += 1;
        }
        let released = vec![false; count];
        let counting = Timers::default();
        Self { give_up_at, review_all: true, holders, released, counting }.advance(state, None)
    }

    pub(crate) fn handle(mut self, state: &mut State, event: Event) -> Phase {
        state.handle_stop(event);
        state.handle_drain(event);
        if let Event::Signal(signal) = event
            && state.spec.stop_signals.contains(&signal)
        {
            match state.count_signal(signal) {
                None => {}
                Some(1) => state.step.note(Note::Hurried(Hurry::Continue)),
                Some(2) => self.cut_waits(state),
                Some(_) => {
                    state.step.note(Note::Hurried(Hurry::KillAll));
                    state.shutdown.iter_mut().for_each(Shutdown::cut_short);
                    self.kill_all();
                }
            }
        }
        self.advance(state, event.drained_process())
    }

    /// The time at which the next timer is due, apart from the timers of processes.
    pub(crate) fn wakes_at(&self, state: &State) -> Option<Time> {
        let end = state.shutdown.as_ref().map(|shutdown| match shutdown.killing {
            Some(_) => self.give_up_at,
            None => shutdown.deadline,
        });
        end.into_iter().chain(self.counting.first()).min()
    }

    /// Handles a second stop signal. Nothing waits for `pre_stop` hooks any longer, but each
    /// process keeps its time from the stop signal to SIGKILL.
    fn cut_waits(&mut self, state: &mut State) {
        state.step.note(Note::Hurried(Hurry::CutWaits));
        self.review_all = true;
        state.cut_pre_stops();
    }

    /// Handles expired timers, and begins the stops that are due. `drained` is the process whose
    /// drain the event was about.
    fn advance(mut self, state: &mut State, drained: Option<ProcessId>) -> Phase {
        let is_over = state.is_past_deadline() && !state.is_done();
        let shutdown = state.shutdown.as_mut().filter(|it| is_over && it.killing.is_none());
        if let Some(shutdown) = shutdown {
            let late = shutdown.on_deadline(state.now);
            state.step.note(Note::DeadlinePassed { late });
            self.kill_all();
            // If the container was paused or the machine suspended, the deadline may be long past,
            // but killed processes still need time to end.
            self.give_up_at = self.give_up_at.max(state.now + AFTER_KILL);
        }
        state.plan_again(None, &self.holders);
        state.expire();
        family::settle(state, true);
        state.plan_again(None, &self.holders);
        let ranked = |id| (state.spec.rank(id), id);
        let mut queue: Queue = if core::mem::take(&mut self.review_all) {
            state.spec.ids().map(ranked).collect()
        } else {
            state.step.touched.iter().copied().chain(state.due()).map(ranked).collect()
        };
        queue.extend(drained.map(ranked));
        queue.extend(self.counting.due(state.timers_at).map(ranked));
        while let Some(next) = queue.pop() {
            while queue.peek() == Some(&next) {
                queue.pop();
            }
            if state.killing().is_some() {
                state.end_final_count(next.1);
                self.end_at_once(state, next.1);
            } else {
                self.review(state, next.1, &mut queue);
            }
        }
        if state.is_done() {
            return Finishing::enter(state);
        }
        if state.is_past(self.give_up_at) {
            for process in
                state.spec.ids().filter(|id| state.life(*id) != Lifecycle::Done).collect::<Vec<_>>()
            {
                state.step.note(Note::Unkillable(process));
            }
            return Finishing::enter(state);
        }
        Phase::Stopping(self)
    }

    fn kill_all(&mut self) {
        self.counting = Timers::default();
        self.review_all = true;
    }

    /// Begins to stop a process if all of its dependents are gone. If the process itself is gone,
    /// its dependencies no longer wait for it.
    fn review(&mut self, state: &mut State, process: ProcessId, queue: &mut Queue) {
        self.counting.set(process, None);
        let is_free = self.holders[process.index()] == 0;
        match state.life(process) {
            Lifecycle::Starting { .. } | Lifecycle::Ready { .. } if is_free => {
                let is_hurried = state.shutdown.as_ref().is_some_and(|it| it.signals >= 2);
                if is_hurried {
                    state.end_final_count(process);
                } else if !state.step_final_count(process) {
                    let at = state[process].drain.wakes_at(state.now).unwrap_or(state.now);
                    return self.counting.set(process, Some(at));
                }
                state.begin_stop(process, is_hurried);
            }
            life if life.releases_dependencies()
                && is_free
                && !core::mem::replace(&mut self.released[process.index()], true) =>
            {
                for &(on, _) in &state.process(process).dependencies {
                    self.holders[on.index()] -= 1;
                    if self.holders[on.index()] == 0 {
                        queue.push((state.spec.rank(on), on));
                    }
                }
            }
            _ => {}
        }
    }

    fn end_at_once(&mut self, state: &mut State, process: ProcessId) {
        if state.killing() == Some(Killing::SleptThrough)
            && let Some(kill_at) = state.ask_late(process)
        {
            self.give_up_at = self.give_up_at.max(kill_at + AFTER_KILL);
            // A `stop_grace_period` of 0 is over at once.
            return state.kill_if_due(process);
        }
        match state.life(process) {
            Lifecycle::Stopping { since, .. } => state.kill(process, Some(since)),
            Lifecycle::Starting { .. } | Lifecycle::Ready { .. } | Lifecycle::Remains { .. } => {
                state.kill(process, None)
            }
            Lifecycle::PreStop { .. } => {
                state.step.abort_hook(Some(process), Stage::PreStop);
                state.kill(process, None);
            }
            Lifecycle::PostStop { .. } => {
                state.step.abort_hook(Some(process), Stage::PostStop);
                state.set(process, Lifecycle::Done);
            }
            _ => {}
        }
    }
}
