//! The times of the waits at the end of the container: for its `post_stop` hook, and for a reader of
//! the output.

use core::time::Duration;

use crate::budget::MOST_KEPT;
use crate::spec::Spec;
use crate::types::Time;

/// A *final* wait is a wait right before the exit, for example for a reader of the output. It gets
/// this time even with a shorter [`Spec::reserve`], because a reader reacts within milliseconds.
const MIN_FINAL: Duration = Duration::from_millis(500);
/// A final wait ends at the latest this long before the end of the grace period, so that drainit
/// can still exit. A final wait that begins very late ends later, because a final wait may always
/// take this long.
const EXIT_MARGIN: Duration = Duration::from_millis(100);

/// The limit of the container's `post_stop` hook; `None` if there is none. The hook may use a
/// part of the reserve.
pub fn container_post_stop(spec: &Spec, now: Time, deadline: Time) -> Option<Duration> {
    let left = (deadline + spec.after_deadline()).since(now);
    Some(spec.hooks.post_stop?.limit.min(left))
}

/// The time that is left for a final wait before the end of the grace period (`over`).
pub fn left_at_the_end(now: Time, over: Time) -> Duration {
    over.since(now).saturating_sub(EXIT_MARGIN).max(EXIT_MARGIN)
}

/// The limit of a final wait for something that may hang: the reserve, which exists for these
/// waits, or [`MIN_FINAL`] if that is longer.
pub fn at_the_end(reserve: Duration, now: Time, over: Time) -> Duration {
    left_at_the_end(now, over).min(reserve.max(MIN_FINAL))
}

/// The longest time for which a process blocks in a shutdown because nobody reads its output.
/// The time is as long as a final wait, but at most half of the shortest limit of a stop. Each
/// process must still have time to end after its wait.
pub fn patience(spec: &Spec) -> Duration {
    let over = Time(spec.window.saturating_add(spec.reserve));
    let stops = spec.processes.iter().filter(|process| !process.left_out);
    let halves = stops.map(|process| process.stop.unwrap_or(MOST_KEPT) / 2);
    let halves = halves.filter(|half| !half.is_zero());
    halves.fold(at_the_end(spec.reserve, Time::default(), over), Duration::min)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prelude::*;
    use crate::spec::HookWait;
    use crate::spec::tests::spec;

    // holds: S73, S270, C602, C604
    #[test]
    fn the_final_wait_ends_before_the_grace_period() {
        let (ms, at) = (Duration::from_millis, |ms| Time(Duration::from_millis(ms)));
        for (now, limit) in [(0, 2000), (28_000, 1900), (29_500, 400), (29_850, 100), (31_000, 100)]
        {
            assert_eq!(at_the_end(ms(2000), at(now), at(30_000)), ms(limit), "{now}");
        }
        assert_eq!(at_the_end(ms(0), at(0), at(30_000)), MIN_FINAL);
        assert_eq!(left_at_the_end(at(0), at(30_000)), ms(29_900));
    }

    #[test]
    fn the_last_hook_ends_after_the_declared_time_or_before_the_grace_period() {
        let (s, at) = (Duration::from_secs, |s| Time(Duration::from_secs(s)));
        let after = spec(Vec::new()).after_deadline();
        for (limit, now, granted) in [(5, 10, s(5)), (5, 24, s(4) + after), (5, 30, s(0))] {
            let mut spec = spec(Vec::new());
            assert_eq!(container_post_stop(&spec, at(now), at(28)), None);
            spec.hooks.post_stop = Some(HookWait::new(Some(s(limit))));
            assert_eq!(container_post_stop(&spec, at(now), at(28)), Some(granted), "{now}");
        }
    }
}
