//! The dialogue with the admin of an Envoy that is drained. This module is pure: answers, commands
//! and the time go in; questions and reports come out.
//!
//! ```text
//!  polls    [what counts] ─▶ first sample ─▶ [state, if nothing was accepted] ─▶ sample ─▶ sample …
//!  begin                          after it: drain_listeners?graceful, [healthcheck/fail]
//!  late                                     healthcheck/fail, once the container is not ready
//!  closing                                              drain_listeners, then a last sample
//! ```
//!
//! Each of these four lanes has at most one unanswered question.

use core::time::Duration;

use crate::envoy::Call;
use crate::envoy::attempts::{Attempts, CALL_LIMIT, CallOutcome, Failure, Next};
use crate::envoy::close_watch::ClosingWatch;
use crate::envoy::pace::Pace;
use crate::envoy::sample::Sample;
use crate::event::Unit;
use crate::prelude::*;
use crate::report::history::Moment;
use crate::types::Time;

/// The time limit of the last sample, which is taken after the closing of the listeners. The budget
/// has one limit for the closing and the sample together.
const LAST_POLL: Duration = Duration::from_millis(100);
/// The remedy for a drain of inbound listeners that closes no connections.
const SLOW_INBOUND: &str = "start it with `--drain-strategy immediate`, or a --drain-time-s shorter than the drain's `time`";
/// If drainit cannot learn from the admin whether Envoy has ever been live, it asks again after
/// this pause.
const ASKED_AGAIN: Duration = Duration::from_millis(250);
/// If every response closes its connection, Envoy must have closed at least one connection within
/// this time.
const CLOSING_SEEN: Duration = Duration::from_secs(2);

/// The terms of a drain.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// The drain cannot be over before this time.
    pub min_until: Time,
    /// The longest wait that the budget has granted.
    pub longest: Duration,
    /// Whether only listeners with `traffic_direction: INBOUND` are drained.
    pub only_inbound: bool,
    /// Whether drainit fails the health check of Envoy, so that every response closes its
    /// connection.
    pub fail_healthcheck: bool,
    /// Whether drainit waits for [`Dialogue::unready`] before it fails the health check of Envoy.
    pub stays_ready: bool,
    /// Whether the traffic of some listeners is ignored, so that drainit has to ask the admin which
    /// listeners these are.
    pub asks_what_counts: bool,
    /// Whether the drain waits for connections or for requests.
    pub unit: Unit,
    /// The number of open connections, or of requests in flight, at which the drain is over.
    pub exit_at: u64,
}

/// The purpose of a question. Each lane has at most one question: a new one replaces the earlier
/// question of this lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lane {
    Polls,
    Begin,
    Late,
    Closing,
}

/// A question to the admin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    /// Asks which listeners the samples have to ignore. The supervisor keeps the answer.
    WhatCounts,
    Sample,
    /// Asks whether this Envoy has never been live.
    State,
    Call(Call),
}

/// The answer to an [`Ask`] of the same name.
#[derive(Clone, Debug)]
pub enum Answer {
    WhatCounts(Result<(), Failure>),
    Sample(Result<Sample, Failure>),
    /// Whether this Envoy has never been live; `None` if the answer does not say so.
    State {
        is_unused: Option<bool>,
    },
    Call(Result<(), Failure>),
}

/// A question or a report of the dialogue.
#[derive(Clone, Debug)]
pub enum Output {
    Ask {
        lane: Lane,
        ask: Ask,
        limit: Duration,
    },
    /// A sample. `began` is the time at which its poll began, so its numbers can be that old.
    Sampled {
        began: Time,
        sample: Sample,
        moment: Moment,
    },
    /// The traffic is unknown, because a poll has failed.
    Unknown,
    /// Whether the drain was accepted. The dialogue reports this once, unless the drain is over
    /// earlier.
    Answered {
        accepted: bool,
    },
    /// This Envoy has never accepted a connection.
    NothingToDrain,
    /// The closing of the listeners was answered or given up.
    ListenersClosed,
    /// A warning for the log and the report.
    Warn(String),
    /// A line for the log.
    Log(String),
}

/// The outcome of the calls that begin the drain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Accepted {
    /// No call was answered yet.
    #[default]
    NotYet,
    /// All calls failed.
    Nothing,
    /// Envoy has accepted the drain, and closes connections as its own flags say.
    Gradual,
    /// Envoy fails its health check, so every response closes its connection.
    AtOnce,
}

/// The state of the polls.
#[derive(Clone, Copy, Debug)]
enum Polls {
    /// The polls are over.
    Over,
    WhatCounts,
    First {
        began: Time,
    },
    /// The first sample shows no accepted connection, so drainit has asked whether Envoy has ever
    /// been live.
    State {
        began: Time,
        pause: Duration,
        sample: Sample,
    },
    /// Envoy has never been live. The drain begins nevertheless, and then drainit asks for the
    /// state once more.
    Unused {
        /// The time at which drainit asks again; `None` if it asks as soon as the calls that begin
        /// the drain have succeeded or were given up.
        again: Option<Time>,
    },
    /// drainit has asked for the state once more.
    StillUnused,
    /// The next poll begins at this time.
    Waits {
        at: Time,
    },
    Asked {
        began: Time,
        closings: u32,
        moment: Moment,
    },
}

/// The dialogue of one drain.
#[derive(Debug)]
pub struct Dialogue {
    terms: Terms,
    /// Whether drainit still has to wait before it fails the health check of Envoy.
    stays_ready: bool,
    polls: Polls,
    pace: Pace,
    watch: ClosingWatch,
    /// Whether the next poll is due at once, although the pause before it is not over.
    is_poll_due: bool,
    /// Whether the last poll has failed.
    is_failing: bool,
    begin: Option<Attempts>,
    /// Whether the calls that begin the drain have succeeded or were given up.
    has_begun: bool,
    late: Option<Attempts>,
    accepted: Accepted,
    /// Whether [`Output::Answered`] was reported to the core.
    is_answered: bool,
    /// The time at which drainit asked for the sample after the closing of the listeners; `None` if
    /// drainit does not wait for such a sample.
    last_poll: Option<Time>,
    /// How often drainit has asked for a sample after the closing of the listeners. If the number has
    /// changed since a poll began, the result of this poll is discarded.
    closings: u32,
    /// Whether the work that [`Dialogue::close`] has begun is under way. It ends with
    /// [`Output::ListenersClosed`].
    is_closing: bool,
    /// Whether Envoy has confirmed that its listeners are closed.
    is_closed: bool,
    /// Whether the drain is over, so that later samples no longer belong to it.
    is_over: bool,
    outputs: Vec<Output>,
}

impl Dialogue {
    /// Begins the drain.
    pub fn begin(now: Time, terms: Terms) -> (Self, Vec<Output>) {
        let mut dialogue = Self {
            stays_ready: terms.stays_ready && terms.fail_healthcheck,
            polls: Polls::WhatCounts,
            pace: Pace::new(terms.min_until),
            watch: ClosingWatch::new(if terms.fail_healthcheck {
                CLOSING_SEEN
            } else {
                // A gradual drain needs more time before it is certain that Envoy closes no
                // connection. When half of its time is over, the drain has closed a quarter of the
                // busy connections.
                CLOSING_SEEN.max(terms.longest / 2)
            }),
            terms,
            is_poll_due: false,
            is_failing: false,
            begin: None,
            has_begun: false,
            late: None,
            accepted: Accepted::NotYet,
            is_answered: false,
            last_poll: None,
            closings: 0,
            is_closing: false,
            is_closed: false,
            is_over: false,
            outputs: Vec::new(),
        };
        if terms.asks_what_counts {
            // To learn which listeners count, the supervisor makes at most three requests. The
            // limit applies to each of them.
            dialogue.ask(Lane::Polls, Ask::WhatCounts, CALL_LIMIT);
        } else {
            dialogue.poll_first(now);
        }
        let outputs = dialogue.said();
        (dialogue, outputs)
    }

    /// The time at which [`tick`](Self::tick) is due.
    pub fn wakes_at(&self) -> Option<Time> {
        let poll = match self.polls {
            Polls::Waits { at } => Some(at),
            Polls::Unused { again } => again,
            _ => None,
        };
        let calls = [&self.begin, &self.late].into_iter().flatten().filter_map(Attempts::wakes_at);
        calls.chain(poll).min()
    }

    /// Asks the questions that are due.
    pub fn tick(&mut self, now: Time) -> Vec<Output> {
        self.poll_if_due(now);
        for lane in [Lane::Begin, Lane::Late] {
            if let Some(next) = self.attempts(lane).as_mut().map(|calls| calls.resume(now)) {
                self.proceed(now, lane, next);
            }
        }
        self.said()
    }

    /// Handles the answer to the question of a lane, or the failure of this question.
    pub fn answered(&mut self, now: Time, lane: Lane, answer: Answer) -> Vec<Output> {
        match (lane, answer) {
            (Lane::Polls, answer) => self.polled(now, answer),
            (Lane::Begin | Lane::Late, Answer::Call(result)) => {
                if let Some(next) =
                    self.attempts(lane).as_mut().map(|calls| calls.answered(now, result))
                {
                    self.proceed(now, lane, next);
                }
            }
            (Lane::Closing, Answer::Call(result)) => self.closed(now, result),
            (Lane::Closing, Answer::Sample(sample)) => {
                if let (Some(began), Ok(sample)) = (self.last_poll.take(), sample) {
                    self.record(began, sample, self.moment());
                }
                self.is_closing = false;
                self.outputs.push(Output::ListenersClosed);
                // A connection may have been accepted just before the closing. The next poll shows
                // it to the core.
                self.is_poll_due = true;
                self.poll_if_due(now);
            }
            _ => {}
        }
        self.said()
    }

    /// Call this when the container is not ready any more. If drainit had to wait for this, it
    /// fails the health check of Envoy now.
    pub fn unready(&mut self, now: Time) -> Vec<Output> {
        if core::mem::take(&mut self.stays_ready) && !self.is_over {
            self.call(now, Lane::Late, &[Call::FailHealthcheck]);
        }
        self.said()
    }

    /// Closes the listeners if they are open, and takes a last sample. Reports
    /// [`Output::ListenersClosed`] in any case.
    pub fn close(&mut self, now: Time) -> Vec<Output> {
        // After `drainit drain`, the drain can be over long before this closing. The last sample is
        // still a part of this drain.
        self.is_over = false;
        if core::mem::replace(&mut self.is_closing, true) {
            // A closing is under way. It will report [`Output::ListenersClosed`] for this request,
            // too.
        } else if self.is_closed {
            self.poll_last(now);
        } else {
            let (_, call) = Call::of(self.terms.only_inbound);
            self.ask(Lane::Closing, Ask::Call(call), CALL_LIMIT);
        }
        self.said()
    }

    /// Ends the drain, but not the work that [`Self::close`] has begun. All other answers that come
    /// later are ignored. Warns of the last error of each call that is still being repeated. If no
    /// call has an answer or an error yet, warns of that.
    pub fn end(&mut self) -> Vec<Output> {
        self.polls = Polls::Over;
        let calls = [self.begin.take(), self.late.take()];
        if !core::mem::replace(&mut self.is_over, true) {
            let calls = calls.iter().flatten();
            let outcomes: Vec<_> = calls.flat_map(Attempts::outcomes).cloned().collect();
            if self.accepted == Accepted::NotYet && outcomes.is_empty() {
                self.warn("its admin had not answered when the drain was over");
            }
            self.record_outcomes(outcomes);
        }
        self.said()
    }

    fn said(&mut self) -> Vec<Output> {
        core::mem::take(&mut self.outputs)
    }

    fn ask(&mut self, lane: Lane, ask: Ask, limit: Duration) {
        self.outputs.push(Output::Ask { lane, ask, limit });
    }

    fn warn(&mut self, what: impl Into<String>) {
        self.outputs.push(Output::Warn(what.into()));
    }

    /// Takes the first sample, before the calls take effect. The calls wait for this sample, but
    /// not longer than its limit. If the sample fails, the next poll reports the failure.
    fn poll_first(&mut self, now: Time) {
        self.polls = Polls::First { began: now };
        self.ask(Lane::Polls, Ask::Sample, CALL_LIMIT);
    }

    fn polled(&mut self, now: Time, answer: Answer) {
        match (self.polls, answer) {
            (Polls::WhatCounts, Answer::WhatCounts(listed)) => {
                if let Err(Failure { why, .. }) = listed {
                    self.warn(format!(
                        "its admin did not list its listeners, so those that `direction` or \
                         `ignore_listeners` leave out are counted, too: {why}"
                    ));
                }
                self.poll_first(now);
            }
            (Polls::First { began }, Answer::Sample(sample)) => {
                let pause = match &sample {
                    Ok(sample) => self.pause(now, began, sample),
                    Err(_) => Duration::ZERO,
                };
                match sample {
                    // After a failed sample, drainit does not ask for the state: the admin would
                    // not answer this question in time, either.
                    Ok(sample) if sample.has_accepted_none() => {
                        self.polls = Polls::State { began, pause, sample };
                        self.ask(Lane::Polls, Ask::State, CALL_LIMIT);
                    }
                    sample => self.begin_calls(now, began, sample.unwrap_or_default(), pause),
                }
            }
            (Polls::State { began, .. }, Answer::State { is_unused: Some(true) }) => {
                self.polls = Polls::Unused { again: None };
                self.record(began, Sample::NOTHING, Moment::Start);
                // The calls are made nevertheless, because a drain without a stop may last long,
                // and Envoy may become live in that time.
                self.call_begin(now);
            }
            (Polls::StillUnused, Answer::State { is_unused: Some(true) }) => {
                self.polls = Polls::Over;
                self.outputs.push(Output::NothingToDrain);
            }
            // Envoy has become live meanwhile.
            (Polls::StillUnused, Answer::State { is_unused: Some(false) }) => {
                self.wait(now, Duration::ZERO);
            }
            (Polls::StillUnused, Answer::State { is_unused: None }) => {
                self.polls = Polls::Unused { again: Some(now + ASKED_AGAIN) };
            }
            (Polls::State { began, pause, sample }, Answer::State { .. }) => {
                self.begin_calls(now, began, sample, pause);
            }
            (Polls::Asked { began, closings, moment }, Answer::Sample(sample)) => {
                self.sampled(now, began, closings == self.closings, moment, sample);
            }
            _ => {}
        }
    }

    fn begin_calls(&mut self, now: Time, began: Time, first: Sample, pause: Duration) {
        self.watch.before(&first);
        self.record(began, first, Moment::Start);
        self.call_begin(now);
        self.wait(now, pause);
    }

    fn call_begin(&mut self, now: Time) {
        let calls = [Call::of(self.terms.only_inbound).0, Call::FailHealthcheck];
        let fails = self.terms.fail_healthcheck && !self.stays_ready;
        self.call(now, Lane::Begin, if fails { &calls } else { &calls[..1] });
    }

    fn call(&mut self, now: Time, lane: Lane, calls: &[Call]) {
        let (attempts, next) = Attempts::begin(now, calls);
        *self.attempts(lane) = Some(attempts);
        self.proceed(now, lane, next);
    }

    fn attempts(&mut self, lane: Lane) -> &mut Option<Attempts> {
        if lane == Lane::Late { &mut self.late } else { &mut self.begin }
    }

    fn proceed(&mut self, now: Time, lane: Lane, next: Next) {
        match next {
            Next::Make(call, limit) => self.ask(lane, Ask::Call(call), limit),
            Next::Wait => {}
            Next::Over(outcomes) => {
                *self.attempts(lane) = None;
                self.record_outcomes(outcomes);
                self.has_begun |= lane == Lane::Begin;
                self.answer();
                if lane == Lane::Late {
                    return;
                }
                if matches!(self.polls, Polls::Unused { .. }) {
                    return self.ask_if_still_unused();
                }
                // The watch of closed connections begins with the next poll, so this poll is due at
                // once.
                self.is_poll_due = true;
                self.poll_if_due(now);
            }
        }
    }

    /// Remembers what the calls have achieved, and warns of failed calls.
    fn record_outcomes(&mut self, outcomes: Vec<CallOutcome>) {
        let mut accepted = Accepted::Nothing;
        for outcome in outcomes {
            match (&outcome.result, outcome.call) {
                (Ok(()), Call::FailHealthcheck) => accepted = Accepted::AtOnce,
                (Ok(()), _) => accepted = accepted.max(Accepted::Gradual),
                (Err(_), _) => self.warn(outcome.to_string()),
            }
        }
        self.accepted = self.accepted.max(accepted);
    }

    /// Whether at least one call was accepted.
    fn is_accepted(&self) -> bool {
        self.accepted > Accepted::Nothing
    }

    /// Reports whether the drain was accepted: `true` as soon as a call has succeeded, `false` once
    /// all calls have failed. One of these calls fails the health check, and may come later than
    /// the others.
    fn answer(&mut self) {
        let accepted = self.is_accepted();
        let is_last = self.has_begun && self.late.is_none() && !self.stays_ready;
        if (accepted || is_last) && !core::mem::replace(&mut self.is_answered, true) {
            self.outputs.push(Output::Answered { accepted });
        }
    }

    fn wait(&mut self, now: Time, pause: Duration) {
        self.polls = Polls::Waits { at: now + pause };
        self.poll_if_due(now);
    }

    fn ask_if_still_unused(&mut self) {
        self.polls = Polls::StillUnused;
        self.ask(Lane::Polls, Ask::State, CALL_LIMIT);
    }

    fn poll_if_due(&mut self, now: Time) {
        if let Polls::Unused { again: Some(at) } = self.polls
            && at <= now
        {
            return self.ask_if_still_unused();
        }
        if let Polls::Waits { at } = self.polls
            && (core::mem::take(&mut self.is_poll_due) || at <= now)
        {
            let (closings, moment) = (self.closings, self.moment());
            self.polls = Polls::Asked { began: now, closings, moment };
            self.ask(Lane::Polls, Ask::Sample, CALL_LIMIT);
        }
    }

    /// Handles the answer to a poll of the drain. `is_fresh` is false if a closing has begun since
    /// the poll began.
    fn sampled(
        &mut self,
        now: Time,
        began: Time,
        is_fresh: bool,
        moment: Moment,
        sample: Result<Sample, Failure>,
    ) {
        let pause = match &sample {
            Ok(sample) => self.pause(now, began, sample),
            Err(_) => self.pace.after_failure(now.since(began)),
        };
        match sample {
            Ok(sample) if is_fresh => {
                self.is_failing = false;
                self.record(began, sample, moment);
                // While the health check has to stay good, Envoy closes few connections. The watch
                // for closed connections therefore begins only later.
                if self.is_accepted()
                    && !self.stays_ready
                    && let Some(requests) = self.watch.check(now, &sample)
                {
                    self.warn(self.not_closing(requests));
                }
            }
            Ok(_) => {}
            Err(Failure { why, .. }) => {
                if !core::mem::replace(&mut self.is_failing, true) {
                    let line = format!("GET /stats: {why}; its connections are unknown");
                    self.outputs.push(Output::Log(line));
                }
                self.outputs.push(Output::Unknown);
            }
        }
        self.wait(now, pause);
    }

    fn pause(&mut self, now: Time, began: Time, sample: &Sample) -> Duration {
        let active = sample.load(self.terms.unit).active;
        let left = active.map(|active| active.saturating_sub(self.terms.exit_at));
        self.pace.after_answer(now, now.since(began), left)
    }

    fn closed(&mut self, now: Time, result: Result<(), Failure>) {
        self.is_closed = result.is_ok();
        let (_, call) = Call::of(self.terms.only_inbound);
        let outcome = CallOutcome { call, attempts: 1, result };
        match &outcome.result {
            Ok(()) => {}
            Err(Failure { is_refusal: true, .. }) => self.warn(outcome.to_string()),
            // An Envoy that ends by itself closes its admin interface, so a failed connection to
            // the admin interface is logged, but is not a warning.
            Err(_) => self.outputs.push(Output::Log(outcome.to_string())),
        }
        self.poll_last(now);
    }

    /// Takes the last sample before the stop. It shows the requests that the stop will cut.
    fn poll_last(&mut self, now: Time) {
        self.closings += 1;
        self.last_poll = Some(now);
        self.ask(Lane::Closing, Ask::Sample, LAST_POLL);
    }

    fn record(&mut self, began: Time, sample: Sample, moment: Moment) {
        if !self.is_over {
            self.outputs.push(Output::Sampled { began, sample, moment });
        }
    }

    /// The moment that the report shows for a poll that begins now.
    fn moment(&self) -> Moment {
        if self.is_closed { Moment::Closed } else { Moment::Meanwhile }
    }

    fn not_closing(&self, requests: u64) -> String {
        let mend = match (self.accepted, self.terms.fail_healthcheck) {
            (Accepted::AtOnce, _) => {
                "is its listener's `drain_type` MODIFY_ONLY? Only listeners with DEFAULT react to \
                 healthcheck/fail"
            }
            (_, true) => "healthcheck/fail, which would close them, has failed",
            (_, false) if self.terms.only_inbound => SLOW_INBOUND,
            (_, false) => "set `fail_healthcheck: true`, which closes them",
        };
        format!("{requests} requests since the drain began, and no connection was closed: {mend}")
    }
}
