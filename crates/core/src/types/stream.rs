//! The two output streams of a process.

use core::fmt;

use drainit_derive::Named;

/// One of the two output streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Named)]
pub enum Stream {
    /// Descriptor 1.
    Stdout,
    /// Descriptor 2.
    Stderr,
}

impl fmt::Display for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
