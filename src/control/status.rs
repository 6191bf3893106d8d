//! The data of `/status`, `/readyz` and `/metrics`, made for each request.

use std::rc::Rc;
use std::time::Duration;

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use crate::report::history::Tally;
use crate::report::state::{ContainerPhase, ProcessState};
use crate::types::suggest::is_meant;
use crate::types::{ProcessId, serialize_seconds, serialize_some_seconds};

/// The whole container at one moment.
#[derive(Clone, Debug, Serialize)]
pub struct Status {
    /// Of drainit.
    pub version: &'static str,
    /// Of drainit.
    pub pid: u32,
    /// The inode of the namespace in which the pids are valid; `None` without `/proc`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pid_namespace: Option<u64>,
    /// Its phase.
    pub phase: ContainerPhase,
    /// `/readyz` answers 200: everything is ready, and no shutdown has begun.
    pub ready: bool,
    /// Since drainit began.
    #[serde(rename = "uptime_seconds", serialize_with = "serialize_seconds")]
    pub uptime: Duration,
    /// The measured start, once everything was ready.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub startup: Option<StartupStatus>,
    /// In file order; a process that is replaced has a second entry after its first.
    pub processes: Vec<ProcessStatus>,
    /// From T0 on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shutdown: Option<ShutdownStatus>,
    /// The time spent in each phase so far; a phase that has not come is not in it.
    #[serde(skip)]
    pub phases: Vec<(ContainerPhase, Duration)>,
    /// Lines of output that were dropped: of `stdout` and `stderr`, and of log files by their paths.
    #[serde(skip)]
    pub dropped_lines: Vec<(String, u64)>,
    /// Processes that were handed to drainit by the death of their parent, and have ended.
    #[serde(skip)]
    pub reaped_orphans: u64,
}

/// One process.
#[derive(Clone, Debug, Serialize)]
pub struct ProcessStatus {
    #[serde(skip)]
    pub slot: ProcessId,
    /// Its key in the config.
    pub name: String,
    /// Of two entries of a process: which one this is.
    #[serde(flatten)]
    pub part: Part,
    /// Its state.
    pub state: ProcessState,
    /// `null` unless it runs.
    pub pid: Option<i32>,
    /// Of an Envoy that is hot-restarted: the number of its last start.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub epoch: Option<u32>,
    /// It runs, is ready, and is neither drained nor stopped.
    pub ready: bool,
    /// Restarts so far.
    pub restarts: u32,
    /// Failed liveness probes so far.
    pub probe_failures: u64,
    /// In this state.
    #[serde(rename = "since_seconds", serialize_with = "serialize_seconds")]
    pub since: Duration,
    /// Whether the container is not ready because of it: one that is not `required` may be down.
    #[serde(skip)]
    pub is_missed: bool,
    /// Why it is not ready yet, or its last liveness probe failed, how it ended, or its `STATUS=`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// The time from the start of drainit until the process was started for the first time.
    #[serde(
        rename = "started_after_seconds",
        serialize_with = "serialize_some_seconds",
        skip_serializing_if = "Option::is_none"
    )]
    pub started: Option<Duration>,
    /// The time from the start of drainit until the process was ready for the first time, or, for a
    /// oneshot, until it was complete.
    #[serde(
        rename = "ready_after_seconds",
        serialize_with = "serialize_some_seconds",
        skip_serializing_if = "Option::is_none"
    )]
    pub first_ready: Option<Duration>,
    /// What is wrong although it may be ready: its drain will not work, lines of its log file were
    /// dropped.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// Those about its drain; `None` as long as nothing is known.
    #[serde(skip)]
    pub drain_warnings: Option<Rc<[String]>>,
    /// How it ended the last time, also while it runs again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_exit: Option<String>,
    /// Of its last instance that failed; only for operators who name the process.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub last_lines: Vec<String>,
    /// The last count of its traffic, once it is drained.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drain: Option<DrainStatus>,
    /// What is counted of the process, over all of its instances.
    #[serde(skip)]
    pub tally: Tally,
    /// The last drain of the process, in whichever slot. It stays until the exit, unless the process
    /// is started anew.
    #[serde(skip)]
    pub last_drain: Option<DrainStatus>,
    #[serde(skip)]
    pub has_drain: bool,
    #[serde(skip)]
    pub has_liveness: bool,
}

impl ProcessStatus {
    /// Whether this is the entry of the current instance of a process whose name is `pattern`, or
    /// begins with the part of `pattern` before the `*`.
    pub fn is_named(&self, pattern: &str) -> bool {
        self.part == Part::Current && is_meant(pattern, &self.name)
    }
}

/// The part of an instance while its process is replaced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Part {
    /// It is the one that counts.
    #[default]
    Current,
    /// It starts, and replaces the current one when it is ready.
    New,
    /// It was replaced, and ends.
    Old,
}

impl Part {
    /// Its name in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Current => "current",
            Self::New => "new",
            Self::Old => "old",
        }
    }
}

impl Serialize for Part {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let key = match self {
            Self::Current => return serializer.serialize_map(Some(0))?.end(),
            Self::New => "replaces",
            Self::Old => "replaced",
        };
        let mut map = serializer.serialize_map(Some(1))?;
        map.serialize_entry(key, &true)?;
        map.end()
    }
}

/// The traffic of a process that is drained; what is unknown is absent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct DrainStatus {
    /// Open connections of clients.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connections: Option<u64>,
    /// Requests in flight.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests: Option<u64>,
    /// Since its begin, at most until it was over.
    #[serde(skip)]
    pub elapsed: Duration,
    /// Until its longest wait is over; zero once it is over.
    #[serde(skip)]
    pub left: Duration,
}

/// How long the start took.
#[derive(Clone, Debug, Serialize)]
pub struct StartupStatus {
    /// From the start of drainit until everything was ready.
    #[serde(rename = "seconds", serialize_with = "serialize_seconds")]
    pub took: Duration,
}

/// A shutdown under way.
#[derive(Clone, Debug, Serialize)]
pub struct ShutdownStatus {
    /// Its cause: `SIGTERM`, `router exited with code 7`.
    pub cause: String,
    /// Since T0.
    #[serde(rename = "elapsed_seconds", serialize_with = "serialize_seconds")]
    pub elapsed: Duration,
    /// Until the deadline; zero after it. `None` where a requested drain is over, and no shutdown has
    /// begun.
    #[serde(
        rename = "deadline_in_seconds",
        serialize_with = "serialize_some_seconds",
        skip_serializing_if = "Option::is_none"
    )]
    pub deadline_in: Option<Duration>,
    /// It is a requested drain, which stops nothing.
    #[serde(skip)]
    pub is_held: bool,
}

impl Status {
    /// The entries that count, one for each process.
    pub fn current(&self) -> impl Iterator<Item = &ProcessStatus> {
        self.processes.iter().filter(|process| process.part == Part::Current)
    }

    /// Why the container is not ready, in one line: `not ready: router (waiting), policy-engine
    /// (starting: connection refused)`.
    pub fn not_ready_reason(&self) -> String {
        if let Some(shutdown) = &self.shutdown {
            return match shutdown.is_held {
                true => format!("not ready: {}", shutdown.cause),
                false => format!("shutting down: {}", shutdown.cause),
            };
        }
        let missing: Vec<_> = self
            .processes
            .iter()
            .filter(|process| process.is_missed)
            .map(|process| match &process.message {
                Some(message) => format!("{} ({}: {message})", process.name, process.state.name()),
                None => format!("{} ({})", process.name, process.state.name()),
            })
            .collect();
        if missing.is_empty() {
            "not ready".to_owned()
        } else {
            format!("not ready: {}", missing.join(", "))
        }
    }
}

#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn example() -> Status {
    let mut slots = (0..).map(ProcessId);
    let mut process = |name: &str, state, pid, restarts| ProcessStatus {
        slot: slots.next().unwrap_or(ProcessId(0)),
        name: name.to_owned(),
        part: Part::Current,
        warnings: Vec::new(),
        drain_warnings: None,
        last_lines: Vec::new(),
        state,
        pid,
        epoch: (name == "router").then_some(2),
        ready: state == ProcessState::Ready,
        restarts,
        probe_failures: 0,
        since: Duration::from_millis(1234),
        is_missed: false,
        message: None,
        started: None,
        first_ready: None,
        last_exit: None,
        drain: None,
        tally: Tally::default(),
        last_drain: None,
        has_drain: false,
        has_liveness: false,
    };
    Status {
        version: "0.1.0",
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
        phases: Vec::new(),
        dropped_lines: Vec::new(),
        reaped_orphans: 0,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    // holds: S167, C97, C250
    #[test]
    fn json_keeps_its_fields() {
        let mut status = example();
        status.processes.truncate(1);
        assert_eq!(
            serde_json::to_value(&status).unwrap(),
            serde_json::json!({
                "version": "0.1.0", "pid": 1, "phase": "running", "ready": true, "uptime_seconds": 3.0,
                "processes": [{
                    "name": "policy-engine", "state": "ready", "pid": 17, "ready": true, "restarts": 2, "probe_failures": 0,
                    "since_seconds": 1.234,
                }],
            })
        );
        status.processes[0].started = Some(Duration::from_millis(12));
        status.processes[0].first_ready = Some(Duration::from_millis(1200));
        let took = Duration::from_millis(1210);
        status.startup = Some(StartupStatus { took });
        let json = serde_json::to_value(&status).unwrap();
        assert_eq!(json["processes"][0]["started_after_seconds"], 0.012);
        assert_eq!(json["processes"][0]["ready_after_seconds"], 1.2);
        assert_eq!(json["startup"], serde_json::json!({"seconds": 1.21}));
        status.processes[0].last_exit = Some("exited with code 7".to_owned());
        status.processes[0].pid = None;
        let drain = DrainStatus { connections: Some(3), ..DrainStatus::default() };
        status.processes[0].drain = Some(drain);
        let json = serde_json::to_value(&status).unwrap();
        assert_eq!(json["processes"][0]["last_exit"], "exited with code 7");
        assert_eq!(json["processes"][0].get("pid"), Some(&serde_json::Value::Null));
        assert_eq!(json["processes"][0]["drain"], serde_json::json!({"connections": 3}));
        status.shutdown = Some(ShutdownStatus {
            cause: "SIGTERM".to_owned(),
            elapsed: Duration::from_millis(500),
            deadline_in: Some(Duration::from_millis(27_500)),
            is_held: false,
        });
        assert_eq!(
            serde_json::to_value(&status).unwrap()["shutdown"],
            serde_json::json!({"cause": "SIGTERM", "elapsed_seconds": 0.5, "deadline_in_seconds": 27.5})
        );
    }

    // holds: C104, C105
    #[test]
    fn json_and_metrics_name_states_alike() {
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
    fn the_reason_names_the_processes_that_are_not_ready() {
        let mut status = example();
        status.ready = false;
        assert_eq!(status.not_ready_reason(), "not ready");
        status.processes[0].state = ProcessState::Starting;
        status.processes[0].message = Some("connection refused".to_owned());
        status.processes[1].state = ProcessState::Waiting;
        assert_eq!(status.not_ready_reason(), "not ready", "they are not required");
        status.processes[..2].iter_mut().for_each(|process| process.is_missed = true);
        assert_eq!(
            status.not_ready_reason(),
            "not ready: policy-engine (starting: connection refused), router (waiting)"
        );
        status.shutdown = Some(ShutdownStatus {
            cause: "SIGTERM".to_owned(),
            elapsed: Duration::ZERO,
            deadline_in: Some(Duration::from_secs(28)),
            is_held: false,
        });
        assert_eq!(status.not_ready_reason(), "shutting down: SIGTERM");
    }
}
