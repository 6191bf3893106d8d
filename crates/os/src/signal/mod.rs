//! Receives signals: [`mask`] blocks them and waits for them, [`fd`] reads them from a descriptor.

pub mod fd;
pub mod mask;

use std::fmt;

use crate::Peer;
use crate::sys::Arrived;
pub use crate::sys::Sender;
pub use crate::sys::describe;
use drainit_core::types::Signal;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReceivedSignal {
    pub signal: Signal,
    pub sender: Sender<Peer>,
}

impl ReceivedSignal {
    /// Converts a signal from the kernel. Returns `None` for a SIGPIPE that drainit caused itself
    /// by writing to an output without a reader.
    pub(crate) fn from_kernel(arrived: Arrived) -> Option<Self> {
        let signal = Signal::from_number(arrived.number)?;
        let own = std::process::id().cast_signed();
        let sender = match arrived.sender {
            Sender::Process((pid, _)) if pid == own && signal == Signal::PIPE => return None,
            Sender::Process((pid, uid)) => Sender::Process(Peer { pid, uid }),
            Sender::Kernel => Sender::Kernel,
            Sender::Unproven => Sender::Unproven,
        };
        Some(Self { signal, sender })
    }

    /// Whether the kernel reports with this signal that a child has ended or was suspended. A
    /// SIGCHLD from a process is handled like any other signal.
    pub fn is_about_child(self) -> bool {
        self.signal == Signal::CHLD && self.sender == Sender::Kernel
    }
}

impl fmt::Display for ReceivedSignal {
    /// Writes the text of the log line about this signal.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let signal = self.signal;
        match self.sender {
            Sender::Kernel => write!(f, "{signal} received"),
            Sender::Process(Peer { pid: 0, .. }) => {
                write!(f, "{signal} received from outside the container")
            }
            Sender::Process(Peer { pid, uid }) => {
                write!(f, "{signal} received from pid {pid} (uid {uid})")
            }
            Sender::Unproven => {
                write!(f, "{signal} received, queued by a process that hides its pid")
            }
        }
    }
}
