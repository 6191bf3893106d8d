//! Receives the messages of one instance of a process on its `NOTIFY_SOCKET`.
//!
//! Every process in the network namespace finds the socket in `/proc/net/unix`. So only messages of
//! the process itself, its descendants and its process group are accepted.

use std::cell::Cell;
use std::future::pending;
use std::rc::Rc;
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
    source: Rc<Source>,
}

/// The socket of an instance, and who hears what arrives there.
struct Source {
    socket: NotifySocket,
    instance: NotifySender,
    states: States,
    sender: MessageSender,
    has_warned: Cell<bool>,
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
        let has_warned = Cell::new(false);
        let source = Rc::new(Source { socket, instance, states, sender, has_warned });
        let task = spawn_local({
            let source = Rc::clone(&source);
            async move {
                let mut watchdog = Watchdog { limit, alive_by: None };
                loop {
                    let accepts = |pid, message: &NotifyMessage| source.accepts(pid, message);
                    let received = tokio::select! {
                        // Messages that have arrived already count before the watchdog expires.
                        biased;
                        received = source.socket.recv(accepts) => Some(received),
                        () = watchdog.expired() => None,
                    };
                    match received {
                        Some(Ok(message)) => {
                            if message.alive {
                                watchdog.is_alive();
                            }
                            source.take(message);
                        }
                        Some(Err(error)) => {
                            let why = format!("its notify socket is broken: {error}");
                            *source.states.status.borrow_mut() = Some(why);
                            return;
                        }
                        None => {
                            let limit = watchdog.limit.borrow().unwrap_or_default();
                            source.unhealthy(format!("no WATCHDOG=1 within {}", human(limit)));
                        }
                    }
                }
            }
        });
        Self { task: task.abort_handle(), watchdog, source }
    }

    /// Takes the messages that have arrived.
    pub(crate) fn take_all(&self) {
        let accepts = |pid, message: &NotifyMessage| self.source.accepts(pid, message);
        for message in self.source.socket.take_all(accepts) {
            self.source.take(message);
        }
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

impl Source {
    /// Reports a message of the instance.
    fn take(&self, message: NotifyMessage) {
        let NotifySender { process, instance, .. } = self.instance;
        if let Some(status) = message.status {
            *self.states.status.borrow_mut() = Some(format!("it says: {status}"));
        }
        if message.ready && self.instance.tells_readiness {
            // Fails only when the event loop has ended.
            let _ = self.sender.send(Message::Ready { process, instance });
        }
        if message.drained && self.instance.tells_drained {
            self.report(Event::Drained(process));
        }
        if let Some(by) = message.extend {
            self.report(Event::TimeoutExtended { process, by });
        }
        if message.trigger {
            self.unhealthy("it sent WATCHDOG=trigger".to_owned());
        }
    }

    fn unhealthy(&self, why: String) {
        *self.states.unhealthy.borrow_mut() = Some(why);
        self.report(Event::Unhealthy(self.instance.process));
    }

    fn report(&self, event: Event) {
        let NotifySender { process, instance, .. } = self.instance;
        // As above.
        let _ = self.sender.send(Message::OfInstance { process, instance, event });
    }

    /// Whether a message is from the process or belongs to it. Warns the first time it does not.
    fn accepts(&self, sender: Pid, message: &NotifyMessage) -> bool {
        let instance = &self.instance;
        let is_child = |pid| instance.children.borrow().role(pid).is_some();
        let why = match kin(sender, instance.pid, is_child) {
            Kin::Own => return true,
            // No process outside the PID namespace of PID 1 can send, so it is the only candidate.
            Kin::Gone if instance.is_only_process && std::process::id() == 1 => return true,
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
            instance.name,
            describe(sender)
        );
        if self.has_warned.replace(true) {
            tracing::debug!("{line}");
        } else {
            tracing::warn!("{line}");
        }
        false
    }
}
