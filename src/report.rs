//! Re-exports the report of the core, and tests it with configs.

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod event_tests;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod startup_tests;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod testing;
#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests;

pub use drainit_core::report::*;
