//! Values of a process that come from files: `environment`, `env_file`, `render`, and the number of
//! a copy.

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
    #[must_use]
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

/// One entry of `render:`: a template that is written to a file before each start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Render {
    /// The template.
    pub from: PathBuf,
    pub to: PathBuf,
    /// The permissions of `to`.
    pub mode: u32,
}

impl Render {
    /// Only the user of the process: a template may have secrets put in.
    pub const DEFAULT_MODE: u32 = 0o600;
}

/// The origin of a process that `scale` made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CopyOf {
    /// The key under `processes:`.
    pub process: String,
    /// From 1.
    pub index: u32,
}

impl CopyOf {
    /// The variable that holds `index`, in `${…}` of the entry and in the environment of the copy.
    pub const VARIABLE: &str = "SCALE_INDEX";

    /// The variable with `index`.
    #[must_use]
    pub fn variable(&self) -> Variable {
        Variable::Set { name: Self::VARIABLE.to_owned(), value: self.index.to_string() }
    }
}
