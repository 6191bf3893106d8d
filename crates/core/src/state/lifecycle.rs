//! The lifecycle of a process, as the picture in [`state`](crate::state) shows it.

use crate::types::Time;

/// The lifecycle of a process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Lifecycle {
    /// The process waits for its dependencies.
    #[default]
    Waiting,
    /// The `only_if` of the process is being evaluated. `check` is the number of the evaluation.
    Checking { check: u32 },
    /// The `pre_start` hook of the process runs, and is killed at `until`.
    PreStart { until: Time },
    /// `Action::Spawn` was given and is not answered yet.
    Spawning,
    /// The process runs and is not ready, or is a oneshot that is not complete. If this is still so
    /// at `ready_by`, its start has failed.
    Starting { since: Time, ready_by: Time },
    /// The process runs and is ready.
    Ready { since: Time },
    /// The process is down and will be started again at `until`.
    Backoff {
        until: Time,
        /// Whether the next start evaluates `only_if` and runs the `pre_start` hook. After an end
        /// that nobody asked for, a restart does neither if the hook or an instance has already run
        /// (`Slot::has_run`).
        anew: bool,
    },
    /// The process is down, and starts again as soon as the leftovers of its earlier instances have
    /// ended. If no leftover is known yet, drainit looks for them until `until`. Otherwise they get
    /// SIGKILL at `until`, or the start no longer waits for them if they had it.
    Clearing {
        until: Time,
        /// Whether the next step of the start is the `pre_start` hook, so that no `post_stop` hook
        /// is due yet.
        anew: bool,
        /// The time at which the first known leftovers were asked to end.
        asked: Option<Time>,
        is_killed: bool,
    },
    /// The process and its `pre_stop` hook run. The hook is killed at `until`.
    PreStop { until: Time },
    /// The process was asked to end. SIGKILL follows at `kill_at`.
    Stopping { since: Time, kill_at: Time },
    /// drainit has sent SIGKILL to the process, which is not reaped yet.
    Killed {
        /// The time at which the process was asked to end; `None` if nobody asked.
        asked: Option<Time>,
        /// The time until which the dependencies of the process wait for its end; `None` if they no
        /// longer wait.
        holds_until: Option<Time>,
    },
    /// The process has ended, and other members of its process group are alive. The other members
    /// get SIGKILL at `kill_at`.
    Remains { kill_at: Time },
    /// drainit has sent SIGKILL to the other members of the process group, which are not gone yet.
    RestKilled {
        /// Like `holds_until` of [`Lifecycle::Killed`], but for the end of the other members.
        holds_until: Option<Time>,
    },
    /// The process is gone. The `post_stop` hook of the process runs, and is killed at `until`.
    PostStop { until: Time },
    /// The process is down for one of three reasons: a request has stopped it, its start by a
    /// request or a reload has failed, or its `autostart` is false. The process stays down until a
    /// request, a reload or a changed file starts it. The container continues.
    Stopped {
        /// Whether the start of the process by a request or a reload has failed.
        failed: bool,
    },
    /// The process is gone for good, or was never started.
    Done,
}

impl Lifecycle {
    /// Whether the process runs, so that it can receive a signal.
    pub fn is_alive(self) -> bool {
        matches!(
            self,
            Self::Starting { .. }
                | Self::Ready { .. }
                | Self::PreStop { .. }
                | Self::Stopping { .. }
                | Self::Killed { .. }
        )
    }

    /// Whether the process runs, and its stop has not begun.
    pub(crate) fn runs(self) -> bool {
        matches!(self, Self::Starting { .. } | Self::Ready { .. })
    }

    /// Whether the process and the rest of its process group are down.
    pub(crate) fn is_gone(self) -> bool {
        matches!(self, Self::Stopped { .. } | Self::Done)
    }

    /// Whether the process runs and its stop has begun.
    pub fn is_being_stopped(self) -> bool {
        matches!(self, Self::PreStop { .. } | Self::Stopping { .. } | Self::Killed { .. })
    }

    /// Whether the process accepts connections, or is about to accept them.
    pub(super) fn accepts(self) -> bool {
        matches!(
            self,
            Self::Spawning | Self::Starting { .. } | Self::Ready { .. } | Self::PreStop { .. }
        )
    }

    /// Whether the container can be ready while the process is in this state. There are two cases:
    /// the process is ready or gone for good; or the process is not `required`, and is being
    /// stopped or is [`Self::Stopped`].
    pub(super) fn is_settled(self, required: bool) -> bool {
        match self {
            Self::Ready { .. } | Self::Done => true,
            Self::PreStop { .. }
            | Self::Stopping { .. }
            | Self::Killed { .. }
            | Self::Stopped { .. } => !required,
            _ => false,
        }
    }

    /// The time at which the timer of this state is due; `None` if the state has no timer.
    pub(super) fn timer(&mut self) -> Option<&mut Time> {
        match self {
            Self::PreStart { until }
            | Self::Backoff { until, .. }
            | Self::Clearing { until, .. }
            | Self::PreStop { until }
            | Self::PostStop { until }
            | Self::Starting { ready_by: until, .. }
            | Self::Remains { kill_at: until, .. }
            | Self::Stopping { kill_at: until, .. } => Some(until),
            Self::Killed { holds_until, .. } | Self::RestKilled { holds_until } => {
                holds_until.as_mut()
            }
            _ => None,
        }
    }

    /// The time at which the timer of this state has to wake the core. `None` if the state has no
    /// timer, or if its timer is never due.
    pub(super) fn wakes_at(mut self) -> Option<Time> {
        self.timer().copied().filter(|at| *at != Time::NEVER)
    }

    /// Whether the process has ended, and other members of its process group have not.
    pub fn has_rest(self) -> bool {
        matches!(self, Self::Remains { .. } | Self::RestKilled { .. })
    }

    /// Whether the dependencies no longer wait for this process, because it is gone or survives
    /// SIGKILL.
    pub fn releases_dependencies(self) -> bool {
        self.is_gone() || self.survives_kill()
    }

    /// Whether a shutdown has nothing to stop in this state: the process is gone, survives SIGKILL,
    /// or does not run and needs no `post_stop` hook.
    pub(crate) fn is_down(self) -> bool {
        self.releases_dependencies()
            || matches!(
                self,
                Self::Waiting
                    | Self::Checking { .. }
                    | Self::PreStart { .. }
                    | Self::Backoff { anew: true, .. }
                    | Self::Clearing { anew: true, .. }
            )
    }

    /// Whether the process, or the rest of its process group, survives SIGKILL. If so, nothing
    /// waits for its end any longer.
    pub fn survives_kill(self) -> bool {
        matches!(
            self,
            Self::Killed { holds_until: None, .. } | Self::RestKilled { holds_until: None }
        )
    }
}
