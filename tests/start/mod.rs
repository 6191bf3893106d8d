//! Tests the way to readiness: order, values, options, probes, hooks and sockets.

mod args;
mod hooks;
mod listen;
mod main_process;
mod notify;
mod process_options;
mod readiness;
mod supervise;
mod values_at_start;
