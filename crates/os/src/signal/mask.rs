//! Blocks all signals and waits for them, without a handler. `exec` waits for signals with this
//! module; the supervisor waits with [`crate::signal::fd`].
//!
//! The kernel keeps a blocked signal even for PID 1, and even if the signal is ignored. drainit can
//! therefore receive every signal but SIGKILL and SIGSTOP, including the signals that the C
//! libraries reserve (32, 33 and under musl 34). Children would inherit the mask, so drainit starts
//! them with the mask that drainit itself inherited. A fault of drainit itself (such as SIGSEGV)
//! still ends drainit, because a program cannot block the signal of its own fault. drainit also
//! blocks SIGTTIN and SIGTTOU, so drainit is not suspended when it writes from the background to a
//! terminal with `stty tostop`.

use std::io;
use std::sync::OnceLock;
use std::time::Duration;

use nix::errno::Errno;

use crate::signal::ReceivedSignal;
use crate::sys::{self, SignalSet};
use drainit_core::types::Signal;

pub const ALL: SignalSet = SignalSet::MAX;

/// Every signal but the real-time signals.
pub const FIRST_31: SignalSet = (1 << 31) - 1;

/// The signal mask that drainit inherited, as [`hold`] found it.
static FOUND: OnceLock<SignalSet> = OnceLock::new();

/// The signal mask that drainit inherited, known once [`BlockedSignals::block`] was called.
static GIVEN: OnceLock<SignalSet> = OnceLock::new();

/// Blocks every signal before the command line is read: PID 1 loses a signal that it neither blocks
/// nor handles. Later, a command that acts as an init calls [`BlockedSignals::block`]. Any other
/// command calls [`release`].
pub fn hold() {
    // The kernel documents no error.
    if let Ok(given) = sys::set_mask(ALL) {
        let _ = FOUND.set(given);
    }
}

/// Restores the mask that drainit inherited, for a command that is not an init. Signals that have
/// arrived since [`hold`] take effect now.
pub fn release() {
    if let (Some(given), None) = (FOUND.get(), GIVEN.get()) {
        let _ = sys::set_mask(*given);
    }
}

/// The mask that drainit inherited; `None` before [`BlockedSignals::block`].
pub fn inherited_mask() -> Option<SignalSet> {
    GIVEN.get().copied()
}

/// Blocks every signal on this thread if [`BlockedSignals::block`] has been called. On each new
/// thread, the C libraries unblock the signals that they reserve.
pub fn block_here() {
    if GIVEN.get().is_some() {
        // The kernel documents no error.
        let _ = sys::set_mask(ALL);
    }
}

/// The set that contains only this signal.
pub fn only(signal: Signal) -> SignalSet {
    1 << (signal.number() - 1)
}

/// A value of this type proves that all signals are blocked.
#[derive(Debug)]
pub struct BlockedSignals {
    given: SignalSet,
}

impl BlockedSignals {
    /// Blocks every signal for good. Call it before there is another thread.
    ///
    /// # Errors
    /// The kernel documents no error.
    pub fn block() -> io::Result<Self> {
        let before = sys::set_mask(ALL)?;
        let given = *GIVEN.get_or_init(|| FOUND.get().copied().unwrap_or(before));
        // The parent of drainit may have ignored these signals. If SIGCHLD is ignored, the kernel
        // does not report how children end. If SIGTSTP is ignored, drainit cannot be suspended
        // together with its child.
        for signal in [Signal::CHLD, Signal::TSTP] {
            sys::stop_ignoring(signal.number())?;
        }
        Ok(Self { given })
    }

    pub fn inherited_mask(&self) -> SignalSet {
        self.given
    }

    /// Waits for a signal and takes it. If several signals are pending, takes the one with the
    /// lowest number. Returns `None` after `timeout`, or spuriously.
    ///
    /// # Errors
    /// The kernel documents no error.
    pub fn wait(&self, timeout: Option<Duration>) -> io::Result<Option<ReceivedSignal>> {
        Self::wait_for(ALL, timeout)
    }

    /// Takes this signal if it has arrived.
    ///
    /// # Errors
    /// The kernel documents no error.
    pub fn take(&self, signal: Signal) -> io::Result<Option<ReceivedSignal>> {
        Self::wait_for(only(signal), Some(Duration::ZERO))
    }

    /// Like [`Self::wait`], but does not take SIGCHLD, which stays pending.
    pub fn wait_but_for_children(&self, timeout: Duration) -> io::Result<Option<ReceivedSignal>> {
        Self::wait_for(ALL & !only(Signal::CHLD), Some(timeout))
    }

    fn wait_for(set: SignalSet, timeout: Option<Duration>) -> io::Result<Option<ReceivedSignal>> {
        let arrived = match sys::wait_signal(set, timeout) {
            // The kernel has interrupted the wait, because drainit was suspended and continued.
            Err(error) if error.raw_os_error() == Some(Errno::EINTR as i32) => None,
            other => other?,
        };
        Ok(arrived.and_then(ReceivedSignal::from_kernel))
    }

    /// Suspends drainit with SIGTSTP, as Ctrl-Z would, until SIGCONT comes. The kernel does not
    /// suspend PID 1, or a process without a shell that could continue it. Returns whether drainit
    /// was suspended. If so, the SIGCONT that continued drainit is pending.
    ///
    /// # Errors
    /// The kernel documents no error.
    pub fn stop_self(&self) -> io::Result<bool> {
        sys::kill(std::process::id().cast_signed(), Signal::TSTP)?;
        sys::set_mask(ALL & !only(Signal::TSTP))?;
        sys::set_mask(ALL)?;
        Ok(sys::pending_signals() & only(Signal::CONT) != 0)
    }

    /// Suspends drainit with SIGSTOP, even without a shell that could continue drainit. The kernel
    /// ignores SIGSTOP for PID 1.
    ///
    /// # Errors
    /// The kernel documents no error.
    pub fn halt_self(&self) -> io::Result<()> {
        sys::kill(std::process::id().cast_signed(), Signal::STOP)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::isolated::in_own_process;

    #[test]
    fn a_wait_goes_on_after_a_stop() {
        in_own_process(|| {
            // A careless parent may leave SIGCHLD ignored. The kernel would then not report how the
            // child ends.
            sys::ignore(Signal::CHLD.number()).unwrap();
            let blocked = BlockedSignals::block().unwrap();
            let script = "kill -STOP $PPID; \
                until grep -q '^State:.T' /proc/$PPID/status; do :; done; kill -CONT $PPID";
            let mut child = std::process::Command::new("sh").args(["-c", script]).spawn().unwrap();
            while child.try_wait().unwrap().is_none() {
                blocked.wait(Some(Duration::from_millis(10))).unwrap();
            }
        });
    }

    #[test]
    fn signal_above_chld_does_not_wait_for_chld() {
        in_own_process(|| {
            let blocked = BlockedSignals::block().unwrap();
            // `raise` sends the signals to this thread. After kill(2), another thread of the test
            // could get the signals, because the other threads do not block them.
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
