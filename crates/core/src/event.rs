//! The inputs of the core: facts that the supervisor reports, each once.

use core::time::Duration;

use drainit_derive::Named;

use crate::spec::HookId;
use crate::types::{End, ProcessId, Signal};

/// A fact that the core reacts to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    Start,
    /// The answer to `Action::CheckCondition`.
    Condition {
        process: ProcessId,
        holds: bool,
    },
    /// `Action::Spawn` succeeded.
    Spawned(ProcessId),
    /// `Action::Spawn` failed, or what comes before a `pre_start` hook, such as reading the values
    /// of the process: nothing runs.
    SpawnFailed {
        process: ProcessId,
        /// 126 or 127, as in a shell.
        exit_code: u8,
    },
    /// The readiness probe of the running instance succeeded.
    Ready(ProcessId),
    /// The answer to `Action::AskEpoch`: it has not taken over, or does not say so.
    NotLive(ProcessId),
    /// The process was reaped.
    Exited {
        process: ProcessId,
        end: End,
        /// Other members of its process group are alive; [`Event::GroupGone`] follows.
        remains: bool,
    },
    /// The process group of an ended process has no members any more.
    GroupGone(ProcessId),
    /// The command of a hook has ended, or could not be started.
    HookEnded {
        hook: HookId,
        /// It ended with code 0.
        success: bool,
    },
    /// drainit received a signal.
    Signal(Signal),
    /// The actions of a stop signal were carried out, which may have taken a while: one that has
    /// arrived meanwhile came at once with it.
    SignalHandled,
    /// The requests to drain an Envoy were answered or given up, or another kind of drain has failed.
    DrainAnswered {
        process: ProcessId,
        /// At least one of the requests to drain succeeded.
        accepted: bool,
    },
    /// A process reports that its drain is complete: by a message, or because the request or the
    /// command that drains it has ended.
    Drained(ProcessId),
    /// `Action::Drain` found an Envoy that is not live yet: it has never accepted a connection.
    /// [`Event::DrainAnswered`] came before.
    NothingToDrain(ProcessId),
    /// `POST /drain`: a drain without a stop.
    DrainRequested,
    /// A request of the operator for one process. Answered exactly once, before the exit, by
    /// `Note::RequestDone` or `Note::RequestFailed`. Requests that are equal and not answered yet
    /// share one answer.
    Requested {
        process: ProcessId,
        request: Request,
    },
    /// The result of a liveness probe. After enough failures in a row it is [`Event::Unhealthy`].
    LivenessProbed {
        process: ProcessId,
        is_alive: bool,
    },
    /// A process asks for more time (`EXTEND_TIMEOUT_USEC`): its start has not failed, or SIGKILL
    /// does not follow, before this much time from now has passed.
    TimeoutExtended {
        process: ProcessId,
        by: Duration,
    },
    /// A process that is ready has failed its liveness check: it is stopped in order, with its
    /// drain, and then its `restart` decides as after a failure. Ignored unless it is ready, and
    /// while a request stops or restarts it.
    Unhealthy(ProcessId),
    /// A watched file is no longer as it was; [`Event::FileQuiet`] follows once it is not written
    /// any more. A start that begins from now on reads what it holds.
    FileSeen {
        process: ProcessId,
        /// An index into the `watch` of the process.
        watch: usize,
    },
    /// A watched file that was seen to change has been quiet since, and `is_new`: has other content
    /// than before. Its action begins as soon as the process is ready, no request stops or restarts
    /// it, and no dependency that it follows is about to have a new instance; a start that has begun
    /// since it was seen takes its place.
    FileQuiet {
        process: ProcessId,
        /// As for [`Event::FileSeen`].
        watch: usize,
        is_new: bool,
    },
    /// A poll of a process that is being drained.
    DrainSample {
        process: ProcessId,
        load: Load,
    },
    /// `Action::CloseListeners` was answered or given up.
    ListenersClosed(ProcessId),
    /// The number of descendants that `Action::Sweep` found; zero when the last one is gone.
    Leftovers(usize),
    /// A timer has expired. Also sent when there is no other event.
    Tick,
}

/// A request of the operator for one process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Named)]
pub enum Request {
    /// Stop it after its dependents. It stays down until it is asked to start, and the container
    /// does not end for it.
    Stop,
    /// Start it after the dependencies that are down. Done at once if it is ready.
    Start,
    /// Drain it, stop it and start it; its dependents are not touched. If the process does not run,
    /// this is the same as `Start`.
    Restart,
}

/// The traffic of a process. `None` is unknown, never zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    pub unit: Unit,
    /// Open connections, or requests in flight.
    pub active: Option<u64>,
    /// All connections or requests since the process started.
    pub total: Option<u64>,
}

/// The unit of a [`Load`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Unit {
    /// Connections of clients.
    #[default]
    Connections,
    /// Requests in flight, for clients that never close their connections.
    Requests,
}
