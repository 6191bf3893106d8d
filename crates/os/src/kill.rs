//! Sends signals to processes and process groups by pid.
//!
//! Signalling a child by its pid is safe: the kernel does not reuse the pid before
//! [`crate::reap`] has reaped the child.

use std::io;

use nix::errno::Errno;
use nix::unistd::{Pid as NixPid, getpgid};

use crate::descendants::Stat;
use crate::reap::{has_child_in_group, is_child};
use crate::{Pid, has_reached, only_one, sys};
use drainit_core::types::Signal;

/// Sends a signal to one process. Returns `false` if the process does not exist.
///
/// # Errors
/// Fails with `EPERM` if drainit is not permitted to signal the process, and with `EINVAL` if `pid`
/// is 1, 0 or negative.
pub fn kill(pid: Pid, signal: Signal) -> io::Result<bool> {
    send(only_one(pid)?, signal)
}

/// Like [`kill`], for a child that drainit has not reaped. Debug builds check that the pid belongs
/// to such a child.
///
/// # Errors
/// As for [`kill`].
pub fn kill_child(pid: Pid, signal: Signal) -> io::Result<bool> {
    debug_assert!(is_child(pid), "{signal} to pid {pid}, which is reaped or no child");
    kill(pid, signal)
}

/// Sends a signal to every member of the process group that `leader` leads. Returns `false` if the
/// group does not exist.
///
/// The caller must know that the leader, or a child in the group, is not reaped. Otherwise the
/// kernel may have reused the number of the group: for such a group, use
/// [`crate::sweep::signal_left_group`].
///
/// # Errors
/// Fails as [`kill`] does. `EPERM` means that drainit could not signal any member.
pub fn kill_group(leader: Pid, signal: Signal) -> io::Result<bool> {
    send(-only_one(leader)?, signal)
}

/// Like [`kill_group`]. The leader or another member must be a child that is not reaped. Debug
/// builds check this. If the leader has not made its group yet, signals the leader alone.
///
/// # Errors
/// As for [`kill_group`].
pub fn kill_group_of_child(leader: Pid, signal: Signal) -> io::Result<bool> {
    let is_ours = || is_child(leader) || has_child_in_group(leader);
    debug_assert!(is_ours(), "{signal} to group {leader}, which has no child");
    match kill_group(leader, signal) {
        // The child makes its group just before its exec, so the group may not exist yet.
        Ok(false) if is_child(leader) => kill(leader, signal),
        sent => sent,
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    Gone,
    /// The group has a zombie or a member that drainit may signal.
    Lives,
    /// drainit is not permitted to signal any member (EPERM).
    Refuses,
}

/// Probes a process group without sending a signal.
pub fn group(leader: Pid) -> Group {
    let Ok(leader) = only_one(leader) else { return Group::Gone };
    match nix::sys::signal::killpg(NixPid::from_raw(leader), None) {
        Err(Errno::ESRCH) => Group::Gone,
        Err(Errno::EPERM) => Group::Refuses,
        _ => Group::Lives,
    }
}

/// Like [`group`], for a group whose leader has ended. As long as a group exists, no new process
/// gets its number as a pid. If a living process has the pid `leader`, the group is therefore gone.
pub fn left_group(leader: Pid) -> Group {
    // The leader itself has ended, so it is a zombie until its parent reaps it.
    let is_other = || Stat::read(leader).is_none_or(|stat| stat.is_alive);
    let Some(own) = group_of(leader) else { return group(leader) };
    if own != leader || is_other() { Group::Gone } else { group(leader) }
}

/// The process group of a process or zombie; `None` if the process does not exist.
pub fn group_of(pid: Pid) -> Option<Pid> {
    let pid = NixPid::from_raw(only_one(pid).ok()?);
    Some(getpgid(Some(pid)).ok()?.as_raw())
}

fn send(target: i32, signal: Signal) -> io::Result<bool> {
    has_reached(sys::kill(target, signal))
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::CommandExt;
    use std::panic::catch_unwind;
    use std::process::Command;

    use super::*;

    #[test]
    fn the_kernels_wildcards_are_refused() {
        for pid in [i32::MIN, -1, 0, 1] {
            assert!(kill(pid, Signal::CONT).is_err(), "{pid}");
            assert!(kill_group(pid, Signal::CONT).is_err(), "{pid}");
        }
    }

    #[test]
    #[cfg_attr(not(debug_assertions), ignore = "checked in debug builds")]
    fn debug_build_panics_on_signal_to_reaped_process() {
        let mut child = Command::new("true").process_group(0).spawn().unwrap();
        let pid = child.id().cast_signed();
        child.wait().unwrap();
        for send in [kill_child, kill_group_of_child] {
            assert!(catch_unwind(|| send(pid, Signal::CONT)).is_err());
        }
    }
}
