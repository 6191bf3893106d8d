//! drainit: the init that drains before it stops.
//!
//! `docs/dev/architecture.md` draws which module may import which.
//!
//! - `core`, with `graph` and `types`, is a crate of its own that performs no I/O. `core` makes the
//!   decisions of `drainit run`: it is a state machine without a clock, system calls or async. The
//!   tests of `core` run it against random processes and faults.
//! - `config`, `load` and `plan` are also a crate of their own: the typed config; its reader, which
//!   reports all problems at once; and the worst-case timeline of the shutdown.
//! - `commands` is a crate, too: the command line, which the tools also read.
//! - `supervisor` is `drainit run`: it carries out the decisions of the core.
//! - `exec` is `drainit exec`: one process without a config, so that it starts fast.
//! - `journal`, a crate too, records what happens, and has the words for it. `report` has the tests
//!   of `journal` that need a config.
//! - `os` is also a crate of its own: the kernel primitives, and the only `unsafe` code.
//! - `local_task` is a task on the event loop's thread that ends when it is dropped.
//! - `compat` reads the command lines of tini and dumb-init.
//! - `drainit_advise` looks at an image, a pod or a misread command line, and has the commands that
//!   never run in PID 1.
//!
//! [`cli::main`] and [`Allocator`] are public, and `types` is public for the integration tests.
//! With the feature `fuzzing`, the functions that are fuzzed are public, too.

#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::disallowed_methods, reason = "a test may wait"))]

#[allow(clippy::disallowed_methods, reason = "runs before the loop, or not in PID 1")]
pub mod cli;
mod compat;
mod control;
mod envoy;
mod exec;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
#[allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, missing_docs)]
pub mod fuzzing;
mod grpc;
mod http;
mod local_task;
mod logging;
#[cfg(test)]
mod report;
mod supervisor;
#[cfg(test)]
mod testing;

pub(crate) use drainit_commands as commands;
pub(crate) use drainit_config::{check, keys, known, language, load, plan};
pub(crate) use drainit_core as core;
pub(crate) use drainit_core::graph;
#[doc(hidden)]
pub use drainit_core::types;
pub(crate) use drainit_journal as journal;
pub(crate) use drainit_os as os;

pub use crate::os::sys::allocator::Allocator;
