//! Tests of the real binary, as PID 1 and as an ordinary process. One file per feature.
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
mod drain_faults;
mod drain_kinds;
mod early_signals;
mod events;
mod exec;
mod exec_drain;
mod exec_options;
mod exec_signals;
mod exec_terminal;
mod hardening;
mod health;
mod hooks;
mod import;
mod lean;
mod listen;
mod liveness;
mod logs;
mod metrics;
mod minimal_environment;
mod new_connections;
mod notify;
mod operate;
mod output;
mod plan;
mod pod;
mod policy_engine;
mod preflight;
mod private_socket;
mod process_options;
mod prometheus;
mod readiness;
mod report;
mod report_counts;
mod requests;
mod rolling_restart;
mod run_signals;
mod servers;
mod shutdown;
mod simultaneous_stop;
mod start;
mod status;
mod storm;
mod supervise;
mod tools;
mod values_at_start;
mod watch;
