//! Receives the messages of one instance of a process on its `NOTIFY_SOCKET`.
//!
//! Every process in the network namespace can find the socket in `/proc/net/unix`. Therefore
//! drainit checks the sender of each message, and ignores a message if its sender does not belong
//! to the instance.

use std::cell::Cell;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use nix::errno::Errno;
use nix::unistd::geteuid;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep_until};

use crate::language::mask::masked;
use crate::local_task::LocalTask;
use crate::os::Peer;
use crate::os::Pid;
use crate::os::descendants::{Kin, Stat, describe, kin, user_of};
use crate::os::handle::Handle;
use crate::os::notify_socket::{NotifyMessage, NotifySocket};
use crate::supervisor::tasks::liveness::PAUSED;
use crate::types::{Reason, human};

/// At most this many messages of an instance wait for the event loop. While so many wait, drainit
/// reads no further message of the instance, so the senders of a flood wait in the kernel.
const MOST_WAITING: usize = 16;

/// The news of the messages of an instance.
pub(crate) enum NotifyNews {
    /// The `STATUS=` of the process, or another reason why it is not ready.
    NotReady(Reason),
    Ready,
    Drained,
    /// The process needs this much longer to become ready or to end.
    Extends(Duration),
    /// The process with this handle becomes the main process.
    TakesOver {
        pid: Pid,
        handle: Handle,
    },
    /// The reason why the process is unhealthy: it says that it has failed, or it is silent.
    Unhealthy(Reason),
}

/// Passes the news on, with the place of the news in the bounded queue. The event loop frees this
/// place when it takes the news.
pub(crate) type TellNotify = Box<dyn Fn(NotifyNews, Option<OwnedSemaphorePermit>)>;

/// The task that receives the messages of an instance. The task ends when this value is dropped.
pub(crate) struct NotifyListener {
    _task: LocalTask,
    limit: Rc<WatchdogLimit>,
    source: Rc<NotifySource>,
}

/// The socket of an instance, and the instance.
struct NotifySource {
    socket: NotifySocket,
    instance: NotifySender,
    has_warned: Cell<bool>,
}

/// The instance that sends, and the facts by which drainit checks and reports its messages.
pub(crate) struct NotifySender {
    pub(crate) name: String,
    pub(crate) tell: TellNotify,
    pub(crate) main: Cell<Pid>,
    /// The sessions of the instance and of its main process.
    pub(crate) sessions: Cell<[Pid; 2]>,
    /// Whether `READY=1` makes the process ready.
    pub(crate) tells_readiness: bool,
    /// Whether `DRAINED=1` ends the drain of the process.
    pub(crate) tells_drained: bool,
    /// The user of the process in the config.
    pub(crate) user: Option<u32>,
    /// Whether every config since the start of drainit has had only this process.
    pub(crate) is_alone: Rc<Cell<bool>>,
}

impl NotifyListener {
    pub(crate) fn begin(socket: NotifySocket, instance: NotifySender) -> Self {
        let limit = Rc::<WatchdogLimit>::default();
        let has_warned = Cell::new(false);
        let source = Rc::new(NotifySource { socket, instance, has_warned });
        let task = LocalTask::begin({
            let (source, limit) = (Rc::clone(&source), Rc::clone(&limit));
            async move {
                let mut watchdog = Watchdog::new(limit);
                let places = Arc::new(Semaphore::new(MOST_WAITING));
                loop {
                    let accepts = |sender, message: &NotifyMessage| source.accepts(sender, message);
                    let receive = async {
                        let place = Arc::clone(&places).acquire_owned().await;
                        (source.socket.recv(accepts).await, place.ok())
                    };
                    let received = tokio::select! {
                        // Messages that have arrived are handled before the watchdog expires.
                        biased;
                        received = receive => Some(received),
                        () = watchdog.expired() => None,
                    };
                    match received {
                        Some((Ok(message), place)) => {
                            if message.alive {
                                watchdog.is_alive();
                            }
                            source.take(message, place);
                            // Messages such as WATCHDOG=1 cause no news, so the queue does not
                            // limit them. Other tasks run here even during a flood of such
                            // messages.
                            tokio::task::yield_now().await;
                        }
                        Some((Err(error), _)) => {
                            let why = format!("its notify socket is broken: {error}");
                            source.report(NotifyNews::NotReady(why.into()), None);
                            return;
                        }
                        None => {
                            let limit = watchdog.limit.longest.get();
                            let why = format!("no WATCHDOG=1 within {}", human(limit));
                            source.report(NotifyNews::Unhealthy(why.into()), None);
                        }
                    }
                }
            }
        });
        Self { _task: task, limit, source }
    }

    /// Receives the messages that have arrived, and reports them.
    pub(crate) fn take_all(&self) {
        let accepts = |sender, message: &NotifyMessage| self.source.accepts(sender, message);
        self.source.take(self.source.socket.take_all(accepts), None);
    }

    /// Sets the main process, and the sessions of the instance and of this process.
    pub(crate) fn set_main(&self, main: Pid, sessions: [Pid; 2]) {
        self.source.instance.main.set(main);
        self.source.instance.sessions.set(sessions);
    }

    pub(crate) fn warn(&self, what: &str) {
        self.source.warn(what);
    }

    /// From now on, the process must send `WATCHDOG=1` at least once per `limit`.
    pub(crate) fn expect_watchdog(&self, limit: Duration) {
        self.limit.longest.set(limit);
        self.limit.begins.notify_one();
    }
}

/// The limit that a [`Watchdog`] gets when its process is ready.
#[derive(Default)]
struct WatchdogLimit {
    longest: Cell<Duration>,
    /// Notified when the process is ready.
    begins: Notify,
}

/// The time limit for the next `WATCHDOG=1`.
struct Watchdog {
    limit: Rc<WatchdogLimit>,
    /// The moment by which the process must send its next `WATCHDOG=1`; `None` before the process
    /// is ready, and again after the watchdog has expired.
    alive_by: Option<Instant>,
    /// Whether the limit is over, and the process has a short extra time. In this state,
    /// [`Self::alive_by`] is the moment at which the extra time ends.
    is_overdue: bool,
    /// Whether the process has got its whole limit again because of a pause, and has not sent
    /// `WATCHDOG=1` since.
    was_paused: bool,
}

impl Watchdog {
    fn new(limit: Rc<WatchdogLimit>) -> Self {
        Self { limit, alive_by: None, is_overdue: false, was_paused: false }
    }

    fn is_alive(&mut self) {
        if self.alive_by.is_some() {
            self.alive_by = Some(Instant::now() + self.limit.longest.get());
            self.is_overdue = false;
            self.was_paused = false;
        }
    }

    /// Returns when the watchdog expires, and can then be called again. The future is cancel safe.
    async fn expired(&mut self) {
        loop {
            let Some(alive_by) = self.alive_by else {
                self.limit.begins.notified().await;
                self.alive_by = Some(Instant::now() + self.limit.longest.get());
                continue;
            };
            sleep_until(alive_by).await;
            if self.expires(alive_by, Instant::now()) {
                return;
            }
        }
    }

    /// Whether the watchdog expires when the time `alive_by` is over. While the container is
    /// paused, the process cannot send. After a long pause, the process therefore gets its whole
    /// limit again. This happens only once until its next message, because a process that hangs may
    /// itself be the reason why drainit has no processor time. Without a long pause, the process
    /// gets a short extra time after its limit, because drainit may not have noticed a short pause.
    fn expires(&mut self, alive_by: Instant, now: Instant) -> bool {
        let is_late = now.duration_since(alive_by) > PAUSED;
        let is_paused = is_late && !self.was_paused;
        let expires = self.is_overdue && !is_paused;
        self.was_paused |= is_paused;
        self.is_overdue = !self.is_overdue && !is_paused;
        let more = if is_paused { self.limit.longest.get() } else { PAUSED };
        self.alive_by = (!expires).then(|| now + more);
        expires
    }
}

impl NotifySource {
    /// Reports to the event loop what a message of the instance says. The message keeps its `place`
    /// in the bounded queue until the event loop takes the first news of the message.
    fn take(&self, message: NotifyMessage, mut place: Option<OwnedSemaphorePermit>) {
        if let Some(status) = message.status {
            let says = Reason::with_full("", format!("it says: {}", masked(&status)));
            self.report(NotifyNews::NotReady(says), place.take());
        }
        if message.ready && self.instance.tells_readiness {
            self.report(NotifyNews::Ready, place.take());
        }
        if message.drained && self.instance.tells_drained {
            self.report(NotifyNews::Drained, place.take());
        }
        if let Some(by) = message.extend {
            self.report(NotifyNews::Extends(by), place.take());
        }
        if let Some(pid) = message.main {
            self.take_main(pid, place.take());
        }
        if message.trigger {
            let why = "it sent WATCHDOG=trigger".to_owned();
            self.report(NotifyNews::Unhealthy(why.into()), place.take());
        }
    }

    /// Reports that a process becomes the main process, if the process belongs to the instance. The
    /// kernel reports the end of a process only to the parent of the process. The parent therefore
    /// has to be drainit or the current main process. When the main process ends, drainit becomes
    /// the parent of its children.
    fn take_main(&self, pid: Pid, place: Option<OwnedSemaphorePermit>) {
        let main = &self.instance.main;
        let own = std::process::id().cast_signed();
        let valid = match pid {
            ..1 => Err(io::Error::other("it is not a PID")),
            pid if pid == own => Err(io::Error::other("it is drainit")),
            1 => Err(io::Error::other("it is the init process of this PID namespace")),
            pid => Handle::open(pid),
        };
        let found = valid.and_then(|handle| {
            // The handle is opened before this function reads anything about the pid. Otherwise the
            // handle might be for a later process with this pid.
            let stat = Stat::read(pid).filter(|stat| stat.is_alive);
            let stat = stat.ok_or(io::Error::from(Errno::ESRCH))?;
            let parents = [std::process::id().cast_signed(), main.get()];
            let is_kin = self.kin(pid) == Kin::Own && parents.contains(&stat.parent);
            let uid = user_of(pid).unwrap_or(u32::MAX);
            match (is_kin, self.has_process_user(Peer { pid, uid })) {
                (true, true) => Ok(handle),
                (false, _) => Err(io::Error::other(
                    "it is neither a child of the main process nor an orphan in its session",
                )),
                (true, false) => Err(io::Error::other(format!("it has user {uid}"))),
            }
        });
        match found {
            Ok(handle) => self.report(NotifyNews::TakesOver { pid, handle }, place),
            Err(why) => self.warn(&format!("MAINPID={pid} is ignored: {why}")),
        }
    }

    fn report(&self, news: NotifyNews, place: Option<OwnedSemaphorePermit>) {
        (self.instance.tell)(news, place);
    }

    /// Whether a sender has the user of the process: the user in the config, or the user that the
    /// process has changed to, as under `gosu`. Root and drainit's own user are accepted, because
    /// they could trace the process anyway.
    fn has_process_user(&self, sender: Peer) -> bool {
        let NotifySender { main, user, .. } = &self.instance;
        sender.pid == main.get()
            || [Some(0), Some(geteuid().as_raw()), *user].contains(&Some(sender.uid))
            || user_of(main.get()) == Some(sender.uid)
    }

    /// Whether a process belongs to the instance. The main process may have a session of its own,
    /// which then counts, too.
    fn kin(&self, pid: Pid) -> Kin {
        let [of_instance, of_main] = self.instance.sessions.get();
        match kin(pid, of_instance) {
            Kin::Stranger if of_main != of_instance => kin(pid, of_main),
            found => found,
        }
    }

    /// Whether the sender of a message is the process, or belongs to the process. Warns about the
    /// first message from any other sender.
    fn accepts(&self, sender: Peer, message: &NotifyMessage) -> bool {
        let instance = &self.instance;
        let kin = || self.kin(sender.pid);
        let Peer { pid, uid } = sender;
        let why = match self.has_process_user(sender).then(kin) {
            Some(Kin::Own) => return true,
            // The socket refuses messages from outside drainit's PID namespace. In this namespace,
            // drainit is PID 1 and runs only this one process, so drainit assumes that the sender
            // belonged to the process.
            Some(Kin::Gone) if instance.is_alone.get() && std::process::id() == 1 => return true,
            Some(Kin::Gone) => {
                "which had ended before drainit could see to which process it belonged; let the \
                 sender wait, as `systemd-notify` does without --no-block, or send from the \
                 process itself"
                    .to_owned()
            }
            Some(Kin::Stranger) => {
                "which is neither the process itself, nor a descendant of it, nor in its \
                 session"
                    .to_owned()
            }
            None => format!(
                "of user {uid}, but the process has another user; set its `user`, or send from \
                 the process itself"
            ),
        };
        self.warn(&format!("{message} is ignored: it comes from pid {}, {why}", describe(pid)));
        false
    }

    /// Warns about a message that is ignored. Further ignored messages are logged only at the level
    /// `debug`.
    fn warn(&self, what: &str) {
        let name = &self.instance.name;
        if self.has_warned.replace(true) {
            tracing::debug!("{name}: {what}");
        } else {
            tracing::warn!("{name}: {what}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(2);

    /// A watchdog whose limit ends at this time.
    fn due(at: Instant) -> Watchdog {
        let limit = WatchdogLimit { longest: Cell::new(LIMIT), begins: Notify::new() };
        Watchdog { alive_by: Some(at), ..Watchdog::new(Rc::new(limit)) }
    }

    #[test]
    fn watchdog_expires_after_extra_time() {
        let at = Instant::now();
        let mut watchdog = due(at);
        let seen = at + Duration::from_millis(1);
        assert!(!watchdog.expires(at, seen), "the process may have been paused until now");
        let extra_over = seen + PAUSED;
        assert_eq!(watchdog.alive_by, Some(extra_over));
        assert!(watchdog.expires(extra_over, extra_over));
        assert_eq!(watchdog.alive_by, None);
    }

    // holds: C248
    #[test]
    fn pause_gives_the_whole_limit_again() {
        let at = Instant::now();
        let mut watchdog = due(at);
        let seen = at + Duration::from_millis(850);
        assert!(!watchdog.expires(at, seen));
        assert_eq!((watchdog.alive_by, watchdog.is_overdue), (Some(seen + LIMIT), false));
        // If drainit is paused during the extra time, the process also gets its whole limit again.
        let mut watchdog = due(at);
        assert!(!watchdog.expires(at, at));
        let seen = at + PAUSED + Duration::from_secs(1);
        assert!(!watchdog.expires(at + PAUSED, seen));
        assert_eq!((watchdog.alive_by, watchdog.is_overdue), (Some(seen + LIMIT), false));
        // After a second pause without a message in between, the watchdog expires, because the
        // process itself may hang, and leave drainit without processor time.
        let late = seen + LIMIT + PAUSED * 2;
        assert!(!watchdog.expires(seen + LIMIT, late));
        assert!(watchdog.expires(late + PAUSED, late + PAUSED * 3));
    }

    #[test]
    fn after_a_message_the_next_pause_gives_the_whole_limit_again() {
        let at = Instant::now();
        let mut watchdog = due(at);
        assert!(!watchdog.expires(at, at + PAUSED * 2));
        watchdog.is_alive();
        let seen = at + LIMIT + PAUSED * 2;
        assert!(!watchdog.expires(at + LIMIT, seen));
        assert_eq!(watchdog.alive_by, Some(seen + LIMIT));
    }

    #[test]
    fn message_in_extra_time_counts() {
        let at = Instant::now();
        let mut watchdog = due(at);
        assert!(!watchdog.expires(at, at));
        watchdog.is_alive();
        assert!(!watchdog.is_overdue);
        assert!(watchdog.alive_by.is_some_and(|alive_by| alive_by >= at + LIMIT));
    }
}
