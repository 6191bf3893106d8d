//! The kernel: signals, processes, descriptors, clocks, and the paths that a config names. The only
//! code with `unsafe` is in `sys`. All other crates forbid it.

#![allow(missing_docs, reason = "only drainit uses this crate, and most names say it all")]
#![cfg_attr(test, allow(clippy::disallowed_methods, reason = "a test may wait"))]

#[allow(clippy::disallowed_methods, reason = "runs before the loop")]
pub mod boot;
pub mod clock;
#[allow(clippy::disallowed_methods, reason = "/proc and /sys answer without a wait")]
pub mod connections;
#[allow(clippy::disallowed_methods, reason = "/proc and /sys answer without a wait")]
pub mod descendants;
#[allow(clippy::disallowed_methods, reason = "/proc answers without a wait")]
pub mod destroyed;
#[allow(clippy::disallowed_methods, reason = "/proc answers without a wait")]
pub mod disposition;
pub mod fingerprint;
pub mod handle;
#[allow(
    clippy::disallowed_methods,
    reason = "binding returns at once, except on a file system that hangs"
)]
pub mod held_sockets;
pub mod kill;
#[allow(clippy::disallowed_methods, reason = "/proc and /sys answer without a wait")]
pub mod leftovers;
#[allow(clippy::disallowed_methods, reason = "/proc and /sys answer without a wait")]
pub mod limits;
#[allow(clippy::disallowed_methods, reason = "/proc answers without a wait")]
pub mod listeners;
pub mod notify_socket;
pub mod on_thread;
#[allow(clippy::disallowed_methods, reason = "/proc and /sys answer without a wait")]
pub mod oom;
pub mod own_connections;
#[allow(clippy::disallowed_methods, reason = "drainit is about to exit")]
pub mod panic_hook;
#[allow(clippy::disallowed_methods, reason = "an abstract socket has no file")]
pub mod private_socket;
#[allow(clippy::disallowed_methods, reason = "/proc answers without a wait")]
mod proc_net;
#[allow(clippy::disallowed_methods, reason = "/proc answers without a wait")]
pub mod reap;
#[allow(clippy::disallowed_methods, reason = "callers have a thread")]
pub mod replace_file;
pub mod same_path;
pub mod service_manager;
pub mod signal;
mod sock_diag;
#[allow(
    clippy::disallowed_methods,
    reason = "reads /proc and programs that could not be executed; callers have a thread"
)]
pub mod spawn;
pub mod stale_socket;
pub mod stdio;
#[allow(clippy::disallowed_methods, reason = "/proc answers without a wait")]
pub mod stop_path;
pub mod sweep;
pub mod sys;
#[allow(clippy::disallowed_methods, reason = "opens a terminal, not a file")]
pub mod terminal;
pub mod termination_log;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
#[allow(clippy::disallowed_methods, reason = "callers have a thread, or run before the loop")]
pub mod trusted_path;
#[allow(clippy::disallowed_methods, reason = "/proc answers without a wait")]
pub mod users;
#[allow(clippy::disallowed_methods, reason = "/proc answers without a wait; callers have a thread")]
pub mod who_answers;
pub mod who_serves;

use std::io;

use nix::errno::Errno;

use crate::on_thread::Unanswered;

/// Whether the error means that drainit itself lacked a descriptor, a thread or memory.
pub fn is_own_lack(error: &io::Error) -> bool {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<Unanswered>());
    inner == Some(&Unanswered::NoThread)
        || matches!(errno(error), Errno::EMFILE | Errno::ENFILE | Errno::ENOMEM | Errno::ENOBUFS)
}

/// The kernel's number of an error; [`Errno::UnknownErrno`] if the error does not come from the
/// kernel.
pub fn errno(error: &io::Error) -> Errno {
    Errno::from_raw(error.raw_os_error().unwrap_or(0))
}

/// A process id, with the kernel's type.
pub type Pid = i32;

/// Returns the pid if it names one process other than init (1). Refuses 0 and negative numbers:
/// with these, the kernel signals a group or all processes.
fn only_one(pid: Pid) -> io::Result<Pid> {
    if pid > 1 { Ok(pid) } else { Err(Errno::EINVAL.into()) }
}

/// Turns the result of a signal into whether the signal has reached a process: `false` if there is
/// no such process.
fn has_reached(sent: io::Result<()>) -> io::Result<bool> {
    match sent {
        Err(error) if errno(&error) == Errno::ESRCH => Ok(false),
        sent => sent.map(|()| true),
    }
}

/// Another process, as the kernel identifies it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// The pid; 0 for a process outside drainit's PID namespace, such as the container runtime.
    pub pid: Pid,
    /// For the sender of a signal or a datagram, the real user id. For the other side of a
    /// connection, the effective user id that the process had when it called connect(2) or
    /// listen(2).
    pub uid: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_lack_is_not_a_fault_of_another() {
        for (why, is_own) in [(Unanswered::NoThread, true), (Unanswered::Hangs, false)] {
            assert_eq!(is_own_lack(&io::Error::other(why)), is_own, "{why}");
        }
    }
}
