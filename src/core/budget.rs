//! How one deadline is shared: each wait shrinks to what it still allows for what comes after it.

use std::time::Duration;

use crate::core::spec::{AFTER_KILL, DrainSpec, ProcessSpec, Spec, Wait};
use crate::types::{ProcessId, Time};

/// What each stop keeps at least, whatever a `min` asks for; in all not more than a quarter of the window.
const LEAST: Duration = Duration::from_secs(1);

/// What a drain is given after an unasked end where `min` is less.
const TOLD: Duration = Duration::from_secs(1);

/// How long the shell may take to have the listeners closed; the admin is local.
const CLOSING: Duration = Duration::from_millis(250);
/// So long before the grace period is over drainit is gone, and the least that a wait at its end takes.
const MARGIN: Duration = Duration::from_millis(100);
/// What a stop without a declared time is taken to need where there may be a whole grace period for
/// it.
const UNHURRIED: Duration = Duration::from_secs(3);
/// What a daemonised grandchild gets between TERM and KILL.
const MOMENT: Duration = Duration::from_secs(2);

/// What each process needs after it, computed once: the heaviest path through its dependencies.
#[derive(Clone, Debug)]
pub struct Budget {
    /// For stopping this process and, after it, everything that it depends on.
    stop_path: Vec<Duration>,
    /// The `min`s of the drains that come after this one's.
    drains_after: Vec<Duration>,
    /// For stopping the whole graph.
    stop_all: Duration,
    /// What no `min` may take from that.
    stop_least: Duration,
    /// The `min`s of the heaviest path of drains.
    drain_all: Duration,
}

impl Budget {
    /// Walks the graph once, dependencies first.
    #[must_use]
    pub fn new(spec: &Spec) -> Self {
        let mut stop_path = vec![Duration::ZERO; spec.processes.len()];
        let mut drain_path = vec![Duration::ZERO; spec.processes.len()];
        let mut least_path = vec![Duration::ZERO; spec.processes.len()];
        let mut drains_after = vec![Duration::ZERO; spec.processes.len()];
        for id in &spec.order {
            let process = &spec.processes[id.index()];
            let heaviest = |paths: &[Duration]| {
                process
                    .dependencies
                    .iter()
                    .map(|(on, _)| paths[on.index()])
                    .max()
                    .unwrap_or_default()
            };
            stop_path[id.index()] = heaviest(&stop_path).saturating_add(stop_need(process));
            least_path[id.index()] =
                heaviest(&least_path).saturating_add(process.stop.need.min(LEAST));
            let after = heaviest(&drain_path);
            drains_after[id.index()] = after;
            drain_path[id.index()] =
                after.saturating_add(process.drain.map_or(Duration::ZERO, |d| d.min));
        }
        let most = |paths: &[Duration]| paths.iter().copied().max().unwrap_or_default();
        let (stop_all, drain_all) = (most(&stop_path), most(&drain_path));
        let stop_least = most(&least_path).min(spec.window / 4);
        Self { stop_path, drains_after, stop_all, stop_least, drain_all }
    }

    /// How long `/readyz` answers 503 before the drains begin.
    #[must_use]
    pub fn readiness_delay(&self, spec: &Spec, now: Time, deadline: Time) -> Duration {
        let delay = Wait::new(Some(spec.readiness_delay));
        share(delay, self.drain_and_stop_all(), deadline.since(now))
    }

    /// How long the container's `pre_stop` hook may take; `None`: there is none.
    #[must_use]
    pub fn container_pre_stop(&self, spec: &Spec, now: Time, deadline: Time) -> Option<Duration> {
        let wait = spec.hooks.pre_stop?;
        Some(share(wait, self.drain_and_stop_all(), deadline.since(now)))
    }

    /// How long the container's `post_stop` hook may take, which has a part of the reserve, too; `None`: there is none.
    #[must_use]
    pub fn container_post_stop(spec: &Spec, now: Time, deadline: Time) -> Option<Duration> {
        let left = (deadline + spec.after_deadline()).since(now);
        Some(spec.hooks.post_stop?.limit.min(left))
    }

    /// How long a drain that begins now waits at most. `min` is held even where the later stops will have to shrink, but
    /// not to nothing.
    #[must_use]
    pub fn drain(
        &self,
        id: ProcessId,
        longest: Duration,
        min: Duration,
        now: Time,
        deadline: Time,
    ) -> Duration {
        let left = deadline.since(now);
        let free = left.saturating_sub(self.drains_after[id.index()]).saturating_sub(self.stop_all);
        longest.min(free.max(min)).min(left.saturating_sub(self.stop_least))
    }

    /// How long a drained process may take to close its listeners. Most of what is left belongs to
    /// the stops.
    #[must_use]
    pub fn closing(now: Time, deadline: Time) -> Duration {
        CLOSING.min(deadline.since(now) / 4)
    }

    /// How long the dependencies of a process that was killed wait for its end; nothing ends what
    /// survives KILL, and they must have their time to stop, too.
    #[must_use]
    pub fn after_kill(now: Time, deadline: Time) -> Duration {
        AFTER_KILL.min(deadline.since(now) / 4)
    }

    /// How long a wait may take that comes after everything else, until the grace period is over.
    #[must_use]
    pub fn at_the_end(longest: Duration, now: Time, over: Time) -> Duration {
        over.since(now).saturating_sub(MARGIN).max(MARGIN).min(longest)
    }

    /// How long left-over descendants have between TERM and KILL.
    #[must_use]
    pub fn leftovers(now: Time, deadline: Time) -> Duration {
        MOMENT.min(deadline.since(now))
    }

    /// How long a process that is asked to stop now may take before KILL.
    ///
    /// What was declared is kept where it fits; where it does not, the wait is what is left after all later needs,
    /// but at least the share that is in proportion to what everybody declared.
    #[must_use]
    pub fn stop(&self, spec: &Spec, id: ProcessId, now: Time, deadline: Time) -> Duration {
        let process = &spec.processes[id.index()];
        let after = self.after_stop(process).saturating_add(need(process.hooks.post_stop));
        share(process.stop, after, deadline.since(now))
    }

    /// How long the `pre_stop` hook of a process may take; `None`: there is none.
    #[must_use]
    pub fn pre_stop(
        &self,
        spec: &Spec,
        id: ProcessId,
        now: Time,
        deadline: Time,
    ) -> Option<Duration> {
        let wait = spec.processes[id.index()].hooks.pre_stop?;
        let after = self.stop_path[id.index()].saturating_sub(wait.need);
        Some(share(wait, after, deadline.since(now)))
    }

    /// How long the `post_stop` hook of a process that is gone may take; `None`: there is none.
    #[must_use]
    pub fn post_stop(
        &self,
        spec: &Spec,
        id: ProcessId,
        now: Time,
        deadline: Time,
    ) -> Option<Duration> {
        let process = &spec.processes[id.index()];
        let wait = process.hooks.post_stop?;
        Some(share(wait, self.after_stop(process), deadline.since(now)))
    }

    /// What is needed once this process is gone.
    fn after_stop(&self, process: &ProcessSpec) -> Duration {
        process
            .dependencies
            .iter()
            .map(|(on, _)| self.stop_path[on.index()])
            .max()
            .unwrap_or_default()
    }

    /// What the drains at least, and the stop of the whole graph need.
    fn drain_and_stop_all(&self) -> Duration {
        self.drain_all.saturating_add(self.stop_all)
    }

    /// What must be left of a grace period for the stop of the whole graph to be unhurried: what was
    /// declared, and [`UNHURRIED`] for each stop that was not.
    #[must_use]
    pub fn unhurried_stop(spec: &Spec) -> Duration {
        let mut paths = vec![Duration::ZERO; spec.processes.len()];
        for id in &spec.order {
            let process = &spec.processes[id.index()];
            let before = process.dependencies.iter().map(|(on, _)| paths[on.index()]).max();
            let least = if process.stop.is_declared() { Duration::ZERO } else { UNHURRIED };
            let hooks = stop_need(process).saturating_sub(process.stop.need);
            let own = process.stop.need.max(least).saturating_add(hooks);
            paths[id.index()] = before.unwrap_or_default().saturating_add(own);
        }
        paths.into_iter().max().unwrap_or_default()
    }
}

/// How long a drain would wait, were there no deadline. Only where the stop was asked for, and everything below is
/// there (`full`), clients get all of `time`; else `min`, but whatever that says, it takes a moment to tell.
#[must_use]
pub fn drain_wish(drain: DrainSpec, full: bool) -> Duration {
    if full { drain.time } else { drain.min.max(drain.time.min(TOLD)) }
}

/// What stopping this one process needs.
fn stop_need(process: &ProcessSpec) -> Duration {
    let hooks = need(process.hooks.pre_stop).saturating_add(need(process.hooks.post_stop));
    process.stop.need.saturating_add(hooks)
}

fn need(hook: Option<Wait>) -> Duration {
    hook.map_or(Duration::ZERO, |wait| wait.need)
}

/// The limit where it fits; else what `after` leaves of `left`, but not less than the need in proportion to `after`.
fn share(Wait { limit, need }: Wait, after: Duration, left: Duration) -> Duration {
    let total = need.saturating_add(after);
    let proportion = if total.is_zero() {
        Duration::ZERO
    } else {
        left.mul_f64(need.as_secs_f64() / total.as_secs_f64())
    };
    limit.min(left.saturating_sub(after).max(proportion)).min(left)
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

    #[test]
    fn what_fits_is_kept() {
        assert_eq!(share(wait(10, 10), s(5), s(20)), s(10));
        assert_eq!(share(wait(10, 1), s(5), s(30)), s(10), "unset: up to 10 s");
    }

    #[test]
    fn the_last_lines_are_out_before_the_grace_period_is_over() {
        let (ms, at) = (Duration::from_millis, |ms| Time(Duration::from_millis(ms)));
        for (now, least) in [(1000, 500), (2500, 400), (2850, 100), (4000, 100)] {
            assert_eq!(Budget::at_the_end(ms(500), at(now), at(3000)), ms(least), "{now}");
        }
        assert_eq!(Budget::at_the_end(ms(50), at(4000), at(3000)), ms(50));
    }

    #[test]
    fn what_does_not_fit_shrinks_to_what_comes_after() {
        assert_eq!(share(wait(10, 10), s(5), s(12)), s(8), "10 of 15 in proportion");
        assert_eq!(share(wait(10, 1), s(2), s(6)), s(4), "unset: what the later floors leave");
        assert_eq!(share(wait(10, 10), s(10), s(0)), s(0));
        assert_eq!(share(wait(0, 0), s(0), s(5)), s(0));
    }
}
