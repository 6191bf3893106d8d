//! Slots: a process has one, and a second one while a new instance replaces the running one.
//!
//! A [`ProcessId`] is a slot. The slots of one process have the same name, and a dependency of one
//! is a dependency of both. A slot that is over for good is *retired*: it has no edges, is not shown
//! anywhere, and is reused by the next replacement.

use crate::types::ProcessId;

/// The part that a slot plays for its process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Role {
    /// The slot that requests, `/readyz` and restarts are about.
    #[default]
    Current,
    /// It starts beside this slot, and becomes the current one when it is ready. If it does not
    /// become ready, it is taken back.
    New { old: ProcessId },
    /// It was replaced, or its process is no longer in the config: it is drained and stopped, and
    /// its end is no failure.
    Leaving,
    /// It is over for good, and free.
    Retired,
}

/// Where the definition of a slot comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The same as that of this slot.
    Copy(ProcessId),
    /// An index into the processes of the config that is being loaded.
    Config(usize),
}

/// The place of a process of a new config among those that run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placed {
    /// This slot has the same definition; only its dependencies may differ.
    Same(ProcessId),
    /// This slot has another definition, and is replaced.
    Changed(ProcessId),
    /// No process has its name.
    New,
}
