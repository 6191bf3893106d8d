//! The data of `/status`, `/readyz` and `/metrics`. drainit's own commands read the status, too.

use std::borrow::Cow;
use std::rc::Rc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::core::traffic::Traffic;
use crate::journal::Outcome;
use crate::journal::end::LastExit;
use crate::journal::history::{ReadinessHistory, StartHistory};
use crate::journal::state::{ContainerPhase, Part, ProcessState};
use crate::journal::tally::Tally;
use crate::language::written::as_written;
use crate::types::suggest::{is_meant, shortened};
use crate::types::{ProcessId, as_seconds, as_some_seconds};

/// The whole container at one moment. A command reads the status of a drainit of another version,
/// too, whose status may have fewer fields.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Status {
    /// The version of drainit.
    pub version: Cow<'static, str>,
    /// The pid of drainit.
    pub pid: u32,
    /// The inode of the PID namespace in which the pids are valid; `None` without `/proc`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pid_namespace: Option<u64>,
    /// The phase of the container.
    pub phase: ContainerPhase,
    /// Whether `/readyz` answers 200.
    pub ready: bool,
    /// The time since drainit began.
    #[serde(rename = "uptime_seconds", with = "as_seconds")]
    pub uptime: Duration,
    /// How long the start took; `None` until everything is ready.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub startup: Option<StartupStatus>,
    /// The processes in file order. A process that is being replaced has two entries, one after the
    /// other.
    pub processes: Vec<ProcessStatus>,
    /// The shutdown, or a requested drain; `None` before either has begun.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shutdown: Option<ShutdownStatus>,
    /// Notes about the container itself, such as that PID 1 does not pass SIGTERM on.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// The time spent in each phase so far. There is no entry for a phase that has not begun.
    #[serde(skip)]
    pub phases: Vec<(ContainerPhase, Duration)>,
    /// The number of dropped lines of `stdout`, `stderr` and each log file, by name or path.
    #[serde(skip)]
    pub dropped_lines: Vec<(String, u64)>,
    /// The number of reaped orphans: processes that drainit inherited from a parent that ended.
    #[serde(skip)]
    pub reaped_orphans: u64,
}

impl Status {
    /// Adds what processes and their probes wrote. Only operators may see these texts, but not the
    /// clients of the TCP port.
    #[must_use]
    pub fn with_full_texts(mut self) -> Self {
        for process in &mut self.processes {
            process.message = process.inner.full_message.take().or(process.message.take());
        }
        self
    }

    /// Shows the texts of the config as the file has them.
    pub fn with_written_texts(mut self) -> Self {
        let processes = self.processes.iter_mut();
        let texts = processes.flat_map(|one| {
            let messages = one.message.iter_mut().chain(&mut one.inner.full_message);
            messages.chain(&mut one.warnings)
        });
        for text in texts.chain(self.dropped_lines.iter_mut().map(|(file, _)| file)) {
            *text = as_written(text).into_owned();
        }
        self
    }
}

/// One process.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ProcessStatus {
    /// The key of the process in the config.
    pub name: String,
    /// Whether this is the entry of a new instance, which replaces the current one when it is ready.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub replaces: bool,
    /// Whether this is the entry of an old instance, which was replaced and is ending.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub replaced: bool,
    /// The state of the process.
    pub state: ProcessState,
    /// The pid, the epoch and the first start, from the journal.
    #[serde(flatten)]
    pub start: StartHistory,
    /// Whether `state` is `ready`.
    pub ready: bool,
    /// The number of restarts so far.
    pub restarts: u32,
    /// The number of failed liveness probes so far.
    pub probe_failures: u64,
    /// The time in this state.
    #[serde(rename = "since_seconds", with = "as_seconds")]
    pub since: Duration,
    /// The reason why the process is not ready yet, the failure of its last liveness probe, the way
    /// it ended. With [`Status::with_full_texts`], this message also has what the process or its
    /// probe wrote, such as a `STATUS=`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// The time until the process was first ready, and the time without a ready instance, from the
    /// journal.
    #[serde(flatten)]
    pub readiness: ReadinessHistory,
    /// Faults that even a ready process may have: its drain will not work, or lines for its log
    /// file were dropped.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// How the process ended the last time, from the journal.
    #[serde(flatten)]
    pub last_exit: LastExit,
    /// The last log lines of the last instance that failed. An operator gets these lines only by
    /// naming the process, and only while the process is not ready.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub last_lines: Vec<String>,
    /// The last log lines of an instance that is not ready. An operator gets them, and `listens`,
    /// only by naming the process.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub recent_lines: Vec<String>,
    /// The addresses on which an instance that is not ready listens; `None` if unknown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listens: Option<Vec<String>>,
    /// The resident memory, which only `drainit status` adds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    /// The share of one processor, which only `drainit status` adds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_percent: Option<f64>,
    /// The drain and the last count of traffic, if the process is draining or drained.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drain: Option<DrainStatus>,
    /// The last count of the process's traffic in a shutdown, if no drain counts this traffic.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop: Option<TrafficStatus>,
    /// The facts that are not in the JSON.
    #[serde(skip)]
    pub inner: InnerStatus,
}

/// The facts about a process that the metrics and the answers to operators need, and that the JSON
/// does not have.
#[derive(Clone, Debug, Default)]
pub struct InnerStatus {
    pub slot: ProcessId,
    /// The place in the order of the start: dependencies come before dependents.
    pub rank: u16,
    /// Whether this process keeps the container from being ready. If a process is not `required`,
    /// the container can be ready while the process is down.
    pub is_missed: bool,
    /// The message for operators, before [`Status::with_full_texts`].
    pub full_message: Option<String>,
    /// The warnings about the drain of the process; `None` while drainit does not know them.
    pub drain_warnings: Option<Rc<[String]>>,
    /// Whether the process is an Envoy whose admin is closed for good. `drain_warnings` then says
    /// what this means.
    pub has_closed_admin: bool,
    /// The counts of the process, over all of its instances.
    pub tally: Tally,
    /// The last drain of the process, whichever of its instances was drained. The drain is kept
    /// until drainit exits or the process is started again.
    pub last_drain: Option<DrainStatus>,
    pub has_drain: bool,
    pub has_liveness: bool,
}

impl ProcessStatus {
    /// Whether an operator means this entry by `pattern`: the name of the process, or the beginning
    /// of the name and a `*`. Only the entry of the current instance counts.
    pub fn is_named(&self, pattern: &str) -> bool {
        self.part() == Part::Current && is_meant(pattern, &self.name)
    }

    pub fn part(&self) -> Part {
        match (self.replaces, self.replaced) {
            (true, _) => Part::New,
            (_, true) => Part::Old,
            _ => Part::Current,
        }
    }
}

/// The traffic of a process that is drained or stopped. Unknown counts are absent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrafficStatus {
    /// The open connections of clients.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connections: Option<u64>,
    /// The requests that may be in flight.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests: Option<u64>,
    /// How many of the `requests` are uncertain: the kernel does not show whether these requests
    /// are in flight. Absent if the process itself has counted its requests.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unsure: Option<u64>,
    /// The requests that the stop has cut.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cut: Option<u64>,
    /// The connections whose clients have closed them before the server did, although their latest
    /// data has no answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left: Option<u64>,
}

impl TrafficStatus {
    pub fn new(last: Traffic, Outcome { cut, left }: Outcome) -> Self {
        let (connections, unsure) = (last.connections, last.unsure);
        let requests = last.requests.map(|known| known + unsure.unwrap_or_default());
        Self { connections, requests, unsure, cut, left }
    }
}

/// The drain of a process, and its traffic.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrainStatus {
    #[serde(flatten)]
    pub traffic: TrafficStatus,
    /// The time since the drain began, or the whole duration of a drain that is over.
    #[serde(rename = "seconds", with = "as_seconds")]
    pub elapsed: Duration,
    /// The reason why the drain is over.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub over: Option<String>,
    /// The time that the drain can still take; zero once this time is over.
    #[serde(skip)]
    pub left: Duration,
}

/// The duration of the start.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StartupStatus {
    /// The time from the start of drainit until everything was ready.
    #[serde(rename = "seconds", with = "as_seconds")]
    pub took: Duration,
}

/// A shutdown, or a requested drain, that has begun.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ShutdownStatus {
    /// The cause of the shutdown: `SIGTERM`, `router exited with code 7`.
    pub cause: String,
    /// The time since T0, the moment at which the shutdown or the drain began.
    #[serde(rename = "elapsed_seconds", with = "as_seconds")]
    pub elapsed: Duration,
    /// The time until the deadline; zero after the deadline. `None` if a requested drain is over
    /// and no shutdown has begun.
    #[serde(rename = "deadline_in_seconds", with = "as_some_seconds")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deadline_in: Option<Duration>,
    /// The steps of the container that are under way, such as its `pre_stop` hook.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub waits_for: Vec<String>,
    /// Whether this is a requested drain, which stops nothing.
    #[serde(skip)]
    pub is_held: bool,
}

impl Status {
    /// The current entries, one for each process.
    pub fn current(&self) -> impl Iterator<Item = &ProcessStatus> {
        self.processes.iter().filter(|process| process.part() == Part::Current)
    }

    /// The processes on their way from one state to another, in one line: `web is stopping`. `None`
    /// if there are none.
    pub fn on_the_way(&self) -> Option<String> {
        let moving = self.processes.iter().filter(|process| process.state.is_moving());
        let texts: Vec<_> =
            moving.map(|process| format!("{} is {}", process.name, process.state.name())).collect();
        (!texts.is_empty()).then(|| shortened(&texts))
    }

    /// The answer to `/readyz` while the container is ready: one line. The line has the notes about
    /// the container, and names each Envoy that its admin cannot drain any more.
    pub fn ready_line(&self) -> String {
        let closed = self.processes.iter().filter(|process| process.inner.has_closed_admin);
        let of_processes = closed.flat_map(|process| {
            let warnings = process.inner.drain_warnings.iter().flat_map(|all| all.iter());
            warnings.map(|why| format!("{}: {why}", process.name))
        });
        let notes = self.notes.iter().cloned().chain(of_processes);
        format!("ready{}\n", notes.map(|note| format!("; note: {note}")).collect::<String>())
    }

    /// The reason why the container is not ready, in one line: `not ready: router (waiting),
    /// policy-engine (starting: connection refused)`.
    pub fn not_ready_reason(&self) -> String {
        if let Some(shutdown) = &self.shutdown {
            return match shutdown.is_held {
                true => format!("not ready: {}", shutdown.cause),
                false => format!("shutting down: {}", shutdown.cause),
            };
        }
        let missed = self.processes.iter().filter(|process| process.inner.is_missed);
        let texts = missed.map(|ProcessStatus { name, state, message, .. }| {
            match (message, state, state.name()) {
                (_, ProcessState::Stopped, _) => format!("{name} (stopped by hand)"),
                (Some(message), ProcessState::Waiting, _) => format!("{name} ({message})"),
                (Some(message), _, state) => format!("{name} ({state}: {message})"),
                (None, _, state) => format!("{name} ({state})"),
            }
        });
        match texts.collect::<Vec<_>>().as_slice() {
            [] => "not ready".to_owned(),
            texts => format!("not ready: {}", shortened(texts)),
        }
    }
}

#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn example() -> Status {
    let mut slots = (0..).map(ProcessId);
    let mut process = |name: &str, state, pid, restarts| ProcessStatus {
        name: name.to_owned(),
        state,
        start: StartHistory {
            pid,
            epoch: (name == "router").then_some(2),
            ..StartHistory::default()
        },
        ready: state == ProcessState::Ready,
        restarts,
        since: Duration::from_millis(1234),
        inner: InnerStatus { slot: slots.next().unwrap_or_default(), ..InnerStatus::default() },
        ..ProcessStatus::default()
    };
    Status {
        version: "0.1.0".into(),
        pid: 1,
        pid_namespace: None,
        phase: ContainerPhase::Running,
        ready: true,
        uptime: Duration::from_secs(3),
        startup: None,
        processes: vec![
            process("policy-engine", ProcessState::Ready, Some(17), 2),
            process("router", ProcessState::Ready, Some(18), 0),
            process("migrate", ProcessState::Done, None, 0),
        ],
        shutdown: None,
        notes: Vec::new(),
        phases: Vec::new(),
        dropped_lines: Vec::new(),
        reaped_orphans: 0,
    }
}

/// A shutdown by SIGTERM.
#[cfg(test)]
pub(crate) fn shutdown_of(elapsed: Duration, deadline_in: Option<Duration>) -> ShutdownStatus {
    let cause = "SIGTERM".to_owned();
    ShutdownStatus { cause, elapsed, deadline_in, waits_for: Vec::new(), is_held: false }
}

#[cfg(test)]
mod tests {
    use super::*;

    // holds: S167, C97, C250
    #[test]
    fn json_fields_are_stable() {
        let mut status = example();
        status.processes.remove(1);
        status.startup = Some(StartupStatus { took: Duration::from_millis(1210) });
        let first = &mut status.processes[0];
        first.start.first = Some(Duration::from_millis(12));
        first.readiness.first = Some(Duration::from_millis(1200));
        first.last_exit.text = Some("exited with code 7".to_owned());
        let traffic = TrafficStatus { connections: Some(3), ..TrafficStatus::default() };
        first.drain = Some(DrainStatus { traffic, ..DrainStatus::default() });
        let [elapsed, left] = [500, 27_500].map(Duration::from_millis);
        status.shutdown = Some(shutdown_of(elapsed, Some(left)));
        assert_eq!(
            serde_json::to_value(&status).unwrap(),
            serde_json::json!({
                "version": "0.1.0", "pid": 1, "phase": "running", "ready": true, "uptime_seconds": 3.0,
                "startup": {"seconds": 1.21},
                "processes": [{
                    "name": "policy-engine", "state": "ready", "pid": 17, "ready": true, "restarts": 2, "probe_failures": 0,
                    "since_seconds": 1.234, "started_after_seconds": 0.012, "ready_after_seconds": 1.2,
                    "last_exit": "exited with code 7", "drain": {"connections": 3, "seconds": 0.0},
                }, {
                    "name": "migrate", "state": "done", "pid": null, "ready": false, "restarts": 0, "probe_failures": 0,
                    "since_seconds": 1.234,
                }],
                "shutdown": {"cause": "SIGTERM", "elapsed_seconds": 0.5, "deadline_in_seconds": 27.5},
            })
        );
    }

    // holds: C104, C105
    #[test]
    fn json_and_metrics_use_the_same_state_names() {
        let phases = "starting running draining drained stopping";
        assert_eq!(ContainerPhase::ALL.map(ContainerPhase::name).join(" "), phases);
        let states =
            "waiting starting ready draining stopping restarting skipped done stopped failed";
        assert_eq!(ProcessState::ALL.map(ProcessState::name).join(" "), states);
        for state in ProcessState::ALL {
            assert_eq!(serde_json::to_value(state).unwrap(), state.name());
        }
        for phase in ContainerPhase::ALL {
            assert_eq!(serde_json::to_value(phase).unwrap(), phase.name());
        }
    }

    // holds: C96
    #[test]
    fn reason_names_unready_processes() {
        let mut status = example();
        assert_eq!(status.ready_line(), "ready\n");
        status.notes.push("SIGTERM will not come".to_owned());
        assert_eq!(status.ready_line(), "ready; note: SIGTERM will not come\n");
        status.ready = false;
        assert_eq!(status.not_ready_reason(), "not ready");
        status.processes[0].state = ProcessState::Starting;
        status.processes[0].message = Some("connection refused".to_owned());
        status.processes[1].state = ProcessState::Waiting;
        assert_eq!(status.not_ready_reason(), "not ready", "the processes are not required");
        let on_the_way = status.on_the_way().unwrap();
        assert_eq!(on_the_way, "policy-engine is starting, router is waiting");
        let mut many = status.clone();
        many.processes[1].inner.is_missed = true;
        many.processes = vec![many.processes[1].clone(); 2000];
        assert!(many.not_ready_reason().ends_with(", router (waiting), 1992 more"));
        assert!(many.on_the_way().unwrap().ends_with(", router is waiting, 1992 more"));
        status.processes[..2].iter_mut().for_each(|process| process.inner.is_missed = true);
        let reason = "not ready: policy-engine (starting: connection refused), router (waiting)";
        assert_eq!(status.not_ready_reason(), reason);
        status.shutdown = Some(shutdown_of(Duration::ZERO, None));
        assert_eq!(status.not_ready_reason(), "shutting down: SIGTERM");
    }
}
