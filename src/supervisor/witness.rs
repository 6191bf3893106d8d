//! Finds out how each connection of a process has ended in the shutdown. The kernel sends a message
//! about each connection that ends. The looks at the open connections say to which process a
//! connection belongs.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::config::Counting;
use crate::core::connections::answers::Connection;
use crate::core::connections::endings::Ending;
use crate::os::connections::Listeners;
use crate::os::destroyed::{Destroyed, Ended, still};
use crate::types::{ProcessId, Time};

/// At the end of the shutdown, drainit waits for messages of the kernel for at most this long. The
/// kernel sends them from a thread of its own, within a millisecond if a processor is free.
const LATE: Duration = Duration::from_millis(100);

#[derive(Default)]
pub(crate) struct Witness(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    /// `None` before the shutdown, if the kernel sends no messages, and once some are lost.
    destroyed: Option<Destroyed>,
    /// The sockets of each process, and the connections that the last look has shown and that have
    /// not ended, as the first look at their latest request has shown them.
    known: BTreeMap<ProcessId, (Listeners, BTreeMap<u64, Connection>)>,
    /// The cookies of the connections that have ended. A look that is under way may still show some
    /// of them.
    ended: BTreeSet<u64>,
    /// The ports to which the messages are limited; empty if there is no limit.
    ports: BTreeSet<u16>,
}

/// The time, the process and the kind of each end.
pub(crate) type Endings = Vec<(Time, ProcessId, Ending)>;

impl Witness {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins at the beginning of the shutdown. Returns whether the kernel will tell.
    pub(crate) fn begins(&self) -> bool {
        let destroyed = Destroyed::open();
        if let Err(error) = &destroyed {
            tracing::debug!("the kernel does not tell how connections end: {error}");
        }
        let inner = &mut *self.inner();
        inner.destroyed = destroyed.ok();
        inner.destroyed.is_some()
    }

    /// Handles a look at the connections of a process.
    pub(crate) fn looked(&self, process: ProcessId, at: &Listeners, seen: &[Connection]) {
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

    /// The connections that have ended since the last call; `None` if some are unknown. At the end
    /// of the shutdown (`is_last`), waits for late messages, and also judges the connections on
    /// which only the kernel still sends. This waits for at most [`LATE`].
    pub(crate) fn endings(&self, is_last: bool) -> Option<Endings> {
        let inner = &mut *self.inner();
        if inner.known.is_empty() && inner.destroyed.is_some() {
            // Only a look says to which process a connection belongs.
            return Some(Vec::new());
        }
        let mut endings = inner.take()?;
        if is_last && inner.known.values().any(|(_, open)| !open.is_empty()) {
            // A connection that is not in this list has ended, so its message is on the way. The
            // kernel still has to end one that is open: its processes are gone.
            let still = still(inner.ports.clone()).ok()?;
            let flushing = still.iter().filter(|(is_open, _)| !is_open);
            let flushing: BTreeSet<_> = flushing.map(|(_, one)| one.last.cookie).collect();
            let began = Instant::now();
            while inner.open().any(|cookie| !flushing.contains(&cookie)) && began.elapsed() < LATE {
                inner.destroyed.as_ref()?.wait(LATE.saturating_sub(began.elapsed()));
                endings.extend(inner.take()?);
            }
            let known: BTreeSet<_> = inner.open().collect();
            for (is_open, one) in still {
                if is_open && !known.contains(&one.last.cookie) {
                    continue;
                }
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
                let gone = open.values().filter(|one| !one.is_ours);
                gone.map(|_| (crate::os::clock::now(), *process, Ending::Unknown))
            });
            endings.extend(unknown);
        }
        Some(endings)
    }
}

impl Inner {
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
            .filter(|(_, (at, _))| at.has(ended.local))
            .map(|(process, _)| *process);
        let (process, is_only) = match seen {
            Some((process, _)) => (process, true),
            None => (at.next()?, at.next().is_none()),
        };
        let before = seen.map(|(_, before)| before);
        let is_ours = ended.is_ours || before.is_some_and(|before| before.is_ours);
        let before = before.filter(|before| ended.is_reset || before.has_all_of(&ended.last));
        let ending = ended.last.ending(before.as_ref(), ended.is_reset, Counting::default().idle);
        // Several processes share the address, and no look has shown who had the connection.
        let ending = if is_only { ending } else { Ending::Unknown };
        (!is_ours).then_some((ended.at, process, ending))
    }
}
