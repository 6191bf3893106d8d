//! Values of a process that come from files: `environment` and `env_file`.

use std::path::PathBuf;

/// One source of variables of a process. A later source wins over an earlier one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Variable {
    Set {
        name: String,
        value: String,
    },
    /// The process does not get the variable, even if the container has it.
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
    /// The file of the source, if that file is read at each start.
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
    /// Whether the start fails without the file.
    pub required: bool,
}

/// `read:` of an `env_file`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Moment {
    /// drainit reads the file together with the config.
    Config,
    /// drainit reads the file at each start of the process.
    Start,
}
