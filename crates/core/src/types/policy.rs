//! The choices of the config that decisions need, each with the words of its key.

use core::time::Duration;

use crate::types::{End, Signal};

/// `condition:` of a dependency. Default: `completed` for a oneshot, `ready` for a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartCondition {
    Started,
    Ready,
    /// It ended with code 0.
    Completed,
}

/// `update:`: how a running process is replaced by a new instance of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Update {
    /// The old one is drained and stopped, then the new one starts.
    #[default]
    StopFirst,
    /// The new one is ready before the old one is drained and stopped.
    StartFirst,
    /// The same by Envoy's own hot restart: the new one takes over the sockets, and ends the old one.
    HotRestart,
}

impl Update {
    /// Whether the old and the new one run beside each other for a while.
    pub fn overlaps(self) -> bool {
        self != Self::StopFirst
    }
}

/// `restart:`, `restart_delay:`, `restart_max:`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Restart {
    pub policy: RestartPolicy,
    /// The first pause. It doubles up to 30 s, and starts again after 60 s of life. Default 1 s.
    pub delay: Duration,
    /// At most this many consecutive restarts; after them `on_exit` decides. `None`, the default:
    /// no limit.
    pub max: Option<u32>,
}

/// `restart:`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum RestartPolicy {
    #[default]
    No,
    /// After an end with a signal or a code other than 0.
    OnFailure,
    /// After every end that drainit did not ask for.
    Always,
}

/// `on_exit:`, by the kind of the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct OnExit {
    /// With one of the success codes.
    pub success: ExitPolicy,
    /// With another code, or a failure without an end: a start or a liveness check.
    pub failure: ExitPolicy,
    /// By a signal, whoever sent it.
    pub signal: ExitPolicy,
}

impl OnExit {
    /// Whatever the end.
    pub const SHUTDOWN: Self = Self::always(ExitPolicy::Shutdown);
    pub const IGNORE: Self = Self::always(ExitPolicy::Ignore);

    pub const fn always(policy: ExitPolicy) -> Self {
        Self { success: policy, failure: policy, signal: policy }
    }

    pub fn of(self, end: End, is_success: bool) -> ExitPolicy {
        match end {
            End::Code(_) if is_success => self.success,
            End::Code(_) => self.failure,
            End::Signal(_) | End::OutOfMemory => self.signal,
        }
    }
}

impl From<ExitPolicy> for OnExit {
    fn from(policy: ExitPolicy) -> Self {
        Self::always(policy)
    }
}

/// The words of `on_exit:`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum ExitPolicy {
    /// The container stops, with the code of the process.
    #[default]
    Shutdown,
    /// The container stops; code 0 of the process becomes code 1 of the container, so that the
    /// runtime starts it again.
    FailureShutdown,
    /// Nothing.
    Ignore,
}

/// `action:` of an entry of `watch:`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WatchAction {
    /// The process is replaced as by `drainit restart`.
    Restart,
    /// The config is read again, as by `drainit reload`.
    Reload,
    /// The process gets this signal.
    Signal(Signal),
}
