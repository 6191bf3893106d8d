//! The pure core: every decision, and nothing else.
//!
//! [`Machine::handle`](machine::Machine::handle) takes the time and one [`Event`](event::Event), and gives back
//! [`Action`](action::Action)s. There is no clock, no system call and no async in here, so the hardest promises are
//! tested by simulation (`sim.rs`), not by sleeping.
//!
//! ```text
//!            stop signal, or the                all drains             everything
//!            end that ends it all                 over                    gone
//!  Running ──────────────────────▶ Draining ─────────────▶ Stopping ──────────────▶ Finishing ──▶ Done
//!  starts, supervises,             readiness_delay,        dependents first,        leftovers,
//!  restarts                        pre_stop, drains        KILL at each limit       post_stop
//! ```
//!
//! Each phase is a type that consumes the one before, so there is no way back. What outlives a phase lies in
//! [`state`]: how far each process is, and the actions of this step.

pub mod action;
pub mod broadcast;
pub mod budget;
pub mod cause;
pub mod drain;
pub mod event;
pub mod machine;
pub mod note;
pub mod phase;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
pub(crate) mod purity;
pub mod restart;
#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr)]
pub(crate) mod sim;
pub mod spec;
pub mod state;
