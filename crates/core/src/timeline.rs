//! The longest shutdown, step by step.
//!
//! [`Timeline::walk`] knows the order of the steps, as `phase` does; its caller supplies the
//! time of each. So the same walk serves for the times that a config declares, and for those that
//! the core would grant. `tests/simulation/agreement.rs` compares it with the core.

use core::time::Duration;

use drainit_derive::Named;

use crate::budget;
use crate::budget::Budget;
use crate::prelude::*;
use crate::spec::Spec;
use crate::types::{ProcessId, StartCondition, Time};

/// The kind of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Named)]
pub enum StepKind {
    /// `/readyz` answers 503; nothing else happens.
    ReadinessDelay,
    PreStop,
    Drain,
    /// A drained process closes its listeners.
    Close,
    /// A process that was drained before others counts its connections once more.
    Count,
    /// From the stop signal to KILL.
    Stop,
    PostStop,
    /// Leftover processes, from TERM to KILL.
    Leftovers,
}

/// One wait of the shutdown. Times are relative to T0.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    pub kind: StepKind,
    /// `None` for a step of the container.
    pub process: Option<ProcessId>,
    pub begins: Duration,
    pub takes: Duration,
    /// The step whose end it waits for, as an index into [`Timeline::steps`].
    pub after: Option<usize>,
}

impl Step {
    #[must_use]
    pub fn ends(&self) -> Duration {
        self.begins.saturating_add(self.takes)
    }
}

/// All steps of a shutdown.
#[derive(Clone, Debug, Default)]
pub struct Timeline {
    /// Each step comes after those that it waits for.
    pub steps: Vec<Step>,
    /// The indexes of the steps that determine the end, first to last.
    pub critical: Vec<usize>,
    pub total: Duration,
}

/// The latest step so far, and its end.
#[derive(Clone, Copy, Default)]
struct Front {
    at: Duration,
    step: Option<usize>,
}

impl Front {
    /// The later one; the first of equals, so that the result is deterministic.
    fn or(self, other: Self) -> Self {
        if other.at > self.at { other } else { self }
    }
}

/// The state of the oneshots that a walk assumes.
#[derive(Clone, Debug)]
pub enum Oneshots {
    /// All are complete, and take no time.
    Complete,
    /// All are stopped like services, with what waits for their completion before them.
    LikeServices,
    /// Those in `running` are not complete, so what is in `waiting` was not started.
    Running { running: Vec<bool>, waiting: Vec<bool> },
}

impl Oneshots {
    /// One of them runs, everything else as far as it can. Others run too where this one needs them
    /// without their completion.
    fn running(spec: &Spec, oneshot: ProcessId) -> Self {
        let mut needed = vec![false; spec.processes.len()];
        let mut complete = needed.clone();
        needed[oneshot.index()] = true;
        for id in spec.order.iter().rev() {
            if needed[id.index()] {
                for &(on, condition) in &spec.processes[id.index()].dependencies {
                    needed[on.index()] = true;
                    complete[on.index()] |= condition != StartCondition::Started;
                }
            }
        }
        let runs = |id: ProcessId| {
            let process = &spec.processes[id.index()];
            let is_due = needed[id.index()] && !complete[id.index()];
            is_due && process.oneshot && !process.left_out
        };
        Self::Running {
            running: spec.ids().map(runs).collect(),
            waiting: waiting_for(spec, oneshot),
        }
    }

    fn is_up(&self, spec: &Spec, id: ProcessId) -> bool {
        let process = &spec.processes[id.index()];
        let is_up = match self {
            Self::Complete => !process.oneshot,
            Self::LikeServices => true,
            Self::Running { running, .. } if process.oneshot => running[id.index()],
            Self::Running { waiting, .. } => !waiting[id.index()],
        };
        is_up && !process.left_out
    }

    /// Whether a process may have been started, so that it may have to be drained.
    fn is_started(&self, id: ProcessId) -> bool {
        !matches!(self, Self::Running { waiting, .. } if waiting[id.index()])
    }
}

/// The processes that cannot be started before this oneshot is complete.
fn waiting_for(spec: &Spec, oneshot: ProcessId) -> Vec<bool> {
    let mut waiting = vec![false; spec.processes.len()];
    for id in &spec.order {
        let mut needs = spec.processes[id.index()].dependencies.iter();
        waiting[id.index()] = needs.any(|&(on, condition)| {
            waiting[on.index()] || on == oneshot && condition != StartCondition::Started
        });
    }
    waiting
}

impl Timeline {
    /// The times that the core grants if every process is ready, every oneshot is complete and
    /// nothing ends before it must.
    /// `asked`: the cause is a stop signal; otherwise a process has ended, and drains wait only for
    /// `min`.
    #[must_use]
    pub fn worst(spec: &Spec, asked: bool) -> Self {
        Self::granted(spec, asked, &Oneshots::Complete)
    }

    /// The same while a oneshot still runs, and everything that need not wait for it. Returns the
    /// longest, and its oneshot; `None` if there is no oneshot. It is exact where nothing depends
    /// on a oneshot with the condition `started`, else an upper bound.
    #[must_use]
    pub fn worst_in_oneshot(spec: &Spec, asked: bool) -> Option<(ProcessId, Self)> {
        let runs = |id: &ProcessId| {
            let process = &spec.processes[id.index()];
            process.oneshot && !process.left_out
        };
        let each = spec.ids().filter(runs);
        let each = each.map(|id| (id, Self::granted(spec, asked, &Oneshots::running(spec, id))));
        each.reduce(|a, b| if b.1.total > a.1.total { b } else { a })
    }

    fn granted(spec: &Spec, asked: bool, oneshots: &Oneshots) -> Self {
        let budget = Budget::new(spec);
        let deadline = Time(spec.window);
        // Before the oneshots are complete the container is not ready.
        let was_ready = matches!(oneshots, Oneshots::Complete);
        let stays_ready = if asked && was_ready {
            budget.unready_delay(spec, Time(Duration::ZERO), deadline)
        } else {
            Duration::ZERO
        };
        Self::walk(spec, oneshots, |kind, process, at| {
            let now = Time(at);
            match (kind, process) {
                (StepKind::ReadinessDelay, _) => (was_ready && !spec.readiness_delay.is_zero())
                    .then(|| budget.readiness_delay(spec, now, deadline)),
                (StepKind::PreStop, None) => budget.container_pre_stop(spec, now, deadline),
                (StepKind::PostStop, None) => Budget::container_post_stop(spec, now, deadline),
                (StepKind::PreStop, Some(id)) => budget.pre_stop(spec, id, now, deadline),
                (StepKind::PostStop, Some(id)) => budget.post_stop(spec, id, now, deadline),
                (StepKind::Stop, Some(id)) => Some(budget.stop(spec, id, now, deadline)),
                (StepKind::Drain, Some(id)) => {
                    let drain = spec.processes[id.index()].drain?;
                    let hold = stays_ready.saturating_sub(at);
                    let wish = budget::drain_wish(drain, asked).max(hold);
                    Some(budget.drain(id, wish, drain.min.max(hold), now, deadline))
                }
                (StepKind::Close | StepKind::Count, Some(id)) => {
                    let closes = spec.processes[id.index()].drain?.closes;
                    closes.then(|| Budget::closing(now, deadline))
                }
                (StepKind::Leftovers, _) => Some(Budget::leftovers(now, deadline)),
                (StepKind::Drain | StepKind::Close | StepKind::Count | StepKind::Stop, None) => {
                    None
                }
            }
        })
    }

    /// Whether the step at this index determines the end.
    #[must_use]
    pub fn is_critical(&self, place: usize) -> bool {
        // Each step comes after those that it waits for, so the path is ascending.
        self.critical.binary_search(&place).is_ok()
    }

    /// Walks through a shutdown. `grant` returns the time of a step that begins at the given time
    /// after T0; `None` if there is no such step.
    pub fn walk(
        spec: &Spec,
        oneshots: &Oneshots,
        grant: impl Fn(StepKind, Option<ProcessId>, Duration) -> Option<Duration>,
    ) -> Self {
        let mut steps = Vec::new();
        let mut step = |kind, process, front: Front| match grant(kind, process, front.at) {
            Some(takes) => {
                steps.push(Step { kind, process, begins: front.at, takes, after: front.step });
                Front { at: front.at.saturating_add(takes), step: Some(steps.len() - 1) }
            }
            None => front,
        };
        // The latest end of the dependents of a process.
        let above = |id: &ProcessId, fronts: &[Front], from: Front| {
            let dependents = &spec.processes[id.index()].dependents;
            dependents.iter().fold(from, |front, id| front.or(fronts[id.index()]))
        };
        let latest = |fronts: &[Front], from: Front| fronts.iter().fold(from, |a, b| a.or(*b));

        let t0 = Front::default();
        let delay = step(StepKind::ReadinessDelay, None, t0);
        let began = delay.or(step(StepKind::PreStop, None, t0));
        let mut drained = vec![began; spec.processes.len()];
        let mut is_drained = vec![false; spec.processes.len()];
        for id in spec.order.iter().rev() {
            let mut front = above(id, &drained, began);
            let begins = front.at;
            if oneshots.is_started(*id) {
                front = step(StepKind::Drain, Some(*id), front);
            }
            is_drained[id.index()] = front.at > begins;
            if front.at > begins {
                front = step(StepKind::Close, Some(*id), front);
            }
            drained[id.index()] = front;
        }
        let all_drained = latest(&drained, began);
        let mut began = all_drained;
        for id in spec.order.iter().rev() {
            if is_drained[id.index()] && drained[id.index()].at < all_drained.at {
                began = began.or(step(StepKind::Count, Some(*id), all_drained));
            }
        }
        let mut gone = vec![began; spec.processes.len()];
        for id in spec.order.iter().rev() {
            let mut front = above(id, &gone, began);
            if oneshots.is_up(spec, *id) {
                for kind in [StepKind::PreStop, StepKind::Stop, StepKind::PostStop] {
                    front = step(kind, Some(*id), front);
                }
            }
            gone[id.index()] = front;
        }
        let left = step(StepKind::Leftovers, None, latest(&gone, began));
        let end = step(StepKind::PostStop, None, left);

        let mut critical: Vec<_> =
            core::iter::successors(end.step, |place| steps.get(*place)?.after).collect();
        critical.reverse();
        Self { steps, critical, total: end.at }
    }

    /// The steps that determine the end, without those that take no time.
    pub fn critical_steps(&self) -> impl Iterator<Item = &Step> {
        let steps = self.critical.iter().filter_map(|place| self.steps.get(*place));
        steps.filter(|step| !step.takes.is_zero())
    }

    /// Time from T0 until the last drain is over and the stop begins.
    #[must_use]
    pub fn drained_at(&self) -> Duration {
        let before = self.steps.iter().filter(|step| {
            let of_container = step.kind == StepKind::PreStop && step.process.is_none();
            matches!(
                step.kind,
                StepKind::ReadinessDelay | StepKind::Drain | StepKind::Close | StepKind::Count
            ) || of_container
        });
        before.map(Step::ends).max().unwrap_or_default()
    }
}
