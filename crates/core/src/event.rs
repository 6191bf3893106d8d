//! The inputs of the core: the supervisor reports each of these facts once.

use core::time::Duration;

use drainit_derive::Named;

use crate::spec::HookId;
use crate::types::{End, ProcessId, Signal};

/// A fact that the core reacts to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    Start,
    /// The answer to `Action::CheckCondition`. The core ignores the answer to an earlier check.
    Condition {
        process: ProcessId,
        check: u32,
        holds: bool,
    },
    /// `Action::Spawn` succeeded.
    Spawned(ProcessId),
    /// No program runs, because `Action::Spawn` failed, or because drainit could not prepare the
    /// `pre_start` hook (for example, could not read the values of the process).
    SpawnFailed {
        process: ProcessId,
        /// The exit code: 126 or 127, as a shell would report, or 1 if the start was not even
        /// attempted.
        exit_code: u8,
    },
    /// The readiness probe of the running instance succeeded.
    Ready(ProcessId),
    /// The answer to `Action::ProbeOnce`: the new Envoy of a hot restart has not taken over from
    /// the old one, or has not confirmed the hand-over.
    NotLive(ProcessId),
    Exited {
        process: ProcessId,
        end: End,
        /// Whether other members of its process group are alive. If so, [`Event::GroupGone`]
        /// follows.
        remains: bool,
    },
    /// The answer to `Action::LookForExit`.
    ExitSeen {
        process: ProcessId,
        /// Whether the process runs none of its code any more, and SIGKILL cannot end it sooner:
        /// the kernel frees what the process had. False if that is unknown.
        exits: bool,
        /// Whether the process ignores its stop signal, so that waiting cannot help. False if that is
        /// unknown.
        ignores: bool,
    },
    /// The answer to `Action::StopOrphans`: no member of the process group is a child of drainit.
    OrphansGone(ProcessId),
    /// The process group of an ended process has no members any more.
    GroupGone(ProcessId),
    /// Answers `Action::EndLeftovers`, and comes again until none is left or no start waits for them.
    Leftovers {
        process: ProcessId,
        /// Whether the search has found leftovers for which the start has to wait.
        any: bool,
    },
    /// The command of a hook has ended, or could not be started.
    HookEnded {
        hook: HookId,
        /// Whether the command ended with code 0.
        success: bool,
    },
    /// drainit received a signal.
    Signal(Signal),
    /// The supervisor has carried out the actions of a stop signal, which may have taken a while.
    /// Another stop signal that arrived in that time counts as a repetition of the first.
    SignalHandled,
    /// Says whether a process has accepted its drain. For an Envoy, the event comes when the calls
    /// that drain it are answered, or when the kernel counts in place of an Envoy that accepts none
    /// of them. A process whose connections the kernel counts has accepted the drain as soon as a
    /// count has succeeded.
    DrainAnswered {
        process: ProcessId,
        /// Always true for an Envoy.
        accepted: bool,
    },
    /// The drain of a process is complete. Either the process has said so in a message, or the HTTP
    /// request or the command that drains the process has succeeded.
    Drained(ProcessId),
    /// `Action::Drain` found an Envoy that is not live yet and has never accepted a connection.
    NothingToDrain(ProcessId),
    /// A drain without a stop was requested (`POST /drain`).
    DrainRequested,
    /// A shutdown was requested (`drainit shutdown`). During a shutdown, the event has no effect.
    ShutdownRequested,
    /// An operator's request for one process. Exactly one `Action::Answer` answers this request
    /// before drainit exits. Equal requests that are not answered yet share one answer.
    Requested {
        process: ProcessId,
        request: Request,
    },
    /// The result of a liveness probe. Enough failures in a row count as [`Event::Unhealthy`].
    LivenessProbed {
        process: ProcessId,
        is_alive: bool,
    },
    /// A process asks for more time (`EXTEND_TIMEOUT_USEC`). If the process is starting, its start
    /// does not fail before the time `by` is over. If the process is being stopped, SIGKILL does
    /// not follow before then, as far as the deadline allows.
    TimeoutExtended {
        process: ProcessId,
        by: Duration,
    },
    /// A process has failed its liveness check. The core drains and stops the process. As after any
    /// failure, the key `restart` then decides whether the process starts again. The event is
    /// ignored if the process is not ready, or if another operation already stops or restarts the
    /// process.
    Unhealthy(ProcessId),
    /// A watched file has changed. [`Event::FileQuiet`] follows when nobody writes to the file any
    /// more. A start that begins from now on reads the new content.
    FileSeen {
        process: ProcessId,
        /// An index into the `watch` of the process.
        watch: usize,
    },
    /// A watched file has changed, and nobody has written to it for a while. `is_new` says whether
    /// its content differs from the content before the change. If so, the action of the watch
    /// begins as soon as the process is ready and no other operation stops, restarts or replaces
    /// the process. `Operations::follow_changes` has the exact conditions. The action is not needed
    /// if a start of the process has begun since the change.
    FileQuiet {
        process: ProcessId,
        /// An index into the `watch` of the process.
        watch: usize,
        is_new: bool,
    },
    /// A sample of the traffic of a process that is being drained.
    DrainSample {
        process: ProcessId,
        load: Load,
    },
    /// The kernel shows that the process listens on nothing, so it serves nobody.
    ListensOnNothing(ProcessId),
    /// A measurement shows how long the process will probably need to end. Its stop keeps this time
    /// from drains, even if its `stop_grace_period` is unset.
    TimeToEnd {
        process: ProcessId,
        time: Duration,
    },
    /// The answer to `Action::ShutdownBegins`: the connections that the stops will cut are counted.
    Counted,
    /// `Action::CloseListeners` was answered or given up.
    ListenersClosed(ProcessId),
    /// `Action::Sweep` was carried out. Other events may come first, because a scan of thousands of
    /// processes takes seconds.
    Swept {
        /// Whether `Action::Sweep` has signalled a leftover process.
        any: bool,
    },
    /// drainit has no children any more, so there are no leftovers. This event comes after the
    /// answer to `Action::Sweep`.
    NothingLeft,
    /// Only the time has passed. The supervisor sends this event when a limit of the core is due.
    Tick,
}

impl Event {
    /// The process whose drain this event is about; `None` for any other event.
    pub(crate) fn drained_process(self) -> Option<ProcessId> {
        match self {
            Self::DrainAnswered { process, .. }
            | Self::Drained(process)
            | Self::DrainSample { process, .. }
            | Self::NothingToDrain(process)
            | Self::ListenersClosed(process) => Some(process),
            _ => None,
        }
    }
}

/// A request of the operator for one process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Named)]
pub enum Request {
    /// Stop the process after its dependents. The process stays down until an operator starts it,
    /// and its end does not end the container.
    Stop,
    /// Start the dependencies of the process that are down, and then the process. If the process is
    /// ready, the request is done at once.
    Start,
    /// Drain the process, stop it and start it, without touching its dependents. If the process
    /// does not run, this request does what `Start` does.
    Restart,
}

/// The traffic of a process. `None` means that a number is unknown, never that it is zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    pub unit: Unit,
    /// Open connections, or requests in flight.
    pub active: Option<u64>,
    /// The number of requests in `active` that may be in flight, but perhaps are not.
    pub unsure: u64,
    /// The number of all connections or requests since the process started.
    pub total: Option<u64>,
}

/// The unit of a [`Load`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Unit {
    /// Connections of clients.
    #[default]
    Connections,
    /// Requests in flight. This unit is for clients that never close their connections.
    Requests,
}
