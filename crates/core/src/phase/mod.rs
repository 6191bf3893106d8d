//! The phases of a container. Each phase is a type that the next phase consumes.

pub mod draining;
pub mod finishing;
mod follow;
mod open_requests;
pub(crate) mod operations;
mod reload;
mod replace;
mod requests;
pub mod running;
pub mod stopping;
mod waits;

pub use self::draining::Draining;
use self::finishing::Finishing;
use self::running::Running;
use self::stopping::Stopping;
use crate::cause::Cause;
use crate::state::State;
use crate::types::{ONE_SIGNAL, Signal, Time};

#[derive(Clone, Debug)]
pub enum Phase {
    Running(Running),
    Draining(Draining),
    Stopping(Stopping),
    Finishing(Finishing),
    /// `Action::Exit` was given.
    Done,
}

/// The facts of a shutdown that all of its phases share.
#[derive(Clone, Copy, Debug)]
pub struct ShutdownFacts {
    pub cause: Cause,
    /// The time at which the shutdown began.
    pub t0: Time,
    pub deadline: Time,
    /// The number of stop signals so far, as [`Self::count_signal`] counts them.
    pub signals: u32,
}

impl ShutdownFacts {
    /// Counts a stop signal, and returns the new count. If the signal came within [`ONE_SIGNAL`]
    /// after the last stop signal, it counts as a repetition, and the function returns `None`. For
    /// a SIGTERM that is not the first signal, the function returns 1 and counts nothing. Node
    /// shutdowns, systemd and wrappers send SIGTERM more than once without a wish to hurry.
    pub(crate) fn count_signal(&mut self, state: &mut State, signal: Signal) -> Option<u32> {
        let last = state.ending.last_signal.replace(state.now);
        if last.is_some_and(|last| state.now.since(last) < ONE_SIGNAL) {
            return None;
        }
        if signal == Signal::TERM && self.signals > 0 {
            return Some(1);
        }
        self.signals += 1;
        Some(self.signals)
    }

    /// The time at which drainit stops waiting even for a process that survives SIGKILL.
    pub fn hard_end(&self, state: &State) -> Time {
        self.deadline + state.spec.after_deadline()
    }
}

impl Phase {
    /// The facts of the shutdown; `None` before the shutdown and after the exit.
    pub fn shutdown(&self) -> Option<&ShutdownFacts> {
        match self {
            Self::Running(_) | Self::Done => None,
            Self::Draining(draining) => Some(&draining.shutdown),
            Self::Stopping(stopping) => Some(&stopping.shutdown),
            Self::Finishing(finishing) => Some(&finishing.shutdown),
        }
    }
}
