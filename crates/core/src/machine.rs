//! The state machine, which handles every event.

use alloc::sync::Arc;
use core::time::Duration;

use crate::action::Action;
use crate::event::Event;
use crate::family::{self, Tie};
use crate::note::{Note, RequestError};
use crate::phase::Phase;
use crate::phase::running::Running;
use crate::prelude::*;
use crate::slots::Placed;
use crate::spec::Spec;
use crate::state::{Lifecycle, Shutdown, State};
use crate::types::{ProcessId, Signal, Time};

/// The shortest time between two notes which say that the same process asks for more time.
const EXTENSION_NOTES: Duration = Duration::from_secs(1);

/// The state machine of one container. The diagram in [`core`](super) shows its phases.
#[derive(Clone, Debug)]
pub struct Machine {
    state: State,
    phase: Phase,
}

impl Machine {
    /// Creates a machine that waits for [`Event::Start`].
    pub fn new(spec: Arc<Spec>, now: Time) -> Self {
        Self { state: State::new(spec, now), phase: Phase::Running(Running::default()) }
    }

    /// Handles one event, and returns the actions in the order in which the supervisor has to carry
    /// them out.
    ///
    /// `now` must not be earlier than in the previous call. Timers that have expired by `now` take
    /// effect in this step, too.
    pub fn handle(&mut self, now: Time, event: Event) -> Vec<Action> {
        self.state.timers_at = self.state.timers_at.max(now);
        self.handle_early(now, event)
    }

    /// Handles one event before the timers that have expired since the previous step, because the
    /// event may have happened before they expired. These timers take effect only in a later step.
    pub fn handle_early(&mut self, now: Time, event: Event) -> Vec<Action> {
        self.begin_step(now);
        let state = &mut self.state;
        if let Event::Signal(signal) = event
            && !state.spec.stop_signals.contains(&signal)
        {
            forward(state, signal);
        }
        if event == Event::SignalHandled {
            // Another stop signal within `ONE_SIGNAL` from now counts as a repetition.
            state.shutdown.iter_mut().for_each(|shutdown| shutdown.on_signal_handled(now));
        }
        let event = self.judge(event);
        if let Event::Requested { process, request } = event
            && let Some(shutdown) = self.shutdown()
        {
            let why = RequestError::in_shutdown(shutdown.cause);
            self.state.step.answer(process, request, Err(why));
        }
        let state = &mut self.state;
        self.phase = match core::mem::replace(&mut self.phase, Phase::Done) {
            Phase::Running(running) => running.handle(state, event),
            Phase::Draining(draining) => draining.handle(state, event),
            Phase::Stopping(stopping) => stopping.handle(state, event),
            Phase::Finishing(finishing) => finishing.handle(state, event),
            Phase::Done => Phase::Done,
        };
        self.end_step()
    }

    /// Ends a step: in a shutdown, releases the sockets that are no longer needed. Returns all
    /// actions of the step.
    fn end_step(&mut self) -> Vec<Action> {
        if self.shutdown().is_some() {
            self.state.release_sockets();
        }
        self.state.step.take_actions()
    }

    /// Replaces the config while the container runs, and returns the first actions. `new` is the
    /// spec of the new config, with its own ids; `plan` says to which slot each process of `new`
    /// belongs. Processes that `plan` does not name are removed. Exactly one
    /// [`Action::AnswerReload`] answers the reload before drainit exits.
    ///
    /// # Errors
    /// In three cases the reload is refused, and nothing changes: the container has not been ready
    /// yet; a drain or a shutdown has begun; or a request, a replacement or another reload is still
    /// under way.
    pub fn reload(
        &mut self,
        now: Time,
        new: Spec,
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

    /// Whether [`Self::reload`] would succeed now.
    ///
    /// # Errors
    /// The reason why the reload would be refused.
    pub fn may_reload(&self) -> Result<(), RequestError> {
        match (&self.phase, self.shutdown()) {
            (Phase::Running(running), _) => running.may_reload(&self.state),
            (_, Some(shutdown)) => Err(RequestError::in_shutdown(shutdown.cause)),
            (_, None) => Err(RequestError::ShuttingDown),
        }
    }

    /// Begins a step, and forgets the results of the previous step.
    pub fn begin_step(&mut self, now: Time) {
        let state = &mut self.state;
        state.now = now.max(state.now);
        state.step.begin();
        state.family.expire(state.timers_at);
    }

    /// Handles liveness probes, processes that ask for more time, and orphans that are gone. These
    /// events have the same effect in several phases. Returns the event for the phase: [`Event::Unhealthy`] if a probe
    /// has failed too often, otherwise `event`.
    fn judge(&mut self, event: Event) -> Event {
        let state = &mut self.state;
        if let Event::ListensOnNothing(process) = event {
            state[process].listens_on_nothing = true;
        }
        if let Event::TimeToEnd { process, time } = event {
            // The next instances probably need as long. The budget of a shutdown is made later, or
            // has already been made without this time.
            Arc::make_mut(&mut state.spec).processes[process.index()].to_end = Some(time);
        }
        let is_running = matches!(self.phase, Phase::Running(_));
        let is_watched = |state: &State, process| {
            is_running && matches!(state.life(process), Lifecycle::Ready { .. })
        };
        match event {
            Event::LivenessProbed { process, is_alive: true } => {
                state[process].probe_failures.in_a_row = 0;
            }
            Event::LivenessProbed { process, .. }
                if is_watched(state, process) && on_probe_failed(state, process) =>
            {
                return Event::Unhealthy(process);
            }
            Event::Unhealthy(process) if is_watched(state, process) => {
                state[process].probe_failures.count += 1;
            }
            Event::OrphansGone(process) => state.on_orphans_gone(process),
            Event::TimeoutExtended { process, by } => {
                extend_timeout(state, process, by);
            }
            _ => {}
        }
        event
    }

    /// The time at which [`Event::Tick`] is due if no other event comes first. This time is later
    /// than the last `now`, except after [`Self::handle_early`].
    pub fn next_wakeup(&self) -> Option<Time> {
        let of_phase = match &self.phase {
            Phase::Running(running) => running.wakes_at(&self.state),
            Phase::Draining(draining) => draining.wakes_at(),
            Phase::Stopping(stopping) => stopping.wakes_at(&self.state),
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

    /// The shutdown, or the drain without a stop, that is under way; `None` before it and after the
    /// exit.
    pub fn shutdown(&self) -> Option<&Shutdown> {
        self.state.shutdown.as_ref().filter(|_| !matches!(self.phase, Phase::Done))
    }

    /// The end of the grace period, once the core has given [`Action::Exit`].
    pub fn grace_end(&self) -> Option<Time> {
        let shutdown = self.state.shutdown.as_ref().filter(|_| matches!(self.phase, Phase::Done));
        shutdown.map(|shutdown| shutdown.deadline + self.state.spec.reserve)
    }

    /// Whether the container cannot be ready yet because of this process. There are two cases. The
    /// process is starting, has just ended, or will be started again soon. Or an operation stops or
    /// has stopped a process that is `required` or will be restarted after a failure. A process
    /// that has ended for good does not count, even if it is `required`.
    pub fn waits_for(&self, process: ProcessId) -> bool {
        self.state.waits_for(process)
            || matches!(&self.phase, Phase::Running(running)
                if running.operations.blocks_readiness(&self.state, process))
    }
}

/// Forwards a signal to the processes that have it in `forward_signals`.
fn forward(state: &mut State, signal: Signal) {
    let spec = Arc::clone(&state.spec);
    let wants = |id: &ProcessId| spec.processes[id.index()].forward_signals.contains(&signal);
    for process in spec.ids().filter(wants) {
        if state.life(process).is_alive() {
            state.step.act(Action::Signal { process, signal });
        }
    }
}

/// Counts a failed liveness probe. Returns whether the check has failed, because enough probes have
/// failed in a row.
fn on_probe_failed(state: &mut State, process: ProcessId) -> bool {
    let retries = state.process(process).liveness_retries.unwrap_or(1);
    let of = &mut state[process].probe_failures;
    (of.count, of.in_a_row) = (of.count + 1, of.in_a_row.saturating_add(1));
    let failures = of.in_a_row;
    if failures < retries {
        state.step.note(Note::ProbeFailed { process, failures, retries });
    }
    failures >= retries
}

/// Gives a process more time to become ready or to end: its new limit is `by` from now. Does
/// nothing if the present limit is already over, or is later than the new one. In a shutdown, the
/// process gets no more time than the later stops can spare.
fn extend_timeout(state: &mut State, id: ProcessId, by: Duration) {
    let (before, longest) = match state.life(id) {
        // An instance that is being probed for the last time gets no more time.
        Lifecycle::Starting { ready_by, .. } if state[id].overdue.is_none() => {
            (ready_by, Duration::MAX)
        }
        Lifecycle::Stopping { kill_at, .. } if family::tie(state, id) != Tie::KillOnly => {
            // A held drain has no deadline for its stops yet.
            let left = state.left().filter(|_| !state.is_held());
            let kept = || state.budget().after_stop(&state.spec, id).kept;
            (kill_at, left.map_or(Duration::MAX, |left| left.saturating_sub(kept())))
        }
        _ => return,
    };
    let granted = by.min(longest);
    let longer = state.now + granted;
    // This event may be handled late, when the old limit is over. A limit that is already over is
    // not extended.
    if granted.is_zero() || state.is_past(before) || longer <= before {
        return;
    }
    state.set_timer(id, longer);
    let noted = state[id].extension_noted;
    if noted.is_none_or(|at| state.now.since(at) >= EXTENSION_NOTES) {
        state[id].extension_noted = Some(state.now);
        state.step.note(Note::TimeoutExtended { process: id, limit: longer.since(state.now) });
    }
}
