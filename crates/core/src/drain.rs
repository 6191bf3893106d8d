//! The drain of one process.
//!
//! ```text
//!  NotDue ──▶ Active: answered ─ samples, reports ─▶ [closing ─▶ closed] ──▶ Over
//! ```
//!
//! When the samples of an Envoy show no traffic, drainit makes the Envoy refuse new connections.
//! The drain is over when a later sample still shows no traffic. If the kernel counts the
//! connections of a process, the drain ends in the same way, but the listeners stay open. The drain
//! of any other process is over when the process reports that it is drained. Every drain is over at
//! the latest when its granted time ends (`until`).
//!
//! A drained process may have to wait for the drains of other processes, and clients can send new
//! requests on its open connections in that time. If drainit counts the traffic of a process, it
//! therefore counts the connections or requests once more before the stop. If too many are open,
//! the stop waits for them, but at the latest until `until`.

pub mod progress;

use core::time::Duration;

use crate::action::Action;
use crate::budget::{self, MIN_CLOSING};
use crate::drain::progress::{Active, Closing, FinalCount, Progress, QUIET};
use crate::event::{Event, Load};
use crate::family;
use crate::note::{DrainEnd, DrainTime, Note, WhyUndrained};
use crate::spec::DrainSpec;
use crate::state::{Lifecycle, State};
use crate::types::{ProcessId, Time};

/// The pause between two final counts of the same process, so that a stop begins at most this late
/// after the last connection has ended.
const RECOUNT: Duration = Duration::from_millis(100);

/// The pause between two notes about the same drain.
const NOTED_EVERY: Duration = Duration::from_secs(60);

impl State {
    /// Begins the drain of a process. If `full`, the drain may last for all of its `time`, as far
    /// as the deadline allows. Its `min` counts `from` this time. The drain lasts at least for
    /// `hold`, because load balancers send new connections for that long. If a newer instance has
    /// taken over, this instance drains by itself and cannot be polled, so drainit only waits.
    pub(crate) fn begin_drain(
        &mut self,
        process: ProcessId,
        full: bool,
        from: Time,
        hold: Duration,
    ) {
        self[process].drain = match self.process(process).drain {
            Some(mut drain) => {
                let wish = if full { drain.longest(self.spec.window) } else { drain.min };
                drain.min = (from + drain.min).since(self.now).max(hold);
                let time = match drain.time {
                    _ if !full => DrainTime::OnlyMin,
                    Some(time) => DrainTime::Set(time),
                    None => DrainTime::Unset,
                };
                if family::tie(self, process).is_handed_over() {
                    drain = DrainSpec { closes: false, signal: None, ..drain };
                }
                Active::begin(self, process, drain, (wish.max(hold), time))
            }
            None => Progress::Over,
        };
    }

    /// Notes that a process that serves is about to be stopped without a drain, if its drain is off.
    /// An instance from which a newer one has taken over gets no new traffic, so it has no note.
    pub(crate) fn note_drain_off(&mut self, process: ProcessId) {
        let serves = matches!(self.life(process), Lifecycle::Ready { .. });
        let off = self.process(process).drain_off.filter(|_| serves);
        if let Some(off) = off.filter(|_| !family::tie(self, process).is_handed_over()) {
            self.step.note(Note::NotDrained { process, why: off.into() });
        }
    }

    /// Takes the steps of a drain that are due now.
    pub(crate) fn step_drain(&mut self, process: ProcessId) {
        if let Progress::Active(mut active) = self[process].drain {
            let is_over = active.step(self, process);
            self[process].drain =
                if is_over { active.to_drained(self.now) } else { Progress::Active(active) };
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

    /// Counts the open connections or requests of a process again just before its stop, because
    /// clients can send requests on open connections after the drain. If more than `exit_at` are
    /// open, drainit counts again later. A count stays valid for [`QUIET`], so that drainit has
    /// time for the counts of other processes. Returns false while the stop has to wait for a count
    /// of this process.
    pub(crate) fn step_final_count(&mut self, process: ProcessId) -> bool {
        match self[process].drain {
            Progress::Drained { at, until, is_counted } => {
                // The wait belongs to the drain, so stops without a declared time keep only a
                // second of it.
                let later = self.budget().stops[process.index()].declared;
                let spare = |left: Duration| left.saturating_sub(later.saturating_add(MIN_CLOSING));
                let wish = until.since(self.now);
                let left = self.left().map_or(wish, |left| wish.min(spare(left)));
                let until = self.now + left;
                // If the drain ended in this step, its last sample also serves as the final count,
                // because nothing can have changed since that sample.
                let is_counted = is_counted || at == self.now;
                if is_counted && left.is_zero() {
                    // No time is left to wait for open connections or requests.
                    self[process].drain = Progress::Over;
                } else if is_counted && self.now.since(at) <= QUIET {
                    self[process].drain = Progress::Drained { at, until, is_counted };
                } else {
                    let (next, load) = (self.now, Load::default());
                    let count = FinalCount { next, is_asked: false, until, load, is_noted: false };
                    self.count(process, count);
                }
            }
            Progress::FinalCount(count) if self.is_past(count.next) => {
                if count.is_asked && !(count.is_noted && self.now < count.until) {
                    // No answer has come, and no earlier count gives a reason to wait any longer.
                    self.end_final_count(process);
                } else {
                    self.count(process, count);
                }
            }
            _ => {}
        }
        !matches!(self[process].drain, Progress::FinalCount(_))
    }

    fn count(&mut self, process: ProcessId, count: FinalCount) {
        if self.is_past_deadline() {
            return self.end_final_count(process);
        }
        self.step.act(Action::CloseListeners(process));
        let next = self.now + self.left().map_or(MIN_CLOSING, budget::counting);
        let count = FinalCount { next, is_asked: true, load: Load::default(), ..count };
        self[process].drain = Progress::FinalCount(count);
    }

    /// Handles the answer to a count. If the count succeeded, its sample came before the answer.
    fn on_counted(&mut self, process: ProcessId, mut count: FinalCount) {
        let allowed = self.process(process).drain.map_or(0, |drain| drain.exit_at);
        // If the number is unknown, the result of the previous count still applies.
        let is_open = count.load.active.map_or(count.is_noted, |active| active > allowed);
        if !is_open || self.is_past(count.until) {
            self.end_final_count(process);
            if !self.is_past(count.until) {
                // Other processes may still be draining, and clients may send more requests
                // meanwhile, so the traffic of the process may be counted again.
                let (at, until) = (self.now, count.until);
                self[process].drain = Progress::Drained { at, until, is_counted: true };
            }
            return;
        }
        if !core::mem::replace(&mut count.is_noted, true) {
            let longest = count.until.since(self.now);
            self.step.note(Note::OpenAgain { process, load: count.load, longest });
        }
        count.is_asked = false;
        count.next = count.until.min(self.now + RECOUNT);
        self[process].drain = Progress::FinalCount(count);
    }

    /// Ends a final count, if one is under way. If the drain is over, no further count follows.
    pub(crate) fn end_final_count(&mut self, process: ProcessId) {
        if let Progress::FinalCount(_) = self[process].drain {
            self.step.act(Action::EndDrain(process));
        }
        if self[process].drain.is_drained() {
            self[process].drain = Progress::Over;
        }
    }

    /// Shortens a drain that began before the shutdown, so that it ends by the deadline.
    pub(crate) fn fit_drain(&mut self, process: ProcessId) {
        if let Progress::Active(mut active) = self[process].drain {
            active.fit(self, process);
            self[process].drain = Progress::Active(active);
        }
    }

    /// Whether the process would cut traffic if it ended now. During its drain, a process may end
    /// because it is drained, and then it cuts nothing. drainit assumes this reason if drainit does
    /// not count the traffic of the process, or has sent the process a signal to drain.
    pub(crate) fn is_undrained(&self, process: ProcessId) -> bool {
        let serves = matches!(self.life(process), Lifecycle::Ready { .. });
        if !serves || !self.is_current(process) {
            return false;
        }
        let may_end = self.process(process).drain.is_some_and(|drain| drain.signal.is_some());
        match &self[process].drain {
            Progress::NotDue => self.process(process).is_drained(),
            Progress::Active(active) => active.closes && !may_end,
            Progress::FinalCount(count) => count.is_noted && !may_end,
            _ => false,
        }
    }

    /// The time until which a drain under way may last. After the drain, the time until which the
    /// stop may wait for new traffic.
    pub fn drained_by(&self, process: ProcessId) -> Option<Time> {
        match &self[process].drain {
            Progress::Active(active) => Some(active.until),
            Progress::FinalCount(count) if count.is_noted => Some(count.until),
            _ => None,
        }
    }

    /// Handles an event of a drain.
    pub(crate) fn handle_drain(&mut self, event: Event) {
        let Some(process) = event.drained_process() else { return };
        let mut active = match self[process].drain {
            Progress::Active(active) => active,
            Progress::FinalCount(mut count) if count.is_asked => {
                if let Event::DrainSample { load, .. } = event {
                    count.load = load;
                    self[process].drain = Progress::FinalCount(count);
                } else if let Event::ListenersClosed(_) = event {
                    self.on_counted(process, count);
                }
                return;
            }
            _ => return,
        };
        let is_over = match event {
            Event::ListenersClosed(_) => active.on_closed(self, process),
            Event::NothingToDrain(_) => return self.end_drain(process, DrainEnd::NotLive),
            Event::DrainAnswered { accepted, .. } => {
                active.on_answer(accepted);
                false
            }
            Event::DrainSample { load, .. } => {
                active.on_sample(self.now, load);
                active.note(self, process);
                false
            }
            _ => {
                active.reported = true;
                false
            }
        };
        self[process].drain =
            if is_over { active.to_drained(self.now) } else { Progress::Active(active) };
    }
}

impl Active {
    /// Begins the drain. `wish` is the longest wait, with the part that `time` has in it; the
    /// deadline can make it shorter. `drain` has what is left of `min`.
    fn begin(
        state: &mut State,
        process: ProcessId,
        drain: DrainSpec,
        (wish, time): (Duration, DrainTime),
    ) -> Progress {
        let now = state.now;
        let longest = state.budget().drain(process, drain.min, wish, state.left());
        let min = drain.min.min(longest);
        if longest.is_zero() {
            if !wish.is_zero() {
                state.step.note(Note::NotDrained { process, why: WhyUndrained::NoTime });
            }
            return Progress::Over;
        }
        state.step.note(Note::DrainBegan { process, longest, min, counted: drain.closes });
        if !family::tie(state, process).is_handed_over() {
            state.step.act(Action::Drain { process, min, longest });
        }
        state[process].ending.drain_signalled = drain.signal.map(|_| now);
        Progress::Active(Self {
            since: now,
            min_until: now + min,
            until: now + longest,
            wish_until: now + wish,
            time,
            unused: Duration::ZERO,
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

    /// Notes once a minute what a long drain waits for.
    fn note(&mut self, state: &mut State, process: ProcessId) {
        if state.now.since(self.noted_at) >= NOTED_EVERY {
            self.noted_at = state.now;
            let left = self.until.since(state.now);
            state.step.note(Note::StillDraining { process, load: self.last, left });
        }
    }

    /// Handles the answer to the request to refuse new connections, or the failure of this request.
    /// Returns whether the drain is over.
    fn on_closed(&mut self, state: &mut State, process: ProcessId) -> bool {
        match self.closing {
            Closing::Asked { why: DrainEnd::Quiet, .. } if !state.is_past(self.until) => {
                // The process may have accepted a connection just before it closed its listeners.
                // The next sample shows this connection.
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

    /// Shortens the drain to meet a deadline that did not exist when the drain began.
    fn fit(&mut self, state: &State, process: ProcessId) {
        let (left, min_left) = (self.until.since(state.now), self.min_until.since(state.now));
        let longest = state.budget().drain(process, min_left, left, state.left());
        if longest < left {
            self.until = state.now + longest;
            self.at_end = DrainEnd::Deadline;
        }
        if let Closing::Asked { until, .. } = &mut self.closing {
            *until = (*until)
                .min(state.now + state.budget().closing(&state.spec, process, state.left()));
        }
    }

    /// Lets a drain last longer if the later steps of its path need less time than when it began.
    fn extend(&mut self, state: &State, process: ProcessId) {
        let wish = self.wish_until.since(state.now);
        let longest = state.budget().drain(process, Duration::ZERO, wish, state.left());
        self.until = self.until.max(state.now + longest);
        if self.wish_until <= self.until.max(state.now) {
            self.at_end = DrainEnd::TimeOver;
        }
    }

    /// Takes the steps that are due now. Returns whether the drain is over.
    fn step(&mut self, state: &mut State, process: ProcessId) -> bool {
        if self.at_end == DrainEnd::Deadline && state.is_past(self.until) {
            self.extend(state, process);
        }
        let over = match self.closing {
            Closing::NotYet if self.is_reported() && state.is_past(self.min_until) => {
                Some(DrainEnd::Reported)
            }
            Closing::Closed if self.quiet_since.is_some() => Some(DrainEnd::Quiet),
            Closing::NotYet | Closing::Closed if state.is_past(self.until) => {
                self.unused = self.unused(state, process);
                // drainit asks for a last sample, even if the listeners are closed already. An
                // Envoy that has not accepted the drain is not asked, because it would not answer
                // this question, either. At the deadline, no time is left to ask.
                let closes =
                    self.closes && self.accepted == Some(true) && !state.is_past_deadline();
                if closes {
                    self.close(state, process, self.at_end);
                }
                (!closes).then_some(self.at_end)
            }
            Closing::NotYet if self.is_quiet(state.now) => {
                self.close(state, process, DrainEnd::Quiet);
                None
            }
            Closing::Asked { until, why: DrainEnd::Quiet } if state.is_past(until) => {
                // No answer has come by `until`. The drain continues as after an answer, because
                // only a new sample can show a connection that was accepted during the wait.
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
        state.step.act(Action::EndDrain(process));
        let (took, time, last) = (state.now.since(self.since), self.time, self.last);
        let unused = if why == DrainEnd::TimeOver { self.unused } else { Duration::ZERO };
        state.step.note(Note::DrainOver { process, why, took, time, unused, last });
    }

    /// The time that the drain could still use if its declared `time` were longer.
    fn unused(&self, state: &State, process: ProcessId) -> Duration {
        let is_set = matches!(self.time, DrainTime::Set(_));
        let Some(left) = state.left().filter(|_| is_set) else {
            return Duration::ZERO;
        };
        state.budget().drain(process, Duration::ZERO, left, Some(left))
    }

    fn close(&mut self, state: &mut State, process: ProcessId, why: DrainEnd) {
        state.step.act(Action::CloseListeners(process));
        // The callers make sure that the deadline has not passed.
        let until = state.now + state.budget().closing(&state.spec, process, state.left());
        self.closing = Closing::Asked { until, why };
    }
}
