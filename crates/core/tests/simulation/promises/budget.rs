//! The oracle of the promises about the time until the deadline: how long the later steps of a
//! shutdown need, at most or at least. Traffic comes first, a stop that no drain needs begins as
//! late as possible, and nothing is killed or cut while time is left that nobody needs.
//!
//! The bounds are looser than the core's where a process may be down: a process counts as needing
//! its time in the upper bounds, and not in the lower ones.

use super::*;

/// The later stop of a store without `stop_grace_period` keeps at most this time.
pub(super) const MOST_KEPT: Duration = Duration::from_secs(10);
/// Traffic leaves this time to each later stop.
pub(super) const LEAST_STOP: Duration = Duration::from_secs(1);
/// The least time of a shutdown, even if a drain without a stop has used up the window.
pub(super) const LEAST: Duration = Duration::from_secs(1);
/// Closing the listeners of a drained process keeps this time.
const CLOSING: Duration = Duration::from_millis(250);

/// The time that a stop needs.
type Need = fn(&ProcessSpec) -> Duration;

impl History<'_> {
    /// The time before the deadline that the container's `post_stop` hook needs.
    pub(super) fn needed_at_the_end(&self) -> Duration {
        let spec = &self.scenario.spec;
        hook_need(spec.hooks.post_stop).saturating_sub(spec.after_deadline())
    }

    /// The largest sum of weights on a path from a process through its dependencies.
    pub(super) fn path_from(
        &self,
        slot: ProcessId,
        weight: impl Fn(ProcessId, &ProcessSpec) -> Duration,
    ) -> Duration {
        sums_below(&self.scenario.spec, weight)[self.slots.process(slot)]
    }

    /// The time after the end of a process that later steps keep at most: its `post_stop` hook, the
    /// stops on the longest path of its dependencies, and the `post_stop` hook of the container.
    pub(super) fn kept_after(&self, slot: ProcessId) -> Duration {
        let own = self.of_config(slot);
        self.path_from(slot, |_, of| kept_stop(of)) + hook_need(own.hooks.post_stop)
            - kept_stop(own)
            + self.needed_at_the_end()
    }

    /// Like [`History::kept_after`], without the processes that are gone, and without the stops
    /// under way.
    pub(super) fn kept_after_now(&self, slot: ProcessId) -> Duration {
        let is_own = |id: ProcessId| id.index() == self.slots.process(slot);
        let below = self.path_from(slot, |id, of| {
            if is_own(id) { Duration::ZERO } else { self.needs_now(id, kept_stop(of)) }
        });
        below + hook_need(self.of_config(slot).hooks.post_stop) + self.needed_at_the_end()
    }

    /// The part of the time for its drain or its stop that a process still needs after the stops of
    /// its dependents: all of it, or nothing if its stop is under way.
    fn needs_now(&self, process: ProcessId, time: Duration) -> Duration {
        let needs = |slot| !self.is_stopping(slot) || self.aborted.contains(&slot);
        if self.slots_of(process.index()).any(needs) { time } else { Duration::ZERO }
    }

    /// Whether the stop of a process, or of the rest of its process group, has begun or is over.
    pub(super) fn is_stopping(&self, slot: ProcessId) -> bool {
        self[slot].asked.is_some() || self.runs_hook(slot, Stage::PreStop) || !self.is_alive(slot)
    }

    /// The time that the later steps keep at most after the drain of a process: a second for each
    /// later drain, and the stops, which need `stop` each.
    pub(super) fn kept_after_drain(&self, slot: ProcessId, stop: Need) -> Duration {
        self.kept_after_drain_if(slot, |_, time| time, stop)
    }

    /// Like [`History::kept_after_drain`], without the processes that are gone, and without the
    /// stops under way.
    pub(super) fn kept_after_drain_now(&self, slot: ProcessId, stop: Need) -> Duration {
        self.kept_after_drain_if(slot, |id, time| self.needs_now(id, time), stop)
    }

    fn kept_after_drain_if(
        &self,
        slot: ProcessId,
        own: impl Fn(ProcessId, Duration) -> Duration,
        stop: Need,
    ) -> Duration {
        let spec = &self.scenario.spec;
        let stops = sums_below(spec, |id, of| own(id, stop(of)));
        // For each process: its drain, its stop, and the later steps.
        let mut all = vec![Duration::ZERO; spec.processes.len()];
        let mut after = all.clone();
        for id in &spec.order {
            let of = &spec.processes[id.index()];
            let later = of.dependencies.iter().map(|(on, _)| all[on.index()]).max();
            after[id.index()] = later.unwrap_or_default().max(stops[id.index()]);
            let drain = of.drain.map_or(Duration::ZERO, later_drain);
            all[id.index()] = after[id.index()] + own(*id, drain);
        }
        let process = self.slots.process(slot);
        let is_closed = spec.processes[process].drain.is_some_and(|drain| drain.closes);
        let close = if is_closed { CLOSING } else { Duration::ZERO };
        // A final count may follow the drains.
        after[process] + close + CLOSING + self.needed_at_the_end()
    }

    /// The time that traffic leaves after each drain, and after the waits before the drains.
    fn least_after_delays(&self) -> Duration {
        let spec = &self.scenario.spec;
        let drains = spec.ids().map(|id| {
            let min = spec.processes[id.index()].drain.map_or(Duration::ZERO, |drain| drain.min);
            min + self.kept_after_drain(id, least_stop)
        });
        drains.max().unwrap_or_default()
    }

    /// The time from which the `min` of each drain counts; `None` outside of a shutdown and of a drain
    /// without a stop.
    pub(super) fn mins_from(&self) -> Option<Time> {
        self.unready_since.map(|since| since + self.delayed)
    }

    /// Whether drainit certainly still waits for `readiness_delay`.
    pub(super) fn is_delaying(&self) -> bool {
        let spec = &self.scenario.spec;
        let before = spec.readiness_delay.max(hook_need(spec.hooks.pre_stop));
        let fits = before + self.least_after_delays() <= spec.window && self.held_at.is_none();
        let is_over = |since: Time| since + spec.readiness_delay <= self.now;
        self.was_good && fits && self.unready_since.is_some_and(|since| !is_over(since))
    }

    /// The limit of a stop, if there were no deadline.
    pub(super) fn stop_limit(&self, slot: ProcessId) -> Duration {
        let most = if self.is_asked() { Duration::MAX } else { MOST_KEPT };
        self.of(slot).stop.unwrap_or(self.window.min(most))
    }

    /// An upper bound for the number of steps from the stop of a process on.
    pub(super) fn steps_from(&self, slot: ProcessId) -> u32 {
        let steps = self.path_from(slot, |_, of| {
            let hooks = [of.hooks.pre_stop, of.hooks.post_stop];
            Duration::from_secs(1 + hooks.iter().flatten().count() as u64)
        });
        steps.as_secs() as u32
    }

    /// The least time that drainit must wait between the stop signal and SIGKILL of a process,
    /// whatever the drains need: traffic leaves a second to each later stop, or a quarter of the
    /// window to all of them. A step may take an equal share of the time left.
    pub(super) fn share(&self, slot: ProcessId) -> Duration {
        let spec = &self.scenario.spec;
        // If a drain without a stop has used up the window, only `LEAST` is left.
        let window = spec.window.min(self.held_at.map_or(spec.window, |_| LEAST));
        let path = self.path_from(slot, |_, of| least_stop(of));
        let above = spec.processes.iter().map(|of| {
            1 + u32::from(of.hooks.pre_stop.is_some()) + u32::from(of.hooks.post_stop.is_some())
        });
        let left = path.min(window / 4) / 2 / above.sum::<u32>();
        // The kills of the other processes may take a few milliseconds, which this process loses.
        let moments = Duration::from_millis(3 * self.slots.count() as u64);
        left.min(least_stop(self.of_config(slot))).saturating_sub(moments)
    }
}

/// The time that the budget plans for a hook; zero without a hook.
pub(super) fn hook_need(wait: Option<HookWait>) -> Duration {
    wait.map_or(Duration::ZERO, |wait| wait.need)
}

/// The time that a later drain keeps. Its `min` passes during the earlier drains.
fn later_drain(drain: DrainSpec) -> Duration {
    let least = drain.time.unwrap_or(drain.min).min(LEAST_STOP);
    least + if drain.closes { CLOSING } else { Duration::ZERO }
}

fn hooks_need(of: &ProcessSpec) -> Duration {
    hook_need(of.hooks.pre_stop) + hook_need(of.hooks.post_stop)
}

/// The most time that a stop with its hooks keeps.
pub(super) fn kept_stop(of: &ProcessSpec) -> Duration {
    hooks_need(of) + of.stop.unwrap_or(if of.is_store { MOST_KEPT } else { needed(of) })
}

/// The time that a stop with its hooks needs if it declares a time, and a second otherwise.
pub(super) fn declared_stop(of: &ProcessSpec) -> Duration {
    hooks_need(of) + of.stop.unwrap_or(needed(of))
}

/// The time that a stop needs to end, as far as it is known, or a second.
pub(super) fn needed(of: &ProcessSpec) -> Duration {
    of.to_end.unwrap_or_default().clamp(LEAST_STOP, MOST_KEPT)
}

/// The time that traffic leaves to a stop.
pub(super) fn least_stop(of: &ProcessSpec) -> Duration {
    of.stop.unwrap_or(LEAST_STOP).min(LEAST_STOP)
}
