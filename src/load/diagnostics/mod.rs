//! Errors and warnings with their places in the config.

pub(crate) mod collector;
pub(crate) mod diagnostic;
