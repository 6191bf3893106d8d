//! The pauses between polls of the statistics of a draining Envoy. Each answer costs Envoy time for
//! each of its statistics. Polls are therefore rare while the drain cannot be over, and never cost
//! more than a few per cent of a core. This module is pure.

use core::time::Duration;

use crate::drain::progress::QUIET;
use crate::types::Time;

/// The shortest pause once the drain can be over, except before a poll without a rest (see
/// [`HURRIED`]).
pub(crate) const OFTEN: Duration = Duration::from_millis(25);
/// The shortest pause while it is too early for the drain to end.
pub(crate) const SELDOM: Duration = Duration::from_millis(250);
/// A pause is at least this many times as long as the last answer took, so polls cost any Envoy at
/// most 3 % of a core. Polls without a rest are an exception (see [`HURRIED`]).
const FACTOR: u32 = 33;
/// The pause after the first answer with counters that shows no traffic. A second answer of this
/// kind then has to confirm that nothing is open and nothing new has come.
const CONFIRM: Duration = QUIET.saturating_add(Duration::from_millis(5));
/// After this many answers without a rest between them, Envoy gets a rest. drainit polls without a
/// rest only if the polls may show the end of the drain. Two polls have to show quiet, and up to
/// two other polls may come before these two.
const HURRIED: u32 = 4;
/// If two polls have shown quiet before the end of `min`, the drain can end as soon as `min` is
/// over. At least this much time is kept for the answers to the two polls; an Envoy that answers
/// slowly gets more.
const SPARE: Duration = Duration::from_millis(20);

/// The pauses of one drain.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pace {
    /// The drain cannot be over before this time.
    min_until: Time,
    shown: ShownTraffic,
    /// The longest time that an answer has taken.
    slowest: Duration,
    /// The work (the time that answers took) from which Envoy had not yet rested at
    /// [`Self::answered_at`].
    debt: Duration,
    answered_at: Time,
    /// The number of consecutive polls without an answer.
    failures: u32,
}

/// The traffic that the last answer has shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
enum ShownTraffic {
    #[default]
    Traffic,
    /// No gauge shows traffic.
    Nothing,
    /// No gauge shows traffic, and the answer has the counters. A second answer like this one can
    /// show that nothing new has come.
    NothingNew,
}

impl Pace {
    pub(crate) fn new(min_until: Time) -> Self {
        Self { min_until, ..Self::default() }
    }

    /// Whether it is too early for the two polls that have to show quiet when `min` is over.
    pub(crate) fn is_early(&self, now: Time) -> bool {
        !self.until_due(now).is_zero()
    }

    /// Whether the last answer has shown no traffic, so that the next answer needs the counters.
    pub(crate) fn shows_nothing(&self) -> bool {
        self.shown > ShownTraffic::Traffic
    }

    /// Whether a poll may follow without a rest: the work from which Envoy still has to rest is at
    /// most the work of [`HURRIED`] answers. If the kernel shows new connections (`is_calm` is
    /// false), the limit is the work of one answer. Connections that come and go all the time must
    /// not cause more polls than usual.
    pub(crate) fn may_hurry(&self, now: Time, is_calm: bool) -> bool {
        self.debt(now) <= self.slowest * if is_calm { HURRIED } else { 1 }
    }

    fn debt(&self, now: Time) -> Duration {
        self.debt.saturating_sub(now.since(self.answered_at) / (FACTOR + 1))
    }

    /// The time at which Envoy has recovered from all answers.
    pub(crate) fn rested_at(&self) -> Time {
        self.answered_at + self.debt * (FACTOR + 1)
    }

    /// Adds the work of an answer that took `took`.
    pub(crate) fn count(&mut self, now: Time, took: Duration) {
        self.slowest = self.slowest.max(took);
        self.debt = self.debt(now) + took;
        self.answered_at = now;
    }

    fn until_due(&self, now: Time) -> Duration {
        let lead = CONFIRM + SPARE.max(self.slowest * 2);
        self.min_until.since(now).saturating_sub(lead)
    }

    /// The pause after an answer that took `took`. `active` is the number of connections or
    /// requests above `exit_at`. `is_whole` says whether the answer also has the counters.
    pub(crate) fn after_answer(
        &mut self,
        now: Time,
        took: Duration,
        active: Option<u64>,
        is_whole: bool,
        is_calm: bool,
    ) -> Duration {
        self.failures = 0;
        self.count(now, took);
        let rest = took * FACTOR;
        let early = self.until_due(now);
        if !early.is_zero() {
            self.shown = ShownTraffic::Traffic;
            // Nothing can end the drain yet, so half as many polls are enough.
            return SELDOM.max(rest * 2).min(early);
        }
        let before = self.shown;
        self.shown = match active {
            Some(0) if is_whole => ShownTraffic::NothingNew,
            Some(0) => ShownTraffic::Nothing,
            _ => ShownTraffic::Traffic,
        };
        // If several answers in a row show no traffic, drainit polls without a rest after only two
        // of them. These are the first answer, and the first answer with counters.
        match self.shown {
            _ if !self.may_hurry(now, is_calm) => OFTEN.max(rest),
            ShownTraffic::Nothing if before == ShownTraffic::Traffic => Duration::ZERO,
            ShownTraffic::NothingNew if before < ShownTraffic::NothingNew => CONFIRM,
            _ => OFTEN.max(rest),
        }
    }

    /// The pause after a poll that failed after `took`. The pause grows with the number of
    /// consecutive failures, up to [`FACTOR`] times `took` or 16 s, whichever is shorter. The pause
    /// is at least [`SELDOM`].
    pub(crate) fn after_failure(&mut self, took: Duration) -> Duration {
        self.shown = ShownTraffic::Traffic;
        let patience = SELDOM * (1 << self.failures.min(6));
        self.failures += 1;
        SELDOM.max(patience.min(took * FACTOR))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    /// Polls an Envoy that answers after `took`. Returns the times of the polls, and the part of
    /// the time that Envoy spends on answers.
    fn polls(min: u64, end: u64, took: u64, active: impl Fn(u64) -> u64) -> (Vec<u64>, f64) {
        let mut pace = Pace::new(Time(ms(min)));
        let (mut now, mut asked) = (0, Vec::new());
        while now < end {
            asked.push(now);
            now += took;
            let pause = pace.after_answer(Time(ms(now)), ms(took), Some(active(now)), true, true);
            now += u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
        }
        let works = ms(took) * u32::try_from(asked.len()).unwrap_or(u32::MAX);
        (asked, works.as_secs_f64() / ms(now).as_secs_f64())
    }

    // holds: S31, S32
    #[test]
    fn polls_are_rare_before_the_end_of_min_and_cheap_for_any_size() {
        for (took, most) in [(1, 0.01), (3, 0.02), (20, 0.05), (60, 0.06), (250, 0.10)] {
            let (asked, part) = polls(15_000, 15_000, took, |_| 3);
            assert!(part <= most, "{took} ms: {part}, {asked:?}");
            let early = asked.iter().filter(|at| **at < 14_000);
            assert!(early.count() <= 60, "{took} ms: {asked:?}");
        }
        // After `min` a small Envoy is polled as often as is useful.
        let (asked, part) = polls(0, 1000, 1, |_| 3);
        assert!(asked.len() > 25 && part < 0.04, "{part}, {asked:?}");
        for (min, took, pause) in [(0, 20, 660), (60_000, 20, 1320), (0, 1, 33), (60_000, 1, 250)] {
            let after =
                Pace::new(Time(ms(min))).after_answer(Time(ms(0)), ms(took), Some(3), true, true);
            assert_eq!(after, ms(pause), "{min} {took}");
        }
    }

    // holds: S33
    #[test]
    fn two_polls_show_quiet_just_before_min_is_over() {
        for took in [1, 5, 20, 60, 150] {
            let (asked, _) = polls(5000, 5000, took, |_| 0);
            let [.., first, second] = asked[..] else { panic!("{asked:?}") };
            assert!(second + took <= 5000, "{took} ms: {asked:?}");
            assert!(5000 - (second + took) < 200, "{took} ms: stale, {asked:?}");
            assert!(second >= first + 200 || took < 10, "{took} ms: {asked:?}");
        }
    }

    // holds: S33
    #[test]
    fn the_end_of_the_last_connection_is_seen_soon_and_confirmed_at_once() {
        for took in [1, 20, 60] {
            let (asked, _) = polls(0, 20_000, took, |now| u64::from(now < 10_000));
            let seen = asked.iter().position(|at| at + took >= 10_000).unwrap_or_default();
            let late = asked[seen] - 10_000.min(asked[seen]);
            assert!(late <= 34 * took + 25, "{took} ms: {late} ms late");
            let confirmed = asked[seen + 1] - asked[seen] - took;
            assert!((200..=210).contains(&confirmed), "{took} ms: {confirmed}");
        }
    }

    #[test]
    fn connections_that_come_and_go_cost_no_more_than_others() {
        for took in [1, 20, 60, 250] {
            let flapping = std::cell::Cell::new(0);
            let (asked, part) = polls(0, 3_000_000, took, |_| {
                flapping.set(1 - flapping.get());
                flapping.get()
            });
            assert!(part < 0.0301, "{took} ms: {part}");
            assert!(asked[2] - asked[1] < 250 + took, "the first end is confirmed: {asked:?}");
        }
    }

    // holds: S32
    #[test]
    fn an_envoy_that_does_not_answer_is_polled_less_and_less() {
        let mut pace = Pace::new(Time(ms(0)));
        let hangs: Vec<_> = (0..8).map(|_| pace.after_failure(ms(500)).as_millis()).collect();
        assert_eq!(hangs, [250, 500, 1000, 2000, 4000, 8000, 16_000, 16_000]);
        let mut pace = Pace::new(Time(ms(0)));
        assert!((0..8).all(|_| pace.after_failure(ms(0)) == SELDOM), "refused at once");
        pace.after_answer(Time(ms(0)), ms(1), Some(0), true, true);
        assert_eq!(pace.after_failure(ms(500)), SELDOM);
    }

    // holds: S31
    #[test]
    fn gauges_that_show_nothing_are_followed_by_whole_answers_at_once() {
        let mut pace = Pace::new(Time(ms(0)));
        let pauses = [(Some(3), false), (Some(0), false), (Some(0), true), (Some(0), true)]
            .map(|(active, whole)| pace.after_answer(Time(ms(0)), ms(100), active, whole, true));
        assert_eq!(pauses, [ms(3300), ms(0), CONFIRM, ms(3300)]);
    }
}
