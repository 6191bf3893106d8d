//! The report of the shutdown as data, and as JSON for programs.
//!
//! `docs/json.md` describes the fields, so within one [`VERSION`], their names and their meaning
//! must not change.

use alloc::collections::BTreeMap;

use serde::Serialize;

use crate::counts::{ConnectionData, Counts, RequestData};
use crate::history::DrainHistory;
use crate::prelude::*;
use crate::timeline::{Key, ShutdownStep, StepKind, Timeline, part};
use crate::{Journal, messages};
use drainit_core::cause::{Cause, Failure};
use drainit_core::state::State;
use drainit_core::types::{End, ProcessId, Time, escape_json, harmless, seconds};

/// The version of the format. The version grows when a field is removed or changes its meaning, but
/// not when a field is added.
pub const VERSION: u32 = 1;

type Text = &'static str;

/// The whole report. Times are in seconds, unless they are in RFC 3339. Times of the start count
/// from the start of drainit; all other times count from the beginning of the shutdown.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ShutdownReport {
    /// The version of the format: [`VERSION`].
    pub version: u32,
    /// The version of drainit.
    pub drainit: Text,
    pub cause: CauseData,
    pub exit_code: u8,
    /// The time at which drainit began, as RFC 3339.
    pub started: String,
    /// The time at which the shutdown began, as RFC 3339.
    pub t0: String,
    pub grace_period: f64,
    /// The time from the beginning of the shutdown to the deadline.
    pub deadline: f64,
    /// The time from the beginning of the shutdown to the exit.
    pub took: f64,
    /// The number of processes that were killed.
    pub killed: usize,
    pub phases: Vec<PhaseData>,
    pub start: StartData,
    /// The processes in file order.
    pub processes: Vec<ProcessData>,
    /// The steps in the order of `drainit plan`.
    pub steps: Vec<StepData>,
    pub warnings: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CauseData {
    pub kind: Text,
    pub process: Option<String>,
    /// The cause in the words of the log.
    pub text: String,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PhaseData {
    pub phase: Text,
    pub begins: f64,
    pub ends: f64,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StartData {
    /// The time until every process was ready; null if not every process has been ready.
    pub ready: Option<f64>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ProcessData {
    pub name: String,
    /// The Envoy epoch or the PID of the last instance, if another instance ran beside it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    /// The time at which the process was first started; null if it was never started.
    pub started: Option<f64>,
    pub ready: Option<f64>,
    /// The time limit of the readiness probe.
    pub ready_within: Option<f64>,
    pub restarts: u32,
    /// The number of ends by the kernel's OOM killer, over all instances.
    pub oom_kills: u64,
    /// The end of the last instance; null if drainit did not see an end.
    pub end: Option<EndData>,
    pub drain: Option<DrainData>,
    pub stop: Option<StopData>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct EndData {
    pub at: f64,
    pub code: Option<u8>,
    pub signal: Option<String>,
    /// The end in the words of the log.
    pub text: String,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DrainData {
    pub begins: f64,
    /// The time at which the drain was over; null if it was not over at the exit.
    pub ends: Option<f64>,
    /// The shortest time that was granted to the drain.
    pub min: f64,
    /// The longest time that was granted to the drain.
    pub longest: f64,
    pub why: Option<Text>,
    /// The reason for the end of the drain, in the words of the log.
    pub text: String,
    /// The counts of connections; null if drainit did not count them.
    pub connections: Option<ConnectionData>,
    pub requests: Option<RequestData>,
    /// The age of the last count at the end of the drain; null if this count was still right at the
    /// end.
    pub counted_before_end: Option<f64>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StopData {
    /// The time at which the process was asked to end; null if it was not asked.
    pub begins: Option<f64>,
    pub ends: Option<f64>,
    pub signal: Option<String>,
    /// The granted time from the stop signal to SIGKILL.
    pub limit: Option<f64>,
    pub killed: bool,
    /// The counts from the stop signal to the end; null if nothing was counted, or if the drain has
    /// the counts.
    pub connections: Option<ConnectionData>,
    pub requests: Option<RequestData>,
    /// Like `counted_before_end` of [`DrainData`], but at the end of the process.
    pub counted_before_end: Option<f64>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StepData {
    pub name: String,
    pub step: Text,
    /// The name of the process; null for a step of the container.
    pub process: Option<String>,
    /// Like `instance` of [`ProcessData`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    /// The beginning of the step; null if the step did not happen.
    pub begins: Option<f64>,
    /// The end of the step; null if the step did not happen, or was not over at the exit.
    pub ends: Option<f64>,
    pub planned: Option<PlannedData>,
}

/// The times of a step in the worst case, as `drainit plan` shows them.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct PlannedData {
    pub begins: f64,
    pub ends: f64,
}

impl ShutdownReport {
    /// One line of JSON.
    pub fn json(&self) -> String {
        // All types in the report can be serialised, so this never fails.
        escape_json(&serde_json::to_string(self).unwrap_or_default()).into_owned()
    }
}

impl Journal {
    /// The report as data; `None` if there was no shutdown. For the slot of an instance, `place`
    /// gives the position of its process in the config. `stamp` writes a time as RFC 3339.
    pub fn data(
        &self,
        now: Time,
        exit_code: u8,
        state: &State,
        place: impl Fn(ProcessId) -> usize,
        stamp: impl Fn(Time) -> String,
    ) -> Option<ShutdownReport> {
        let (t0, cause, window) = self.shutdown?;
        let spec = &state.spec;
        let phases: Vec<_> = self.steps.phases().collect();
        let ends = phases.iter().skip(1).map(|(_, begins)| *begins).chain([now]);
        let phases = phases.iter().zip(ends).map(|((phase, begins), ends)| PhaseData {
            phase,
            begins: between(t0, *begins),
            ends: between(t0, ends),
        });
        // The slots in use (`order` has no retired slots), in file order. The current slot of a
        // process comes before its other slot.
        let mut in_use = spec.order.clone();
        in_use.sort_unstable_by_key(|id| (place(*id), !state.is_current(*id), *id));
        Some(ShutdownReport {
            version: VERSION,
            drainit: env!("CARGO_PKG_VERSION"),
            cause: self.cause(cause),
            exit_code,
            started: stamp(self.began),
            t0: stamp(t0),
            grace_period: seconds(spec.window.saturating_add(spec.reserve)),
            deadline: seconds(window),
            took: between(t0, now),
            killed: self.killed(),
            phases: phases.collect(),
            start: StartData { ready: self.start_took().map(seconds) },
            processes: in_use.into_iter().map(|id| self.process(id, t0, state)).collect(),
            steps: self.steps(t0, cause, state),
            warnings: self.remarks.iter().map(|remark| clean(remark)).collect(),
        })
    }

    fn cause(&self, cause: Cause) -> CauseData {
        let (kind, process) = match cause {
            Cause::Signal(_) => ("signal", None),
            Cause::Ended { process, .. } => ("ended", Some(process)),
            Cause::Failed { process, why } => {
                let kind = match why {
                    Failure::Spawn { .. } => "not_started",
                    Failure::Hook => "hook_failed",
                    Failure::NotReady { .. } => "not_ready",
                    Failure::TimedOut { .. } => "timed_out",
                    Failure::Unhealthy => "unhealthy",
                };
                (kind, Some(process))
            }
            Cause::HookFailed => ("hook_failed", None),
            Cause::DrainRequested => ("drain_requested", None),
            Cause::ShutdownRequested => ("requested", None),
            Cause::AllEnded => ("all_ended", None),
        };
        CauseData {
            kind,
            process: process.map(|id| clean(self.names.of(id))),
            text: clean(&messages::why(cause, &self.names)),
        }
    }

    fn process(&self, id: ProcessId, t0: Time, state: &State) -> ProcessData {
        let history = self.of(id);
        let since_start = |at: Time| between(self.began, at);
        let drain = history.drain.as_ref().filter(|drain| !drain.is_past);
        let asked = history.asked;
        let end = history.end.map(|(at, end)| EndData {
            at: between(t0, at),
            code: if let End::Code(code) = end { Some(code) } else { None },
            signal: end.signal().map(|signal| signal.to_string()),
            text: end.to_string(),
        });
        ProcessData {
            name: clean(self.names.of(id)),
            instance: history.instance.as_deref().map(clean),
            started: history.started.map(since_start),
            ready: history.ready.map(since_start),
            ready_within: state.process(id).readiness_timeout.map(seconds),
            restarts: state[id].restarts.count,
            oom_kills: self.counted(id).oom_kills(),
            stop: history.stop.map(|stop| {
                let counts = history.cut();
                StopData {
                    begins: asked.map(|(at, ..)| between(t0, at)),
                    ends: stop.ends.map(|at| between(t0, at)),
                    signal: asked.map(|(_, signal, _)| signal.to_string()),
                    limit: asked.map(|(.., limit)| seconds(limit)),
                    killed: stop.killed,
                    connections: counts.map(|(connections, ..)| connections),
                    requests: counts.and_then(|(_, requests, _)| requests),
                    counted_before_end: counts.and_then(|(.., age)| age).map(seconds),
                }
            }),
            end,
            drain: drain.map(|drain| drain.data(t0, history.drained())),
        }
    }

    /// The steps that happened, and the planned drains that did not happen, in the order of
    /// `drainit plan`. Each step has its real times and the times of `drainit plan`.
    fn steps(&self, t0: Time, cause: Cause, state: &State) -> Vec<StepData> {
        let mut real: BTreeMap<Key, ShutdownStep> = BTreeMap::new();
        // The report counts the closing of the listeners as part of the drain.
        for step in self.steps.all().filter(|step| step.kind != StepKind::Close) {
            // If a step happened more than once, the last one is kept.
            let known = real.entry(step.key()).or_insert(step);
            if step.begins > known.begins {
                *known = step;
            }
        }
        let mut planned: BTreeMap<Key, (usize, PlannedData)> = BTreeMap::new();
        let plan = Timeline::worst(&state.spec, cause.is_asked());
        for (place, step) in plan.steps.iter().enumerate() {
            let begins = seconds(step.begins.0);
            let ends = seconds(step.ends.unwrap_or(step.begins).0);
            let key = match step.kind {
                StepKind::Close => (StepKind::Drain, step.process),
                kind => (kind, step.process),
            };
            let planned = planned.entry(key).or_insert((place, PlannedData { begins, ends }));
            planned.1.ends = ends;
        }
        let not_drained = state.spec.ids().filter(|id| self.of(*id).stop.is_some());
        let not_drained = not_drained.map(|id| (StepKind::Drain, Some(id)));
        let not_drained =
            not_drained.filter(|key| planned.contains_key(key) && !real.contains_key(key));
        let mut keys: Vec<_> = not_drained.chain(real.keys().copied()).collect();
        keys.sort_by_key(|key| {
            let place = planned.get(key).map_or(usize::MAX, |(place, _)| *place);
            let begins = real.get(key).map_or(t0, |step| step.begins);
            (part(*key), place, begins, key.1)
        });
        let steps = keys.into_iter().map(|key| {
            let (kind, process) = key;
            let real = real.get(&key);
            let label_of = process.map(|id| clean(&self.name_of(id)));
            let instance = process.and_then(|id| self.of(id).instance.as_deref());
            StepData {
                name: label(kind, label_of.as_deref()),
                instance: instance.map(clean),
                step: kind.name(),
                process: process.map(|id| clean(self.names.of(id))),
                begins: real.map(|step| between(t0, step.begins)),
                ends: real.and_then(|step| step.ends).map(|at| between(t0, at)),
                planned: planned.get(&key).map(|(_, planned)| *planned),
            }
        });
        steps.collect()
    }
}

impl DrainHistory {
    fn data(&self, t0: Time, counts: Option<Counts>) -> DrainData {
        DrainData {
            begins: between(t0, self.began),
            ends: self.over.map(|(at, ..)| between(t0, at)),
            min: seconds(self.min),
            longest: seconds(self.longest),
            why: self.over.map(|(_, why, ..)| why.name()),
            text: self.over().unwrap_or_else(|| "not over".to_owned()),
            connections: counts.map(|(connections, ..)| connections),
            requests: counts.and_then(|(_, requests, _)| requests),
            counted_before_end: counts.and_then(|(.., age)| age).map(seconds),
        }
    }
}

/// Makes text from outside safe to show on a terminal.
fn clean(text: &str) -> String {
    harmless(text).into_owned()
}

/// The name of a step as people read it, in the report and in the plan.
pub fn label(kind: StepKind, process: Option<&str>) -> String {
    match (kind, process) {
        (StepKind::ReadinessDelay, _) => "readiness_delay".to_owned(),
        (StepKind::Count, None) => "count of connections".to_owned(),
        (StepKind::Leftovers, _) => "leftover processes".to_owned(),
        (kind, Some(name)) => format!("{} {name}", kind.name()),
        (kind, None) => format!("{} of the container", kind.name()),
    }
}

/// The seconds between two moments; negative if `to` is earlier.
fn between(from: Time, to: Time) -> f64 {
    if to >= from { seconds(to.since(from)) } else { 0.0 - seconds(from.since(to)) }
}
