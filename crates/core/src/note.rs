//! The decisions that are reported to the user. The wording is in `report::entry::notes`.

use core::time::Duration;

use drainit_derive::Named;

use crate::cause::{Cause, Failure};
use crate::event::{Load, Request};
use crate::spec::HookId;
use crate::types::{End, ProcessId, Signal, WatchAction};

/// A line of the log or of the shutdown report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Note {
    /// The `only_if` of the process does not hold.
    Skipped(ProcessId),
    Started(ProcessId),
    Ready {
        process: ProcessId,
        /// Time since its start.
        after: Duration,
    },
    /// Every process is ready or complete.
    AllReady,
    /// A oneshot ended with code 0.
    Completed {
        process: ProcessId,
        /// Time since its start.
        after: Duration,
    },
    /// A process ended without being asked to.
    Ended {
        process: ProcessId,
        end: End,
        next: AfterEnd,
    },
    /// A process was not ready or complete within its timeout, and is stopped.
    Overdue {
        process: ProcessId,
        why: Failure,
        /// Time since its start.
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
    /// `POST /drain`: a drain without a stop was requested.
    DrainRequested,
    /// The operator has requested this, and it begins.
    RequestBegan {
        process: ProcessId,
        request: Request,
    },
    /// A watched file has changed, and its action begins: a signal, or a request to restart.
    FileChanged {
        process: ProcessId,
        /// As in `Event::FileSeen`.
        watch: usize,
        action: WatchAction,
    },
    /// Answers `Event::Requested`, or ends the restart after `FileChanged`.
    RequestDone {
        process: ProcessId,
        request: Request,
    },
    /// As `RequestDone`.
    RequestFailed {
        process: ProcessId,
        request: Request,
        why: RequestError,
    },
    /// A dependency was started again, and this process follows: it is stopped and started.
    Follows {
        process: ProcessId,
        /// The dependency.
        on: ProcessId,
    },
    /// A new instance is about to replace a running one.
    Replacing {
        /// The slot of the new one.
        process: ProcessId,
        old: ProcessId,
        /// It starts beside the old one, and not after its end.
        overlaps: bool,
    },
    /// A new instance is ready, and the old one is drained and stopped.
    TakesOver {
        process: ProcessId,
        old: ProcessId,
    },
    /// A newer epoch of an Envoy ends this one, which is only waited for.
    HandedOver {
        process: ProcessId,
        /// The newer one.
        to: ProcessId,
        /// Time until SIGKILL.
        limit: Duration,
    },
    /// The older epoch of this one has ended before its time: Envoy aborts this one, too.
    EpochDoomed {
        process: ProcessId,
        within: Duration,
    },
    /// A new instance did not get ready, or is no longer wanted: it is stopped, and the old one goes
    /// on.
    TakenBack {
        process: ProcessId,
        old: ProcessId,
        why: RequestError,
    },
    /// A process is new in the config: it is started.
    Adding(ProcessId),
    /// A process is no longer in the config: it is drained and stopped.
    Removing(ProcessId),
    /// Every process is as the new config has it.
    ReloadDone,
    /// A process could not be replaced or started; what had not begun by then is as it was.
    ReloadFailed {
        why: RequestError,
    },
    /// A liveness probe has failed, and the check has not yet.
    ProbeFailed {
        process: ProcessId,
        /// In a row.
        failures: u32,
        /// The check has failed after so many.
        retries: u32,
    },
    /// A process has more time to start or to end, because it asked for it.
    TimeoutExtended {
        process: ProcessId,
        /// From now.
        limit: Duration,
    },
    /// A process has failed its liveness check, and is stopped.
    Unhealthy(ProcessId),
    /// T0.
    ShutdownBegan {
        cause: Cause,
        /// Time until the deadline.
        window: Duration,
    },
    /// A process has ended, and other members of its process group are alive: they are asked to
    /// end.
    GroupRemains(ProcessId),
    /// A further stop signal has come.
    Hurried(Hurry),
    DrainBegan {
        process: ProcessId,
        /// The longest wait.
        longest: Duration,
        /// The shortest wait.
        min: Duration,
        /// Its traffic is polled meanwhile.
        counted: bool,
    },
    /// A drain that is polled takes another minute or more.
    StillDraining {
        process: ProcessId,
        load: Load,
        /// The longest time until it is over.
        left: Duration,
    },
    /// A process is not drained, because the stop needs all the remaining time.
    NotDrained(ProcessId),
    DrainOver {
        process: ProcessId,
        why: DrainEnd,
        took: Duration,
        /// The last sample.
        last: Load,
    },
    /// After its drain, more is open than is allowed: it is waited for again before the stop.
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
        /// Time until SIGKILL.
        limit: Duration,
    },
    Killed {
        process: ProcessId,
        /// Time since it was asked to end; `None` if there was no time to ask.
        after: Option<Duration>,
    },
    /// Descendants are alive that SIGKILL has not ended, or has not reached.
    LeftoversRemain,
    /// A process has ended during the shutdown.
    Stopped {
        process: ProcessId,
        end: End,
        /// Time since it was asked to end; `None` if it was not.
        took: Option<Duration>,
        /// drainit had sent SIGKILL.
        killed: bool,
        /// A newer epoch of it has ended it.
        handed_over: bool,
    },
    /// The deadline has come and a process is still alive.
    DeadlinePassed,
    /// SIGKILL does not end the process (it hangs in the kernel); drainit no longer waits for it.
    Unkillable(ProcessId),
}

/// Why a request of the operator failed. The process is the named one or a dependency of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestError {
    /// The container stops.
    ShuttingDown,
    /// A drain was requested: nothing is started or stopped until the container stops.
    Drained,
    /// Another request stops or restarts this process.
    Busy(ProcessId),
    /// A later request stops this process.
    Superseded(ProcessId),
    /// Not every process has been ready yet.
    StillStarting,
    /// A reload is under way, or a request is not answered yet.
    Reloading,
    /// Its `only_if` does not hold.
    Skipped(ProcessId),
    /// The process failed to start, or failed its liveness check before the rest of the request was
    /// done.
    Failed { process: ProcessId, why: Failure },
    /// The process ended before it was ready, or before the rest of the request was done, or a
    /// oneshot failed.
    Ended { process: ProcessId, end: End, was_ready: bool },
    /// SIGKILL does not end it.
    Unkillable(ProcessId),
    /// Its running instance has ended, or has failed its liveness check, before the new one had taken
    /// over from it, which then cannot.
    OldFailed(ProcessId),
    /// Its older epoch has ended before its time: Envoy aborts this one within `left`, and one that
    /// starts beside it.
    EpochDoomed { process: ProcessId, left: Duration },
}

/// The consequence of an end that was not asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AfterEnd {
    Restart {
        delay: Duration,
        /// Consecutive restarts, starting at 1.
        attempt: u32,
    },
    /// Nothing: the end is not a failure.
    Nothing,
    /// The process stays down after a failure, and the container continues.
    StaysDown,
    /// It stays down: the restart limit is reached.
    GivesUp,
    /// The container stops.
    Shutdown,
    /// The container stops: the restart limit is reached.
    Exhausted,
}

/// The effect of a further stop signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Named)]
pub enum Hurry {
    /// None: it is a further SIGTERM, or the first signal after an end that began the shutdown.
    Continue,
    /// Waits are cut short, the order is kept.
    CutWaits,
    /// Everything is killed.
    KillAll,
}

/// Why a drain is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Named)]
pub enum DrainEnd {
    /// Nothing is open, and nothing new has come for [`QUIET`](crate::drain::QUIET).
    Quiet,
    /// The process reported that its drain is over.
    Reported,
    /// `time` is over (`min` if an end began the shutdown).
    TimeOver,
    /// The process did not accept the drain; `min` was waited.
    NotAccepted,
    /// The stop needs the rest of the time.
    Deadline,
    ProcessGone,
    /// A second stop signal.
    Hurried,
    /// An Envoy was not live yet: it has never accepted a connection.
    NotLive,
}
