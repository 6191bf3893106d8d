//! Errors and warnings with their places in the files.

pub mod diagnostic;
pub mod problems;
