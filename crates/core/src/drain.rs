//! The drain of one process.
//!
//! ```text
//!  NotDue ──▶ Active: answered ─ samples, reports ─▶ [closing ─▶ closed] ──▶ Over
//! ```
//!
//! The drain of an Envoy is over when samples show no traffic; it is then made to refuse new
//! connections and polled once more. All other drains are over when the process reports it. Every
//! drain is over at `until`. Others may take longer, and open connections carry new requests
//! meanwhile: before the stop an Envoy is counted again, and waited for once more until `until`.

use core::time::Duration;

use crate::action::Action;
use crate::budget;
use crate::budget::Budget;
use crate::event::{Event, Load};
use crate::note::{DrainEnd, Note};
use crate::spec::DrainSpec;
use crate::state::{Lifecycle, State};
use crate::types::{ProcessId, Time};

/// A process is quiet if nothing is open (or no more than `exit_at` allows) and nothing new has come
/// for this long. Longer than the
/// pause between two samples near the end, and than the time from a connect to the first request.
/// An older sample says nothing about the present.
pub const QUIET: Duration = Duration::from_millis(200);

/// The pause between two counts after the drain.
const RECOUNT: Duration = Duration::from_millis(100);

/// The pause between two notes on a drain that lasts.
const NOTED_EVERY: Duration = Duration::from_secs(60);

/// The progress of the drain of one process.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) enum Progress {
    NotDue,
    Active(Active),
    /// Over, and last counted at `at`. The open connections or requests are counted once more
    /// before the stop.
    Drained {
        at: Time,
        /// The end of the time of the drain.
        until: Time,
        /// It was counted for the stop, which waits for nothing else.
        is_counted: bool,
    },
    FinalCount(FinalCount),
    /// There is nothing to wait for.
    #[default]
    Over,
}

impl Progress {
    /// Whether the traffic of the process is no longer waited for.
    pub(crate) fn is_drained(&self) -> bool {
        matches!(self, Self::Drained { .. } | Self::FinalCount(_) | Self::Over)
    }

    /// The next timer.
    pub(crate) fn wakes_at(&self, now: Time) -> Option<Time> {
        match self {
            Self::Active(active) => Some(active.wakes_at(now)),
            Self::FinalCount(count) => Some(count.next),
            _ => None,
        }
    }
}

/// The count of what is open between the drain and the stop.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FinalCount {
    /// The wait for the answer ends, or the next count begins.
    next: Time,
    is_asked: bool,
    /// Until then what is open again is waited for.
    until: Time,
    /// The last sample since it was asked for.
    load: Load,
    /// That it is waited for was noted.
    is_noted: bool,
}

impl State {
    /// Begins the drain of a process. `full`: for all of `time`, if the deadline allows. `hold`: it
    /// is not over before, because load balancers send new connections until then. An old epoch
    /// drains by itself, and nobody answers for it: it is only waited for.
    pub(crate) fn begin_drain(
        &mut self,
        process: ProcessId,
        full: bool,
        hold: Duration,
        deadline: Time,
    ) {
        self[process].drain = match self.process(process).drain {
            Some(drain) => {
                let wish = budget::drain_wish(drain, full).max(hold);
                let mut drain = DrainSpec { min: drain.min.max(hold), ..drain };
                if self.is_handed_over(process) {
                    drain = DrainSpec { closes: false, signal: None, ..drain };
                }
                Active::begin(self, process, drain, wish, deadline)
            }
            None => Progress::Over,
        };
    }

    /// Proceeds with a drain as far as the time allows.
    pub(crate) fn step_drain(&mut self, process: ProcessId, deadline: Time) {
        if let Progress::Active(mut active) = self[process].drain {
            let is_over = active.step(self, process, deadline);
            self[process].drain =
                if is_over { active.drained(self.now) } else { Progress::Active(active) };
        }
    }

    /// Ends a drain or a final count, if one is under way.
    pub(crate) fn end_drain(&mut self, process: ProcessId, why: DrainEnd) {
        if let Progress::Active(active) = self[process].drain {
            active.over(self, process, why);
        }
        self.end_final_count(process);
        self[process].drain = Progress::Over;
    }

    /// Counts what is open before the stop, and again while there is too much: an open connection
    /// carries new requests until then. A count is good for a moment, in which others are counted.
    /// Returns whether that of this process is done.
    pub(crate) fn step_final_count(&mut self, process: ProcessId, deadline: Time) -> bool {
        match self[process].drain {
            Progress::Drained { at, until, is_counted } => {
                let left = until.since(self.now);
                let left = self.budget.drain(process, left, Duration::ZERO, self.now, deadline);
                let until = self.now + left;
                // In the step in which the drain is over nothing can be new.
                let is_counted = is_counted || at == self.now;
                if is_counted && left.is_zero() {
                    // Nothing could be waited for.
                    self[process].drain = Progress::Over;
                } else if is_counted && self.now.since(at) <= QUIET {
                    self[process].drain = Progress::Drained { at, until, is_counted };
                } else {
                    let (next, load) = (self.now, Load::default());
                    let count = FinalCount { next, is_asked: false, until, load, is_noted: false };
                    self.count(process, count, deadline);
                }
            }
            Progress::FinalCount(count) if self.is_past(count.next) => {
                if count.is_asked && !(count.is_noted && self.now < count.until) {
                    // There is no answer.
                    self.end_final_count(process);
                } else {
                    self.count(process, count, deadline);
                }
            }
            _ => {}
        }
        !matches!(self[process].drain, Progress::FinalCount(_))
    }

    fn count(&mut self, process: ProcessId, count: FinalCount, deadline: Time) {
        if self.is_past(deadline) {
            // There is no time for it.
            return self.end_final_count(process);
        }
        self.act(Action::CloseListeners(process));
        let next = self.now + Budget::closing(self.now, deadline);
        let count = FinalCount { next, is_asked: true, load: Load::default(), ..count };
        self[process].drain = Progress::FinalCount(count);
    }

    /// A count was answered. The sample came before.
    fn counted(&mut self, process: ProcessId, mut count: FinalCount) {
        let allowed = self.process(process).drain.map_or(0, |drain| drain.exit_at);
        // Connections or requests that were open, and whose number is not known now, may still be
        // open.
        let is_open = count.load.active.map_or(count.is_noted, |active| active > allowed);
        if !is_open || self.is_past(count.until) {
            self.end_final_count(process);
            if !self.is_past(count.until) {
                // Clients may send more requests while the drains of other processes are waited
                // for.
                let (at, until) = (self.now, count.until);
                self[process].drain = Progress::Drained { at, until, is_counted: true };
            }
            return;
        }
        if !core::mem::replace(&mut count.is_noted, true) {
            let longest = count.until.since(self.now);
            self.note(Note::OpenAgain { process, load: count.load, longest });
        }
        count.is_asked = false;
        count.next = count.until.min(self.now + RECOUNT);
        self[process].drain = Progress::FinalCount(count);
    }

    /// Ends a final count, if one is under way.
    pub(crate) fn end_final_count(&mut self, process: ProcessId) {
        if let Progress::FinalCount(_) = self[process].drain {
            self.act(Action::EndDrain(process));
        }
        if self[process].drain.is_drained() {
            self[process].drain = Progress::Over;
        }
    }

    /// Waits no longer than `min` for a drain under way.
    pub(crate) fn drain_only_min(&mut self, process: ProcessId) {
        let now = self.now;
        match &mut self[process].drain {
            Progress::Active(active) => active.only_min(),
            Progress::Drained { at, until, .. } => *until = *at,
            Progress::FinalCount(count) => count.until = now,
            Progress::NotDue | Progress::Over => {}
        }
    }

    /// Fits a drain that began before the shutdown into its deadline.
    pub(crate) fn fit_drain(&mut self, process: ProcessId, deadline: Time) {
        if let Progress::Active(mut active) = self[process].drain {
            active.fit(self, process, deadline);
            self[process].drain = Progress::Active(active);
        }
    }

    /// Whether the end of this process would cut traffic now. Processes other than Envoy may end in
    /// answer to their drain.
    pub(crate) fn is_undrained(&self, process: ProcessId) -> bool {
        let serves = matches!(self.life(process), Lifecycle::Ready { .. });
        if !serves || !self.is_current(process) {
            return false;
        }
        match &self[process].drain {
            Progress::NotDue => {
                self.process(process).drain.is_some_and(|drain| !drain.time.is_zero())
            }
            Progress::Active(active) => active.closes,
            Progress::FinalCount(count) => count.is_noted,
            _ => false,
        }
    }

    /// When the longest wait for a drain under way is over.
    pub fn drained_by(&self, process: ProcessId) -> Option<Time> {
        match &self[process].drain {
            Progress::Active(active) => Some(active.until),
            Progress::FinalCount(count) if count.is_noted => Some(count.until),
            _ => None,
        }
    }

    /// Takes what a drain reports.
    pub(crate) fn handle_drain(&mut self, event: Event) {
        let process = match event {
            Event::DrainAnswered { process, .. }
            | Event::Drained(process)
            | Event::DrainSample { process, .. }
            | Event::NothingToDrain(process)
            | Event::ListenersClosed(process) => process,
            _ => return,
        };
        let mut active = match self[process].drain {
            Progress::Active(active) => active,
            Progress::FinalCount(mut count) if count.is_asked => {
                if let Event::DrainSample { load, .. } = event {
                    count.load = load;
                    self[process].drain = Progress::FinalCount(count);
                } else if let Event::ListenersClosed(_) = event {
                    self.counted(process, count);
                }
                return;
            }
            _ => return,
        };
        let is_over = match event {
            Event::ListenersClosed(_) => active.closed(self, process),
            Event::NothingToDrain(_) => return self.end_drain(process, DrainEnd::NotLive),
            Event::DrainAnswered { accepted, .. } => {
                active.answered(accepted);
                false
            }
            Event::DrainSample { load, .. } => {
                active.sampled(self.now, load);
                active.note(self, process);
                false
            }
            _ => {
                active.reported = true;
                false
            }
        };
        self[process].drain =
            if is_over { active.drained(self.now) } else { Progress::Active(active) };
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
    /// The number of connections, or requests, that need not be waited for.
    exit_at: u64,
    /// Whether the process has accepted the drain; `None` before its answer.
    accepted: Option<bool>,
    /// The process has reported that it is drained.
    reported: bool,
    last: Load,
    /// The first of the samples that show nothing (or few enough) open and nothing new.
    quiet_since: Option<Time>,
    /// The last sample. Only samples can show that the process is quiet, not their absence.
    sampled_at: Time,
    /// The last note on its progress.
    noted_at: Time,
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
    fn begin(
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
        if !state.is_handed_over(process) {
            state.act(Action::Drain { process, min, longest });
        }
        state[process].drain_signalled = drain.signal.map(|_| now);
        Progress::Active(Self {
            since: now,
            min_until: now + min,
            until: now + longest,
            at_end: if longest < wish { DrainEnd::Deadline } else { DrainEnd::TimeOver },
            closes: drain.closes,
            exit_at: drain.exit_at,
            accepted: None,
            reported: false,
            last: Load::default(),
            quiet_since: None,
            sampled_at: now,
            noted_at: now,
            closing: Closing::NotYet,
        })
    }

    /// If the process has not accepted the drain, only `min` is waited: new requests still arrive,
    /// and clients are not asked to leave.
    fn answered(&mut self, accepted: bool) {
        if self.accepted.is_none() {
            self.accepted = Some(accepted);
            if !accepted {
                self.only_min();
                // The deadline of a shutdown that has begun since may not allow it.
                if self.until == self.min_until {
                    self.at_end = DrainEnd::NotAccepted;
                }
            }
        }
    }

    /// Takes a sample.
    fn sampled(&mut self, now: Time, load: Load) {
        let no_new = match (self.last.total, load.total) {
            (Some(before), Some(after)) => before == after,
            // The first sample: quiet counts from here.
            (None, Some(_)) => true,
            (_, None) => false,
        };
        let is_low = load.active.is_some_and(|active| active <= self.exit_at);
        self.quiet_since = match self.quiet_since {
            Some(since) if is_low && no_new => Some(since),
            _ if is_low && load.total.is_some() => Some(now),
            _ => None,
        };
        self.last = load;
        self.sampled_at = now;
    }

    /// Notes from time to time what a long drain waits for.
    fn note(&mut self, state: &mut State, process: ProcessId) {
        if state.now.since(self.noted_at) >= NOTED_EVERY {
            self.noted_at = state.now;
            let left = self.until.since(state.now);
            state.note(Note::StillDraining { process, load: self.last, left });
        }
    }

    /// The request to close was answered or given up. Returns whether the drain is over.
    fn closed(&mut self, state: &mut State, process: ProcessId) -> bool {
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

    /// Keeps to a deadline that did not exist when the drain began.
    fn fit(&mut self, state: &State, process: ProcessId, deadline: Time) {
        let (left, min_left) = (self.until.since(state.now), self.min_until.since(state.now));
        let longest = state.budget.drain(process, left, min_left, state.now, deadline);
        if longest < left {
            self.until = state.now + longest;
            self.at_end = DrainEnd::Deadline;
        }
        if let Closing::Asked { until, .. } = &mut self.closing {
            *until = (*until).min(state.now + Budget::closing(state.now, deadline));
        }
    }

    /// Waits no longer than `min`.
    fn only_min(&mut self) {
        self.until = self.until.min(self.min_until);
    }

    /// The next timer.
    fn wakes_at(&self, now: Time) -> Time {
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
    fn step(&mut self, state: &mut State, process: ProcessId, deadline: Time) -> bool {
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
    fn over(&self, state: &mut State, process: ProcessId, why: DrainEnd) {
        state.act(Action::EndDrain(process));
        let took = state.now.since(self.since);
        state.note(Note::DrainOver { process, why, took, last: self.last });
    }

    /// The progress after the drain: connections are counted once more if the process can tell.
    fn drained(&self, now: Time) -> Progress {
        if self.closes && self.accepted == Some(true) {
            Progress::Drained { at: now, until: self.until, is_counted: false }
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
