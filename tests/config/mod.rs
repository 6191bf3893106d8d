//! What reads a config or a manifest and starts nothing.

mod errors;
mod import;
mod plan;
pub(crate) mod pod;
