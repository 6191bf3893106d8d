//! Decides whether a process that has ended is started again.

use core::time::Duration;

use crate::types::{Restart, RestartPolicy};

/// The longest pause before a restart, unless `restart_delay` is longer.
const MAX_DELAY: Duration = Duration::from_secs(30);
/// If an instance has run for this time, the next pause is short again, and the count of
/// consecutive restarts begins at 1 again.
const STABLE_AFTER: Duration = Duration::from_secs(60);

/// The shortest time from one start to the next. Without this limit, a process with a
/// `restart_delay` of 0 that failed at once was restarted 2,800 times a second and used up the CPU.
const MIN_PERIOD: Duration = Duration::from_millis(100);

/// The decision after the end of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Again {
        delay: Duration,
        /// The number of this restart among the consecutive restarts, starting at 1.
        attempt: u32,
    },
    /// The process was restarted `max` times in a row, and is not restarted again.
    Exhausted,
    /// The policy asks for no restart.
    No,
}

/// Decides whether a process that has ended by itself is restarted. `failed` says whether the end
/// counts as a failure. `in_a_row` is the number of consecutive restarts so far, and `lived` is the
/// time since the last start.
pub fn verdict(restart: Restart, failed: bool, in_a_row: u32, lived: Duration) -> Verdict {
    let wanted = match restart.policy {
        RestartPolicy::No => false,
        RestartPolicy::OnFailure => failed,
        RestartPolicy::Always => true,
    };
    let in_a_row = if lived >= STABLE_AFTER { 0 } else { in_a_row };
    if !wanted {
        Verdict::No
    } else if restart.max.is_some_and(|max| in_a_row >= max) {
        Verdict::Exhausted
    } else {
        let factor = 1u32.checked_shl(in_a_row).unwrap_or(u32::MAX);
        let delay = restart.delay.saturating_mul(factor).min(MAX_DELAY.max(restart.delay));
        let delay = delay.max(MIN_PERIOD.saturating_sub(lived));
        Verdict::Again { delay, attempt: in_a_row.saturating_add(1) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RESTART: Restart =
        Restart { policy: RestartPolicy::OnFailure, delay: Duration::from_secs(1), max: Some(7) };
    const SHORT: Duration = Duration::from_millis(5);

    // holds: C169, C340
    #[test]
    fn pauses_double_up_to_the_limit_before_the_verdict_is_exhausted() {
        let pauses: Vec<_> = (0..8)
            .map(|in_a_row| match verdict(RESTART, true, in_a_row, SHORT) {
                Verdict::Again { delay, .. } => delay.as_secs(),
                _ => 0,
            })
            .collect();
        assert_eq!(pauses, [1, 2, 4, 8, 16, 30, 30, 0]);
        assert_eq!(verdict(RESTART, true, 7, SHORT), Verdict::Exhausted);
    }

    // holds: C341
    #[test]
    fn restarts_never_end_without_a_limit() {
        let restart = Restart { max: None, ..RESTART };
        let again = verdict(restart, true, u32::MAX - 1, SHORT);
        let delay = Duration::from_secs(30);
        assert_eq!(again, Verdict::Again { delay, attempt: u32::MAX });
        let again = verdict(restart, true, u32::MAX, SHORT);
        assert_eq!(again, Verdict::Again { delay, attempt: u32::MAX });
    }

    // holds: C475
    #[test]
    fn a_process_that_fails_at_once_starts_at_most_ten_times_a_second() {
        let restart = Restart { delay: Duration::ZERO, ..RESTART };
        for (lived, pause) in [(0, 100), (60, 40), (100, 0), (5000, 0)] {
            let again = verdict(restart, true, 3, Duration::from_millis(lived));
            let delay = Duration::from_millis(pause);
            assert_eq!(again, Verdict::Again { delay, attempt: 4 }, "{lived}");
        }
    }

    // holds: C342
    #[test]
    fn a_long_life_resets_the_count() {
        let again = verdict(RESTART, true, 7, Duration::from_secs(61));
        assert_eq!(again, Verdict::Again { delay: Duration::from_secs(1), attempt: 1 });
    }

    // holds: C167, C339, C623
    #[test]
    fn the_policy_is_kept() {
        assert_eq!(verdict(RESTART, false, 0, SHORT), Verdict::No);
        let always = Restart { policy: RestartPolicy::Always, ..RESTART };
        assert!(matches!(verdict(always, false, 0, SHORT), Verdict::Again { .. }));
        let no = Restart { policy: RestartPolicy::No, ..RESTART };
        assert_eq!(verdict(no, true, 0, SHORT), Verdict::No);
    }
}
