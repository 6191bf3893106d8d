//! The messages from local tasks to the event loop, and the roles of children.

use std::time::Duration;

use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::mpsc::UnboundedSender;

use crate::config::Watch;
use crate::core::envoy::dialogue::DrainOutput;
use crate::core::event::{Event, Request};
use crate::core::spec::HookId;
use crate::os::handle::Handle;
use crate::os::spawn::SpawnError;
use crate::os::sweep::Scanned;
use crate::os::{Peer, Pid};
use crate::supervisor::executor::groups::Members;
use crate::supervisor::file_watch::Seen;
use crate::supervisor::launch::StartError;
use crate::supervisor::preparation::Files;
use crate::supervisor::reload::Candidate;
use crate::supervisor::witness::Endings;
use crate::types::{End, ProcessId, Signal};

pub(crate) type MessageSender = UnboundedSender<Message>;

/// An instance of a process, and the channel for its events.
#[derive(Clone)]
pub(crate) struct InstanceSender {
    pub(crate) process: ProcessId,
    pub(crate) instance: u32,
    pub(crate) sender: MessageSender,
}

impl InstanceSender {
    pub(crate) fn send(&self, news: News) {
        self.send_with(news, None);
    }

    /// Like [`Self::send`]. `place` is the place of the news in a bounded queue. The event loop
    /// frees this place when it takes the news.
    pub(crate) fn send_with(&self, news: News, place: Option<OwnedSemaphorePermit>) {
        let Self { process, instance, .. } = *self;
        // The send fails only if the event loop has ended.
        let _ = self.sender.send(Message::OfInstance { process, instance, news, place });
    }
}

/// A report of a task about the instance to which the task belongs.
pub(crate) enum News {
    Event(Event),
    /// The reason why an attempt of the readiness probe has failed.
    ProbeFailed(String),
    /// The `STATUS=` of the process, or another reason why it is not ready.
    NotReady(String),
    /// The process is not ready after this time.
    Late(Duration),
    /// The result of a liveness probe.
    Probed(Result<(), String>),
    /// The reason why the process is unhealthy: it says that it has failed, or it is silent.
    Unhealthy(String),
    /// The process with this handle becomes the main process.
    TakesOver {
        pid: Pid,
        handle: Handle,
    },
    /// The process has most likely loaded its program.
    Loaded,
    /// Whether the admin of an Envoy whose hot restart has failed is closed for good.
    Admin {
        is_closed: bool,
    },
    /// The warnings about risks of the drain.
    DrainRisks(Vec<String>),
    /// The signal that asks the process to drain. `reply` gets the outcome.
    DrainSignal {
        signal: Signal,
        reply: RequestReply,
    },
    Drain(DrainOutput),
}

/// The channel for the answer to an operator's request. The error is a sentence for the operator.
pub(crate) type RequestReply = tokio::sync::oneshot::Sender<Result<(), String>>;

/// The channel for an answer that is a text, such as a plan.
pub(crate) type TextReply = tokio::sync::oneshot::Sender<Result<String, String>>;

/// The purpose of a child.
#[derive(Debug)]
pub(crate) enum ChildRole {
    Process(ProcessId),
    /// The command of a hook, of an `exec` probe or drain, or of Envoy's check of its config.
    Command {
        /// The task that runs the command receives how the command has ended.
        waiting: tokio::sync::oneshot::Sender<End>,
        rest: Rest,
    },
}

/// What happens to the processes that outlive the command which started them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rest {
    /// The processes continue to run, because the command of a hook or a drain may start a daemon.
    Lives,
    /// The members of the command's process group are killed.
    Killed,
}

/// A process or a hook that is to be started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Start {
    Process(ProcessId),
    Hook(HookId),
}

/// A message of a local task.
pub(crate) enum Message {
    Event(Event),
    /// drainit has gathered the files of a start or a hook, or could not gather them. The event
    /// loop ignores the message if drainit has given up the start or the hook.
    FilesReady {
        start: Start,
        task: tokio::task::Id,
        files: Box<Result<Files, StartError>>,
    },
    /// The exec of a process is over, or has taken too long.
    ExecOver {
        process: ProcessId,
        pid: Pid,
        is_late: bool,
    },
    /// The exec of a process has failed and the process has ended; `error` is the cause.
    ExecFailed {
        process: ProcessId,
        pid: Pid,
        error: SpawnError,
    },
    /// News of an instance of a process. The message is ignored if the instance is not the current
    /// one.
    OfInstance {
        process: ProcessId,
        instance: u32,
        news: News,
        /// The place of the message in the sender's queue, if this queue is bounded.
        place: Option<OwnedSemaphorePermit>,
    },
    /// The end of a main process that drainit has not started.
    MainEnded {
        process: ProcessId,
        pid: Pid,
    },
    /// A hook has ended. The message is ignored if the hook was aborted or has begun again.
    HookOver {
        hook: HookId,
        task: tokio::task::Id,
        event: Event,
        /// A line for the shutdown report, or the reason why the process could not start.
        why: Option<String>,
    },
    /// A line for the report of the shutdown.
    Remark(String),
    /// A look at the connections during the shutdown is over, or the first look could not begin.
    Counted {
        is_first: bool,
    },
    /// A request of the operator is over. `endings` has the connections that have ended meanwhile;
    /// `reply` gets the answer.
    RequestOver {
        endings: Option<Endings>,
        answer: Result<String, String>,
        reply: TextReply,
    },
    /// A request of the operator. `reply` gets the answer.
    Request {
        /// The name of the process, and not its slot, because the slot can change before the
        /// request is handled.
        name: String,
        request: Request,
        reply: RequestReply,
        /// Whether drainit has looked at the connections and the watched files for this request.
        has_looked: bool,
    },
    /// A report about a watched file of this process.
    File {
        name: String,
        watch: Watch,
        seen: Seen,
    },
    /// An operator requests the shutdown. `reply` gets the answer just before drainit exits.
    Shutdown {
        reply: TextReply,
        client: Peer,
    },
    /// An operator requests a reload. `reply` gets the answer, with the warnings.
    Reload {
        reply: TextReply,
    },
    /// An operator asks what a reload would do.
    PlanReload {
        reply: TextReply,
    },
    /// drainit begins to read the config for a reload now.
    Reading,
    /// The config was read for a reload. The error says why the config cannot be used.
    Prepared(Box<Result<Candidate, String>>),
    /// The result of a search: the living members of process groups whose leaders have ended.
    Members(Members),
    /// The result of a scan of the final sweep, which sends this signal to all leftover processes.
    Swept(Signal, Box<Scanned>),
    /// Wakes the event loop, which then reaps children and scans groups.
    Wake,
}

impl Message {
    /// The process whose instance this message is about.
    pub(crate) fn process(&self) -> Option<ProcessId> {
        match self {
            Self::ExecOver { process, .. }
            | Self::ExecFailed { process, .. }
            | Self::OfInstance { process, .. }
            | Self::MainEnded { process, .. } => Some(*process),
            _ => None,
        }
    }
}
