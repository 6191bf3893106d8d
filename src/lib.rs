//! drainit: the init that drains before it stops.
//!
//! A room imports only from rooms to its right:
//!
//! ```text
//! cli ─▶ compat, exec ─▶ supervisor ─▶ control, envoy, logging, report ─▶ http, os, plan, core
//!  └───▶ image, import, kubernetes ─▶ load ─▶ plan ─▶ core ─▶ graph ─▶ config ─▶ types
//! ```
//!
//! - `types` holds the values that all rooms share, `config` the typed config. Both are data only.
//! - `graph` turns names into ids and knows the order.
//! - `core` decides: a state machine without clock, system calls or async. `simulation` plays it
//!   against random processes and faults.
//! - `supervisor` is `drainit run`: it carries out the decisions of the core.
//! - `exec` is `drainit exec`: one process without a config, so that it starts fast.
//! - `load` makes a config of YAML and reports all of its problems at once.
//! - `plan` computes the worst-case timeline of a shutdown, `report` writes the one that was.
//! - `os` holds the kernel primitives and the only `unsafe` code.
//! - `image` checks a config against the file system of its image, `kubernetes` against a pod.
//! - `import` makes configs from the files of other programs, `compat` reads the command lines of
//!   tini and dumb-init.
//!
//! Only [`cli::main`] and its [`Allocator`] are public, `types` for the integration tests, and with
//! the feature `fuzzing` what is fuzzed.

#![cfg_attr(
    any(not(feature = "tools"), feature = "fuzzing"),
    allow(dead_code, reason = "some of what `load` and `plan` offer is only for the tools")
)]

pub mod cli;
mod compat;
mod config;
mod control;
mod core;
mod envoy;
mod exec;
#[cfg(any(feature = "fuzzing", all(test, feature = "tools")))]
#[doc(hidden)]
#[allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, missing_docs)]
pub mod fuzzing;
mod graph;
mod http;
mod image;
#[cfg(feature = "tools")]
mod import;
#[cfg(feature = "tools")]
mod kubernetes;
mod load;
mod logging;
mod os;
mod plan;
mod report;
#[cfg(any(test, feature = "tools"))]
mod simulation;
mod supervisor;
#[cfg(test)]
mod testing;
#[doc(hidden)]
pub mod types;

pub use crate::os::sys::allocator::Allocator;
