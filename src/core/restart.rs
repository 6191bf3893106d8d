//! When a process that has ended is started again.

use std::time::Duration;

use crate::config::{Restart, RestartPolicy};
use crate::types::End;

/// The longest pause between two starts.
const LONGEST: Duration = Duration::from_secs(30);
/// A life of this length proves that the start was good: pauses and the count begin anew.
const GOOD_LIFE: Duration = Duration::from_secs(60);

/// What to do after an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Start it again.
    Again {
        /// After this pause.
        delay: Duration,
        /// The count of restarts in a row, this one included.
        attempt: u32,
    },
    /// Not any more: it was restarted `max` times in a row.
    Exhausted,
    /// The policy says no.
    No,
}

/// Decides after an unasked end. `in_a_row` is the count of restarts so far, `lived` how long it ran this time.
#[must_use]
pub fn verdict(restart: Restart, end: End, in_a_row: u32, lived: Duration) -> Verdict {
    let wanted = match restart.policy {
        RestartPolicy::No => false,
        RestartPolicy::OnFailure => !end.is_success(),
        RestartPolicy::Always => true,
    };
    let in_a_row = if lived >= GOOD_LIFE { 0 } else { in_a_row };
    if !wanted {
        Verdict::No
    } else if restart.max.is_some_and(|max| in_a_row >= max) {
        Verdict::Exhausted
    } else {
        let factor = 1u32.checked_shl(in_a_row).unwrap_or(u32::MAX);
        let delay = restart.delay.saturating_mul(factor).min(LONGEST.max(restart.delay));
        Verdict::Again { delay, attempt: in_a_row.saturating_add(1) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RESTART: Restart =
        Restart { policy: RestartPolicy::OnFailure, delay: Duration::from_secs(1), max: Some(7) };
    const SHORT: Duration = Duration::from_millis(5);

    #[test]
    fn pauses_double_up_to_the_longest_then_it_gives_up() {
        let pauses: Vec<_> = (0..8)
            .map(|in_a_row| match verdict(RESTART, End::Code(1), in_a_row, SHORT) {
                Verdict::Again { delay, .. } => delay.as_secs(),
                _ => 0,
            })
            .collect();
        assert_eq!(pauses, [1, 2, 4, 8, 16, 30, 30, 0]);
        assert_eq!(verdict(RESTART, End::Code(1), 7, SHORT), Verdict::Exhausted);
    }

    #[test]
    fn without_a_limit_it_never_gives_up() {
        let restart = Restart { max: None, ..RESTART };
        let again = verdict(restart, End::Code(1), u32::MAX - 1, SHORT);
        let delay = Duration::from_secs(30);
        assert_eq!(again, Verdict::Again { delay, attempt: u32::MAX });
        let again = verdict(restart, End::Code(1), u32::MAX, SHORT);
        assert_eq!(again, Verdict::Again { delay, attempt: u32::MAX });
    }

    #[test]
    fn a_good_life_forgives() {
        let again = verdict(RESTART, End::Code(1), 7, Duration::from_secs(61));
        assert_eq!(again, Verdict::Again { delay: Duration::from_secs(1), attempt: 1 });
    }

    #[test]
    fn the_policy_is_kept() {
        assert_eq!(verdict(RESTART, End::Code(0), 0, SHORT), Verdict::No);
        let always = Restart { policy: RestartPolicy::Always, ..RESTART };
        assert!(matches!(verdict(always, End::Code(0), 0, SHORT), Verdict::Again { .. }));
        let no = Restart { policy: RestartPolicy::No, ..RESTART };
        assert_eq!(verdict(no, End::Code(1), 0, SHORT), Verdict::No);
    }
}
