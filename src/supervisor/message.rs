//! The messages from local tasks to the event loop, and the roles of children.

use std::cell::RefCell;
use std::rc::Rc;

use tokio::sync::mpsc::UnboundedSender;

use crate::config::Watch;
use crate::core::event::{Event, Request};
use crate::core::spec::HookId;
use crate::os::Pid;
use crate::os::spawn::{FailedExec, SpawnError};
use crate::supervisor::children::Children;
use crate::supervisor::file_watch::Seen;
use crate::supervisor::launch::StartError;
use crate::supervisor::preparation::Files;
use crate::supervisor::reload::{Candidate, Read};
use crate::types::{End, ProcessId};

pub(crate) type MessageSender = UnboundedSender<Message>;

/// An instance of a process, and the way to report what happens to it.
#[derive(Clone)]
pub(crate) struct InstanceSender {
    pub(crate) process: ProcessId,
    pub(crate) instance: u32,
    pub(crate) sender: MessageSender,
}

impl InstanceSender {
    pub(crate) fn send(&self, event: Event) {
        let Self { process, instance, .. } = *self;
        // Fails only when the event loop has ended.
        let _ = self.sender.send(Message::OfInstance { process, instance, event });
    }
}

/// The answer to a request of the operator; the error is a sentence for the operator.
pub(crate) type RequestReply = tokio::sync::oneshot::Sender<Result<(), String>>;

/// The answer to a request that has a text, as a plan is one.
pub(crate) type TextReply = tokio::sync::oneshot::Sender<Result<String, String>>;

/// Why drainit has started a child.
#[derive(Debug)]
pub(crate) enum Role {
    Process(ProcessId),
    /// The command of a hook, or of an `exec` probe or drain; its task receives the end.
    Command(tokio::sync::oneshot::Sender<Result<End, FailedExec>>),
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
    /// The files that a start needs; ignored if it was given up.
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
    /// Why the exec of a process has failed, which has ended.
    ExecFailed {
        process: ProcessId,
        pid: Pid,
        error: SpawnError,
    },
    /// Something that an instance of a process reports; ignored if it is an earlier one.
    OfInstance {
        process: ProcessId,
        instance: u32,
        event: Event,
    },
    /// A hook has ended; ignored if it is not the last one, or was aborted.
    HookOver {
        hook: HookId,
        task: tokio::task::Id,
        event: Event,
    },
    /// A request of the operator. `reply` gets its answer.
    Request {
        /// The process, whatever its slot is by then.
        name: String,
        request: Request,
        reply: RequestReply,
        /// drainit has looked at its watched files for it.
        has_looked: bool,
    },
    /// A watched file of this process was seen.
    File {
        name: String,
        watch: Watch,
        seen: Seen,
    },
    /// The operator wants the config to be read again. `reply` gets the answer, with the warnings.
    Reload {
        reply: TextReply,
    },
    /// The operator asks what a reload would do.
    PlanReload {
        reply: TextReply,
    },
    /// The config is read again from now on.
    Reading,
    /// It was read for a reload, or cannot be used for this reason.
    Prepared(Box<Result<Candidate, String>>),
    /// It was read for a plan.
    ReadForPlan {
        reply: TextReply,
        read: Box<Result<Read, String>>,
    },
    /// Only wakes the loop, which then reaps and scans groups.
    Wake,
}

/// The children, shared with the tasks of hooks, `exec` probes and drains.
pub(crate) type SharedChildren = Rc<RefCell<Children>>;
