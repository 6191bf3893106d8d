//! Notes about the shutdown of the whole container, and about a requested drain before it.

use core::time::Duration;

use crate::Journal;
use crate::entry::{Entry, Level};
use crate::event::Field;
use crate::messages::why;
use crate::prelude::*;
use drainit_core::cause::{Cause, Failure};
use drainit_core::note::Hurry;
use drainit_core::types::{Time, human};

impl Journal {
    pub(super) fn on_drain_requested(&mut self) -> Entry {
        self.begin_shutdown();
        Entry::new("drain_requested", "drain requested; nothing is stopped yet")
    }

    /// `window` is the time until the deadline. If the grace period counts from an earlier request
    /// to drain, `drained_for` is the time since then.
    pub(super) fn on_shutdown_began(
        &mut self,
        now: Time,
        cause: Cause,
        window: Duration,
        drained_for: Option<Duration>,
    ) -> Entry {
        self.begin_shutdown();
        self.shutdown = Some((now, cause, window));
        let why = why(cause, &self.names);
        let from = drained_for.map_or_else(String::new, |ago| {
            format!(", which counts from the drain requested {} ago", human(ago))
        });
        let text = format!("stopping: {why}; {} until the deadline{from}", human(window));
        // A failed hook may have no other line, so this line gets the level `error`. Every other
        // failure has a line of its own at this level.
        let is_failure =
            matches!(cause, Cause::HookFailed | Cause::Failed { why: Failure::Hook, .. });
        let level = if is_failure { Level::Error } else { Level::Info };
        let fields = [Field::Cause(why), Field::MaxSeconds(window)];
        Entry::new("shutdown", text).at(level).with(fields)
    }

    pub(super) fn on_delayed(&self, delay: Duration) -> Entry {
        let text = format!("all processes serve for {}: readiness_delay", human(delay));
        Entry::new("readiness_delay", text).with([Field::MaxSeconds(delay)])
    }

    pub(super) fn on_hurried(&self, hurry: Hurry) -> Entry {
        let text = match hurry {
            Hurry::Continue => "stop signal received: the shutdown is already under way",
            Hurry::CutWaits => "second stop signal: waits are cut short, the order is kept",
            Hurry::KillAll => "third stop signal: everything is killed",
        };
        Entry::new("hurried", text)
            .at(Level::Warning)
            .with([Field::Reason(hurry.name())])
            .remark_if(self.shutdown.is_some())
    }

    pub(super) fn on_deadline_passed(&self, late: Option<Duration>) -> Entry {
        let text = match late {
            None => "deadline reached: killing everything that is left".to_owned(),
            Some(late) => format!(
                "deadline reached {} ago, while drainit could not run: killing everything that \
                 was asked to end, and asking the rest",
                human(late)
            ),
        };
        Entry::new("deadline_passed", text).at(Level::Warning).remark_if(self.shutdown.is_some())
    }

    pub(super) fn on_leftovers_remain(&self) -> Entry {
        let text = "leftover processes survive SIGKILL (stuck in the kernel, not permitted to \
                    signal them, or forking faster than drainit finds them); no longer waiting \
                    for them";
        Entry::new("leftovers_remain", text).at(Level::Error).remark_if(self.shutdown.is_some())
    }
}
