//! The second phase: traffic is taken away; nothing is stopped yet.
//!
//! The container's `pre_stop` hook and the readiness delay come first. Then each process with a
//! `drain` is drained: a dependency after the processes that send it requests, independent ones
//! concurrently.
//!
//! A drain requested from outside (`POST /drain`) is *held*: when it is over, nothing is stopped
//! until there is a reason to stop. The shutdown then continues from there. Nothing is started or
//! restarted meanwhile: a drain cannot be undone, so a process that has ended is replaced together
//! with its container.

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

/// A stop at most this long after the end of a held drain belongs to it: the kubelet sends SIGTERM
/// as soon as a `preStop` hook has ended.
const FOLLOW_UP: Duration = Duration::from_secs(2);

#[derive(Debug)]
pub struct Draining {
    pub shutdown: Shutdown,
    /// The drain was requested without a stop.
    held: bool,
    /// When a held drain was over.
    over_at: Option<Time>,
    delay_until: Option<Time>,
    hook_until: Option<Time>,
    drains: Vec<Progress>,
    /// The processes with a drain, dependents first.
    drained: Vec<ProcessId>,
    /// A dependency has ended: requests fail, so the drain waits only for `min`.
    only_min: Vec<bool>,
}

impl Draining {
    /// T0. `was_ready`: `/readyz` was 200, so load balancers must see that it no longer is.
    pub(crate) fn enter(shutdown: Shutdown, was_ready: bool, state: &mut State) -> Phase {
        let held = shutdown.cause == Cause::DrainRequested;
        if held {
            state.note(Note::DrainRequested);
        } else {
            state.note(Note::ShutdownBegan { cause: shutdown.cause, window: state.spec.window });
        }
        state.act(Action::Unready);
        cancel_starts(state, shutdown.deadline);
        let killed = state.fit_waits(shutdown.deadline) && !held;
        let shutdown = Shutdown { killed, ..shutdown };
        if let Cause::Ended { process, .. } = shutdown.cause
            && !state.life(process).has_rest()
        {
            state.after_end(process, shutdown.deadline);
        }
        let delay = state.budget.readiness_delay(&state.spec, state.now, shutdown.deadline);
        let delay_until = was_ready.then(|| state.now + delay);
        // Only a ready process can have traffic.
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

    pub(crate) fn handle(mut self, state: &mut State, event: Event) -> Phase {
        let deadline = self.deadline(state);
        state.handle_in_shutdown(event, deadline);
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
                // Regardless of `restart`.
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
                    active.answered(accepted);
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
                    Some(true) => self.finish_drain(process, state.now),
                    Some(false) => {}
                    None => self.drains[process.index()].end_final_count(state, process),
                }
            }
            _ => {}
        }
        self.advance(state)
    }

    /// While the drain is held, there is no deadline yet.
    fn deadline(&self, state: &State) -> Time {
        if self.held { state.now + state.spec.window } else { self.shutdown.deadline }
    }

    /// The next timer.
    pub(crate) fn wakes_at(&self, now: Time) -> Option<Time> {
        let drains = self.progress().filter_map(|progress| match progress {
            Progress::Active(active) => Some(active.wakes_at(now)),
            Progress::FinalCount { until } => Some(*until),
            _ => None,
        });
        drains.chain(self.delay_until).chain(self.hook_until).min()
    }

    /// Whether nothing is waited for. A held drain stays so until there is a reason to stop.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.progress().all(Progress::is_drained)
            && self.delay_until.is_none()
            && self.hook_until.is_none()
    }

    /// Whether the end of this process would cut traffic now. Processes other than Envoy may end in
    /// answer to their drain.
    pub(crate) fn is_undrained(&self, process: ProcessId) -> bool {
        match &self.drains[process.index()] {
            Progress::NotDue => true,
            Progress::Active(active) => active.closes(),
            _ => false,
        }
    }

    fn progress(&self) -> impl Iterator<Item = &Progress> {
        self.drained.iter().map(|id| &self.drains[id.index()])
    }

    fn finish_drain(&mut self, process: ProcessId, now: Time) {
        let progress = &mut self.drains[process.index()];
        if let Progress::Active(active) = progress {
            *progress = active.drained(now);
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

    /// Handles a reason to stop while the drain is held. The drain does not begin again. Its time
    /// counts if the stop follows at once: the kubelet's grace period includes the `preStop` hook
    /// that requested the drain. A later stop has a grace period of its own.
    fn stop(&mut self, state: &mut State, cause: Cause) {
        self.held = false;
        self.shutdown.cause = cause;
        let need = Budget::unhurried_stop(&state.spec);
        let follows_at_once = self.over_at.is_none_or(|at| state.now.since(at) <= FOLLOW_UP);
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

    /// Handles the end of a process: its own drain is over, and processes that send requests to it
    /// are drained only for `min`.
    fn exited(&mut self, state: &mut State, gone: ProcessId) {
        if let Some(active) = self.active(gone) {
            active.over(state, gone, DrainEnd::ProcessGone);
        }
        self.drains[gone.index()].end_final_count(state, gone);
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

    /// Handles expired timers and begins the drains that are due.
    fn advance(mut self, state: &mut State) -> Phase {
        // Without a process there is no traffic to move away.
        if state.is_done() || self.delay_until.is_some_and(|until| state.is_past(until)) {
            self.delay_until = None;
        }
        if self.hook_until.is_some_and(|until| state.is_past(until)) {
            self.hook_until = None;
            state.time_out_hook(None, Stage::PreStop);
        }
        let deadline = self.deadline(state);
        self.shutdown.killed |= state.kill_late_rests(deadline) && !self.held;
        // Dependents first, so that one pass is enough when several drains are over in the same
        // step.
        for place in 0..self.drained.len() {
            let process = self.drained[place];
            let deadline = self.shutdown.deadline;
            if self.active(process).is_some_and(|active| active.step(state, process, deadline)) {
                self.finish_drain(process, state.now);
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
        if self.is_over() && !self.held && self.has_final_counts(state) {
            Stopping::enter(self.shutdown, state)
        } else {
            Phase::Draining(self)
        }
    }

    /// Counts the connections of drained processes once more. Returns whether that is done.
    fn has_final_counts(&mut self, state: &mut State) -> bool {
        let deadline = self.shutdown.deadline;
        let mut done = true;
        for (process, progress) in state.spec.ids().zip(&mut self.drains) {
            if let Progress::FinalCount { until } = *progress
                && state.is_past(until)
            {
                progress.end_final_count(state, process);
            }
            progress.begin_final_count(state, process, deadline);
            done &= matches!(progress, Progress::Over);
        }
        done
    }

    fn begin_due(&mut self, state: &mut State) {
        let spec = Rc::clone(&state.spec);
        // A dependent whose drain is not over holds back all of its dependencies.
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
            held[process.index()] = above || !self.drains[process.index()].is_drained();
        }
    }

    /// Handles a second stop signal: no more waits, the stop begins, in order.
    fn hurry(mut self, state: &mut State) -> Phase {
        state.note(Note::Hurried(Hurry::CutWaits));
        if self.hook_until.take().is_some() {
            state.abort_hook(None, Stage::PreStop);
        }
        for process in state.spec.ids() {
            if let Some(active) = self.active(process) {
                active.over(state, process, DrainEnd::Hurried);
            }
            self.drains[process.index()].end_final_count(state, process);
        }
        Stopping::enter(self.shutdown, state)
    }
}

/// Cancels all starts: nothing is started from now on, and readiness is not waited for.
fn cancel_starts(state: &mut State, deadline: Time) {
    for process in state.spec.ids() {
        match state.life(process) {
            Lifecycle::Waiting | Lifecycle::Checking => state.set(process, Lifecycle::Done),
            Lifecycle::Backoff { .. } => state.after_end(process, deadline),
            Lifecycle::Starting { since, .. } => {
                state.set(process, Lifecycle::Starting { since, ready_by: Time::NEVER });
            }
            Lifecycle::PreStart { .. } => {
                state.abort_hook(Some(process), Stage::PreStart);
                state.set(process, Lifecycle::Done);
            }
            _ => {}
        }
    }
}

/// All direct and indirect dependents.
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
