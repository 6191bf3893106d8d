//! The phases of a container. Each is a type that consumes the one before it.

pub mod draining;
pub mod finishing;
pub mod running;
pub mod stopping;

use self::draining::Draining;
use self::finishing::Finishing;
use self::running::Running;
use self::stopping::Stopping;
use crate::core::cause::Cause;
use crate::core::state::State;
use crate::types::{ONE_SIGNAL, Time};

/// Where the container is.
#[derive(Debug)]
pub enum Phase {
    /// Starting and supervising.
    Running(Running),
    /// The traffic is taken away.
    Draining(Draining),
    /// The processes are stopped.
    Stopping(Stopping),
    /// What is left over is cleared.
    Finishing(Finishing),
    /// [`Action::Exit`](crate::core::action::Action::Exit) was given.
    Done,
}

/// What is true of a shutdown from its first moment on.
#[derive(Clone, Copy, Debug)]
pub struct Shutdown {
    /// Why.
    pub cause: Cause,
    /// The first stop signal or the unasked end.
    pub t0: Time,
    /// When everything must be gone.
    pub deadline: Time,
    /// Stop signals so far.
    pub signals: u32,
    /// When the last of them came.
    pub last_signal: Option<Time>,
    /// Something had to be killed.
    pub killed: bool,
}

impl Shutdown {
    /// Counts a further stop signal. How many there are now; `None` if it is the last one once more.
    pub(crate) fn count_signal(&mut self, now: Time) -> Option<u32> {
        let is_again = self.last_signal.is_some_and(|last| now.since(last) < ONE_SIGNAL);
        self.last_signal = Some(now);
        self.signals += u32::from(!is_again);
        (!is_again).then_some(self.signals)
    }

    /// When not even a process that survived KILL is waited for: half of the reserve, but time enough to reap.
    #[must_use]
    pub fn hard_end(&self, state: &State) -> Time {
        self.deadline + state.spec.after_deadline()
    }
}

impl Phase {
    /// The shutdown, once it has begun.
    #[must_use]
    pub fn shutdown(&self) -> Option<&Shutdown> {
        match self {
            Self::Running(_) | Self::Done => None,
            Self::Draining(draining) => Some(&draining.shutdown),
            Self::Stopping(stopping) => Some(&stopping.shutdown),
            Self::Finishing(finishing) => Some(&finishing.shutdown),
        }
    }
}
