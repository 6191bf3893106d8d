//! Commands that read a config or a manifest and start nothing.

mod errors;
mod findings;
mod plan;
pub(crate) mod pod;
