//! The first phase: starts what can be started, supervises, restarts; ends at the first reason to stop.

use std::rc::Rc;

use super::draining::Draining;
use super::event::{Action, AfterEnd, Event, Note};
use super::exit::Cause;
use super::machine::{Phase, Shutdown};
use super::restart::{Verdict, verdict};
use super::spec::{HookId, Stage};
use super::world::{Life, Reached, World};
use crate::config::schema::{OnExit, StartCondition};
use crate::vocab::{End, ProcessId, Time};

/// See the module.
#[derive(Debug, Default)]
pub struct Running {
    begin: Begin,
    /// [`Note::AllReady`] was given.
    all_ready: bool,
    /// Every process was looked at whether it can be started; from then on only those that have waited for something.
    has_begun: bool,
}

/// The container's own `pre_start`.
#[derive(Debug, Default)]
enum Begin {
    #[default]
    NotYet,
    Hook {
        until: Time,
    },
    Done,
}

/// Whether the phase goes on. The error is the reason to stop.
type Step = Result<(), Cause>;

impl Running {
    /// Takes one event.
    pub(super) fn handle(mut self, world: &mut World, event: Event) -> Phase {
        let step = self
            .take(world, event)
            .and_then(|()| self.tick(world))
            .and_then(|()| self.advance(world));
        match step {
            Ok(()) => Phase::Running(self),
            Err(cause) => {
                if let Begin::Hook { .. } = self.begin {
                    world.act(Action::AbortHook(HookId { process: None, stage: Stage::PreStart }));
                }
                let shutdown = Shutdown {
                    cause,
                    t0: world.now,
                    deadline: world.now + world.spec.window,
                    signals: u32::from(matches!(cause, Cause::Signal(_))),
                    last_signal: matches!(cause, Cause::Signal(_)).then_some(world.now),
                    killed: false,
                };
                Draining::enter(shutdown, self.all_ready, world)
            }
        }
    }

    /// When the container's hook is too late.
    pub(super) fn wakes_at(&self) -> Option<Time> {
        match self.begin {
            Begin::Hook { until } => Some(until),
            Begin::NotYet | Begin::Done => None,
        }
    }

    /// Whether everything was ready or complete once.
    #[must_use]
    pub fn was_ready(&self) -> bool {
        self.all_ready
    }

    /// Whether everything is ready or complete.
    #[must_use]
    pub fn is_ready(&self, world: &World) -> bool {
        self.all_ready && world.is_settled() && !world.is_missing_one()
    }

    fn take(&mut self, world: &mut World, event: Event) -> Step {
        match event {
            Event::Start => {
                world.has_begun = true;
                self.begin = match world.spec.hooks.pre_start {
                    Some(wait) => {
                        Begin::Hook { until: world.run_hook(None, Stage::PreStart, wait.limit) }
                    }
                    None => Begin::Done,
                };
            }
            Event::Signal(signal) if world.spec.stop_signals.contains(&signal) => {
                return Err(Cause::Signal(signal));
            }
            // Before that there is nothing to drain, and a start is not to be given up for it.
            Event::DrainAsked if self.all_ready => return Err(Cause::DrainAsked),
            Event::HookEnded { hook, success } => return self.hook_ended(world, hook, success),
            Event::Condition { process, holds } if world.life(process) == Life::Checking => {
                if holds {
                    prepare(world, process);
                } else {
                    world.note(Note::Skipped(process));
                    world.reach(process, Reached::ALL);
                    world.set(process, Life::Done);
                }
            }
            Event::Spawned(process) if world.life(process) == Life::Spawning => {
                spawned(world, process)
            }
            Event::SpawnFailed { process, exit_code } if world.life(process) == Life::Spawning => {
                if world.reached(process).started {
                    // It could be started before: what is missing now may come back.
                    world.set(process, Life::Ready { since: world.now });
                    return exited(world, process, End::Code(exit_code), false);
                }
                world.set(process, Life::Done);
                return Err(Cause::SpawnFailed { process, exit_code });
            }
            Event::Ready(process) => {
                if let Life::Starting { since, .. } = world.life(process) {
                    ready(world, process, since);
                }
            }
            Event::Exited { process, end, remains } => {
                return exited(world, process, end, remains);
            }
            Event::GroupGone(process) => match world.life(process) {
                Life::Remains { restart: Some(delay), .. }
                | Life::RestKilled { restart: Some(delay), .. } => {
                    let until = world.now + delay;
                    world.set(process, Life::Backoff { until });
                }
                Life::Remains { .. } | Life::RestKilled { .. } => finish(world, process),
                _ => {}
            },
            _ => {}
        }
        Ok(())
    }

    fn hook_ended(&mut self, world: &mut World, hook: HookId, success: bool) -> Step {
        match (hook.process, hook.stage) {
            (None, Stage::PreStart) if matches!(self.begin, Begin::Hook { .. }) => {
                self.begin = Begin::Done;
                if !success {
                    return Err(Cause::HookFailed(None));
                }
            }
            (Some(process), Stage::PreStart)
                if matches!(world.life(process), Life::PreStart { .. }) =>
            {
                if !success {
                    world.set(process, Life::Done);
                    return Err(Cause::HookFailed(Some(process)));
                }
                spawn(world, process);
            }
            (Some(process), Stage::PostStop)
                if matches!(world.life(process), Life::PostStop { .. }) =>
            {
                world.set(process, Life::Done);
            }
            _ => {}
        }
        Ok(())
    }

    /// Deals with the moments that have come.
    fn tick(&mut self, world: &mut World) -> Step {
        world.abort_late_hooks();
        world.kill_late_rests(world.now);
        if let Begin::Hook { until } = self.begin
            && world.is_past(until)
        {
            self.begin = Begin::Done;
            world.abort_hook(None, Stage::PreStart);
            return Err(Cause::HookFailed(None));
        }
        for process in world.due_in_order() {
            match world.life(process) {
                Life::PreStart { .. } => {
                    world.abort_hook(Some(process), Stage::PreStart);
                    world.set(process, Life::Done);
                    return Err(Cause::HookFailed(Some(process)));
                }
                Life::Starting { since, ready_by } => {
                    world.note(Note::NotReady { process, after: ready_by.since(since) });
                    return Err(Cause::NotReady(process));
                }
                Life::Backoff { .. } => spawn(world, process),
                _ => {}
            }
        }
        Ok(())
    }

    /// Starts everything whose dependencies are there.
    fn advance(&mut self, world: &mut World) -> Step {
        if !matches!(self.begin, Begin::Done) {
            return Ok(());
        }
        let spec = Rc::clone(&world.spec);
        if std::mem::replace(&mut self.has_begun, true) {
            for process in waiting_for_arrived(world) {
                begin_if_free(world, process);
            }
        } else {
            for &process in &spec.order {
                begin_if_free(world, process);
            }
        }
        if world.is_done() {
            return Err(Cause::AllEnded);
        }
        if world.is_settled() && !world.is_missing_one() && !self.all_ready {
            self.all_ready = true;
            world.note(Note::AllReady);
        }
        Ok(())
    }
}

/// Those that depend on what has got further in this step, in their order.
fn waiting_for_arrived(world: &World) -> Vec<ProcessId> {
    let dependents = |id: &ProcessId| &world.process(*id).dependents;
    let mut waiting: Vec<_> = world.arrived.iter().flat_map(dependents).copied().collect();
    waiting.sort_unstable_by_key(|id| world.rank(*id));
    waiting.dedup();
    waiting
}

/// Starts a process that waits if its dependencies are there.
fn begin_if_free(world: &mut World, process: ProcessId) {
    let mut needs = world.process(process).dependencies.iter();
    if world.life(process) == Life::Waiting
        && needs.all(|&(on, condition)| is_there(world.reached(on), condition))
    {
        begin(world, process);
    }
}

fn is_there(reached: Reached, condition: StartCondition) -> bool {
    match condition {
        StartCondition::Started => reached.started,
        StartCondition::Ready => reached.ready,
        StartCondition::Completed => reached.completed,
    }
}

fn begin(world: &mut World, process: ProcessId) {
    if world.process(process).conditional {
        world.set(process, Life::Checking);
        world.act(Action::CheckCondition(process));
    } else {
        prepare(world, process);
    }
}

fn prepare(world: &mut World, process: ProcessId) {
    match world.process(process).hooks.pre_start {
        Some(wait) => {
            let until = world.run_hook(Some(process), Stage::PreStart, wait.limit);
            world.set(process, Life::PreStart { until });
        }
        None => spawn(world, process),
    }
}

fn spawn(world: &mut World, process: ProcessId) {
    world.set(process, Life::Spawning);
    world.act(Action::Spawn(process));
}

fn spawned(world: &mut World, process: ProcessId) {
    let since = world.now;
    world.note(Note::Started(process));
    world.reach(process, Reached { started: true, ..world.reached(process) });
    let spec = world.process(process);
    match spec.readiness_timeout {
        Some(timeout) => world.set(process, Life::Starting { since, ready_by: since + timeout }),
        None if spec.oneshot => world.set(process, Life::Starting { since, ready_by: Time::NEVER }),
        None => ready(world, process, since),
    }
}

fn ready(world: &mut World, process: ProcessId, since: Time) {
    world.set(process, Life::Ready { since });
    world.reach(process, Reached { ready: true, ..world.reached(process) });
    if world.process(process).readiness_timeout.is_some() {
        world.note(Note::Ready { process, after: world.now.since(since) });
    }
}

/// Nobody had asked it to end.
fn exited(world: &mut World, process: ProcessId, end: End, remains: bool) -> Step {
    let (since, before_ready) = match world.life(process) {
        Life::Starting { since, .. } => (since, world.process(process).readiness_timeout.is_some()),
        Life::Ready { since } => (since, false),
        _ => return Ok(()),
    };
    let lived = world.now.since(since);
    let spec = world.process(process);
    let (oneshot, on_exit) = (spec.oneshot, spec.on_exit);
    // What a task leaves behind may be its purpose.
    let remains = remains && !oneshot;
    let kill_at = world.now + spec.stop.limit;
    if oneshot && end.is_success() {
        world.note(Note::Completed { process, after: lived });
        world.reach(process, Reached::ALL);
        finish(world, process);
        return Ok(());
    }
    let in_a_row = world.restarts[process.index()].in_a_row;
    let next = match verdict(spec.restart, end, in_a_row, lived) {
        Verdict::Again { delay, attempt } => {
            let restarts = &mut world.restarts[process.index()];
            restarts.in_a_row = attempt;
            restarts.total = restarts.total.saturating_add(1);
            let until = world.now + delay;
            world.set(process, Life::Backoff { until });
            if remains {
                world.stop_rest(process, kill_at, Some(delay));
            }
            world.note(Note::Ended { process, end, next: AfterEnd::Restart { delay, attempt } });
            return Ok(());
        }
        Verdict::Exhausted if on_exit == OnExit::Ignore => AfterEnd::GivesUp,
        Verdict::No if on_exit == OnExit::Ignore => AfterEnd::Nothing,
        Verdict::Exhausted => AfterEnd::Exhausted,
        Verdict::No => AfterEnd::Shutdown,
    };
    world.note(Note::Ended { process, end, next });
    if on_exit == OnExit::Ignore {
        if !oneshot && !end.is_success() {
            world.fail(process);
        }
        // Its end does not matter, so nobody may wait for more of it.
        world.reach(process, Reached::ALL);
        if remains {
            world.stop_rest(process, kill_at, None);
        } else {
            finish(world, process);
        }
        return Ok(());
    }
    if remains {
        world.stop_rest(process, kill_at, None);
    }
    // Its `post_stop` belongs to the shutdown, which begins now, and its deadline.
    let is_failure = on_exit == OnExit::FailureShutdown;
    Err(Cause::Ended { process, end, before_ready, is_failure })
}

/// It is gone for good while the container goes on.
fn finish(world: &mut World, process: ProcessId) {
    match world.process(process).hooks.post_stop {
        Some(wait) => {
            let until = world.run_hook(Some(process), Stage::PostStop, wait.limit);
            world.set(process, Life::PostStop { until });
        }
        None => world.set(process, Life::Done),
    }
}
