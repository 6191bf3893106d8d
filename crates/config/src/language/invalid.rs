//! Why a single value is refused.

use thiserror::Error;

/// The reason why a value is refused, and how to correct the value.
#[derive(Debug, PartialEq, Eq, Error)]
#[error("{why}; {help}")]
pub struct Invalid {
    /// The reason, without the value. In a message, the value comes first, and this reason follows.
    pub why: String,
    pub help: String,
}

impl Invalid {
    pub fn new(why: impl Into<String>, help: impl Into<String>) -> Self {
        Self { why: why.into(), help: help.into() }
    }
}
