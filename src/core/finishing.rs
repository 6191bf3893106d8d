//! The last phase: descendants that are left are told to end, then killed; `post_stop`; exit.

use super::budget::Budget;
use super::event::{Action, Event, Hurry, Note};
use super::machine::{Phase, Shutdown};
use super::spec::{AFTER_KILL, HookId, SWEEP_PAUSE, Stage};
use super::world::World;
use crate::vocab::{Signal, Time};

/// See the module.
#[derive(Debug)]
pub struct Finishing {
    /// What is true since T0.
    pub shutdown: Shutdown,
    step: Step,
}

#[derive(Clone, Copy, Debug)]
enum Step {
    /// Descendants got this signal, and those that come to light get it, too. `again`: when it is looked next; `None` while
    /// the look that began at `began` is not answered.
    Sweep { signal: Signal, until: Time, began: Time, again: Option<Time> },
    /// The container's `post_stop` hook runs.
    Hook { until: Time },
}

impl Finishing {
    /// Every process of the graph is gone. `no_mercy`: there is no time for TERM.
    pub(super) fn enter(shutdown: Shutdown, no_mercy: bool, world: &mut World) -> Phase {
        if no_mercy {
            return Self::kill(shutdown, world);
        }
        let until = world.now + Budget::leftovers(world.now, shutdown.deadline);
        Self::sweep(shutdown, Signal::TERM, until, world).advance(world)
    }

    /// Takes one event.
    pub(super) fn handle(mut self, world: &mut World, event: Event) -> Phase {
        self.take_answer(world);
        match (event, self.step) {
            (Event::Leftovers(0), Step::Sweep { .. }) => {
                return Self::hook(self.shutdown, world);
            }
            (Event::Leftovers(_), Step::Sweep { signal: Signal::KILL, .. }) => {
                self.shutdown.killed = true;
            }
            (
                Event::HookEnded { hook: HookId { process: None, stage: Stage::PostStop }, .. },
                Step::Hook { .. },
            ) => {
                return exit(&self.shutdown, world);
            }
            (Event::Signal(signal), step) if world.spec.stop_signals.contains(&signal) => {
                let count = self.shutdown.count_signal(world.now);
                if count > Some(2) {
                    world.note(Note::Hurried(Hurry::KillAll));
                }
                match step {
                    Step::Sweep { signal: Signal::TERM, .. } if count > Some(2) => {
                        return Self::kill(self.shutdown, world);
                    }
                    Step::Hook { .. } if count > Some(2) => {
                        world.abort_hook(None, Stage::PostStop);
                        return exit(&self.shutdown, world);
                    }
                    _ => {}
                }
            }
            _ => {}
        }
        self.advance(world)
    }

    /// When the step is over.
    pub(super) fn wakes_at(&self) -> Option<Time> {
        match self.step {
            Step::Sweep { until, again, .. } => Some(again.map_or(until, |again| until.min(again))),
            Step::Hook { until } => Some(until),
        }
    }

    fn advance(self, world: &mut World) -> Phase {
        match self.step {
            Step::Sweep { signal, until, .. } if world.is_past(until) => match signal {
                Signal::KILL => {
                    world.note(Note::LeftoversRemain);
                    let shutdown = Shutdown { killed: true, ..self.shutdown };
                    Self::hook(shutdown, world)
                }
                _ => Self::kill(self.shutdown, world),
            },
            Step::Sweep { signal, until, again: Some(again), .. } if world.is_past(again) => {
                Phase::Finishing(Self::sweep(self.shutdown, signal, until, world))
            }
            Step::Hook { until } if world.is_past(until) => {
                world.abort_hook(None, Stage::PostStop);
                exit(&self.shutdown, world)
            }
            _ => Phase::Finishing(self),
        }
    }
}

impl Finishing {
    fn kill(shutdown: Shutdown, world: &mut World) -> Phase {
        let until = world.now + AFTER_KILL;
        Phase::Finishing(Self::sweep(shutdown, Signal::KILL, until, world))
    }

    fn sweep(shutdown: Shutdown, signal: Signal, until: Time, world: &mut World) -> Self {
        world.act(Action::Sweep(signal));
        Self { shutdown, step: Step::Sweep { signal, until, began: world.now, again: None } }
    }

    /// What comes next after a look is its answer. Among thousands of processes it takes long: as long again there is time
    /// to reap, and what was killed has its moment when all have been.
    fn take_answer(&mut self, world: &World) {
        let latest = self.shutdown.deadline + world.spec.after_deadline();
        if let Step::Sweep { signal, until, began, again: again @ None } = &mut self.step {
            let took = world.now.since(*began);
            *again = Some(world.now + took.max(SWEEP_PAUSE));
            if *signal == Signal::KILL {
                *until = (*until).max(latest.min(*until + took));
            }
        }
    }

    /// The container's last hook gets what is left, and a part of the reserve.
    fn hook(shutdown: Shutdown, world: &mut World) -> Phase {
        match Budget::container_post_stop(&world.spec, world.now, shutdown.deadline) {
            Some(within) if !within.is_zero() && shutdown.signals < 3 && world.has_begun => {
                let until = world.run_hook(None, Stage::PostStop, within);
                Phase::Finishing(Self { shutdown, step: Step::Hook { until } })
            }
            _ => exit(&shutdown, world),
        }
    }
}

fn exit(shutdown: &Shutdown, world: &mut World) -> Phase {
    world.over = Some(shutdown.deadline + world.spec.reserve);
    world.act(Action::Exit(shutdown.cause.exit_code(shutdown.killed)));
    Phase::Done
}
