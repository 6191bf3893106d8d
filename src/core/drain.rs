//! The drain of one process: from the moment it is told until nothing (more) is waited for.
//!
//! ```text
//!  NotDue ──▶ Active: told ─ samples, reports ─▶ [closing ─▶ closed] ──▶ Over
//! ```
//!
//! What can be looked into (Envoy) is over when samples show it quiet; it is then made to refuse new connections, and
//! looked at once more. What reports by itself is over when it does. Everything is over at `until`.

use std::time::Duration;

use crate::core::action::Action;
use crate::core::budget::Budget;
use crate::core::event::Load;
use crate::core::note::{DrainEnd, Note};
use crate::core::spec::DrainSpec;
use crate::core::state::State;
use crate::types::{ProcessId, Time};

/// Nothing open and nothing new for this long is quiet. Longer than the pause between two samples near the end, and than a
/// client takes from its connect to its first request. A sample older than this shows nothing about now.
pub const QUIET: Duration = Duration::from_millis(200);

/// How far the drain of one process is.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Progress {
    /// Not begun.
    NotDue,
    /// Told, and waited for.
    Active(Active),
    /// Over since then, and not stopped yet: what is still open is looked at once more before that.
    Past { at: Time },
    /// That look is under way, and not waited for beyond `until`.
    LastLook { until: Time },
    /// Nothing (more) to wait for.
    Over,
}

impl Progress {
    /// Whether nobody waits for its traffic any more.
    pub(crate) fn is_past(&self) -> bool {
        matches!(self, Self::Past { .. } | Self::LastLook { .. } | Self::Over)
    }

    /// Its process is about to be stopped: what has happened since its drain was over belongs into the report.
    pub(crate) fn look_again(&mut self, state: &mut State, process: ProcessId, deadline: Time) {
        if let Self::Past { at } = *self {
            // At the deadline there is no time for that, and in the same step there is nothing new.
            *self = if at < state.now && !state.is_past(deadline) {
                state.act(Action::CloseListeners(process));
                Self::LastLook { until: state.now + Budget::closing(state.now, deadline) }
            } else {
                Self::Over
            };
        }
    }

    /// The last look has been taken, or is not waited for.
    pub(crate) fn end_last_look(&mut self, state: &mut State, process: ProcessId) {
        if let Self::LastLook { .. } = *self {
            state.act(Action::EndDrain(process));
            *self = Self::Over;
        }
    }
}

/// A drain that is waited for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Active {
    since: Time,
    /// Until when at least.
    min_until: Time,
    /// Until when at most, and why then.
    until: Time,
    at_end: DrainEnd,
    /// It can be made to refuse new connections.
    closes: bool,
    /// Whether it has taken the drain; unknown while it is being told.
    accepted: Option<bool>,
    /// It has said itself that it is drained.
    reported: bool,
    last: Load,
    /// Since when samples show nothing open and nothing new.
    quiet_since: Option<Time>,
    /// The last sample. Only samples can show that it is quiet; that there is none shows nothing.
    sampled_at: Time,
    closing: Closing,
}

/// The last step before the process is asked to end: it refuses new connections, so that none is accepted and then cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Closing {
    NotYet,
    /// Asked for; not waited for beyond `until`.
    Asked {
        until: Time,
        why: DrainEnd,
    },
    /// No new connection can come. Only the open ones are waited for.
    Closed,
}

impl Active {
    /// Tells the process. `wish` is how long it would wait at most; the deadline may allow less.
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
        state.told[process.index()] = drain.told_by.map(|_| now);
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

    /// Whether it can be looked into, and be made to refuse new connections.
    pub(crate) fn closes(&self) -> bool {
        self.closes
    }

    /// Whether it has taken the drain. If not, only `min` is held: new requests still arrive, but none is told to leave.
    pub(crate) fn told(&mut self, accepted: bool) {
        if self.accepted.is_none() {
            self.accepted = Some(accepted);
            if !accepted {
                self.only_min();
                self.at_end = DrainEnd::MinHeld;
            }
        }
    }

    /// It says that it is drained.
    pub(crate) fn reported(&mut self) {
        self.reported = true;
    }

    /// What was seen at this moment.
    pub(crate) fn sampled(&mut self, now: Time, load: Load) {
        let no_new = match (self.last.total, load.total) {
            (Some(before), Some(after)) => before == after,
            // The first sample; quiet counts from here.
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

    /// It refuses new connections, or nobody knows. Whether the drain is over with that.
    pub(crate) fn closed(&mut self, state: &mut State, process: ProcessId) -> bool {
        match self.closing {
            Closing::Asked { why: DrainEnd::Quiet, .. } if !state.is_past(self.until) => {
                // What was accepted just before is still waited for: the next sample tells.
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

    /// There is no reason to wait longer than `min` any more.
    pub(crate) fn only_min(&mut self) {
        self.until = self.until.min(self.min_until);
    }

    /// When something is due.
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

    /// Goes on as far as the time allows. Whether it is over.
    pub(crate) fn step(&mut self, state: &mut State, process: ProcessId, deadline: Time) -> bool {
        let over = match self.closing {
            Closing::NotYet if self.reported && state.is_past(self.min_until) => {
                Some(DrainEnd::Reported)
            }
            Closing::Closed if self.quiet_since.is_some() => Some(DrainEnd::Quiet),
            Closing::NotYet | Closing::Closed if state.is_past(self.until) => {
                // What is left is counted with it, also where they are closed already. An admin that does not answer would not close the listeners; at the deadline there is no time for that.
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
                // Whether it has closed or not: only a fresh look shows that nothing has slipped in.
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

    /// Tells that nobody waits any longer, and why.
    pub(crate) fn over(&self, state: &mut State, process: ProcessId, why: DrainEnd) {
        state.act(Action::EndDrain(process));
        let took = state.now.since(self.since);
        state.note(Note::DrainOver { process, why, took, last: self.last });
    }

    /// What becomes of it when it is over: whether there is something to look at once more.
    pub(crate) fn past(&self, now: Time) -> Progress {
        if self.closes && self.accepted == Some(true) {
            Progress::Past { at: now }
        } else {
            Progress::Over
        }
    }

    /// Whether samples from the first to the last have shown it quiet for long enough, up to this moment.
    fn is_quiet(&self, now: Time) -> bool {
        let is_shown = self.quiet_since.is_some_and(|since| since + QUIET <= self.sampled_at);
        let is_fresh = now.since(self.sampled_at) <= QUIET;
        is_shown && is_fresh && self.min_until <= now && self.accepted == Some(true)
    }

    fn close(&mut self, state: &mut State, process: ProcessId, why: DrainEnd, deadline: Time) {
        state.act(Action::CloseListeners(process));
        // `step` has dealt with the deadline itself.
        let until = state.now + Budget::closing(state.now, deadline);
        self.closing = Closing::Asked { until, why };
    }
}
