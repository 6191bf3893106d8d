//! Divides the time until the deadline among the waits. If the time is short, each wait is
//! shortened so that time is left for the later steps.

use core::time::Duration;

use crate::prelude::*;
use crate::spec::{DrainSpec, ProcessSpec, Spec, Wait};
use crate::types::{AFTER_KILL, ProcessId, Time};

/// Delays, drains and hooks leave this time to each later stop, or only the time that the stop
/// needs if that is shorter. Together, these minimum times take at most a quarter of
/// [`Spec::window`].
const MIN_STOP: Duration = Duration::from_secs(1);

/// A drain that does not get all of its `time` may last this long, even if `min` is shorter (see
/// [`drain_wish`]).
const MIN_DRAIN: Duration = Duration::from_secs(1);

/// Even if the stops need all the time left, closing the listeners gets this time, but at most a
/// quarter of the time left. The time is enough, because an Envoy that is not busy answers within
/// milliseconds.
const MIN_CLOSING: Duration = Duration::from_millis(250);
/// A *final* wait is a wait right before the exit, for example for a reader of the output. Such a
/// wait takes at most [`Spec::reserve`] or this time, whichever is longer.
const MIN_FINAL: Duration = Duration::from_millis(500);
/// A final wait ends at the latest this long before the end of the grace period. A final wait that
/// begins very late ends later, because a final wait may always take this long.
const EXIT_MARGIN: Duration = Duration::from_millis(100);

/// The times that a wait has to leave for the steps after it. Each time is computed only once, as
/// the sum along the longest path through the dependencies of a process.
#[derive(Clone, Debug)]
pub struct Budget {
    /// For each process: the time for its stop and for the later stops of its dependencies.
    stop_path: Vec<Duration>,
    /// Like `stop_path`, without hooks.
    bare_path: Vec<Duration>,
    /// The sum of the minimum times of the stops in `stop_path`. Delays, drains and hooks leave
    /// this time to the stops, but at most a quarter of the window.
    least_path: Vec<Duration>,
    /// For each process: the largest sum of times along a chain of drains that begins with this
    /// process. Each drain adds its `min` and its limit for closing the listeners.
    drain_path: Vec<Duration>,
    /// The time for the final counts and for the stops of all processes.
    stop_all: Duration,
    /// The largest time in `least_path`, but at most a quarter of the window.
    stop_least: Duration,
    /// The largest time in `drain_path`.
    drain_all: Duration,
    /// Like `drain_all`, without the `min` of the first drain of the chain.
    drain_rest: Duration,
    /// Like `drain_path`, with `time` in place of `min`.
    times_path: Vec<Duration>,
    /// Like `drain_all`, without any `min`.
    closings: Duration,
    /// The time that the container's `post_stop` hook needs before the deadline.
    last: Duration,
}

impl Budget {
    /// Makes the budget of a shutdown. No time is kept for a process for which `is_down` returns
    /// true, because this process does not run, and will not run when the shutdown begins.
    pub fn new(spec: &Spec, is_down: impl Fn(ProcessId) -> bool) -> Self {
        // The sum along the longest path through the dependencies of each process.
        let path = |need: fn(&ProcessSpec) -> Duration, last: Duration| {
            let mut paths = vec![last; spec.processes.len()];
            for id in &spec.order {
                let process = &spec.processes[id.index()];
                let own = if is_down(*id) { Duration::ZERO } else { need(process) };
                paths[id.index()] = heaviest(process, &paths).max(last).saturating_add(own);
            }
            paths
        };
        // The hook may use a part of the reserve.
        let last = need(spec.hooks.post_stop).saturating_sub(spec.after_deadline());
        let stop_path = path(stop_need, last);
        let least_path = path(least_stop, Duration::ZERO);
        let drain_path = path(|process| drained(process, |drain| drain.min), Duration::ZERO);
        let times_path = path(|process| drained(process, |drain| drain.time), Duration::ZERO);
        let drains = spec.ids().filter(|id| !is_down(*id)).filter_map(|id| {
            let process = &spec.processes[id.index()];
            Some((process, process.drain?))
        });
        let drains: Vec<_> = drains.collect();
        let rest = drains
            .iter()
            .map(|(process, drain)| heaviest(process, &drain_path).saturating_add(closes(*drain)));
        let drain_rest = rest.max();
        // If a drain that counts traffic ends before another drain, a final count follows.
        let is_counted = drains.len() > 1 && drains.iter().any(|(_, drain)| drain.closes);
        let counts = is_counted.then_some(MIN_CLOSING);
        Self {
            bare_path: path(|process| process.stop.need, Duration::ZERO),
            stop_all: most(&stop_path).max(last).saturating_add(counts.unwrap_or_default()),
            stop_least: most(&least_path).min(spec.window / 4),
            drain_all: most(&drain_path),
            closings: most(&path(|process| drained(process, |_| Duration::ZERO), Duration::ZERO)),
            drain_rest: drain_rest.unwrap_or_default(),
            stop_path,
            least_path,
            drain_path,
            times_path,
            last,
        }
    }

    /// The limit of a wait before the drains: the readiness delay, or the `pre_stop` hook of the
    /// container.
    pub fn before_drains(&self, wait: Wait, left: Duration) -> Duration {
        let after = self.drain_all.saturating_add(self.stop_all);
        let least = share_beside(self.stop_least, Wait { limit: wait.need, ..wait }, after, left);
        // A hook without a declared time may use more than its `need` if the drains do not need the
        // time.
        let spare = left.saturating_sub(most(&self.times_path).saturating_add(self.stop_all));
        wait.limit.min(least.max(spare))
    }

    /// The time for which `/readyz` stays good in a shutdown. The first drains run during this
    /// time.
    pub fn unready_delay(&self, spec: &Spec, left: Duration) -> Duration {
        let delay = Wait::new(Some(spec.unready_delay));
        let after = self.drain_rest.saturating_add(self.stop_all);
        share_beside(self.stop_least, delay, after, left)
    }

    /// The limit of the container's `post_stop` hook; `None` if there is none. The hook may use a
    /// part of the reserve.
    pub fn container_post_stop(spec: &Spec, now: Time, deadline: Time) -> Option<Duration> {
        let left = (deadline + spec.after_deadline()).since(now);
        Some(spec.hooks.post_stop?.limit.min(left))
    }

    /// The longest wait of a drain that begins now. If time is short, the drain gets its `min` at
    /// the cost of the later stops, but leaves them their minimum times.
    pub fn drain(
        &self,
        process: &ProcessSpec,
        longest: Duration,
        min: Duration,
        left: Duration,
    ) -> Duration {
        let close = drained(process, |_| Duration::ZERO);
        let drains = heaviest(process, &self.drain_path).saturating_add(close);
        let free = left.saturating_sub(drains.saturating_add(self.stop_all));
        longest.min(free.max(min)).min(left.saturating_sub(self.stop_least))
    }

    /// The limit for closing the listeners of a drained process, and for the count that follows.
    /// The limit is the time that the later drains and the stops do not need. The limit is at most
    /// an eighth of the time left, but at least [`MIN_CLOSING`]. If the kernel counts, the limit is
    /// [`MIN_CLOSING`], because the kernel needs only milliseconds. The limit is never more than a
    /// quarter of the time left. Without a deadline, the window counts as the time left.
    pub fn closing(&self, spec: &Spec, id: ProcessId, now: Time, deadline: Time) -> Duration {
        let left = deadline.since(now).min(spec.window.max(MIN_CLOSING * 4));
        let process = &spec.processes[id.index()];
        if process.drain.is_some_and(|drain| drain.by_kernel) {
            return MIN_CLOSING.min(left / 4);
        }
        let later = heaviest(process, &self.times_path);
        let free = left.saturating_sub(later.saturating_add(self.stop_all));
        free.min(left / 8).max(MIN_CLOSING).min(left / 4)
    }

    /// The limit for a final count, which shows what is open right before the stop.
    pub fn counting(now: Time, deadline: Time) -> Duration {
        MIN_CLOSING.min(deadline.since(now) / 4)
    }

    /// The time for which the dependencies of a killed process wait for its end. If a process has
    /// much memory and gets only a tenth of a core, it needs longer than [`AFTER_KILL`] to end. The
    /// time is limited, because the process may survive SIGKILL and its dependencies need time to
    /// stop, too.
    pub fn after_kill(now: Time, deadline: Time) -> Duration {
        let left = deadline.since(now);
        (left / 8).max(AFTER_KILL).min(left / 4)
    }

    /// The time that is left for a final wait before the end of the grace period (`over`).
    pub fn left_at_the_end(now: Time, over: Time) -> Duration {
        over.since(now).saturating_sub(EXIT_MARGIN).max(EXIT_MARGIN)
    }

    /// The limit of a final wait for something that may hang. The limit is an eighth of the time
    /// left, but at least a quarter of the reserve. It is at most the reserve or [`MIN_FINAL`],
    /// whichever is longer. The reserve exists for these waits. The waits are short, because the
    /// runtime can start a failed container again only after them.
    pub fn at_the_end(reserve: Duration, now: Time, over: Time) -> Duration {
        let left = Self::left_at_the_end(now, over);
        left.min((left / 8).max(reserve / 4).min(reserve.max(MIN_FINAL)))
    }

    /// The longest time for which a process blocks in a shutdown because nobody reads its output.
    /// The time is as long as a final wait, but at most half of the shortest limit of a stop. Each
    /// process must still have time to end after its wait.
    pub fn patience(spec: &Spec) -> Duration {
        let over = Time(spec.window.saturating_add(spec.reserve));
        let stops = spec.processes.iter().filter(|process| !process.left_out);
        let halves = stops.map(|process| process.stop.limit / 2).filter(|half| !half.is_zero());
        halves.fold(Self::at_the_end(spec.reserve, Time::default(), over), Duration::min)
    }

    /// The time that leftover processes get between SIGTERM and SIGKILL. drainit does not know
    /// which process started them, so they get the longest limit of any process. The container's
    /// `post_stop` hook keeps its time.
    pub fn leftovers(&self, spec: &Spec, left: Duration) -> Duration {
        let stops = spec.processes.iter().filter(|process| !process.left_out);
        let longest = stops.map(|process| process.stop.limit).max().unwrap_or_default();
        longest.min(left.saturating_sub(self.last))
    }

    /// The time that the config leaves for the `min`s along each chain of drains. The waits before
    /// the drains and the closing of the listeners get their times, and the stops keep their
    /// minimum times.
    pub fn room_for_drains(&self, spec: &Spec) -> Duration {
        let before = spec.readiness_delay.max(need(spec.hooks.pre_stop));
        let others = before.saturating_add(self.stop_least).saturating_add(self.closings);
        spec.window.saturating_sub(others)
    }

    /// The time from the stop signal to SIGKILL for a process that is asked to stop now.
    ///
    /// A process gets its declared time if enough time is left. If the time is short, the process
    /// gets the longest of these times:
    /// - the time that the later stops and hooks do not need;
    /// - its share of the time left, in proportion to the needs of all stops that are left;
    /// - [`MIN_STOP`], or the process's need if that is shorter, provided that all later stops can
    ///   have their minimum times, too.
    pub fn stop(&self, process: &ProcessSpec, left: Duration) -> Duration {
        // If time is short, hooks are shortened first, so only the stops count here.
        let stops_after = heaviest(process, &self.bare_path);
        let least = Some(least_stop(process))
            .filter(|least| least.saturating_add(heaviest(process, &self.least_path)) <= left);
        let own = proportion(process.stop.need, stops_after, left).min(process.stop.need);
        let own = own.max(least.unwrap_or_default());
        process.stop.limit.min(self.longest_stop(process, left).max(own))
    }

    /// The longest time for which a process that is being stopped may still run. The later stops
    /// and hooks keep the time that they need.
    pub fn longest_stop(&self, process: &ProcessSpec, left: Duration) -> Duration {
        let after = self.after_stop(process).saturating_add(need(process.hooks.post_stop));
        left.saturating_sub(after)
    }

    /// The limit of the `pre_stop` hook of a process; `None` if there is none.
    pub fn pre_stop(&self, spec: &Spec, id: ProcessId, left: Duration) -> Option<Duration> {
        let wait = spec.processes[id.index()].hooks.pre_stop?;
        let after = self.stop_path[id.index()].saturating_sub(wait.need);
        let stops = self.least_path[id.index()].min(spec.window / 4);
        Some(share_beside(stops, wait, after, left))
    }

    /// The limit of the `post_stop` hook of a process that is gone; `None` if there is none.
    pub fn post_stop(&self, spec: &Spec, id: ProcessId, left: Duration) -> Option<Duration> {
        let process = &spec.processes[id.index()];
        let stops = heaviest(process, &self.least_path).min(spec.window / 4);
        Some(share_beside(stops, process.hooks.post_stop?, self.after_stop(process), left))
    }

    /// The time that the stops after this process need.
    fn after_stop(&self, process: &ProcessSpec) -> Duration {
        heaviest(process, &self.stop_path).max(self.last)
    }
}

fn most(paths: &[Duration]) -> Duration {
    paths.iter().copied().max().unwrap_or_default()
}

/// The longest wait of a drain; the deadline can make the wait shorter. With `full`, clients get
/// all of `time`. Otherwise a process has failed or ended, and clients get `min`. If `min` is
/// shorter than [`MIN_DRAIN`], clients get [`MIN_DRAIN`], but at most `time`, so that the request
/// to drain has an effect.
pub fn drain_wish(drain: DrainSpec, full: bool) -> Duration {
    if full { drain.time } else { drain.min.max(drain.time.min(MIN_DRAIN)) }
}

/// The limit for the last step of a drain, which closes the listeners or counts once more; zero if
/// drainit does not count the traffic.
fn closes(drain: DrainSpec) -> Duration {
    if drain.closes { MIN_CLOSING } else { Duration::ZERO }
}

/// The time that `of` returns for the drain of a process, plus the limit that [`closes`] returns;
/// zero without a drain.
fn drained(process: &ProcessSpec, of: fn(DrainSpec) -> Duration) -> Duration {
    process.drain.map_or(Duration::ZERO, |drain| of(drain).saturating_add(closes(drain)))
}

/// The largest of the times that `paths` has for the dependencies of a process.
fn heaviest(process: &ProcessSpec, paths: &[Duration]) -> Duration {
    let needed = process.dependencies.iter().map(|(on, _)| paths[on.index()]);
    needed.max().unwrap_or_default()
}

/// The minimum time that delays, drains and hooks leave to the stop of a process.
fn least_stop(process: &ProcessSpec) -> Duration {
    process.stop.need.min(MIN_STOP)
}

/// The time that a process needs for its stop and for the hooks of its stop.
fn stop_need(process: &ProcessSpec) -> Duration {
    let hooks = need(process.hooks.pre_stop).saturating_add(need(process.hooks.post_stop));
    process.stop.need.saturating_add(hooks)
}

fn need(hook: Option<Wait>) -> Duration {
    hook.map_or(Duration::ZERO, |wait| wait.need)
}

/// The time that a wait gets: its limit, if `left` is enough for the limit and `after`. Otherwise,
/// the wait gets the part of `left` that `after` does not need, but at least the share that
/// [`proportion`] returns.
fn share(Wait { limit, need }: Wait, after: Duration, left: Duration) -> Duration {
    limit.min(left.saturating_sub(after).max(proportion(need, after, left)))
}

/// Like [`share`], for a wait that is not a stop. The wait leaves at least `stops`, the minimum
/// time of the later stops.
fn share_beside(stops: Duration, wait: Wait, after: Duration, left: Duration) -> Duration {
    share(wait, after, left).min(left.saturating_sub(stops))
}

/// The share of `need` if `left` is divided in proportion to `need` and `after`.
fn proportion(need: Duration, after: Duration, left: Duration) -> Duration {
    let total = need.saturating_add(after);
    if total.is_zero() {
        return Duration::ZERO;
    }
    left.mul_f64(need.as_secs_f64() / total.as_secs_f64()).min(left)
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    const fn wait(limit: u64, need: u64) -> Wait {
        Wait { limit: s(limit), need: s(need) }
    }

    // holds: S75, S77
    #[test]
    fn a_wait_that_fits_is_kept() {
        assert_eq!(share(wait(10, 10), s(5), s(20)), s(10));
        assert_eq!(share(wait(10, 1), s(5), s(30)), s(10), "unset: up to 10 s");
    }

    // holds: S73, S270, C602, C604
    #[test]
    fn the_final_wait_ends_before_the_grace_period() {
        let (ms, at) = (Duration::from_millis, |ms| Time(Duration::from_millis(ms)));
        for (now, limit) in
            [(0, 2000), (16_900, 1625), (28_000, 500), (29_500, 400), (29_850, 100), (31_000, 100)]
        {
            assert_eq!(Budget::at_the_end(ms(2000), at(now), at(30_000)), ms(limit), "{now}");
        }
        assert_eq!(Budget::at_the_end(ms(0), at(0), at(30_000)), MIN_FINAL);
        assert_eq!(Budget::left_at_the_end(at(0), at(30_000)), ms(29_900));
    }

    // holds: S76, S78, S218
    #[test]
    fn a_wait_that_does_not_fit_shrinks() {
        assert_eq!(share(wait(10, 10), s(5), s(12)), s(8), "10 of 15 in proportion");
        assert_eq!(share(wait(10, 1), s(2), s(6)), s(4), "unset: what the later floors leave");
        assert_eq!(share(wait(10, 10), s(10), s(0)), s(0));
        assert_eq!(share(wait(0, 0), s(0), s(5)), s(0));
    }
}
