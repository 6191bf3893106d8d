//! In a shutdown, a drain gets its `time` if the later steps of its own path do not keep the time,
//! and its `min` whenever each later stop can have a second. It begins after `readiness_delay` if
//! this delay, the `min`s and a second for each later stop fit.
//!
//! No state. Checked when a drain begins.

use super::*;

/// The first drains may begin this much later, because of a first count.
const COUNT: Duration = Duration::from_millis(250);

#[derive(Clone, Debug, Default)]
pub(super) struct DrainTimes;

impl Promise for DrainTimes {
    fn on_action(&mut self, run: &History<'_>, action: &Action) {
        let Action::Drain { process, min, longest } = *action else { return };
        let Some(times) = run.of(process).drain.filter(|_| run.is_unready()) else { return };
        let spec = &run.scenario.spec;
        let window = run.window;
        let wish = if run.is_asked() { times.longest(window) } else { times.min };
        // holds: S37, S79, S111, C1002
        run.hold(longest <= wish.max(spec.unready_delay), "a drain longer than its time");
        // `min` passes once for all processes, from the end of the readiness delay.
        let rest = run.mins_from().map_or(times.min, |from| (from + times.min).since(run.now));
        // holds: S890, C1003
        let most = (rest + COUNT).min(times.min).max(spec.unready_delay);
        run.hold(min <= most, "a drain waits its own `min` again");
        if run.has_reloaded {
            return;
        }
        let deadline = run.deadline().or(run.held_at.map(|at| at + spec.window));
        let left = deadline.map_or(spec.window, |deadline| deadline.since(run.now));
        let fits = rest + run.kept_after_drain(process, least_stop) <= left;
        // holds: S79
        run.hold(min >= rest || !fits, "less than `min` although `min` fits");
        let needs = run.of(process).stop.unwrap_or(needed(run.of(process)));
        let is_left = longest <= min || longest + needs <= left;
        // holds: S842
        run.hold(is_left, "a drain leaves its own stop less time than it needs");
        let free = left.saturating_sub(run.kept_after_drain(process, kept_stop));
        let has_ended = run.count_ends > run.ended_before;
        let is_full = longest >= wish.min(free) || has_ended;
        // holds: S79
        run.hold(is_full, "less than `time` although time is left");
        let lives = run.slots.all().any(|slot| run.lives(slot));
        // holds: S10, S12, S75, C83, C111, C112, C605
        run.hold(!run.is_delaying() || !lives, "a drain before the delay is over");
    }
}
