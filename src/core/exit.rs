//! Why the container stops, and with which code.

use crate::vocab::{End, ProcessId, Signal, exit_code};

/// What began the shutdown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// A stop signal.
    Signal(Signal),
    /// A process ended without having been asked to.
    Ended {
        /// Which process.
        process: ProcessId,
        /// How.
        end: End,
        /// It had a readiness probe, and was not ready yet.
        before_ready: bool,
    },
    /// A process did not become ready in time.
    NotReady(ProcessId),
    /// A command cannot be executed.
    SpawnFailed {
        /// Of which process.
        process: ProcessId,
        /// 126 or 127.
        exit_code: u8,
    },
    /// A `pre_start` hook failed: the container's, or a process's.
    HookFailed(Option<ProcessId>),
    /// A drain was asked for; only after it there will be a reason to stop.
    DrainAsked,
    /// Every process has completed, and none is left to run.
    AllEnded,
}

impl Cause {
    /// Whether somebody asked for the shutdown.
    #[must_use]
    pub fn is_asked(self) -> bool {
        matches!(self, Self::Signal(_) | Self::DrainAsked)
    }

    /// The exit code of the container (contract, "Exit codes"). The code of the culprit is worth more than 137.
    #[must_use]
    pub fn exit_code(self, killed: bool) -> u8 {
        match self {
            Self::Signal(_) | Self::DrainAsked | Self::AllEnded if killed => exit_code::KILLED,
            Self::Signal(_) | Self::DrainAsked | Self::AllEnded => exit_code::OK,
            // A start that failed must not look like a success.
            Self::Ended { end, before_ready: true, .. } if end.is_success() => exit_code::NOT_READY,
            Self::Ended { end, .. } => end.exit_code(),
            Self::NotReady(_) | Self::HookFailed(_) => exit_code::NOT_READY,
            Self::SpawnFailed { exit_code, .. } => exit_code,
        }
    }
}
