//! The config of drainit: `load` reads YAML into `config`, or collects every error, and `plan`
//! computes what the config leads to.

#![allow(
    clippy::disallowed_methods,
    reason = "a config is read before the loop, and then on a thread of `os`"
)]
#![allow(missing_docs, reason = "only drainit uses this crate, and most names say it all")]

pub mod config;
pub mod load;
pub mod plan;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod trusted_path;

pub(crate) use drainit_core as core;
pub(crate) use drainit_core::{graph, types};
