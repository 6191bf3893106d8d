//! Finds out how each connection of a process has ended, in the shutdown and during the requests of
//! operators. The kernel sends a message about each connection that ends. The looks at the open
//! connections say to which process a connection belongs.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, MutexGuard};
use std::time::{Duration, Instant};

use tokio::sync::Mutex;

use crate::core::connections::answers::Connection;
use crate::core::connections::endings::Ending;
use crate::keys::Counting;
use crate::os::destroyed::{Destroyed, Ended, still};
use crate::os::listeners::Listeners;
use crate::os::on_thread::{begin_at_once, locked};
use crate::types::{ProcessId, Time};

/// At the end of the shutdown or of a request, drainit waits for messages of the kernel for at most
/// this long. The kernel sends them from a thread of its own, within a millisecond if a processor is
/// free.
const LATE: Duration = Duration::from_millis(100);

/// The warning of a request whose look at the connections has not ended in time.
pub(crate) const LATE_LOOK: &str = "the look at the connections before the request has not ended \
                                    within 1s, so it is unknown what the request cuts";

/// Adds [`LATE_LOOK`] to the warnings of a request, if the look before the request was late.
pub(crate) fn add_warning(warnings: String, is_late: bool) -> String {
    if is_late { format!("{warnings}warning: {LATE_LOOK}\n") } else { warnings }
}

#[derive(Default)]
pub(crate) struct Witness(std::sync::Mutex<WitnessState>);

#[derive(Default)]
struct WitnessState {
    is_shutdown: bool,
    /// `None` while nothing is to be stopped, if the kernel sends no messages, and once some are
    /// lost.
    destroyed: Option<Destroyed>,
    /// The sockets of each process, and the connections that the last look has shown and that have
    /// not ended, as the first look at their latest request has shown them.
    known: BTreeMap<ProcessId, (Listeners, BTreeMap<u64, Connection>)>,
    /// The cookies of the connections that have ended. A look that is under way may still show some
    /// of them.
    ended: BTreeSet<u64>,
    /// The ports to which the messages are limited; empty if there is no limit.
    ports: BTreeSet<u16>,
    /// The processes at whose addresses a newer instance may serve. A connection there is theirs
    /// only if a look has shown it.
    succeeded: BTreeSet<ProcessId>,
    /// The processes that owe nobody an answer, because their clients are publishers.
    readers: BTreeSet<ProcessId>,
}

/// Lets the kernel send messages while requests are under way. Requests at the same time share this
/// value.
pub(crate) struct Attention {
    witness: Arc<Witness>,
    /// The number of requests that are over, and how many of them the latest wait has served.
    over: Cell<u64>,
    served: Cell<u64>,
    turn: Mutex<()>,
}

impl Attention {
    pub(crate) fn new(witness: &Arc<Witness>) -> Self {
        let (witness, over, served) = (Arc::clone(witness), Cell::default(), Cell::default());
        Self { witness, over, served, turn: Mutex::default() }
    }

    /// [`Witness::last_endings`] on a thread, after the end of a request; `None` in the shutdown,
    /// whose report has the ends, and if no thread can be started. One wait serves all requests that
    /// were over when it began.
    pub(crate) async fn last_endings(&self) -> Option<Option<Endings>> {
        let number = self.over.get() + 1;
        self.over.set(number);
        let _turn = self.turn.lock().await;
        if self.witness.inner().is_shutdown {
            return None;
        }
        if self.served.get() >= number {
            return Some(Some(Vec::new()));
        }
        let (serves, witness) = (self.over.get(), Arc::clone(&self.witness));
        let endings = begin_at_once(move || witness.last_endings()).ok()?.await;
        self.served.set(serves);
        Some(endings.unwrap_or_default())
    }
}

impl Drop for Attention {
    fn drop(&mut self) {
        let mut inner = self.witness.inner();
        if !inner.is_shutdown {
            *inner = WitnessState::default();
        }
    }
}

/// The time, the process and the kind of each end.
pub(crate) type Endings = Vec<(Time, ProcessId, Ending)>;

impl Witness {
    /// Records that this process owes nobody an answer.
    pub(crate) fn only_reads(&self, process: ProcessId) {
        self.inner().readers.insert(process);
    }

    fn inner(&self) -> MutexGuard<'_, WitnessState> {
        locked(&self.0)
    }

    /// Begins at the beginning of the shutdown or of a request. Returns whether the kernel will
    /// tell.
    pub(crate) fn begin(&self, is_shutdown: bool) -> bool {
        let destroyed = Destroyed::open();
        if let Err(error) = &destroyed {
            tracing::debug!("the kernel does not tell how connections end: {error}");
        }
        let is_told = destroyed.is_ok();
        let mut inner = self.inner();
        // A drain that was requested before the shutdown has already said so.
        let readers = std::mem::take(&mut inner.readers);
        let destroyed = destroyed.ok();
        *inner = WitnessState { is_shutdown, destroyed, readers, ..WitnessState::default() };
        is_told
    }

    /// Handles a look at the connections of a process.
    pub(crate) fn on_look(&self, process: ProcessId, at: &Listeners, seen: &[Connection]) {
        let inner = &mut *self.inner();
        if inner.destroyed.is_some() {
            let (_, before) = inner.known.remove(&process).unwrap_or_default();
            let seen = seen.iter().filter(|one| !inner.ended.contains(&one.cookie));
            // The first look at a request tells more than later looks: an answer that is owed then
            // is not a stream that continues.
            let first = seen.map(|one| {
                let known = before.get(&one.cookie);
                let is_ours = one.is_ours || known.is_some_and(|known| known.is_ours);
                let first = known.filter(|known| known.has_all_of(one)).unwrap_or(one);
                (one.cookie, Connection { is_ours, is_waiting: one.is_waiting, ..*first })
            });
            inner.known.insert(process, (at.clone(), first.collect()));
            let is_missing = at.ports().any(|port| !inner.ports.contains(&port));
            if !inner.ports.is_empty() && is_missing {
                inner.narrow();
            }
        }
    }

    /// Limits the messages to the ports of the processes. Each process has been looked at by now,
    /// or will be looked at before drainit asks it to end or to drain.
    pub(crate) fn narrow(&self) {
        self.inner().narrow();
    }

    /// From now on, a newer instance serves at the addresses of these processes.
    pub(crate) fn on_succeeded(&self, processes: impl IntoIterator<Item = ProcessId>) {
        self.inner().succeeded.extend(processes);
    }

    /// The connections that have ended since the last call; `None` if some are unknown.
    pub(crate) fn endings(&self) -> Option<Endings> {
        self.inner().take()
    }

    /// Like [`Self::endings`], at the end of the shutdown or of a request. Waits at most [`LATE`]
    /// for late messages, and also judges the connections on which only the kernel still sends. At
    /// the end of the shutdown, all processes are gone.
    pub(crate) fn last_endings(&self) -> Option<Endings> {
        let mut endings = self.endings()?;
        let (destroyed, ports, all_are_gone) = {
            let inner = self.inner();
            if inner.open().next().is_none() {
                return Some(endings);
            }
            (inner.destroyed.clone()?, inner.ports.clone(), inner.is_shutdown)
        };
        // A connection that is not in this list has ended, so its message is on the way. The
        // kernel still has to end one that is open: its processes are gone.
        let mut still = still(ports).ok()?;
        let is_kept = |is_open: &bool| *is_open && !all_are_gone;
        let stays = still.iter().filter(|(is_open, _)| !is_open || is_kept(is_open));
        let stays: BTreeSet<_> = stays.map(|(_, one)| one.last.cookie).collect();
        let began = Instant::now();
        while self.inner().open().any(|cookie| !stays.contains(&cookie)) && began.elapsed() < LATE {
            destroyed.wait(LATE.saturating_sub(began.elapsed()));
            endings.extend(self.endings()?);
        }
        let inner = &mut *self.inner();
        let known: BTreeSet<_> = inner.open().collect();
        still.retain(|(is_open, one)| {
            !is_kept(is_open) && (!is_open || known.contains(&one.last.cookie))
        });
        for (is_open, one) in still {
            // One that is still open may also belong to a process that drainit does not see.
            let unless_open = |ending| match ending {
                Ending::Answered => ending,
                _ if is_open => Ending::Unknown,
                _ => ending,
            };
            let judged = inner.judge(&one);
            endings.extend(judged.map(|(at, of, ending)| (at, of, unless_open(ending))));
        }
        let unknown = inner.known.iter().flat_map(|(process, (_, open))| {
            let gone = open.values().filter(|one| !one.is_ours && !stays.contains(&one.cookie));
            gone.map(|_| (crate::os::clock::now(), *process, Ending::Unknown))
        });
        endings.extend(unknown);
        Some(endings)
    }
}

impl WitnessState {
    fn narrow(&mut self) {
        self.ports = self.known.values().flat_map(|(at, _)| at.ports()).collect();
        if let Some(destroyed) = self.destroyed.as_ref().filter(|_| !self.ports.is_empty()) {
            destroyed.only(&self.ports);
        }
    }

    /// The cookies of the connections that have not ended.
    fn open(&self) -> impl Iterator<Item = u64> {
        self.known.values().flat_map(|(_, open)| open.keys().copied())
    }

    fn take(&mut self) -> Option<Endings> {
        if self.known.is_empty() && self.destroyed.is_some() {
            // Only a look says to which process a connection belongs.
            return Some(Vec::new());
        }
        let Some(ended) = self.destroyed.as_ref()?.take() else {
            self.destroyed = None;
            return None;
        };
        Some(ended.iter().filter_map(|one| self.judge(one)).collect())
    }

    /// How a connection has ended; `None` if the connection belongs to no process, or if drainit
    /// was the client.
    fn judge(&mut self, ended: &Ended) -> Option<(Time, ProcessId, Ending)> {
        let cookie = ended.last.cookie;
        // A connection in the list of [`still`] may have ended meanwhile, with a message.
        if !self.ended.insert(cookie) {
            return None;
        }
        let seen = self
            .known
            .iter_mut()
            .find_map(|(process, (_, open))| Some((*process, open.remove(&cookie)?)));
        let mut at = self
            .known
            .iter()
            .filter(|(of, (at, _))| !self.succeeded.contains(of) && at.has(ended.local))
            .map(|(process, _)| *process);
        let (process, is_only) = match seen {
            Some((process, _)) => (process, true),
            None => (at.next()?, at.next().is_none()),
        };
        let before = seen.map(|(_, before)| before);
        let is_ours = ended.last.is_ours || before.is_some_and(|before| before.is_ours);
        let has_left = ended.last.has_left(before.as_ref(), ended.is_remembered);
        let says_goodbye = ended.last.says_goodbye(before.as_ref());
        let before = before.filter(|before| ended.is_reset || before.has_all_of(&ended.last));
        let ending = ended.last.ending(before.as_ref(), ended.is_reset, Counting::default().idle);
        let ending = match ending {
            // Whatever a publisher has sent last was read, or else the server resets the connection.
            Ending::Cut | Ending::Sending | Ending::Unknown if self.readers.contains(&process) => {
                Ending::Answered
            }
            Ending::Cut if has_left => Ending::Left,
            Ending::Cut if says_goodbye => Ending::Unknown,
            ending => ending,
        };
        // Several processes share the address, and no look has shown who had the connection.
        let ending = if is_only { ending } else { Ending::Unknown };
        (!is_ours).then_some((ended.at, process, ending))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_that_end_at_the_same_time_share_a_wait_for_late_messages() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        tokio::task::LocalSet::new().block_on(&runtime, async {
            let attention = std::rc::Rc::new(Attention::new(&Arc::default()));
            let request = |_| {
                let attention = std::rc::Rc::clone(&attention);
                tokio::task::spawn_local(async move { attention.last_endings().await.unwrap() })
            };
            // No wait begins before all requests are over.
            let turn = attention.turn.lock().await;
            let requests: Vec<_> = (0..50).map(request).collect();
            while attention.over.get() < 50 {
                tokio::task::yield_now().await;
            }
            drop(turn);
            let mut waits = 0;
            for request in requests.into_iter().chain([request(50)]) {
                // Without the kernel's messages, a wait finds out nothing.
                waits += usize::from(request.await.unwrap().is_none());
            }
            assert_eq!(waits, 2, "of the first requests, and of the last");
        });
    }
}
