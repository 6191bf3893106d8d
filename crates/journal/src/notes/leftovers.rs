//! Notes about the leftovers of a process that is about to start again.

use core::time::Duration;

use crate::Journal;
use crate::entry::{Entry, Level};
use crate::event::Field;
use crate::prelude::*;
use drainit_core::types::{ProcessId, Signal, human};

impl Journal {
    /// `limit` is the time until SIGKILL, and `found` describes the leftovers.
    pub(super) fn on_leftovers_found(
        &self,
        process: ProcessId,
        signal: Signal,
        limit: Duration,
        found: Option<&str>,
    ) -> Entry {
        let found = found.unwrap_or("processes");
        let text = format!(
            "left behind by an earlier instance: {found}; sending {signal}; SIGKILL after {}",
            human(limit)
        );
        self.about(process, "leftovers_found", text)
            .at(Level::Warning)
            .with([Field::Signal(signal), Field::MaxSeconds(limit)])
    }

    pub(super) fn on_leftovers_killed(&self, process: ProcessId, after: Duration) -> Entry {
        let text = format!(
            "what an earlier instance left behind is still alive after {}; sending SIGKILL",
            human(after)
        );
        self.about(process, "leftovers_killed", text)
            .at(Level::Warning)
            .with([Field::Seconds(after)])
    }

    pub(super) fn on_leftovers_gone(&self, process: ProcessId, took: Duration) -> Entry {
        let text = format!("what an earlier instance left behind is gone after {}", human(took));
        self.about(process, "leftovers_gone", text).with([Field::Seconds(took)])
    }

    pub(super) fn on_leftovers_ignored(&self, process: ProcessId, are_known: bool) -> Entry {
        let text = match are_known {
            true => "what an earlier instance left behind survives SIGKILL; starting nevertheless",
            false => {
                "it is unknown what earlier instances left behind, because /proc does not answer; \
                 starting nevertheless"
            }
        };
        self.about(process, "leftovers_ignored", text).at(Level::Warning)
    }
}
