//! Reads all signals, with their senders, from a signalfd.
//!
//! PID 1 loses a signal that it neither blocks nor handles. [`Signals::install`] blocks all
//! signals. drainit therefore calls this function before it reads the config or starts a second
//! thread. drainit calls [`Signals::into_stream`] once there is a runtime. Until this call, the
//! kernel keeps the signals that arrive.
//!
//! Except for real-time signals, two signals with the same number are merged while the first is
//! unread, as everywhere in Unix.

use std::io;
use std::os::fd::OwnedFd;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::boot::refused;
use crate::signal::ReceivedSignal;
use crate::signal::mask::{ALL, BlockedSignals};
use crate::sys;

/// One call takes at most this many signals, because thousands of real-time signals may be queued.
const AT_ONCE: usize = 64;

/// The signalfd for all signals, which are blocked.
#[derive(Debug)]
pub struct Signals {
    blocked: BlockedSignals,
    descriptor: OwnedFd,
}

impl Signals {
    /// Blocks every signal for good. Call it before there is another thread.
    ///
    /// # Errors
    /// Fails if no file descriptor is left, or if the kernel has no signalfd4 or forbids it.
    pub fn install() -> io::Result<Self> {
        // When a process starts its first thread, the C library unblocks some of its reserved
        // signals on the calling thread (32 and 33, under musl 33 and 34). drainit therefore starts
        // a thread now, before it blocks the signals.
        if let Ok(first) = std::thread::Builder::new().spawn(|| {}) {
            let _ = first.join();
        }
        let blocked = BlockedSignals::block()?;
        let descriptor = sys::signal_fd(ALL).map_err(|error| {
            let remedy = "drainit receives its signals by it; permit it in the seccomp profile, or \
                          use `drainit exec` without a drain, which needs no signalfd4";
            refused("signalfd4", error, remedy)
        })?;
        Ok(Self { blocked, descriptor })
    }

    /// Waits for signals without a runtime, and takes them. The returned list may be empty.
    #[cfg(test)]
    pub fn wait(&mut self) -> io::Result<Vec<ReceivedSignal>> {
        use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
        use std::os::fd::AsFd;
        poll(&mut [PollFd::new(self.descriptor.as_fd(), PollFlags::POLLIN)], PollTimeout::NONE)?;
        Ok(take(&self.descriptor)?.0)
    }

    /// Registers the descriptor with the runtime of the caller.
    ///
    /// # Errors
    /// Fails if no file descriptor is left.
    pub fn into_stream(self) -> io::Result<SignalStream> {
        Ok(SignalStream {
            readable: sys::watch(self.descriptor, Interest::READABLE)?,
            blocked: self.blocked,
        })
    }
}

/// Takes pending signals. Also returns whether no signal is pending any more.
fn take(descriptor: &OwnedFd) -> io::Result<(Vec<ReceivedSignal>, bool)> {
    let mut received = Vec::new();
    for _ in 0..AT_ONCE {
        match sys::read_signal(descriptor)? {
            Some(arrived) => received.extend(ReceivedSignal::from_kernel(arrived)),
            None => return Ok((received, true)),
        }
    }
    Ok((received, false))
}

/// The signals of [`Signals`], read inside a tokio runtime.
#[derive(Debug)]
pub struct SignalStream {
    blocked: BlockedSignals,
    readable: AsyncFd<OwnedFd>,
}

impl SignalStream {
    /// Waits for at least one signal, and returns at most `AT_ONCE` of the pending signals, lower
    /// numbers first. The list may include SIGCHLD; the caller then reaps children. Cancel safe.
    ///
    /// # Errors
    /// Fails if the runtime is shutting down.
    pub async fn next(&mut self) -> io::Result<Vec<ReceivedSignal>> {
        loop {
            let mut ready = self.readable.readable().await?;
            let (received, is_all) = take(ready.get_inner())?;
            if is_all {
                // A signal that arrives after the last read makes the descriptor ready again.
                ready.clear_ready();
            }
            if !received.is_empty() {
                return Ok(received);
            }
        }
    }

    /// Takes the signals that have arrived, without waiting.
    ///
    /// # Errors
    /// The kernel documents no error.
    pub fn take_pending(&self) -> io::Result<Vec<ReceivedSignal>> {
        Ok(take(self.readable.get_ref())?.0)
    }

    /// Suspends drainit as Ctrl-Z would, until SIGCONT. The kernel does not suspend PID 1.
    ///
    /// # Errors
    /// The kernel documents no error.
    pub fn stop_self(&self) -> io::Result<()> {
        self.blocked.stop_self().map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Peer;
    use crate::signal::Sender;
    use crate::testing::isolated::in_own_process;
    use drainit_core::types::Signal;

    fn own_pid() -> i32 {
        i32::try_from(std::process::id()).unwrap()
    }

    // The tests signal their own thread: a signal to the whole process would kill the test harness.

    // holds: S261
    #[test]
    fn every_signal_arrives_with_sender() {
        in_own_process(|| {
            let mut signals = Signals::install().unwrap();
            for signal in (1..=64).filter_map(Signal::from_number) {
                if [Signal::KILL, Signal::STOP].contains(&signal) {
                    continue;
                }
                sys::raise(signal).unwrap();
                let sender = Peer { pid: own_pid(), uid: nix::unistd::getuid().as_raw() };
                // A SIGPIPE that drainit causes itself is ignored.
                let expected = ReceivedSignal { signal, sender: Sender::Process(sender) };
                let expected = Some(expected).filter(|_| signal != Signal::PIPE);
                let received = signals.wait().unwrap();
                assert_eq!(received, Vec::from_iter(expected));
            }
            // In a signal with one of these codes, the sender can write any pid. This sender has
            // written 0.
            for code in [libc::SI_QUEUE, libc::SI_TIMER, -60] {
                sys::raise_with(Signal::TERM, code).unwrap();
                let [received] = signals.wait().unwrap().try_into().unwrap();
                let said = "SIGTERM received, queued by a process that hides its pid";
                assert_eq!(received.to_string(), said, "{code}");
            }
        });
    }
}
