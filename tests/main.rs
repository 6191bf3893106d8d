//! Tests of the real binary, as PID 1 and as an ordinary process: a folder for each subject, a file
//! for each feature.
//!
//! What is not here:
//! - what is pure, or needs only one room: beside the code, in `src` and `crates`;
//! - an order, a limit or a decision of the core: a case of the simulation in `crates/core/tests`.
//!
//! A test that needs no root and no namespace begins with `Rig::not_init`, all others with
//! `Rig::new`. `support` has what only these tests need, `testkit` what the benches and examples
//! need, too. A test that races a clock belongs in `BUSY` of the Makefile.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
// The disallowed methods would reap drainit's children, but the tests are another process.
#![allow(clippy::disallowed_methods)]

mod support;

// What drainit does until all is ready: order, values, options, probes, hooks, sockets.
mod start;
// A drain that needs no real Envoy, and the shutdown: order, times and signals.
mod drain;
// What restarts or replaces a process while the others run: reload, `start-first`, `watch`.
mod replace;
// `drainit exec`, also under the names `tini` and `dumb-init`.
mod exec;
// What only a real Envoy can show, above all that no request fails in a rollout.
mod envoy;
// What an operator asks and sees: commands, endpoints, metrics, output, report.
mod operate;
// What reads a config or a manifest and starts nothing.
mod config;
// An environment that is poor, hostile or overloaded.
mod host;
// What needs a container.
mod docker;
// The examples with real servers, and the files of other supervisors.
mod examples;
// What a package and a release contain.
mod packaging;
// Pages, manifests and rules: links lead somewhere, configs pass, each promise has a test.
mod docs;
// Faults from outside in all combinations; their rows are in `faults`.
mod fault_matrix;
