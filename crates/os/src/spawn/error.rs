//! The errors of starting a process, each with its cause and a remedy.

use std::ffi::OsStr;
use std::io;
use std::path::PathBuf;

use thiserror::Error;

use drainit_core::types::exit_code;

/// The reason why a process could not be started.
#[derive(Debug, Error)]
pub enum SpawnError {
    #[error("the command is empty")]
    NoCommand,
    #[error(
        "`{name}` is in none of the directories of PATH (`{searched}`); \
        install it in the image, or give its full path"
    )]
    NotInPath {
        name: String,
        /// The directories, separated by colons.
        searched: String,
    },
    #[error("`{}` does not exist", path.display())]
    Missing { path: PathBuf },
    /// The program exists, but not its interpreter or loader.
    #[error("`{}` exists, but {what} `{interpreter}`, which does not exist in this image{hint}", path.display())]
    NoInterpreter {
        path: PathBuf,
        /// The part of the message that says how the program names its interpreter.
        what: &'static str,
        interpreter: String,
        /// A hint at the probable cause.
        hint: &'static str,
    },
    #[error("`{}` is a directory, not a program", path.display())]
    Directory { path: PathBuf },
    /// The file has no execute permission.
    #[error("`{}` is not executable; `chmod +x` it in the image", path.display())]
    NotExecutable { path: PathBuf },
    /// The file has an execute permission, but this user may not execute it.
    #[error("{whom} may not execute `{}`: it needs the permission for the file, for every directory above it \
        and for its interpreter, on file systems that are not mounted noexec", path.display())]
    Denied { path: PathBuf, whom: String },
    /// The kernel starts the interpreter of a script, but the interpreter cannot read the script.
    #[error("{whom} may not read `{}`, but the interpreter of a script reads it; `chmod +r` it in the image", path.display())]
    UnreadableScript { path: PathBuf, whom: String },
    /// The kernel cannot execute the file (ENOEXEC).
    #[error("`{}` is not a program that this machine can run: {why}", path.display())]
    Format { path: PathBuf, why: &'static str },
    #[error("the working directory `{}` cannot be entered: {why}", path.display())]
    WorkingDir { path: PathBuf, why: String },
    #[error("drainit runs as {own} and cannot become {wanted}; {remedy}")]
    User { own: String, wanted: String, remedy: &'static str },
    #[error(
        "the limit `{resource}` cannot be set to {wanted}, because drainit's own hard limit is {own}; {remedy}"
    )]
    Limit { resource: &'static str, wanted: String, own: String, remedy: &'static str },
    #[error("`{}` was not started: operation not permitted; an outdated seccomp profile may refuse the system call \
        clone3 (update the container runtime or libseccomp)", path.display())]
    Forbidden { path: PathBuf },
    #[error("`{}` was not started: its arguments and environment are too long (\
        the kernel takes about 2 MiB together and 128 KiB for one of them)", path.display())]
    TooBig { path: PathBuf },
    #[error("`{}` was not started: there is no room for another process; \
        look at the container's pids limit and at RLIMIT_NPROC", path.display())]
    TooMany { path: PathBuf },
    #[error("`{}` was not started: another process has it open for writing; \
        start it once it is written, or write a new file and rename that", path.display())]
    Busy { path: PathBuf },
    #[error("`{}` was not started: {source}", path.display())]
    Other { path: PathBuf, source: io::Error },
}

impl SpawnError {
    pub(crate) fn not_in_path(name: &OsStr, searched: &OsStr) -> Self {
        let (name, searched) = (name.to_string_lossy(), searched.to_string_lossy());
        Self::NotInPath { name: name.into_owned(), searched: searched.into_owned() }
    }

    /// The exit code, as a shell would give it: 127 if the command does not exist, 126 if it cannot
    /// be executed.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::NoCommand | Self::NotInPath { .. } | Self::Missing { .. } => exit_code::NOT_FOUND,
            _ => exit_code::CANNOT_EXECUTE,
        }
    }
}
