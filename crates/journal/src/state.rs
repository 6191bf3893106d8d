//! The states of a process and the phases of the container, as the status and the metrics name
//! them.

use drainit_derive::Named;
use serde::Serialize;

use crate::history::History;
use drainit_core::machine::Machine;
use drainit_core::phase::Phase;
use drainit_core::state::Lifecycle;

/// The phase of the container.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Named, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ContainerPhase {
    /// Not every process has been ready yet.
    Starting,
    /// Every process has been ready once.
    Running,
    /// Processes drain and still serve.
    Draining,
    /// A drain was requested without a stop, and all drains are over. drainit stops nothing until a
    /// stop signal comes or a process ends.
    Drained,
    /// Processes are being stopped.
    Stopping,
}

impl ContainerPhase {
    /// The phase of the container, and whether it is ready.
    pub fn of(machine: &Machine) -> (Self, bool) {
        match machine.phase() {
            Phase::Running(running) if running.was_ready() => {
                (Self::Running, running.is_ready(machine.state()))
            }
            Phase::Running(_) => (Self::Starting, false),
            Phase::Draining(draining) if draining.is_resting(machine.state()) => {
                (Self::Drained, draining.stays_ready())
            }
            Phase::Draining(draining) => (Self::Draining, draining.stays_ready()),
            Phase::Stopping(_) | Phase::Finishing(_) | Phase::Done => (Self::Stopping, false),
        }
    }
}

/// The state of a process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Named, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ProcessState {
    /// The process waits for its dependencies.
    #[default]
    Waiting,
    /// The process runs, and is not ready yet.
    Starting,
    /// The process runs, and is ready.
    Ready,
    /// The process runs, and drains.
    Draining,
    /// The process runs, and was asked to end.
    Stopping,
    /// The process has ended, and is restarted after a pause.
    Restarting,
    /// The `only_if` of the process does not hold.
    Skipped,
    /// The process ended with a success code, or by its stop signal.
    Done,
    /// An operator has stopped the process, or it has `autostart: false`. The process stays down
    /// until a request starts it.
    Stopped,
    /// The process has failed: it ended in another way than `Done`, or its start failed.
    Failed,
}

impl ProcessState {
    /// Whether the container can be ready with a required process in this state.
    pub fn is_settled(self) -> bool {
        matches!(self, Self::Ready | Self::Skipped | Self::Done)
    }

    /// Whether this is the name of a state in which a process is on its way to another state.
    pub fn is_moving(name: &str) -> bool {
        use ProcessState::{Draining, Restarting, Starting, Stopping, Waiting};
        [Waiting, Starting, Draining, Stopping, Restarting].iter().any(|it| it.name() == name)
    }

    /// The state that follows from a lifecycle. `restarts` says whether the process is started
    /// again once the rest of its group is gone. `succeeded` is false if the last end of the
    /// process counts as a failure.
    pub(super) fn of(life: Lifecycle, restarts: bool, past: &History, succeeded: bool) -> Self {
        match life {
            Lifecycle::Waiting
            | Lifecycle::Checking { .. }
            | Lifecycle::PreStart { .. }
            | Lifecycle::Spawning => Self::Waiting,
            Lifecycle::Starting { .. } => Self::Starting,
            Lifecycle::Ready { .. } if past.is_draining => Self::Draining,
            Lifecycle::Ready { .. } => Self::Ready,
            Lifecycle::Backoff { .. } => Self::Restarting,
            Lifecycle::PreStop { .. } | Lifecycle::Stopping { .. } | Lifecycle::Killed { .. } => {
                Self::Stopping
            }
            Lifecycle::Remains { .. } | Lifecycle::RestKilled { .. } if restarts => {
                Self::Restarting
            }
            Lifecycle::Remains { .. } | Lifecycle::RestKilled { .. } => Self::Stopping,
            Lifecycle::Stopped { failed: true } => Self::Failed,
            Lifecycle::Stopped { failed: false } => Self::Stopped,
            Lifecycle::PostStop { .. } | Lifecycle::Done if past.is_skipped => Self::Skipped,
            // While the `post_stop` hook runs, the stop of the process is not over.
            Lifecycle::PostStop { .. } if past.state == Self::Stopping => Self::Stopping,
            Lifecycle::PostStop { .. } | Lifecycle::Done => match (past.end, past.state) {
                _ if past.gave_up => Self::Failed,
                // An operator stopped the process before the shutdown began.
                (_, Self::Stopped) => Self::Stopped,
                (None, _) => Self::Done,
                _ if succeeded => Self::Done,
                // The stop signal has ended the process.
                (_, Self::Stopping | Self::Done) if !past.ended_by_itself => Self::Done,
                _ => Self::Failed,
            },
        }
    }
}
