//! The dialogue with the admin of an Envoy that is drained. This module is pure: answers, commands
//! and the time go in; questions and reports come out.
//!
//! ```text
//!  drain_listeners?graceful, [healthcheck/fail] ─▶ listeners ─▶ first sample ─▶ [state] ─▶ sample …
//!  late                            healthcheck/fail, once the container is not ready
//!  closing                         drain_listeners, then a last sample
//! ```
//!
//! The admin answers one question at a time, on the thread that also makes the drain begin. An
//! answer of a large or throttled Envoy takes seconds. Therefore the calls come first, and drainit
//! asks no question before the previous one is answered. A question has no time limit: drainit
//! gives up a question only at the end of the drain.
//!
//! Beside the questions, the kernel counts the connections, which costs the Envoy nothing. The
//! count says when a poll (a question for a sample) is worth its cost, and replaces the polls of an
//! Envoy that answers slowly.
//!
//! An admin that accepts no call asks no client to leave, so idle connections would stay. The
//! kernel then counts the connections that owe an answer ([`ConnectionWatch`]), at the ports on
//! which the Envoy listens. If the kernel cannot count them, the Envoy's own counts decide, as far
//! as the admin shows them. A call that succeeds late gives the drain back to the Envoy.

use core::time::Duration;

use crate::connections::answers::Counts;
use crate::connections::watch::{ConnectionWatch, Terms};
use crate::drain::progress::QUIET;
use crate::envoy::Call;
use crate::envoy::attempts::{AskFailure, Attempts, CallOutcome, LIMIT, Next};
use crate::envoy::close_watch::ClosingWatch;
pub use crate::envoy::output::{Ask, DrainOutput};
use crate::envoy::pace::{OFTEN, Pace, SELDOM};
use crate::envoy::sample::Sample;
use crate::event::{Load, Unit};
use crate::prelude::*;
use crate::traffic::{FACTOR, Moment, Traffic, pause_after};
use crate::types::{Time, human};

/// The advice if Envoy closes no connections during a drain of only the inbound listeners.
const SLOW_INBOUND: &str = "start it with `--drain-strategy immediate`, or a --drain-time-s shorter than the drain's `time`";
/// If every response closes its connection, Envoy must have closed at least one connection within
/// this time.
const CLOSING_SEEN: Duration = Duration::from_secs(2);
/// If an answer takes longer than this, two answers do not fit into [`QUIET`]. The Envoy then
/// counts as slow, and the kernel's count replaces its answers.
const SLOW: Duration = Duration::from_millis(QUIET.as_millis() as u64 / 2);

/// The traffic is unknown once a poll has waited for its answer for this time, or for ten times as
/// long as the previous answer took, whichever is longer.
const OVERDUE: Duration = Duration::from_secs(1);

/// The limits and settings of a drain.
#[derive(Clone, Copy, Debug, Default)]
pub struct EnvoyTerms {
    /// The drain cannot be over before this time.
    pub min_until: Time,
    /// The longest wait that the budget has granted.
    pub longest: Duration,
    /// Whether only listeners with `traffic_direction: INBOUND` are drained.
    pub only_inbound: bool,
    /// Whether drainit sends `/healthcheck/fail`, after which each response of Envoy closes its
    /// connection.
    pub fail_healthcheck: bool,
    /// Whether drainit waits for [`Dialogue::unready`] before it fails the health check of Envoy.
    pub stays_ready: bool,
    /// Whether the traffic of some listeners is ignored.
    pub leaves_out: bool,
    /// Whether the drain waits for connections or for requests.
    pub unit: Unit,
    /// The number of open connections, or of requests in flight, at which the drain is over.
    pub exit_at: u64,
}

/// The answer to an [`Ask`] of the same name.
#[derive(Clone, Debug)]
pub enum Answer {
    Listeners(Result<(), AskFailure>),
    Sample(Result<Sample, AskFailure>),
    /// `Some(true)` if this Envoy has never been live; `None` if the answer does not tell.
    State {
        is_unused: Option<bool>,
    },
    Call(Result<(), AskFailure>),
}

/// The kernel's count of connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Look {
    /// The open connections to the Envoy's listeners.
    pub open: u64,
    /// The connections that all programs of the network namespace have accepted so far; `None` if
    /// the kernel does not report the number. The number includes connections to programs other
    /// than the Envoy.
    pub accepted: Option<u64>,
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

/// The next question about the traffic.
#[derive(Clone, Copy, Debug, Default)]
enum Polls {
    Over,
    #[default]
    Listeners,
    First,
    /// The first sample shows no accepted connection, so drainit asks whether Envoy has ever been
    /// live.
    State {
        pause: Duration,
    },
    /// The next poll begins at this time.
    Waits {
        at: Time,
    },
}

/// The next look at the kernel's count.
#[derive(Clone, Copy, Debug, Default)]
enum NextLook {
    /// The kernel cannot count the connections, or it is not known yet which connections count.
    #[default]
    Off,
    Waits {
        at: Time,
    },
    Asked {
        began: Time,
    },
}

/// The steps of closing the listeners.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum ListenerClosing {
    #[default]
    No,
    Call,
    /// The kernel counts the connections that are left. A look that began before this time is
    /// ignored.
    Look(Time),
    /// The Envoy counts the traffic that is left.
    Sample {
        is_whole: bool,
    },
}

/// A question that is not answered yet.
#[derive(Clone, Copy, Debug)]
struct OpenQuestion {
    ask: Ask,
    began: Time,
    moment: Moment,
}

/// The dialogue of one drain.
#[derive(Clone, Debug, Default)]
pub struct Dialogue {
    terms: EnvoyTerms,
    /// Whether drainit still has to wait before it fails the health check of Envoy.
    stays_ready: bool,
    asked: Option<OpenQuestion>,
    /// The calls that begin the drain, until they have succeeded or were given up.
    calls: Option<Attempts>,
    polls: Polls,
    pace: Pace,
    watch: ClosingWatch,
    /// The time that the last answer with counters took.
    whole_took: Option<Duration>,
    /// The time that the last answer with gauges took, with or without counters.
    took: Duration,
    /// Whether the next poll is due at once, before the pause is over.
    is_poll_due: bool,
    /// Whether the last poll has failed or is overdue.
    is_failing: bool,
    looks: NextLook,
    /// [`Look::accepted`] of the last look.
    accepted_total: Option<u64>,
    /// The last new connection came at this time or earlier, as far as the kernel's counts show.
    new_at: Time,
    /// Whether no new connection has come for [`QUIET`], as the kernel shows.
    is_calm: bool,
    /// The totals of the last sample, if this sample and all later looks show no open and no new
    /// connection. Otherwise the totals may be wrong, so this value is empty.
    totals: Traffic,
    /// Whether the last whole sample showed traffic, or the kernel has shown a new connection since.
    /// The report then needs another sample for its totals.
    needs_totals: bool,
    /// The time since which the kernel's count is low enough for the end of the drain.
    low_since: Option<Time>,
    /// Whether a count of the Envoy itself since `low_since` agrees with the kernel's count. The
    /// kernel's count lacks the connections of listeners that are not in the list, such as
    /// listeners that LDS has removed.
    is_confirmed: bool,
    /// The time of the last poll that was due because the kernel's count became low.
    prompted_at: Time,
    /// The last total that is known ([`Load::total`]).
    total: Option<u64>,
    accepted: Accepted,
    /// Whether the outcome of the calls that begin the drain is known.
    is_answered: bool,
    /// Whether the core has got [`DrainOutput::Answered`].
    is_told: bool,
    /// The time at which the kernel begins to count, if Envoy has accepted no call by then.
    witness_at: Time,
    /// The kernel's count of the connections that owe an answer. `None` while Envoy may still
    /// accept the drain in time, and after Envoy has accepted the drain.
    witness: Option<ConnectionWatch>,
    /// Whether [`DrainOutput::Witness`] is not answered yet.
    is_witnessing: bool,
    /// The work that [`Dialogue::close`] has begun. The work ends with
    /// [`DrainOutput::ListenersClosed`].
    closing: ListenerClosing,
    /// Whether Envoy has confirmed that its listeners are closed.
    is_closed: bool,
    /// Whether a count after the drain shows traffic. The core then soon asks for the next count,
    /// but Envoy needs a rest before that count.
    is_open_again: bool,
    /// Whether the drain is over, so that later samples no longer belong to it.
    is_over: bool,
    outputs: Vec<DrainOutput>,
}

impl Dialogue {
    /// Begins the drain.
    pub fn begin(now: Time, terms: EnvoyTerms) -> (Self, Vec<DrainOutput>) {
        let stays_ready = terms.stays_ready && terms.fail_healthcheck;
        let calls = [Call::of(terms.only_inbound).0, Call::FailHealthcheck];
        let fails = terms.fail_healthcheck && !stays_ready;
        // A gradual drain needs more time before it is certain that Envoy closes no connection. When
        // half of the drain's time is over, Envoy should have closed a quarter of the busy
        // connections.
        let gradual = if terms.fail_healthcheck { Duration::ZERO } else { terms.longest / 2 };
        let mut dialogue = Self {
            stays_ready,
            calls: Some(Attempts::new(if fails { &calls } else { &calls[..1] })),
            pace: Pace::new(terms.min_until),
            watch: ClosingWatch::new(CLOSING_SEEN.max(gradual)),
            terms,
            witness_at: now + LIMIT,
            ..Self::default()
        };
        let outputs = dialogue.proceed(now);
        (dialogue, outputs)
    }

    /// The time at which [`tick`](Self::tick) is due.
    pub fn wakes_at(&self) -> Option<Time> {
        let calls = self.calls.as_ref().and_then(Attempts::wakes_at);
        let poll = match self.polls {
            Polls::Waits { at } if !self.is_replaced() => Some(at),
            _ => None,
        };
        let poll = poll.filter(|_| calls.is_none() || self.is_answered);
        let poll = poll.filter(|_| !self.is_witnessed());
        let is_free = self.asked.is_none() && self.closing == ListenerClosing::No && !self.is_over;
        let question = calls.into_iter().chain(poll).min().filter(|_| is_free);
        let look = match self.looks {
            NextLook::Waits { at } if !self.is_over => Some(at),
            _ => None,
        };
        let recount = self.rested_at().filter(|_| self.asked.is_none());
        let witness = match &self.witness {
            Some(watch) => watch.looks_at().filter(|_| !self.is_witnessing),
            None => Some(self.witness_at).filter(|_| self.lacks_acceptance()),
        };
        let looks = look.into_iter().chain(witness);
        question.into_iter().chain(looks).chain(recount).chain(self.overdue_at()).min()
    }

    /// Asks the question that is due, and reports an answer that is overdue.
    pub fn tick(&mut self, now: Time) -> Vec<DrainOutput> {
        if self.overdue_at().is_some_and(|at| at <= now) {
            self.is_unknown(&format!("no answer for {}", human(OVERDUE.max(self.took * 10))));
        }
        self.proceed(now)
    }

    /// Handles the answer to the question under way, or the failure of this question.
    pub fn answered(&mut self, now: Time, answer: Answer) -> Vec<DrainOutput> {
        let Some(asked) = self.asked.take() else { return Vec::new() };
        match (asked.ask, answer) {
            // The kernel counts in place of this Envoy.
            (Ask::Listeners | Ask::Sample { .. } | Ask::State, _)
                if self.is_witnessed() && self.closing == ListenerClosing::No => {}
            (Ask::Call(call), Answer::Call(result)) if call == self.closing_call() => {
                self.closed(now, result);
            }
            (Ask::Call(_), Answer::Call(result)) => {
                if let Some(calls) = &mut self.calls {
                    calls.answered(now, result);
                }
                // A last look is under way for the core, so it is too late for the Envoy's counts.
                let is_late = self.witness.as_ref().is_some_and(ConnectionWatch::was_closed);
                if self.has_accepted() && !is_late && self.witness.take().is_some() {
                    self.outputs.push(DrainOutput::Log("its admin answers after all".to_owned()));
                    self.outputs.push(DrainOutput::Unknown);
                }
            }
            (Ask::Sample { is_whole }, Answer::Sample(sample)) => match self.closing {
                ListenerClosing::Sample { .. } => self.counted(now, asked, is_whole, sample.ok()),
                _ => self.sampled(now, asked, is_whole, sample),
            },
            (Ask::Listeners, Answer::Listeners(listed)) => self.listed(now, listed),
            (Ask::State, Answer::State { is_unused: Some(true) }) => {
                (self.polls, self.looks) = (Polls::Over, NextLook::Off);
                self.record(OpenQuestion { moment: Moment::Start, ..asked }, Sample::NOTHING);
                self.outputs.push(DrainOutput::NothingToDrain);
            }
            (Ask::State, Answer::State { .. }) => {
                if let Polls::State { pause } = self.polls {
                    self.polls = Polls::Waits { at: now + pause };
                }
            }
            _ => {}
        }
        self.proceed(now)
    }

    /// Handles the kernel's count of the connections that owe an answer, or the reason why the kernel
    /// cannot count them. The count began at `began`.
    pub fn witnessed(
        &mut self,
        began: Time,
        now: Time,
        seen: Result<Counts, String>,
    ) -> Vec<DrainOutput> {
        self.is_witnessing = false;
        let was_witnessed = self.is_witnessed();
        let outputs = self.witness.as_mut().map(|watch| watch.looked(began, now, seen));
        for output in outputs.unwrap_or_default() {
            match output {
                DrainOutput::Answered { .. } => self.tell(),
                // The Envoy may know its traffic even if the kernel does not.
                DrainOutput::Unknown if !self.is_witnessed() => {}
                output => self.outputs.push(output),
            }
        }
        if !was_witnessed && self.is_witnessed() {
            self.looks = NextLook::Off;
        }
        self.proceed(now)
    }

    /// Handles the kernel's count; `None` if the kernel cannot count the connections.
    pub fn looked(&mut self, now: Time, look: Option<Look>) -> Vec<DrainOutput> {
        let NextLook::Asked { began } = self.looks else { return Vec::new() };
        let (open, accepted) = (look.map(|look| look.open), look.and_then(|look| look.accepted));
        let is_low = open.is_some_and(|open| match self.terms.unit {
            Unit::Connections => open <= self.terms.exit_at,
            // The kernel does not count requests, but without a connection there is no request.
            Unit::Requests => open == 0,
        });
        self.looks = match open {
            Some(_) => {
                let least = if self.pace.is_early(now) { SELDOM } else { OFTEN * 2 };
                NextLook::Waits { at: now + pause_after(now.since(began), least, FACTOR) }
            }
            None => NextLook::Off,
        };
        let was_low = self.low_since.is_some();
        let before = core::mem::replace(&mut self.accepted_total, accepted);
        let is_new = before.is_none() || before != accepted;
        if is_new {
            // From the beginning of the first look on, the kernel shows each new connection.
            self.new_at = if before.is_none() && accepted.is_some() { began } else { now };
        }
        if is_new || open != Some(0) {
            self.totals = Traffic::default();
        }
        self.needs_totals |= is_new;
        self.is_calm = now.since(self.new_at) >= QUIET;
        self.low_since = is_low.then(|| self.low_since.unwrap_or(now));
        self.is_confirmed &= is_low;
        let replaces = self.replaces(now);
        // At the end of the drain, the Envoy's own count may come too late for the report, so the
        // kernel's count is reported.
        let is_last =
            matches!(self.closing, ListenerClosing::Call | ListenerClosing::Sample { .. })
                && self.is_slow(now)
                && self.terms.unit == Unit::Connections;
        match (open, self.closing) {
            (Some(_), ListenerClosing::Look(since)) if began < since => {}
            (Some(open), ListenerClosing::Look(_)) if is_low => {
                self.count(began, open, Moment::Closed);
                self.end_closing();
            }
            (Some(open), ListenerClosing::Look(_)) if self.terms.unit == Unit::Connections => {
                self.count(began, open, self.moment());
                self.closing = self.last_sample();
            }
            (_, ListenerClosing::Look(_)) => self.closing = self.last_sample(),
            (Some(open), _) if is_low && replaces || !is_low && is_last => {
                self.count(began, open, self.moment());
            }
            (Some(_), _) if was_low && !is_low => self.outputs.push(DrainOutput::Unknown),
            // The last sample may have shown quiet, and the Envoy answers too slowly to show the
            // new connection before `min` is over. The drain must not end before the next sample.
            (Some(_), _) if is_new && self.is_slow(now) && now < self.terms.min_until => {
                self.outputs.push(DrainOutput::Unknown);
            }
            // The kernel's count has become low, so a poll is due at once. Connections that come
            // and go must not cause such polls all the time.
            _ if is_low
                && !self.pace.is_early(now)
                && Some(self.prompted_at) < self.low_since
                && self.pace.may_hurry(now, self.may_be_calm()) =>
            {
                (self.is_poll_due, self.prompted_at) = (true, now);
            }
            _ => {}
        }
        self.proceed(now)
    }

    /// Call this when the container is not ready any more. If Envoy's health check had to stay good
    /// until now (`stays_ready`), drainit fails the health check.
    pub fn unready(&mut self, now: Time) -> Vec<DrainOutput> {
        if core::mem::take(&mut self.stays_ready) && !self.is_over {
            match &mut self.calls {
                Some(calls) => calls.add(Call::FailHealthcheck),
                None => self.calls = Some(Attempts::new(&[Call::FailHealthcheck])),
            }
        }
        self.proceed(now)
    }

    /// Closes the listeners if they are open, and takes a last sample. Reports
    /// [`DrainOutput::ListenersClosed`] in any case.
    pub fn close(&mut self, now: Time) -> Vec<DrainOutput> {
        if let Some(watch) = self.witness.as_mut().filter(|watch| watch.has_counts()) {
            watch.close(now);
            return self.proceed(now);
        }
        // An admin that has answered no call will not answer this one, either.
        if self.asked.is_some() && !self.has_accepted() {
            self.outputs.push(DrainOutput::ListenersClosed);
            return self.proceed(now);
        }
        // After `drainit drain`, the drain can be over long before this closing. The last sample is
        // still reported for this drain.
        self.is_over = false;
        // If a closing is already under way, its [`DrainOutput::ListenersClosed`] also answers this
        // request.
        if self.closing == ListenerClosing::No {
            // An Envoy that does not answer a question would not answer this call, either.
            let hangs = self.is_failing && self.asked.is_some();
            let counts = self.is_closed || hangs && self.low_since.is_some();
            self.closing = if counts { self.last_count(now) } else { ListenerClosing::Call };
            if self.is_slow(now)
                && let NextLook::Waits { at } = &mut self.looks
            {
                *at = now;
            }
        }
        self.proceed(now)
    }

    /// Ends the drain, but not the work that [`Self::close`] has begun. Later answers that do not
    /// belong to this work are ignored. Warns of each call that is still being repeated, and of an
    /// admin that has not answered any call.
    pub fn end(&mut self, now: Time) -> Vec<DrainOutput> {
        self.polls = Polls::Over;
        self.is_open_again = false;
        let calls = self.calls.take();
        if let Some(watch) = &mut self.witness {
            watch.end();
        }
        if !core::mem::replace(&mut self.is_over, true) {
            let outcomes: Vec<_> = calls.iter().flat_map(Attempts::outcomes).cloned().collect();
            if self.accepted == Accepted::NotYet && outcomes.is_empty() {
                self.warn("its admin had not answered when the drain was over");
            }
            self.record_outcomes(outcomes);
            if self.is_witnessed() {
                self.warn("its admin did not drain it, so the kernel counted its requests");
            }
        }
        let is_of_closing = |ask| match ask {
            Ask::Call(call) => call == self.closing_call(),
            Ask::Sample { .. } => matches!(self.closing, ListenerClosing::Sample { .. }),
            Ask::Listeners | Ask::State => false,
        };
        self.asked = self.asked.filter(|asked| is_of_closing(asked.ask));
        self.proceed(now)
    }

    /// Whether a question is not answered yet.
    pub fn is_asking(&self) -> bool {
        self.asked.is_some()
    }

    /// Asks the next question if every earlier question is answered. Returns all outputs so far.
    fn proceed(&mut self, now: Time) -> Vec<DrainOutput> {
        if self.witness.is_none() && self.lacks_acceptance() && self.witness_at <= now {
            let line = format!(
                "its admin has not begun to drain it within {}, so the kernel counts its requests",
                human(LIMIT)
            );
            self.outputs.push(DrainOutput::Log(line));
            let EnvoyTerms { min_until, exit_at, .. } = self.terms;
            let terms = Terms { min_until, unit: Unit::Requests, exit_at, is_asked: false };
            self.witness = Some(ConnectionWatch::new(terms));
        }
        if self.asked.is_none()
            && let Some(ask) = self.due(now)
        {
            let is_first =
                matches!((self.polls, self.closing), (Polls::First, ListenerClosing::No));
            let moment = if is_first { Moment::Start } else { self.moment() };
            self.asked = Some(OpenQuestion { ask, began: now, moment });
            self.outputs.push(DrainOutput::Ask(ask));
        }
        if let NextLook::Waits { at } = self.looks
            && (at <= now && !self.is_over || matches!(self.closing, ListenerClosing::Look(_)))
        {
            self.looks = NextLook::Asked { began: now };
            self.outputs.push(DrainOutput::Look);
        }
        let witness_at = self.witness.as_ref().and_then(ConnectionWatch::looks_at);
        if witness_at.is_some_and(|at| at <= now) && !self.is_witnessing {
            self.is_witnessing = true;
            self.outputs.push(DrainOutput::Witness);
        }
        core::mem::take(&mut self.outputs)
    }

    /// The question to ask now.
    fn due(&mut self, now: Time) -> Option<Ask> {
        match self.closing {
            ListenerClosing::Call => return Some(Ask::Call(self.closing_call())),
            ListenerClosing::Sample { is_whole } => {
                let is_due = core::mem::take(&mut self.is_poll_due)
                    || self.rested_at().is_none_or(|at| at <= now);
                return is_due.then_some(Ask::Sample { is_whole });
            }
            ListenerClosing::Look(_) => return None,
            ListenerClosing::No if self.is_over => return None,
            ListenerClosing::No => {}
        }
        match self.calls.as_mut().map(|calls| calls.next(now)) {
            Some(Next::Make(call)) => return Some(Ask::Call(call)),
            Some(Next::Wait) if !self.is_answered => return None,
            Some(Next::Over(outcomes)) => {
                self.calls = None;
                self.record_outcomes(outcomes);
                self.answer();
                // The watch for closed connections begins with the next poll, so this poll is due
                // at once.
                self.is_poll_due = true;
            }
            Some(Next::Wait) | None => {}
        }
        if self.is_witnessed() {
            return None;
        }
        match self.polls {
            Polls::Listeners => Some(Ask::Listeners),
            Polls::First => Some(Ask::Sample { is_whole: true }),
            Polls::State { .. } => Some(Ask::State),
            Polls::Waits { .. } if self.is_replaced() => None,
            Polls::Waits { at } if core::mem::take(&mut self.is_poll_due) || at <= now => {
                let is_watched = self.is_accepted() && self.watch.is_due(now);
                let is_last = self.pace.shows_nothing()
                    || self.low_since.is_some() && self.affords_counters();
                let is_whole = !self.is_large() || is_last || is_watched;
                Some(Ask::Sample { is_whole })
            }
            Polls::Waits { .. } | Polls::Over => None,
        }
    }

    /// Whether the counters of this Envoy take long, so that drainit asks for them only when they
    /// can show the end of the drain. One late answer proves nothing, because a busy machine can be
    /// the cause. The gauges are at least a fifth of the work, so an Envoy whose gauges come
    /// quickly is not large.
    fn is_large(&self) -> bool {
        self.whole_took.is_some_and(|took| took > SLOW) && self.took * 5 > SLOW
    }

    /// Whether the counters come soon. If so, drainit asks for them even if only the report needs
    /// them.
    fn affords_counters(&self) -> bool {
        self.whole_took.is_some_and(|took| took <= OVERDUE)
    }

    /// The time of the next count, if a count after the drain has shown traffic. The next count
    /// comes earlier if the kernel's count becomes low.
    fn rested_at(&self) -> Option<Time> {
        let is_wanted =
            self.is_open_again && matches!(self.closing, ListenerClosing::Sample { .. });
        is_wanted.then(|| self.pace.rested_at())
    }

    /// The time at which the answer to a poll is overdue, so that the traffic is unknown. `None` if
    /// no poll waits for its answer, if the traffic is already unknown, if the listeners are being
    /// closed, or if the drain is over.
    fn overdue_at(&self) -> Option<Time> {
        let asked = self.asked.filter(|asked| matches!(asked.ask, Ask::Sample { .. }))?;
        let is_noted = self.is_failing || self.is_over || self.is_witnessed();
        let is_noted = is_noted || self.closing != ListenerClosing::No;
        (!is_noted).then(|| asked.began + OVERDUE.max(self.took * 10))
    }

    /// Whether no new connection has come for [`QUIET`], as far as the kernel shows.
    fn may_be_calm(&self) -> bool {
        self.is_calm || matches!(self.looks, NextLook::Off) || self.accepted_total.is_none()
    }

    /// Whether the answers of this Envoy come too late to show the present.
    fn answers_late(&self) -> bool {
        self.is_failing || self.took > SLOW
    }

    /// Whether the answers of this Envoy come too late, or the awaited answer is already too late.
    fn is_slow(&self, now: Time) -> bool {
        self.answers_late() || self.asked.is_some_and(|asked| now.since(asked.began) > SLOW)
    }

    /// Whether no poll is needed, because the kernel's count shows that the drain can end.
    fn is_replaced(&self) -> bool {
        let is_calm = self.is_calm && !matches!(self.looks, NextLook::Off);
        let lacks_totals = self.needs_totals && self.affords_counters();
        self.is_confirmed && is_calm && self.answers_late() && !lacks_totals
    }

    /// Whether the dialogue reports the kernel's count in place of a poll.
    fn replaces(&self, now: Time) -> bool {
        self.is_calm && self.is_slow(now) && (self.is_confirmed || self.is_failing)
    }

    /// The call that closes the listeners.
    fn closing_call(&self) -> Call {
        Call::of(self.terms.only_inbound).1
    }

    /// The step that counts what is left after the closing.
    fn last_count(&self, now: Time) -> ListenerClosing {
        match self.looks {
            NextLook::Waits { .. } | NextLook::Asked { .. } if self.answers_late() => {
                ListenerClosing::Look(now)
            }
            _ => self.last_sample(),
        }
    }

    fn last_sample(&self) -> ListenerClosing {
        ListenerClosing::Sample { is_whole: !self.is_large() }
    }

    /// The moment that the report shows for a count that begins now.
    fn moment(&self) -> Moment {
        if self.is_closed { Moment::Closed } else { Moment::Meanwhile }
    }

    fn warn(&mut self, what: impl Into<String>) {
        self.outputs.push(DrainOutput::Warn(what.into()));
    }

    fn listed(&mut self, now: Time, listed: Result<(), AskFailure>) {
        match listed {
            Ok(()) => self.looks = NextLook::Waits { at: now },
            // Without the list, drainit does not ask the kernel. The counts of the Envoy are right
            // all the same, because no listener is left out.
            Err(_) if !self.terms.leaves_out => {}
            Err(AskFailure { why, .. }) => self.warn(format!(
                "its admin did not list its listeners, so those that `direction` or \
                 `ignore_listeners` leave out are counted, too: {why}"
            )),
        }
        self.polls = Polls::First;
    }

    /// Handles the answer to a poll.
    fn sampled(
        &mut self,
        now: Time,
        asked: OpenQuestion,
        is_whole: bool,
        sample: Result<Sample, AskFailure>,
    ) {
        let took = now.since(asked.began);
        let is_first = matches!(self.polls, Polls::First);
        let sample = match sample {
            Ok(sample) => sample,
            Err(AskFailure { why, .. }) => {
                self.is_unknown(&why);
                self.polls = Polls::Waits { at: now + self.pace.after_failure(took) };
                return;
            }
        };
        self.is_failing = false;
        self.took = took;
        let active = sample.load(self.terms.unit).active;
        let left = active.map(|active| active.saturating_sub(self.terms.exit_at));
        if is_whole {
            self.whole_took = Some(took);
            self.needs_totals = self.new_at > asked.began || left != Some(0);
        }
        let pause = self.pace.after_answer(now, took, left, is_whole, self.may_be_calm());
        self.is_confirmed =
            left == Some(0) && self.low_since.is_some_and(|since| since <= asked.began);
        self.polls = if is_first && sample.has_accepted_none() {
            Polls::State { pause }
        } else {
            Polls::Waits { at: now + pause }
        };
        self.totals = Traffic::default();
        if self.is_confirmed && sample.active == Some(0) && self.new_at <= asked.began {
            let Traffic { accepted, completed, upgrades, .. } = sample.traffic();
            self.totals = Traffic { accepted, completed, upgrades, ..self.totals };
        }
        self.record(asked, sample);
        // While `stays_ready` is set, Envoy closes few connections. The check for closed
        // connections therefore begins later.
        if self.is_accepted()
            && !self.stays_ready
            && let Some(requests) = self.watch.check(now, &sample)
        {
            self.warn(self.not_closing(requests));
        }
    }

    /// Reports that the traffic is unknown. Until the next answer, the log says so only once.
    fn is_unknown(&mut self, why: &str) {
        if !core::mem::replace(&mut self.is_failing, true) {
            let line = format!("GET /stats: {why}; its connections are unknown");
            self.outputs.push(DrainOutput::Log(line));
        }
        self.outputs.push(DrainOutput::Unknown);
    }

    /// Remembers what the calls have achieved, and warns of failed calls.
    fn record_outcomes(&mut self, outcomes: Vec<CallOutcome>) {
        let mut accepted = if outcomes.is_empty() { Accepted::NotYet } else { Accepted::Nothing };
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

    /// Whether a call that begins the drain has succeeded. Another call may still be under way.
    fn has_accepted(&self) -> bool {
        let mut outcomes = self.calls.iter().flat_map(Attempts::outcomes);
        self.is_accepted() || outcomes.any(|outcome| outcome.result.is_ok())
    }

    /// Whether Envoy has not accepted a drain that is under way.
    fn lacks_acceptance(&self) -> bool {
        !self.has_accepted() && !self.is_over
    }

    /// Whether the kernel's count of requests decides about the drain.
    fn is_witnessed(&self) -> bool {
        self.witness.as_ref().is_some_and(ConnectionWatch::has_counts)
    }

    /// Handles the outcome of the calls. Success is certain once one call has succeeded. Failure is
    /// certain only once all calls have failed, and `healthcheck/fail` may be called later than the
    /// others.
    fn answer(&mut self) {
        let accepted = self.is_accepted();
        self.is_answered |= accepted || !self.stays_ready;
        if accepted {
            self.tell();
        }
    }

    /// Tells the core, once, that counts can end the drain.
    fn tell(&mut self) {
        if !core::mem::replace(&mut self.is_told, true) {
            self.outputs.push(DrainOutput::Answered { accepted: true });
        }
    }

    fn closed(&mut self, now: Time, result: Result<(), AskFailure>) {
        self.is_closed = result.is_ok();
        let call = self.closing_call();
        let outcome = CallOutcome { call, attempts: 1, result };
        match &outcome.result {
            Ok(()) => {}
            Err(AskFailure { is_refusal: true, .. }) => self.warn(outcome.to_string()),
            // An Envoy that ends by itself closes its admin interface, so a failed connection to
            // the admin interface is logged, but is not a warning.
            Err(_) => self.outputs.push(DrainOutput::Log(outcome.to_string())),
        }
        self.closing = self.last_count(now);
    }

    /// Handles the answer to a request of the final count, after the listeners are closed. drainit
    /// first asks a large Envoy only for the gauges, because an answer with the counters may come
    /// too late.
    fn counted(&mut self, now: Time, asked: OpenQuestion, is_whole: bool, sample: Option<Sample>) {
        let is_drain = !matches!(self.polls, Polls::Over);
        let is_more = sample.is_some() && !is_whole && is_drain && self.affords_counters();
        if let Some(sample) = sample {
            self.pace.count(now, now.since(asked.began));
            let active = sample.load(self.terms.unit).active;
            let is_open = active.is_some_and(|active| active > self.terms.exit_at);
            self.is_open_again = is_open && !is_drain;
            self.record(asked, sample);
        }
        match is_more {
            true => self.closing = ListenerClosing::Sample { is_whole: true },
            false => self.end_closing(),
        }
    }

    fn end_closing(&mut self) {
        self.closing = ListenerClosing::No;
        self.outputs.push(DrainOutput::ListenersClosed);
        // A connection may have been accepted just before the closing. The next poll of a drain
        // shows this connection to the core.
        self.is_poll_due = !matches!(self.polls, Polls::Over);
    }

    fn record(&mut self, asked: OpenQuestion, sample: Sample) {
        let load = sample.load(self.terms.unit);
        self.total = load.total.or(self.total);
        let (began, traffic, moment) = (asked.began, sample.traffic(), asked.moment);
        self.report(began, load, traffic, moment);
    }

    /// Reports a count of the kernel.
    fn count(&mut self, began: Time, open: u64, moment: Moment) {
        let active = match self.terms.unit {
            Unit::Connections => open,
            Unit::Requests => 0,
        };
        // While the kernel's count replaces the polls, it also shows that no new connection has
        // come. Therefore the total has not changed.
        let total = Some(self.total.unwrap_or_default());
        let load = Load { unit: self.terms.unit, active: Some(active), total, ..Load::default() };
        let requests = (open == 0).then_some(0);
        let traffic = Traffic { connections: Some(open), requests, ..self.totals };
        self.report(began, load, traffic, moment);
    }

    fn report(&mut self, began: Time, load: Load, traffic: Traffic, moment: Moment) {
        if !self.is_over {
            self.outputs.push(DrainOutput::Sampled { began, load, traffic, moment });
        }
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
