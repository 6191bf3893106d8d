//! The config of drainit. Each of its parts imports only the parts that follow in this list:
//!
//! - `load` reads a config from files, or reports all errors together.
//! - `check` judges a whole config.
//! - `plan` computes how the container starts, how long its shutdown may take, and what a reload does.
//! - `keys` has the type and the reader of each key.
//! - `known` has the programs that many containers run, and how they stop best.
//! - `language` has what a config is made of: files, the tree of YAML, `${…}`, and problems with their
//!   places.
//!
//! `make lint` checks the direction of the imports.

#![forbid(unsafe_code)]
#![allow(
    clippy::disallowed_methods,
    reason = "a config is read before the loop, and then on a thread of `os`"
)]
#![allow(missing_docs, reason = "only drainit uses this crate, and most names say it all")]

pub mod check;
pub mod keys;
pub mod known;
pub mod language;
pub mod load;
pub mod plan;
#[cfg(any(test, feature = "testing"))]
pub mod testing;

pub(crate) use drainit_core as core;
pub(crate) use drainit_core::{graph, types};
