//! The messages to the event loop. A local task tells its own type, of which the executor makes a
//! message.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::mpsc::UnboundedSender;

use crate::core::event::{Event, Request};
use crate::core::spec::HookId;
use crate::os::descendants::Descendant;
use crate::os::leftovers::Look;
use crate::os::spawn::SpawnError;
use crate::os::sweep::Scanned;
use crate::os::{Peer, Pid};
use crate::supervisor::executor::starts::Start;
use crate::supervisor::launch::StartError;
use crate::supervisor::requests::{RequestReply, TextReply};
use crate::supervisor::tasks::Tell;
use crate::supervisor::tasks::drain::target::DrainNews;
use crate::supervisor::tasks::file_watch::FileNews;
use crate::supervisor::tasks::preparation::PreparedFiles;
use crate::supervisor::tasks::readiness::ReadinessNews;
use crate::supervisor::tasks::readiness::notify::NotifyNews;
use crate::supervisor::tasks::reload::ReloadNews;
use crate::supervisor::tasks::witness::Endings;
use crate::types::{ProcessId, Reason, Signal};

pub(crate) type MessageSender = UnboundedSender<Message>;

/// The function by which a task tells its own type, of which `message` makes a message.
pub(crate) fn tell<T: 'static>(sender: &MessageSender, message: fn(T) -> Message) -> Tell<T> {
    let sender = sender.clone();
    // The send fails only if the event loop has ended.
    Rc::new(move |told| drop(sender.send(message(told))))
}

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

    /// Adds a line to the report of the shutdown.
    pub(crate) fn remark(&self, line: String) {
        let _ = self.sender.send(Message::Remark(line));
    }

    /// The function by which a task tells its own news, of which `news` makes news of the instance.
    pub(crate) fn tell<T>(&self, news: fn(T) -> News) -> impl Fn(T) + use<T> {
        let sender = self.clone();
        move |told| sender.send(news(told))
    }

    /// Like [`Self::send`]. `place` is the place of the news in a bounded queue. The event loop
    /// frees this place when it takes the news.
    pub(crate) fn send_with(&self, news: News, place: Option<OwnedSemaphorePermit>) {
        let Self { process, instance, .. } = *self;
        // The send fails only if the event loop has ended.
        let _ = self.sender.send(Message::OfInstance { process, instance, news, place });
    }
}

/// The news of a task about the instance to which the task belongs.
pub(crate) enum News {
    Readiness(ReadinessNews),
    Notify(NotifyNews),
    /// The result of a liveness probe.
    Liveness(Result<(), Reason>),
    Drain(DrainNews),
    /// The process has most likely loaded its program, and has these descendants.
    Loaded {
        below: Vec<Descendant>,
    },
    /// Whether the admin of an Envoy whose hot restart has failed is closed for good.
    Admin {
        is_closed: bool,
    },
    /// The warnings about risks of the drain.
    DrainRisks(Vec<String>),
    /// The measured time from the stop signal to the end of the process.
    TimeToEnd(Duration),
}

/// The living members of process groups, by the leaders of the groups.
pub(crate) type Members = BTreeMap<Pid, Vec<Descendant>>;

/// A message of a local task.
pub(crate) enum Message {
    Event(Event),
    /// drainit has gathered the files of a start or a hook, or could not gather them. The event
    /// loop ignores the message if drainit has given up the start or the hook.
    FilesReady {
        start: Start,
        task: tokio::task::Id,
        files: Box<Result<PreparedFiles, StartError>>,
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
        why: Option<Reason>,
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
        /// Whether the look at the connections for this request was late. `None` until drainit has
        /// looked at the connections and the watched files.
        is_late: Option<bool>,
    },
    File(FileNews),
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
    OfReload(ReloadNews),
    /// The result of a search: the living members of process groups whose leaders have ended.
    Members(Members),
    /// The result of a scan of the final sweep, which sends this signal to all leftover processes.
    Swept(Signal, Box<Scanned>),
    /// The result of a look for the leftovers of a process that is about to start again.
    LookedForLeftovers {
        process: ProcessId,
        number: u64,
        look: Box<Look>,
    },
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
