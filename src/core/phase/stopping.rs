//! The third phase: every process is asked to end, each only when all its dependents are gone.

use std::collections::BinaryHeap;
use std::rc::Rc;

use crate::core::action::Action;
use crate::core::event::Event;
use crate::core::note::{Hurry, Note};
use crate::core::phase::finishing::Finishing;
use crate::core::phase::{Phase, Shutdown};
use crate::core::spec::{AFTER_KILL, HookId, Stage};
use crate::core::state::{Lifecycle, State};
use crate::types::{ProcessId, Time};

/// See the module.
#[derive(Debug)]
pub struct Stopping {
    /// What is true since T0.
    pub shutdown: Shutdown,
    /// No order any more: everything was killed, by a third signal or at the deadline.
    no_mercy: bool,
    /// When not even a process that survived KILL is waited for.
    gives_up_at: Time,
    /// Every process must be looked at, and not only those that something has happened to.
    look_at_all: bool,
    /// For each process, how many hold it back: dependents that are still there, directly or behind one that has died
    /// already.
    holders: Vec<usize>,
    /// Those that hold nobody back any more.
    released: Vec<bool>,
}

/// The processes to look at, dependents first.
type Queue = BinaryHeap<(u16, ProcessId)>;

impl Stopping {
    /// The drains are over.
    pub(crate) fn enter(shutdown: Shutdown, state: &mut State) -> Phase {
        let gives_up_at = shutdown.hard_end(state);
        let count = state.spec.processes.len();
        let mut holders = vec![0; count];
        for (on, _) in state.spec.processes.iter().flat_map(|process| &process.dependencies) {
            holders[on.index()] += 1;
        }
        let released = vec![false; count];
        Self { shutdown, no_mercy: false, gives_up_at, look_at_all: true, holders, released }
            .advance(state)
    }

    /// Takes one event.
    pub(crate) fn handle(mut self, state: &mut State, event: Event) -> Phase {
        // Without mercy there is no time for hooks either.
        let deadline = if self.no_mercy { state.now } else { self.shutdown.deadline };
        state.news_in_shutdown(event, deadline);
        match event {
            Event::Signal(signal) if state.spec.stop_signals.contains(&signal) => {
                match self.shutdown.count_signal(state.now) {
                    None => {}
                    Some(1) => state.note(Note::Hurried(Hurry::Continue)),
                    Some(2) => self.cut_waits(state),
                    Some(_) => {
                        state.note(Note::Hurried(Hurry::KillAll));
                        self.lose_mercy();
                    }
                }
            }
            Event::HookEnded {
                hook: HookId { process: Some(process), stage: Stage::PreStop },
                ..
            } if matches!(state.life(process), Lifecycle::PreStop { .. }) => {
                self.ask(state, process);
            }
            _ => {}
        }
        self.advance(state)
    }

    /// When something is due that is not the matter of one process.
    pub(crate) fn wakes_at(&self) -> Option<Time> {
        Some(if self.no_mercy { self.gives_up_at } else { self.shutdown.deadline })
    }

    /// A second stop signal: hooks are not waited for any longer. The processes keep their time.
    fn cut_waits(&mut self, state: &mut State) {
        state.note(Note::Hurried(Hurry::CutWaits));
        for process in state.spec.ids() {
            if let Lifecycle::PreStop { .. } = state.life(process) {
                state.act(Action::AbortHook(HookId {
                    process: Some(process),
                    stage: Stage::PreStop,
                }));
                self.ask(state, process);
            }
        }
    }

    fn advance(mut self, state: &mut State) -> Phase {
        if !self.no_mercy && state.is_past(self.shutdown.deadline) && !state.is_done() {
            state.note(Note::DeadlinePassed);
            self.lose_mercy();
            // A container that was paused, or a machine that slept, may find itself long after the deadline.
            self.gives_up_at = self.gives_up_at.max(state.now + AFTER_KILL);
        }
        // Without mercy nobody waits for anybody.
        let deadline = if self.no_mercy { state.now } else { self.shutdown.deadline };
        self.shutdown.killed |= state.kill_late_rests(deadline);
        let ranked = |id| (state.rank(id), id);
        let mut queue: Queue = if std::mem::take(&mut self.look_at_all) {
            state.spec.ids().map(ranked).collect()
        } else {
            state.touched.iter().copied().chain(state.due()).map(ranked).collect()
        };
        while let Some(next) = queue.pop() {
            while queue.peek() == Some(&next) {
                queue.pop();
            }
            if self.no_mercy {
                self.end_at_once(state, next.1);
            } else {
                self.look_at(state, next.1, &mut queue);
            }
        }
        if state.is_done() {
            return Finishing::enter(self.shutdown, self.no_mercy, state);
        }
        if state.is_past(self.gives_up_at) {
            for process in
                state.spec.ids().filter(|id| state.life(*id) != Lifecycle::Done).collect::<Vec<_>>()
            {
                state.note(Note::Unkillable(process));
            }
            return Finishing::enter(self.shutdown, true, state);
        }
        Phase::Stopping(self)
    }

    fn lose_mercy(&mut self) {
        self.no_mercy = true;
        self.look_at_all = true;
    }

    /// Stops a process that nobody holds back, ends a wait that is over, and lets go of dependencies.
    fn look_at(&mut self, state: &mut State, process: ProcessId, queue: &mut Queue) {
        let is_free = self.holders[process.index()] == 0;
        match state.life(process) {
            Lifecycle::Starting { .. } | Lifecycle::Ready { .. } if is_free => {
                self.begin(state, process)
            }
            Lifecycle::PreStop { until } if state.is_past(until) => {
                state.abort_hook(Some(process), Stage::PreStop);
                self.ask(state, process);
            }
            life if life.lets_go()
                && is_free
                && !std::mem::replace(&mut self.released[process.index()], true) =>
            {
                let spec = Rc::clone(&state.spec);
                for &(on, _) in &spec.processes[process.index()].dependencies {
                    self.holders[on.index()] -= 1;
                    if self.holders[on.index()] == 0 {
                        queue.push((state.rank(on), on));
                    }
                }
            }
            _ => {}
        }
        if let Lifecycle::Stopping { since, kill_at } = state.life(process)
            && state.is_past(kill_at)
        {
            self.kill(state, process, Some(since));
        }
    }

    fn begin(&mut self, state: &mut State, process: ProcessId) {
        let within = state.budget.pre_stop(&state.spec, process, state.now, self.shutdown.deadline);
        match within {
            Some(within) if self.shutdown.signals < 2 => {
                let until = state.run_hook(Some(process), Stage::PreStop, within);
                state.set(process, Lifecycle::PreStop { until });
            }
            _ => self.ask(state, process),
        }
    }

    fn ask(&mut self, state: &mut State, process: ProcessId) {
        let signal = state.process(process).stop_signal;
        let limit = state.budget.stop(&state.spec, process, state.now, self.shutdown.deadline);
        state.act(Action::Stop { process, signal });
        state.note(Note::Stopping { process, signal, limit });
        state.set(process, Lifecycle::Stopping { since: state.now, kill_at: state.now + limit });
    }

    fn kill(&mut self, state: &mut State, process: ProcessId, asked: Option<Time>) {
        state.act(Action::Kill(process));
        state.note(Note::Killed { process, after: asked.map(|asked| state.now.since(asked)) });
        let deadline = if self.no_mercy { state.now } else { self.shutdown.deadline };
        let holds_until = state.after_kill(deadline);
        state.set(process, Lifecycle::Killed { asked, holds_until });
        self.shutdown.killed = true;
    }

    fn end_at_once(&mut self, state: &mut State, process: ProcessId) {
        match state.life(process) {
            Lifecycle::Stopping { since, .. } => self.kill(state, process, Some(since)),
            Lifecycle::Starting { .. } | Lifecycle::Ready { .. } => self.kill(state, process, None),
            Lifecycle::PreStop { .. } => {
                state.act(Action::AbortHook(HookId {
                    process: Some(process),
                    stage: Stage::PreStop,
                }));
                self.kill(state, process, None);
            }
            Lifecycle::Remains { restart, .. } => {
                state.kill_rest(process, restart, state.now);
                self.shutdown.killed = true;
            }
            Lifecycle::PostStop { .. } => {
                state.act(Action::AbortHook(HookId {
                    process: Some(process),
                    stage: Stage::PostStop,
                }));
                state.set(process, Lifecycle::Done);
            }
            _ => {}
        }
    }
}
