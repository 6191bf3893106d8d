//! The second phase: nothing is stopped yet; the traffic is taken away.
//!
//! The container's `pre_stop` hook and the readiness delay come first. Then each process with a `drain` is drained,
//! a dependency only after the processes that send it requests; independent ones at the same time.
//!
//! A drain that was asked for from outside (`POST /drain`) is *held*: nothing is stopped when it is over, until there is
//! a reason to stop. Then it goes on from where it is. Nothing is started or restarted meanwhile: there is no way back from
//! a drain, so a process that is missed is replaced with its container, and not in a container that serves nobody.

use std::rc::Rc;
use std::time::Duration;

use crate::config::OnExit;
use crate::core::action::Action;
use crate::core::budget;
use crate::core::budget::Budget;
use crate::core::cause::Cause;
use crate::core::drain::{Active, Progress};
use crate::core::event::Event;
use crate::core::note::{DrainEnd, Hurry, Note};
use crate::core::phase::stopping::Stopping;
use crate::core::phase::{Phase, Shutdown};
use crate::core::spec::{HookId, Stage};
use crate::core::state::{Lifecycle, State};
use crate::types::{ProcessId, Time};

/// A stop that comes this long after a held drain is over, or sooner, belongs to it: the kubelet
/// sends SIGTERM as soon as a `preStop` hook has ended.
const FOLLOWS: Duration = Duration::from_secs(2);

/// See the module.
#[derive(Debug)]
pub struct Draining {
    /// What is true since T0.
    pub shutdown: Shutdown,
    /// Nothing is to be stopped yet.
    held: bool,
    /// Since when a held drain has nothing left to wait for.
    over_at: Option<Time>,
    delay_until: Option<Time>,
    hook_until: Option<Time>,
    drains: Vec<Progress>,
    /// Those that are drained at all, dependents first.
    drained: Vec<ProcessId>,
    /// Something that it depends on has died: requests fail, so it is held only for `min`.
    only_min: Vec<bool>,
}

impl Draining {
    /// T0. `was_ready`: `/readyz` had been 200, so there is somebody who has to see that it no longer is.
    pub(crate) fn enter(shutdown: Shutdown, was_ready: bool, state: &mut State) -> Phase {
        let held = shutdown.cause == Cause::DrainRequested;
        if held {
            state.note(Note::DrainRequested);
        } else {
            state.note(Note::ShutdownBegan { cause: shutdown.cause, window: state.spec.window });
        }
        state.act(Action::Unready);
        end_the_start(state, shutdown.deadline);
        let killed = state.fit_waits(shutdown.deadline) && !held;
        let shutdown = Shutdown { killed, ..shutdown };
        if let Cause::Ended { process, .. } = shutdown.cause
            && !state.life(process).has_rest()
        {
            state.after_end(process, shutdown.deadline);
        }
        let delay = state.budget.readiness_delay(&state.spec, state.now, shutdown.deadline);
        let delay_until = was_ready.then(|| state.now + delay);
        // Only what was ready can have traffic.
        let is_drained = |id: &ProcessId| {
            matches!(state.life(*id), Lifecycle::Ready { .. }) && state.process(*id).drain.is_some()
        };
        let drained: Vec<_> = state.spec.order.iter().rev().copied().filter(is_drained).collect();
        let mut drains = vec![Progress::Over; state.spec.processes.len()];
        for process in &drained {
            drains[process.index()] = Progress::NotDue;
        }
        let mut draining = Self {
            shutdown,
            held,
            over_at: None,
            delay_until,
            hook_until: None,
            drains,
            drained,
            only_min: vec![false; state.spec.processes.len()],
        };
        if !held {
            draining.run_pre_stop(state);
        }
        draining.advance(state)
    }

    /// Takes one event.
    pub(crate) fn handle(mut self, state: &mut State, event: Event) -> Phase {
        let deadline = self.deadline(state);
        state.news_in_shutdown(event, deadline);
        match event {
            Event::Signal(signal) if state.spec.stop_signals.contains(&signal) => {
                let count = self.shutdown.count_signal(state.now);
                match count {
                    None => {}
                    Some(_) if self.held => self.stop(state, Cause::Signal(signal)),
                    Some(1) => state.note(Note::Hurried(Hurry::Continue)),
                    Some(_) => return self.hurry(state),
                }
            }
            Event::HookEnded { hook: HookId { process: None, stage: Stage::PreStop }, .. }
                if self.hook_until.is_some() =>
            {
                self.hook_until = None;
            }
            Event::Exited { process, end, .. } => {
                self.exited(state, process);
                let spec = state.process(process);
                let is_done = spec.oneshot && end.is_success() || state.is_answer(process, end);
                // Whatever `restart` says.
                if self.held && spec.on_exit != OnExit::Ignore && !is_done {
                    let is_failure = spec.on_exit == OnExit::FailureShutdown;
                    self.stop(
                        state,
                        Cause::Ended { process, end, before_ready: false, is_failure },
                    );
                }
            }
            Event::DrainAnswered { process, accepted } => {
                if let Some(active) = self.active(process) {
                    active.told(accepted);
                }
            }
            Event::Drained(process) => {
                if let Some(active) = self.active(process) {
                    active.reported();
                }
            }
            Event::DrainSample { process, load } => {
                let now = state.now;
                if let Some(active) = self.active(process) {
                    active.sampled(now, load);
                }
            }
            Event::ListenersClosed(process) => {
                let closed = self.active(process).map(|active| active.closed(state, process));
                match closed {
                    Some(true) => self.past(process, state.now),
                    Some(false) => {}
                    None => self.drains[process.index()].end_last_look(state, process),
                }
            }
            _ => {}
        }
        self.advance(state)
    }

    /// When everything must be gone. While the drain is held, nothing hurries.
    fn deadline(&self, state: &State) -> Time {
        if self.held { state.now + state.spec.window } else { self.shutdown.deadline }
    }

    /// When something is due.
    pub(crate) fn wakes_at(&self, now: Time) -> Option<Time> {
        let drains = self.progress().filter_map(|progress| match progress {
            Progress::Active(active) => Some(active.wakes_at(now)),
            Progress::LastLook { until } => Some(*until),
            _ => None,
        });
        drains.chain(self.delay_until).chain(self.hook_until).min()
    }

    /// Whether nothing is waited for any more; a held drain stays so until there is a reason to stop.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.progress().all(Progress::is_past)
            && self.delay_until.is_none()
            && self.hook_until.is_none()
    }

    /// Whether the end of this process, now, would be the end of its traffic. Other kinds than Envoy's may end in answer to
    /// their drain.
    pub(crate) fn is_undrained(&self, process: ProcessId) -> bool {
        match &self.drains[process.index()] {
            Progress::NotDue => true,
            Progress::Active(active) => active.closes(),
            _ => false,
        }
    }

    /// How far each drain is.
    fn progress(&self) -> impl Iterator<Item = &Progress> {
        self.drained.iter().map(|id| &self.drains[id.index()])
    }

    /// The drain of this process is over.
    fn past(&mut self, process: ProcessId, now: Time) {
        let progress = &mut self.drains[process.index()];
        if let Progress::Active(active) = progress {
            *progress = active.past(now);
        }
    }

    fn active(&mut self, process: ProcessId) -> Option<&mut Active> {
        match &mut self.drains[process.index()] {
            Progress::Active(active) => Some(active),
            _ => None,
        }
    }

    fn run_pre_stop(&mut self, state: &mut State) {
        let deadline = self.shutdown.deadline;
        if !state.has_begun {
            return;
        }
        if let Some(within) = state.budget.container_pre_stop(&state.spec, state.now, deadline) {
            self.hook_until = Some(state.run_hook(None, Stage::PreStop, within));
        }
    }

    /// There is a reason to stop while the drain is held. The drain is not begun again, and its time counts where the stop
    /// follows it at once: the kubelet's grace period includes the `preStop` hook that has asked for the drain. A stop
    /// that comes later has a grace period of its own.
    fn stop(&mut self, state: &mut State, cause: Cause) {
        self.held = false;
        self.shutdown.cause = cause;
        let need = Budget::unhurried_stop(&state.spec);
        let follows_at_once = self.over_at.is_none_or(|at| state.now.since(at) <= FOLLOWS);
        if !follows_at_once || self.shutdown.deadline < state.now + need {
            self.shutdown.t0 = state.now;
            self.shutdown.deadline = state.now + state.spec.window;
        }
        self.shutdown.killed |= state.fit_waits(self.shutdown.deadline);
        let window = self.shutdown.deadline.since(state.now);
        state.note(Note::ShutdownBegan { cause, window });
        if !cause.is_asked() {
            for process in state.spec.ids() {
                if let Some(active) = self.active(process) {
                    active.only_min();
                }
            }
        }
        self.run_pre_stop(state);
    }

    /// A process is gone: its own drain is over, and those that pass requests on to it are only held for `min`.
    fn exited(&mut self, state: &mut State, gone: ProcessId) {
        if let Some(active) = self.active(gone) {
            active.over(state, gone, DrainEnd::ProcessGone);
        }
        self.drains[gone.index()].end_last_look(state, gone);
        self.drains[gone.index()] = Progress::Over;
        let spec = state.process(gone);
        if spec.oneshot || spec.on_exit == OnExit::Ignore {
            return;
        }
        for id in dependents(state, gone) {
            self.only_min[id.index()] = true;
            if let Some(active) = self.active(id) {
                active.only_min();
            }
        }
    }

    /// Deals with the moments that have come, and begins what is due.
    fn advance(mut self, state: &mut State) -> Phase {
        // Where nobody serves, there is nothing to be seen in time.
        if state.is_done() || self.delay_until.is_some_and(|until| state.is_past(until)) {
            self.delay_until = None;
        }
        if self.hook_until.is_some_and(|until| state.is_past(until)) {
            self.hook_until = None;
            state.abort_hook(None, Stage::PreStop);
        }
        let deadline = self.deadline(state);
        self.shutdown.killed |= state.kill_late_rests(deadline) && !self.held;
        // Dependents first, so that one pass is enough when several drains are over in the same step.
        for place in 0..self.drained.len() {
            let process = self.drained[place];
            let deadline = self.shutdown.deadline;
            if self.active(process).is_some_and(|active| active.step(state, process, deadline)) {
                self.past(process, state.now);
            }
        }
        let is_due = self.delay_until.is_none() && self.hook_until.is_none();
        if is_due && self.progress().any(|progress| matches!(progress, Progress::NotDue)) {
            self.begin_due(state);
        }
        if self.held && self.is_over() {
            self.over_at.get_or_insert(state.now);
        }
        if self.held && state.is_done() {
            self.stop(state, Cause::AllEnded);
        }
        if self.is_over() && !self.held && self.is_looked_at(state) {
            Stopping::enter(self.shutdown, state)
        } else {
            Phase::Draining(self)
        }
    }

    /// Nothing is waited for any more: what was drained a while ago is looked at once more. Whether that is done.
    fn is_looked_at(&mut self, state: &mut State) -> bool {
        let deadline = self.shutdown.deadline;
        let mut done = true;
        for (process, progress) in state.spec.ids().zip(&mut self.drains) {
            if let Progress::LastLook { until } = *progress
                && state.is_past(until)
            {
                progress.end_last_look(state, process);
            }
            progress.look_again(state, process, deadline);
            done &= matches!(progress, Progress::Over);
        }
        done
    }

    fn begin_due(&mut self, state: &mut State) {
        let spec = Rc::clone(&state.spec);
        // A dependent that is not over holds back everything below it.
        let mut held = vec![false; self.drains.len()];
        for &process in spec.order.iter().rev() {
            let spec = &spec.processes[process.index()];
            let above = spec.dependents.iter().any(|id| held[id.index()]);
            if let (false, Progress::NotDue) = (above, self.drains[process.index()]) {
                self.drains[process.index()] = match spec.drain {
                    Some(drain) => {
                        let full =
                            self.shutdown.cause.is_asked() && !self.only_min[process.index()];
                        let wish = budget::drain_wish(drain, full);
                        Active::begin(state, process, drain, wish, self.shutdown.deadline)
                    }
                    None => Progress::Over,
                };
            }
            held[process.index()] = above || !self.drains[process.index()].is_past();
        }
    }

    /// A second stop signal: no more waits, straight to the stop, in order.
    fn hurry(mut self, state: &mut State) -> Phase {
        state.note(Note::Hurried(Hurry::CutWaits));
        if self.hook_until.take().is_some() {
            state.act(Action::AbortHook(HookId { process: None, stage: Stage::PreStop }));
        }
        for process in state.spec.ids() {
            if let Some(active) = self.active(process) {
                active.over(state, process, DrainEnd::Hurried);
            }
            self.drains[process.index()].end_last_look(state, process);
        }
        Stopping::enter(self.shutdown, state)
    }
}

/// Nothing is started from now on, and nobody waits for readiness.
fn end_the_start(state: &mut State, deadline: Time) {
    for process in state.spec.ids() {
        match state.life(process) {
            Lifecycle::Waiting | Lifecycle::Checking => state.set(process, Lifecycle::Done),
            Lifecycle::Backoff { .. } => state.after_end(process, deadline),
            Lifecycle::Starting { since, .. } => {
                state.set(process, Lifecycle::Starting { since, ready_by: Time::NEVER });
            }
            Lifecycle::PreStart { .. } => {
                let hook = HookId { process: Some(process), stage: Stage::PreStart };
                state.act(Action::AbortHook(hook));
                state.set(process, Lifecycle::Done);
            }
            _ => {}
        }
    }
}

/// Everything that waits for this process, directly or not.
fn dependents(state: &State, of: ProcessId) -> Vec<ProcessId> {
    let mut seen = vec![false; state.spec.processes.len()];
    let mut found = vec![of];
    let mut next = 0;
    while let Some(&id) = found.get(next) {
        for &dependent in &state.process(id).dependents {
            if !std::mem::replace(&mut seen[dependent.index()], true) {
                found.push(dependent);
            }
        }
        next += 1;
    }
    found.remove(0);
    found
}
