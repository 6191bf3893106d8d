//! Repeats calls to the admin until they succeed or their time is over.

use core::fmt;
use core::time::Duration;

use crate::envoy::Call;
use crate::prelude::*;
use crate::types::Time;

/// The time limit of a single call.
pub(crate) const CALL_LIMIT: Duration = Duration::from_millis(500);
/// The time limit for all calls of a group with all of their attempts together.
pub const LIMIT: Duration = Duration::from_secs(2);
/// The first pause between two attempts. Each later pause is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// The longest pause between attempts.
const LONGEST_PAUSE: Duration = Duration::from_millis(250);

/// The reason why a question has no answer, or no usable answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    pub why: String,
    /// Whether the admin has answered with another status than 200.
    pub is_refusal: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallOutcome {
    pub call: Call,
    /// The number of attempts, which is at least 1.
    pub attempts: u32,
    /// The result of the last attempt.
    pub result: Result<(), Failure>,
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
    calls: Vec<(Call, Option<CallOutcome>)>,
    /// The index of the call under way or, between two calls, the index of the next call.
    place: usize,
    deadline: Time,
    pause: Duration,
    /// The time at which the next round begins; `None` while a call is under way.
    resumes: Option<Time>,
}

pub(super) enum Next {
    /// Make this call within this time limit.
    Make(Call, Duration),
    /// Wait until [`Attempts::wakes_at`].
    Wait,
    Over(Vec<CallOutcome>),
}

impl Attempts {
    /// Begins a group of calls, and returns what the caller has to do first.
    pub(super) fn begin(now: Time, calls: &[Call]) -> (Self, Next) {
        let calls = calls.iter().map(|call| (*call, None)).collect();
        let deadline = now + LIMIT;
        let attempts = Self { calls, place: 0, deadline, pause: FIRST_PAUSE, resumes: None };
        let next = attempts.make(now);
        (attempts, next)
    }

    /// The time at which the next round begins; `None` while a call is under way.
    pub(super) fn wakes_at(&self) -> Option<Time> {
        self.resumes
    }

    /// Handles the answer to the call under way.
    pub(super) fn answered(&mut self, now: Time, result: Result<(), Failure>) -> Next {
        if let Some((call, outcome)) = self.calls.get_mut(self.place) {
            let attempts = outcome.as_ref().map_or(0, |outcome| outcome.attempts) + 1;
            *outcome = Some(CallOutcome { call: *call, attempts, result });
        }
        self.place += 1;
        self.proceed(now)
    }

    /// Begins the next round if it is due.
    pub(super) fn resume(&mut self, now: Time) -> Next {
        if self.resumes.is_none_or(|at| now < at) {
            return Next::Wait;
        }
        self.resumes = None;
        self.place = 0;
        self.proceed(now)
    }

    fn proceed(&mut self, now: Time) -> Next {
        let left = self.deadline.since(now);
        let is_due = |(_, outcome): &(Call, Option<CallOutcome>)| {
            outcome.as_ref().is_none_or(|outcome| {
                // A failed call is not repeated if too little time is left. It would only end with
                // a timeout, which would hide the more useful earlier error.
                outcome.result.is_err() && left >= FIRST_PAUSE
            })
        };
        if let Some(due) = self.calls.iter().skip(self.place).position(is_due) {
            self.place += due;
            return self.make(now);
        }
        self.place = self.calls.len();
        if self.pause < left && self.outcomes().any(|outcome| outcome.result.is_err()) {
            self.resumes = Some(now + self.pause);
            self.pause = (self.pause * 2).min(LONGEST_PAUSE);
            return Next::Wait;
        }
        Next::Over(self.outcomes().cloned().collect())
    }

    /// The outcomes of the calls that have made an attempt so far.
    pub(super) fn outcomes(&self) -> impl Iterator<Item = &CallOutcome> {
        self.calls.iter().filter_map(|(_, outcome)| outcome.as_ref())
    }

    fn make(&self, now: Time) -> Next {
        match self.calls.get(self.place) {
            Some((call, _)) => Next::Make(*call, CALL_LIMIT.min(self.deadline.since(now))),
            None => Next::Over(Vec::new()),
        }
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
        let (mut attempts, mut next) = Attempts::begin(now, BOTH);
        loop {
            next = match next {
                Next::Make(call, limit) => {
                    made.push(call);
                    now = now + took.min(limit);
                    let attempt = made.iter().filter(|one| **one == call).count();
                    let why = "connection refused".to_owned();
                    let failure = Failure { why, is_refusal: false };
                    let is_done = is_done(call, u32::try_from(attempt).unwrap_or(u32::MAX));
                    attempts.answered(now, if is_done { Ok(()) } else { Err(failure) })
                }
                Next::Wait => {
                    let due = attempts.wakes_at().unwrap_or(Time::NEVER);
                    assert!(matches!(attempts.resume(Time(due.0 - MS(1))), Next::Wait));
                    // A timer may be late.
                    now = due + MS(made.len() as u64 / 2 % 2);
                    attempts.resume(now)
                }
                Next::Over(outcomes) => {
                    let tries = outcomes.iter().map(|one| one.attempts).collect();
                    let texts = outcomes.iter().map(ToString::to_string).collect();
                    return (texts, tries, now.0);
                }
            };
        }
    }

    const MS: fn(u64) -> Duration = Duration::from_millis;

    #[test]
    fn only_a_failed_call_is_repeated() {
        let (texts, ..) =
            play(MS(1), |call, attempt| call == Call::FailHealthcheck || attempt == 3);
        let expected = [
            "POST /drain_listeners?graceful&skip_exit: done (3 attempts)",
            "POST /healthcheck/fail: done",
        ];
        assert_eq!(texts, expected);
    }

    // holds: S30
    #[test]
    fn refused_calls_are_repeated_for_2_s() {
        let (texts, tries, took) = play(MS(1), |_, _| false);
        assert_eq!(texts[1], "POST /healthcheck/fail: connection refused (10 attempts)");
        assert!(
            tries == [10, 10] && took > LIMIT - LONGEST_PAUSE && took <= LIMIT + MS(1),
            "{took:?}"
        );
    }

    #[test]
    fn a_call_that_hangs_takes_no_time_from_the_other() {
        let (_, tries, took) =
            play(CALL_LIMIT, |call, attempt| call == Call::FailHealthcheck && attempt == 2);
        assert!(tries == [2, 2] && took <= LIMIT, "{tries:?} {took:?}");
    }
}
