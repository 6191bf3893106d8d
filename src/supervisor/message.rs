//! The words between the event loop and its local tasks: what a child is for, and what a task has learnt.

use std::cell::RefCell;
use std::rc::Rc;

use tokio::sync::mpsc::UnboundedSender;

use crate::core::event::Event;
use crate::core::spec::HookId;
use crate::supervisor::children::Children;
use crate::types::{End, ProcessId};

/// Where local tasks send what they have learnt.
pub(crate) type MessageSender = UnboundedSender<Message>;

/// What a child is for.
pub(crate) enum Role {
    Process(ProcessId),
    Hook(HookId),
    /// The command of an `exec` probe or drain; who waits for it gets its end.
    Command(tokio::sync::oneshot::Sender<End>),
}

/// What local tasks have learnt.
pub(crate) enum Message {
    /// As it is.
    Event(Event),
    /// The readiness of one life of a process; of an earlier life it means nothing.
    Ready { process: ProcessId, life: u32 },
    /// It says that it is drained; of an earlier life it means nothing.
    Drained { process: ProcessId, life: u32 },
    /// Nothing, but the loop is to turn once more.
    Again,
}

/// The children, shared with the tasks of `exec` probes.
pub(crate) type Family = Rc<RefCell<Children<Role>>>;
