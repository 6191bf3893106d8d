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
    /// `Action::Spawn` failed, or a step before the `pre_start` hook did, such as reading the
    /// values of the process. Nothing runs.
    SpawnFailed {
        process: ProcessId,
        /// 126 or 127, as in a shell.
        exit_code: u8,
    },
    /// The readiness probe of the running instance succeeded.
    Ready(ProcessId),
    /// The answer to `Action::AskEpoch`: the epoch has not taken over, or does not say that it has.
    NotLive(ProcessId),
    Exited {
        process: ProcessId,
        end: End,
        /// Whether other members of its process group are alive; then [`Event::GroupGone`] follows.
        remains: bool,
    },
    /// The process group of an ended process has no members any more.
    GroupGone(ProcessId),
    /// The command of a hook has ended, or could not be started.
    HookEnded {
        hook: HookId,
        /// Whether it ended with code 0.
        success: bool,
    },
    /// drainit received a signal.
    Signal(Signal),
    /// The actions of a stop signal were carried out. They may have taken a while: a stop signal
    /// that has arrived meanwhile counts as sent together with the first one.
    SignalHandled,
    /// The requests to drain an Envoy were answered or given up, or a drain of another kind has
    /// failed.
    DrainAnswered {
        process: ProcessId,
        /// Whether at least one of the requests to drain succeeded.
        accepted: bool,
    },
    /// The drain of a process is complete: the process said so in a message, or the request or
    /// command that drains it has ended.
    Drained(ProcessId),
    /// `Action::Drain` found an Envoy that is not live yet: it has never accepted a connection.
    /// [`Event::DrainAnswered`] came before.
    NothingToDrain(ProcessId),
    /// `POST /drain`: a drain without a stop.
    DrainRequested,
    /// An operator's request for one process. `Note::RequestDone` or `Note::RequestFailed` answers
    /// it exactly once, before the exit. Equal requests that are not answered yet share one answer.
    Requested {
        process: ProcessId,
        request: Request,
    },
    /// The result of a liveness probe. Enough failures in a row count as [`Event::Unhealthy`].
    LivenessProbed {
        process: ProcessId,
        is_alive: bool,
    },
    /// A process asks for more time (`EXTEND_TIMEOUT_USEC`). Until this much time from now has
    /// passed, its start does not fail, or SIGKILL does not follow.
    TimeoutExtended {
        process: ProcessId,
        by: Duration,
    },
    /// A ready process has failed its liveness check. It is drained and stopped, and its `restart`
    /// then decides as after a failure. Ignored if the process is not ready, or while a request
    /// stops or restarts it.
    Unhealthy(ProcessId),
    /// A watched file has changed; [`Event::FileQuiet`] follows once nobody writes to the file any
    /// more. A start that begins from now on reads the new content.
    FileSeen {
        process: ProcessId,
        /// An index into the `watch` of the process.
        watch: usize,
    },
    /// A watched file that changed has been quiet since. `is_new`: its content differs from before.
    /// The action of the watch begins once the process is ready, no request stops or restarts the
    /// process, and no dependency that the process follows is about to get a new instance. A start
    /// that has begun since the change makes the action needless.
    FileQuiet {
        process: ProcessId,
        /// As for [`Event::FileSeen`].
        watch: usize,
        is_new: bool,
    },
    /// A sample of the traffic of a process that is being drained.
    DrainSample {
        process: ProcessId,
        load: Load,
    },
    /// `Action::CloseListeners` was answered or given up.
    ListenersClosed(ProcessId),
    /// The number of descendants that `Action::Sweep` found; zero when the last one is gone.
    Leftovers(usize),
    /// A timer has expired. The supervisor sends it if no other event comes first.
    Tick,
}

/// A request of the operator for one process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Named)]
pub enum Request {
    /// Stop the process after its dependents. It stays down until an operator starts it, and the
    /// container does not end for it.
    Stop,
    /// Start the process after the dependencies that are down. Done at once if the process is
    /// ready.
    Start,
    /// Drain the process, stop it and start it, without touching its dependents. If the process
    /// does not run, this request does what `Start` does.
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
