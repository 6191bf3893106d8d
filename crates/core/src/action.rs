//! The outputs of the core: instructions that the supervisor carries out in order.

use core::time::Duration;

use crate::note::Note;
use crate::slots::{ConfigIndex, Source};
use crate::spec::HookId;
use crate::types::{ProcessId, Signal};

/// An instruction to the supervisor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Prepare a slot for a new instance with this definition. The slot is either the next one at
    /// the end or a retired one. Both slots of a process share its held sockets.
    Adopt { slot: ProcessId, from: Source },
    /// Give the process this definition of the config that is being loaded. A running instance need
    /// not be replaced for it.
    Redefine { slot: ProcessId, config: ConfigIndex },
    /// Evaluate `only_if`, and answer with `Event::Condition`. The answer may take long, because a
    /// file system may hang, and may come when nobody waits for it any more.
    CheckCondition(ProcessId),
    /// Start the process, and its readiness probe if it has one. Answer with `Event::Spawned` or
    /// `Event::SpawnFailed`. The answer may take long, because a file system may hang.
    Spawn(ProcessId),
    /// Give up a start that is not answered yet. Answer at once: with `Event::Spawned` if the
    /// program already runs, else with `Event::SpawnFailed`.
    AbortSpawn(ProcessId),
    /// Probe a new Envoy epoch once more, now: it is not ready in time, but may have taken over
    /// since its last probe. Answer with `Event::Ready` or `Event::NotLive`.
    AskEpoch(ProcessId),
    /// Begin the liveness check of a process that is ready. Answer with `Event::LivenessProbed`s or
    /// `Event::Unhealthy`.
    WatchLiveness(ProcessId),
    /// Send a signal to the process.
    Signal { process: ProcessId, signal: Signal },
    /// Ask the process to end: send the signal, and SIGCONT in case the process is stopped.
    Stop { process: ProcessId, signal: Signal },
    /// Send a signal to the process group.
    StopGroup { process: ProcessId, signal: Signal },
    /// Send SIGKILL to the process group.
    Kill(ProcessId),
    /// Start the command of a hook.
    RunHook(HookId),
    /// Send SIGKILL to the process group of a hook that takes too long. Do not report its end.
    AbortHook(HookId),
    /// End the probes: the shutdown has begun. `/readyz` stays good, and drains that begin before
    /// [`Action::Unready`] leave the health check of their process as it is.
    StayReady,
    /// End the probes, and answer 503 to `/readyz`: the shutdown has begun.
    Unready,
    /// Drain the process. For an Envoy, answer with `Event::DrainAnswered`, then send
    /// `Event::DrainSample`s: rarely at first, and often from [`QUIET`](crate::drain::QUIET) before
    /// the end of `min`. For any other process, answer with `Event::Drained` when its drain is
    /// complete.
    Drain {
        process: ProcessId,
        /// The shortest wait from now: no sample ends the drain earlier.
        min: Duration,
        /// The longest wait from now, as granted by the budget.
        longest: Duration,
    },
    /// Make the process refuse new connections, unless it does already, and count the open ones.
    /// Answer with `Event::ListenersClosed`.
    CloseListeners(ProcessId),
    /// Close the sockets that drainit holds for a process that accepts nothing any more, so that
    /// new connections are refused at once.
    ReleaseSockets(ProcessId),
    /// Send no more samples. A later [`Action::CloseListeners`] may still ask for a single sample,
    /// until `EndDrain` is given again.
    EndDrain(ProcessId),
    /// Find leftover descendants that have not received this signal yet, and send it to them.
    /// Answer with `Event::Leftovers`.
    Sweep(Signal),
    /// Report the note in the log or the shutdown report.
    Note(Note),
    /// Write the report, flush the log, exit.
    Exit(u8),
}
