//! The tests of the journal that need a config.

mod event_tests;
mod startup_tests;
mod testing;
mod tests;
