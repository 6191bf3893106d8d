//! The config of drainit. `load` reads the config from YAML, and reports all errors at once. `plan`
//! computes how the container starts, and how long its shutdown may take.

#![forbid(unsafe_code)]
#![allow(
    clippy::disallowed_methods,
    reason = "a config is read before the loop, and then on a thread of `os`"
)]
#![allow(missing_docs, reason = "only drainit uses this crate, and most names say it all")]

pub mod config;
pub mod exec_options;
pub mod load;
pub mod plan;
#[cfg(any(test, feature = "testing"))]
pub mod testing;

pub(crate) use drainit_core as core;
pub(crate) use drainit_core::{graph, types};
