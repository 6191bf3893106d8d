//! How children end: the one place that waits for them, and the one that signals them.
//!
//! Nobody else may wait. That makes signalling by pid safe: the kernel does not give the pid of a child to anybody else
//! before it is reaped here.

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use nix::errno::Errno;
use nix::unistd::{Pid as NixPid, getpgid};

use crate::os::sys;
use crate::types::{End, Signal};

/// A process id as the kernel counts them.
pub type Pid = i32;

/// At most this many are reaped in a row before anything else has its turn: a storm of orphans must not hold up a stop.
pub(crate) const REAP_AT_ONCE: usize = 256;

/// What there was to reap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reaped {
    /// This child has ended: one of ours, or an orphan that we inherited.
    Child(Pid, End),
    /// There are children, and all of them run.
    NoneNow,
    /// There are no children at all.
    NoChildren,
}

/// Reaps one child that has ended, without waiting. Signals tell only that there was at least one: call it until there
/// is none.
///
/// # Errors
/// None that the kernel documents.
pub fn reap_next() -> io::Result<Reaped> {
    loop {
        match sys::wait_any() {
            Ok(None) => return Ok(Reaped::NoneNow),
            Ok(Some((pid, status))) => {
                // Only WUNTRACED, WCONTINUED and ptrace bring statuses that are not an end.
                if let Some(end) = end_of(status) {
                    return Ok(Reaped::Child(pid, end));
                }
            }
            Err(error) => match errno(&error) {
                Errno::EINTR => {}
                Errno::ECHILD => return Ok(Reaped::NoChildren),
                _ => return Err(error),
            },
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

/// The signal that has stopped this child since it was asked last; an end is not one.
///
/// # Errors
/// None that the kernel documents.
pub(crate) fn stopped_by(child: Pid) -> io::Result<Option<Signal>> {
    match sys::stopped_by(only_one(child)?) {
        // It has ended meanwhile.
        Err(error) if errno(&error) == Errno::ECHILD => Ok(None),
        other => Ok(other?.and_then(Signal::from_number)),
    }
}

/// Whether one of our children is in the process group of this number, ended or not. As long as it is, nobody else's
/// group can have the number, so that [`kill_group`] is safe although the leader is reaped.
pub(crate) fn has_child_in_group(leader: Pid) -> bool {
    only_one(leader).is_ok_and(sys::has_child_in_group)
}

/// The process group of a process, be it a zombie; `None` where there is no such process (any
/// more).
pub(crate) fn group_of(pid: Pid) -> Option<Pid> {
    let pid = NixPid::from_raw(only_one(pid).ok()?);
    Some(getpgid(Some(pid)).ok()?.as_raw())
}

/// Whether there is any child, ended or not: the kernel's own answer, which `/proc` cannot give of those that come and
/// go while it is read. A descendant that has lost its parent is a child.
pub(crate) fn has_children() -> bool {
    sys::has_children()
}

/// Whether this is a child of ours, one that has not ended: the kernel's own answer, too.
pub(crate) fn is_living_child(pid: Pid) -> bool {
    sys::is_living_child(pid)
}

/// Sends a signal to one process. `false` where there is no such process (any more).
///
/// # Errors
/// `EPERM` where it belongs to another user; `EINVAL` for what is not a pid.
pub fn kill(pid: Pid, signal: Signal) -> io::Result<bool> {
    send(only_one(pid)?, signal)
}

/// Sends a signal to every member of the process group that `leader` leads. `false` where there is no member left.
///
/// Only for a leader that is not reaped yet, or whose group is known to live: later the number may be somebody else's.
///
/// # Errors
/// As for [`kill`]; `EPERM` only where not a single member could be signalled.
pub fn kill_group(leader: Pid, signal: Signal) -> io::Result<bool> {
    send(-only_one(leader)?, signal)
}

/// Who is in a process group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// Nobody.
    Gone,
    /// Somebody who can be signalled, be it a zombie.
    Lives,
    /// Only whom drainit may not signal.
    Refuses,
}

/// ImageLookup who is in a process group.
#[must_use]
pub fn group(leader: Pid) -> Group {
    let probed = only_one(leader).and_then(|leader| sys::probe(-leader));
    match probed.map_err(|error| errno(&error)) {
        Err(Errno::ESRCH | Errno::EINVAL) => Group::Gone,
        Err(Errno::EPERM) => Group::Refuses,
        _ => Group::Lives,
    }
}

/// 0, 1 and negative numbers mean groups, init and everybody to the kernel, and are never meant here.
fn only_one(pid: Pid) -> io::Result<Pid> {
    if pid > 1 { Ok(pid) } else { Err(Errno::EINVAL.into()) }
}

fn send(target: i32, signal: Signal) -> io::Result<bool> {
    match sys::kill(target, signal) {
        Ok(()) => Ok(true),
        Err(error) if errno(&error) == Errno::ESRCH => Ok(false),
        Err(error) => Err(error),
    }
}

fn errno(error: &io::Error) -> Errno {
    Errno::from_raw(error.raw_os_error().unwrap_or(0))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::zombie_processes)]
mod tests {
    use super::*;
    use crate::testing::isolated::alone;
    use std::os::unix::process::CommandExt;
    use std::process::Command;

    fn start(script: &str) -> Pid {
        let child = Command::new("sh").args(["-c", script]).process_group(0).spawn().unwrap();
        child.id().cast_signed()
    }

    /// Reaps until a child has ended; the kernel tells when to look.
    fn reap() -> Option<(Pid, End)> {
        loop {
            match reap_next().unwrap() {
                Reaped::Child(pid, end) => return Some((pid, end)),
                Reaped::NoChildren => return None,
                Reaped::NoneNow => std::thread::yield_now(),
            }
        }
    }

    #[test]
    fn ends_are_told_apart() {
        alone("os::reap::tests::ends_are_told_apart", || {
            assert_eq!(reap(), None);
            let pid = start("exit 7");
            assert_eq!(reap(), Some((pid, End::Code(7))));
            for number in [9, 15, 34, 40, 64] {
                let signal = Signal::from_number(number).unwrap();
                let pid = start("exec sleep 60");
                assert_eq!(reap_next().unwrap(), Reaped::NoneNow);
                assert!(kill(pid, signal).unwrap());
                assert_eq!(reap(), Some((pid, End::Signal(signal))));
                assert!(!kill(pid, signal).unwrap());
            }
            assert_eq!(reap_next().unwrap(), Reaped::NoChildren);
        });
    }

    #[test]
    fn a_group_is_signalled_as_a_whole() {
        alone("os::reap::tests::a_group_is_signalled_as_a_whole", || {
            nix::sys::prctl::set_child_subreaper(true).unwrap();
            let leader = start("sleep 60 & sleep 60 & wait");
            assert!(kill_group(leader, Signal::KILL).unwrap());
            while let Some((_, end)) = reap() {
                assert_eq!(end, End::Signal(Signal::KILL));
            }
            assert!(!kill_group(leader, Signal::KILL).unwrap());
        });
    }

    #[test]
    fn the_kernels_wildcards_are_refused() {
        for pid in [i32::MIN, -1, 0, 1] {
            assert!(kill(pid, Signal::CONT).is_err(), "{pid}");
            assert!(kill_group(pid, Signal::CONT).is_err(), "{pid}");
        }
    }
}
