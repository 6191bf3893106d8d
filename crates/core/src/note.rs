//! The notes: the core's decisions that users should see. The crate `journal` has their texts.

use core::time::Duration;

use drainit_derive::Named;

use crate::cause::{Cause, Failure};
use crate::event::{Load, Request};
use crate::spec::{DrainOff, HookId};
use crate::types::{End, ProcessId, Signal, WatchAction};

/// The reason why the time from the stop signal to SIGKILL is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopLimit {
    /// The `stop_grace_period` of the process is over. If the config declares none, the limit is
    /// that of [`Cause`]: the time of a whole shutdown, or less after an unexpected end.
    Own { is_declared: bool },
    /// The stop of a dependency, with the steps after it, or the own `post_stop` hook keeps this
    /// time; if `by` is `None`, that of the container.
    Kept { by: Option<ProcessId>, time: Duration, is_declared: bool },
    /// The process ignores its stop signal, and has had its share of the time.
    Ignored,
    /// The deadline has come.
    Deadline { is_declared: bool },
    /// The end of a hot restart, or a third stop signal.
    Other,
}

/// A report of the core for the log, the status, the metrics or the shutdown report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Note {
    /// The `only_if` of the process does not hold.
    Skipped(ProcessId),
    Started(ProcessId),
    Ready {
        process: ProcessId,
        /// The time since the start of the process.
        after: Duration,
    },
    /// Every process is ready or complete.
    AllReady,
    /// A oneshot ended with a success code.
    Completed {
        process: ProcessId,
        end: End,
        /// The time since the start of the oneshot.
        after: Duration,
    },
    /// A process has ended by itself.
    Ended {
        process: ProcessId,
        end: End,
        next: AfterEnd,
    },
    /// A process was not ready or complete within its timeout, and is stopped.
    Overdue {
        process: ProcessId,
        why: Failure,
        /// The time since the start of the process.
        after: Duration,
    },
    /// A process has failed, and is down.
    Failed {
        process: ProcessId,
        why: Failure,
        next: AfterEnd,
    },
    /// A hook took too long and was killed.
    HookTimedOut(HookId),
    /// A drain without a stop was requested (`POST /drain`).
    DrainRequested,
    /// An operator's request begins.
    RequestBegan {
        process: ProcessId,
        request: Request,
    },
    /// A watched file has changed, and its action begins: a signal, or a request to restart.
    FileChanged {
        process: ProcessId,
        /// An index into the `watch` of the process.
        watch: usize,
        action: WatchAction,
    },
    /// Answers `Event::Requested`, or says that the restart after `FileChanged` is complete.
    RequestDone {
        process: ProcessId,
        request: Request,
    },
    /// Answers `Event::Requested`, or says that the restart after `FileChanged` has failed.
    RequestFailed {
        process: ProcessId,
        request: Request,
        why: RequestError,
    },
    /// A dependency was started again, so this process is stopped and started, too.
    Follows {
        process: ProcessId,
        /// The dependency.
        on: ProcessId,
    },
    /// A process is about to get a new instance, or only a new definition if it is down.
    Replacing {
        /// The slot of the new instance.
        process: ProcessId,
        old: ProcessId,
        /// Whether the new instance starts beside the old one. If not, the new instance starts
        /// after the old one has ended.
        overlaps: bool,
    },
    /// A new instance is ready, and the old one is drained and stopped.
    TakesOver {
        process: ProcessId,
        old: ProcessId,
    },
    /// A newer instance of an Envoy ends this instance; drainit only waits for this end.
    HandedOver {
        process: ProcessId,
        /// The newer instance.
        to: ProcessId,
        /// The time until SIGKILL.
        limit: Duration,
    },
    /// The older instance has ended too early, so Envoy will abort this instance.
    Doomed {
        process: ProcessId,
        within: Duration,
    },
    /// A new instance did not get ready, or is no longer wanted. The new instance is stopped, and
    /// the old instance keeps running.
    RolledBack {
        process: ProcessId,
        old: ProcessId,
        why: RequestError,
    },
    /// A process that is new in the config is added.
    Adding(ProcessId),
    /// A process that is no longer in the config is drained and stopped.
    Removing(ProcessId),
    /// All processes match the new config.
    ReloadDone,
    /// The reload has failed. drainit skips the steps of the reload that had not begun.
    ReloadFailed {
        why: RequestError,
    },
    /// A liveness probe has failed, but the check has not failed yet.
    ProbeFailed {
        process: ProcessId,
        /// The number of probes that have failed in a row.
        failures: u32,
        /// The number of failures in a row after which the check has failed.
        retries: u32,
    },
    /// A process has asked for more time to start or to end, and has got more time.
    TimeoutExtended {
        process: ProcessId,
        /// The time that the process has from now on.
        limit: Duration,
    },
    /// A process has failed its liveness check, and is stopped.
    Unhealthy(ProcessId),
    /// A shutdown has begun.
    ShutdownBegan {
        cause: Cause,
        /// The time until the deadline.
        window: Duration,
        /// If the grace period counts from an earlier request to drain: the time since then.
        drained_for: Option<Duration>,
    },
    /// The readiness delay begins. All processes serve for this time before the drains and stops
    /// begin.
    Delayed(Duration),
    /// A process has ended. Other members of its process group are alive and were asked to end.
    GroupRemains(ProcessId),
    /// The last member of the process group has ended, after the process itself.
    GroupGone {
        process: ProcessId,
        /// The time since the process was asked to end. If the process had ended by itself, the
        /// time since the other members were asked. `None` if nobody was asked.
        took: Option<Duration>,
    },
    /// A process is about to start again. Its earlier instances have left processes outside of their
    /// process groups, which were asked to end.
    LeftoversFound {
        process: ProcessId,
        signal: Signal,
        /// The time until SIGKILL.
        limit: Duration,
    },
    /// These leftovers got SIGKILL.
    LeftoversKilled {
        process: ProcessId,
        /// The time since they were asked to end.
        after: Duration,
    },
    /// The last of these leftovers has ended.
    LeftoversGone {
        process: ProcessId,
        /// The time since they were asked to end.
        took: Duration,
    },
    /// The process starts, although there may be leftovers of its earlier instances.
    LeftoversIgnored {
        process: ProcessId,
        /// Whether leftovers survive SIGKILL. If not, the search for leftovers has not ended.
        are_known: bool,
    },
    /// A stop signal has come during the shutdown.
    Hurried(Hurry),
    DrainBegan {
        process: ProcessId,
        /// The longest wait.
        longest: Duration,
        /// The shortest wait.
        min: Duration,
        /// Whether drainit polls the traffic during the drain.
        counted: bool,
    },
    /// A drain has taken another minute. This note is only for processes whose traffic drainit
    /// polls.
    StillDraining {
        process: ProcessId,
        load: Load,
        /// The longest time that the drain can still take.
        left: Duration,
    },
    /// A process serves, and is about to be stopped without a drain, although the config has one.
    NotDrained {
        process: ProcessId,
        why: WhyUndrained,
    },
    DrainOver {
        process: ProcessId,
        why: DrainEnd,
        took: Duration,
        time: DrainTime,
        /// If `time` ended the drain in a shutdown, the rest of the grace period that no later step
        /// keeps. Otherwise zero.
        unused: Duration,
        /// The last sample.
        last: Load,
    },
    /// After its drain, a process has more open connections or requests than `exit_at` allows. The
    /// stop waits for them, for at most `longest`.
    OpenAgain {
        process: ProcessId,
        load: Load,
        longest: Duration,
    },
    /// A process has ended by itself during the shutdown, before it was drained.
    EndedUndrained(ProcessId),
    /// A process was asked to end.
    Stopping {
        process: ProcessId,
        signal: Signal,
        /// The time until SIGKILL.
        limit: Duration,
    },
    Killed {
        process: ProcessId,
        /// The time since the process was asked to end; `None` if it was not asked.
        after: Option<Duration>,
        why: StopLimit,
    },
    /// Some leftover processes are alive: they survive SIGKILL, or have not received it.
    LeftoversRemain,
    /// A process has ended while drainit was stopping it, or during the shutdown.
    Stopped {
        process: ProcessId,
        end: End,
        /// The time since the process was asked to end; `None` if it was not asked.
        took: Option<Duration>,
        /// Whether drainit had sent SIGKILL.
        killed: bool,
        /// Whether a newer instance had taken over, and was to end this instance.
        handed_over: bool,
    },
    /// The deadline has come before all stops were over.
    DeadlinePassed {
        /// How late drainit has noticed the deadline, if it could not run when the deadline came.
        late: Option<Duration>,
    },
    /// SIGKILL has not ended the process, perhaps because the process hangs in the kernel. drainit
    /// no longer waits for the process.
    Unkillable(ProcessId),
}

/// The reason why an operator's request, a replacement or a reload failed. The process in a variant
/// is the cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestError {
    /// The container is stopping.
    ShuttingDown,
    /// A drain without a stop was requested. Until the container stops, drainit accepts no request
    /// to start or stop a process.
    Drained,
    /// An earlier operation stops, restarts or replaces this process, and is not complete.
    Busy(ProcessId),
    /// A later request stops this process.
    Superseded(ProcessId),
    /// Not every process has been ready yet.
    StillStarting,
    /// A reload is under way, or a request is not answered yet.
    Reloading,
    /// The `only_if` of the process does not hold.
    Skipped(ProcessId),
    /// The process failed to start, or failed its liveness check before the request was done.
    Failed { process: ProcessId, why: Failure },
    /// A oneshot failed, or the process ended before it was ready or before the request was done.
    Ended { process: ProcessId, end: End, was_ready: bool },
    /// The process survives SIGKILL.
    Unkillable(ProcessId),
    /// The running instance has ended, or has failed its liveness check, before the new instance
    /// had taken over from it.
    OldFailed(ProcessId),
    /// The older instance has ended too early. Within `left`, Envoy will abort this instance, and
    /// any instance that starts beside it.
    Doomed { process: ProcessId, left: Duration },
}

impl RequestError {
    /// The error for a request that fails because a drain or a shutdown with this cause has begun.
    pub(crate) fn in_shutdown(cause: Cause) -> Self {
        if cause == Cause::DrainRequested { Self::Drained } else { Self::ShuttingDown }
    }
}

/// The consequence after a process has ended by itself or has failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AfterEnd {
    Restart {
        delay: Duration,
        /// The number of this restart among the consecutive restarts, starting at 1.
        attempt: u32,
    },
    /// Nothing happens, because the end is not a failure.
    Nothing,
    /// The process stays down after a failure, and the container continues.
    StaysDown,
    /// The process stays down, because the restart limit is reached.
    GivesUp,
    /// The container stops.
    Shutdown,
    /// The container stops, because the restart limit is reached.
    Exhausted,
}

/// The reason why a process is not drained.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Named)]
pub enum WhyUndrained {
    /// The stop needs all the remaining time.
    NoTime,
    /// The `time` of the drain is 0.
    Time,
    /// The `only_if` of the drain does not hold.
    OnlyIf,
}

impl From<DrainOff> for WhyUndrained {
    fn from(off: DrainOff) -> Self {
        match off {
            DrainOff::Time => Self::Time,
            DrainOff::Condition => Self::OnlyIf,
        }
    }
}

/// The effect of a stop signal during the shutdown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Named)]
pub enum Hurry {
    /// The signal changes nothing. The signal is another SIGTERM, or the first signal in a shutdown
    /// that began without a signal.
    Continue,
    /// Drains and `pre_stop` hooks are cut short. Processes are still stopped in the order of the
    /// graph.
    CutWaits,
    /// All processes get SIGKILL at once.
    KillAll,
}

/// The part that the key `time` has in the length of a drain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DrainTime {
    /// The config sets `time`.
    Set(Duration),
    /// The config sets no `time`, so the drain may last as long as the grace period allows.
    Unset,
    /// Nobody has requested the stop, or a dependency has ended, so the drain lasts for `min`.
    OnlyMin,
}

/// The reason why a drain is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Named)]
pub enum DrainEnd {
    /// At most `exit_at` connections or requests are open, and no new one has come for
    /// [`QUIET`](crate::drain::progress::QUIET).
    Quiet,
    /// The process has reported the end of its drain, or the request or command that drains it has
    /// succeeded.
    Reported,
    /// `time` is over. If nobody has requested the stop, or if a dependency has ended, the drain
    /// already ends after `min`.
    TimeOver,
    /// The process did not accept the drain, and `min` is over.
    NotAccepted,
    /// The deadline limits the drain, because the stop needs the remaining time.
    Deadline,
    ProcessGone,
    /// A second stop signal has come.
    Hurried,
    /// The process is an Envoy that was not live yet and has never accepted a connection.
    NotLive,
}
