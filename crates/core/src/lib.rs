//! The pure core: it makes all decisions of `drainit run`, without a clock, system calls or async.
//!
//! [`Machine::handle`](machine::Machine::handle) takes the time and one [`Event`](event::Event),
//! and returns [`Action`](action::Action)s. A simulation can therefore test the promises of
//! `docs/reference/shutdown.md` without sleeping.
//!
//! The crate is `no_std`, so it cannot name a file, a clock, a thread or the environment. The
//! modules of the crate import only modules to their right, which `make lint` checks:
//!
//! ```text
//! machine → phase → slots, start, stop → drain → family → state
//! connections + envoy → drain, traffic     slots, spec → graph     graph, traffic → types
//! state → drain::progress, family::states, restart, action, budget → note → cause, event → spec
//! state → changes, timers → types      spec → types
//! phase → final_waits → budget
//! ```
//!
//! ```text
//!            stop signal, or an                 all drains           all processes
//!            end that stops all                   over                    gone
//!  Running ──────────────────────▶ Draining ─────────────▶ Stopping ──────────────▶ Finishing ──▶ Done
//!  starts, supervises,             readiness_delay,        dependents first,        leftovers,
//!  restarts                        pre_stop, drains        SIGKILL at each limit    post_stop
//! ```
//!
//! Each phase is a type that the next phase consumes, so no phase can return to an earlier one.
//! Files import each other in a cycle only inside `phase`. All phases share [`state`]: the
//! lifecycle of each process, and the actions of the current step.

#![forbid(unsafe_code)]
#![cfg_attr(not(test), no_std)]
#![allow(missing_docs, reason = "only drainit uses this crate, and most names say it all")]

extern crate alloc;

pub mod action;
pub mod budget;
pub mod cause;
pub mod changes;
pub mod connections;
pub mod drain;
pub mod envoy;
pub mod event;
pub(crate) mod family;
pub mod final_waits;
pub mod graph;
pub mod machine;
pub mod note;
pub mod phase;
pub mod restart;
pub mod slots;
pub mod spec;
pub mod start;
pub mod state;
pub mod stop;
pub(crate) mod timers;
pub mod traffic;
pub mod types;

/// The names that need no `use` in a crate with `std`.
pub mod prelude {
    pub use alloc::borrow::ToOwned;
    pub use alloc::boxed::Box;
    pub use alloc::string::{String, ToString};
    pub use alloc::vec::Vec;
    pub use alloc::{format, vec};
}
