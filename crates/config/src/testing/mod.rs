//! Helpers for tests.

pub mod random;
pub mod rust_source;
pub mod temp_dir;
