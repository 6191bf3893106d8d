//! Tests of the real binary, as PID 1 and as an ordinary process: a folder for each subject, a file
//! for each feature.
//!
//! Other places for a test:
//! - code that is pure, or needs only one module: beside the code, in `src` and `crates`;
//! - an order, a limit or a decision of the core: a case of the simulation in `crates/core/tests`.
//!
//! A test that needs no root and no namespace begins with `Rig::not_init`, all others with
//! `Rig::new`. `support` has helpers for these tests only, and `testkit` helpers that benches and
//! examples use as well. A test that races a clock belongs in `BUSY` of the Makefile.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
// In drainit, the disallowed methods would reap its children. The tests are another process.
#![allow(clippy::disallowed_methods)]

mod support;

// The way to readiness: order, values, options, probes, hooks and sockets.
mod start;
// A drain that needs no real Envoy, and the shutdown: order, times and signals.
mod drain;
// Restarts and replacements while other processes run: reload, `start-first`, `watch`.
mod replace;
// `drainit exec`, also under the names `tini` and `dumb-init`.
mod exec;
// Behaviour with a real Envoy, above all that no request fails in a rollout.
mod envoy;
// The view of an operator: commands, endpoints, metrics, output and report.
mod operate;
// Commands that read a config or a manifest and start nothing.
mod config;
// Environments that are poor, hostile or overloaded.
mod host;
// Random schedules of starts, faults and stops, against what drainit promises.
mod schedules;
// Tests in containers.
mod docker;
// The examples with real servers, and the files of other supervisors.
mod examples;
// The content of packages and releases.
mod packaging;
// Pages, manifests and rules: links lead somewhere, configs pass, each promise has a test.
mod docs;
// The fault matrix, with combinations of faults from outside; `tests/faults` has its rows.
mod fault_matrix;
