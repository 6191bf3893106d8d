//! The values that all other modules share. The modules of `types` decide nothing, and make no
//! system calls.

mod child_text;
mod disposition;
mod exit;
mod policy;
mod printable;
mod signal;
mod stream;
pub mod suggest;
mod time;

pub use child_text::{ChildText, MaskedText, Reason};
pub use disposition::Disposition;
pub use exit::{End, EndKind, exit_code};
pub use policy::{ExitPolicy, OnExit, Restart, RestartPolicy, StartCondition, Update, WatchAction};
pub use printable::{counted, escape_json, harmless, harmless_lines, visible};
pub use signal::{AFTER_KILL, ONE_SIGNAL, Signal};
pub use stream::Stream;
pub use time::{Time, as_seconds, as_some_seconds, human, seconds};

/// The number of a slot, which is the place of an instance in the core; it is not a PID. At first,
/// each process has one slot, whose number is the index of the process in the config. While a new
/// instance starts beside the old one, the process has a second slot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProcessId(pub u16);

impl ProcessId {
    /// The index into any table that has one entry for each slot.
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}
