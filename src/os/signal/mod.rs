//! Signals: blocked from the start, and read from a descriptor.

pub mod fd;
pub mod mask;

use crate::os::sys;
use crate::os::sys::Arrived;
use crate::types::Signal;

/// Who sent a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SignalSender {
    /// Its pid; 0 where it lives outside our PID namespace, as the container runtime does.
    pub pid: i32,
    /// Its real user id.
    pub uid: u32,
}

/// A signal that has arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReceivedSignal {
    /// Which.
    pub signal: Signal,
    /// Who sent it; `None` where it was the kernel (a terminal, a timer, the end of a child).
    pub sender: Option<SignalSender>,
}

impl ReceivedSignal {
    /// What the kernel tells; `None` for what means nothing.
    pub(crate) fn from_kernel(arrived: Arrived) -> Option<Self> {
        let signal = Signal::from_number(arrived.number)?;
        let sender = arrived.sender.map(|(pid, uid)| SignalSender { pid, uid });
        let is_own = sender.is_some_and(|sender| sender.pid == std::process::id().cast_signed());
        // A line of ours that nobody reads is no message to anybody.
        (!(is_own && signal == Signal::PIPE)).then_some(Self { signal, sender })
    }
}

/// What the C library calls a signal: `Terminated`.
pub(crate) fn describe(signal: Signal) -> String {
    sys::describe_signal(signal.number())
}
