//! Helpers for tests.

pub mod random;
pub mod rust_source;

pub use drainit_os::testing::temp_dir;
