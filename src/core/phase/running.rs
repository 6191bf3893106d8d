//! The first phase: starts processes, supervises and restarts them; ends at the first reason to
//! stop.

use std::rc::Rc;

use crate::config::{OnExit, StartCondition};
use crate::core::action::Action;
use crate::core::cause::Cause;
use crate::core::event::Event;
use crate::core::note::{AfterEnd, Note};
use crate::core::phase::draining::Draining;
use crate::core::phase::{Phase, Shutdown};
use crate::core::restart::{Verdict, verdict};
use crate::core::spec::{HookId, Stage};
use crate::core::state::{Lifecycle, Reached, State};
use crate::types::{End, ProcessId, Time};

#[derive(Debug, Default)]
pub struct Running {
    container_hook: ContainerHook,
    /// `Note::AllReady` was given.
    all_ready: bool,
    /// All processes were considered for a start. From then on only those are whose dependencies
    /// have met a further condition.
    has_scanned: bool,
}

/// The `pre_start` hook of the container.
#[derive(Debug, Default)]
enum ContainerHook {
    #[default]
    NotYet,
    Runs {
        until: Time,
    },
    Done,
}

/// The error is the cause of the shutdown.
type Step = Result<(), Cause>;

impl Running {
    pub(crate) fn handle(mut self, state: &mut State, event: Event) -> Phase {
        let step = self
            .take(state, event)
            .and_then(|()| self.tick(state))
            .and_then(|()| self.advance(state));
        match step {
            Ok(()) => Phase::Running(self),
            Err(cause) => {
                if let ContainerHook::Runs { .. } = self.container_hook {
                    state.abort_hook(None, Stage::PreStart);
                }
                let shutdown = Shutdown {
                    cause,
                    t0: state.now,
                    deadline: state.now + state.spec.window,
                    signals: u32::from(matches!(cause, Cause::Signal(_))),
                    last_signal: matches!(cause, Cause::Signal(_)).then_some(state.now),
                    killed: false,
                };
                Draining::enter(shutdown, self.all_ready, state)
            }
        }
    }

    /// The timer of the container's hook.
    pub(crate) fn wakes_at(&self) -> Option<Time> {
        match self.container_hook {
            ContainerHook::Runs { until } => Some(until),
            ContainerHook::NotYet | ContainerHook::Done => None,
        }
    }

    /// Whether every process was ready or complete once.
    #[must_use]
    pub fn was_ready(&self) -> bool {
        self.all_ready
    }

    /// Whether every process is ready or complete now.
    #[must_use]
    pub fn is_ready(&self, state: &State) -> bool {
        self.all_ready && state.is_settled() && !state.missing
    }

    fn take(&mut self, state: &mut State, event: Event) -> Step {
        match event {
            Event::Start => {
                state.has_begun = true;
                self.container_hook = match state.spec.hooks.pre_start {
                    Some(wait) => ContainerHook::Runs {
                        until: state.run_hook(None, Stage::PreStart, wait.limit),
                    },
                    None => ContainerHook::Done,
                };
            }
            Event::Signal(signal) if state.spec.stop_signals.contains(&signal) => {
                return Err(Cause::Signal(signal));
            }
            // Before that there is nothing to drain, and no reason to give up the start.
            Event::DrainRequested if self.all_ready => return Err(Cause::DrainRequested),
            Event::HookEnded { hook, success } => return self.hook_ended(state, hook, success),
            Event::Condition { process, holds } if state.life(process) == Lifecycle::Checking => {
                if holds {
                    prepare(state, process);
                } else {
                    state.note(Note::Skipped(process));
                    state.reach(process, Reached::ALL);
                    state.set(process, Lifecycle::Done);
                }
            }
            Event::Spawned(process) if state.life(process) == Lifecycle::Spawning => {
                spawned(state, process)
            }
            Event::SpawnFailed { process, exit_code }
                if state.life(process) == Lifecycle::Spawning =>
            {
                if state.reached(process).started {
                    // It could be started before, so `restart` decides: the reason may be
                    // temporary.
                    state.set(process, Lifecycle::Ready { since: state.now });
                    return exited(state, process, End::Code(exit_code), false);
                }
                state.set(process, Lifecycle::Done);
                return Err(Cause::SpawnFailed { process, exit_code });
            }
            Event::Ready(process) => {
                if let Lifecycle::Starting { since, .. } = state.life(process) {
                    ready(state, process, since);
                }
            }
            Event::Exited { process, end, remains } => {
                return exited(state, process, end, remains);
            }
            Event::GroupGone(process) => match state.life(process) {
                Lifecycle::Remains { restart: Some(delay), .. }
                | Lifecycle::RestKilled { restart: Some(delay), .. } => {
                    let until = state.now + delay;
                    state.set(process, Lifecycle::Backoff { until });
                }
                Lifecycle::Remains { .. } | Lifecycle::RestKilled { .. } => finish(state, process),
                _ => {}
            },
            _ => {}
        }
        Ok(())
    }

    fn hook_ended(&mut self, state: &mut State, hook: HookId, success: bool) -> Step {
        match (hook.process, hook.stage) {
            (None, Stage::PreStart)
                if matches!(self.container_hook, ContainerHook::Runs { .. }) =>
            {
                self.container_hook = ContainerHook::Done;
                if !success {
                    return Err(Cause::HookFailed(None));
                }
            }
            (Some(process), Stage::PreStart)
                if matches!(state.life(process), Lifecycle::PreStart { .. }) =>
            {
                if !success {
                    state.set(process, Lifecycle::Done);
                    return Err(Cause::HookFailed(Some(process)));
                }
                spawn(state, process);
            }
            (Some(process), Stage::PostStop)
                if matches!(state.life(process), Lifecycle::PostStop { .. }) =>
            {
                state.set(process, Lifecycle::Done);
            }
            _ => {}
        }
        Ok(())
    }

    /// Handles expired timers.
    fn tick(&mut self, state: &mut State) -> Step {
        state.abort_late_hooks();
        state.kill_late_rests(state.now);
        if let ContainerHook::Runs { until } = self.container_hook
            && state.is_past(until)
        {
            self.container_hook = ContainerHook::Done;
            state.time_out_hook(None, Stage::PreStart);
            return Err(Cause::HookFailed(None));
        }
        for process in state.due_in_order() {
            match state.life(process) {
                Lifecycle::PreStart { .. } => {
                    state.time_out_hook(Some(process), Stage::PreStart);
                    state.set(process, Lifecycle::Done);
                    return Err(Cause::HookFailed(Some(process)));
                }
                Lifecycle::Starting { since, ready_by } => {
                    state.note(Note::NotReady { process, after: ready_by.since(since) });
                    return Err(Cause::NotReady(process));
                }
                Lifecycle::Backoff { .. } => spawn(state, process),
                _ => {}
            }
        }
        Ok(())
    }

    /// Starts the processes whose dependencies have met their conditions.
    fn advance(&mut self, state: &mut State) -> Step {
        if !matches!(self.container_hook, ContainerHook::Done) {
            return Ok(());
        }
        let spec = Rc::clone(&state.spec);
        if std::mem::replace(&mut self.has_scanned, true) {
            for process in dependents_of_arrived(state) {
                begin_if_possible(state, process);
            }
        } else {
            for &process in &spec.order {
                begin_if_possible(state, process);
            }
        }
        if state.is_done() {
            return Err(Cause::AllEnded);
        }
        if state.is_settled() && !state.missing && !self.all_ready {
            self.all_ready = true;
            state.note(Note::AllReady);
        }
        Ok(())
    }
}

/// The dependents of processes that have met a further condition in this step, in order.
fn dependents_of_arrived(state: &State) -> Vec<ProcessId> {
    let dependents = |id: &ProcessId| &state.process(*id).dependents;
    let mut waiting: Vec<_> = state.arrived.iter().flat_map(dependents).copied().collect();
    waiting.sort_unstable_by_key(|id| state.rank(*id));
    waiting.dedup();
    waiting
}

/// Starts a waiting process if its dependencies have met their conditions.
fn begin_if_possible(state: &mut State, process: ProcessId) {
    let mut needs = state.process(process).dependencies.iter();
    if state.life(process) == Lifecycle::Waiting
        && needs.all(|&(on, condition)| is_met(state.reached(on), condition))
    {
        begin(state, process);
    }
}

fn is_met(reached: Reached, condition: StartCondition) -> bool {
    match condition {
        StartCondition::Started => reached.started,
        StartCondition::Ready => reached.ready,
        StartCondition::Completed => reached.completed,
    }
}

fn begin(state: &mut State, process: ProcessId) {
    if state.process(process).conditional {
        state.set(process, Lifecycle::Checking);
        state.act(Action::CheckCondition(process));
    } else {
        prepare(state, process);
    }
}

fn prepare(state: &mut State, process: ProcessId) {
    match state.process(process).hooks.pre_start {
        Some(wait) => {
            let until = state.run_hook(Some(process), Stage::PreStart, wait.limit);
            state.set(process, Lifecycle::PreStart { until });
        }
        None => spawn(state, process),
    }
}

fn spawn(state: &mut State, process: ProcessId) {
    state.set(process, Lifecycle::Spawning);
    state.act(Action::Spawn(process));
}

fn spawned(state: &mut State, process: ProcessId) {
    let since = state.now;
    state.note(Note::Started(process));
    state.reach(process, Reached { started: true, ..state.reached(process) });
    let spec = state.process(process);
    match spec.readiness_timeout {
        Some(timeout) => {
            state.set(process, Lifecycle::Starting { since, ready_by: since + timeout })
        }
        None if spec.oneshot => {
            state.set(process, Lifecycle::Starting { since, ready_by: Time::NEVER })
        }
        None => ready(state, process, since),
    }
}

fn ready(state: &mut State, process: ProcessId, since: Time) {
    state.set(process, Lifecycle::Ready { since });
    if state.process(process).liveness_retries.is_some() {
        state.probe_succeeded(process);
        state.act(Action::WatchLiveness(process));
    }
    state.reach(process, Reached { ready: true, ..state.reached(process) });
    if state.process(process).readiness_timeout.is_some() {
        state.note(Note::Ready { process, after: state.now.since(since) });
    }
}

/// Handles an end that was not asked for.
fn exited(state: &mut State, process: ProcessId, end: End, remains: bool) -> Step {
    let (since, before_ready) = match state.life(process) {
        Lifecycle::Starting { since, .. } => {
            (since, state.process(process).readiness_timeout.is_some())
        }
        Lifecycle::Ready { since } => (since, false),
        _ => return Ok(()),
    };
    let lived = state.now.since(since);
    let spec = state.process(process);
    let (oneshot, on_exit, required) = (spec.oneshot, spec.on_exit, spec.required);
    // A oneshot may leave processes behind on purpose.
    let remains = remains && !oneshot;
    let kill_at = state.now + spec.stop.limit;
    if oneshot && end.is_success() {
        state.note(Note::Completed { process, after: lived });
        state.reach(process, Reached::ALL);
        finish(state, process);
        return Ok(());
    }
    let in_a_row = state.restarts[process.index()].in_a_row;
    let next = match verdict(spec.restart, end, in_a_row, lived) {
        Verdict::Again { delay, attempt } => {
            let restarts = &mut state.restarts[process.index()];
            restarts.in_a_row = attempt;
            restarts.total = restarts.total.saturating_add(1);
            let until = state.now + delay;
            state.set(process, Lifecycle::Backoff { until });
            if remains {
                state.stop_rest(process, kill_at, Some(delay));
            }
            state.note(Note::Ended { process, end, next: AfterEnd::Restart { delay, attempt } });
            return Ok(());
        }
        Verdict::Exhausted if on_exit == OnExit::Ignore => AfterEnd::GivesUp,
        Verdict::No if on_exit == OnExit::Ignore => AfterEnd::Nothing,
        Verdict::Exhausted => AfterEnd::Exhausted,
        Verdict::No => AfterEnd::Shutdown,
    };
    state.note(Note::Ended { process, end, next });
    if on_exit == OnExit::Ignore {
        state.missing |= required && (next == AfterEnd::GivesUp || !end.is_success());
        // Its end does not matter, so no dependent may wait for it any longer.
        state.reach(process, Reached::ALL);
        if remains {
            state.stop_rest(process, kill_at, None);
        } else {
            finish(state, process);
        }
        return Ok(());
    }
    if remains {
        state.stop_rest(process, kill_at, None);
    }
    // Its `post_stop` hook is part of the shutdown that begins now.
    let is_failure = on_exit == OnExit::FailureShutdown;
    Err(Cause::Ended { process, end, before_ready, is_failure })
}

/// Handles a process that is gone for good while the container runs on.
fn finish(state: &mut State, process: ProcessId) {
    match state.process(process).hooks.post_stop {
        Some(wait) => {
            let until = state.run_hook(Some(process), Stage::PostStop, wait.limit);
            state.set(process, Lifecycle::PostStop { until });
        }
        None => state.set(process, Lifecycle::Done),
    }
}
