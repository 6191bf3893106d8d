//! Every signal that can be handled, and who sent it.
//!
//! PID 1 is never given a signal whose disposition is the default, so everything is handled, and that before anything
//! else happens: [`Signals::install`] comes before the config is read. [`Signals::into_stream`] follows once there is a
//! runtime; what arrives in between is kept.
//!
//! Two signals of one kind become one while the first is not yet delivered, as everywhere in Unix; and of more than five
//! that wait to be read, the rest is dropped. No blocked masks are used (signalfd would need them), because children
//! inherit those.

use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use nix::errno::Errno;
use signal_hook::iterator::backend::SignalDelivery;
use signal_hook::iterator::exfiltrator::WithOrigin;
use signal_hook::low_level::siginfo::{Cause, Origin, Sent};
use tokio::io::unix::AsyncFd;

use super::sys;
use crate::vocab::Signal;

/// The first real-time signal that a C library leaves to programs: 34 under glibc, 35 under musl.
const FIRST_REAL_TIME: i32 = 34;
const LAST: i32 = 64;

/// The signals that are not handled.
///
/// KILL and STOP cannot be. ILL, FPE and SEGV come back for ever where a handler returns from a real fault. PIPE stays
/// ignored, as Rust's runtime leaves it: a reader that goes away must not end drainit. TSTP keeps its default, which
/// stops drainit together with its job, and does nothing to PID 1; TTIN and TTOU are blocked ([`super::mask`]).
///
/// BUS is handled, and Rust's own handler runs before ours and puts the default back: a real fault ends drainit at the
/// second attempt instead of looping, and a BUS that somebody sends arrives once.
const UNHANDLED: [i32; 9] = [
    libc::SIGKILL,
    libc::SIGSTOP,
    libc::SIGILL,
    libc::SIGFPE,
    libc::SIGSEGV,
    libc::SIGPIPE,
    libc::SIGTSTP,
    libc::SIGTTIN,
    libc::SIGTTOU,
];

/// Who sent a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sender {
    /// Its pid; 0 where it lives outside our PID namespace, as the container runtime does.
    pub pid: i32,
    /// Its real user id.
    pub uid: u32,
}

/// A signal that has arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Received {
    /// Which.
    pub signal: Signal,
    /// Who sent it; `None` where it was the kernel (a terminal, a timer, the end of a child).
    pub sender: Option<Sender>,
}

impl Received {
    fn from_origin(origin: &Origin) -> Option<Self> {
        let sent = matches!(origin.cause, Cause::Sent(Sent::User | Sent::TKill | Sent::Queue));
        let process = origin.process.filter(|_| sent);
        let sender = process.map(|process| Sender { pid: process.pid, uid: process.uid });
        Some(Self { signal: Signal::from_number(origin.signal)?, sender })
    }
}

/// What the C library calls a signal: `Terminated`.
pub(crate) fn describe(signal: Signal) -> String {
    sys::describe_signal(signal.number())
}

/// The signals that have a disposition, and which drainit leaves to the kernel.
pub(super) fn unhandled() -> impl Iterator<Item = i32> {
    // PIPE is ignored on purpose here, and std resets it in each child.
    let no_choice = [libc::SIGKILL, libc::SIGSTOP, libc::SIGPIPE];
    UNHANDLED.into_iter().filter(move |signal| !no_choice.contains(signal))
}

/// All signals, handled and waiting to be read.
#[derive(Debug)]
pub struct Signals {
    /// Never dropped: that would take back one handler after the other, which is of no use at the end of an init.
    delivery: ManuallyDrop<SignalDelivery<UnixStream, WithOrigin>>,
}

impl Signals {
    /// Handles every signal that can be handled, for the rest of the process's life.
    ///
    /// # Errors
    /// Where no descriptor is left.
    pub fn install() -> io::Result<Self> {
        let (read, write) = UnixStream::pair()?;
        let none: [i32; 0] = [];
        let delivery = SignalDelivery::with_pipe(read, write, WithOrigin::default(), none)?;
        let handle = delivery.handle();
        for number in (1..=libc::SIGSYS).chain(FIRST_REAL_TIME..=LAST) {
            if UNHANDLED.contains(&number) {
                continue;
            }
            match handle.add_signal(number) {
                // musl keeps 34 for itself, too.
                Err(error) if error.raw_os_error() == Some(Errno::EINVAL as i32) => {}
                other => other?,
            }
        }
        Ok(Self { delivery: ManuallyDrop::new(delivery) })
    }

    /// For tests without a runtime: sleeps until there are signals, and takes them. May come back empty-handed.
    #[cfg(test)]
    pub(super) fn wait(&mut self) -> io::Result<Vec<Received>> {
        match io::Read::read(self.delivery.get_read_mut(), &mut [0]) {
            Ok(_) => Ok(self.take()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    /// Hands over to the runtime that this is called in.
    ///
    /// # Errors
    /// Where no descriptor is left.
    pub fn into_stream(self) -> io::Result<SignalStream> {
        let readable = self.delivery.get_read().try_clone()?;
        Ok(SignalStream { readable: sys::watch(readable.into())?, signals: self })
    }

    fn take(&mut self) -> Vec<Received> {
        self.delivery.pending().filter_map(|origin| Received::from_origin(&origin)).collect()
    }
}

/// [`Signals`] inside a runtime.
#[derive(Debug)]
pub struct SignalStream {
    signals: Signals,
    /// The same socket again, as what tokio watches.
    readable: AsyncFd<OwnedFd>,
}

impl SignalStream {
    /// Waits for signals and takes them, lower numbers first; never empty. CHLD is among them: reap then. It may be
    /// dropped at any time and called again.
    ///
    /// # Errors
    /// Where the runtime is shutting down.
    pub async fn next(&mut self) -> io::Result<Vec<Received>> {
        loop {
            // Cleared before the socket is emptied: a signal in between wakes us once more.
            self.readable.readable().await?.clear_ready();
            let received = self.signals.take();
            if !received.is_empty() {
                return Ok(received);
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;
    use crate::shell::alone::alone;

    fn own_pid() -> i32 {
        i32::try_from(std::process::id()).unwrap()
    }

    #[test]
    fn every_signal_arrives_with_its_sender() {
        alone("shell::signals::tests::every_signal_arrives_with_its_sender", || {
            let mut signals = Signals::install().unwrap();
            for number in (1..=31).chain(FIRST_REAL_TIME..=LAST) {
                if UNHANDLED.contains(&number) {
                    continue;
                }
                let signal = Signal::from_number(number).unwrap();
                sys::kill(own_pid(), signal).unwrap();
                let sender = Sender { pid: own_pid(), uid: nix::unistd::getuid().as_raw() };
                let received = signals.wait().unwrap();
                assert_eq!(received, [Received { signal, sender: Some(sender) }]);
            }
        });
    }

    #[test]
    fn what_arrives_before_the_runtime_is_kept() {
        alone("shell::signals::tests::what_arrives_before_the_runtime_is_kept", || {
            let signals = Signals::install().unwrap();
            sys::kill(own_pid(), Signal::TERM).unwrap();
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let mut stream = signals.into_stream().unwrap();
                let names = |received: Vec<Received>| -> Vec<Signal> {
                    received.into_iter().map(|one| one.signal).collect()
                };
                assert_eq!(names(stream.next().await.unwrap()), [Signal::TERM]);
                // The end of a child is a wake-up, and nobody's message.
                let mut child = std::process::Command::new("true").spawn().unwrap();
                let received = stream.next().await.unwrap();
                assert_eq!(received, [Received { signal: Signal::CHLD, sender: None }]);
                child.wait().unwrap();
                sys::kill(own_pid(), Signal::TERM).unwrap();
                sys::kill(own_pid(), Signal::HUP).unwrap();
                let mut both = names(stream.next().await.unwrap());
                while both.len() < 2 {
                    both.extend(names(stream.next().await.unwrap()));
                }
                both.sort();
                assert_eq!(both, [Signal::HUP, Signal::TERM]);
            });
        });
    }
}
