//! The terminal on stdin: lent to the child while it runs, as a shell lends it to a job.

use nix::unistd::{Pid as NixPid, getpgrp, getsid};

use crate::os::Pid;
use crate::os::sys;

/// Who has the terminal.
#[derive(Debug)]
pub(crate) struct Terminal {
    /// Our own process group.
    own: Pid,
    lent: bool,
}

impl Terminal {
    /// The terminal is to be lent if it is ours to lend: where drainit is in its foreground.
    pub(crate) fn find() -> Self {
        let own = getpgrp().as_raw();
        Self { own, lent: sys::foreground_group().is_ok_and(|group| group == own) }
    }

    /// Whether the child has it, or will have it from its start.
    pub(crate) fn is_lent(&self) -> bool {
        self.lent
    }

    /// Puts the child's group into the foreground if that is ours, as after a shell's `fg`. Whether it was.
    pub(crate) fn lend(&mut self, child: Pid) -> bool {
        let is_ours = sys::foreground_group().is_ok_and(|group| group == self.own);
        if is_ours && sys::set_foreground_group(child).is_ok() {
            self.lent = true;
        }
        is_ours
    }

    /// Somebody else takes it now: the shell that sees us stop.
    pub(crate) fn forget(&mut self) {
        self.lent = false;
    }

    /// Puts our own group into the foreground, if the terminal is lent.
    pub(crate) fn take_back(&mut self) {
        if std::mem::take(&mut self.lent) {
            let _ = sys::set_foreground_group(self.own);
        }
    }

    /// Gives the controlling terminal up, for good. A session leader takes it from its whole session, and the kernel
    /// then sends HUP and CONT.
    pub(crate) fn detach() -> std::io::Result<()> {
        sys::detach_terminal()
    }

    /// Whether there is no shell above us that could continue what has stopped.
    pub(crate) fn is_without_shell() -> bool {
        let own = NixPid::this();
        getsid(None).is_ok_and(|session| session == own)
    }
}
