//! The outputs of the core: instructions that the supervisor carries out in order.

use core::time::Duration;

use crate::note::Note;
use crate::slots::{ConfigIndex, Source};
use crate::spec::HookId;
use crate::types::{ProcessId, Signal};

/// An instruction to the supervisor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Prepare a slot for a new instance, which has this definition: a further slot at the end, or
    /// one that was retired. Held sockets are shared with the other slot of the process.
    Adopt { slot: ProcessId, from: Source },
    /// From now on the process has this definition of the config that is being loaded. It differs in nothing that a running instance would have to be replaced for.
    Redefine { slot: ProcessId, config: ConfigIndex },
    /// Evaluate `only_if`. Answer with `Event::Condition`, which may take long and come when nobody
    /// waits for it any more: a file system may hang.
    CheckCondition(ProcessId),
    /// Start the process, and its readiness probe if it has one. Answer with `Event::Spawned` or
    /// `Event::SpawnFailed`, which may take long: a file system may hang.
    Spawn(ProcessId),
    /// Give up a start that is not answered yet. Answer it at once: with `Event::Spawned` where the
    /// program runs already, else with `Event::SpawnFailed`.
    AbortSpawn(ProcessId),
    /// A new epoch of an Envoy is not ready in time, but may have taken over since it was asked the
    /// last time: ask it once more, now. Answer with `Event::Ready` or `Event::NotLive`.
    AskEpoch(ProcessId),
    /// The process is ready: begin its liveness check. Answer with `Event::LivenessProbed`s or
    /// `Event::Unhealthy`.
    WatchLiveness(ProcessId),
    /// Send a signal to the process.
    Signal { process: ProcessId, signal: Signal },
    /// Ask the process to end: send the signal, and CONT in case it is stopped.
    Stop { process: ProcessId, signal: Signal },
    /// Send a signal to the process group.
    StopGroup { process: ProcessId, signal: Signal },
    /// Send SIGKILL to the process group.
    Kill(ProcessId),
    /// Start the command of a hook.
    RunHook(HookId),
    /// Send SIGKILL to the process group of a hook that takes too long. Its end is not reported.
    AbortHook(HookId),
    /// The shutdown has begun, and `/readyz` stays good: probes end. Drains that begin from now on
    /// leave the health check of their process as it is, until [`Action::Unready`].
    StayReady,
    /// The shutdown has begun: `/readyz` turns 503, probes end.
    Unready,
    /// Drain the process. For an Envoy, answer with `Event::DrainAnswered`, then send
    /// `Event::DrainSample`s: seldom at first, often from [`QUIET`](crate::drain::QUIET) before
    /// `min` is over. For any other process, answer with `Event::Drained` when it is complete.
    Drain {
        process: ProcessId,
        /// The shortest wait from now: no sample ends the drain before.
        min: Duration,
        /// The longest wait from now, as granted by the budget.
        longest: Duration,
    },
    /// Make the process refuse new connections if it does not yet, and count the open ones. Answer
    /// with `Event::ListenersClosed`.
    CloseListeners(ProcessId),
    /// Close the sockets that drainit holds for the process, which accepts nothing any more: new
    /// connections are refused instead of waiting for nobody.
    ReleaseSockets(ProcessId),
    /// Send no more samples. [`Action::CloseListeners`] may still ask for a single one, until this
    /// action is given again.
    EndDrain(ProcessId),
    /// Find leftover descendants that have not received this signal yet, and send it to them.
    /// Answer with `Event::Leftovers`.
    Sweep(Signal),
    /// Report the note in the log or the shutdown report.
    Note(Note),
    /// Write the report, flush, exit.
    Exit(u8),
}
