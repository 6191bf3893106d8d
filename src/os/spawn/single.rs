//! Starts the one child of `exec`, `tini` or `dumb-init`, with its signal mask, dispositions, group
//! and session.
//!
//! It is separate from [`crate::os::spawn`], which starts the processes of a config, because every
//! microsecond counts here.

use std::ffi::{CString, NulError, OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::Command;

use nix::errno::Errno;

use crate::os::Pid;
use crate::os::signal::mask;
use crate::os::spawn::SpawnError;
use crate::os::spawn::diagnose::{Attempt, diagnose};
use crate::os::spawn::which::which;
use crate::os::sys;
use crate::os::sys::Belongings;
pub(crate) use crate::os::sys::{ChildSetup, Place};

/// Starts the command. When this returns, its exec has succeeded, and its group and session are
/// set.
///
/// # Errors
/// With the cause and its exit code.
pub(crate) fn start(command: &[OsString], setup: &ChildSetup) -> Result<Pid, SpawnError> {
    let Some(name) = command.first() else { return Err(SpawnError::NoCommand) };
    let path = std::env::var_os("PATH");
    let program = which(name, path.as_deref(), None)?;
    launch(&program, command, setup).map_err(|error| {
        let attempt =
            Attempt { program: &program, command, env: None, working_dir: None, user: None };
        diagnose(error, &attempt)
    })
}

/// Starts the command as `execvp(3)` would: `/bin/sh` runs a file that the kernel cannot execute
/// (ENOEXEC).
///
/// # Errors
/// The bare error of the system.
pub(crate) fn start_like_execvp(command: &[OsString], setup: &ChildSetup) -> io::Result<Pid> {
    const SHELL: &str = "/bin/sh";
    let name = command.first().map_or(OsStr::new(""), OsString::as_os_str);
    let path = std::env::var_os("PATH");
    let program = match which(name, path.as_deref(), None) {
        // For `which`, an empty name is the directory itself.
        Ok(program) if !name.is_empty() => program,
        Err(SpawnError::NotExecutable { .. }) => return Err(Errno::EACCES.into()),
        _ => return Err(Errno::ENOENT.into()),
    };
    match launch(&program, command, setup) {
        Err(error) if error.raw_os_error() == Some(Errno::ENOEXEC as i32) => {
            let script = [OsString::from(SHELL), program.into_os_string()];
            let words: Vec<_> = script.into_iter().chain(command.iter().skip(1).cloned()).collect();
            launch(Path::new(SHELL), &words, setup)
        }
        other => other,
    }
}

fn launch(program: &Path, command: &[OsString], setup: &ChildSetup) -> io::Result<Pid> {
    let started = launch_once(program, command, setup);
    mask::block_here();
    started
}

fn launch_once(program: &Path, command: &[OsString], setup: &ChildSetup) -> io::Result<Pid> {
    let text = |text: &OsStr| CString::new(text.as_bytes());
    let args = command.iter().map(|arg| text(arg)).collect::<Result<Vec<_>, _>>()?;
    let needs_fork = matches!(setup.place, Place::Foreground | Place::SessionWithTerminal);
    if needs_fork || setup.dies_with_us || setup.listens {
        let mut forked = Command::new(program);
        sys::set_up_child(&mut forked, *setup);
        let env = setup.listens.then(environment_for_child).transpose()?;
        sys::exec_as(&mut forked, text(program.as_os_str())?, args, env, setup.listens);
        // Dropping std's `Child` neither waits nor kills.
        return Ok(forked.spawn()?.id().cast_signed());
    }
    sys::posix_spawn(&text(program.as_os_str())?, &args, &Belongings::default(), setup)
}

/// drainit's own environment, without the `LISTEN_PID` that names drainit.
fn environment_for_child() -> Result<Vec<CString>, NulError> {
    let others = std::env::vars_os().filter(|(name, _)| name != "LISTEN_PID");
    let entry = |(name, value): (OsString, OsString)| {
        CString::new([name.as_bytes(), b"=", value.as_bytes()].concat())
    };
    others.map(entry).collect()
}
