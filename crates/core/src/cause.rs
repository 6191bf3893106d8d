//! The cause of the shutdown, and the exit code.

use core::time::Duration;

use crate::types::{End, ProcessId, Signal, exit_code};

/// The reason why the container stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    Signal(Signal),
    /// A process ended, although nobody had asked it to.
    Ended {
        process: ProcessId,
        end: End,
        /// Whether the exit code of the process is one of its `success_codes`.
        is_success: bool,
        /// Whether the process has a readiness probe and was not ready yet.
        before_ready: bool,
        /// Whether the end is a failure even with code 0 (`on_exit: failure-shutdown`).
        is_failure: bool,
    },
    /// A process has failed, and is not restarted.
    Failed {
        process: ProcessId,
        why: Failure,
    },
    /// The `pre_start` hook of the container failed.
    HookFailed,
    /// A drain without a stop was requested (`POST /drain`). After the drain, the processes run on
    /// until another cause stops them.
    DrainRequested,
    /// A shutdown was requested (`drainit shutdown`).
    ShutdownRequested,
    /// Every process has ended for good.
    AllEnded,
}

/// The way in which a process has failed, unless it has ended by itself ([`Cause::Ended`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The command of the process could not be executed.
    Spawn {
        /// The exit code of the container: 126 or 127, as in a shell, or 1 if drainit did not
        /// attempt the start.
        exit_code: u8,
    },
    /// The `pre_start` hook of the process failed.
    Hook,
    /// The process was not ready within its timeout.
    NotReady { after: Duration },
    /// A oneshot did not complete within its `timeout`.
    TimedOut { after: Duration },
    /// The process failed its liveness check.
    Unhealthy,
}

impl Cause {
    /// Whether somebody has requested the shutdown, or the drain without a stop.
    pub fn is_asked(self) -> bool {
        self.is_stop() || self == Self::DrainRequested
    }

    /// Whether somebody has requested the stop of the container.
    pub(crate) fn is_stop(self) -> bool {
        matches!(self, Self::Signal(_) | Self::ShutdownRequested)
    }

    /// The exit code of the container. If the end of a process, or a failure, caused the shutdown,
    /// the code shows that cause. Otherwise, the code is 137 if SIGKILL had to end a process
    /// (`killed`), and 0 if not.
    pub fn exit_code(self, killed: bool) -> u8 {
        match self {
            Self::Signal(_) | Self::DrainRequested | Self::ShutdownRequested | Self::AllEnded => {
                if killed {
                    exit_code::KILLED
                } else {
                    exit_code::OK
                }
            }
            // A process that ends before it is ready must not look like a success. For a later end,
            // the config says whether the end is a success.
            Self::Ended { end, is_success, before_ready, is_failure, .. } => {
                match (is_success, end.exit_code()) {
                    (true, _) if before_ready || is_failure => exit_code::NOT_READY,
                    (true, _) => exit_code::OK,
                    (false, exit_code::OK) => exit_code::NOT_READY,
                    (false, code) => code,
                }
            }
            Self::Failed { why: Failure::Spawn { exit_code }, .. } => exit_code,
            Self::Failed { .. } | Self::HookFailed => exit_code::NOT_READY,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // holds: S203, C354, C616
    #[test]
    fn an_end_with_code_0_is_a_failure_where_the_config_says_so() {
        for (code, is_success, before_ready, is_failure, expected) in [
            (0, true, false, false, 0),
            (0, true, false, true, 1),
            (0, true, true, false, 1),
            (0, true, true, true, 1),
            (0, false, false, false, 1),
            (7, false, false, true, 7),
            (7, false, true, false, 7),
            (7, true, false, false, 0),
            (7, true, false, true, 1),
        ] {
            let end = End::Code(code);
            let cause =
                Cause::Ended { process: ProcessId(0), end, is_success, before_ready, is_failure };
            for killed in [false, true] {
                assert_eq!(cause.exit_code(killed), expected, "{cause:?}");
            }
        }
    }
}
