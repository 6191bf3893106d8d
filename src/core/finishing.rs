//! The last phase: descendants that are left are told to end, then killed; `post_stop`; exit.

use super::budget::Budget;
use super::event::{Action, Event, Hurry, Note};
use super::machine::{Phase, Shutdown};
use super::spec::{AFTER_KILL, HookId, Stage};
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
    /// Descendants got TERM.
    Told { until: Time },
    /// They got KILL.
    Killed { until: Time },
    /// The container's `post_stop` hook runs.
    Hook { until: Time },
}

impl Finishing {
    /// Every process of the graph is gone. `no_mercy`: there is no time for TERM.
    pub(super) fn enter(shutdown: Shutdown, no_mercy: bool, world: &mut World) -> Phase {
        if no_mercy {
            return Self::kill(shutdown, world);
        }
        world.act(Action::Sweep(Signal::TERM));
        let until = world.now + Budget::leftovers(world.now, shutdown.deadline);
        Self { shutdown, step: Step::Told { until } }.advance(world)
    }

    /// Takes one event.
    pub(super) fn handle(mut self, world: &mut World, event: Event) -> Phase {
        match (event, self.step) {
            (Event::Leftovers(0), Step::Told { .. } | Step::Killed { .. }) => {
                return Self::hook(self.shutdown, world);
            }
            (Event::Leftovers(_), Step::Killed { .. }) => self.shutdown.killed = true,
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
                    Step::Told { .. } if count > Some(2) => {
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
            Step::Told { until } | Step::Killed { until } | Step::Hook { until } => Some(until),
        }
    }

    fn advance(self, world: &mut World) -> Phase {
        match self.step {
            Step::Told { until } if world.is_past(until) => Self::kill(self.shutdown, world),
            Step::Killed { until } if world.is_past(until) => Self::hook(self.shutdown, world),
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
        world.act(Action::Sweep(Signal::KILL));
        Phase::Finishing(Self { shutdown, step: Step::Killed { until: world.now + AFTER_KILL } })
    }

    /// The container's last hook gets what is left, and a part of the reserve.
    fn hook(shutdown: Shutdown, world: &mut World) -> Phase {
        match Budget::container_post_stop(&world.spec, world.now, shutdown.deadline) {
            Some(within) if !within.is_zero() && shutdown.signals < 3 => {
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
