//! Tests of the real binary, as PID 1 and as an ordinary process: one file for each feature.
//!
//! What goes where:
//! - what is pure, or needs only one room: beside the code, in `src` and `crates`;
//! - an order, a limit or a decision of the core: a case of the simulation in `crates/core/tests`;
//! - what a user sees of drainit: here, in the file of the feature. A test that needs no root and
//!   no namespace begins with `Rig::not_init`, all others with `Rig::new`;
//! - what needs a container: `docker`; what Envoy itself does: `rolling_restart`, `hot_restart`
//!   and the others that begin with `support::real_envoy`;
//! - faults from outside, in all combinations: `fault_matrix`, whose rows are in `faults`;
//! - pages, examples and packages: `docs`, `migrations`, `replace_examples`, `packaging`.
//!
//! `support` has what only these tests need, `testkit` what the benches and examples need, too.
//! A test that races a clock belongs in `BUSY` of the Makefile.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
// The disallowed methods would reap drainit's children, but the tests are another process.
#![allow(clippy::disallowed_methods)]

mod support;

mod admin_faults;
mod args;
mod arm64;
mod certificates;
mod compat_dumb_init;
mod compat_tini;
mod config_errors;
mod control;
mod crash_paths;
mod direction;
mod docker;
mod docs;
mod drain_command;
mod drain_end;
mod drain_kinds;
mod early_signals;
mod exec_drain;
mod exec_options;
mod exec_signals;
mod exec_terminal;
mod fault_matrix;
mod hanging_files;
mod hardening;
mod health;
mod hooks;
mod hot_restart;
mod import;
mod kill;
mod kubernetes_validate;
mod links;
mod listen;
mod liveness;
mod metrics;
mod migrations;
mod minimal_environment;
mod new_connections;
mod notify;
mod operate;
mod output;
mod packaging;
mod plan;
mod pod;
mod policy_engine;
mod preflight;
mod private_socket;
mod process_options;
mod prometheus;
mod readiness;
mod reload;
mod replace;
mod replace_examples;
mod report;
mod report_counts;
mod rolling_restart;
mod run_signals;
mod secrets;
mod self_draining;
mod servers;
mod shutdown;
mod simultaneous_stop;
mod start;
mod status;
mod storm;
mod streams;
mod supervise;
mod tools;
mod unready_delay;
mod values_at_start;
mod watch;
