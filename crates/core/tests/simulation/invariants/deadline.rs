//! The promises about the time until the deadline: traffic comes first, a stop that no drain needs
//! begins as late as possible, and nothing is killed or cut while time is left that nobody needs.
//!
//! The bounds are looser than the core's where a process may be down: a process counts as needing
//! its time in the upper bounds, and not in the lower ones.

use super::*;
use drainit_core::spec::DrainSpec;

/// A later stop without `stop_grace_period` keeps at most this time.
const MOST_KEPT: Duration = Duration::from_secs(10);
/// Traffic leaves this time to each later stop.
const LEAST_STOP: Duration = Duration::from_secs(1);
/// Closing the listeners of a drained process keeps this time.
const CLOSING: Duration = Duration::from_millis(250);

impl Checker<'_> {
    /// The time after the end of a process that later steps keep at most: its `post_stop` hook, the
    /// stops on the longest path of its dependencies, and the `post_stop` hook of the container.
    pub(super) fn kept_after(&self, slot: ProcessId) -> Duration {
        let own = self.of_config(slot);
        self.path_from(slot, |_, of| kept_stop(of)) + hook_need(own.hooks.post_stop)
            - kept_stop(own)
            + self.needed_at_the_end()
    }

    /// Like [`Checker::kept_after`], without the processes that are gone.
    fn kept_after_now(&self, slot: ProcessId, procs: &[Proc]) -> Duration {
        let of = self.of_config(slot);
        let is_up = |slot: ProcessId| {
            let hook = HookId { process: Some(slot), stage: Stage::PostStop };
            let proc = &procs[slot.index()];
            let is_gone = !proc.alive && !proc.group && !self.aborted.contains(&slot);
            !is_gone || self.hooks.contains(&hook)
        };
        let below = self.path_from(slot, |id, of| match id {
            _ if id.index() == self.slots.process(slot) => hook_need(of.hooks.post_stop),
            _ if self.slots_of(id.index()).any(is_up) => kept_stop(of),
            _ => Duration::ZERO,
        });
        below.max(hook_need(of.hooks.post_stop)) + self.needed_at_the_end()
    }

    /// The time that the later steps keep at most after the drain of a process: the `min`s of later
    /// drains, and the stops.
    pub(super) fn kept_after_drain(
        &self,
        slot: ProcessId,
        stop: fn(&ProcessSpec) -> Duration,
    ) -> Duration {
        self.kept_after_drain_if(slot, |_| true, stop)
    }

    /// Like [`Checker::kept_after_drain`], for the processes that still need time.
    fn kept_after_drain_if(
        &self,
        slot: ProcessId,
        needs: impl Fn(ProcessId) -> bool,
        stop: fn(&ProcessSpec) -> Duration,
    ) -> Duration {
        let spec = &self.scenario.spec;
        let own = |id, time| if needs(id) { time } else { Duration::ZERO };
        let stops = sums_below(spec, |id, of| own(id, stop(of)));
        // For each process: its drain, its stop, and the later steps.
        let mut all = vec![Duration::ZERO; spec.processes.len()];
        let mut after = all.clone();
        for id in &spec.order {
            let of = &spec.processes[id.index()];
            let later = of.dependencies.iter().map(|(on, _)| all[on.index()]).max();
            after[id.index()] = later.unwrap_or_default().max(stops[id.index()]);
            let drain = of.drain.map_or(Duration::ZERO, least_drain);
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

    /// A drain gets its `time` if the later steps of its own path do not keep the time, and its
    /// `min` whenever each later stop can have a second. It begins after `readiness_delay` if this
    /// delay, the `min`s and a second for each later stop fit.
    pub(super) fn holds_drain_time(
        &self,
        now: Time,
        process: ProcessId,
        (min, longest): (Duration, Duration),
        procs: &[Proc],
    ) {
        let Some(since) = self.unready_since else { return };
        let spec = &self.scenario.spec;
        let Some(times) = self.of(process).drain else { return };
        let is_asked = self.cause.is_none_or(|cause| cause.is_asked());
        let wish = if is_asked { times.time } else { times.min };
        // holds: S37, S79, S111
        self.hold(longest <= wish.max(spec.unready_delay), "a drain longer than its time");
        if self.has_reloaded {
            return;
        }
        let deadline = self.deadline.or(self.held_at.map(|at| at + spec.window));
        let left = deadline.map_or(spec.window, |deadline| deadline.since(now));
        let fits = times.min + self.kept_after_drain(process, least_stop) <= left;
        // holds: S79
        self.hold(min >= times.min || !fits, "less than `min` although `min` fits");
        let needs = self.of(process).stop.unwrap_or(needed(self.of(process)));
        let is_left = longest <= min || longest + needs <= left;
        // holds: S842
        self.hold(is_left, "a drain leaves its own stop less time than it needs");
        let free = left.saturating_sub(self.kept_after_drain(process, kept_stop));
        let has_ended = self.count_ends > self.ended_before;
        // holds: S79
        self.hold(longest >= wish.min(free) || has_ended, "less than `time` although time is left");
        // holds: S10, S12, S75, C83, C111, C112, C605
        self.hold(
            !self.is_delaying(now, since) || procs.iter().all(|proc| !proc.alive && !proc.group),
            "a drain before the delay is over",
        );
    }

    /// Whether drainit certainly still waits for `readiness_delay`.
    fn is_delaying(&self, now: Time, since: Time) -> bool {
        let spec = &self.scenario.spec;
        let before = spec.readiness_delay.max(hook_need(spec.hooks.pre_stop));
        let fits = before + self.least_after_delays() <= spec.window && self.held_at.is_none();
        self.was_good && fits && now < since + spec.readiness_delay
    }

    /// `/readyz` turns 503 at the end of `unready_delay`. If the window is too short, the delay
    /// leaves a second for each later stop, and the `min`s of later drains.
    // holds: C84
    pub(super) fn holds_ready(&self, now: Time, since: Time) {
        if self.has_reloaded {
            return;
        }
        let spec = &self.scenario.spec;
        let (delay, window) = (spec.unready_delay, spec.window);
        let drained = spec.ids().filter(|id| spec.processes[id.index()].drain.is_some());
        let after = drained.map(|id| self.kept_after_drain(id, least_stop)).max();
        let least = delay.min(window.saturating_sub(after.unwrap_or_default()));
        let has_ended = self.count_ends > self.ended_before;
        // A second stop signal ends the wait. If an Envoy reports that it was never live, this may
        // also end the wait.
        let is_cut = self.stop_signals >= 2 || self.at.iter().any(|seen| seen.not_live);
        let is_due = now >= since + least;
        // holds: S13
        self.hold(is_due || has_ended || is_cut, "not ready before the delay is over");
        // Another process may be down, so only processes that are being drained certainly count.
        let running = |id: &ProcessId| self.at[id.index()].draining;
        let min = |id, of: &ProcessSpec| {
            self.kept(id, of.drain.map_or(Duration::ZERO, |drain| drain.min))
        };
        let below = |slot| {
            let id = ProcessId(self.slots.process(slot) as u16);
            self.path_from(slot, min).saturating_sub(min(id, self.of(slot)))
        };
        let later = self.slots.all().filter(running).map(below).max().unwrap_or_default();
        let is_short = now <= self.seen_at(since + window.saturating_sub(later).min(delay));
        // holds: S21
        self.hold(is_short, "`unready_delay` takes the `min` of a later drain");
    }

    /// A stop begins during the drains only if no drain needs the process, and if its declared
    /// time, or that of a later step, would not fit later.
    pub(super) fn holds_late_stop(&self, now: Time, slot: ProcessId, procs: &[Proc]) {
        let is_open = |id: ProcessId| {
            let seen = &self.at[id.index()];
            let is_alive = procs[id.index()].alive && !seen.gone;
            let is_due = seen.was_serving && is_alive && self.of(id).drain.is_some();
            seen.draining && !seen.drain_over || is_due && !seen.drained && !seen.not_drained
        };
        let is_hurried = self.stop_signals >= 2;
        if is_hurried || !self.slots.all().any(is_open) {
            return;
        }
        let is_needed = is_open(slot) || self.above(slot).into_iter().any(is_open);
        // holds: S24
        self.hold(!is_needed, "a stop during a drain that needs the process");
        if self.has_reloaded {
            return;
        }
        let pre_stop = HookId { process: None, stage: Stage::PreStop };
        // holds: S769
        self.hold(!self.hooks.contains(&pre_stop), "a stop while the container's hook runs");
        // A drained process leaves later stops what they keep.
        let is_drained = self.of(slot).drain.is_some();
        let needs = if is_drained { kept_stop } else { declared_stop };
        let needs = self.path_from(slot, |_, of| needs(of)) + self.needed_at_the_end();
        let is_late = self.deadline.is_some_and(|deadline| deadline <= now + needs);
        // holds: S860
        self.hold(is_late, "a stop before the drains are over");
        let serves = !self.at[slot.index()].listens_on_nothing;
        let is_delaying = self.unready_since.is_some_and(|since| self.is_delaying(now, since));
        // holds: S861
        self.hold(!serves || !is_delaying, "a stop of a server during the delay");
    }

    /// As soon as a stop that no drain needs would no longer fit, it begins.
    // holds: S860
    pub(super) fn holds_no_late_stop(&self, machine: &Machine, procs: &[Proc]) {
        let Phase::Draining(draining) = machine.phase() else { return };
        let (Some(deadline), Some(since)) = (self.deadline, self.unready_since) else { return };
        let pre_stop = HookId { process: None, stage: Stage::PreStop };
        let is_waiting = draining.counts() || self.hooks.contains(&pre_stop) || self.has_reloaded;
        if is_waiting || self.is_replacing() {
            return;
        }
        let now = machine.state().timers_at;
        let runs = |id: ProcessId| procs[id.index()].alive || procs[id.index()].group;
        for id in self.slots.all().filter(|id| procs[id.index()].alive) {
            let seen = &self.at[id.index()];
            let is_due = seen.was_serving && self.of(id).drain.is_some();
            let is_open =
                seen.draining && !seen.drain_over || is_due && !seen.drained && !seen.not_drained;
            let is_asked = seen.asked.is_some() || seen.survives_at.is_some();
            let hook = HookId { process: Some(id), stage: Stage::PreStop };
            let is_needed = self.above(id).into_iter().any(|above| {
                let open = &self.at[above.index()];
                let life = machine.state().life(above);
                runs(above) || open.draining && !open.drain_over || !life.releases_dependencies()
            });
            if !seen.started || is_open || is_asked || is_needed || self.hooks.contains(&hook) {
                continue;
            }
            // A process that was asked to end needs less than its whole time.
            let declared = self.path_from(id, |id, of| {
                let needs = runs(id) && self.at[id.index()].asked.is_none();
                if needs { declared_stop(of) } else { Duration::ZERO }
            });
            let is_late = deadline < now + declared;
            let spec = &self.scenario.spec;
            let served = since + spec.readiness_delay.max(spec.unready_delay);
            let may_serve = !seen.listens_on_nothing && now <= served;
            self.hold(!is_late || may_serve, "a stop that no drain needs waits too long");
        }
    }

    fn is_replacing(&self) -> bool {
        self.slots.all().any(|slot| self.is_replaced(slot))
    }

    /// The limit of a stop, if there were no deadline.
    pub(super) fn stop_limit(&self, slot: ProcessId) -> Duration {
        let is_asked = self.cause.is_none_or(|cause| cause.is_asked());
        let most = if is_asked { Duration::MAX } else { MOST_KEPT };
        self.of(slot).stop.unwrap_or(self.window.min(most))
    }

    /// The time from a stop signal to SIGKILL: all the time that later steps do not keep, and an
    /// equal share of the time left.
    pub(super) fn holds_limit(&self, now: Time, slot: ProcessId, limit: Duration, procs: &[Proc]) {
        let full = self.stop_limit(slot);
        let Some(deadline) = self.deadline else {
            if !self.unready && !self.at[slot.index()].handed_over {
                self.hold(limit == full, "less than the full time without a deadline");
            }
            return;
        };
        let left = deadline.since(now);
        self.hold(limit <= left, "a limit beyond the deadline");
        // holds: S77, S862
        self.hold(limit <= full, "more time to stop than the process has");
        // The promise is not checked if a newer epoch ends an older one, because both ends together
        // need more time.
        if self.has_reloaded || self.at.iter().any(|seen| seen.handed_over) {
            return;
        }
        let free = left.saturating_sub(self.kept_after_now(slot, procs));
        // holds: S75, S78, S81, S862
        self.hold(limit >= full.min(free), "less time to stop although nobody needs the time");
        let share = least_stop(self.of(slot)).min(left / self.steps_from(slot));
        // holds: S76, S80
        self.hold(limit + Duration::from_millis(1) >= share, "a stop has less than its share");
    }

    /// No process gets SIGKILL while time is left that nobody needs.
    // holds: S862
    pub(super) fn holds_no_early_kill(&self, now: Time, slot: ProcessId, procs: &[Proc]) {
        let Some((asked, _)) = self.at[slot.index()].asked else { return };
        let Some(deadline) = self.deadline else { return };
        let is_family = self.at[slot.index()].pending
            || self.at.iter().any(|seen| seen.handed_over || seen.taken_over);
        if self.has_reloaded || self.is_replacing() || is_family {
            return;
        }
        let steps = self.steps_from(slot);
        let own = self.of_config(slot).stop;
        let is_asked = self.cause.is_none_or(|cause| cause.is_asked());
        // In a shutdown that somebody asked for, only the deadline limits a stop without a declared
        // time, even if the stop began before.
        let exits = procs[slot.index()].exits;
        // holds: S840
        let is_limited = (own.is_some() || !is_asked) && !exits;
        let from = self.t0.map_or(asked, |t0| asked.max(t0));
        let left = deadline.since(from);
        let is_short = left < self.kept_after(slot) + LEAST_STOP;
        let is_over = is_limited && now >= asked + self.stop_limit(slot)
            || deadline <= now + self.kept_after_now(slot, procs)
            || is_short && now >= from + own.unwrap_or(MOST_KEPT).min(left / steps);
        self.hold(is_over, "a SIGKILL while time is left that nobody needs");
    }

    /// The line before a SIGKILL names what ended the time of the stop, and nothing else.
    // holds: S768
    pub(super) fn holds_named_limit(
        &self,
        now: Time,
        slot: ProcessId,
        after: Duration,
        why: StopLimit,
    ) {
        let is_over = self.deadline.is_some_and(|deadline| deadline <= now);
        let own = self.of(slot).stop;
        let is_true = match why {
            StopLimit::Own { is_declared } => {
                is_declared == own.is_some() && after >= self.stop_limit(slot)
            }
            StopLimit::Kept { by, time, is_declared } => {
                let is_below = self
                    .of(slot)
                    .dependencies
                    .iter()
                    .any(|(on, _)| on.index() == self.slots.process(by));
                let is_kept = is_below && time <= self.window;
                is_declared == own.is_some() && is_kept && !is_over
            }
            StopLimit::Deadline { is_declared } => is_declared == own.is_some() && is_over,
            StopLimit::Other => !is_over || self.stop_signals >= 3,
        };
        self.hold(is_true || self.has_reloaded, "a SIGKILL for another reason than it says");
    }

    /// A drain ends for lack of time only if the later steps of its path keep the rest.
    // holds: S38, S862
    pub(super) fn holds_no_early_end(&self, now: Time, slot: ProcessId, procs: &[Proc]) {
        let Some(deadline) = self.deadline.filter(|_| !self.has_reloaded) else { return };
        let runs = |id: ProcessId| {
            let hook = HookId { process: Some(id), stage: Stage::PostStop };
            let proc = &procs[id.index()];
            proc.alive || proc.group || self.aborted.contains(&id) || self.hooks.contains(&hook)
        };
        let needs = |id: ProcessId| self.slots_of(id.index()).any(runs);
        let seen = &self.at[slot.index()];
        if !seen.closing.is_zero() && self.count_ends > seen.ended_before_closing {
            // Time that becomes free after the listeners are closed is of no use.
            return;
        }
        let kept = self.kept_after_drain_if(slot, needs, kept_stop);
        self.hold(deadline <= now + kept, "a drain ends while time is left that nobody needs");
    }

    /// An upper bound for the number of steps from the stop of a process on.
    fn steps_from(&self, slot: ProcessId) -> u32 {
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
        let process = ProcessId(self.slots.process(slot) as u16);
        let of = &spec.processes[process.index()];
        // If a drain without a stop has used up the window, only `LEAST` is left.
        let window = spec.window.min(self.held_at.map_or(spec.window, |_| LEAST));
        let path = self.path_from(slot, |_, of| least_stop(of));
        let above = spec.processes.iter().map(|of| {
            1 + u32::from(of.hooks.pre_stop.is_some()) + u32::from(of.hooks.post_stop.is_some())
        });
        let left = path.min(window / 4) / 2 / above.sum::<u32>();
        // The kills of the other processes may take a few milliseconds, which this process loses.
        let moments = Duration::from_millis(3 * self.slots.count() as u64);
        left.min(least_stop(of)).saturating_sub(moments)
    }

    fn of_config(&self, slot: ProcessId) -> &ProcessSpec {
        &self.scenario.spec.processes[self.slots.process(slot)]
    }
}

/// The time that a drain leaves to no other step.
fn least_drain(drain: DrainSpec) -> Duration {
    drain.min + if drain.closes { CLOSING } else { Duration::ZERO }
}

fn hooks_need(of: &ProcessSpec) -> Duration {
    hook_need(of.hooks.pre_stop) + hook_need(of.hooks.post_stop)
}

/// The most time that a stop with its hooks keeps.
pub(super) fn kept_stop(of: &ProcessSpec) -> Duration {
    hooks_need(of) + of.stop.unwrap_or(MOST_KEPT)
}

/// The time that a stop with its hooks needs if it declares a time, and a second otherwise.
fn declared_stop(of: &ProcessSpec) -> Duration {
    hooks_need(of) + of.stop.unwrap_or(needed(of))
}

/// The time that a stop needs to end, as far as it is known, or a second.
fn needed(of: &ProcessSpec) -> Duration {
    of.to_end.unwrap_or_default().clamp(LEAST_STOP, MOST_KEPT)
}

/// The time that traffic leaves to a stop.
fn least_stop(of: &ProcessSpec) -> Duration {
    of.stop.unwrap_or(LEAST_STOP).min(LEAST_STOP)
}
