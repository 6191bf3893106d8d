//! The outputs of the core: instructions that the supervisor carries out in order.

use core::time::Duration;

use crate::event::Request;
use crate::note::{Note, RequestError};
use crate::spec::HookId;
use crate::types::{ProcessId, Signal};

/// An instruction to the supervisor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Prepare a slot, which is the place of one instance in the core. If a reload adds the
    /// process, `of` equals `slot`. Otherwise, the slot is for a new instance beside the running
    /// instance in slot `of`. The prepared slot either was used before and is free again, or is new
    /// and comes after the last slot. Both slots of a process share the sockets that drainit holds
    /// for the process.
    Adopt {
        slot: ProcessId,
        of: ProcessId,
        /// Whether the slot gets the definition of the new config. If not, the slot gets the
        /// definition of the slot `of`.
        is_newer: bool,
    },
    /// Give the process its definition in the new config. Either the process is down and its next
    /// start uses this definition, or its instance continues, because the change requires no new
    /// instance.
    Redefine(ProcessId),
    /// Evaluate `only_if`, and answer with `Event::Condition` and the same `check`. A hanging file
    /// system can delay the answer so long that the core no longer waits for it.
    CheckCondition { process: ProcessId, check: u32 },
    /// Start the process, and its readiness probe if it has one. Answer with `Event::Spawned` or
    /// `Event::SpawnFailed`. A hanging file system can delay the answer.
    Spawn(ProcessId),
    /// Give up a start that is not answered yet. Answer at once, with `Event::Spawned` if the
    /// program already runs, and with `Event::SpawnFailed` otherwise.
    AbortSpawn(ProcessId),
    /// Probe a new instance of a hot restart once more, now. The instance's time to become ready is
    /// over, but the instance may have taken over since its last probe. Answer with `Event::Ready`
    /// or `Event::NotLive`.
    ProbeOnce(ProcessId),
    /// The process serves from now on. Check whether its drain will work.
    Serves(ProcessId),
    /// Begin the liveness check of a process that is ready. Answer with `Event::LivenessProbed`s or
    /// `Event::Unhealthy`.
    WatchLiveness(ProcessId),
    /// End the liveness check of a process that has failed this check.
    EndLiveness(ProcessId),
    /// Tell the service manager above drainit that every process is ready or complete.
    TellReady,
    /// Send a signal to the process.
    Signal { process: ProcessId, signal: Signal },
    /// Ask the process to end. Send the signal together with SIGCONT, because a process that is
    /// stopped by SIGSTOP reacts only when it continues.
    Stop { process: ProcessId, signal: Signal },
    /// The process has ended, and its group has other members: send the signal to those that are
    /// children of drainit, as to main processes. When none of them is left, and no other member has
    /// become a child of drainit meanwhile, answer with `Event::OrphansGone`.
    StopOrphans { process: ProcessId, signal: Signal },
    /// Send a signal to the process group.
    StopGroup { process: ProcessId, signal: Signal },
    /// The process has not ended in its time. Look whether it is exiting, and answer at once with
    /// `Event::ExitSeen`.
    LookForExit(ProcessId),
    /// Send SIGKILL to the process group.
    Kill(ProcessId),
    /// The process is about to start again. Find the leftovers of its earlier instances, which are
    /// the descendants of drainit that certainly descend from an instance of this process that has
    /// ended. Send them this signal, and answer with `Event::Leftovers`. Repeat this until none is
    /// left.
    EndLeftovers { process: ProcessId, signal: Signal },
    /// Start the command of a hook.
    RunHook(HookId),
    /// Send SIGKILL to the process group of a hook that takes too long or is no longer needed. Do
    /// not report the end of the hook.
    AbortHook(HookId),
    /// A shutdown begins. Count the connections of the processes that stop. From now on, if nobody
    /// reads the output of a process, the process blocks for at most `patience`.
    ShutdownBegins { patience: Duration },
    /// End all readiness and liveness probes, because the shutdown has begun. `/readyz` stays good
    /// until [`Action::Unready`]. If the drain of an Envoy begins before `Unready`, the health
    /// check of this Envoy also stays good until `Unready`.
    StayReady,
    /// End all readiness and liveness probes, and answer 503 to `/readyz`, because the shutdown has
    /// begun.
    Unready,
    /// Drain the process. If drainit counts the traffic of the process, answer with
    /// `Event::DrainAnswered`, then send `Event::DrainSample`s, which are rare until shortly before
    /// the end of `min`. For any other process, answer with `Event::Drained` when its drain is
    /// complete. `Event::DrainAnswered` may come before `Event::Drained` or in place of it, and
    /// says whether the process has accepted the drain.
    Drain {
        process: ProcessId,
        /// The shortest wait from now. No sample ends the drain before this wait is over.
        min: Duration,
        /// The longest wait from now, as granted by the budget.
        longest: Duration,
    },
    /// Make an Envoy refuse new connections if it still accepts them, and count the traffic of the
    /// process. Send a sample if the count succeeds, then answer with `Event::ListenersClosed`.
    CloseListeners(ProcessId),
    /// Close the sockets that drainit holds for a process that accepts no connections any more. New
    /// connections are then refused at once.
    ReleaseSockets(ProcessId),
    /// Send no more samples. A later [`Action::CloseListeners`] still produces one sample, unless
    /// another `EndDrain` comes before the sample.
    EndDrain(ProcessId),
    /// Find the leftover processes, and send this signal to those that have not received it yet.
    /// Answer with `Event::Swept`. As soon as nothing is left, also answer with
    /// `Event::NothingLeft`.
    Sweep(Signal),
    /// Answer all clients that have given this request.
    Answer { process: ProcessId, request: Request, outcome: Result<(), RequestError> },
    /// Answer all clients that have requested the reload, which is over.
    AnswerReload(Result<(), RequestError>),
    /// Report the note in the log, the status, the metrics or the report. A note causes no other
    /// work.
    Note(Note),
    /// Write the report, flush the log, exit.
    Exit(u8),
}
