//! Tests drains that need no real Envoy, and the shutdown: order, times and signals.

pub(crate) mod admin_faults;
pub(crate) mod connections;
mod drain_command;
mod drain_kinds;
mod endings;
mod listeners;
mod random;
pub(crate) mod run_signals;
mod shutdown;
mod stop_signal;
mod unnamed;
