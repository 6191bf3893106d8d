//! Values that every layer shares. Nothing here decides anything or touches the system.

mod exit;
mod printable;
mod signal;
pub mod suggest;
mod time;

pub use exit::{End, exit_code};
pub use printable::{harmless, harmless_lines, visible};
pub(crate) use signal::ONE_SIGNAL;
pub use signal::Signal;
pub use time::{Time, human};

/// A process of the graph, by its place in the config file. Not a PID.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProcessId(pub u16);

impl ProcessId {
    /// The place in any table that has one entry a process.
    #[must_use]
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}
