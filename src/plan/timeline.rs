//! A shutdown in which everything takes as long as it may, step by step.
//!
//! [`Timeline::walk`] knows what comes after what, as `core/draining.rs`, `core/stopping.rs` and `core/finishing.rs` do;
//! how long a step takes is asked for. So the same walk adds up what a config declares, and tells what the core would
//! really give. `core/sim/worst.rs` holds it against the core.

use std::time::Duration;

use crate::core::budget;
use crate::core::budget::Budget;
use crate::core::spec::Spec;
use crate::types::{ProcessId, Time};

/// What a step is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum What {
    /// `/readyz` answers 503, and nothing else changes.
    ReadinessDelay,
    /// A `pre_stop` hook.
    PreStop,
    /// A drain, until it is given up.
    Drain,
    /// A drained process closes its listeners.
    Close,
    /// What a process still carries that was drained before others is counted once more.
    Count,
    /// From the stop signal to KILL.
    Stop,
    /// A `post_stop` hook.
    PostStop,
    /// Left-over descendants, from TERM to KILL.
    Leftovers,
}

/// One thing that is waited for.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    /// What it is.
    pub what: What,
    /// Whose; `None`: the container's.
    pub process: Option<ProcessId>,
    /// When it begins, from T0.
    pub begins: Duration,
    /// How long it lasts.
    pub takes: Duration,
    /// The step whose end it waits for, as a place in [`Timeline::steps`].
    pub after: Option<usize>,
}

impl Step {
    /// When it is over, from T0.
    #[must_use]
    pub fn ends(&self) -> Duration {
        self.begins.saturating_add(self.takes)
    }
}

/// All steps of a shutdown.
#[derive(Clone, Debug, Default)]
pub struct Timeline {
    /// A step stands behind those that it waits for.
    pub steps: Vec<Step>,
    /// The places of those on which the end depends, first to last.
    pub critical: Vec<usize>,
    /// When all is over, from T0.
    pub total: Duration,
}

/// The step that something waits for, and its end.
#[derive(Clone, Copy, Default)]
struct Front {
    at: Duration,
    step: Option<usize>,
}

impl Front {
    /// Whatever ends later; the first of equals, so that what is told does not depend on chance.
    fn or(self, other: Self) -> Self {
        if other.at > self.at { other } else { self }
    }
}

impl Timeline {
    /// What the core gives each step if everything is ready, and then nothing ends before it must. `asked`: a stop signal
    /// is the cause; else a process has ended, and of a drain only `min` is waited for.
    #[must_use]
    pub fn worst(spec: &Spec, asked: bool) -> Self {
        let budget = Budget::new(spec);
        let deadline = Time(spec.window);
        // What has completed needs nothing any more.
        Self::walk(spec, false, |what, process, at| {
            let now = Time(at);
            match (what, process) {
                (What::ReadinessDelay, _) => (!spec.readiness_delay.is_zero())
                    .then(|| budget.readiness_delay(spec, now, deadline)),
                (What::PreStop, None) => budget.container_pre_stop(spec, now, deadline),
                (What::PostStop, None) => Budget::container_post_stop(spec, now, deadline),
                (What::PreStop, Some(id)) => budget.pre_stop(spec, id, now, deadline),
                (What::PostStop, Some(id)) => budget.post_stop(spec, id, now, deadline),
                (What::Stop, Some(id)) => Some(budget.stop(spec, id, now, deadline)),
                (What::Drain, Some(id)) => {
                    let drain = spec.processes[id.index()].drain?;
                    let wish = budget::drain_wish(drain, asked);
                    Some(budget.drain(id, wish, drain.min, now, deadline))
                }
                (What::Close | What::Count, Some(id)) => {
                    let closes = spec.processes[id.index()].drain?.closes;
                    closes.then(|| Budget::closing(now, deadline))
                }
                (What::Leftovers, _) => Some(Budget::leftovers(now, deadline)),
                (What::Drain | What::Close | What::Count | What::Stop, None) => None,
            }
        })
    }

    /// Whether the end depends on the step at this place.
    #[must_use]
    pub fn is_critical(&self, place: usize) -> bool {
        // A step stands behind those that it waits for, so the path ascends.
        self.critical.binary_search(&place).is_ok()
    }

    /// Goes through a shutdown. `grant` says how long a step takes that begins so long after T0; `None`: there is no such
    /// step. `tasks`: a oneshot still runs, and is stopped like a service.
    pub fn walk(
        spec: &Spec,
        tasks: bool,
        grant: impl Fn(What, Option<ProcessId>, Duration) -> Option<Duration>,
    ) -> Self {
        let mut steps = Vec::new();
        let mut step = |what, process, front: Front| match grant(what, process, front.at) {
            Some(takes) => {
                steps.push(Step { what, process, begins: front.at, takes, after: front.step });
                Front { at: front.at.saturating_add(takes), step: Some(steps.len() - 1) }
            }
            None => front,
        };
        // The latest end of everything that waits for a process.
        let above = |id: &ProcessId, fronts: &[Front], from: Front| {
            let dependents = &spec.processes[id.index()].dependents;
            dependents.iter().fold(from, |front, id| front.or(fronts[id.index()]))
        };
        let latest = |fronts: &[Front], from: Front| fronts.iter().fold(from, |a, b| a.or(*b));

        let t0 = Front::default();
        let delay = step(What::ReadinessDelay, None, t0);
        let began = delay.or(step(What::PreStop, None, t0));
        let mut drained = vec![began; spec.processes.len()];
        let mut is_drained = vec![false; spec.processes.len()];
        for id in spec.order.iter().rev() {
            let mut front = above(id, &drained, began);
            let begins = front.at;
            front = step(What::Drain, Some(*id), front);
            is_drained[id.index()] = front.at > begins;
            if front.at > begins {
                front = step(What::Close, Some(*id), front);
            }
            drained[id.index()] = front;
        }
        let all_drained = latest(&drained, began);
        let mut began = all_drained;
        for id in spec.order.iter().rev() {
            if is_drained[id.index()] && drained[id.index()].at < all_drained.at {
                began = began.or(step(What::Count, Some(*id), all_drained));
            }
        }
        let mut gone = vec![began; spec.processes.len()];
        for id in spec.order.iter().rev() {
            let mut front = above(id, &gone, began);
            let process = &spec.processes[id.index()];
            if !process.left_out && (tasks || !process.oneshot) {
                for what in [What::PreStop, What::Stop, What::PostStop] {
                    front = step(what, Some(*id), front);
                }
            }
            gone[id.index()] = front;
        }
        let left = step(What::Leftovers, None, latest(&gone, began));
        let end = step(What::PostStop, None, left);

        let mut critical: Vec<_> =
            std::iter::successors(end.step, |place| steps.get(*place)?.after).collect();
        critical.reverse();
        Self { steps, critical, total: end.at }
    }

    /// The steps on which the end depends, without those that take no time.
    pub fn critical_steps(&self) -> impl Iterator<Item = &Step> {
        let steps = self.critical.iter().filter_map(|place| self.steps.get(*place));
        steps.filter(|step| !step.takes.is_zero())
    }

    /// When the last drain is over and the stop begins, from T0.
    #[must_use]
    pub fn drained_at(&self) -> Duration {
        let before = self.steps.iter().filter(|step| {
            let of_container = step.what == What::PreStop && step.process.is_none();
            matches!(step.what, What::ReadinessDelay | What::Drain | What::Close | What::Count)
                || of_container
        });
        before.map(Step::ends).max().unwrap_or_default()
    }
}
