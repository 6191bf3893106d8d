//! Notes about starts, up to the moment at which a process is ready, or its time is over.

use core::time::Duration;

use crate::Journal;
use crate::entry::{Entry, Level};
use crate::event::Field;
use crate::messages::hook_name;
use crate::prelude::*;
use drainit_core::cause::Failure;
use drainit_core::spec::HookId;
use drainit_core::state::State;
use drainit_core::types::{ProcessId, Time, human};

impl Journal {
    pub(super) fn on_skipped(&mut self, process: ProcessId) -> Entry {
        self.noted(process).start.is_skipped = true;
        self.about(process, "skipped", "left out by `only_if` or `profiles`")
    }

    pub(super) fn on_started(&mut self, now: Time, process: ProcessId, state: &State) -> Entry {
        let spec = state.process(process);
        let began = self.began;
        let history = self.noted(process);
        history.on_start(began, now);
        if spec.readiness_timeout.is_none() && !spec.oneshot {
            history.on_ready(began, now);
        }
        let epoch = history.start.epoch;
        let tally = self.tally(process);
        (tally.start, tally.drained) = (None, None);
        match epoch {
            None => self.about_instance(process, "started", "started"),
            Some(epoch) => {
                let text = format!("{}: started, epoch {epoch}", self.names.of(process));
                self.about_instance(process, "started", text).whole()
            }
        }
    }

    /// `after` is the time since the start.
    pub(super) fn on_ready(&mut self, now: Time, process: ProcessId, after: Duration) -> Entry {
        let began = self.began;
        self.of_mut(process).on_ready(began, now);
        self.tally(process).start = Some(after);
        let text = format!("ready after {}", human(after));
        self.about_instance(process, "ready", text).with([Field::Seconds(after)])
    }

    pub(super) fn on_all_ready(&mut self, now: Time) -> Entry {
        self.all_ready.get_or_insert(now);
        Entry::new("all_ready", self.start_line())
    }

    pub(super) fn on_overdue(
        &mut self,
        process: ProcessId,
        why: Failure,
        after: Duration,
        detail: Option<&str>,
    ) -> Entry {
        let history = self.noted(process);
        history.end.coming_why = Some(history.text_of_failure(why));
        let entry = match why {
            Failure::NotReady { .. } => self
                .about_instance(process, "not_ready", format!("not ready after {}", human(after)))
                .because(self.of(process).checks.failure.as_ref())
                .and(detail)
                .at(Level::Error),
            _ => self
                .about(
                    process,
                    "timed_out",
                    format!("not complete after {}; stopping it", human(after)),
                )
                .and(detail)
                .at(Level::Warning),
        };
        entry.with([Field::Seconds(after)])
    }

    pub(super) fn on_timeout_extended(&self, process: ProcessId, limit: Duration) -> Entry {
        let text = format!("asked for more time; {} left", human(limit));
        self.about_instance(process, "timeout_extended", text).with([Field::MaxSeconds(limit)])
    }

    pub(super) fn on_hook_timed_out(&self, hook: HookId) -> Entry {
        let text = format!("{}: took too long and was killed", hook_name(hook, &self.names));
        let mut entry = Entry::new("hook_timed_out", text).whole().at(Level::Warning);
        entry.event.process = hook.process.map(|id| self.names.of(id).to_owned());
        entry.with([Field::Hook(hook.stage.name())]).remark_if(self.shutdown.is_some())
    }
}
