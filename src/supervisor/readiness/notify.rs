//! Receives the messages of one instance of a process on its `NOTIFY_SOCKET`.
//!
//! Every process in the network namespace finds the socket in `/proc/net/unix`. So only messages of
//! the process itself, its descendants and its process group are accepted.

use std::cell::Cell;
use std::future::pending;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::{AbortHandle, spawn_local};
use tokio::time::{Instant, sleep_until};

use crate::core::event::Event;
use crate::os::Pid;
use crate::os::descendants::{Kin, describe, kin};
use crate::os::notify_socket::{NotifyMessage, NotifySocket};

use crate::supervisor::message::{Message, MessageSender, SharedChildren};
use crate::supervisor::readiness::probe::LastFailure;
use crate::types::{ProcessId, human};

/// Listens until it is dropped.
pub(crate) struct Listener {
    task: AbortHandle,
    watchdog: watch::Sender<Option<Duration>>,
}

/// The state of the instance, as its messages report it.
pub(crate) struct States {
    /// Its `STATUS=`.
    pub(crate) status: LastFailure,
    /// Why its liveness check failed.
    pub(crate) unhealthy: LastFailure,
}

/// The instance that sends.
pub(crate) struct NotifySender {
    pub(crate) process: ProcessId,
    pub(crate) name: String,
    pub(crate) instance: u32,
    pub(crate) pid: Pid,
    pub(crate) children: SharedChildren,
    /// Its readiness is `READY=1`, and not another probe.
    pub(crate) tells_readiness: bool,
    /// Its drain ends with `DRAINED=1`, and not with an answer or a count.
    pub(crate) tells_drained: bool,
    /// The config has no other process.
    pub(crate) is_only_process: bool,
}

impl Listener {
    pub(crate) fn begin(
        socket: NotifySocket,
        instance: NotifySender,
        states: States,
        sender: MessageSender,
    ) -> Self {
        let (watchdog, limit) = watch::channel(None);
        let task = spawn_local(async move {
            let has_warned = Cell::new(false);
            let mut watchdog = Watchdog { limit, alive_by: None };
            let (process, number) = (instance.process, instance.instance);
            loop {
                let accepts =
                    |pid, message: &NotifyMessage| instance.accepts(pid, message, &has_warned);
                let received = tokio::select! {
                    // Messages that have arrived already count before the watchdog expires.
                    biased;
                    received = socket.recv(accepts) => Some(received),
                    () = watchdog.expired() => None,
                };
                // Fails only when the event loop has ended.
                let report = |event| {
                    let _ = sender.send(Message::OfInstance { process, instance: number, event });
                };
                let unhealthy = |why: String| {
                    *states.unhealthy.borrow_mut() = Some(why);
                    report(Event::Unhealthy(process));
                };
                let message = match received {
                    Some(Ok(message)) => message,
                    Some(Err(error)) => {
                        let why = format!("its notify socket is broken: {error}");
                        *states.status.borrow_mut() = Some(why);
                        return;
                    }
                    None => {
                        let limit = watchdog.limit.borrow().unwrap_or_default();
                        unhealthy(format!("no WATCHDOG=1 within {}", human(limit)));
                        continue;
                    }
                };
                if let Some(status) = message.status {
                    *states.status.borrow_mut() = Some(format!("it says: {status}"));
                }
                if message.ready && instance.tells_readiness {
                    let _ = sender.send(Message::Ready { process, instance: number });
                }
                if message.drained && instance.tells_drained {
                    report(Event::Drained(process));
                }
                if let Some(by) = message.extend {
                    report(Event::TimeoutExtended { process, by });
                }
                if message.alive {
                    watchdog.is_alive();
                }
                if message.trigger {
                    unhealthy("it sent WATCHDOG=trigger".to_owned());
                }
            }
        });
        Self { task: task.abort_handle(), watchdog }
    }

    /// From now on a `WATCHDOG=1` must come at least this often.
    pub(crate) fn expect_watchdog(&self, limit: Duration) {
        // Fails only when the socket is broken.
        let _ = self.watchdog.send(Some(limit));
    }
}

/// The limit of the next `WATCHDOG=1`.
struct Watchdog {
    /// Set when the process is ready.
    limit: watch::Receiver<Option<Duration>>,
    /// `None` before that, and after it expired.
    alive_by: Option<Instant>,
}

impl Watchdog {
    fn is_alive(&mut self) {
        if let (Some(limit), Some(_)) = (*self.limit.borrow(), self.alive_by) {
            self.alive_by = Some(Instant::now() + limit);
        }
    }

    /// Returns once for each time that it expires. Cancel safe.
    async fn expired(&mut self) {
        loop {
            let Some(alive_by) = self.alive_by else {
                if self.limit.changed().await.is_err() {
                    pending::<()>().await;
                }
                self.alive_by = self.limit.borrow().map(|limit| Instant::now() + limit);
                continue;
            };
            sleep_until(alive_by).await;
            let limit = self.limit.borrow().unwrap_or_default();
            // A pause of the container has stopped the process, too.
            let is_late = alive_by.elapsed() > limit / 2;
            self.alive_by = is_late.then(|| Instant::now() + limit);
            if !is_late {
                return;
            }
        }
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
