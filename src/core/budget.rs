//! How one deadline is shared: each wait shrinks to what it still allows for what comes after it.

use std::time::Duration;

use super::spec::{ProcessSpec, Spec, Wait};
use crate::vocab::{ProcessId, Time};

/// What each stop keeps at least, whatever a `min` asks for; in all not more than a quarter of the window.
const LEAST: Duration = Duration::from_secs(1);

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

    /// How long a hook that begins now may take, with `after` needed for what follows it.
    #[must_use]
    pub fn hook(wait: Wait, after: Duration, now: Time, deadline: Time) -> Duration {
        share(wait, after, deadline.since(now))
    }

    /// What is needed from the moment on at which this process is asked to stop, its dependencies included.
    #[must_use]
    pub fn from_stop(&self, spec: &Spec, id: ProcessId) -> Duration {
        let process = &spec.processes[id.index()];
        self.stop_path[id.index()].saturating_sub(need(process.hooks.pre_stop))
    }

    /// What is needed once this process is gone.
    #[must_use]
    pub fn after_stop(&self, process: &ProcessSpec) -> Duration {
        process
            .dependencies
            .iter()
            .map(|(on, _)| self.stop_path[on.index()])
            .max()
            .unwrap_or_default()
    }

    /// What the drains at least, and the stop of the whole graph need.
    #[must_use]
    pub fn drain_and_stop_all(&self) -> Duration {
        self.drain_all.saturating_add(self.stop_all)
    }

    /// What the stop of the whole graph needs.
    #[must_use]
    pub fn stop_all(&self) -> Duration {
        self.stop_all
    }
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
    fn what_does_not_fit_shrinks_to_what_comes_after() {
        assert_eq!(share(wait(10, 10), s(5), s(12)), s(8), "10 of 15 in proportion");
        assert_eq!(share(wait(10, 1), s(2), s(6)), s(4), "unset: what the later floors leave");
        assert_eq!(share(wait(10, 10), s(10), s(0)), s(0));
        assert_eq!(share(wait(0, 0), s(0), s(5)), s(0));
    }
}
