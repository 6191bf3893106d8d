//! Signals: blocked from the start, and read from a descriptor.

pub mod fd;
pub mod mask;
