//! Helpers for tests.

pub mod rust_source;
pub mod temp_dir;
