//! Decides what follows the end of a process: a restart, nothing, or the end of the container.

use core::time::Duration;

use crate::note::AfterEnd;
use crate::types::{ExitPolicy, Restart, RestartPolicy};

/// The longest pause before a restart, unless `restart_delay` is longer.
const MAX_DELAY: Duration = Duration::from_secs(30);
/// If an instance has run for this time, the next pause is short again, and the count of
/// consecutive restarts begins at 1 again.
const STABLE_AFTER: Duration = Duration::from_secs(60);

/// The shortest time from one start to the next. Without this limit, a process that had a
/// `restart_delay` of 0 and failed at once was restarted 2,800 times a second. These restarts used
/// up the CPU.
const MIN_PERIOD: Duration = Duration::from_millis(100);

/// The restarts of a process.
#[derive(Clone, Copy, Debug, Default)]
pub struct Restarts {
    /// The number of restarts since the start of the container.
    pub count: u32,
    /// The number of consecutive restarts. If an instance has run for a long time, the next restart
    /// begins a new count.
    pub(crate) in_a_row: u32,
    /// The pause before the next start, if this pause begins only when the rest of the process
    /// group is gone. Otherwise `None`.
    pub after_rest: Option<Duration>,
}

impl Restarts {
    /// Decides what follows after a process has ended by itself or has failed, and counts the restart
    /// if there is one. `failed` says whether the end counts as a failure, and `lived` is the time
    /// since the last start.
    pub(crate) fn after_end(
        &mut self,
        restart: Restart,
        on_exit: ExitPolicy,
        failed: bool,
        lived: Duration,
    ) -> AfterEnd {
        let is_wanted = match restart.policy {
            RestartPolicy::No => false,
            RestartPolicy::OnFailure => failed,
            RestartPolicy::Always => true,
        };
        let in_a_row = if lived >= STABLE_AFTER { 0 } else { self.in_a_row };
        let is_exhausted = is_wanted && restart.max.is_some_and(|max| in_a_row >= max);
        match on_exit {
            _ if is_wanted && !is_exhausted => {
                let factor = 1u32.checked_shl(in_a_row).unwrap_or(u32::MAX);
                let delay = restart.delay.saturating_mul(factor).min(MAX_DELAY.max(restart.delay));
                let delay = delay.max(MIN_PERIOD.saturating_sub(lived));
                let attempt = in_a_row.saturating_add(1);
                (self.count, self.in_a_row) = (self.count.saturating_add(1), attempt);
                AfterEnd::Restart { delay, attempt }
            }
            ExitPolicy::Ignore if is_exhausted => AfterEnd::GivesUp,
            ExitPolicy::Ignore if failed => AfterEnd::StaysDown,
            ExitPolicy::Ignore => AfterEnd::Nothing,
            _ if is_exhausted => AfterEnd::Exhausted,
            _ => AfterEnd::Shutdown,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(restart: Restart, failed: bool, in_a_row: u32, lived: Duration) -> AfterEnd {
        let mut restarts = Restarts { in_a_row, ..Restarts::default() };
        restarts.after_end(restart, ExitPolicy::Shutdown, failed, lived)
    }

    const RESTART: Restart =
        Restart { policy: RestartPolicy::OnFailure, delay: Duration::from_secs(1), max: Some(7) };
    const SHORT: Duration = Duration::from_millis(5);

    // holds: C169, C340
    #[test]
    fn pauses_double_up_to_the_limit_before_the_verdict_is_exhausted() {
        let pauses: Vec<_> = (0..8)
            .map(|in_a_row| match verdict(RESTART, true, in_a_row, SHORT) {
                AfterEnd::Restart { delay, .. } => delay.as_secs(),
                _ => 0,
            })
            .collect();
        assert_eq!(pauses, [1, 2, 4, 8, 16, 30, 30, 0]);
        assert_eq!(verdict(RESTART, true, 7, SHORT), AfterEnd::Exhausted);
        // A longer pause of the config does not grow.
        let delay = Duration::from_secs(45);
        let again = verdict(Restart { delay, ..RESTART }, true, 1, SHORT);
        assert_eq!(again, AfterEnd::Restart { delay, attempt: 2 });
    }

    // holds: C341
    #[test]
    fn restarts_never_end_without_a_limit() {
        let restart = Restart { max: None, ..RESTART };
        let again = verdict(restart, true, u32::MAX - 1, SHORT);
        let delay = Duration::from_secs(30);
        assert_eq!(again, AfterEnd::Restart { delay, attempt: u32::MAX });
        let again = verdict(restart, true, u32::MAX, SHORT);
        assert_eq!(again, AfterEnd::Restart { delay, attempt: u32::MAX });
    }

    // holds: C475
    #[test]
    fn a_process_that_fails_at_once_starts_at_most_ten_times_a_second() {
        let restart = Restart { delay: Duration::ZERO, ..RESTART };
        for (lived, pause) in [(0, 100), (60, 40), (100, 0), (5000, 0)] {
            let again = verdict(restart, true, 3, Duration::from_millis(lived));
            let delay = Duration::from_millis(pause);
            assert_eq!(again, AfterEnd::Restart { delay, attempt: 4 }, "{lived}");
        }
    }

    // holds: C342
    #[test]
    fn a_long_life_resets_the_count() {
        let again = verdict(RESTART, true, 7, Duration::from_secs(61));
        assert_eq!(again, AfterEnd::Restart { delay: Duration::from_secs(1), attempt: 1 });
        // Each long life does, not only the first.
        let mut restarts = Restarts::default();
        let lives = [5, 5, 61_000, 5, 61_000, 5, 61_000].map(Duration::from_millis);
        let attempts = lives.map(|lived| {
            match restarts.after_end(RESTART, ExitPolicy::Shutdown, true, lived) {
                AfterEnd::Restart { attempt, .. } => attempt,
                _ => 0,
            }
        });
        assert_eq!((attempts, restarts.count), ([1, 2, 1, 2, 1, 2, 1], 7));
    }

    // holds: C167, C339, C623
    #[test]
    fn the_policy_is_kept() {
        assert_eq!(verdict(RESTART, false, 0, SHORT), AfterEnd::Shutdown);
        let always = Restart { policy: RestartPolicy::Always, ..RESTART };
        assert!(matches!(verdict(always, false, 0, SHORT), AfterEnd::Restart { .. }));
        let no = Restart { policy: RestartPolicy::No, ..RESTART };
        assert_eq!(verdict(no, true, 0, SHORT), AfterEnd::Shutdown);
    }
}
