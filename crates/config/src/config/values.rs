//! The variables of a process, and the files from which drainit reads their values.

use std::path::PathBuf;
use std::time::Duration;

/// An entry of `environment`, or an `env_file`. If two of them set the same variable, the later one
/// counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Variable {
    Set {
        name: String,
        value: String,
    },
    /// The process does not get this variable, even if the container has it.
    Removed(String),
    /// `environment: {NAME: {file: …}}`: the content of a file. drainit reads it at each start of
    /// the process.
    FromFile {
        name: String,
        file: ValueFile,
    },
    /// An `env_file` with `read: start`: drainit reads it at each start of the process.
    EnvFile(ValueFile),
}

impl Variable {
    /// The file that drainit must read at each start of the process; `None` for other values.
    pub fn file(&self) -> Option<&ValueFile> {
        match self {
            Self::FromFile { file, .. } | Self::EnvFile(file) => Some(file),
            Self::Set { .. } | Self::Removed(_) => None,
        }
    }
}

/// A file that has the value of a variable, or several variables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValueFile {
    pub path: PathBuf,
    /// Whether a missing file prevents the start of the process.
    pub required: bool,
}

/// `read:` of an `env_file`: when drainit reads the file.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Moment {
    /// drainit reads the file together with the config.
    Config,
    /// drainit reads the file at each start of the process.
    Start,
}

/// The part of the deadline that the plan gives a process at least, for the process's own limits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Share {
    /// From the stop signal to SIGKILL.
    pub stop: Duration,
    /// From the begin of the drain to its end; 0 without a drain.
    pub drain: Duration,
}

impl Share {
    /// The names by which a config uses the numbers.
    pub(crate) const NAMES: [&str; 4] = ["stop_seconds", "stop_ms", "drain_seconds", "drain_ms"];

    /// The number with this name, rounded down; `None` if the name is not in [`Self::NAMES`].
    pub(crate) fn number(self, name: &str) -> Option<u128> {
        match name {
            "stop_seconds" => Some(self.stop.as_secs().into()),
            "stop_ms" => Some(self.stop.as_millis()),
            "drain_seconds" => Some(self.drain.as_secs().into()),
            "drain_ms" => Some(self.drain.as_millis()),
            _ => None,
        }
    }
}
