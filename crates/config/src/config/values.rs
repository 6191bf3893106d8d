//! Values of a process that come from files: `environment` and `env_file`.

use std::path::PathBuf;

/// One source of a process's variables; later ones win.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Variable {
    Set {
        name: String,
        value: String,
    },
    /// Kept from the process, even if the container has it.
    Removed(String),
    /// `environment: {NAME: {file: …}}`: the content of a file, read at each start.
    FromFile {
        name: String,
        file: ValueFile,
    },
    /// An `env_file` with `read: start`: read at each start.
    EnvFile(ValueFile),
}

impl Variable {
    /// Its file, if it is read at each start.
    pub fn file(&self) -> Option<&ValueFile> {
        match self {
            Self::FromFile { file, .. } | Self::EnvFile(file) => Some(file),
            Self::Set { .. } | Self::Removed(_) => None,
        }
    }
}

/// A file with values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValueFile {
    pub path: PathBuf,
    /// The start fails without it.
    pub required: bool,
}

/// `read:` of an `env_file`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Moment {
    /// Together with the config.
    Config,
    /// At each start of the process.
    Start,
}
