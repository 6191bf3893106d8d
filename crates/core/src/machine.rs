//! The state machine: the only entry for events.

use alloc::rc::Rc;

use crate::action::Action;
use crate::cause::Cause;
use crate::event::{Event, Request};
use crate::note::{Note, RequestError};
use crate::phase::running::Running;
use crate::phase::{Phase, Shutdown};
use crate::prelude::*;
use crate::slots::Placed;
use crate::spec::Spec;
use crate::state::{Lifecycle, State};
use crate::types::{ProcessId, Signal, Time};

/// See the diagram in [`core`](super).
#[derive(Clone, Debug)]
pub struct Machine {
    state: State,
    phase: Phase,
}

impl Machine {
    /// Creates a machine that waits for [`Event::Start`].
    pub fn new(spec: Rc<Spec>, now: Time) -> Self {
        Self { state: State::new(spec, now), phase: Phase::Running(Running::default()) }
    }

    /// Handles one event and returns the actions to carry out, in this order.
    ///
    /// `now` must not go back. Timers that have expired by `now` are handled in the same step.
    pub fn handle(&mut self, now: Time, event: Event) -> Vec<Action> {
        self.state.timers_at = self.state.timers_at.max(now);
        self.handle_early(now, event)
    }

    /// Handles one event, and leaves the timers that have expired since the last step to a later
    /// one. For an event that is handled after a limit, and may have happened before it.
    pub fn handle_early(&mut self, now: Time, event: Event) -> Vec<Action> {
        self.begin_step(now);
        let state = &mut self.state;
        if let Event::Signal(signal) = event
            && !state.spec.stop_signals.contains(&signal)
        {
            forward(state, signal);
        }
        if let (Event::SignalHandled, Some(shutdown)) = (event, self.phase.shutdown_mut()) {
            shutdown.signal_handled(now);
        }
        let event = self.judge(event);
        let state = &mut self.state;
        if let (Event::Requested { process, request }, Some(shutdown)) =
            (event, self.phase.shutdown())
        {
            let why = refusal(shutdown);
            state.note(Note::RequestFailed { process, request, why });
        }
        self.phase = match core::mem::replace(&mut self.phase, Phase::Done) {
            Phase::Running(running) => running.handle(state, event),
            Phase::Draining(draining) => draining.handle(state, event),
            Phase::Stopping(stopping) => stopping.handle(state, event),
            Phase::Finishing(finishing) => finishing.handle(state, event),
            Phase::Done => Phase::Done,
        };
        self.end_step()
    }

    /// Adds what every step ends with, and returns the actions of this one.
    fn end_step(&mut self) -> Vec<Action> {
        if self.phase.shutdown().is_some() {
            self.state.release_sockets();
        }
        core::mem::take(&mut self.state.actions)
    }

    /// Replaces the config while the container runs, and returns the first actions. `new` is the
    /// spec of the new config, with ids of its own; `plan` has the place of each of its processes.
    /// Processes that run and have no place are removed. Answered exactly once, before the exit, by
    /// `Note::ReloadDone` or `Note::ReloadFailed`.
    ///
    /// # Errors
    /// It is refused, and nothing changes, before all processes were ready once, from the begin of a
    /// drain or a shutdown on, and while a request, a replacement or another reload is under way, or
    /// has not come to its end.
    pub fn reload(
        &mut self,
        now: Time,
        new: &Spec,
        plan: &[Placed],
    ) -> Result<Vec<Action>, RequestError> {
        self.may_reload()?;
        self.state.timers_at = self.state.timers_at.max(now);
        self.begin_step(now);
        let state = &mut self.state;
        self.phase = match core::mem::replace(&mut self.phase, Phase::Done) {
            Phase::Running(running) => running.reload(state, new, plan),
            other => other,
        };
        Ok(self.end_step())
    }

    /// Whether [`Self::reload`] would be taken now.
    ///
    /// # Errors
    /// Why it would be refused.
    pub fn may_reload(&self) -> Result<(), RequestError> {
        let why = match (&self.phase, self.phase.shutdown()) {
            (Phase::Running(running), _) => running.refuses_reload(&self.state),
            (_, Some(shutdown)) => Some(refusal(shutdown)),
            (_, None) => Some(RequestError::ShuttingDown),
        };
        why.map_or(Ok(()), Err)
    }

    /// Whether this request may be given now. A restart that comes once the new instance of an
    /// earlier one has begun is not done with that: it may have read what has changed since.
    ///
    /// # Errors
    /// Why it is refused. That is known for equal requests only, which share one answer; all others
    /// are answered by a note.
    pub fn may_request(&self, process: ProcessId, request: Request) -> Result<(), RequestError> {
        let why = match &self.phase {
            Phase::Running(running) => running.operations.refuses(&self.state, process, request),
            _ => None,
        };
        why.map_or(Ok(()), Err)
    }

    /// Forgets what only the last step was about.
    pub fn begin_step(&mut self, now: Time) {
        let state = &mut self.state;
        state.now = now.max(state.now);
        state.touched.clear();
        state.arrived.clear();
        state.met.clear();
        state.epochs.expire(state.timers_at);
    }

    /// Handles the events that depend on the lifecycle of one process only. Returns
    /// [`Event::Unhealthy`] if its liveness check has failed.
    fn judge(&mut self, event: Event) -> Event {
        let state = &mut self.state;
        let is_running = matches!(self.phase, Phase::Running(_));
        let is_watched = |state: &State, process| {
            is_running && matches!(state.life(process), Lifecycle::Ready { .. })
        };
        match event {
            Event::LivenessProbed { process, is_alive: true } => state.probe_succeeded(process),
            Event::LivenessProbed { process, .. }
                if is_watched(state, process) && state.probe_failed(process) =>
            {
                return Event::Unhealthy(process);
            }
            Event::Unhealthy(process) if is_watched(state, process) => {
                state[process].probe_failures += 1;
            }
            Event::TimeoutExtended { process, by } => {
                // While a drain is held, there is none yet.
                let is_stop = |shutdown: &&Shutdown| shutdown.cause != Cause::DrainRequested;
                let stop = self.phase.shutdown().filter(is_stop);
                state.extend_timeout(process, by, stop.map(|stop| stop.deadline));
            }
            _ => {}
        }
        event
    }

    /// When [`Event::Tick`] is due if no other event comes first. Later than the last `now`, except
    /// after [`Self::handle_early`].
    pub fn next_wakeup(&self) -> Option<Time> {
        let of_phase = match &self.phase {
            Phase::Running(running) => running.wakes_at(&self.state),
            Phase::Draining(draining) => draining.wakes_at(&self.state),
            Phase::Stopping(stopping) => stopping.wakes_at(),
            Phase::Finishing(finishing) => finishing.wakes_at(),
            Phase::Done => return None,
        };
        of_phase.into_iter().chain(self.state.wakes_at()).min()
    }

    pub fn phase(&self) -> &Phase {
        &self.phase
    }

    pub fn state(&self) -> &State {
        &self.state
    }

    /// Whether the container is not ready because of this process: it is not ready yet, is to be
    /// added or started again, or is on its way down, which matters of an optional one only for a
    /// restart.
    pub fn waits_for(&self, process: ProcessId) -> bool {
        let is_missed = match &self.phase {
            Phase::Running(running) => running.misses(&self.state, process),
            _ => false,
        };
        is_missed || self.state.waits_for(process)
    }
}

/// Why no request is taken in a shutdown.
fn refusal(shutdown: &Shutdown) -> RequestError {
    let is_held = shutdown.cause == Cause::DrainRequested;
    if is_held { RequestError::Drained } else { RequestError::ShuttingDown }
}

/// Forwards a signal to the processes that have it in `forward_signals`.
fn forward(state: &mut State, signal: Signal) {
    let spec = Rc::clone(&state.spec);
    let wants = |id: &ProcessId| spec.processes[id.index()].forward_signals.contains(&signal);
    for process in spec.ids().filter(wants) {
        if state.life(process).is_alive() {
            state.act(Action::Signal { process, signal });
        }
    }
}
