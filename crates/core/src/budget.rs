//! Divides the time until the deadline.
//!
//! - *Traffic first*: the delays and the `min` of each drain leave [`LEAST_STOP`] to each later
//!   stop of their own path, and no more. The `min`s of all drains pass at the same time.
//! - *Work-conserving*: every other step gets all the time that the later steps of its own path do
//!   not *keep*. A later stop or hook keeps its declared time, and a second if it declares none. A
//!   later drain keeps a second. A store without `stop_grace_period` keeps an equal share, but at
//!   most [`MOST_KEPT`].
//! - *Waiting must help*: a process without `stop_grace_period` that ignores its stop signal gets no
//!   more than an equal share of the time.
//!
//! The *path* of a step are the steps that can begin only after it: those of the process, and of
//! the processes on which it depends. Independent processes never shorten each other's steps.

use core::time::Duration;

use crate::prelude::*;
use crate::spec::{DrainSpec, HookWait, ProcessSpec, Spec, Sum, Sums, after};
use crate::types::ProcessId;

/// The delays and the `min` of each drain leave this time to each later stop, and a later step that
/// declares no time keeps it. In this time, a process can at least handle its stop signal.
pub(crate) const LEAST_STOP: Duration = Duration::from_secs(1);
/// The stop of a store without `stop_grace_period` keeps at most this time from earlier steps: the
/// time in which programs have to stop under Docker, if nobody says otherwise.
pub const MOST_KEPT: Duration = Duration::from_secs(10);
/// The longest wait for the end of a killed process outside a shutdown. The wait is long, because
/// the kernel takes seconds to free the memory of a large process.
pub(crate) const UNHURRIED_AFTER_KILL: Duration = Duration::from_secs(5);
/// Closing the listeners gets this time even if the stops need all the time left. An Envoy that is
/// not busy answers within milliseconds.
pub const MIN_CLOSING: Duration = Duration::from_millis(250);

/// The times that a step has to leave for the steps after it. They are sums along the longest path
/// through the dependencies of a process, and are computed only once.
#[derive(Clone, Debug, Default)]
pub struct Budget {
    /// For each process: the declared time of its stop, or its equal share of the time.
    shares: Vec<Duration>,
    /// For each process: its stop, its hooks, and all later steps. A stop that no drain needs begins
    /// when only the `declared` time of the path is left before the deadline, or after its own
    /// drain when only `kept` is left.
    pub stops: Vec<Path>,
    /// For each process: all steps after its drain. The first closes its listeners, or counts once
    /// more. After the drains come the final counts, if there are any.
    drained: Vec<Path>,
    /// All steps after the waits before the drains.
    pub all: Path,
    /// The time that `all` leaves, without the `min` of the first drain of each path.
    after_first: Option<Duration>,
    /// The container's `post_stop` hook, as far as it needs time before the deadline.
    last: Path,
    /// Whether the end of a declared stop changes what other steps get, even if the order of the stop
    /// is kept. This is so if the declared stops of a path exceed the time, so that each end frees a
    /// part of the excess, and if there is a step that this part can change: a drain, a stop that
    /// declares no time, or a step under way.
    pub ends_free_time: bool,
}

/// The times of the steps of the longest path.
#[derive(Clone, Copy, Debug, Default)]
pub struct Path {
    /// The number of steps that keep time.
    steps: u32,
    /// The sums of the times of the steps.
    times: Times,
}

/// The times that a step takes from the steps before it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Times {
    /// The time that the step keeps.
    pub kept: Duration,
    /// Like `kept`, with an equal share of the time for each stop without `stop_grace_period`. A
    /// process that ignores its stop signal leaves this time.
    shared: Duration,
    /// The time that the delays and drains leave: [`LEAST_STOP`] for each stop, or its declared
    /// time if that is shorter.
    pub least: Duration,
    /// Like `kept`, with the `time` of each drain. A stop that does not wait for drains begins when
    /// only this time is left.
    pub declared: Duration,
}

impl Times {
    /// A step that always takes this time.
    fn all(time: Duration) -> Self {
        Self { kept: time, shared: time, least: time, declared: time }
    }

    /// A hook, for which traffic does not wait.
    fn hook(need: Duration) -> Self {
        Self { least: Duration::ZERO, ..Self::all(need) }
    }

    /// Combines each time with the time of another step.
    fn with(self, other: Self, both: impl Fn(Duration, Duration) -> Duration) -> Self {
        Self {
            kept: both(self.kept, other.kept),
            shared: both(self.shared, other.shared),
            least: both(self.least, other.least),
            declared: both(self.declared, other.declared),
        }
    }
}

impl core::ops::Deref for Path {
    type Target = Times;

    fn deref(&self) -> &Times {
        &self.times
    }
}

impl Path {
    /// This path after another step.
    fn after(self, step: Times) -> Self {
        let steps = self.steps + u32::from(!step.kept.is_zero());
        Self { steps, times: self.times.with(step, Duration::saturating_add) }
    }

    /// The longest path of all dependencies of a process, of which each has a path in `paths`.
    fn below(self, process: &ProcessSpec, paths: &[Self]) -> Self {
        process.dependencies.iter().fold(self, |path, (on, _)| path.or(paths[on.index()]))
    }

    /// The larger of each of the times.
    fn or(self, other: Self) -> Self {
        let times = self.times.with(other.times, Duration::max);
        Self { steps: self.steps.max(other.steps), times }
    }

    /// The time that a step gets before this path: the time that the later steps do not keep. If
    /// that is less than [`LEAST_STOP`], the later steps could not keep their times anyway. The
    /// step then gets an equal share of the time left, as far as it keeps this share itself. Without
    /// a deadline (`left` is `None`), the step gets its limit.
    fn grants(self, limit: Duration, keeps: Duration, left: Option<Duration>) -> Duration {
        self.grants_beside(self.kept, limit, keeps, left)
    }

    /// Like [`Self::grants`], if the later steps keep this time.
    fn grants_beside(
        self,
        kept: Duration,
        limit: Duration,
        keeps: Duration,
        left: Option<Duration>,
    ) -> Duration {
        let Some(left) = left else { return limit };
        let free = left.saturating_sub(kept);
        let share = if free < LEAST_STOP { keeps.min(left / (self.steps + 1)) } else { free };
        limit.min(free.max(share))
    }
}

/// The steps that lie ahead of a process when the time is divided, and the time that each needs.
#[derive(Clone, Copy, Debug)]
pub struct Ahead {
    /// Whether the process is drained.
    pub drain: bool,
    /// Whether the first of the other steps is under way. The steps then wait for no other process,
    /// so they take no time from the dependents.
    pub is_begun: bool,
    pub pre_stop: Duration,
    /// `None` if the stop declares no time, and no measurement shows that it needs more than
    /// [`LEAST_STOP`].
    pub stop: Option<Duration>,
    pub post_stop: Duration,
}

impl Ahead {
    /// All steps of a process.
    pub fn all(process: &ProcessSpec) -> Self {
        let measured = process.to_end.filter(|time| *time > LEAST_STOP);
        Self {
            drain: process.is_drained(),
            is_begun: false,
            pre_stop: HookWait::need_of(process.hooks.pre_stop),
            stop: process.stop.or(measured.map(|time| time.min(MOST_KEPT))),
            post_stop: HookWait::need_of(process.hooks.post_stop),
        }
    }
}

/// The steps that lie ahead of all processes.
struct Steps<'s> {
    spec: &'s Spec,
    /// For each process: its steps.
    ahead: Vec<Ahead>,
}

impl Steps<'_> {
    fn of(&self, id: ProcessId) -> &Ahead {
        &self.ahead[id.index()]
    }

    /// The drain of a process, if it lies ahead.
    fn drain(&self, id: ProcessId) -> Option<DrainSpec> {
        self.spec.of(id).drain.filter(|_| self.of(id).drain)
    }

    /// The time in which the listeners of a process are closed after its drain.
    fn close(&self, id: ProcessId) -> Duration {
        self.drain(id).filter(|drain| drain.closes).map_or(Duration::ZERO, |_| MIN_CLOSING)
    }

    /// The time of the final counts. A count follows if a drain that counts traffic can end before
    /// another drain.
    fn final_count(&self) -> Duration {
        let drains = self.spec.ids().filter(|id| self.drain(*id).is_some()).count();
        let closes = self.spec.ids().map(|id| self.close(id)).max();
        closes.filter(|_| drains > 1).unwrap_or_default()
    }

    /// The path that begins with the stop of a process and its hooks, before this path. `share` is
    /// the share of the process.
    fn before_stop(&self, later: Path, id: ProcessId, share: Duration) -> Path {
        let &Ahead { pre_stop, stop, post_stop, .. } = self.of(id);
        let unset = if self.spec.of(id).is_store { share } else { LEAST_STOP };
        let kept = stop.unwrap_or(unset);
        let stop = Times { kept, shared: share, least: kept.min(LEAST_STOP), declared: kept };
        later.after(Times::hook(post_stop)).after(stop).after(Times::hook(pre_stop))
    }

    /// The path that begins with the drain of a process, if one lies ahead, before this path. The
    /// `min`s of all drains pass at the same time, so a drain that is not the first of its path
    /// keeps only a second.
    fn before_drain(&self, later: Path, id: ProcessId, is_first: bool) -> Path {
        let Some(drain) = self.drain(id) else { return later };
        let least = if is_first { drain.min } else { Duration::ZERO };
        let declared = declared_drain(self.spec, drain);
        let kept = least.max(declared.min(LEAST_STOP));
        let declared = declared.max(kept);
        later.after(Times { kept, shared: kept, least, declared })
    }
}

impl Budget {
    /// The budget of a shutdown in which all steps lie ahead.
    pub fn of(spec: &Spec) -> Self {
        Self::new(spec, spec.window, |id| Ahead::all(spec.of(id)))
    }

    /// Makes the budget of a shutdown. `left` is the time until the deadline, less the delay before
    /// the drains. `ahead` returns the steps of a process that lie ahead.
    ///
    /// A process comes after its dependencies here, so each path is made from the paths below it.
    /// The words:
    ///
    /// - A step *keeps* time if steps before it leave this time to it.
    /// - The *share* of a process is the declared time of its stop. For a stop that declares none, it
    ///   is an equal part of the time.
    /// - The *last* path is the container's `post_stop` hook, which comes after everything.
    /// - The *stop path* of a process begins with its stop and its hooks. The stop paths of its
    ///   dependencies come after it.
    /// - The *final counts* come between the last drain and the first stop.
    /// - The *drained* path of a process comes after its drain: its close, and then the longer of
    ///   two paths. One is the final counts and its stop path. The other is a drain path below.
    /// - The *drain path* of a process begins with its drain. Its drained path comes after it.
    pub fn new(spec: &Spec, left: Duration, ahead: impl Fn(ProcessId) -> Ahead) -> Self {
        let steps = Steps { spec, ahead: spec.ids().map(ahead).collect() };
        let hook = HookWait::need_of(spec.hooks.post_stop).saturating_sub(spec.after_deadline());
        let last = Path { times: Times::hook(hook), ..Path::default() };
        let final_count = steps.final_count();
        let to_share = left.saturating_sub(last.kept.saturating_add(final_count));
        let shares = Shares::new(&steps, to_share);
        let mut drain_paths = vec![last; spec.processes.len()];
        let mut budget = Self {
            shares: vec![Duration::ZERO; drain_paths.len()],
            stops: drain_paths.clone(),
            drained: drain_paths.clone(),
            all: last,
            after_first: None,
            last,
            ends_free_time: shares.ends_free_time,
        };
        for &id in &spec.order {
            let (process, place, own) = (spec.of(id), id.index(), steps.of(id));
            let share = own.stop.unwrap_or_else(|| shares.of(id));
            let mut stop_path = last.below(process, &budget.stops);
            if !own.is_begun {
                stop_path = steps.before_stop(stop_path, id, share);
            }
            // In the 10 s of Docker, the default `min` of 5 s then fits before any number of stops.
            stop_path.times.least = stop_path.least.min(spec.window / 4);
            let to_count = stop_path.after(Times::all(final_count)).below(process, &drain_paths);
            let drained = to_count.after(Times::all(steps.close(id)));
            if steps.drain(id).is_some() {
                budget.after_first = budget.after_first.max(Some(drained.least));
            }
            budget.shares[place] = share;
            budget.stops[place] = stop_path;
            budget.drained[place] = drained;
            budget.all = budget.all.or(steps.before_drain(drained, id, true));
            drain_paths[place] = steps.before_drain(drained, id, false);
        }
        budget
    }

    /// The limit of a wait before the drains: the readiness delay, or the `pre_stop` hook of the
    /// container. A hook without a declared time may use more than its `need` if the later steps do
    /// not keep the time.
    pub fn before_drains(&self, wait: HookWait, left: Duration) -> Duration {
        let spare = left.saturating_sub(self.all.kept.max(self.all.declared));
        wait.limit.min(spare.max(wait.need.min(left.saturating_sub(self.all.least))))
    }

    /// The time for which `/readyz` stays good in a shutdown. The first drains run during this
    /// time.
    pub fn unready_delay(&self, spec: &Spec, left: Duration) -> Duration {
        spec.unready_delay.min(left.saturating_sub(self.after_first.unwrap_or_default()))
    }

    /// The longest wait of a drain that begins now, or that may last this `time` from now. The drain
    /// gets the time that the later steps of its path do not keep, but what is left of its `min` at
    /// their cost. Without a deadline (`left` is `None`), the drain gets its time.
    pub fn drain(
        &self,
        id: ProcessId,
        min: Duration,
        time: Duration,
        left: Option<Duration>,
    ) -> Duration {
        let Some(left) = left else { return time };
        let Times { kept, least, .. } = *self.drained[id.index()];
        time.min(left.saturating_sub(kept).max(min.min(left.saturating_sub(least))))
    }

    /// The longest drain of a process, if it begins at the beginning of the shutdown of which this
    /// is the budget. Zero if the process has no drain.
    pub fn longest_drain(&self, spec: &Spec, id: ProcessId) -> Duration {
        let wish = spec.of(id).drain.map_or(Duration::ZERO, |drain| drain.longest(spec.window));
        wish.min(self.most_for_drain(spec, id))
    }

    /// The longest drain that a process could have in this shutdown, whatever its `time` is.
    pub fn most_for_drain(&self, spec: &Spec, id: ProcessId) -> Duration {
        self.drain(id, Duration::ZERO, spec.window, Some(spec.window))
    }

    /// The limit for closing the listeners of a drained process, and for the count that follows: a
    /// part of the time that later steps do not declare, but at least [`MIN_CLOSING`]. Without a
    /// deadline (`left` is `None`), the window counts as the time left, or the time of which
    /// [`hang_limit`] allows [`MIN_CLOSING`] if that is longer.
    pub fn closing(&self, spec: &Spec, id: ProcessId, left: Option<Duration>) -> Duration {
        let most = spec.window.max(MIN_CLOSING * 4);
        let left = left.map_or(most, |left| left.min(most));
        if spec.of(id).drain.is_some_and(|drain| drain.by_kernel) {
            return counting(left);
        }
        let free = (left + MIN_CLOSING).saturating_sub(self.drained[id.index()].declared);
        hang_limit(MIN_CLOSING, left).min(free.max(MIN_CLOSING))
    }

    /// The time that leftover processes get between SIGTERM and SIGKILL. drainit does not know
    /// which process started them, so they get the longest limit of any process; `unset` is the
    /// limit of a stop without `stop_grace_period`. The container's `post_stop` hook keeps its
    /// time.
    pub fn leftovers(&self, spec: &Spec, unset: Duration, left: Duration) -> Duration {
        let stops = spec.processes.iter().filter(|process| !process.left_out);
        let longest = stops.map(|process| process.stop.unwrap_or(unset)).max().unwrap_or_default();
        longest.min(left.saturating_sub(self.last.kept))
    }

    /// The time from the stop signal to SIGKILL for a process that is asked to stop now. `unset` is
    /// the limit of a stop without `stop_grace_period`.
    pub fn stop(
        &self,
        spec: &Spec,
        id: ProcessId,
        unset: Duration,
        left: Option<Duration>,
    ) -> Duration {
        let limit = spec.of(id).stop.unwrap_or(unset);
        self.after_stop(spec, id).grants(limit, self.shares[id.index()], left)
    }

    /// Like [`Self::stop`], for a process that ignores its stop signal. Each later stop without
    /// `stop_grace_period` then keeps an equal share, because waiting cannot help.
    pub fn stop_in_vain(
        &self,
        spec: &Spec,
        id: ProcessId,
        unset: Duration,
        left: Option<Duration>,
    ) -> Duration {
        let limit = spec.of(id).stop.unwrap_or(unset);
        let after = self.after_stop(spec, id);
        after.grants_beside(after.shared, limit, self.shares[id.index()], left)
    }

    /// The limit of the `pre_stop` hook of a process; `None` if there is none. A hook that declares
    /// its time comes before an own stop that does not.
    pub fn pre_stop(&self, spec: &Spec, id: ProcessId, left: Option<Duration>) -> Option<Duration> {
        let hook = spec.of(id).hooks.pre_stop?;
        let least = hook.is_declared().then_some(LEAST_STOP);
        let kept = spec.of(id).stop.or(least).unwrap_or(self.shares[id.index()]);
        let later = self.after_stop(spec, id).after(Times::all(kept));
        Some(later.grants(hook.limit, hook.need, left))
    }

    /// The limit of the `post_stop` hook of a process that is gone; `None` if there is none.
    pub fn post_stop(
        &self,
        spec: &Spec,
        id: ProcessId,
        left: Option<Duration>,
    ) -> Option<Duration> {
        let HookWait { limit, need } = spec.of(id).hooks.post_stop?;
        Some(self.last.below(spec.of(id), &self.stops).grants(limit, need, left))
    }

    /// The process whose steps keep the most time from the stop of a process, and this time: a
    /// dependency with all later steps, or the process itself with its `post_stop` hook. `None` in
    /// place of the process is the container with its hook. `None` if nothing keeps time.
    pub fn keeper(&self, spec: &Spec, id: ProcessId) -> Option<(Option<ProcessId>, Duration)> {
        let (last, kept) = (self.last.kept, |on: ProcessId| self.stops[on.index()].kept);
        let below = |id| {
            let below = spec.of(id).dependencies.iter().map(|(on, _)| (*on, kept(*on)));
            below.filter(|(_, kept)| *kept > last).max_by_key(|(_, kept)| *kept)
        };
        // A stop that is under way keeps nothing itself.
        let later = |by: &(_, _)| below(by.0).filter(|later| later.1 == by.1);
        let by = core::iter::successors(below(id), later).last().map(|(by, kept)| (Some(by), kept));
        let hook = || spec.of(id).hooks.post_stop.map(|hook| (Some(id), hook.need));
        by.or_else(hook).or((!last.is_zero()).then_some((None, last)))
    }

    /// The path after the stop of a process. A process that is being stopped may use the time that
    /// this path does not keep.
    pub fn after_stop(&self, spec: &Spec, id: ProcessId) -> Path {
        let of = spec.of(id);
        self.last.below(of, &self.stops).after(Times::hook(HookWait::need_of(of.hooks.post_stop)))
    }
}

/// The time that a drain declares: its `time`, or its `min`. A `time` as long as the window means what
/// the deadline leaves, as no `time` does.
fn declared_drain(spec: &Spec, drain: DrainSpec) -> Duration {
    drain.time.filter(|time| *time < spec.window).unwrap_or(drain.min)
}

/// The equal shares of stops without `stop_grace_period`.
struct Shares {
    /// The time of all stops.
    left: Duration,
    /// For each process: the declared times of the paths through it, and their stops that declare
    /// none.
    written: Vec<Sums>,
    /// For each process: the declared stops of the path through it, and their number.
    stopping: Vec<Sum>,
    /// See [`Budget::ends_free_time`].
    ends_free_time: bool,
}

impl Shares {
    fn new(steps: &Steps<'_>, left: Duration) -> Self {
        let spec = steps.spec;
        let begun = |id| steps.of(id).is_begun;
        let own = |id| {
            let &Ahead { pre_stop, stop, post_stop, .. } = steps.of(id);
            stop.unwrap_or_default().saturating_add(pre_stop).saturating_add(post_stop)
        };
        let stopping = |id| {
            let stop = steps.of(id).stop;
            let time = stop.map_or(Duration::ZERO, |_| own(id));
            (time, u32::from(stop != Some(Duration::ZERO)))
        };
        let stopping: Vec<_> =
            spec.sums_through(stopping, begun, 1).into_iter().map(|sums| sums.0).collect();
        let written = |id| {
            let declared = |drain| declared_drain(spec, drain);
            let drain = steps.drain(id).map_or(Duration::ZERO, declared);
            let drain = drain.saturating_add(steps.close(id));
            (own(id).saturating_add(drain), u32::from(steps.of(id).stop.is_none()))
        };
        let is_shared = steps.ahead.iter().any(|ahead| ahead.stop.is_none());
        // A share is 1 s at least, so in a window of 32 s no path has more sums that matter.
        let written = is_shared.then(|| spec.sums_through(written, begun, 32));
        let is_under_way = |id| begun(id) && !own(id).is_zero();
        let has_other = |id| steps.of(id).drain || is_under_way(id);
        let can_change = is_shared || spec.ids().any(has_other);
        let ends_free_time = can_change && stopping.iter().any(|sum| sum.0 > left);
        Self { left, written: written.unwrap_or_default(), stopping, ends_free_time }
    }

    /// The share of a process. The declared times come first. The other stops of each path share
    /// what is left. If the stops declare more than there is, the excess is shared, too.
    fn of(&self, id: ProcessId) -> Duration {
        let least = |sum: Sum| self.left.saturating_sub(sum.0) / sum.1.max(1);
        let share = after(&self.written[id.index()], Sum::default()).map(least).min();
        let over = |sum: Sum| sum.0.saturating_sub(self.left).min(self.left / sum.1.max(1));
        let share = over(self.stopping[id.index()]).max(share.unwrap_or_default());
        share.clamp(LEAST_STOP, MOST_KEPT)
    }
}

/// The limit of a wait that may hang: an eighth of the time left, so that five such waits in a row
/// leave half of it, or `least` if that is longer. It is at most a quarter, so that even then the
/// two such waits of an Envoy that hangs (its close, and its end after SIGKILL) leave half.
pub fn hang_limit(least: Duration, left: Duration) -> Duration {
    (left / 8).max(least).min(left / 4)
}

/// The limit of a count by the kernel, which needs only milliseconds, such as the last count before
/// a stop. As for [`hang_limit`], it is at most a quarter, so that a count and a close leave half.
pub fn counting(left: Duration) -> Duration {
    MIN_CLOSING.min(left / 4)
}

#[cfg(test)]
mod tests;
