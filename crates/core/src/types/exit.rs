//! The end of a process, and the exit codes of drainit itself.

use core::fmt;
use core::time::Duration;

use drainit_derive::Named;

use crate::types::{Signal, human};

/// A process that the OOM killer has chosen ends within this time, even if the kernel is slow to
/// free much memory.
const SLOW_END: Duration = Duration::from_secs(5);

/// The end of a process: its exit code, or the signal that ended it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The process exited with this code.
    Code(u8),
    /// This signal ended the process.
    Signal(Signal),
    /// SIGKILL ended the process, and drainit had not sent this signal. The kernel's count of OOM
    /// kills in this container has grown in the last `Duration`, so the OOM killer may be the
    /// sender.
    OutOfMemory(Duration),
}

impl End {
    /// The code that a shell would report: the exit code, or 128 plus the number of the signal.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Code(code) => code,
            Self::Signal(signal) => u8::try_from(128 + signal.number()).unwrap_or(u8::MAX),
            Self::OutOfMemory(_) => exit_code::KILLED,
        }
    }

    /// The signal that ended the process; `None` if the process exited with a code.
    pub fn signal(self) -> Option<Signal> {
        match self {
            Self::Code(_) => None,
            Self::Signal(signal) => Some(signal),
            Self::OutOfMemory(_) => Some(Signal::KILL),
        }
    }

    /// Turns [`End::OutOfMemory`] into an end by SIGKILL.
    pub fn plainly(self) -> Self {
        match self {
            Self::OutOfMemory(_) => Self::Signal(Signal::KILL),
            other => other,
        }
    }

    pub fn is_success(self) -> bool {
        self == Self::Code(0)
    }
}

/// Writes text such as `exited with code 7` or `was ended by SIGKILL`.
impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exited with code {code}"),
            Self::Signal(signal) => write!(f, "was ended by {signal}"),
            Self::OutOfMemory(within) if *within <= SLOW_END => {
                write!(
                    f,
                    "was ended by SIGKILL, probably by the kernel's OOM killer (out of memory)"
                )
            }
            Self::OutOfMemory(within) => write!(
                f,
                "was ended by SIGKILL, perhaps by the kernel's OOM killer (out of memory), which \
                 has killed a process of this container in the last {}",
                human(*within)
            ),
        }
    }
}

/// The kinds of ends. A kind has the name that Kubernetes uses, if Kubernetes knows the kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Named)]
pub enum EndKind {
    /// The process exited with code 0.
    Completed,
    /// The process exited with a code other than 0.
    Error,
    /// A signal ended the process, such as its stop signal.
    Signal,
    /// drainit sent SIGKILL.
    Killed,
    /// The kernel's OOM killer has most likely ended the process.
    OomKilled,
}

impl EndKind {
    /// The kind of an end. `killed` says whether drainit had sent SIGKILL.
    pub fn of(end: End, killed: bool) -> Self {
        match end {
            _ if killed => Self::Killed,
            End::Code(0) => Self::Completed,
            End::Code(_) => Self::Error,
            End::Signal(_) => Self::Signal,
            End::OutOfMemory(_) => Self::OomKilled,
        }
    }
}

/// The exit codes of drainit that do not come from a process.
pub mod exit_code {
    /// SIGKILL was not needed, and the container stopped on request or because every process had
    /// ended. The code is also 0 if an end that counts as a success caused the shutdown.
    pub const OK: u8 = 0;
    /// There are four cases: a process was not ready or complete within its timeout; a hook or a
    /// liveness check failed; drainit could not attempt a start; or an end counted as a failure
    /// although its code was 0 or a success code.
    pub const NOT_READY: u8 = 1;
    /// The command line is wrong.
    pub const USAGE: u8 = 2;
    /// drainit has an internal error (`EX_SOFTWARE`).
    pub const SOFTWARE: u8 = 70;
    /// The config is missing or wrong (`EX_CONFIG`).
    pub const CONFIG: u8 = 78;
    /// A command exists but cannot be executed.
    pub const CANNOT_EXECUTE: u8 = 126;
    /// A command does not exist.
    pub const NOT_FOUND: u8 = 127;
    /// There are two cases. SIGKILL ended the process whose end caused the shutdown. Or a signal, a
    /// request or the end of all processes caused the shutdown, and drainit had to kill a process.
    /// A container that is killed from outside also ends with this code.
    pub const KILLED: u8 = 137;
}
