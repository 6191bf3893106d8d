//! Reaps children. Nothing else in drainit reaps them. The kernel does not reuse the pid of a child
//! before the child is reaped, so drainit can safely signal its children by pid.

use std::cell::Cell;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::Pid as NixPid;

use crate::clock::thread_cpu;
use crate::{Pid, errno, only_one, sys};
use drainit_core::types::{End, Signal};

/// At most this many children are reaped in a row: the ends of many orphans must not delay a stop.
pub const REAP_AT_ONCE: usize = 8;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reaped {
    /// This child has ended. The child may be an orphan that drainit inherited.
    Child(Pid, End),
    /// There are children, and none of them has ended.
    NoneNow,
    NoChildren,
}

thread_local! {
    static KERNEL_TIME: Cell<Duration> = const { Cell::new(Duration::ZERO) };
}

/// The processor time that the kernel has spent on reaping for this thread, in debug builds. When
/// the kernel releases a process, the kernel also drops the cached entries of `/proc/PID`. This
/// release takes a few microseconds for most processes. For an Envoy on a busy machine the release
/// takes up to 55 ms, because a scan of `/proc` has listed the Envoy's descriptors and threads
/// (`proc_invalidate_siblings_dcache`, measured on 6.18).
pub fn kernel_time() -> Duration {
    KERNEL_TIME.get()
}

/// Like [`sys::wait_any`]. Adds to [`kernel_time`].
fn wait_any() -> io::Result<Option<(Pid, ExitStatus)>> {
    if !cfg!(debug_assertions) {
        return sys::wait_any();
    }
    let before = thread_cpu();
    let result = sys::wait_any();
    KERNEL_TIME.set(KERNEL_TIME.get() + thread_cpu().saturating_sub(before));
    result
}

/// Reaps one child that has ended, without waiting. One SIGCHLD may stand for several ended
/// children, so call this until it returns something other than `Child`.
///
/// # Errors
/// The kernel documents no error.
pub fn reap_next() -> io::Result<Reaped> {
    loop {
        match wait_any() {
            Ok(None) => return Ok(Reaped::NoneNow),
            Ok(Some((pid, status))) => {
                // The kernel returns a status other than an end only with WUNTRACED, WCONTINUED or
                // ptrace.
                if let Some(end) = end_of(status) {
                    return Ok(Reaped::Child(pid, end));
                }
            }
            Err(error) if errno(&error) == Errno::ECHILD => return Ok(Reaped::NoChildren),
            Err(error) => return Err(error),
        }
    }
}

fn end_of(status: ExitStatus) -> Option<End> {
    match (status.code(), status.signal()) {
        (Some(code), _) => u8::try_from(code).ok().map(End::Code),
        (None, Some(signal)) => Signal::from_number(signal).map(End::Signal),
        (None, None) => None,
    }
}

/// The signal that has stopped this child since the last call; `None` without such a signal.
///
/// # Errors
/// The kernel documents no error.
pub fn stopped_by(child: Pid) -> io::Result<Option<Signal>> {
    let child = NixPid::from_raw(only_one(child)?);
    match waitid(Id::Pid(child), WaitPidFlag::WSTOPPED | WaitPidFlag::WNOHANG) {
        Ok(WaitStatus::Stopped(_, signal)) => Ok(Signal::from_number(signal as i32)),
        // The child has not been stopped since the last call, or has ended.
        Ok(_) | Err(Errno::ECHILD) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Whether this child has ended and is not reaped yet. `EINVAL` means yes, as in [`exists`].
pub fn has_ended(child: Pid) -> bool {
    only_one(child).is_ok_and(|child| {
        let state = look(Id::Pid(NixPid::from_raw(child)));
        !matches!(state, Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD))
    })
}

/// Whether a child that is not reaped is in this process group. While there is such a child, the
/// kernel does not reuse the number of the group. The group may then be signalled even if its
/// leader is reaped.
pub fn has_child_in_group(leader: Pid) -> bool {
    only_one(leader).is_ok_and(|leader| exists(Id::PGid(NixPid::from_raw(leader))))
}

/// Whether there is any child that is not reaped. Unlike a scan of `/proc`, this does not miss
/// short-lived children.
pub fn has_children() -> bool {
    exists(Id::All)
}

/// Whether the pid belongs to a child of drainit that is not reaped. If so, the pid may be
/// signalled.
pub fn is_child(pid: Pid) -> bool {
    only_one(pid).is_ok_and(|pid| exists(Id::Pid(NixPid::from_raw(pid))))
}

/// Whether the pid belongs to a child of drainit that has not ended.
pub fn is_living_child(pid: Pid) -> bool {
    look(Id::Pid(NixPid::from_raw(pid))) == Ok(WaitStatus::StillAlive)
}

/// Whether `id` includes a child that is not reaped. `EINVAL` also means yes: a real-time signal,
/// which nix does not know, has ended the child.
pub(super) fn exists(id: Id<'_>) -> bool {
    look(id) != Err(Errno::ECHILD)
}

/// Looks at a child that `id` includes, without reaping it.
fn look(id: Id<'_>) -> nix::Result<WaitStatus> {
    waitid(id, WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT)
}
