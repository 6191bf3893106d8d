//! Helpers of tests.

pub mod rust_source;
pub mod temp_dir;
