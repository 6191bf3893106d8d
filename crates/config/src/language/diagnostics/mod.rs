//! Errors and warnings with their places in the files.

pub(crate) mod allow;
pub mod diagnostic;
pub mod problems;
pub mod rule;
pub mod severity;
