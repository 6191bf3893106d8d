//! A handle on a process that need not be a child of drainit. The handle keeps referring to the
//! process after the kernel has reused its pid.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::wait::Id;
use tokio::io::Interest;

use crate::reap::exists;
use crate::{Pid, has_reached, only_one, sys};
use drainit_core::types::Signal;

#[derive(Debug)]
pub struct Handle(OwnedFd);

impl Handle {
    /// The process that has the pid now.
    ///
    /// # Errors
    /// Fails with `ESRCH` if there is no such process. Also fails if the kernel or a seccomp
    /// profile refuses pidfds.
    pub fn open(pid: Pid) -> io::Result<Self> {
        sys::pidfd_open(only_one(pid)?).map(Self)
    }

    /// Returns `false` if the process no longer exists.
    ///
    /// # Errors
    /// Fails with `EPERM` if drainit is not permitted to signal the process.
    pub fn signal(&self, signal: Signal) -> io::Result<bool> {
        has_reached(sys::pidfd_send_signal(&self.0, signal))
    }

    /// Whether the process is a child of drainit that is not reaped.
    pub fn is_child(&self) -> bool {
        exists(Id::PIDFd(self.0.as_fd()))
    }

    /// Whether the process runs, or is a child of drainit that is not reaped.
    pub fn is_there(&self) -> bool {
        let mut ended = [PollFd::new(self.0.as_fd(), PollFlags::POLLIN)];
        poll(&mut ended, PollTimeout::ZERO) == Ok(0) || self.is_child()
    }

    /// Returns a future that waits for the end of the process, and does not borrow `self`.
    pub fn wait_for_end(&self) -> io::Result<impl Future<Output = ()> + use<>> {
        let ended = sys::watch(self.0.try_clone()?, Interest::READABLE)?;
        Ok(async move { drop(ended.readable().await) })
    }
}

#[cfg(test)]
#[allow(clippy::zombie_processes)]
mod tests {
    use std::process::Command;
    use std::thread;

    use super::*;
    use crate::reap::{Reaped, is_living_child, reap_next};
    use crate::testing::isolated::in_own_pid_namespace;
    use drainit_core::types::End;

    // holds: S328
    #[test]
    fn handle_does_not_refer_to_reused_pid() {
        if !nix::unistd::geteuid().is_root() {
            return; // only root may choose the next pid
        }
        in_own_pid_namespace(|| {
            let sleep = || Command::new("sleep").arg("60").spawn().unwrap().id().cast_signed();
            let pid = sleep();
            let handle = Handle::open(pid).unwrap();
            assert!(handle.is_there() && handle.is_child());
            assert!(handle.signal(Signal::KILL).unwrap());
            while reap_next().unwrap() != Reaped::Child(pid, End::Signal(Signal::KILL)) {
                thread::yield_now();
            }
            std::fs::write("/proc/sys/kernel/ns_last_pid", (pid - 1).to_string()).unwrap();
            assert_eq!(sleep(), pid);
            assert!(!handle.is_there() && !handle.is_child());
            assert!(!handle.signal(Signal::KILL).unwrap());
            assert!(is_living_child(pid));
        });
    }
}
