//! Hears what one process says on its `NOTIFY_SOCKET`, from its start to its end.

use tokio::task::{AbortHandle, spawn_local};

use super::news::News;
use super::news::Sender;
use super::notify::NotifySocket;
use super::probe::LastFailure;
use super::reap::{Pid, is_in_a_childs_group};
use super::sweep::is_descendant;
use crate::vocab::ProcessId;

/// Listens until it is dropped.
pub(super) struct Listener {
    task: AbortHandle,
}

impl Listener {
    /// Begins to listen to this life of a process. What it says of its state is kept in `said`.
    pub(super) fn begin(
        socket: NotifySocket,
        process: ProcessId,
        life: u32,
        said: LastFailure,
        sender: Sender,
    ) -> Self {
        let task = spawn_local(async move {
            loop {
                let message = match socket.recv(is_ours).await {
                    Ok(message) => message,
                    Err(error) => {
                        *said.borrow_mut() = Some(format!("its notify socket is broken: {error}"));
                        return;
                    }
                };
                if let Some(status) = message.status {
                    *said.borrow_mut() = Some(format!("it says: {status}"));
                }
                // Where nobody receives, the loop has ended, and nothing matters any more.
                if message.ready {
                    let _ = sender.send(News::Ready { process, life });
                }
                if message.drained {
                    let _ = sender.send(News::Drained { process, life });
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

/// Whether a process belongs to drainit. PID 1 sees nobody else, but for what was put into its namespace on purpose. A
/// sender that has ended already cannot be told from a stranger, and is refused where there are strangers; without a `/proc`
/// also one that has left its process group.
fn is_ours(pid: Pid) -> bool {
    std::process::id() == 1 || is_descendant(pid) || is_in_a_childs_group(pid)
}
