//! The drain of one process.
//!
//! ```text
//!  NotDue ──▶ Active: answered ─ samples, reports ─▶ [closing ─▶ closed] ──▶ Over
//! ```
//!
//! The drain of an Envoy is over when samples show no traffic; it is then made to refuse new
//! connections and polled once more. All other drains are over when the process reports it. Every
//! drain is over at `until`.

use std::time::Duration;

use crate::core::action::Action;
use crate::core::budget::Budget;
use crate::core::event::Load;
use crate::core::note::{DrainEnd, Note};
use crate::core::spec::DrainSpec;
use crate::core::state::State;
use crate::types::{ProcessId, Time};

/// A process is quiet if nothing is open and nothing new has come for this long. Longer than the
/// pause between two samples near the end, and than the time from a connect to the first request.
/// An older sample says nothing about the present.
pub const QUIET: Duration = Duration::from_millis(200);

/// The progress of the drain of one process.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Progress {
    NotDue,
    Active(Active),
    /// Over since `at`. Open connections are counted once more before the stop.
    Drained {
        at: Time,
    },
    /// The final count is under way; the wait for it ends at `until`.
    FinalCount {
        until: Time,
    },
    /// There is nothing to wait for.
    Over,
}

impl Progress {
    /// Whether the traffic of the process is no longer waited for.
    pub(crate) fn is_drained(&self) -> bool {
        matches!(self, Self::Drained { .. } | Self::FinalCount { .. } | Self::Over)
    }

    /// Counts connections once more before the stop: the report shows what came after the drain.
    pub(crate) fn begin_final_count(
        &mut self,
        state: &mut State,
        process: ProcessId,
        deadline: Time,
    ) {
        if let Self::Drained { at } = *self {
            // At the deadline there is no time for it, and in the same step nothing can be new.
            *self = if at < state.now && !state.is_past(deadline) {
                state.act(Action::CloseListeners(process));
                Self::FinalCount { until: state.now + Budget::closing(state.now, deadline) }
            } else {
                Self::Over
            };
        }
    }

    /// The final count was answered, or is not waited for.
    pub(crate) fn end_final_count(&mut self, state: &mut State, process: ProcessId) {
        if let Self::FinalCount { .. } = *self {
            state.act(Action::EndDrain(process));
            *self = Self::Over;
        }
    }
}

/// A drain that is waited for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Active {
    since: Time,
    min_until: Time,
    until: Time,
    /// Why the drain is over at `until`.
    at_end: DrainEnd,
    /// It can be polled, and made to refuse new connections.
    closes: bool,
    /// Whether the process has accepted the drain; `None` before its answer.
    accepted: Option<bool>,
    /// The process has reported that it is drained.
    reported: bool,
    last: Load,
    /// The first of the samples that show nothing open and nothing new.
    quiet_since: Option<Time>,
    /// The last sample. Only samples can show that the process is quiet, not their absence.
    sampled_at: Time,
    closing: Closing,
}

/// The last step before the process is asked to end: it refuses new connections, so that none is
/// accepted and then cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Closing {
    NotYet,
    /// Requested, and not waited for beyond `until`.
    Asked {
        until: Time,
        why: DrainEnd,
    },
    /// No new connection can come; only the open ones are waited for.
    Closed,
}

impl Active {
    /// Begins the drain. `wish` is the longest wait without a deadline, which may allow less.
    pub(crate) fn begin(
        state: &mut State,
        process: ProcessId,
        drain: DrainSpec,
        wish: Duration,
        deadline: Time,
    ) -> Progress {
        let now = state.now;
        let longest = state.budget.drain(process, wish, drain.min, now, deadline);
        let min = drain.min.min(longest);
        if longest.is_zero() {
            if !wish.is_zero() {
                state.note(Note::NotDrained(process));
            }
            return Progress::Over;
        }
        state.note(Note::DrainBegan { process, longest, min, counted: drain.closes });
        state.act(Action::Drain { process, min, longest });
        state.drain_signalled[process.index()] = drain.signal.map(|_| now);
        Progress::Active(Self {
            since: now,
            min_until: now + min,
            until: now + longest,
            at_end: if longest < wish { DrainEnd::DeadlineNeedsIt } else { DrainEnd::TimeOver },
            closes: drain.closes,
            accepted: None,
            reported: false,
            last: Load::default(),
            quiet_since: None,
            sampled_at: now,
            closing: Closing::NotYet,
        })
    }

    pub(crate) fn closes(&self) -> bool {
        self.closes
    }

    /// If the process has not accepted the drain, only `min` is waited: new requests still arrive,
    /// and clients are not asked to leave.
    pub(crate) fn answered(&mut self, accepted: bool) {
        if self.accepted.is_none() {
            self.accepted = Some(accepted);
            if !accepted {
                self.only_min();
                self.at_end = DrainEnd::MinHeld;
            }
        }
    }

    pub(crate) fn reported(&mut self) {
        self.reported = true;
    }

    /// Takes a sample.
    pub(crate) fn sampled(&mut self, now: Time, load: Load) {
        let no_new = match (self.last.total, load.total) {
            (Some(before), Some(after)) => before == after,
            // The first sample: quiet counts from here.
            (None, Some(_)) => true,
            (_, None) => false,
        };
        self.quiet_since = match self.quiet_since {
            Some(since) if load.active == Some(0) && no_new => Some(since),
            _ if load.active == Some(0) && load.total.is_some() => Some(now),
            _ => None,
        };
        self.last = load;
        self.sampled_at = now;
    }

    /// The request to close was answered or given up. Returns whether the drain is over.
    pub(crate) fn closed(&mut self, state: &mut State, process: ProcessId) -> bool {
        match self.closing {
            Closing::Asked { why: DrainEnd::Quiet, .. } if !state.is_past(self.until) => {
                // A connection accepted just before is still waited for: the next sample shows it.
                self.closing = Closing::Closed;
                self.quiet_since = None;
                false
            }
            Closing::Asked { why, .. } => {
                let why = if why == DrainEnd::Quiet { self.at_end } else { why };
                self.over(state, process, why);
                true
            }
            Closing::NotYet | Closing::Closed => false,
        }
    }

    /// Waits no longer than `min`.
    pub(crate) fn only_min(&mut self) {
        self.until = self.until.min(self.min_until);
    }

    /// The next timer.
    pub(crate) fn wakes_at(&self, now: Time) -> Time {
        match self.closing {
            Closing::Asked { until, .. } => until,
            Closing::Closed => self.until,
            Closing::NotYet => {
                let is_done =
                    self.reported || now < self.min_until && self.is_quiet(self.min_until);
                if is_done { self.until.min(self.min_until) } else { self.until }
            }
        }
    }

    /// Proceeds as far as the time allows. Returns whether the drain is over.
    pub(crate) fn step(&mut self, state: &mut State, process: ProcessId, deadline: Time) -> bool {
        let over = match self.closing {
            Closing::NotYet if self.reported && state.is_past(self.min_until) => {
                Some(DrainEnd::Reported)
            }
            Closing::Closed if self.quiet_since.is_some() => Some(DrainEnd::Quiet),
            Closing::NotYet | Closing::Closed if state.is_past(self.until) => {
                // This counts what is open, too, even if the listeners are closed already. An admin
                // that does not answer would not close them; at the deadline there is no time.
                let closes =
                    self.closes && self.accepted != Some(false) && !state.is_past(deadline);
                if closes {
                    self.close(state, process, self.at_end, deadline);
                }
                (!closes).then_some(self.at_end)
            }
            Closing::NotYet if self.is_quiet(state.now) => {
                self.close(state, process, DrainEnd::Quiet, deadline);
                None
            }
            Closing::Asked { until, why: DrainEnd::Quiet } if state.is_past(until) => {
                // Closed or not: only a fresh sample shows that no connection has slipped in.
                self.closing = Closing::Closed;
                self.quiet_since = None;
                state.is_past(self.until).then_some(self.at_end)
            }
            Closing::Asked { until, why } if state.is_past(until) => Some(why),
            _ => None,
        };
        if let Some(why) = over {
            self.over(state, process, why);
        }
        over.is_some()
    }

    /// Ends the drain.
    pub(crate) fn over(&self, state: &mut State, process: ProcessId, why: DrainEnd) {
        state.act(Action::EndDrain(process));
        let took = state.now.since(self.since);
        state.note(Note::DrainOver { process, why, took, last: self.last });
    }

    /// The progress after the drain: connections are counted once more if the process can tell.
    pub(crate) fn drained(&self, now: Time) -> Progress {
        if self.closes && self.accepted == Some(true) {
            Progress::Drained { at: now }
        } else {
            Progress::Over
        }
    }

    /// Whether the samples have shown no traffic for [`QUIET`], up to `now`.
    fn is_quiet(&self, now: Time) -> bool {
        let is_shown = self.quiet_since.is_some_and(|since| since + QUIET <= self.sampled_at);
        let is_fresh = now.since(self.sampled_at) <= QUIET;
        is_shown && is_fresh && self.min_until <= now && self.accepted == Some(true)
    }

    fn close(&mut self, state: &mut State, process: ProcessId, why: DrainEnd, deadline: Time) {
        state.act(Action::CloseListeners(process));
        // `step` has handled the deadline itself.
        let until = state.now + Budget::closing(state.now, deadline);
        self.closing = Closing::Asked { until, why };
    }
}
