//! The steps of a shutdown, either of a real shutdown or of the [longest](crate::longest) possible
//! one.

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use core::cmp::Reverse;
use core::time::Duration;

use drainit_derive::Named;

use crate::prelude::*;
use drainit_core::spec::Spec;
use drainit_core::types::{ProcessId, Time};

/// The kind of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Named)]
pub enum StepKind {
    /// The drains wait, so that load balancers see that `/readyz` answers 503.
    ReadinessDelay,
    PreStop,
    Drain,
    /// At the end of a drain, drainit makes an Envoy close its listeners, and counts the traffic
    /// again.
    Close,
    /// A count of the open connections or requests. The step of a process is the last count before
    /// its stop, if its drain was over before other drains. The step of the container is the first
    /// count of the processes whose drains count nothing.
    Count,
    /// The time from the stop signal to the end of the process. In the longest shutdown, this is
    /// the time to SIGKILL.
    Stop,
    PostStop,
    /// The time between SIGTERM and SIGKILL for leftover processes: descendants that outlive all
    /// stops.
    Leftovers,
}

/// One wait of the shutdown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShutdownStep {
    pub kind: StepKind,
    /// The process of the step; `None` for a step of the container.
    pub process: Option<ProcessId>,
    pub begins: Time,
    /// The end of the step; `None` if the step was not over at the exit.
    pub ends: Option<Time>,
}

impl ShutdownStep {
    /// The duration of the step; zero if the step is not over.
    pub fn takes(&self) -> Duration {
        self.ends.unwrap_or(self.begins).since(self.begins)
    }

    pub(crate) fn key(&self) -> Key {
        (self.kind, self.process)
    }

    fn part(&self) -> u8 {
        part(self.key())
    }
}

/// The kind of a step and its process, which is `None` for a step of the container.
pub(crate) type Key = (StepKind, Option<ProcessId>);

/// The number of the part of the shutdown that a step belongs to.
pub(crate) fn part((kind, process): Key) -> u8 {
    match (kind, process) {
        (StepKind::ReadinessDelay, _) | (StepKind::PreStop | StepKind::Count, None) => 0,
        (StepKind::Drain | StepKind::Close, _) => 1,
        (StepKind::Count, Some(_)) => 2,
        (StepKind::PreStop | StepKind::PostStop, Some(_)) | (StepKind::Stop, _) => 3,
        (StepKind::Leftovers, _) => 4,
        (StepKind::PostStop, None) => 5,
    }
}

/// All steps of the longest shutdown. The shutdown begins at time zero.
#[derive(Clone, Debug, Default)]
pub struct Timeline {
    /// The steps. Each step comes after the steps that it waits for.
    pub steps: Vec<ShutdownStep>,
    /// The indexes of the steps that determine the time of the exit, from the first to the last.
    /// The first of them begins with the shutdown, or is a stop that does not wait for drains.
    pub critical: Vec<usize>,
    pub total: Duration,
}

impl Timeline {
    /// Whether the step at this index determines the time of the exit.
    pub fn is_critical(&self, place: usize) -> bool {
        // Each step comes after those that it waits for, so `critical` is sorted.
        self.critical.binary_search(&place).is_ok()
    }

    /// The steps that determine the time of the exit, without those that take no time.
    pub fn critical_steps(&self) -> impl Iterator<Item = &ShutdownStep> {
        let steps = self.critical.iter().filter_map(|place| self.steps.get(*place));
        steps.filter(|step| !step.takes().is_zero())
    }

    /// The time from the beginning of the shutdown until the last drain is over and the stop
    /// begins.
    pub fn drained_at(&self) -> Duration {
        let before = self.steps.iter().filter(|step| step.part() < 3);
        before.filter_map(|step| step.ends).max().unwrap_or_default().0
    }

    /// Orders the steps, and finds the critical ones. `total` is the time from the beginning of the
    /// shutdown to the exit.
    pub(crate) fn new(spec: &Spec, mut steps: Vec<ShutdownStep>, total: Duration) -> Self {
        let mut rank = vec![0; spec.processes.len()];
        for (place, id) in spec.order.iter().enumerate() {
            rank[id.index()] = place;
        }
        let rank = |step: &ShutdownStep| step.process.map(|id| Reverse(rank[id.index()]));
        steps.sort_by_key(|step| (step.part(), rank(step), step.kind));
        let mut last: BTreeMap<_, usize> = BTreeMap::new();
        for (place, step) in steps.iter().enumerate() {
            last.insert((step.part(), step.process), place);
        }
        // For each step: the beginning of its longest path, and the step before it on this path.
        let mut paths: Vec<(Time, Option<usize>)> = Vec::with_capacity(steps.len());
        for (place, step) in steps.iter().enumerate() {
            let before = before(spec, &steps, &last, place).into_iter();
            let path = before.map(|place| (paths[place].0, Some(place)));
            paths.push(path.min_by_key(|(begins, _)| *begins).unwrap_or((step.begins, None)));
        }
        let lasts = (0..steps.len()).rev().filter(|place| steps[*place].ends == Some(Time(total)));
        let first = lasts.min_by_key(|place| paths[*place].0);
        let mut critical: Vec<_> = core::iter::successors(first, |place| paths[*place].1).collect();
        critical.reverse();
        Self { steps, critical, total }
    }
}

/// The steps whose ends let the step at `place` begin. `last` has the last step of each process in
/// each part of the shutdown.
fn before(
    spec: &Spec,
    steps: &[ShutdownStep],
    last: &BTreeMap<(u8, Option<ProcessId>), usize>,
    place: usize,
) -> Vec<usize> {
    let step = steps[place];
    let is_before = |other: &usize| steps[*other].ends == Some(step.begins);
    let mut found = Vec::new();
    if let Some(process) = step.process {
        let own = place.checked_sub(1).filter(|own| steps[*own].process == step.process);
        if let Some(own) = own.filter(|own| steps[*own].part() == step.part()) {
            return vec![own];
        }
        // The step waits for the dependents of its process. If a dependent has no step, the search
        // continues with the dependents of this dependent.
        let mut seen = BTreeSet::new();
        let mut above: VecDeque<_> = [process].into();
        while let Some(id) = above.pop_front() {
            for &dependent in &spec.processes[id.index()].dependents {
                match last.get(&(step.part(), Some(dependent))).copied() {
                    Some(place) if is_before(&place) => found.push(place),
                    None if seen.insert(dependent) => above.push_back(dependent),
                    _ => {}
                }
            }
        }
    }
    let earlier = 0..steps.partition_point(|other| other.part() < step.part());
    let earlier = earlier.filter(is_before);
    found
        .extend(earlier.min_by_key(|other| (Reverse(steps[*other].part()), steps[*other].process)));
    found
}
