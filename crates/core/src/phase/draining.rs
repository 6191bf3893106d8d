//! The second phase: drainit takes traffic away from processes, and stops no process yet.
//!
//! The container's `pre_stop` hook and the readiness delay come first. Then each process with a
//! `drain` is drained. A dependency is drained after its dependents; independent processes are
//! drained at the same time. A process that no drain needs is stopped during the drains if its
//! declared time would otherwise not fit before the deadline.
//!
//! A drain without a stop (`POST /drain`) is *held*: after the drain, drainit stops nothing until
//! there is a reason to stop. Once there is a reason, the shutdown begins, without another drain.
//! No process starts or restarts while a drain is held. A drain cannot be undone, so a process that
//! has ended can only be replaced together with its container.

use alloc::sync::Arc;
use core::time::Duration;

use crate::action::Action;
use crate::cause::Cause;
use crate::drain::progress::Progress;
use crate::event::Event;
use crate::family;
use crate::note::{DrainEnd, Hurry, Note};
use crate::phase::Phase;
use crate::phase::stopping::Stopping;
use crate::phase::waits::Waits;
use crate::prelude::*;
use crate::spec::{HookId, HookWait, Stage};
use crate::state::{Lifecycle, Shutdown, State};
use crate::types::{End, ExitPolicy, ProcessId, Signal, Time};
use crate::{budget, final_waits};

/// A `preStop` hook that requests a drain ends with the drain. The kubelet then sends SIGTERM within
/// this time, even on a busy node.
const HOOK_TO_SIGNAL: Duration = Duration::from_secs(5);

#[derive(Clone, Debug)]
pub struct Draining {
    /// Whether a process has ended by itself in this phase.
    has_unasked_end: bool,
    waits: Waits,
    /// The time from which the `min` of each drain counts: the end of the readiness delay.
    mins_from: Time,
    /// The time at which the first drain of this phase began.
    first_drain: Option<Time>,
    /// The time at which the drain without a stop was over; `None` before, and in a shutdown.
    rests_since: Option<Time>,
    /// The time at which the next stop begins that does not wait for the drains.
    next_stop: Option<Time>,
    /// The processes that this phase drains, dependents first.
    drained: Vec<ProcessId>,
    /// New instances that have not taken over. drainit stops each of these instances once it runs.
    new_instances: Vec<ProcessId>,
    /// For each process, whether it may be unable to serve because a direct or indirect dependency
    /// has ended. If so, the drain of the process waits for `min` only.
    only_min: Vec<bool>,
    /// The time at which the next timer is due, apart from the timers of processes.
    wakes_at: Option<Time>,
}

impl Draining {
    /// Begins a shutdown, or a drain without a stop. If `was_ready`, `/readyz` has answered 200
    /// before, so load balancers must get time to see that it answers 503. If `is_ready`, `/readyz`
    /// answers 200 now, and may do so for a while longer.
    pub(crate) fn enter(cause: Cause, was_ready: bool, is_ready: bool, state: &mut State) -> Phase {
        let window = state.spec.window;
        state.shutdown = Some(Shutdown::new(cause, state.now, window));
        if state.is_held() {
            state.step.note(Note::DrainRequested);
        } else {
            state.step.act(Action::ShutdownBegins { patience: final_waits::patience(&state.spec) });
            state.step.note(Note::ShutdownBegan { cause, window, drained_for: None });
        }
        // `/readyz` may stay good only if a process with a drain serves meanwhile, and if no drain
        // is under way. A drain that is under way could end before `/readyz` changes.
        let serves = |id| {
            matches!(state.life(id), Lifecycle::Ready { .. })
                && matches!(state[id].drain, Progress::NotDue)
                && state.process(id).is_drained()
        };
        let stays_ready = is_ready
            && cause.is_asked()
            && state.spec.ids().any(serves)
            && !state.spec.ids().any(|id| matches!(state[id].drain, Progress::Active(_)));
        let hook = HookWait::need_of(state.spec.hooks.pre_stop);
        let delay = if was_ready { state.spec.readiness_delay } else { Duration::ZERO };
        let count = if state.spec.counts_stops { budget::counting(window) } else { Duration::ZERO };
        let before_drains = delay.max(hook).max(count);
        state.plan_budget(before_drains, false);
        let mut waits = Waits::default();
        waits.stay_ready(state, stays_ready, window);
        // From now on nothing starts, and nothing waits for readiness. The stops that earlier
        // requests have begun must end before the deadline.
        for process in state.spec.ids() {
            state.cancel_start(process);
        }
        state.fit_waits();
        if let Cause::Ended { process, .. } = cause
            && !state.life(process).has_rest()
        {
            state.after_end(process);
            state.plan_budget(before_drains, true);
        }
        if was_ready {
            waits.begin_delay(state, window);
        }
        // Only ready processes are drained. A drain that began before the shutdown continues, even
        // if it is the drain of an old instance.
        let mut drained = Vec::new();
        for process in Arc::clone(&state.spec).order.iter().rev().copied() {
            state.note_drain_off(process);
            let has_begun = matches!(state[process].drain, Progress::Active(_));
            if !has_begun && !matches!(state.life(process), Lifecycle::Ready { .. }) {
                state[process].drain = Progress::Over;
            } else if state.process(process).is_drained() {
                state.fit_drain(process);
                if !cause.is_asked() {
                    state[process].drain.only_min();
                }
                drained.push(process);
            }
        }
        let mut draining = Self {
            has_unasked_end: false,
            mins_from: waits.delay.unwrap_or(state.now),
            first_drain: None,
            waits,
            rests_since: None,
            next_stop: None,
            drained,
            new_instances: state.spec.ids().filter(|id| state.has_not_taken_over(*id)).collect(),
            only_min: vec![false; state.spec.processes.len()],
            wakes_at: None,
        };
        if !state.is_held() {
            draining.waits.begin_before_stops(state, window);
        }
        draining.advance(state)
    }

    pub(crate) fn handle(mut self, state: &mut State, event: Event) -> Phase {
        if let Event::Exited { process, end, .. } = event {
            self.on_exited(state, event, process, end);
            return self.advance(state);
        }
        if let Event::DrainSample { process, .. } = event {
            return self.on_sample(state, process, event);
        }
        state.handle_stop(event);
        state.handle_drain(event);
        match event {
            Event::Signal(signal) if state.spec.stop_signals.contains(&signal) => {
                match state.count_signal(signal) {
                    None => {}
                    Some(_) if state.is_held() => self.stop(state, Cause::Signal(signal)),
                    Some(1) => state.step.note(Note::Hurried(Hurry::Continue)),
                    Some(_) => return self.hurry(state),
                }
            }
            Event::ShutdownRequested if state.is_held() => {
                state.count_signal(Signal::TERM);
                self.stop(state, Cause::ShutdownRequested);
            }
            Event::HookEnded { hook: HookId { process: None, stage: Stage::PreStop }, .. } => {
                self.waits.hook = None;
            }
            Event::Counted => self.waits.count = None,
            _ => {}
        }
        self.advance(state)
    }

    /// Handles a sample. Thousands of processes may send many samples a second, so this function
    /// looks at the other processes only if a timer of theirs is due.
    fn on_sample(mut self, state: &mut State, process: ProcessId, event: Event) -> Phase {
        let is_due = |at: Option<Time>| at.is_some_and(|at| at <= state.now);
        let is_other_due = is_due(self.wakes_at) || is_due(state.wakes_at());
        let before = state[process].drain.wakes_at(state.now);
        state.handle_drain(event);
        if !is_other_due {
            state.step_drain(process);
            let at = state[process].drain.wakes_at(state.now);
            let is_under_way = matches!(state[process].drain, Progress::Active(_));
            // If the timer of this process was the earliest of all and is now due later, only
            // `advance` can find the new earliest timer.
            if is_under_way && (at <= before || before > self.wakes_at) {
                self.wakes_at = self.wakes_at.into_iter().chain(at).min();
                return Phase::Draining(self);
            }
        }
        self.advance(state)
    }

    /// The time at which the next timer is due, apart from the timers of processes.
    pub(crate) fn wakes_at(&self) -> Option<Time> {
        self.wakes_at
    }

    fn earliest(&self, state: &State) -> Option<Time> {
        let drains = self.progress(state).filter_map(|progress| progress.wakes_at(state.now));
        drains.chain(self.waits.first()).chain(self.next_stop).min()
    }

    /// Whether the drains of a shutdown wait for load balancers to see that `/readyz` answers 503.
    pub fn delays(&self, state: &State) -> bool {
        self.waits.delay.is_some() && !state.is_held()
    }

    /// Whether the stops wait for a count of the open connections.
    pub fn counts(&self) -> bool {
        self.waits.count.is_some()
    }

    /// Whether `/readyz` still answers 200.
    pub fn stays_ready(&self) -> bool {
        self.waits.unready.is_some()
    }

    /// Whether a drain that was requested without a stop is over.
    pub fn is_resting(&self, state: &State) -> bool {
        state.is_held() && self.is_over(state)
    }

    /// Whether the drains and all other waits of this phase are over. Only the final counts
    /// ([`Self::step_final_counts`]) may still be missing.
    fn is_over(&self, state: &State) -> bool {
        self.progress(state).all(Progress::is_drained)
            && !self.waits.hold_drains()
            && !self.waits.hold_stops()
    }

    fn progress<'a>(&'a self, state: &'a State) -> impl Iterator<Item = &'a Progress> {
        self.drained.iter().map(|id| &state[*id].drain)
    }

    /// Begins the stop after `POST /drain`, and does not drain again. The kubelet's grace period
    /// includes the `preStop` hook that requested the drain. If the drain still runs, or has just
    /// ended, it may be the drain of such a hook, so the stop gets the rest of its grace period.
    /// Otherwise, the stop gets a grace period of its own.
    fn stop(&mut self, state: &mut State, cause: Cause) {
        let Some(shutdown) = &mut state.shutdown else { return };
        let is_recent = self.rests_since.is_none_or(|over| state.now < over + HOOK_TO_SIGNAL);
        let is_hook = is_recent && state.now < shutdown.deadline + state.spec.reserve;
        let drained_for = is_hook.then(|| state.now.since(shutdown.t0));
        shutdown.stop(cause, state.now, state.spec.window, is_hook);
        let window = shutdown.left(state.now);
        self.rests_since = None;
        state.step.act(Action::ShutdownBegins { patience: final_waits::patience(&state.spec) });
        state.step.note(Note::ShutdownBegan { cause, window, drained_for });
        state.plan_budget(Duration::ZERO, false);
        state.fit_waits();
        for process in state.spec.ids() {
            if cause.is_asked() {
                let time = state.process(process).drain.map(|drain| drain.longest(window));
                let until = state.now + time.unwrap_or_default();
                state[process].drain.count_anew(until, !is_hook);
            } else {
                state[process].drain.only_min();
            }
        }
        self.waits.begin_before_stops(state, window);
    }

    /// Handles the end of a process. If the dependents of the process cannot serve without it, they
    /// are drained for `min` only.
    fn on_exited(&mut self, state: &mut State, event: Event, gone: ProcessId, end: End) {
        // Whether the end counts as asked for. Either drainit was already stopping the process (for
        // example at an operator's request), or the slot is not the current slot of the process.
        let was_stopped = state.life(gone).is_being_stopped() || !state.is_current(gone);
        let before_ready = state.awaits_ready(gone);
        // Whether the instance has not served anybody yet.
        let was_new = state.has_not_taken_over(gone);
        // `EndedUndrained` is a note about a shutdown. While the drain is held, no shutdown has
        // begun.
        let was_undrained = !state.is_held() && state.is_undrained(gone);
        state.handle_stop(event);
        if was_undrained {
            state.step.note(Note::EndedUndrained(gone));
        }
        let spec = state.process(gone);
        let (is_oneshot, is_success) = (spec.oneshot, spec.is_success(end));
        let on_exit = spec.on_exit.of(end, is_success);
        // The end of a replaced instance has no effect on other processes if the newer instance
        // runs, or if the process has no dependents.
        let is_covered =
            !state.is_current(gone) && (state.runs_beside(gone) || spec.dependents.is_empty());
        if !was_new && !is_oneshot && on_exit != ExitPolicy::Ignore && !is_covered {
            // Without the process that is gone, the other processes may be unable to serve, so
            // `/readyz` answers 503 from now on.
            if !was_stopped {
                self.waits.turn_unready(state);
            }
            for id in state.spec.above(gone) {
                self.only_min[id.index()] = true;
                state[id].drain.only_min();
            }
        }
        let is_done = is_oneshot && is_success || state.is_answer(gone, end);
        // The end counts even if the process has `restart`, because nothing restarts during a
        // drain.
        self.has_unasked_end |= !was_stopped;
        if state.is_held() && !was_stopped && on_exit != ExitPolicy::Ignore && !is_done {
            let is_failure = on_exit == ExitPolicy::FailureShutdown;
            let process = gone;
            self.stop(state, Cause::Ended { process, end, is_success, before_ready, is_failure });
        }
    }

    /// Handles expired timers and begins the drains that are due.
    fn advance(mut self, state: &mut State) -> Phase {
        let delayed = self.waits.delay.max(self.waits.hook);
        state.plan_again(delayed, &[]);
        state.expire();
        family::settle(state, false);
        state.plan_again(delayed, &[]);
        self.waits.expire(state);
        for (process, ()) in family::left_to_drain(state, |_, _| Some(())) {
            self.begin_drain(state, process);
            self.drained.push(process);
        }
        for &process in &self.new_instances {
            if let Lifecycle::Starting { .. } = state.life(process) {
                state.begin_stop(process, false);
            }
        }
        for place in 0..self.drained.len() {
            state.step_drain(self.drained[place]);
        }
        let is_due = |progress: &Progress| matches!(progress, Progress::NotDue);
        if !self.waits.hold_drains() && self.progress(state).any(is_due) {
            self.begin_due(state);
        }
        if state.is_held() && self.has_unasked_end && state.is_done() {
            self.stop(state, Cause::AllEnded);
        }
        if self.is_resting(state) {
            self.rests_since.get_or_insert(state.now);
        }
        if self.is_over(state) && !state.is_held() && self.step_final_counts(state) {
            self.waits.turn_unready(state);
            Stopping::enter(state)
        } else {
            self.begin_stops(state);
            self.wakes_at = self.earliest(state);
            Phase::Draining(self)
        }
    }

    /// Counts the open connections or requests of drained processes once more. Returns whether all
    /// counts are done.
    fn step_final_counts(&self, state: &mut State) -> bool {
        let mut done = true;
        for &process in &self.drained {
            done &= state.step_final_count(process);
        }
        done
    }

    fn begin_due(&mut self, state: &mut State) {
        let mut is_planned = false;
        // The drain of a dependency begins only when the drains of all its dependents are over.
        state.visit_dependents_first(|state, process, is_needed| {
            let is_counted = state.process(process).drain.is_some_and(|drain| drain.closes);
            if let (false, Progress::NotDue) = (is_needed, state[process].drain)
                && (is_counted || self.waits.count.is_none())
            {
                if !core::mem::replace(&mut is_planned, true) {
                    // Earlier drains may have taken more or less time than planned.
                    state.plan_budget(Duration::ZERO, true);
                }
                self.begin_drain(state, process);
            }
            !state[process].drain.is_drained()
        });
    }

    /// Begins the stops that do not wait for the drains any longer: no process that is drained
    /// needs the process, directly or indirectly, nothing that runs depends on it, and its declared
    /// time, with those of the later stops, would otherwise not fit before the deadline. A process
    /// that may accept connections serves until load balancers have seen that `/readyz` answers
    /// 503.
    fn begin_stops(&mut self, state: &mut State) {
        self.next_stop = None;
        let Some(left) = state.left().filter(|_| !state.is_held()) else { return };
        if self.waits.hold_stops() || state.is_past_deadline() {
            return;
        }
        let served_until = self.waits.delay.max(self.waits.unready).unwrap_or_default();
        let mut is_planned = false;
        state.visit_dependents_first(|state, process, is_needed| {
            let is_drained = state[process].drain.is_drained();
            if let Lifecycle::Starting { .. } | Lifecycle::Ready { .. } = state.life(process)
                && !is_needed
                && is_drained
            {
                let before = |needed: Duration| state.now + left.saturating_sub(needed);
                let mut at = before(state.budget().stops[process.index()].declared);
                if state.process(process).is_drained() {
                    let drained = before(state.budget().stops[process.index()].kept);
                    at = at.min(drained.max(state[process].drain.waits_until()));
                }
                let at = if state[process].listens_on_nothing { at } else { at.max(served_until) };
                if at <= state.now {
                    if !core::mem::replace(&mut is_planned, true) {
                        // Drains may have ended since the budget was made.
                        state.plan_budget(Duration::ZERO, true);
                    }
                    state.end_final_count(process);
                    state.begin_stop(process, false);
                } else {
                    self.next_stop = self.next_stop.into_iter().chain([at]).min();
                }
            }
            !is_drained || !state.life(process).releases_dependencies()
        });
    }

    fn begin_drain(&mut self, state: &mut State, process: ProcessId) {
        // The first count delays the first drain by a moment, which does not shorten its `min`.
        let first = *self.first_drain.get_or_insert(state.now);
        let is_soon = first <= self.mins_from + budget::MIN_CLOSING;
        let from = if is_soon { first } else { self.mins_from };
        let is_asked = state.shutdown.as_ref().is_some_and(|it| it.cause.is_asked());
        let full = is_asked && !self.only_min[process.index()];
        let hold = self.waits.unready.map_or(Duration::ZERO, |at| at.since(state.now));
        state.begin_drain(process, full, from, hold);
    }

    /// Handles a second stop signal. The drains end, and the processes are stopped now, still in
    /// the order of the graph.
    fn hurry(mut self, state: &mut State) -> Phase {
        state.step.note(Note::Hurried(Hurry::CutWaits));
        if self.waits.hook.take().is_some() {
            state.step.abort_hook(None, Stage::PreStop);
        }
        for process in state.spec.ids() {
            state.end_drain(process, DrainEnd::Hurried);
        }
        // An operator's request or a failed liveness check may have begun `pre_stop` hooks. These
        // hooks are cut short, too.
        state.cut_pre_stops();
        self.waits.turn_unready(state);
        Stopping::enter(state)
    }
}
