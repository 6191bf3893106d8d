//! Helpers for tests.

pub mod isolated;
pub mod temp_dir;
