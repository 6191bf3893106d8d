//! Tests environments that are poor, hostile or overloaded.

mod arm64;
pub(crate) mod early_signals;
mod hanging_files;
mod hardening;
mod links;
pub(crate) mod minimal_environment;
mod storm;
