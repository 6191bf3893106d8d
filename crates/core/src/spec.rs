//! The part of a config that the core needs for its decisions.

use core::time::Duration;

use drainit_derive::Named;

use crate::graph::Graph;
use crate::prelude::*;
use crate::types::{
    AFTER_KILL, End, ExitPolicy, OnExit, ProcessId, Restart, Signal, StartCondition, Update,
    WatchAction,
};

/// The longest wait after the deadline for a killed process to end. The wait is longer than
/// [`AFTER_KILL`], because the kernel needs time to free the memory of a large process.
const LONGEST_AFTER_KILL: Duration = Duration::from_millis(500);
/// The shortest value of [`ProcessSpec::last_probe`].
const LEAST_PROBE: Duration = Duration::from_secs(1);
/// The shortest pause between two scans for leftover processes. One scan is not enough, because it
/// can miss a process that forks and ends all the time.
pub const SWEEP_PAUSE: Duration = Duration::from_millis(20);

/// In a hot restart, the new Envoy takes over, and ends the old one `--parent-shutdown-time-s`
/// later. drainit waits this much longer for the end of the old Envoy. The margin is longer than 5
/// s, because the new Envoy reads the statistics of the old one every 5 s.
pub const HANDOVER_MARGIN: Duration = Duration::from_secs(10);

/// The container and its processes.
#[derive(Clone, Debug)]
pub struct Spec {
    /// The time from the beginning of a shutdown to the deadline: grace period − reserve.
    pub window: Duration,
    /// The time from the deadline to the end of the grace period.
    pub reserve: Duration,
    /// The time for which `/readyz` answers 503 before the drains begin.
    pub readiness_delay: Duration,
    /// How long `/readyz` may still answer 200 after a shutdown has begun. No drain ends in this
    /// time.
    pub unready_delay: Duration,
    /// Whether a shutdown counts the connections that the stops cut. Processes whose drain counts
    /// the connections are left out.
    pub counts_stops: bool,
    pub stop_signals: Vec<Signal>,
    /// The times of the container's hooks.
    pub hooks: HookWaits,
    /// The processes. The index is the [`ProcessId`].
    pub processes: Vec<ProcessSpec>,
    /// All processes, dependencies before dependents.
    pub order: Vec<ProcessId>,
    /// For each process: a number that grows along `order`, the same for all instances of a
    /// process. The [`Spec`] derives the numbers.
    pub ranks: Vec<u16>,
}

/// The time that a hook gets to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HookWait {
    /// The longest wait.
    pub limit: Duration,
    /// The part of `limit` that is reserved for this wait, so that earlier waits do not use it up.
    pub need: Duration,
}

impl HookWait {
    /// The wait if the config declares no time.
    pub const DEFAULT: Self = Self { limit: Duration::from_secs(10), need: Duration::from_secs(1) };

    /// Whether the config declares the time.
    pub fn is_declared(self) -> bool {
        self.limit == self.need
    }

    /// Makes a wait. A declared time is reserved in full. If no time is declared, 1 s is reserved,
    /// and the wait takes up to 10 s.
    pub fn new(declared: Option<Duration>) -> Self {
        declared.map_or(Self::DEFAULT, |limit| Self { limit, need: limit })
    }

    /// The time that is reserved for a hook; zero if there is none.
    pub fn need_of(hook: Option<Self>) -> Duration {
        hook.map_or(Duration::ZERO, |hook| hook.need)
    }
}

/// The time of each hook; `None` if the hook does not exist.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HookWaits {
    pub pre_start: Option<HookWait>,
    pub pre_stop: Option<HookWait>,
    pub post_stop: Option<HookWait>,
}

#[derive(Clone, Debug)]
pub struct ProcessSpec {
    /// The dependencies, each with the condition that it has to meet before this process starts.
    pub dependencies: Vec<(ProcessId, StartCondition)>,
    /// The dependencies with which this process restarts: it restarts when a new instance of such a
    /// dependency has met the condition.
    pub follows: Vec<ProcessId>,
    /// The processes that depend on this process, in ascending order. The [`Spec`] derives them.
    pub dependents: Vec<ProcessId>,
    pub oneshot: bool,
    /// The exit codes that do not count as a failure.
    pub success_codes: Vec<u8>,
    /// The time limit of a oneshot. A oneshot that exceeds this limit is stopped and has failed.
    pub timeout: Option<Duration>,
    /// Whether the process is never started, because its `only_if` can never hold.
    pub left_out: bool,
    /// Whether the process starts with the container, or with the reload that adds the process. If
    /// not, the process stays down as if a request had stopped it, the container is ready without
    /// the process, and `required` is false.
    pub autostart: bool,
    /// Whether the process has an `only_if` that is evaluated at each start.
    pub conditional: bool,
    /// The time limit of the readiness probe; `None` if the process has no readiness probe.
    pub readiness_timeout: Option<Duration>,
    /// The number of consecutive failures after which the liveness check has failed; `None` if the
    /// process has no liveness check.
    pub liveness_retries: Option<u32>,
    /// The way in which a new instance replaces the running one.
    pub update: Update,
    /// With `hot-restart`, the time that a new instance gets to end the old one:
    /// `--parent-shutdown-time-s` plus [`HANDOVER_MARGIN`].
    pub handover: Option<Duration>,
    /// The base ID of an Envoy with `hot-restart`, by which its instances find each other.
    pub base_id: Option<String>,
    pub restart: Restart,
    pub on_exit: OnExit,
    /// Whether the container is no longer ready once this process has failed for good.
    pub required: bool,
    pub stop_signal: Signal,
    /// The time from `stop_signal` to SIGKILL (`stop_grace_period`). `None` if the config does not
    /// declare it: the stop then gets the time that the deadline leaves.
    pub stop: Option<Duration>,
    /// The time that a running instance needs to end, from a measurement at this instance
    /// ([`Event::TimeToEnd`](crate::event::Event::TimeToEnd)). `None` without a measurement.
    pub to_end: Option<Duration>,
    /// Whether the process keeps data for other processes, as a database does. Its stop keeps more
    /// than a second from earlier steps, even if the config declares no time.
    pub is_store: bool,
    /// Whether the config shows that the process accepts connections. The longest shutdown assumes
    /// that any other process listens on nothing.
    pub shows_listener: bool,
    /// Whether leftovers of earlier instances have to end before the process starts again.
    pub ends_leftovers: bool,
    pub hooks: HookWaits,
    pub drain: Option<DrainSpec>,
    /// The reason why the drain of the config is off; `None` if the config has no drain, or if its
    /// drain is on. If the drain is off, `drain` is `None`.
    pub drain_off: Option<DrainOff>,
    /// Whether drainit holds listening sockets for the process.
    pub listens: bool,
    pub forward_signals: Vec<Signal>,
    /// The action that follows a change, for each watched file.
    pub watch: Vec<WatchAction>,
}

/// The bounds of a drain; a declared `time` is at least `min`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DrainSpec {
    /// The longest wait. `None` if the config does not declare it: the drain then lasts for what
    /// the deadline leaves.
    pub time: Option<Duration>,
    /// The shortest wait. In a shutdown, and in a drain without a stop, it counts from the moment
    /// at which the first drains could begin, so that it passes once for all processes.
    pub min: Duration,
    /// Whether drainit counts the connections of the process, by an Envoy's statistics or by the
    /// kernel's list. If so, and if the process is an Envoy, drainit also makes it refuse new
    /// connections.
    pub closes: bool,
    /// Whether the kernel counts the connections, and not an Envoy. If so, the last count takes
    /// only milliseconds.
    pub by_kernel: bool,
    /// The number of open connections, or of requests in flight, at which the drain is over.
    pub exit_at: u64,
    /// The signal that asks the process to drain. The process may then end by itself once it has
    /// drained. A command or an HTTP request that drains the process can also make it end. If the
    /// kernel counts the connections, the value is therefore SIGTERM for these drains. `None` for
    /// any other drain.
    pub signal: Option<Signal>,
}

/// The reason why a drain is off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DrainOff {
    /// Its `time` is 0.
    Time,
    /// Its `only_if` does not hold.
    Condition,
}

impl Spec {
    /// The wait after the deadline for a process that survives SIGKILL. The wait is half of the
    /// reserve, but at least [`AFTER_KILL`] and at most 500 ms. The rest of the reserve is for the
    /// output. If the process ends later, the report does not show this end. The end of PID 1 ends
    /// every process anyway.
    pub fn after_deadline(&self) -> Duration {
        (self.reserve / 2).clamp(AFTER_KILL, LONGEST_AFTER_KILL)
    }

    /// Derives the dependents of each process and the order from the dependencies. The order
    /// changes only where it contradicts a dependency.
    pub fn link(&mut self) {
        let dependencies = self.processes.iter().map(|process| process.dependencies.clone());
        let graph = Graph::sorted(dependencies.collect(), &self.order);
        for (process, dependents) in self.processes.iter_mut().zip(graph.dependents) {
            process.dependents = dependents;
        }
        debug_assert_eq!(graph.order.len(), self.order.len(), "a circular dependency");
        self.order = graph.order;
        self.number();
    }

    /// Gives a process another definition.
    pub(crate) fn define(&mut self, slot: ProcessId, new: ProcessSpec) {
        let old = core::mem::replace(&mut self.processes[slot.index()], new);
        let new = &mut self.processes[slot.index()];
        new.dependents = old.dependents;
        if new.dependencies != old.dependencies {
            for (on, _) in old.dependencies {
                self.processes[on.index()].dependents.retain(|by| *by != slot);
            }
            self.link_one(slot);
        }
    }

    /// Adds the slot of another instance of the process in slot `old`, which comes before `old` in
    /// the order. Each dependent of the process then depends on both slots.
    pub(crate) fn add_beside(&mut self, slot: ProcessId, old: ProcessId) {
        let dependents = self.of(old).dependents.clone();
        for by in &dependents {
            self.processes[by.index()].depend_also_on(slot, old);
        }
        self.processes[slot.index()].dependents = dependents;
        let place = self.order.iter().position(|id| *id == old).unwrap_or_default();
        self.order.insert(place, slot);
        self.ranks[slot.index()] = self.rank(old);
        self.link_one(slot);
    }

    /// Frees the slots for which `stays` is false. Nothing depends on them from now on.
    pub(crate) fn retire(&mut self, stays: &[bool]) {
        for (process, stays_itself) in self.processes.iter_mut().zip(stays) {
            if !stays_itself {
                process.retire();
            }
            process.keep_dependencies(|on| stays[on.index()]);
            process.dependents.retain(|by| stays[by.index()]);
        }
        self.order.retain(|id| stays[id.index()]);
        self.number();
    }

    /// Takes over the settings of the container and the order of the processes from another config,
    /// but no definition. `gone` lists the processes that this config lacks, dependents first. They
    /// come first in the new order. The caller then gives the processes that the config does not
    /// change their definitions, which follow this order, and [links](Self::link) the others.
    pub(crate) fn take_over(&mut self, new: Self, gone: &[ProcessId]) {
        let (processes, counts_stops) = (core::mem::take(&mut self.processes), self.counts_stops);
        *self = Self { processes, counts_stops, ..new };
        self.order.splice(0..0, gone.iter().rev().copied());
        self.number();
    }

    /// Adds a process to the dependents of its dependencies. Derives the order again if one of these
    /// comes later.
    fn link_one(&mut self, slot: ProcessId) {
        let (dependencies, rank) = (self.of(slot).dependencies.clone(), self.rank(slot));
        if dependencies.iter().any(|(on, _)| self.rank(*on) > rank) {
            return self.link();
        }
        for (on, _) in dependencies {
            let dependents = &mut self.processes[on.index()].dependents;
            if let Err(place) = dependents.binary_search(&slot) {
                dependents.insert(place, slot);
            }
        }
    }

    /// The number of a process, which is larger than those of its dependencies.
    pub fn rank(&self, id: ProcessId) -> u16 {
        self.ranks[id.index()]
    }

    fn number(&mut self) {
        self.ranks.resize(self.processes.len(), 0);
        for (id, place) in self.order.iter().zip(0..) {
            self.ranks[id.index()] = place;
        }
    }

    /// The dependents that restart when the process `on` gets a new instance, each with the
    /// condition that the new instance has to meet first.
    pub fn followers(&self, on: ProcessId) -> impl Iterator<Item = (ProcessId, StartCondition)> {
        self.processes[on.index()].dependents.iter().filter_map(move |by| {
            let of = &self.processes[by.index()];
            let follows = of.follows.contains(&on);
            let needs = follows.then(|| of.dependencies.iter().find(|(id, _)| *id == on))?;
            needs.map(|(_, condition)| (*by, *condition))
        })
    }

    /// All direct and indirect dependents.
    pub fn above(&self, of: ProcessId) -> Vec<ProcessId> {
        let mut seen = vec![false; self.processes.len()];
        let mut found = vec![of];
        let mut next = 0;
        while let Some(&id) = found.get(next) {
            let by = self.of(id).dependents.iter();
            found.extend(by.filter(|by| !core::mem::replace(&mut seen[by.index()], true)));
            next += 1;
        }
        found.split_off(1)
    }

    /// For each process: the sums of `own`, a time and a number of steps, along the paths of
    /// dependencies through it, without those that another path exceeds in both. More than `most`
    /// count as one with the largest of each part, so that the work for a path stays bounded. A
    /// path can begin at a process of which `begun` is true, but none leads through it.
    pub fn sums_through(
        &self,
        own: impl Fn(ProcessId) -> Sum,
        begun: impl Fn(ProcessId) -> bool,
        most: usize,
    ) -> Vec<Sums> {
        let own: Vec<_> = self.ids().map(own).collect();
        let own = |id: ProcessId| own[id.index()];
        let through = |id| if begun(id) { Sum::default() } else { own(id) };
        let mut below = vec![Sums::default(); self.processes.len()];
        for id in &self.order {
            let on = self.of(*id).dependencies.iter();
            let sums = on.flat_map(|(on, _)| after(&below[on.index()], through(*on)));
            below[id.index()] = largest(sums, most);
        }
        let mut above = vec![Sums::default(); self.processes.len()];
        for id in self.order.iter().rev() {
            let by = self.of(*id).dependents.iter().copied();
            let sums = by.clone().flat_map(|by| after(&above[by.index()], through(by)));
            above[id.index()] = largest(sums.chain(by.map(own)), most);
        }
        let sums = |id: ProcessId| {
            let own = after(&above[id.index()], own(id));
            largest(own.flat_map(|sum| after(&below[id.index()], sum)), most)
        };
        self.ids().map(sums).collect()
    }

    pub fn of(&self, id: ProcessId) -> &ProcessSpec {
        &self.processes[id.index()]
    }

    /// All slots. At first, these are the processes in file order.
    pub fn ids(&self) -> impl Iterator<Item = ProcessId> + use<> {
        (0..self.processes.len()).filter_map(|index| u16::try_from(index).ok()).map(ProcessId)
    }
}

/// A time and a number of steps.
pub type Sum = (Duration, u32);
/// Sums that no other of them exceeds in both parts, or zero: the first, and the others. Mostly
/// there are no others, so that no memory is allocated.
pub type Sums = (Sum, Vec<Sum>);

/// Adds a step to each of the sums.
pub(crate) fn after(sums: &Sums, own: Sum) -> impl Iterator<Item = Sum> {
    let all = core::iter::once(sums.0).chain(sums.1.iter().copied());
    all.map(move |sum| (sum.0.saturating_add(own.0), sum.1.saturating_add(own.1)))
}

/// At `most` this many of the largest sums, as [`Spec::sums_through`] says.
fn largest(sums: impl Iterator<Item = Sum>, most: usize) -> Sums {
    let (mut first, mut others) = Sums::default();
    let covers = |a: Sum, b: Sum| a.0 >= b.0 && a.1 >= b.1;
    for sum in sums {
        if !covers(first, sum) && !others.iter().any(|it| covers(*it, sum)) {
            others.retain(|it| !covers(sum, *it));
            if covers(sum, first) { first = sum } else { others.push(sum) }
        }
    }
    let both = |a: Sum, b: Sum| (a.0.max(b.0), a.1.max(b.1));
    if others.len() >= most {
        first = others.drain(..).fold(first, both);
    }
    (first, others)
}

impl DrainSpec {
    /// The longest wait if there were no deadline: a drain without a `time` takes the whole window,
    /// or its `min` if that is longer.
    pub fn longest(&self, window: Duration) -> Duration {
        self.time.unwrap_or(window.max(self.min))
    }
}

impl ProcessSpec {
    /// Whether `end` counts as a success.
    pub fn is_success(&self, end: End) -> bool {
        matches!(end, End::Code(code) if self.success_codes.contains(&code))
    }

    /// Whether a drain comes before the stop of the process. A drain that is off does not count.
    pub fn is_drained(&self) -> bool {
        self.drain.is_some_and(|drain| drain.time != Some(Duration::ZERO))
    }

    /// The time limit of the last probe of an instance that is not ready within its timeout.
    pub fn last_probe(&self) -> Duration {
        LEAST_PROBE.max(self.readiness_timeout.unwrap_or_default() / 8)
    }

    /// Whether the container continues even if the start of the process fails.
    pub fn may_be_missing(&self) -> bool {
        !self.required && self.on_exit.failure == ExitPolicy::Ignore
    }

    /// Whether a new instance with this definition starts beside an instance with the `old`
    /// definition. An Envoy takes over only from an Envoy with `hot-restart` and the same base ID.
    pub fn overlaps(&self, old: &Self) -> bool {
        self.update.overlaps() && !self.oneshot && !self.is_apart(old)
    }

    /// Whether this definition has `hot-restart`, but another base ID than `old`. The Envoy of this
    /// definition cannot take over from an instance with the `old` definition.
    pub fn is_apart(&self, old: &Self) -> bool {
        self.update == Update::HotRestart && self.base_id != old.base_id
    }

    /// Whether both definitions have the same dependencies, and the same times for hooks, drain and
    /// stop, so that they need the same budget.
    pub(crate) fn has_times_of(&self, other: &Self) -> bool {
        let times = |of: &Self| (of.stop, of.to_end, of.is_store, of.hooks, of.drain);
        times(self) == times(other) && self.dependencies == other.dependencies
    }

    /// Makes this process also depend on `slot` if it depends on `old`.
    pub(crate) fn depend_also_on(&mut self, slot: ProcessId, old: ProcessId) {
        let needs = self.dependencies.iter().find(|(on, _)| *on == old).copied();
        self.dependencies.extend(needs.map(|(_, condition)| (slot, condition)));
        let follows = self.follows.contains(&old).then_some(slot);
        self.follows.extend(follows);
    }

    /// Forgets all dependencies except those for which `stays` returns true.
    pub(crate) fn keep_dependencies(&mut self, stays: impl Fn(ProcessId) -> bool) {
        self.dependencies.retain(|(on, _)| stays(*on));
        self.follows.retain(|on| stays(*on));
    }

    /// Turns this definition into the definition of a free slot.
    pub fn retire(&mut self) {
        self.leave_out();
        self.keep_dependencies(|_| false);
        self.dependents.clear();
        self.forward_signals.clear();
        self.watch.clear();
        (self.listens, self.required, self.liveness_retries) = (false, false, None);
    }

    /// Marks the process as never started, and reserves no time for it.
    pub fn leave_out(&mut self) {
        self.left_out = true;
        self.autostart = true;
        self.readiness_timeout = None;
        self.hooks = HookWaits::default();
        (self.drain, self.drain_off) = (None, None);
        self.stop = Some(Duration::ZERO);
    }
}

/// The stage of a hook.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Named)]
pub enum Stage {
    PreStart,
    PreStop,
    PostStop,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HookId {
    /// The process of the hook; `None` for a hook of the container.
    pub process: Option<ProcessId>,
    pub stage: Stage,
}

#[cfg(test)]
pub(crate) mod tests;
