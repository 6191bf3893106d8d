//! The first phase: drainit starts, supervises and restarts processes. The phase ends at the first
//! reason to stop.

use alloc::sync::Arc;
use core::time::Duration;

use crate::action::Action;
use crate::budget::MOST_KEPT;
use crate::cause::{Cause, Failure};
use crate::event::Event;
use crate::family;
use crate::note::{AfterEnd, Note, RequestError};
use crate::phase::Phase;
use crate::phase::draining::Draining;
use crate::phase::operations::{Goal, Judged, Operations};
use crate::prelude::*;
use crate::slots::Placed;
use crate::spec::{HookId, ProcessSpec, Spec, Stage};
use crate::state::{Lifecycle, Role, State};
use crate::types::{End, ExitPolicy, ProcessId, StartCondition, Time};

#[derive(Clone, Debug, Default)]
pub struct Running {
    /// The time at which the `pre_start` hook of the container is killed; `None` if the hook does
    /// not run.
    hook_until: Option<Time>,
    /// Whether `Note::AllReady` was given.
    all_ready: bool,
    /// Whether the core has already checked every process once to see if the process can start.
    /// From then on, the core checks a process only when one of its dependencies meets a further
    /// condition.
    has_scanned: bool,
    pub(crate) operations: Operations,
}

/// The result of a step. The error is the cause of the shutdown that begins.
type Step = Result<(), Cause>;

impl Running {
    pub(crate) fn handle(mut self, state: &mut State, event: Event) -> Phase {
        let step = self.take(state, event);
        self.finish(state, step)
    }

    /// Takes over a new config. The caller has checked that this is possible now.
    pub(crate) fn reload(mut self, state: &mut State, spec: Spec, plan: &[Placed]) -> Phase {
        self.operations.reload(state, spec, plan);
        self.finish(state, Ok(()))
    }

    /// Whether a reload can begin now.
    pub(crate) fn may_reload(&self, state: &State) -> Result<(), RequestError> {
        if self.all_ready {
            self.operations.may_reload(state)
        } else {
            Err(RequestError::StillStarting)
        }
    }

    fn finish(mut self, state: &mut State, step: Step) -> Phase {
        let step = step.and_then(|()| self.tick(state)).and_then(|()| self.advance(state));
        match step {
            Ok(()) => Phase::Running(self),
            Err(cause) => {
                let is_ready = self.serves(state);
                if self.hook_until.is_some() {
                    state.step.abort_hook(None, Stage::PreStart);
                }
                self.operations.abandon(state, RequestError::in_shutdown(cause));
                Draining::enter(cause, self.all_ready, is_ready, state)
            }
        }
    }

    /// The time at which the next timer is due, apart from the timers of processes.
    pub(crate) fn wakes_at(&self, state: &State) -> Option<Time> {
        self.hook_until.into_iter().chain(self.operations.wakes_at(state)).min()
    }

    /// Whether all processes have once been ready or complete at the same time.
    pub fn was_ready(&self) -> bool {
        self.all_ready
    }

    /// Whether every process is ready or complete now, including those that a reload adds.
    pub fn is_ready(&self, state: &State) -> bool {
        self.serves(state) && !self.operations.awaits_addition(state)
    }

    /// Like [`Self::is_ready`], but ignores the processes that a reload has yet to add.
    fn serves(&self, state: &State) -> bool {
        self.all_ready && self.is_settled(state)
    }

    /// Whether the `pre_start` hook of the container runs.
    pub fn runs_hook(&self) -> bool {
        self.hook_until.is_some()
    }

    /// Whether the processes and the operations under way permit the container to be ready.
    fn is_settled(&self, state: &State) -> bool {
        let operations = &self.operations;
        state.is_settled()
            && state.missing.is_empty()
            && !operations.goals.keys().any(|id| operations.blocks_readiness(state, *id))
    }

    fn take(&mut self, state: &mut State, event: Event) -> Step {
        match event {
            Event::Start => {
                state.has_begun = true;
                for process in state.spec.ids() {
                    if !state.process(process).autostart {
                        state.set(process, Lifecycle::Stopped { failed: false });
                    }
                }
                let hook = state.spec.hooks.pre_start;
                self.hook_until = hook
                    .map(|wait| state.step.run_hook(None, Stage::PreStart, state.now + wait.limit));
            }
            Event::Signal(signal) if state.spec.stop_signals.contains(&signal) => {
                return Err(Cause::Signal(signal));
            }
            // A request to drain is ignored until all processes have been ready. Before then, there
            // is nothing to drain, and no reason to give up the start.
            Event::DrainRequested if self.all_ready => return Err(Cause::DrainRequested),
            Event::ShutdownRequested => return Err(Cause::ShutdownRequested),
            Event::Requested { process, request } => {
                self.operations.request(state, process, request);
            }
            Event::FileSeen { process, watch } => {
                state.changes.on_seen(process, watch);
            }
            Event::FileQuiet { process, watch, is_new } => {
                state.changes.on_quiet(process, watch, is_new);
            }
            Event::Unhealthy(process) => self.operations.on_unhealthy(state, process),
            Event::HookEnded { hook, success } => return self.on_hook_ended(state, hook, success),
            Event::Condition { process, check, holds }
                if state.life(process) == Lifecycle::Checking { check } =>
            {
                if holds {
                    state.prepare(process);
                } else if Operations::is_copy_beside(state, process) {
                    state.set(process, Lifecycle::Done);
                    let why = RequestError::Skipped(process);
                    self.operations.on_start_failed(state, process, why);
                } else {
                    if let Role::New { old } = state.role(process) {
                        // The `only_if` of the new config does not hold, so the old instance is
                        // stopped.
                        state.step.note(Note::TakesOver { process, old });
                        self.operations.swap(state, process, old);
                    }
                    state.step.note(Note::Skipped(process));
                    state.reach(process, Some(StartCondition::Completed));
                    state[process].went_well = true;
                    self.operations.on_skipped(state, process);
                    state.set(process, Lifecycle::Done);
                }
            }
            Event::Spawned(process)
            | Event::SpawnFailed { process, .. }
            | Event::Exited { process, .. }
                if self.operations.stops(process) =>
            {
                state.handle_stop(event);
            }
            Event::Spawned(process) if state.life(process) == Lifecycle::Spawning => {
                state.on_spawned(process);
            }
            Event::SpawnFailed { process, exit_code }
                if matches!(
                    state.life(process),
                    Lifecycle::Spawning | Lifecycle::PreStart { .. }
                ) =>
            {
                if matches!(state.life(process), Lifecycle::PreStart { .. }) {
                    state.step.abort_hook(Some(process), Stage::PreStart);
                }
                state.set(process, Lifecycle::Done);
                let why = Failure::Spawn { exit_code };
                if self.on_start_failed(state, process, why) {
                    return Ok(());
                }
                if state.reached(process).is_some() {
                    // The process has been started before, so the reason for the failure may be
                    // temporary. The failure therefore counts as an end of the running process, and
                    // `restart` decides.
                    state.set(process, Lifecycle::Ready { since: state.now });
                    // No program has run, so `success_codes` does not apply.
                    let (since, end) = (state.now, End::Code(exit_code));
                    return on_ended(state, process, since, end, false, false);
                }
                if state.process(process).may_be_missing() {
                    return judge(state, process, Duration::ZERO, why);
                }
                return Err(Cause::Failed { process, why });
            }
            // A oneshot has no readiness: it completes, or its time runs out.
            Event::Ready(process) if !state.process(process).oneshot => {
                if let Lifecycle::Starting { since, .. } = state.life(process) {
                    state.on_ready(process, since);
                }
            }
            Event::NotLive(process) => state.on_not_live(process),
            Event::Exited { process, end, remains } => {
                family::on_ended(state, process, remains);
                self.operations.on_old_failed(state, process);
                if !state.completes(process, end) && state.life(process).is_alive() {
                    let was_ready = matches!(state.life(process), Lifecycle::Ready { .. });
                    let why = RequestError::Ended { process, end, was_ready };
                    self.operations.on_start_failed(state, process, why);
                }
                if self.operations.stops(process) {
                    state.handle_stop(event);
                } else {
                    return on_exited(state, process, end, remains);
                }
            }
            Event::Leftovers { process, any } => state.on_leftovers(process, any),
            Event::ExitSeen { .. } | Event::GroupGone(_) => {
                state.handle_stop(event);
            }
            Event::DrainAnswered { .. }
            | Event::Drained(_)
            | Event::DrainSample { .. }
            | Event::NothingToDrain(_)
            | Event::ListenersClosed(_) => state.handle_drain(event),
            _ => {}
        }
        Ok(())
    }

    fn on_hook_ended(&mut self, state: &mut State, hook: HookId, success: bool) -> Step {
        match (hook.process, hook.stage) {
            (None, Stage::PreStart) if self.hook_until.take().is_some() && !success => {
                return Err(Cause::HookFailed);
            }
            (Some(process), Stage::PreStart)
                if matches!(state.life(process), Lifecycle::PreStart { .. }) =>
            {
                if !success {
                    return self.on_hook_failed(state, process);
                }
                state[process].has_run = true;
                state.spawn(process);
            }
            (Some(_), Stage::PreStop | Stage::PostStop) => {
                let event = Event::HookEnded { hook, success };
                state.handle_stop(event);
            }
            _ => {}
        }
        Ok(())
    }

    /// Handles the failure of a start. Returns whether a request, a replacement or a reload had
    /// begun the start. If so, only that operation fails.
    fn on_start_failed(&mut self, state: &mut State, process: ProcessId, why: Failure) -> bool {
        self.operations.on_start_failed(state, process, RequestError::Failed { process, why })
    }

    /// Handles the failure of the `pre_start` hook of a process.
    fn on_hook_failed(&mut self, state: &mut State, process: ProcessId) -> Step {
        state.set(process, Lifecycle::Done);
        let why = Failure::Hook;
        if self.on_start_failed(state, process, why) {
            return Ok(());
        }
        // If the process has been started before, the reason for the failure may be temporary, and
        // `restart` decides.
        if state.process(process).may_be_missing() || state.reached(process).is_some() {
            return judge(state, process, Duration::ZERO, why);
        }
        Err(Cause::Failed { process, why })
    }

    /// Handles expired timers.
    fn tick(&mut self, state: &mut State) -> Step {
        state.expire();
        self.operations.drain_old(state);
        family::settle(state, true);
        if self.hook_until.take_if(|until| state.is_past(*until)).is_some() {
            state.step.time_out_hook(None, Stage::PreStart);
            return Err(Cause::HookFailed);
        }
        let mut due: Vec<_> = state.due().collect();
        due.sort_unstable();
        for process in due {
            match state.life(process) {
                Lifecycle::PreStart { .. } => {
                    state.step.time_out_hook(Some(process), Stage::PreStart);
                    self.on_hook_failed(state, process)?;
                }
                Lifecycle::Starting { .. } if state.probe_once(process) => {}
                Lifecycle::Starting { since, ready_by } => {
                    let after = state[process].overdue.unwrap_or(ready_by).since(since);
                    let spec = state.process(process);
                    let may_continue = spec.oneshot || spec.may_be_missing();
                    let why = match spec.oneshot {
                        true => Failure::TimedOut { after },
                        false => Failure::NotReady { after },
                    };
                    state.step.note(Note::Overdue { process, why, after });
                    if self.on_start_failed(state, process, why) {
                        continue;
                    }
                    if !may_continue {
                        return Err(Cause::Failed { process, why });
                    }
                    self.operations.bring_down(state, process, Goal::Judged { since, why });
                }
                Lifecycle::Backoff { anew, .. } => state.start_again(process, anew),
                Lifecycle::Clearing { .. } => state.end_clearing(process),
                _ => {}
            }
        }
        Ok(())
    }

    /// Advances the operations, and starts the processes whose dependencies have met their
    /// conditions.
    fn advance(&mut self, state: &mut State) -> Step {
        let may_start = state.has_begun && self.hook_until.is_none();
        loop {
            for Judged { process, since, why } in self.operations.advance(state, may_start) {
                judge(state, process, state.now.since(since), why)?;
            }
            if !self.operations.follow_changes(state) {
                break;
            }
        }
        if !may_start {
            return Ok(());
        }
        let spec = Arc::clone(&state.spec);
        if core::mem::replace(&mut self.has_scanned, true) {
            for process in dependents_of_arrived(state) {
                state.begin_if_possible(process);
            }
        } else {
            for &process in &spec.order {
                state.begin_if_possible(process);
            }
        }
        if state.is_done() {
            return Err(Cause::AllEnded);
        }
        if !self.all_ready && self.is_settled(state) {
            self.all_ready = true;
            state.step.act(Action::TellReady);
            state.step.note(Note::AllReady);
        }
        Ok(())
    }
}

/// The dependents of each process whose `reached` has changed in this step, in the order of the
/// graph.
fn dependents_of_arrived(state: &State) -> Vec<ProcessId> {
    let dependents = |id: &ProcessId| &state.process(*id).dependents;
    let mut waiting = state.by_rank(state.step.arrived.iter().flat_map(dependents).copied());
    waiting.dedup();
    waiting
}

/// Handles a process that has ended by itself.
fn on_exited(state: &mut State, process: ProcessId, end: End, remains: bool) -> Step {
    let (Lifecycle::Starting { since, .. } | Lifecycle::Ready { since }) = state.life(process)
    else {
        return Ok(());
    };
    if state.completes(process, end) {
        let lived = state.now.since(since);
        state.step.note(Note::Completed { process, end, after: lived });
        state.reach(process, Some(StartCondition::Completed));
        state.step.met.extend(
            [StartCondition::Ready, StartCondition::Completed]
                .map(|condition| (process, condition)),
        );
        state[process].went_well = true;
        state.after_end(process);
        return Ok(());
    }
    let is_success = state.process(process).is_success(end);
    on_ended(state, process, since, end, is_success, remains)
}

/// Handles a service that has ended by itself, or a oneshot that has failed. `since` is the time of
/// the start. `remains` says whether other members of the process group are alive.
fn on_ended(
    state: &mut State,
    process: ProcessId,
    since: Time,
    end: End,
    is_success: bool,
    remains: bool,
) -> Step {
    let before_ready = state.awaits_ready(process);
    let spec = state.process(process);
    let on_exit = spec.on_exit.of(end, is_success);
    // Nobody asked for this end, and a restart may wait for the rest of the process group.
    let kill_at = state.now + spec.stop.unwrap_or(state.unset_stop().min(MOST_KEPT));
    let (restart, lived) = (spec.restart, state.now.since(since));
    let next = state[process].restarts.after_end(restart, on_exit, !is_success, lived);
    if let AfterEnd::Restart { delay, .. } = next {
        let until = state.now + delay;
        // If the `pre_start` hook has not run yet, the next start runs it.
        let anew = !state[process].has_run;
        state.set(process, Lifecycle::Backoff { until, anew });
        state[process].restarts.after_rest = remains.then_some(delay);
    }
    state.step.note(Note::Ended { process, end, next });
    if remains {
        state.stop_rest(process, kill_at);
    }
    let is_failure = on_exit == ExitPolicy::FailureShutdown;
    let cause = Cause::Ended { process, end, is_success, before_ready, is_failure };
    // If a shutdown begins now, the `post_stop` hook of the process runs in the shutdown.
    conclude(state, process, next, cause)?;
    if !remains && !matches!(next, AfterEnd::Restart { .. }) {
        state.after_end(process);
    }
    Ok(())
}

/// Lets `restart` decide about a process that has failed to start, or that was stopped after a
/// failure.
fn judge(state: &mut State, process: ProcessId, lived: Duration, why: Failure) -> Step {
    let ProcessSpec { on_exit, restart, .. } = *state.process(process);
    let next = state[process].restarts.after_end(restart, on_exit.failure, true, lived);
    state.step.note(Note::Failed { process, why, next });
    if let AfterEnd::Restart { delay, .. } = next {
        let until = state.now + delay;
        state.set(process, Lifecycle::Backoff { until, anew: true });
        if state.is_past(until) {
            state.start_again(process, true);
        }
    }
    conclude(state, process, next, Cause::Failed { process, why })
}

/// Lets a process stay down, or begins the shutdown with this cause, as `next` says. Does nothing
/// if a restart follows.
fn conclude(state: &mut State, process: ProcessId, next: AfterEnd, cause: Cause) -> Step {
    match next {
        AfterEnd::Restart { .. } => {}
        AfterEnd::Nothing | AfterEnd::StaysDown | AfterEnd::GivesUp => {
            if next != AfterEnd::Nothing && state.process(process).required {
                state.missing.insert(process);
            }
            // The container continues without the process, so the dependents no longer wait for the
            // process.
            state.reach(process, Some(StartCondition::Completed));
        }
        AfterEnd::Shutdown | AfterEnd::Exhausted => return Err(cause),
    }
    Ok(())
}
