//! All signals at once, blocked and waited for: what `exec` needs of them, without a handler, a descriptor or memory.
//!
//! A blocked signal is kept for whoever waits for it even where its disposition would have it ignored, and also for
//! PID 1. Children would inherit the mask, so [`super::start`] starts them with the one that drainit was given. A fault of
//! drainit itself still ends it: the kernel does not let a program block those.

use std::io;
use std::time::Duration;

use nix::errno::Errno;

use super::signals::{Received, Sender};
use super::sys::{self, SignalSet};
use crate::vocab::Signal;

/// Every signal that there is.
pub(crate) const ALL: SignalSet = SignalSet::MAX;

/// Every signal that is no real-time signal.
pub(crate) const FIRST_31: SignalSet = (1 << 31) - 1;

/// A set with one signal in it.
#[must_use]
pub(crate) fn only(signal: Signal) -> SignalSet {
    1 << (signal.number() - 1)
}

/// All signals, blocked.
#[derive(Debug)]
pub(crate) struct Blocked {
    given: SignalSet,
}

impl Blocked {
    /// Blocks every signal, for the rest of the process's life. Call it before there is another thread.
    ///
    /// # Errors
    /// None that the kernel documents.
    pub(crate) fn block() -> io::Result<Self> {
        let given = sys::set_mask(ALL)?;
        // Whoever started drainit may ignore CHLD, and then the kernel tells nobody how children end; without TSTP's
        // default, drainit cannot stop with its child.
        for signal in [Signal::CHLD, Signal::TSTP] {
            sys::stop_ignoring(signal.number())?;
        }
        Ok(Self { given })
    }

    /// The mask that drainit was given.
    pub(crate) fn given(&self) -> SignalSet {
        self.given
    }

    /// Sleeps until there is a signal, and takes it: the lowest number first. `None` when `timeout` is over, or for no
    /// reason at all.
    ///
    /// # Errors
    /// None that the kernel documents.
    pub(crate) fn wait(&self, timeout: Option<Duration>) -> io::Result<Option<Received>> {
        let arrived = match sys::wait_signal(ALL, timeout) {
            // drainit was stopped and goes on.
            Err(error) if error.raw_os_error() == Some(Errno::EINTR as i32) => None,
            other => other?,
        };
        Ok(arrived.and_then(|arrived| {
            let sender = arrived.sender.map(|(pid, uid)| Sender { pid, uid });
            let signal = Signal::from_number(arrived.number)?;
            let is_own =
                sender.is_some_and(|sender| sender.pid == std::process::id().cast_signed());
            // A line of ours that nobody reads is no message to anybody.
            (!(is_own && signal == Signal::PIPE)).then_some(Received { signal, sender })
        }))
    }

    /// Stops drainit as Ctrl-Z would, until somebody continues it. Nothing happens to PID 1, and where there is no shell
    /// that could continue it.
    ///
    /// # Errors
    /// None that the kernel documents.
    pub(crate) fn stop_self(&self) -> io::Result<()> {
        sys::kill(std::process::id().cast_signed(), Signal::TSTP)?;
        sys::set_mask(ALL & !only(Signal::TSTP))?;
        sys::set_mask(ALL).map(drop)
    }

    /// Stops drainit, whether or not there is somebody to continue it; only PID 1 goes on.
    ///
    /// # Errors
    /// None that the kernel documents.
    pub(crate) fn halt_self(&self) -> io::Result<()> {
        sys::kill(std::process::id().cast_signed(), Signal::STOP)
    }
}
