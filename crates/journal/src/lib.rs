//! The journal records everything that has happened to each process since the start, and the steps
//! of the shutdown. It also has the words for the log, the status and the report.
//!
//! The supervisor gives the [`Journal`] each [`Note`](drainit_core::note::Note) of the core, each
//! sample of traffic and other events, with their times. The status, the metrics, the report of the
//! start and the report of the shutdown read the journal. The core does not know the journal.

#![forbid(unsafe_code)]
#![cfg_attr(not(test), no_std)]
#![allow(missing_docs, reason = "only drainit uses this crate, and most names say it all")]

extern crate alloc;

mod arrivals;
mod counts;
pub mod data;
mod drain;
pub mod end;
pub mod entry;
pub mod event;
pub mod history;
mod journal;
mod ledger;
mod longest;
pub mod messages;
mod notes;
pub mod rehearsal;
pub mod state;
mod steps;
pub mod tally;
mod text;
pub mod timeline;

pub use crate::counts::Outcome;
pub use crate::journal::Journal;
use drainit_core::prelude;
