//! What a config comes to: the order of the start, and the longest that a shutdown takes, held against its deadline.
//!
//! Pure. The figures are those of [`crate::core::budget`], so a plan is what the core does, not an estimate of it:
//! `core/sim/worst.rs` proves that. [`crate::load`] adds up declared waits with the same [`timeline`].

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
pub(crate) mod agreement;
#[cfg(feature = "tools")]
pub mod json;
#[cfg(feature = "tools")]
pub mod mermaid;
#[cfg(feature = "tools")]
pub mod svg;
#[cfg(all(test, feature = "tools"))]
#[allow(clippy::unwrap_used)]
mod tests;
pub mod text;
pub mod timeline;

use std::time::Duration;

use crate::config::{Config, OnlyIf, StartCondition};
use crate::core::budget;
use crate::core::spec::{HookWaits, Spec};
use crate::graph::Graph;
use crate::plan::timeline::{Step, Timeline, What};
use crate::types::ProcessId;

/// See the module.
#[derive(Clone, Debug)]
pub struct Plan<'c> {
    /// The processes, each behind those that it waits for.
    pub start: Vec<Start<'c>>,
    /// When the container's `pre_start` hook has failed; `None`: there is none.
    pub pre_start: Option<Duration>,
    /// The longest shutdown after a stop signal.
    pub after_signal: Timeline,
    /// The same after the unasked end of a process: of each drain only `min` is waited for.
    pub after_end: Timeline,
    /// From T0 until the container is killed from outside.
    pub grace_period: Duration,
    /// What is kept free at its end.
    pub reserve: Duration,
    names: Vec<&'c str>,
    spec: Spec,
}

/// When a process starts.
#[derive(Clone, Debug)]
pub struct Start<'c> {
    /// Its name.
    pub name: &'c str,
    /// What it waits for, and how far that must be.
    pub waits_for: Vec<(&'c str, StartCondition)>,
    /// Left out where this path does not exist.
    pub only_if: Option<String>,
    /// Left out here and now: its `only_if` does not hold.
    pub left_out: bool,
    /// It must complete, and is no service.
    pub is_task: bool,
    /// How long its `pre_start` hook may take.
    pub pre_start: Option<Duration>,
    /// What its readiness is seen by.
    pub probe: Option<&'static str>,
    /// How long it may take to be ready once it runs. `None`: it is ready as soon as it runs; a task when it has completed.
    pub ready_within: Option<Duration>,
    /// When it is ready at the latest if nothing is restarted, from the start of drainit. `None`: a task comes before it,
    /// which may take any time.
    pub ready_by: Option<Duration>,
}

impl<'c> Plan<'c> {
    /// Works everything out.
    #[must_use]
    pub fn new(config: &'c Config, graph: &Graph) -> Self {
        let spec = Spec::new(config, graph);
        Self {
            start: start(config, &spec),
            pre_start: spec.hooks.pre_start.map(|wait| wait.limit),
            after_signal: Timeline::worst(&spec, true),
            after_end: Timeline::worst(&spec, false),
            grace_period: config.shutdown.grace_period,
            reserve: config.shutdown.reserve,
            names: config.processes.iter().map(|process| process.name.as_str()).collect(),
            spec,
        }
    }

    /// From T0 to the deadline.
    #[must_use]
    pub fn window(&self) -> Duration {
        self.spec.window
    }

    /// When everything is ready at the latest; `None`: a task may take any time.
    #[must_use]
    pub fn ready_by(&self) -> Option<Duration> {
        let services = self.start.iter().filter(|start| !start.is_task);
        let first = self.pre_start.unwrap_or_default();
        services.map(|start| start.ready_by).try_fold(first, |a, b| Some(a.max(b?)))
    }

    /// What a step is called: `drain router`, `stop router`, `readiness_delay`.
    #[must_use]
    pub fn label(&self, step: &Step) -> String {
        let name = step.process.and_then(|id| self.names.get(id.index()));
        match (step.what, name) {
            (What::ReadinessDelay, _) => "readiness_delay".to_owned(),
            (What::Leftovers, _) => "left-over processes".to_owned(),
            (what, Some(name)) => [what.word(), " ", name].concat(),
            (what, None) => format!("{} of the container", what.word()),
        }
    }

    /// How long a step would take, were there no deadline, and whether that is declared. `asked`: see
    /// [`Timeline::worst`].
    #[must_use]
    pub fn wish(&self, step: &Step, asked: bool) -> (Duration, bool) {
        let process = step.process.map(|id| &self.spec.processes[id.index()]);
        let hooks = process.map_or(&self.spec.hooks, |process| &process.hooks);
        let wait = match step.what {
            What::ReadinessDelay => return (self.spec.readiness_delay, true),
            What::Drain => {
                let drain = process.and_then(|process| process.drain);
                return (drain.map_or(step.takes, |drain| budget::drain_wish(drain, asked)), true);
            }
            What::Close | What::Count | What::Leftovers => None,
            What::PreStop => hooks.pre_stop,
            What::PostStop => hooks.post_stop,
            What::Stop => process.map(|process| process.stop),
        };
        wait.map_or((step.takes, false), |wait| (wait.limit, wait.is_declared()))
    }

    /// The `min` of a drain.
    #[must_use]
    pub fn min(&self, step: &Step) -> Option<Duration> {
        let process = &self.spec.processes[step.process?.index()];
        (step.what == What::Drain).then_some(process.drain?.min)
    }

    /// The steps that get less than was declared, with what was.
    pub fn cuts<'a>(
        &'a self,
        timeline: &'a Timeline,
        asked: bool,
    ) -> impl Iterator<Item = (&'a Step, Duration)> {
        timeline.steps.iter().filter_map(move |step| {
            let (wish, declared) = self.wish(step, asked);
            (declared && step.takes < wish).then_some((step, wish))
        })
    }
}

impl What {
    /// The name of the step.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::ReadinessDelay => "readiness_delay",
            Self::PreStop => "pre_stop",
            Self::Drain => "drain",
            Self::Close => "close",
            Self::Count => "count",
            Self::Stop => "stop",
            Self::PostStop => "post_stop",
            Self::Leftovers => "leftovers",
        }
    }
}

/// When a process has got how far at the latest.
#[derive(Clone, Copy, Default)]
struct Latest {
    started: Option<Duration>,
    ready: Option<Duration>,
}

fn start<'c>(config: &'c Config, spec: &Spec) -> Vec<Start<'c>> {
    let limit = |hooks: &HookWaits| hooks.pre_start.map(|wait| wait.limit);
    let begin = limit(&spec.hooks).unwrap_or_default();
    let mut latest = vec![Latest::default(); spec.processes.len()];
    let mut out = Vec::with_capacity(latest.len());
    for id in &spec.order {
        let (process, written) = (&spec.processes[id.index()], &config.processes[id.index()]);
        let begins = process.dependencies.iter().try_fold(begin, |begins, &(on, condition)| {
            let on = latest[on.index()];
            let there = match condition {
                StartCondition::Started => on.started,
                StartCondition::Ready | StartCondition::Completed => on.ready,
            };
            Some(begins.max(there?))
        });
        let pre_start = limit(&process.hooks);
        let started = begins.map(|begins| begins.saturating_add(pre_start.unwrap_or_default()));
        let within = process.readiness_timeout;
        // A task has no time in which it must complete.
        let ready = started.filter(|_| !process.oneshot || process.left_out);
        let ready = ready.map(|started| started.saturating_add(within.unwrap_or_default()));
        latest[id.index()] = Latest { started, ready };
        let name = |on: ProcessId| config.processes[on.index()].name.as_str();
        out.push(Start {
            name: &written.name,
            waits_for: process.dependencies.iter().map(|&(on, what)| (name(on), what)).collect(),
            only_if: match &written.only_if {
                Some(OnlyIf::PathExists(path)) => Some(path.display().to_string()),
                Some(OnlyIf::Never) | None => None,
            },
            left_out: process.left_out,
            is_task: process.oneshot,
            pre_start,
            probe: written.readiness.as_ref().map(|readiness| readiness.probe.key()),
            ready_within: within,
            ready_by: ready,
        });
    }
    out
}
