//! Receives the messages of one instance of a process on its `NOTIFY_SOCKET`.
//!
//! Every process in the network namespace finds the socket in `/proc/net/unix`. So only messages of
//! the process itself, its descendants and its process group are accepted.

use std::cell::Cell;

use tokio::task::{AbortHandle, spawn_local};

use crate::os::Pid;
use crate::os::descendants::{Kin, describe, kin};
use crate::os::notify_socket::{NotifyMessage, NotifySocket};

use crate::supervisor::message::{Message, MessageSender, SharedChildren};
use crate::supervisor::readiness::probe::LastFailure;
use crate::types::ProcessId;

/// Listens until it is dropped.
pub(crate) struct Listener {
    task: AbortHandle,
}

/// The instance that sends.
pub(crate) struct NotifySender {
    pub(crate) process: ProcessId,
    pub(crate) name: String,
    pub(crate) instance: u32,
    pub(crate) pid: Pid,
    pub(crate) children: SharedChildren,
    /// The config has no other process.
    pub(crate) is_only_process: bool,
}

impl Listener {
    /// Begins to listen. Keeps `STATUS=` in `state`.
    pub(crate) fn begin(
        socket: NotifySocket,
        instance: NotifySender,
        state: LastFailure,
        sender: MessageSender,
    ) -> Self {
        let task = spawn_local(async move {
            let has_warned = Cell::new(false);
            loop {
                let accepts =
                    |pid, message: &NotifyMessage| instance.accepts(pid, message, &has_warned);
                let message = match socket.recv(accepts).await {
                    Ok(message) => message,
                    Err(error) => {
                        *state.borrow_mut() = Some(format!("its notify socket is broken: {error}"));
                        return;
                    }
                };
                if let Some(status) = message.status {
                    *state.borrow_mut() = Some(format!("it says: {status}"));
                }
                let (process, number) = (instance.process, instance.instance);
                // Fails only when the event loop has ended.
                if message.ready {
                    let _ = sender.send(Message::Ready { process, instance: number });
                }
                if message.drained {
                    let _ = sender.send(Message::Drained { process, instance: number });
                }
            }
        });
        Self { task: task.abort_handle() }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl NotifySender {
    /// Whether a message is from the process or belongs to it. Warns the first time it does not.
    fn accepts(&self, sender: Pid, message: &NotifyMessage, has_warned: &Cell<bool>) -> bool {
        let is_child = |pid| self.children.borrow().role(pid).is_some();
        let why = match kin(sender, self.pid, is_child) {
            Kin::Own => return true,
            // No process outside the PID namespace of PID 1 can send, so it is the only candidate.
            Kin::Gone if self.is_only_process && std::process::id() == 1 => return true,
            Kin::Gone => {
                "which had ended before drainit could see whose it was; let the sender wait as `systemd-notify` does without \
                 --no-block, or send from the process itself"
            }
            Kin::Stranger => {
                "which is neither the process itself, nor below it, nor in its process group"
            }
        };
        let line = format!(
            "{}: {message} is not believed: it comes from pid {}, {why}",
            self.name,
            describe(sender)
        );
        if has_warned.replace(true) {
            tracing::debug!("{line}");
        } else {
            tracing::warn!("{line}");
        }
        false
    }
}
