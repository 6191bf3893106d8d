//! Notes about reloads, and about instances that replace others.

use core::time::Duration;

use crate::Journal;
use crate::entry::{Entry, Level};
use crate::event::Field;
use crate::prelude::*;
use drainit_core::note::RequestError;
use drainit_core::types::{ProcessId, human};

impl Journal {
    pub(super) fn on_replacing(&self, process: ProcessId, old: ProcessId, overlaps: bool) -> Entry {
        let text = match overlaps {
            true => "a new instance starts beside the running one",
            false if self.of(old).start.pid.is_none() => {
                "it is down, and gets its definition from the config"
            }
            false => "changed; the old instance is stopped first",
        };
        self.about(process, "replacing", text)
    }

    pub(super) fn on_takes_over(&self, process: ProcessId) -> Entry {
        let text = "the new instance takes over; the old instance is stopped";
        self.about(process, "takes_over", text)
    }

    pub(super) fn on_handed_over(&self, process: ProcessId, limit: Duration) -> Entry {
        let text = "drains by itself until the new epoch ends it; SIGKILL after";
        self.about_instance(process, "handed_over", format!("{text} {}", human(limit)))
            .with([Field::MaxSeconds(limit)])
    }

    pub(super) fn on_doomed(&self, process: ProcessId, within: Duration) -> Entry {
        let why = "its parent epoch exited early";
        let text = format!("Envoy will abort within {}: {why}", human(within));
        self.about_instance(process, "epoch_doomed", text)
            .at(Level::Warning)
            .with([Field::MaxSeconds(within)])
    }

    pub(super) fn on_rolled_back(&self, process: ProcessId, why: RequestError) -> Entry {
        let text = match why {
            RequestError::OldFailed(_) | RequestError::Superseded(_) => "rolled back",
            _ => "rolled back; the old instance keeps running",
        };
        self.about(process, "taken_back", text).fails(why, &self.names)
    }

    pub(super) fn on_adding(&self, process: ProcessId) -> Entry {
        self.about(process, "adding", "new in the config")
    }

    pub(super) fn on_removing(&self, process: ProcessId) -> Entry {
        self.about(process, "removing", "no longer in the config; stopping it")
    }

    pub(super) fn on_reload_done(&self) -> Entry {
        Entry::new("reload_done", "reload done")
    }

    pub(super) fn on_reload_failed(&self, why: RequestError) -> Entry {
        Entry::new("reload_failed", "reload failed").fails(why, &self.names)
    }
}
