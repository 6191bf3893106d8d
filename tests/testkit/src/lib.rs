//! Shared by the tests, the benches and the examples: a gateway with a real Envoy, load on it,
//! containers, and the event log of `child`, the program that drainit supervises in tests.
#![allow(missing_docs)] // used only in this workspace
#![allow(clippy::unwrap_used, clippy::panic, clippy::disallowed_methods)]

pub mod docker;
pub mod envoy;
pub mod event;
pub mod gateway;
pub mod load;
pub mod measured;
pub mod rolling_restart;
