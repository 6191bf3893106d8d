//! The words between core and shell: what happened, what to do, what to tell.

use std::time::Duration;

use crate::core::cause::Cause;
use crate::core::spec::HookId;
use crate::types::{End, ProcessId, Signal};

/// What happened. The shell reports each fact once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Begin.
    Start,
    /// The answer to [`Action::CheckCondition`].
    Condition {
        /// Whose.
        process: ProcessId,
        /// Whether it is to be started.
        holds: bool,
    },
    /// [`Action::Spawn`] worked.
    Spawned(ProcessId),
    /// [`Action::Spawn`] failed; nothing runs.
    SpawnFailed {
        /// Which process.
        process: ProcessId,
        /// 126 or 127, as a shell has it.
        exit_code: u8,
    },
    /// The readiness probe of the running instance succeeded.
    Ready(ProcessId),
    /// The process was reaped.
    Exited {
        /// Which process.
        process: ProcessId,
        /// How it ended.
        end: End,
        /// Others of its process group live on; [`Event::GroupGone`] follows.
        remains: bool,
    },
    /// Nothing is left of the process group of a process that had ended before.
    GroupGone(ProcessId),
    /// The command of a hook has ended, or could not be started.
    HookEnded {
        /// Which hook.
        hook: HookId,
        /// With code 0.
        success: bool,
    },
    /// drainit itself got a signal.
    Signal(Signal),
    /// [`Action::Drain`] has reached the process, or was given up.
    DrainTold {
        /// Which process.
        process: ProcessId,
        /// Whether it took it: at least one of its calls.
        accepted: bool,
    },
    /// A drained process says itself that it is drained: by a message, or by the end of the call or command that drains it.
    Drained(ProcessId),
    /// Somebody asks for a drain without a stop.
    DrainAsked,
    /// A look at a process that is being drained.
    DrainSample {
        /// Which process.
        process: ProcessId,
        /// What was seen.
        load: Load,
    },
    /// [`Action::CloseListeners`] was answered or given up.
    ListenersClosed(ProcessId),
    /// How many descendants [`Action::Sweep`] found; zero when the last of them is gone.
    Leftovers(usize),
    /// A timer; also given when nothing else is there to say.
    Tick,
}

/// What a drained process still carries. `None` is unknown, never zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// What is counted.
    pub unit: Unit,
    /// Those that are open, or in flight.
    pub active: Option<u64>,
    /// Those that there have ever been.
    pub total: Option<u64>,
}

/// What a drained process is to have none of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Unit {
    /// Connections of clients.
    #[default]
    Connections,
    /// Requests in flight, for clients that never let their connection go.
    Requests,
}

/// What the shell has to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Evaluate `only_if`, answer with [`Event::Condition`].
    CheckCondition(ProcessId),
    /// Start it, and its readiness probe where it has one. Answer with [`Event::Spawned`] or [`Event::SpawnFailed`].
    Spawn(ProcessId),
    /// Send a signal to the process.
    Signal {
        /// To which.
        process: ProcessId,
        /// Which.
        signal: Signal,
    },
    /// Ask it to end: the signal, and CONT for the case that it is stopped.
    Stop {
        /// Which process.
        process: ProcessId,
        /// Its stop signal.
        signal: Signal,
    },
    /// Send a signal to its whole process group.
    StopGroup {
        /// Of which.
        process: ProcessId,
        /// Its stop signal.
        signal: Signal,
    },
    /// KILL its whole process group.
    Kill(ProcessId),
    /// Start the command of a hook.
    RunHook(HookId),
    /// KILL the process group of a hook that takes too long; its end needs no report.
    AbortHook(HookId),
    /// The shutdown has begun: `/readyz` turns 503, readiness probes end.
    Unready,
    /// Tell it to let its traffic go, answer with [`Event::DrainTold`]; keep giving [`Event::DrainSample`]s, seldom at first
    /// and often from [`QUIET`](crate::core::drain::QUIET) before `min` is over.
    Drain {
        /// Which process.
        process: ProcessId,
        /// The shortest wait, from now: nothing that is seen ends it before.
        min: Duration,
        /// The longest, as granted.
        longest: Duration,
    },
    /// Make it refuse new connections, where it does not yet, and count what is left; answer with
    /// [`Event::ListenersClosed`].
    CloseListeners(ProcessId),
    /// No more samples. A look may still be asked for, by [`Action::CloseListeners`], until it comes again.
    EndDrain(ProcessId),
    /// Find descendants that are left, and have not been sent this yet; send it, answer with [`Event::Leftovers`].
    Sweep(Signal),
    /// Something worth a line in the log or the report.
    Note(Note),
    /// Write the report, flush, exit.
    Exit(u8),
}

/// Something worth telling. The words are the report's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Note {
    /// Its `only_if` does not hold.
    Skipped(ProcessId),
    /// It was started.
    Started(ProcessId),
    /// It is ready.
    Ready {
        /// Which process.
        process: ProcessId,
        /// Since its start.
        after: Duration,
    },
    /// Every process is ready or complete.
    AllReady,
    /// A oneshot ended with code 0.
    Completed {
        /// Which process.
        process: ProcessId,
        /// Since its start.
        after: Duration,
    },
    /// It ended without having been asked to.
    Ended {
        /// Which process.
        process: ProcessId,
        /// How.
        end: End,
        /// What follows.
        next: AfterEnd,
    },
    /// It is not ready and its time is over.
    NotReady {
        /// Which process.
        process: ProcessId,
        /// The timeout.
        after: Duration,
    },
    /// A hook took too long and was killed.
    HookTimedOut(HookId),
    /// A drain without a stop was asked for.
    DrainAsked,
    /// T0.
    ShutdownBegan {
        /// Why.
        cause: Cause,
        /// From now to the deadline.
        window: Duration,
    },
    /// It has ended, and others of its process group live on: they are asked to end, too.
    GroupRemains(ProcessId),
    /// A further stop signal, and what it does.
    Hurried(Hurry),
    /// A drain begins.
    DrainBegan {
        /// Which process.
        process: ProcessId,
        /// The longest that it will wait.
        longest: Duration,
        /// The shortest.
        min: Duration,
        /// Its traffic is looked at meanwhile.
        counted: bool,
    },
    /// It is not drained, because the stop needs all the time that is left.
    NotDrained(ProcessId),
    /// A drain is over.
    DrainOver {
        /// Which process.
        process: ProcessId,
        /// Why.
        why: DrainEnd,
        /// How long it took.
        took: Duration,
        /// What was seen last.
        last: Load,
    },
    /// It has ended before its drain was over, because of a signal that drainit did not send.
    EndedUndrained {
        /// Which process.
        process: ProcessId,
        /// Which signal that probably was.
        signal: Signal,
        /// What speaks for it.
        with: Alongside,
    },
    /// It was asked to end.
    Stopping {
        /// Which process.
        process: ProcessId,
        /// With what.
        signal: Signal,
        /// When KILL will follow.
        limit: Duration,
    },
    /// It had to be killed.
    Killed {
        /// Which process.
        process: ProcessId,
        /// How long after it was asked to end; `None`: there was no time to ask.
        after: Option<Duration>,
    },
    /// Descendants are left that KILL has not ended, or has not reached.
    LeftoversRemain,
    /// It is gone, during the shutdown.
    Stopped {
        /// Which process.
        process: ProcessId,
        /// How.
        end: End,
        /// Since it was asked; `None`: nobody had asked.
        took: Option<Duration>,
        /// drainit had killed it.
        killed: bool,
    },
    /// The deadline has come with something still alive.
    DeadlinePassed,
    /// Even KILL has not ended it (it hangs in the kernel); nobody waits for it any longer.
    Unkillable(ProcessId),
}

/// What follows an unasked end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AfterEnd {
    /// It is started again.
    Restart {
        /// After this pause.
        delay: Duration,
        /// For the how-manieth time in a row, from 1.
        attempt: u32,
    },
    /// Nothing.
    Nothing,
    /// Nothing: it was restarted as often as it may, and stays down.
    GivesUp,
    /// The container stops.
    Shutdown,
    /// The container stops: it was restarted as often as it may.
    Exhausted,
}

/// What an end came with that shows its reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alongside {
    /// So long after the first stop signal.
    After(Duration),
    /// So long before it.
    Before(Duration),
    /// At the same time as the ends of others.
    Others,
}

/// What a further stop signal does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hurry {
    /// The first signal after an unasked end: the shutdown goes on as it is.
    Continue,
    /// Waits are cut short, the order is kept.
    CutWaits,
    /// Everything is killed.
    KillAll,
}

/// Why a drain is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DrainEnd {
    /// Nothing open, and nothing new for a moment.
    Quiet,
    /// It has said so itself.
    Reported,
    /// `time` is over (`min` after an unasked end).
    TimeOver,
    /// It did not take the drain; `min` was held.
    MinHeld,
    /// The deadline needs the rest for the stop.
    DeadlineNeedsIt,
    /// The process has ended.
    ProcessGone,
    /// A second stop signal.
    Hurried,
}
