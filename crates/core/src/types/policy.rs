//! The choices in the config that the core needs for its decisions, with their names from the
//! config.

use core::time::Duration;
use drainit_derive::Named;

use crate::types::{End, Signal};

/// The key `condition:` of a dependency. The default is `completed` for a oneshot and `ready` for a
/// service. A process that meets a condition has also met the conditions above it in this list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Named)]
pub enum StartCondition {
    Started,
    Ready,
    /// The process has ended with a success code.
    Completed,
}

/// The key `update:`: the way in which a new instance replaces a running one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Named)]
#[named(kebab)]
pub enum Update {
    /// The old instance is drained and stopped, then the new instance starts.
    #[default]
    StopFirst,
    /// The new instance is ready before the old instance is drained and stopped.
    StartFirst,
    /// A new Envoy takes over the sockets of the old Envoy by Envoy's own hot restart, and then
    /// ends the old Envoy.
    HotRestart,
}

impl Update {
    /// Whether the old and the new instance run at the same time for a while.
    pub fn overlaps(self) -> bool {
        self != Self::StopFirst
    }
}

/// The keys `restart:`, `restart_delay:` and `restart_max:`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Restart {
    pub policy: RestartPolicy,
    /// The first pause before a restart, 1 s by default. Each further pause is twice as long, up to
    /// 30 s or this first pause, whichever is longer. After an instance has run for 60 s, the next
    /// pause is as short as the first one.
    pub delay: Duration,
    /// The largest number of consecutive restarts. After these, `on_exit` decides. `None`, the
    /// default, means that there is no limit.
    pub max: Option<u32>,
}

/// The key `restart:`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Named)]
#[named(kebab)]
pub enum RestartPolicy {
    #[default]
    No,
    /// Restart after an end by a signal, or with a code that is not a success code.
    OnFailure,
    /// Restart after every end that drainit did not ask for.
    Always,
}

/// The key `on_exit:`, for each kind of end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct OnExit {
    /// The policy if the process exited with a success code.
    pub success: ExitPolicy,
    /// The policy if the process exited with a code that is not a success code, or if a start or a
    /// liveness check failed.
    pub failure: ExitPolicy,
    /// The policy if a signal ended the process.
    pub signal: ExitPolicy,
}

impl OnExit {
    /// The policy that stops the container after every end.
    pub const SHUTDOWN: Self = Self::always(ExitPolicy::Shutdown);
    pub const IGNORE: Self = Self::always(ExitPolicy::Ignore);

    pub const fn always(policy: ExitPolicy) -> Self {
        Self { success: policy, failure: policy, signal: policy }
    }

    pub fn of(self, end: End, is_success: bool) -> ExitPolicy {
        match end {
            End::Code(_) if is_success => self.success,
            End::Code(_) => self.failure,
            End::Signal(_) | End::OutOfMemory(_) => self.signal,
        }
    }
}

impl From<ExitPolicy> for OnExit {
    fn from(policy: ExitPolicy) -> Self {
        Self::always(policy)
    }
}

/// A value of the key `on_exit:`, which says what the end of a process does to the container.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Named)]
#[named(kebab)]
pub enum ExitPolicy {
    /// The container stops. Its exit code depends on the end of the process.
    #[default]
    Shutdown,
    /// The container stops. If the process exited with a success code, the container exits with
    /// code 1, so that the runtime starts the container again.
    FailureShutdown,
    /// The container continues.
    Ignore,
}

/// The key `action:` of an entry of `watch:`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WatchAction {
    /// The process is restarted, as by `drainit restart`.
    Restart,
    /// The config is read again, as by `drainit reload`.
    Reload,
    /// The process gets this signal.
    Signal(Signal),
}
