//! Errors and warnings with their places in the files.

pub(crate) mod diagnostic;
pub(crate) mod problems;
