//! Lends the terminal on stdin to the child, as a shell lends it to a job.

use std::fs::File;
use std::io::{IsTerminal as _, stdin};

use nix::unistd::{Pid as NixPid, getpgrp, getsid, tcgetpgrp, tcsetpgrp};

use crate::Pid;
use crate::sys;

/// Whether drainit may get signals from a terminal: a terminal is on stdin, or controls drainit.
pub fn is_there() -> bool {
    stdin().is_terminal() || File::open("/dev/tty").is_ok()
}

#[derive(Debug)]
pub struct Terminal {
    /// The process group of drainit.
    own: NixPid,
    lent: bool,
}

impl Terminal {
    /// Finds out whether drainit has a terminal to lend. drainit has one if drainit is in the
    /// foreground of the terminal on stdin.
    pub fn find() -> Self {
        let mut terminal = Self { own: getpgrp(), lent: false };
        terminal.lent = terminal.is_ours();
        terminal
    }

    /// Whether the child has the terminal, or will have the terminal from its start.
    pub fn is_lent(&self) -> bool {
        self.lent
    }

    /// Puts the group of the child into the foreground if drainit is in the foreground, as after
    /// `fg` in a shell. Returns whether drainit was in the foreground.
    pub fn lend(&mut self, child: Pid) -> bool {
        let is_ours = self.is_ours();
        // SIGTTOU would stop a background process here, but drainit blocks SIGTTOU.
        if is_ours && tcsetpgrp(stdin(), NixPid::from_raw(child)).is_ok() {
            self.lent = true;
        }
        is_ours
    }

    /// Whether drainit is in the foreground of the terminal on stdin.
    pub fn is_ours(&self) -> bool {
        tcgetpgrp(stdin()).is_ok_and(|group| group == self.own)
    }

    /// Records that the shell takes the terminal back, because drainit is suspended.
    pub fn forget(&mut self) {
        self.lent = false;
    }

    /// Puts drainit into the foreground again if the terminal is lent.
    pub fn take_back(&mut self) {
        if std::mem::take(&mut self.lent) {
            let _ = tcsetpgrp(stdin(), self.own);
        }
    }

    /// Gives up the controlling terminal for good. If drainit leads its session, the whole session
    /// loses the terminal, and the kernel sends SIGHUP and SIGCONT.
    pub fn detach() -> std::io::Result<()> {
        sys::detach_terminal()
    }

    /// Whether drainit leads its session. If so, no shell above drainit could continue a stopped
    /// job.
    pub fn is_without_shell() -> bool {
        let own = NixPid::this();
        getsid(None).is_ok_and(|session| session == own)
    }
}
