//! Repeats calls to the admin until they succeed or have failed for too long.

use core::fmt;
use core::time::Duration;

use crate::envoy::Call;
use crate::prelude::*;
use crate::types::Time;

/// A call is given up this long after it has failed for the first time. A call that still waits for
/// its answer has not failed, so drainit does not give up a call only because the admin is slow.
pub const LIMIT: Duration = Duration::from_secs(2);
/// The first pause between two rounds of attempts. Each later pause is twice as long as the
/// previous one, up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// The longest pause between two rounds of attempts.
const LONGEST_PAUSE: Duration = Duration::from_millis(250);

/// The reason why a question has no usable answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AskFailure {
    pub why: String,
    /// Whether the admin has answered with a status other than 200.
    pub is_refusal: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallOutcome {
    pub call: Call,
    /// The number of attempts, which is at least 1.
    pub attempts: u32,
    /// The result of the last attempt.
    pub result: Result<(), AskFailure>,
}

/// Writes text such as `POST /healthcheck/fail: answered 403 Forbidden (5 attempts)`.
impl fmt::Display for CallOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.call)?;
        match &self.result {
            Ok(()) => f.write_str("done")?,
            Err(failure) => f.write_str(&failure.why)?,
        }
        if self.attempts > 1 {
            write!(f, " ({} attempts)", self.attempts)?;
        }
        Ok(())
    }
}

/// A group of calls to the admin. The calls take turns, so that a call which always fails takes no
/// time from the other calls.
#[derive(Clone, Debug)]
pub(super) struct Attempts {
    calls: Vec<Made>,
    /// The index of the call under way or, between two calls, the index of the next call.
    place: usize,
    pause: Duration,
    /// The time at which the next round begins; `None` during a round.
    resumes: Option<Time>,
}

/// A call, and its outcome so far.
#[derive(Clone, Debug)]
struct Made {
    call: Call,
    outcome: Option<CallOutcome>,
    /// The time at which drainit gives up the call; `None` while the call has not failed.
    deadline: Option<Time>,
}

impl Made {
    fn new(call: Call) -> Self {
        Self { call, outcome: None, deadline: None }
    }

    /// Whether an attempt may begin at `at`.
    fn is_due(&self, at: Time) -> bool {
        let is_done = self.outcome.as_ref().is_some_and(|outcome| outcome.result.is_ok());
        !is_done && self.deadline.is_none_or(|deadline| at < deadline)
    }
}

/// The next step of a group of calls.
pub(super) enum Next {
    Make(Call),
    /// Wait until [`Attempts::wakes_at`].
    Wait,
    Over(Vec<CallOutcome>),
}

impl Attempts {
    pub(super) fn new(calls: &[Call]) -> Self {
        let calls = calls.iter().map(|call| Made::new(*call)).collect();
        Self { calls, place: 0, pause: FIRST_PAUSE, resumes: None }
    }

    /// Adds a call to the group. The new call is made at the end of the current round, or at once
    /// if no round is under way.
    pub(super) fn add(&mut self, call: Call) {
        if self.resumes.take().is_some() {
            self.place = self.calls.len();
        }
        self.calls.push(Made::new(call));
    }

    /// The time at which the next round begins; `None` during a round.
    pub(super) fn wakes_at(&self) -> Option<Time> {
        self.resumes
    }

    /// Handles the answer to the call under way.
    pub(super) fn answered(&mut self, now: Time, result: Result<(), AskFailure>) {
        if let Some(made) = self.calls.get_mut(self.place) {
            if result.is_err() {
                made.deadline.get_or_insert(now + LIMIT);
            }
            let attempts = made.outcome.as_ref().map_or(0, |outcome| outcome.attempts) + 1;
            made.outcome = Some(CallOutcome { call: made.call, attempts, result });
        }
        self.place += 1;
    }

    /// Returns what to do now. To be called only when no call is under way.
    pub(super) fn next(&mut self, now: Time) -> Next {
        if let Some(at) = self.resumes {
            if now < at {
                return Next::Wait;
            }
            (self.resumes, self.place) = (None, 0);
        }
        if let Some(due) = self.calls.iter().skip(self.place).position(|made| made.is_due(now)) {
            self.place += due;
            return Next::Make(self.calls[self.place].call);
        }
        self.place = self.calls.len();
        let resumes = now + self.pause;
        if self.calls.iter().any(|made| made.is_due(resumes)) {
            self.resumes = Some(resumes);
            self.pause = (self.pause * 2).min(LONGEST_PAUSE);
            return Next::Wait;
        }
        Next::Over(self.outcomes().cloned().collect())
    }

    /// The outcomes of the calls that were attempted at least once.
    pub(super) fn outcomes(&self) -> impl Iterator<Item = &CallOutcome> {
        self.calls.iter().filter_map(|made| made.outcome.as_ref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOTH: &[Call] = &[Call::DrainListeners, Call::FailHealthcheck];

    /// Makes the calls with an admin that takes `took` to answer each attempt. Returns the outcomes
    /// as text, the number of attempts of each call, and the time that all attempts took.
    fn play(
        took: Duration,
        is_done: impl Fn(Call, u32) -> bool,
    ) -> (Vec<String>, Vec<u32>, Duration) {
        let (mut now, mut made) = (Time::default(), Vec::new());
        let mut attempts = Attempts::new(BOTH);
        loop {
            match attempts.next(now) {
                Next::Make(call) => {
                    made.push(call);
                    now = now + took;
                    let attempt = made.iter().filter(|one| **one == call).count();
                    let why = "connection refused".to_owned();
                    let failure = AskFailure { why, is_refusal: false };
                    let is_done = is_done(call, u32::try_from(attempt).unwrap_or(u32::MAX));
                    attempts.answered(now, if is_done { Ok(()) } else { Err(failure) });
                }
                Next::Wait => {
                    let due = attempts.wakes_at().unwrap_or(Time::NEVER);
                    assert!(matches!(attempts.next(Time(due.0 - MS(1))), Next::Wait));
                    // A timer may be late.
                    now = due + MS(made.len() as u64 / 2 % 2);
                }
                Next::Over(outcomes) => {
                    let tries = outcomes.iter().map(|one| one.attempts).collect();
                    let texts = outcomes.iter().map(ToString::to_string).collect();
                    return (texts, tries, now.0);
                }
            }
        }
    }

    const MS: fn(u64) -> Duration = Duration::from_millis;

    #[test]
    fn only_a_failed_call_is_repeated() {
        let (texts, ..) = play(MS(1), |call, tries| call == Call::FailHealthcheck || tries == 3);
        assert_eq!(texts[0], "POST /drain_listeners?graceful&skip_exit: done (3 attempts)");
        assert_eq!(texts[1], "POST /healthcheck/fail: done");
    }

    // holds: S30
    #[test]
    fn refused_calls_are_repeated_for_2_s() {
        let (texts, tries, took) = play(MS(1), |_, _| false);
        assert_eq!(texts[1], "POST /healthcheck/fail: connection refused (10 attempts)");
        assert_eq!(tries, [10, 10]);
        assert!(took > LIMIT - LONGEST_PAUSE && took <= LIMIT + MS(1), "{took:?}");
    }

    // holds: S275
    #[test]
    fn a_later_call_has_2_s_as_well() {
        let refused = || Err(AskFailure { why: "answered 503".to_owned(), is_refusal: true });
        let mut attempts = Attempts::new(&BOTH[..1]);
        let mut last = [0; 2];
        for millis in 0..5000 {
            if millis == 1500 {
                attempts.add(BOTH[1]);
            }
            let now = Time(MS(millis));
            if let Next::Make(call) = attempts.next(now) {
                last[usize::from(call == BOTH[1])] = millis;
                attempts.answered(now, refused());
            }
        }
        let [first, second] = last;
        assert!((1750..2000).contains(&first) && (3250..3500).contains(&second), "{last:?}");
    }

    #[test]
    fn a_slow_call_is_not_given_up() {
        let (_, tries, took) = play(MS(5000), |_, _| true);
        assert!(tries == [1, 1] && took == MS(10_000), "{tries:?} {took:?}");
        let (_, tries, took) = play(MS(5000), |call, _| call == Call::FailHealthcheck);
        assert!(tries == [1, 1] && took == MS(10_000), "{tries:?} {took:?}");
    }

    #[test]
    fn a_call_that_is_added_in_a_pause_is_made_at_once_each_time() {
        let call = Call::FailHealthcheck;
        let at = |millis| Time(Duration::from_millis(millis));
        let mut attempts = Attempts::new(&[call]);
        assert!(matches!(attempts.next(at(0)), Next::Make(made) if made == call));
        for millis in [1, 2, 3] {
            let failure = AskFailure { why: "answered 503".to_owned(), is_refusal: true };
            attempts.answered(at(millis), Err(failure));
            assert!(matches!(attempts.next(at(millis)), Next::Wait), "{millis}");
            attempts.add(call);
            assert_eq!(attempts.wakes_at(), None, "{millis}");
            assert!(matches!(attempts.next(at(millis)), Next::Make(_)), "{millis}");
        }
    }
}
