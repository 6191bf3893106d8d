//! drainit: the init that drains before it stops.
//!
//! Data flows one way:
//!
//! ```text
//! config ──▶ graph ──▶ core ⇄ shell ──▶ report
//! ```
//!
//! - [`config`] reads YAML and says everything that is wrong with it at once.
//! - [`graph`] turns names into ids, and knows the order.
//! - [`core`] decides: a state machine without clock, system calls or async. Events and the time in, actions out.
//! - [`shell`] carries the actions out, and turns signals, exits, timers and answers into events.
//! - [`report`] tells what happened.
//!
//! [`import`] makes configs from the files of other programs.
//! [`exec`] is apart from that: one process without a config, and what it costs to start is little.

pub mod cli;
pub mod compat;
pub mod config;
pub mod control;
pub mod core;
pub mod envoy;
pub mod exec;
pub mod graph;
pub mod http;
pub(crate) mod image;
pub(crate) mod import;
pub(crate) mod kubernetes;
pub(crate) mod load;
pub mod logging;
pub mod os;
pub mod plan;
pub mod report;
pub mod supervisor;
#[cfg(test)]
pub(crate) mod testing;
pub mod types;
