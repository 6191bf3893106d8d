//! The report of the shutdown as JSON for programs.
//!
//! `docs/json.md` describes the fields, so within one [`VERSION`], their names and their meaning
//! must not change.

use alloc::collections::BTreeMap;

use serde_json::{Value, json};

use crate::prelude::*;
use crate::timeline::{Key, ShutdownStep, StepKind, Timeline, part};
use crate::{Journal, messages};
use drainit_core::cause::{Cause, Failure};
use drainit_core::state::State;
use drainit_core::types::{End, ProcessId, Time, harmless, seconds};

/// The version of the format. The version grows when a field is removed or changes its meaning, but
/// not when a field is added.
pub const VERSION: u32 = 1;

impl Journal {
    /// The report; `None` if there was no shutdown. For the slot of an instance, `place` gives the
    /// position of its process in the config. `stamp` writes a time as RFC 3339.
    ///
    /// Other times are in seconds. Times of the start count from the start of drainit; all other
    /// times count from the beginning of the shutdown.
    pub fn data(
        &self,
        now: Time,
        exit_code: u8,
        state: &State,
        place: impl Fn(ProcessId) -> usize,
        stamp: impl Fn(Time) -> String,
    ) -> Option<Value> {
        let (t0, cause, window) = self.shutdown?;
        let spec = &state.spec;
        let phases: Vec<_> = self.steps.phases().collect();
        let ends = phases.iter().skip(1).map(|(_, begins)| *begins).chain([now]);
        let phases = phases.iter().zip(ends).map(|((phase, begins), ends)| {
            json!({"phase": phase, "begins": between(t0, *begins), "ends": between(t0, ends)})
        });
        // The slots in use (`order` has no retired slots), in file order. The current slot of a
        // process comes before its other slot.
        let mut in_use = spec.order.clone();
        in_use.sort_unstable_by_key(|id| (place(*id), !state.is_current(*id), *id));
        let processes = in_use.into_iter().map(|id| self.process(id, t0, state));
        let warnings = self.remarks.iter().map(|remark| clean(remark));
        Some(json!({
            "version": VERSION,
            "drainit": env!("CARGO_PKG_VERSION"),
            "cause": self.cause(cause),
            "exit_code": exit_code,
            "started": stamp(self.began),
            "t0": stamp(t0),
            "grace_period": seconds(spec.window.saturating_add(spec.reserve)),
            // The time from the beginning of the shutdown to the deadline.
            "deadline": seconds(window),
            // The time from the beginning of the shutdown to the exit.
            "took": between(t0, now),
            // The number of processes that were killed.
            "killed": self.killed(),
            "totals": self.totals_data(),
            "phases": phases.collect::<Vec<_>>(),
            // The time until every process was ready; null if not every process has been ready.
            "start": {"ready": self.start_took().map(seconds)},
            "processes": processes.collect::<Vec<_>>(),
            "steps": self.steps(t0, cause, state),
            "warnings": warnings.collect::<Vec<_>>(),
        }))
    }

    fn cause(&self, cause: Cause) -> Value {
        let kind = match cause {
            Cause::Signal(_) => "signal",
            Cause::Ended { .. } => "ended",
            Cause::Failed { why: Failure::Spawn { .. }, .. } => "not_started",
            Cause::Failed { why: Failure::Hook, .. } | Cause::HookFailed => "hook_failed",
            Cause::Failed { why: Failure::NotReady { .. }, .. } => "not_ready",
            Cause::Failed { why: Failure::TimedOut { .. }, .. } => "timed_out",
            Cause::Failed { why: Failure::Unhealthy, .. } => "unhealthy",
            Cause::DrainRequested => "drain_requested",
            Cause::ShutdownRequested => "requested",
            Cause::AllEnded => "all_ended",
        };
        let process = match cause {
            Cause::Ended { process, .. } | Cause::Failed { process, .. } => Some(process),
            _ => None,
        };
        json!({
            "kind": kind,
            "process": process.map(|id| clean(self.names.of(id))),
            // The cause in the words of the log.
            "text": clean(&messages::why(cause, &self.names)),
        })
    }

    fn process(&self, id: ProcessId, t0: Time, state: &State) -> Value {
        let history = self.of(id);
        let since = |at: Time| between(t0, at);
        // The end of the last instance; null if drainit did not see an end.
        let end = history.end.over.map(|end| {
            json!({
                "at": since(end.at),
                "code": if let End::Code(code) = end.how { Some(code) } else { None },
                "signal": end.how.signal().map(|signal| signal.to_string()),
                // The end in the words of the log.
                "text": end.how.to_string(),
            })
        });
        let drain = history.drain.as_ref().filter(|drain| !drain.is_past).map(|drain| {
            let over = json!({
                "begins": since(drain.began),
                // The time at which the drain was over; null if it was not over at the exit.
                "ends": drain.over.map(|(at, ..)| since(at)),
                // The shortest and the longest time that was granted to the drain.
                "min": seconds(drain.min),
                "longest": seconds(drain.longest),
                "why": drain.over.map(|(_, over)| over.why.name()),
                // The reason for the end of the drain, in the words of the log.
                "text": drain.over().unwrap_or_else(|| "not over".to_owned()),
            });
            with(over, json!(history.drained().unwrap_or_default()))
        });
        let asked = history.end.asked;
        let stop = history.stop.map(|stop| {
            let stopped = json!({
                // The time at which the process was asked to end; null if it was not asked.
                "begins": asked.map(|asked| since(asked.at)),
                "ends": stop.ends.map(since),
                "signal": asked.map(|asked| asked.signal.to_string()),
                // The granted time from the stop signal to SIGKILL.
                "limit": asked.map(|asked| seconds(asked.limit)),
                "killed": stop.killed,
            });
            // The counts from the stop signal to the end; null if nothing was counted, or if the
            // drain has the counts.
            with(stopped, json!(history.cut().unwrap_or_default()))
        });
        let process = json!({
            "name": clean(self.names.of(id)),
            // The time at which the process was first started; null if it was never started.
            "started": history.start.first.map(seconds),
            "ready": history.readiness.first.map(seconds),
            // The time limit of the readiness probe.
            "ready_within": state.process(id).readiness_timeout.map(seconds),
            "restarts": state[id].restarts.count,
            // The number of ends by the kernel's OOM killer, over all instances.
            "oom_kills": self.counted(id).oom_kills(),
            "end": end,
            "drain": drain,
            "stop": stop,
        });
        with(process, self.instance(id))
    }

    /// The Envoy epoch or the PID of the last instance, if another instance ran beside it.
    fn instance(&self, id: ProcessId) -> Value {
        let instance = self.of(id).start.label.as_deref();
        instance.map_or_else(|| json!({}), |instance| json!({"instance": clean(instance)}))
    }

    /// The steps that happened, and the planned drains that did not happen, in the order of
    /// `drainit plan`. Each step has its real times and the times of `drainit plan`.
    fn steps(&self, t0: Time, cause: Cause, state: &State) -> Vec<Value> {
        let mut real: BTreeMap<Key, ShutdownStep> = BTreeMap::new();
        // The report counts the closing of the listeners as part of the drain.
        for step in self.steps.all().filter(|step| step.kind != StepKind::Close) {
            // If a step happened more than once, the last one is kept.
            let known = real.entry(step.key()).or_insert(step);
            if step.begins > known.begins {
                *known = step;
            }
        }
        // The times of each step in the worst case, and its place.
        let mut planned: BTreeMap<Key, (usize, Time, Time)> = BTreeMap::new();
        let plan = Timeline::worst(&state.spec, cause.is_asked());
        for (place, step) in plan.steps.iter().enumerate() {
            let ends = step.ends.unwrap_or(step.begins);
            let key = match step.kind {
                StepKind::Close => (StepKind::Drain, step.process),
                kind => (kind, step.process),
            };
            planned.entry(key).or_insert((place, step.begins, ends)).2 = ends;
        }
        let not_drained = state.spec.ids().filter(|id| self.of(*id).stop.is_some());
        let not_drained = not_drained.map(|id| (StepKind::Drain, Some(id)));
        let not_drained =
            not_drained.filter(|key| planned.contains_key(key) && !real.contains_key(key));
        let mut keys: Vec<_> = not_drained.chain(real.keys().copied()).collect();
        keys.sort_by_key(|key| {
            let place = planned.get(key).map_or(usize::MAX, |(place, ..)| *place);
            let begins = real.get(key).map_or(t0, |step| step.begins);
            (part(*key), place, begins, key.1)
        });
        let steps = keys.into_iter().map(|key| {
            let (kind, process) = key;
            let real = real.get(&key);
            let label_of = process.map(|id| clean(&self.name_of(id)));
            let planned = planned.get(&key).map(
                |(_, begins, ends)| json!({"begins": seconds(begins.0), "ends": seconds(ends.0)}),
            );
            let step = json!({
                "name": label(kind, label_of.as_deref()),
                "step": kind.name(),
                // The name of the process; null for a step of the container.
                "process": process.map(|id| clean(self.names.of(id))),
                // The beginning of the step; null if the step did not happen.
                "begins": real.map(|step| between(t0, step.begins)),
                // The end of the step; null if the step did not happen, or was not over at the exit.
                "ends": real.and_then(|step| step.ends).map(|at| between(t0, at)),
                "planned": planned,
            });
            with(step, process.map_or_else(|| json!({}), |id| self.instance(id)))
        });
        steps.collect()
    }
}

/// Adds the members of an object to another object.
fn with(mut object: Value, members: Value) -> Value {
    if let (Value::Object(object), Value::Object(members)) = (&mut object, members) {
        object.extend(members);
    }
    object
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
