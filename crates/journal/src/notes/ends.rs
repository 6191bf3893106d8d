//! Notes about processes that have ended by themselves, that have failed, or whose check has failed.

use core::time::Duration;

use crate::Journal;
use crate::end::EndedBy;
use crate::entry::{Entry, Level};
use crate::event::Field;
use crate::messages::failure;
use crate::prelude::*;
use drainit_core::cause::Failure;
use drainit_core::note::AfterEnd;
use drainit_core::types::{End, ProcessId, Time, human};

impl Journal {
    pub(super) fn on_completed(
        &mut self,
        now: Time,
        process: ProcessId,
        end: End,
        after: Duration,
        detail: Option<&str>,
    ) -> Entry {
        let ready = now.since(self.began);
        let history = self.of_mut(process);
        history.readiness.first.get_or_insert(ready);
        history.end.on_end(now, end, EndedBy::Completion);
        let tally = self.tally(process);
        tally.start = Some(after);
        tally.on_end(end, false);
        self.about_instance(process, "completed", format!("completed after {}", human(after)))
            .end(end, false)
            .and(detail)
            .with([Field::Seconds(after)])
    }

    pub(super) fn on_ended(
        &mut self,
        now: Time,
        process: ProcessId,
        end: End,
        next: AfterEnd,
        detail: Option<&str>,
    ) -> Entry {
        let tally = self.tally(process);
        tally.restarted(next);
        tally.on_end(end, false);
        let gave_up = next == AfterEnd::GivesUp;
        let history = self.noted(process);
        history.end.on_end(now, end, EndedBy::Process);
        history.end.explain();
        history.end.gave_up = gave_up;
        // If drainit gives up the process, the report keeps this note. The note explains much of
        // what follows, and the log may have been rotated.
        self.about_instance(process, "ended", end.to_string())
            .end(end, false)
            .then(next, &self.of(process).end.unasked(end))
            .mend(end)
            .and(detail)
            .remark_if(gave_up)
    }

    pub(super) fn on_failed(&mut self, process: ProcessId, why: Failure, next: AfterEnd) -> Entry {
        self.tally(process).restarted(next);
        let history = self.noted(process);
        let gave_up = matches!(next, AfterEnd::StaysDown | AfterEnd::GivesUp);
        history.end.gave_up = gave_up;
        history.end.on_failure();
        // If the spawn has failed, the supervisor has already set a message that says more.
        if !matches!(why, Failure::Spawn { .. }) {
            history.end.message = Some(history.text_of_failure(why));
        }
        let (event, last) = match why {
            Failure::Unhealthy => ("unhealthy", ", and is not restarted"),
            _ => ("start_failed", ""),
        };
        self.about(process, event, failure(why)).then(next, last).remark_if(gave_up)
    }

    pub(super) fn on_probe_failed(&self, process: ProcessId, failures: u32, retries: u32) -> Entry {
        let text = format!("liveness probe failed ({failures} of {retries})");
        self.about_instance(process, "probe_failed", text)
            .because(self.of(process).checks.unhealthy.as_ref())
            .at(Level::Warning)
            .with([Field::Attempt(failures), Field::Retries(retries)])
    }

    pub(super) fn on_unhealthy(&mut self, process: ProcessId) -> Entry {
        self.noted(process).end.gave_up = false;
        self.about_instance(process, "unhealthy", "failed its liveness check; stopping it")
            .because(self.of(process).checks.unhealthy.as_ref())
            .at(Level::Warning)
    }
}
