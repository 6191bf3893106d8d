//! The last phase: the leftovers get SIGTERM and then SIGKILL, the container's `post_stop` hook
//! runs, and drainit exits.

use crate::action::Action;
use crate::event::Event;
use crate::final_waits;
use crate::note::{Hurry, Note};
use crate::phase::Phase;
use crate::spec::{HookId, SWEEP_PAUSE, Stage};
use crate::state::{Shutdown, State};
use crate::types::{AFTER_KILL, Signal, Time};

#[derive(Clone, Debug)]
pub struct Finishing {
    step: LastWait,
}

#[derive(Clone, Copy, Debug)]
enum LastWait {
    /// Each leftover process gets `signal`, even one that only a later scan finds. `again` is the
    /// time of the next scan; it is `None` until the scan that began at `began` is answered.
    /// `until` is the end of the wait.
    Sweep { signal: Signal, until: Time, began: Time, again: Option<Time> },
    /// The container's `post_stop` hook runs.
    Hook { until: Time },
}

impl Finishing {
    /// Begins the phase when all processes are gone, or when drainit no longer waits for them. If
    /// all processes were killed at once, no time is left for SIGTERM.
    pub(crate) fn enter(state: &mut State) -> Phase {
        let Some(left) = state.left().filter(|_| state.killing().is_none()) else {
            return Self::kill(state);
        };
        let until = state.now + state.budget().leftovers(&state.spec, state.unset_stop(), left);
        Self::sweep(Signal::TERM, until, state).advance(state)
    }

    pub(crate) fn handle(mut self, state: &mut State, event: Event) -> Phase {
        match (event, self.step) {
            (Event::NothingLeft, LastWait::Sweep { .. }) => {
                return Self::hook(state);
            }
            (Event::Swept { any }, LastWait::Sweep { signal, .. }) => {
                on_leftovers(state, signal == Signal::KILL && any);
                self.take_answer(state);
            }
            (
                Event::HookEnded { hook: HookId { process: None, stage: Stage::PostStop }, .. },
                LastWait::Hook { .. },
            ) => {
                return exit(state);
            }
            (Event::Signal(signal), step) if state.spec.stop_signals.contains(&signal) => {
                let count = state.count_signal(signal);
                match count {
                    Some(1) => state.step.note(Note::Hurried(Hurry::Continue)),
                    Some(3..) => state.step.note(Note::Hurried(Hurry::KillAll)),
                    _ => {}
                }
                match step {
                    LastWait::Sweep { signal: Signal::TERM, .. } if count > Some(2) => {
                        return Self::kill(state);
                    }
                    LastWait::Hook { .. } if count > Some(2) => {
                        state.step.time_out_hook(None, Stage::PostStop);
                        return exit(state);
                    }
                    _ => {}
                }
            }
            _ => {}
        }
        self.advance(state)
    }

    /// The time at which the next timer is due.
    pub(crate) fn wakes_at(&self) -> Option<Time> {
        match self.step {
            LastWait::Sweep { until, again, .. } => {
                Some(again.map_or(until, |again| until.min(again)))
            }
            LastWait::Hook { until } => Some(until),
        }
    }

    fn advance(self, state: &mut State) -> Phase {
        match self.step {
            LastWait::Sweep { signal, until, .. } if state.is_past(until) => match signal {
                Signal::KILL => {
                    state.step.note(Note::LeftoversRemain);
                    on_leftovers(state, true);
                    Self::hook(state)
                }
                _ => Self::kill(state),
            },
            LastWait::Sweep { signal, until, again: Some(again), .. } if state.is_past(again) => {
                Phase::Finishing(Self::sweep(signal, until, state))
            }
            LastWait::Hook { until } if state.is_past(until) => {
                state.step.time_out_hook(None, Stage::PostStop);
                exit(state)
            }
            _ => Phase::Finishing(self),
        }
    }

    fn kill(state: &mut State) -> Phase {
        // This limit leaves time for the scan that sends SIGKILL. After this scan, `take_answer`
        // shortens the limit.
        let until = state.hard_end().max(state.now + AFTER_KILL);
        Phase::Finishing(Self::sweep(Signal::KILL, until, state))
    }

    fn sweep(signal: Signal, until: Time, state: &mut State) -> Self {
        state.step.act(Action::Sweep(signal));
        Self { step: LastWait::Sweep { signal, until, began: state.now, again: None } }
    }

    /// Handles the end of a scan for leftovers. The pause before the next scan is at least as long
    /// as this scan. A scan of thousands of processes takes long, and the pause gives them time to
    /// end.
    fn take_answer(&mut self, state: &State) {
        if let LastWait::Sweep { signal, until, began, again: again @ None } = &mut self.step {
            let took = state.now.since(*began);
            *again = Some(state.now + took.max(SWEEP_PAUSE));
            if *signal == Signal::KILL {
                // This wait is short, because every leftover ends when PID 1 ends, at the latest.
                // On a slow machine, the report may therefore show a process as alive although this
                // process is about to end.
                *until = (*until).min(state.now + AFTER_KILL);
            }
        }
    }

    /// Runs the `post_stop` hook of the container in the remaining time and a part of the reserve.
    fn hook(state: &mut State) -> Phase {
        let runs = |shutdown: &&Shutdown| shutdown.signals < 3 && state.has_begun;
        let within = state.shutdown.as_ref().filter(runs).and_then(|shutdown| {
            final_waits::container_post_stop(&state.spec, state.now, shutdown.deadline)
        });
        match within {
            Some(within) if !within.is_zero() => {
                let until = state.step.run_hook(None, Stage::PostStop, state.now + within);
                Phase::Finishing(Self { step: LastWait::Hook { until } })
            }
            _ => exit(state),
        }
    }
}

/// Records whether leftovers were killed.
fn on_leftovers(state: &mut State, are_killed: bool) {
    state.shutdown.iter_mut().for_each(|shutdown| shutdown.on_leftovers(are_killed));
}

fn exit(state: &mut State) -> Phase {
    if let Some(shutdown) = &state.shutdown {
        state.step.act(Action::Exit(shutdown.cause.exit_code(shutdown.has_killed())));
    }
    Phase::Done
}
