//! Hears what one process says on its `NOTIFY_SOCKET`, from its start to its end.
//!
//! Whoever shares the network namespace finds the socket in `/proc/net/unix`. So only the process
//! itself is believed, and who belongs to it.

use std::cell::Cell;

use tokio::task::{AbortHandle, spawn_local};

use crate::os::Pid;
use crate::os::descendants::{Kin, describe, kin};
use crate::os::notify_socket::{NotifyMessage, NotifySocket};
use crate::supervisor::message::{Family, Message, MessageSender};
use crate::supervisor::readiness::probe::LastFailure;
use crate::types::ProcessId;

/// Listens until it is dropped.
pub(crate) struct Listener {
    task: AbortHandle,
}

/// One life of a process that is listened to.
pub(crate) struct Speaker {
    pub(crate) process: ProcessId,
    pub(crate) name: String,
    pub(crate) life: u32,
    pub(crate) pid: Pid,
    pub(crate) family: Family,
    /// The config has no other process whose message it could be.
    pub(crate) is_only_one: bool,
}

impl Listener {
    /// Begins to listen. What the process says of its state is kept in `said`.
    pub(crate) fn begin(
        socket: NotifySocket,
        speaker: Speaker,
        said: LastFailure,
        sender: MessageSender,
    ) -> Self {
        let task = spawn_local(async move {
            let has_warned = Cell::new(false);
            loop {
                let believes =
                    |pid, message: &NotifyMessage| speaker.believes(pid, message, &has_warned);
                let message = match socket.recv(believes).await {
                    Ok(message) => message,
                    Err(error) => {
                        *said.borrow_mut() = Some(format!("its notify socket is broken: {error}"));
                        return;
                    }
                };
                if let Some(status) = message.status {
                    *said.borrow_mut() = Some(format!("it says: {status}"));
                }
                let (process, life) = (speaker.process, speaker.life);
                // Where nobody receives, the loop has ended, and nothing matters any more.
                if message.ready {
                    let _ = sender.send(Message::Ready { process, life });
                }
                if message.drained {
                    let _ = sender.send(Message::Drained { process, life });
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

impl Speaker {
    /// Whether a message is from the process, or from who belongs to it. That it is not is a
    /// warning, once.
    fn believes(&self, sender: Pid, message: &NotifyMessage, has_warned: &Cell<bool>) -> bool {
        let is_child = |pid| self.family.borrow().role(pid).is_some();
        let why = match kin(sender, self.pid, is_child) {
            Kin::Own => return true,
            // PID 1 sees nobody from outside, and so there is nobody else.
            Kin::Gone if self.is_only_one && std::process::id() == 1 => return true,
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
