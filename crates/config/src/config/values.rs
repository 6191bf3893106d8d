//! The variables of a process, and the files from which drainit reads their values.

use std::path::PathBuf;

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
