//! Errors and warnings with their places in the config.

pub mod collector;
pub mod diagnostic;
