//! The client of an Envoy: its admin interface, its statistics, and checks of its drain.

pub mod admin;
pub(crate) mod listeners;
pub mod preflight;
pub(crate) mod ready;
pub(crate) mod server_info;
pub mod stats;
