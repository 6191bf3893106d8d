//! The end of a process, and the exit codes of drainit itself.

use core::fmt;

use drainit_derive::Named;

use crate::types::Signal;

/// The end of a process: its exit code, or the signal that ended it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It exited with this code.
    Code(u8),
    /// A signal ended it.
    Signal(Signal),
    /// A SIGKILL that drainit did not send ended it, and the kernel's count of OOM kills in this
    /// container has grown: most likely by this one.
    OutOfMemory,
}

impl End {
    /// The code that a shell would report: its own, or 128 plus the number of the signal.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Code(code) => code,
            Self::Signal(signal) => u8::try_from(128 + signal.number()).unwrap_or(u8::MAX),
            Self::OutOfMemory => exit_code::KILLED,
        }
    }

    /// The signal that ended it.
    pub fn signal(self) -> Option<Signal> {
        match self {
            Self::Code(_) => None,
            Self::Signal(signal) => Some(signal),
            Self::OutOfMemory => Some(Signal::KILL),
        }
    }

    /// The same without the guess about the sender of SIGKILL.
    pub fn plainly(self) -> Self {
        match self {
            Self::OutOfMemory => Self::Signal(Signal::KILL),
            other => other,
        }
    }

    /// Whether it exited with code 0.
    pub fn is_success(self) -> bool {
        self == Self::Code(0)
    }
}

/// Writes `exited with code 7` or `was ended by SIGKILL`.
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

/// How a process ended. The names are Kubernetes' words where it has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Named)]
pub enum EndKind {
    /// With code 0.
    Completed,
    /// With another code.
    Error,
    /// By a signal, such as its stop signal.
    Signal,
    /// By a SIGKILL of drainit, because its time was over.
    Killed,
    /// By the kernel's OOM killer.
    OomKilled,
}

impl EndKind {
    /// The kind of an end; `killed`: drainit had sent SIGKILL.
    pub fn of(end: End, killed: bool) -> Self {
        match end {
            _ if killed => Self::Killed,
            End::Code(0) => Self::Completed,
            End::Code(_) => Self::Error,
            End::Signal(_) => Self::Signal,
            End::OutOfMemory => Self::OomKilled,
        }
    }
}

/// The exit codes of drainit that do not come from a process.
pub mod exit_code {
    /// Asked to stop, and every process ended without SIGKILL.
    pub const OK: u8 = 0;
    /// A process did not become ready in time, or ended with code 0 where that is a failure.
    pub const NOT_READY: u8 = 1;
    /// Wrong usage of the command line.
    pub const USAGE: u8 = 2;
    /// An internal error of drainit (`EX_SOFTWARE`).
    pub const SOFTWARE: u8 = 70;
    /// The config is missing or wrong (`EX_CONFIG`).
    pub const CONFIG: u8 = 78;
    /// A command exists but cannot be executed.
    pub const CANNOT_EXECUTE: u8 = 126;
    /// A command does not exist.
    pub const NOT_FOUND: u8 = 127;
    /// A process had to be killed to keep the deadline; a container killed from outside has the
    /// same code.
    pub const KILLED: u8 = 137;
}
