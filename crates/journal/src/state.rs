//! The states of a process and the phases of the container, as the status and the metrics name
//! them.

use drainit_derive::Named;
use serde::{Deserialize, Serialize};

use drainit_core::machine::Machine;
use drainit_core::phase::Phase;

/// The phase of the container.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Named, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ContainerPhase {
    /// Not every process has been ready yet.
    #[default]
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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Named, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ProcessState {
    /// The process waits for its dependencies, or is about to start.
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
    /// The process is left out by `only_if` or `profiles`.
    Skipped,
    /// The process ended with a success code or by its stop signal, or the shutdown began before
    /// the process started.
    Done,
    /// An operator has stopped the process, or it has `autostart: false`. The process stays down
    /// until a request starts it.
    Stopped,
    /// The process has failed: it ended in another way than described at `Done`, or its start
    /// failed.
    Failed,
}

impl ProcessState {
    /// Whether the container can be ready with a required process in this state.
    pub fn is_settled(self) -> bool {
        matches!(self, Self::Ready | Self::Skipped | Self::Done)
    }

    /// Whether a process in this state is on its way to another state.
    pub fn is_moving(self) -> bool {
        use ProcessState::{Draining, Restarting, Starting, Stopping, Waiting};
        matches!(self, Waiting | Starting | Draining | Stopping | Restarting)
    }
}

/// The part that an instance plays while its process is being replaced. An instance of any other
/// process is `Current`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Named)]
pub enum Part {
    /// The current instance. An instance that replaces the current instance is `New`. An instance
    /// that the current instance has replaced is `Old`.
    Current,
    /// The instance starts, and replaces the current instance when it is ready.
    New,
    /// The instance was replaced, and is ending.
    Old,
}
