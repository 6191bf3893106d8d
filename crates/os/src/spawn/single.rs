//! Starts the one child of `exec`, `tini` or `dumb-init`, and sets the child's signal mask,
//! dispositions, group and session. The child inherits everything else.

use std::ffi::OsString;
use std::io;

use crate::Pid;
use crate::spawn::{Exec, SpawnError, SpawnRequest};
pub use crate::sys::{ChildPlace, ChildSetup};

/// Starts the command. The result of its exec is known later, at the latest when the child ends.
///
/// # Errors
/// Fails if no process was created. The error has the cause and its exit code.
pub fn start(command: &[OsString], setup: &ChildSetup) -> Result<(Pid, Exec), SpawnError> {
    request(command, setup).launch(*setup)
}

/// Starts the command as `execvp(3)` would: `/bin/sh` runs a file that the kernel cannot execute
/// (ENOEXEC).
///
/// # Errors
/// Fails with the bare error of the system if no process was created.
pub fn start_like_execvp(command: &[OsString], setup: &ChildSetup) -> io::Result<(Pid, Exec)> {
    request(command, setup).try_launch(*setup, true)
}

fn request(command: &[OsString], setup: &ChildSetup) -> SpawnRequest {
    let mut request = SpawnRequest::new(command.to_vec());
    request.inherits_stdin = true;
    if setup.listens {
        // drainit's own `LISTEN_PID` names drainit, so it is left out here. The child gets a new
        // `LISTEN_PID` with its own pid.
        request.env = Some(std::env::vars_os().filter(|(name, _)| name != "LISTEN_PID").collect());
    }
    request
}
