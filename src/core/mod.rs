//! The pure core: all decisions of `drainit run`, without clock, system calls and async.
//!
//! [`Machine::handle`](machine::Machine::handle) takes the time and one [`Event`](event::Event),
//! and returns [`Action`](action::Action)s, so the promises of `docs/shutdown.md` are tested by
//! simulation (`crate::simulation`), not by sleeping.
//!
//! The core imports only [`graph`](crate::graph), [`config`](crate::config) and
//! [`types`](crate::types). Within it:
//!
//! ```text
//! machine ─▶ phase ─▶ drain, restart ─▶ state ─▶ budget ─▶ spec
//!        └▶ broadcast     all of them ─▶ event, action, note, cause
//! ```
//!
//! ```text
//!            stop signal, or an                 all drains           all processes
//!            end that stops all                   over                    gone
//!  Running ──────────────────────▶ Draining ─────────────▶ Stopping ──────────────▶ Finishing ──▶ Done
//!  starts, supervises,             readiness_delay,        dependents first,        leftovers,
//!  restarts                        pre_stop, drains        KILL at each limit       post_stop
//! ```
//!
//! Each phase is a type that consumes the previous one, so there is no way back; this is the only
//! cycle of imports. [`state`] is what all phases share: the lifecycle of each process, and the
//! actions of the current step.

pub mod action;
pub mod broadcast;
pub mod budget;
pub mod cause;
pub mod drain;
pub mod event;
pub(crate) mod handover;
pub mod machine;
pub mod note;
pub mod phase;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
pub(crate) mod purity;
pub mod restart;
pub mod slots;
pub mod spec;
pub mod start;
pub mod state;
pub mod stop;
