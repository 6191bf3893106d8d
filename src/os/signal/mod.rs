//! Receives signals: [`mask`] blocks them and waits for them, [`fd`] reads them from a descriptor.

pub mod fd;
pub mod mask;

use crate::os::Peer;
use crate::os::sys::Arrived;
pub(crate) use crate::os::sys::describe;
use crate::types::Signal;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReceivedSignal {
    pub signal: Signal,
    /// The process that sent the signal; `None` if the kernel sent it (because of a terminal, a
    /// timer or the end of a child).
    pub sender: Option<Peer>,
}

impl ReceivedSignal {
    /// Converts a signal from the kernel. Returns `None` for a SIGPIPE that drainit caused itself
    /// by writing to an output without a reader.
    pub(crate) fn from_kernel(arrived: Arrived) -> Option<Self> {
        let signal = Signal::from_number(arrived.number)?;
        let sender = arrived.sender.map(|(pid, uid)| Peer { pid, uid });
        let is_own = sender.is_some_and(|sender| sender.pid == std::process::id().cast_signed());
        (!(is_own && signal == Signal::PIPE)).then_some(Self { signal, sender })
    }
}
