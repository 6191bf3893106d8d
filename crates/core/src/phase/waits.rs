//! The waits of a drain phase that come before the drains or the stops.

use core::time::Duration;

use crate::action::Action;
use crate::budget;
use crate::note::Note;
use crate::spec::{HookWait, Stage};
use crate::state::{Lifecycle, State};
use crate::types::Time;

/// The time at which each wait is over at the latest; `None` if there is no such wait.
#[derive(Clone, Debug, Default)]
pub(super) struct Waits {
    /// No drain begins until load balancers have had time to see that `/readyz` answers 503.
    pub(super) delay: Option<Time>,
    /// `/readyz` stays good. `None` if `/readyz` does not answer 200.
    pub(super) unready: Option<Time>,
    /// No drain and no stop begins while the container's `pre_stop` hook runs.
    pub(super) hook: Option<Time>,
    /// The stops wait for a count of the connections that they cut. Without this wait, a process
    /// that does not handle its stop signal would end before the kernel can list its connections. A
    /// drain that counts nothing waits, too, because the drain itself may end the process.
    pub(super) count: Option<Time>,
}

impl Waits {
    /// Whether no drain may begin yet.
    pub(super) fn hold_drains(&self) -> bool {
        self.delay.is_some() || self.hook.is_some()
    }

    /// Whether no stop may begin yet, not even a stop that does not wait for the drains.
    pub(super) fn hold_stops(&self) -> bool {
        self.hook.is_some() || self.count.is_some()
    }

    /// The time at which the next wait is over.
    pub(super) fn first(&self) -> Option<Time> {
        [self.delay, self.unready, self.hook, self.count].into_iter().flatten().min()
    }

    /// Lets `/readyz` stay good for a while if `is_possible`. Otherwise, `/readyz` answers 503 now.
    pub(super) fn stay_ready(&mut self, state: &mut State, is_possible: bool, left: Duration) {
        let wait = state.budget().unready_delay(&state.spec, left);
        self.unready = (is_possible && !wait.is_zero()).then(|| state.now + wait);
        state.step.act(if self.unready.is_some() { Action::StayReady } else { Action::Unready });
    }

    pub(super) fn turn_unready(&mut self, state: &mut State) {
        if self.unready.take().is_some() {
            state.step.act(Action::Unready);
        }
    }

    /// Makes the drains wait for load balancers.
    pub(super) fn begin_delay(&mut self, state: &mut State, left: Duration) {
        let wait = HookWait::new(Some(state.spec.readiness_delay));
        let wait = state.budget().before_drains(wait, left);
        self.delay = Some(state.now + wait);
        if !wait.is_zero() && !state.is_done() {
            state.step.note(Note::Delayed(wait));
        }
    }

    /// Begins the waits that come before the stops of a shutdown: for a count of the connections, if
    /// some process may serve and no drain counts its connections, and for the container's
    /// `pre_stop` hook.
    pub(super) fn begin_before_stops(&mut self, state: &mut State, left: Duration) {
        let is_uncounted = |id| match state.life(id) {
            // A process may serve before it is ready, but is not drained before it is ready.
            Lifecycle::Spawning | Lifecycle::Starting { .. } => true,
            Lifecycle::Ready { .. } => !state.process(id).drain.is_some_and(|drain| drain.closes),
            _ => false,
        };
        if state.spec.counts_stops && state.spec.ids().any(is_uncounted) {
            self.count = Some(state.now + budget::counting(left));
        }
        let hook = state.spec.hooks.pre_stop.filter(|_| state.has_begun);
        let within = hook.map(|wait| state.budget().before_drains(wait, left));
        if let Some(within) = within.filter(|within| !within.is_zero()) {
            self.hook = Some(state.step.run_hook(None, Stage::PreStop, state.now + within));
        }
    }

    /// Ends the waits whose time is over.
    pub(super) fn expire(&mut self, state: &mut State) {
        // If all processes are gone, there is no traffic to move away or to count.
        let is_over = |until: &mut Time| state.is_done() || state.is_past(*until);
        self.delay.take_if(is_over);
        self.count.take_if(is_over);
        if self.hook.take_if(|until| state.is_past(*until)).is_some() {
            state.step.time_out_hook(None, Stage::PreStop);
        }
        if state.is_done() || self.unready.is_some_and(|at| at <= state.now) {
            self.turn_unready(state);
        }
    }
}
