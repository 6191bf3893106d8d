//! What touches the system: it carries the actions of the core out, and turns what happens into events.

pub(crate) mod blocked;
mod board;
pub mod boot;
pub mod child_log;
pub mod children;
pub mod clock;
mod closing;
mod command;
mod diagnose;
mod drainer;
mod drains;
pub mod envoy;
pub mod envoy_stats;
pub mod event_loop;
mod hands;
pub mod http;
pub mod inotify;
mod lane;
mod last_lines;
mod launch;
pub mod lines;
mod listener;
mod look_up;
mod news;
pub mod notify;
pub(crate) mod old_socket;
pub(crate) mod oom;
pub mod output;
pub mod own_line;
mod pace;
pub mod panic;
pub mod probe;
mod readiness;
pub mod reap;
pub(crate) mod say;
pub mod signals;
pub mod spawn;
pub(crate) mod start;
pub mod survey;
pub mod sweep;
pub(crate) mod sys;
mod termination_log;
pub mod trace;
mod verify;

#[cfg(test)]
mod alone;
#[cfg(test)]
mod envoy_real;
#[cfg(test)]
mod scratch;
#[cfg(test)]
pub(crate) mod test_server;
