//! The errors of starting a process, each with its cause and a remedy.

use std::ffi::OsStr;
use std::io;
use std::path::PathBuf;

use thiserror::Error;

use crate::types::exit_code;

/// Why a process could not be started.
#[derive(Debug, Error)]
pub enum SpawnError {
    /// The list is empty.
    #[error("the command is empty")]
    NoCommand,
    /// A bare name that is in none of the directories.
    #[error(
        "`{name}` is in none of the directories of PATH ({searched}); \
        install it in the image, or give its full path"
    )]
    NotInPath {
        /// The name.
        name: String,
        /// The directories, separated by colons.
        searched: String,
    },
    /// A path where nothing is.
    #[error("`{}` does not exist", path.display())]
    Missing {
        /// The program.
        path: PathBuf,
    },
    /// The program is there, and what is needed to run it is not.
    #[error("`{}` exists, but {what} `{interpreter}`, which does not exist in this image{hint}", path.display())]
    NoInterpreter {
        /// The program.
        path: PathBuf,
        /// How it asks for the interpreter.
        what: &'static str,
        /// What is missing.
        interpreter: String,
        /// What may be behind it.
        hint: &'static str,
    },
    /// A directory.
    #[error("`{}` is a directory, not a program", path.display())]
    Directory {
        /// Its path.
        path: PathBuf,
    },
    /// The file has no execute permission for whoever should run it.
    #[error("`{}` is not executable; `chmod +x` it in the image", path.display())]
    NotExecutable {
        /// The file.
        path: PathBuf,
    },
    /// The kernel denies it for another reason.
    #[error("{whom} may not execute `{}`: it needs the permission for the file, for every directory above it \
        and for its interpreter, on file systems that are not mounted noexec", path.display())]
    Denied {
        /// The file.
        path: PathBuf,
        /// Who was to run it.
        whom: String,
    },
    /// The kernel does not know what to do with the file.
    #[error("`{}` is not a program that this machine can run: {why}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The working directory cannot be entered.
    #[error("the working directory `{}` cannot be entered: {why}", path.display())]
    WorkingDir {
        /// The directory.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The user cannot be changed.
    #[error("drainit runs as {own} and cannot become {wanted}; {remedy}")]
    User {
        /// drainit's own user.
        own: String,
        /// The one that was asked for.
        wanted: String,
        /// What to do.
        remedy: &'static str,
    },
    /// The kernel or a sandbox forbids new processes.
    #[error("`{}` was not started: operation not permitted; an outdated seccomp profile may refuse the system call \
        clone3 (update the container runtime or libseccomp)", path.display())]
    Forbidden {
        /// The program.
        path: PathBuf,
    },
    /// Arguments and environment are too long.
    #[error("`{}` was not started: its arguments and environment are too long ({bytes} bytes; \
        the kernel takes about 2 MiB together and 128 KiB for one of them)", path.display())]
    TooBig {
        /// The program.
        path: PathBuf,
        /// Their size.
        bytes: usize,
    },
    /// The number of processes is limited.
    #[error("`{}` was not started: there is no room for another process; \
        look at the container's pids limit and at RLIMIT_NPROC", path.display())]
    TooMany {
        /// The program.
        path: PathBuf,
    },
    /// Somebody writes to the file.
    #[error("`{}` was not started: another process has it open for writing; \
        start it once it is written, or write a new file and rename that", path.display())]
    Busy {
        /// The program.
        path: PathBuf,
    },
    /// Everything else.
    #[error("`{}` was not started: {source}", path.display())]
    Other {
        /// The program.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

impl SpawnError {
    pub(crate) fn not_in_path(name: &OsStr, searched: &OsStr) -> Self {
        let (name, searched) = (name.to_string_lossy(), searched.to_string_lossy());
        Self::NotInPath { name: name.into_owned(), searched: searched.into_owned() }
    }

    /// 127 where the command does not exist, 126 where it cannot be executed, as shells have it.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::NoCommand | Self::NotInPath { .. } | Self::Missing { .. } => exit_code::NOT_FOUND,
            _ => exit_code::CANNOT_EXECUTE,
        }
    }
}
