//! The plan of a config: the order in which the processes start, and the longest shutdown compared
//! with its deadline.
//!
//! Nothing is estimated: [`timeline`] finds the longest shutdown by a simulation with the state
//! machine of `drainit run`.

pub mod changes;
pub mod json;
pub mod mermaid;
pub mod placement;
pub mod refused;
pub mod reload;
#[cfg(test)]
mod tests;
pub mod text;

use std::cell::LazyCell;
use std::collections::HashMap;
use std::time::Duration;

pub use drainit_journal::timeline;

use crate::core::budget::{Budget, MOST_KEPT};
use crate::core::final_waits;
use crate::core::spec::{DrainSpec, HookWait, HookWaits, ProcessSpec, Spec};
use crate::graph::Graph;
use crate::keys::{Config, DeadlineShare, OnlyIf, Process, StartCondition};
use crate::language::written::as_written;
use crate::plan::timeline::{ShutdownStep, StepKind, Timeline};
use crate::types::Time;

#[derive(Clone, Debug)]
pub struct Plan<'c> {
    /// The processes in the order of their start: each comes after the processes that it waits for.
    pub start: Vec<PlannedStart<'c>>,
    /// The limit of the container's `pre_start` hook, if there is one.
    pub pre_start: Option<Duration>,
    /// The longest shutdown after a stop signal.
    pub after_signal: Timeline,
    /// The longest shutdown after a process has ended by itself. In this shutdown, each drain is
    /// only as long as its `min`.
    pub after_end: Timeline,
    /// The longest shutdown after a stop signal that comes while a oneshot still runs. `None` if
    /// this shutdown takes no longer than `after_signal`.
    pub signal_in_oneshot: Option<InOneshot<'c>>,
    /// The longest shutdown after a process has ended by itself while a oneshot still runs. `None`
    /// if this shutdown takes no longer than `after_end`.
    pub end_in_oneshot: Option<InOneshot<'c>>,
    /// The time from the beginning of the shutdown (T0) until the container runtime kills the
    /// container.
    pub grace_period: Duration,
    /// The time at the end of `grace_period` that drainit keeps free.
    pub reserve: Duration,
    names: Vec<&'c str>,
    spec: Spec,
}

/// The longest shutdown that begins while a oneshot still runs, and the name of the oneshot.
#[derive(Clone, Debug)]
pub struct InOneshot<'c> {
    pub name: &'c str,
    pub timeline: Timeline,
}

/// How a process starts. A service without a readiness probe is ready as soon as it runs. A oneshot
/// is ready when it has completed.
#[derive(Clone, Debug)]
pub struct PlannedStart<'c> {
    pub process: &'c Process,
    /// Whether the process never starts, because its `only_if` can never be true in this
    /// environment, or none of its `profiles` is enabled.
    pub left_out: bool,
    /// The reason why the process does not start with the container, as text for people. `None` if
    /// the process starts with the container.
    pub stays_down: Option<&'static str>,
    /// The limit of the process's `pre_start` hook.
    pub pre_start: Option<Duration>,
    /// The latest time, counted from the start of drainit, at which the process begins to start;
    /// `None` if it starts only at a request, or waits for the end of a oneshot.
    pub begins_by: Option<Duration>,
    /// The latest time, counted from the start of drainit, at which the process is ready if no
    /// start is repeated. `None` if the process starts only at a request, is a oneshot, or waits
    /// for the end of a oneshot: a oneshot may take any time.
    pub ready_by: Option<Duration>,
}

impl PlannedStart<'_> {
    /// The text of those conditions of `only_if` that drainit checks when the process starts: the
    /// conditions on paths. `None` if there are none.
    pub fn only_if(&self) -> Option<String> {
        let only_if = self.process.only_if.as_ref();
        let only_if = only_if.filter(|it| **it != OnlyIf::Never).map(OnlyIf::to_string);
        only_if.map(|paths| as_written(&paths).into_owned())
    }
}

impl<'c> Plan<'c> {
    pub fn new(config: &'c Config, graph: &Graph) -> Self {
        Self::with(config, graph, true)
    }

    /// Makes a plan. `in_oneshots` says whether the plan includes the shutdowns that begin while a
    /// oneshot still runs. Each oneshot adds as much work as the rest of the plan.
    pub(crate) fn with(config: &'c Config, graph: &Graph, in_oneshots: bool) -> Self {
        let spec = config.spec(graph);
        let (after_signal, after_end) =
            (Timeline::worst(&spec, true), Timeline::worst(&spec, false));
        let in_oneshot = |asked, other: &Timeline| {
            let worst = in_oneshots.then(|| Timeline::worst_in_oneshot(&spec, asked));
            let (id, timeline) = worst.flatten()?;
            let name = &config.processes[id.index()].name;
            let is_longer = without_leftovers(&spec, &timeline) > without_leftovers(&spec, other);
            is_longer.then_some(InOneshot { name, timeline })
        };
        Self {
            start: start(config, &spec),
            pre_start: spec.hooks.pre_start.map(|wait| wait.limit),
            signal_in_oneshot: in_oneshot(true, &after_signal),
            end_in_oneshot: in_oneshot(false, &after_end),
            after_signal,
            after_end,
            grace_period: config.shutdown.grace_period,
            reserve: config.shutdown.reserve,
            names: config.processes.iter().map(|process| process.name.as_str()).collect(),
            spec,
        }
    }

    /// The duration of the longest shutdown after a stop signal, whether or not a oneshot still
    /// runs. The wait for leftovers (processes that outlive their starter) does not count.
    pub fn longest(&self) -> Duration {
        let in_oneshot = self.signal_in_oneshot.as_ref().map(|it| &it.timeline);
        without_leftovers(&self.spec, in_oneshot.unwrap_or(&self.after_signal))
    }

    /// The longest drain of any process after a stop signal. Zero if no process has a drain.
    pub fn longest_drain(&self) -> Duration {
        let budget = Budget::of(&self.spec);
        let drains = self.spec.ids().map(|id| budget.longest_drain(&self.spec, id));
        drains.max().unwrap_or_default()
    }

    /// Like [`Self::longest`], but a stop without `stop_grace_period` takes at most 10 s. Most
    /// programs end in this time, and such a stop adapts to the time that there is.
    pub fn needed(&self) -> Duration {
        let mut spec = self.spec.clone();
        let stops = spec.processes.iter_mut().map(|process| &mut process.stop);
        stops.for_each(|stop| *stop = stop.or(Some(MOST_KEPT)));
        let in_oneshot = Timeline::worst_in_oneshot(&spec, true).map(|(_, timeline)| timeline);
        let timelines = [Timeline::worst(&spec, true)].into_iter().chain(in_oneshot);
        timelines.map(|timeline| without_leftovers(&spec, &timeline)).max().unwrap_or_default()
    }

    /// All shutdowns of the plan, each with the value for the parameter `asked` of
    /// [`Timeline::worst`].
    pub(crate) fn timelines(&self) -> impl Iterator<Item = (&Timeline, bool)> {
        let signal = self.signal_in_oneshot.as_ref().map(|it| (&it.timeline, true));
        let end = self.end_in_oneshot.as_ref().map(|it| (&it.timeline, false));
        [(&self.after_signal, true), (&self.after_end, false)].into_iter().chain(signal).chain(end)
    }

    /// The times that the plan gives the stop and the drain of each process after a stop signal, by
    /// the name of the process. If a oneshot may still run, `stop` is the shorter time.
    pub(crate) fn shares(&self) -> HashMap<String, DeadlineShare> {
        let mut stops = vec![None; self.names.len()];
        let mut drains = vec![Duration::ZERO; self.names.len()];
        for (timeline, _) in self.timelines().filter(|(_, asked)| *asked) {
            for step in &timeline.steps {
                let Some(id) = step.process else { continue };
                let stop = &mut stops[id.index()];
                match step.kind {
                    StepKind::Stop => {
                        *stop = Some(stop.unwrap_or(Duration::MAX).min(step.takes()));
                    }
                    StepKind::Drain => drains[id.index()] = step.takes(),
                    _ => {}
                }
            }
        }
        let shares = stops.into_iter().zip(drains);
        let shares =
            shares.map(|(stop, drain)| DeadlineShare { stop: stop.unwrap_or_default(), drain });
        self.names.iter().map(|name| (*name).to_owned()).zip(shares).collect()
    }

    /// The time from the beginning of the shutdown to its deadline.
    pub fn window(&self) -> Duration {
        self.spec.window
    }

    /// The latest time at which all processes that start with the container are ready; `None` if
    /// one of these processes is a oneshot, which may take any time.
    pub fn ready_by(&self) -> Option<Duration> {
        let first = self.pre_start.unwrap_or_default();
        let own = self.start.iter().filter(|start| start.process.autostart);
        own.map(|start| start.ready_by).try_fold(first, |a, b| Some(a.max(b?)))
    }

    /// The name of a step: `drain router`, `stop router`, `readiness_delay`.
    pub fn label(&self, step: &ShutdownStep) -> String {
        let name = step.process.and_then(|id| self.names.get(id.index()));
        drainit_journal::data::label(step.kind, name.map(AsRef::as_ref))
    }

    /// The time that a step would take if there were no deadline, and whether the config sets this
    /// time. `asked` has the same meaning as for [`Timeline::worst`].
    pub fn wish(&self, step: &ShutdownStep, asked: bool) -> (Duration, bool) {
        let process = step.process.map(|id| &self.spec.processes[id.index()]);
        let hooks = process.map_or(&self.spec.hooks, |process| &process.hooks);
        let wait = match step.kind {
            StepKind::ReadinessDelay => return (self.spec.readiness_delay, true),
            StepKind::Drain => {
                let drain = process.and_then(|process| process.drain);
                let time = |drain: DrainSpec| drain.time.filter(|time| *time < self.spec.window);
                let wish = drain.and_then(|it| if asked { time(it) } else { Some(it.min) });
                return (wish.unwrap_or(step.takes()), wish.is_some());
            }
            StepKind::Close | StepKind::Count | StepKind::Leftovers => None,
            StepKind::PreStop => hooks.pre_stop,
            StepKind::PostStop => hooks.post_stop,
            StepKind::Stop => {
                process.and_then(|process| process.stop).map(|stop| HookWait::new(Some(stop)))
            }
        };
        wait.map_or((step.takes(), false), |wait| (wait.limit, wait.is_declared()))
    }

    /// Whether a step is a drain that no `time` ends before the deadline does.
    pub(crate) fn has_open_end(&self, step: &ShutdownStep) -> bool {
        step.kind == StepKind::Drain && !self.wish(step, true).1
    }

    /// The `min` of a step that is a drain; `None` for other steps.
    pub fn min(&self, step: &ShutdownStep) -> Option<Duration> {
        let process = &self.spec.processes[step.process?.index()];
        (step.kind == StepKind::Drain).then_some(process.drain?.min)
    }

    /// The first stop without a drain and without `stop_grace_period` that gets less than the 10 s
    /// in which most programs end, even if it begins at T0, because the declared stop of a dependency
    /// keeps more time than the stop gets; with the time that it gets, this dependency, and the time
    /// that the dependency keeps.
    pub(crate) fn squeezed(&self) -> Option<(&ShutdownStep, Duration, &'c str, Duration)> {
        let budget = LazyCell::new(|| Budget::of(&self.spec));
        let window = self.spec.window;
        let stops = self.after_signal.steps.iter().filter(|step| step.kind == StepKind::Stop);
        stops.filter(|step| step.takes() < MOST_KEPT).find_map(|step| {
            let is_unset = |of: &ProcessSpec| of.stop.is_none() && of.drain.is_none();
            let id = step.process.filter(|id| is_unset(self.spec.of(*id)))?;
            let (Some(by), kept) = budget.keeper(&self.spec, id)? else { return None };
            let gets = budget.stop(&self.spec, id, window, Some(window));
            let is_squeezed = gets < MOST_KEPT && gets < kept && self.spec.of(by).stop.is_some();
            is_squeezed.then(|| (step, gets, self.names[by.index()], kept.min(window)))
        })
    }

    /// The steps that get less time than the config sets for them, each with the time that the
    /// config sets.
    pub fn cuts<'a>(
        &'a self,
        timeline: &'a Timeline,
        asked: bool,
    ) -> impl Iterator<Item = (&'a ShutdownStep, Duration)> {
        timeline.steps.iter().filter_map(move |step| {
            let (wish, declared) = self.wish(step, asked);
            (declared && step.takes() < wish).then_some((step, wish))
        })
    }
}

/// The duration of this shutdown if there are no leftovers (processes that outlive their starter).
/// In this case, drainit does not wait for leftovers. If the container's `post_stop` hook has no
/// timeout, the hook then gets the time of this wait.
fn without_leftovers(spec: &Spec, timeline: &Timeline) -> Duration {
    let leftovers = timeline.steps.iter().find(|step| step.kind == StepKind::Leftovers);
    leftovers.map_or(timeline.total, |ShutdownStep { begins, .. }| {
        let hook = final_waits::container_post_stop(spec, *begins, Time(spec.window));
        begins.0.saturating_add(hook.unwrap_or_default())
    })
}

/// The latest times, from the start of drainit, at which a process starts and is ready. A time that
/// has no limit is `None`.
#[derive(Clone, Copy, Default)]
struct Latest {
    started: Option<Duration>,
    ready: Option<Duration>,
}

fn start<'c>(config: &'c Config, spec: &Spec) -> Vec<PlannedStart<'c>> {
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
        let begins = begins.filter(|_| process.autostart);
        let pre_start = limit(&process.hooks);
        let started = begins.map(|begins| begins.saturating_add(pre_start.unwrap_or_default()));
        let within = process.readiness_timeout;
        // A oneshot may take any time, so the time at which it is ready has no limit.
        let ready = started.filter(|_| !process.oneshot || process.left_out);
        let ready = ready.map(|started| started.saturating_add(within.unwrap_or_default()));
        latest[id.index()] = Latest { started, ready };
        let left_out = process.left_out;
        let stays_down = match process.autostart {
            _ if left_out => Some("left out by `only_if` or `profiles`"),
            false => Some("by `drainit start`"),
            true => None,
        };
        out.push(PlannedStart {
            process: written,
            left_out,
            stays_down,
            pre_start,
            begins_by: begins,
            ready_by: ready,
        });
    }
    out
}
