//! Commands that read a config or a manifest and start nothing.

mod errors;
mod import;
mod plan;
pub(crate) mod pod;
