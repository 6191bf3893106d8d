//! Notes about the stops of single processes and of their process groups.

use core::time::Duration;

use crate::Journal;
use crate::end::{EndedBy, StopSignal};
use crate::entry::{Entry, Level};
use crate::event::Field;
use crate::messages::{after_asked, after_handover, ended_first, stop_limit, stopped};
use crate::prelude::*;
use drainit_core::note::StopLimit;
use drainit_core::types::{End, ProcessId, Signal, Time, human};

impl Journal {
    /// `limit` is the time until SIGKILL.
    pub(super) fn on_stopping(
        &mut self,
        now: Time,
        process: ProcessId,
        signal: Signal,
        limit: Duration,
    ) -> Entry {
        self.mark_stopped(now, process);
        self.of_mut(process).end.asked = Some(StopSignal { at: now, signal, limit });
        if self.steps.is_shutdown {
            self.stop(process);
        }
        if signal == Signal::KILL {
            return self
                .about_instance(process, "stopping", "sending SIGKILL")
                .with([Field::Signal(signal)]);
        }
        let text = format!("sending {signal}; SIGKILL after {}", human(limit));
        let fields = [Field::Signal(signal), Field::MaxSeconds(limit)];
        self.about_instance(process, "stopping", text).with(fields)
    }

    /// `after` is the time since the process was asked to end; `None` if it was not asked.
    pub(super) fn on_killed(
        &mut self,
        now: Time,
        process: ProcessId,
        after: Option<Duration>,
        why: StopLimit,
        detail: Option<&str>,
    ) -> Entry {
        // The report of the shutdown does not mention a SIGKILL that was sent before the shutdown.
        if self.shutdown.is_some() {
            self.mark_stopped(now, process);
            self.stop(process).killed = true;
        }
        let Some(after) = after else {
            let text = "sending SIGKILL to its process group";
            return self.about_instance(process, "killed", text).at(Level::Warning);
        };
        let history = self.of(process);
        // Without a stop signal of its own, the process has ended in its drain.
        let sent = history.end.asked.map(|asked| asked.signal);
        let sent = sent.or(history.end.disposition.map(|(signal, _)| signal));
        let text = format!(
            "still alive {} after {}{}{}; sending SIGKILL to its process group",
            human(after),
            sent.map_or("its stop signal".to_owned(), |signal| signal.to_string()),
            sent.map_or("", |signal| history.effect_of(signal)),
            stop_limit(why, process, &self.names)
        );
        self.about_instance(process, "killed", text)
            .and(detail)
            .at(Level::Warning)
            .with([Field::Seconds(after)])
    }

    pub(super) fn on_stopped(
        &mut self,
        now: Time,
        process: ProcessId,
        end: End,
        took: Option<Duration>,
        killed: bool,
        handed_over: bool,
    ) -> Entry {
        self.tally(process).on_end(end, killed);
        let history = self.noted(process);
        let first = history.end.ended_first;
        let by = EndedBy::in_stop(handed_over, first, took.is_some(), killed);
        history.end.on_end(now, end, by);
        history.end.explain();
        history.end.gave_up = false;
        let has_signal = history.end.asked.is_some();
        if self.steps.is_shutdown {
            self.mark_stopped(now, process);
            let stop = self.stop(process);
            (stop.took, stop.ends) = (took, Some(now));
            stop.killed &= killed;
            stop.in_drain = took.is_some() && !has_signal && !killed;
        }
        let text = match by {
            EndedBy::Newer => after_handover(end),
            EndedBy::ProcessFirst => ended_first(end),
            _ => stopped(end, took, killed),
        };
        self.about_instance(process, "stopped", text)
            .end(end, killed)
            .with(took.map(Field::Seconds))
    }

    pub(super) fn on_group_remains(&mut self, process: ProcessId) -> Entry {
        if let Some(stop) = &mut self.of_mut(process).stop {
            stop.ends = None;
        }
        let text = "other processes of its process group are still alive; asking them to end";
        self.about_instance(process, "group_remains", text)
    }

    /// `took` is the time since the process, or else the rest of its group, was asked to end.
    pub(super) fn on_group_gone(
        &mut self,
        now: Time,
        process: ProcessId,
        took: Option<Duration>,
    ) -> Entry {
        // The step is missing if it was over when a shutdown began. This can happen after a SIGKILL
        // to the whole group, because no `GroupRemains` then keeps the step open.
        let began = self.of(process).end.asked.map_or(now, |asked| asked.at);
        self.steps.remains(began, process);
        if self.steps.is_shutdown {
            let stop = self.stop(process);
            (stop.took, stop.ends, stop.in_drain) = (took, Some(now), false);
        }
        let text = format!("its process group is gone{}", after_asked(took));
        self.about_instance(process, "group_gone", text).with(took.map(Field::Seconds))
    }

    pub(super) fn on_unkillable(&self, process: ProcessId) -> Entry {
        let text = "survives SIGKILL (stuck in the kernel, or not permitted to signal it); no \
                    longer waiting for it";
        self.about_instance(process, "unkillable", text)
            .at(Level::Error)
            .remark_if(self.shutdown.is_some())
    }
}
