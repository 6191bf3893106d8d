//! All signals at once, blocked and waited for, without a handler: `exec` sleeps until one comes, and [`crate::os::signal::fd`]
//! reads them from a descriptor.
//!
//! A blocked signal is kept for whoever waits for it even where its disposition would have it ignored, and also for
//! PID 1. So every signal can be heard but KILL and STOP, and also those that the C libraries keep for themselves (32, 33
//! and under musl 34), of which drainit never needs one. Children would inherit the mask, so they are started with the one
//! that drainit was given ([`crate::os::spawn::single`], [`crate::os::spawn`]). A fault of drainit itself still ends it: the kernel does not
//! let a program block those. In the background of a terminal with `stty tostop`, blocked TTIN and TTOU also keep each line
//! of drainit's own from stopping it.

use std::io;
use std::sync::OnceLock;
use std::time::Duration;

use nix::errno::Errno;

use crate::os::signal::ReceivedSignal;
use crate::os::sys;
use crate::os::sys::SignalSet;
use crate::types::Signal;

/// Every signal that there is.
pub(crate) const ALL: SignalSet = SignalSet::MAX;

/// Every signal that is no real-time signal.
pub(crate) const FIRST_31: SignalSet = (1 << 31) - 1;

/// The mask that drainit was given, since [`hold`].
static FOUND: OnceLock<SignalSet> = OnceLock::new();

/// The same, since drainit has taken all signals for good.
static GIVEN: OnceLock<SignalSet> = OnceLock::new();

/// Blocks every signal before it is known what drainit is to do: PID 1 loses a signal that it
/// neither blocks nor handles, and the command line may be long. Afterwards either
/// [`BlockedSignals::block`] or [`release`] is called.
pub(crate) fn hold() {
    // The kernel documents no error.
    if let Ok(given) = sys::set_mask(ALL) {
        let _ = FOUND.set(given);
    }
}

/// Gives back the mask that drainit was given, for a command that is no init. What has come since
/// [`hold`] takes effect.
pub(crate) fn release() {
    if let (Some(given), None) = (FOUND.get(), GIVEN.get()) {
        let _ = sys::set_mask(*given);
    }
}

/// The mask that drainit was given; `None` where it still has that.
pub(crate) fn given() -> Option<SignalSet> {
    GIVEN.get().copied()
}

/// Blocks every signal on this thread, if drainit has taken them. The C libraries let some of those through that they keep
/// for themselves: on a new thread, and on one that has called `posix_spawn`.
pub(crate) fn block_here() {
    if GIVEN.get().is_some() {
        // The kernel documents no error.
        let _ = sys::set_mask(ALL);
    }
}

/// A set with one signal in it.
#[must_use]
pub(crate) fn only(signal: Signal) -> SignalSet {
    1 << (signal.number() - 1)
}

/// All signals, blocked.
#[derive(Debug)]
pub(crate) struct BlockedSignals {
    given: SignalSet,
}

impl BlockedSignals {
    /// Blocks every signal, for the rest of the process's life. Call it before there is another thread.
    ///
    /// # Errors
    /// None that the kernel documents.
    pub(crate) fn block() -> io::Result<Self> {
        let before = sys::set_mask(ALL)?;
        let given = *GIVEN.get_or_init(|| FOUND.get().copied().unwrap_or(before));
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
    pub(crate) fn wait(&self, timeout: Option<Duration>) -> io::Result<Option<ReceivedSignal>> {
        Self::wait_for(ALL, timeout)
    }

    /// As [`Self::wait`], for every signal but CHLD.
    pub(crate) fn wait_but_for_children(
        &self,
        timeout: Duration,
    ) -> io::Result<Option<ReceivedSignal>> {
        Self::wait_for(ALL & !only(Signal::CHLD), Some(timeout))
    }

    fn wait_for(set: SignalSet, timeout: Option<Duration>) -> io::Result<Option<ReceivedSignal>> {
        let arrived = match sys::wait_signal(set, timeout) {
            // drainit was stopped and goes on.
            Err(error) if error.raw_os_error() == Some(Errno::EINTR as i32) => None,
            other => other?,
        };
        Ok(arrived.and_then(ReceivedSignal::from_kernel))
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::testing::isolated::in_own_process;

    #[test]
    fn a_signal_above_chld_does_not_wait_for_it() {
        in_own_process("os::signal::mask::tests::a_signal_above_chld_does_not_wait_for_it", || {
            let blocked = BlockedSignals::block().unwrap();
            // To this thread, not to another of the test, which would ignore it.
            for signal in [nix::sys::signal::SIGCHLD, nix::sys::signal::SIGWINCH] {
                nix::sys::signal::raise(signal).unwrap();
            }
            let next = |received: Option<ReceivedSignal>| received.map(|received| received.signal);
            let soon = Duration::from_millis(1);
            assert_eq!(next(blocked.wait_but_for_children(soon).unwrap()), Signal::from_number(28));
            assert_eq!(next(blocked.wait_but_for_children(soon).unwrap()), None);
            assert_eq!(next(blocked.wait(Some(soon)).unwrap()), Some(Signal::CHLD));
        });
    }
}
