//! How a process ends, and the exit codes of drainit itself.

use std::fmt;

use crate::types::Signal;

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It exited with this code.
    Code(u8),
    /// A signal ended it.
    Signal(Signal),
    /// KILL ended it, which drainit had not sent, and the kernel has counted one more OOM kill in this container since:
    /// most likely this one.
    OutOfMemory,
}

impl End {
    /// The code that a shell would give: its own, or 128 plus the number of the signal.
    #[must_use]
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Code(code) => code,
            Self::Signal(signal) => u8::try_from(128 + signal.number()).unwrap_or(u8::MAX),
            Self::OutOfMemory => exit_code::KILLED,
        }
    }

    /// The signal that ended it, if one did.
    #[must_use]
    pub fn signal(self) -> Option<Signal> {
        match self {
            Self::Code(_) => None,
            Self::Signal(signal) => Some(signal),
            Self::OutOfMemory => Some(Signal::KILL),
        }
    }

    /// The same without the guess who sent it.
    #[must_use]
    pub fn plainly(self) -> Self {
        match self {
            Self::OutOfMemory => Self::Signal(Signal::KILL),
            other => other,
        }
    }

    /// Whether it exited with 0.
    #[must_use]
    pub fn is_success(self) -> bool {
        self == Self::Code(0)
    }
}

/// Writes `exited with code 7` or `was ended by SIGKILL`, and for [`End::OutOfMemory`] what is known of it.
impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exited with code {code}"),
            Self::Signal(signal) => write!(f, "was ended by {signal}"),
            Self::OutOfMemory => {
                write!(
                    f,
                    "was ended by SIGKILL, probably by the kernel's OOM killer (out of memory)"
                )
            }
        }
    }
}

/// Exit codes of drainit itself that do not come from a process.
pub mod exit_code {
    /// Asked to stop, and everything stopped by itself.
    pub const OK: u8 = 0;
    /// A process did not become ready in time, or ended with 0 where that is a failure.
    pub const NOT_READY: u8 = 1;
    /// Wrong usage of the command line.
    pub const USAGE: u8 = 2;
    /// Something failed inside drainit (`EX_SOFTWARE`).
    pub const SOFTWARE: u8 = 70;
    /// The config is missing or wrong (`EX_CONFIG`).
    pub const CONFIG: u8 = 78;
    /// A command exists and cannot be executed.
    pub const CANNOT_EXECUTE: u8 = 126;
    /// A command does not exist.
    pub const NOT_FOUND: u8 = 127;
    /// Something had to be killed to keep the deadline: what a container killed from outside shows, too.
    pub const KILLED: u8 = 137;
}
