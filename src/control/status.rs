//! What `/status`, `/readyz` and `/metrics` tell: plain data, made anew for every request.

use std::time::Duration;

use serde::{Serialize, Serializer};

/// The whole container at one moment.
#[derive(Clone, Debug, Serialize)]
pub struct Status {
    /// How far it is.
    pub phase: ContainerPhase,
    /// What `/readyz` answers: everything is ready, and no shutdown has begun.
    pub ready: bool,
    /// Since drainit began.
    #[serde(rename = "uptime_seconds", serialize_with = "seconds")]
    pub uptime: Duration,
    /// In file order.
    pub processes: Vec<ProcessStatus>,
    /// From T0 on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shutdown: Option<ShutdownStatus>,
}

/// How far the container is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ContainerPhase {
    /// Not everything is ready yet.
    Starting,
    /// Everything was ready once.
    Running,
    /// Traffic is being taken away; processes still serve.
    Draining,
    /// There is no traffic left, and nothing is stopped until there is a reason to.
    Drained,
    /// Processes are being stopped.
    Stopping,
}

/// One process.
#[derive(Clone, Debug, Serialize)]
pub struct ProcessStatus {
    /// Its key in the config.
    pub name: String,
    /// How far it is.
    pub state: ProcessState,
    /// While it runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pid: Option<i32>,
    /// How often it was started again.
    pub restarts: u32,
    /// In this state.
    #[serde(rename = "since_seconds", serialize_with = "seconds")]
    pub since: Duration,
    /// What there is to say: why it is not ready yet, how it ended, its `STATUS=`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// How far a process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ProcessState {
    /// For what it depends on.
    Waiting,
    /// It runs and is not ready yet.
    Starting,
    /// It runs and is ready.
    Ready,
    /// It runs, and its traffic is being taken away.
    Draining,
    /// It runs and was asked to end.
    Stopping,
    /// It ended, and is started again after a pause.
    Restarting,
    /// Its `only_if` is not fulfilled.
    Skipped,
    /// It ended with code 0, or because it was asked to.
    Done,
    /// It ended otherwise.
    Failed,
}

impl ProcessState {
    /// Every state.
    pub const ALL: [Self; 9] = [
        Self::Waiting,
        Self::Starting,
        Self::Ready,
        Self::Draining,
        Self::Stopping,
        Self::Restarting,
        Self::Skipped,
        Self::Done,
        Self::Failed,
    ];

    /// As it is written in JSON and in metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::Draining => "draining",
            Self::Stopping => "stopping",
            Self::Restarting => "restarting",
            Self::Skipped => "skipped",
            Self::Done => "done",
            Self::Failed => "failed",
        }
    }

    /// Whether nothing is missing from it for the container to be ready.
    fn is_settled(self) -> bool {
        matches!(self, Self::Ready | Self::Skipped | Self::Done)
    }
}

/// A shutdown under way.
#[derive(Clone, Debug, Serialize)]
pub struct ShutdownStatus {
    /// What began it: `SIGTERM`, `router exited with code 7`.
    pub cause: String,
    /// Since T0.
    #[serde(rename = "elapsed_seconds", serialize_with = "seconds")]
    pub elapsed: Duration,
    /// Until everything must be over; zero once it should be.
    #[serde(rename = "deadline_in_seconds", serialize_with = "seconds")]
    pub deadline_in: Duration,
}

impl Status {
    /// Why the container is not ready, in one line: `starting: router (waiting), policy-engine (starting: connection
    /// refused)`.
    #[must_use]
    pub fn not_ready_reason(&self) -> String {
        if let Some(shutdown) = &self.shutdown {
            return format!("shutting down: {}", shutdown.cause);
        }
        let missing: Vec<_> = self
            .processes
            .iter()
            .filter(|process| !process.state.is_settled())
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

/// Seconds with milliseconds, which is as exact as anybody reads it.
fn seconds<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    let millis = u32::try_from(duration.as_millis()).unwrap_or(u32::MAX);
    serializer.serialize_f64(f64::from(millis) / 1000.0)
}

#[cfg(test)]
pub(crate) fn example() -> Status {
    let process = |name: &str, state, pid, restarts| ProcessStatus {
        name: name.to_owned(),
        state,
        pid,
        restarts,
        since: Duration::from_millis(1234),
        message: None,
    };
    Status {
        phase: ContainerPhase::Running,
        ready: true,
        uptime: Duration::from_secs(3),
        processes: vec![
            process("policy-engine", ProcessState::Ready, Some(17), 2),
            process("router", ProcessState::Ready, Some(18), 0),
            process("migrate", ProcessState::Done, None, 0),
        ],
        shutdown: None,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    #[test]
    fn json_is_what_readers_rely_on() {
        let mut status = example();
        status.processes.truncate(1);
        assert_eq!(
            serde_json::to_value(&status).unwrap(),
            serde_json::json!({
                "phase": "running", "ready": true, "uptime_seconds": 3.0,
                "processes": [{
                    "name": "policy-engine", "state": "ready", "pid": 17, "restarts": 2, "since_seconds": 1.234,
                }],
            })
        );
        status.shutdown = Some(ShutdownStatus {
            cause: "SIGTERM".to_owned(),
            elapsed: Duration::from_millis(500),
            deadline_in: Duration::from_millis(27_500),
        });
        assert_eq!(
            serde_json::to_value(&status).unwrap()["shutdown"],
            serde_json::json!({"cause": "SIGTERM", "elapsed_seconds": 0.5, "deadline_in_seconds": 27.5})
        );
    }

    #[test]
    fn states_are_written_alike_everywhere() {
        for state in ProcessState::ALL {
            assert_eq!(serde_json::to_value(state).unwrap(), state.name());
        }
    }

    #[test]
    fn the_reason_names_what_is_missing() {
        let mut status = example();
        status.ready = false;
        assert_eq!(status.not_ready_reason(), "not ready");
        status.processes[0].state = ProcessState::Starting;
        status.processes[0].message = Some("connection refused".to_owned());
        status.processes[1].state = ProcessState::Waiting;
        assert_eq!(
            status.not_ready_reason(),
            "not ready: policy-engine (starting: connection refused), router (waiting)"
        );
        status.shutdown = Some(ShutdownStatus {
            cause: "SIGTERM".to_owned(),
            elapsed: Duration::ZERO,
            deadline_in: Duration::from_secs(28),
        });
        assert_eq!(status.not_ready_reason(), "shutting down: SIGTERM");
    }
}
