//! Counts the connections of each process in a shutdown, so that the report can say how many
//! connections each stop has cut. The counts begin when the shutdown begins. The counts of a
//! process end when the process ends, or when its drain begins to count the connections. The first
//! stop signal waits for the first look at the connections, but only for the short time that the
//! core allows. Nothing waits for later looks.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::mem::take;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{Notify, oneshot, watch};
use tokio::time::timeout;

use crate::core::connections::answers::{Answers, Counts};
use crate::core::traffic::{FACTOR, LONGEST, pause_after};
use crate::keys::Counting;
use crate::local_task;
use crate::os::clock;
use crate::os::connections::{Listeners, Open};
use crate::os::descendants::InstancePids;
use crate::os::descendants::is_closing;
use crate::os::on_thread::{self, locked};
use crate::supervisor::main_pids::{MainPids, Pids};
use crate::supervisor::tasks::Tell;
use crate::supervisor::tasks::witness::{LATE_LOOK, Witness};
use crate::types::{ProcessId, Time};

/// A request of an operator waits at most this long for the look at the connections: a stop must
/// not hang with a look, which reads `/proc` of each process. A look at 15,000 connections took
/// 0.17 s on an idle machine.
const LONGEST_LOOK: Duration = Duration::from_secs(1);

/// The counts of all processes. One look serves all of them.
pub(crate) struct StopCounts {
    /// Gets a call after each look, with whether this was the first look of the shutdown.
    tell: Tell<bool>,
    pids: Rc<MainPids>,
    looks: Arc<Looks>,
    /// The latest look at the connections; `None` once [`Self::watch`] waits for this look.
    under_way: Cell<Option<oneshot::Receiver<bool>>>,
    is_looking: Cell<bool>,
    changed: Notify,
    is_counting: Cell<bool>,
    /// The latest look before a request. Its sender is dropped when the look is over.
    before_request: RefCell<Option<watch::Receiver<()>>>,
}

/// The result of a look that began at this time: the connections of a process. `None` if the process
/// listens on nothing; the time is then that of the end of the look.
pub(crate) type Seen = (Time, ProcessId, Option<Counts>);

/// The data that the thread of a look shares with the event loop. The event loop takes only locks
/// that are held briefly.
#[derive(Default)]
struct Looks {
    /// The instances that run, and all listening sockets of the last look. After the beginning of
    /// the shutdown, only the thread of a look takes this lock.
    watched: Mutex<Watched>,
    /// The instances whose drain has begun to count their connections.
    drained: Mutex<Vec<ProcessId>>,
    /// The results that the journal has not got yet.
    seen: Mutex<Vec<Seen>>,
    witness: Arc<Witness>,
}

type Watched = (Vec<WatchedInstance>, Option<Arc<BTreeSet<u32>>>);

struct WatchedInstance {
    process: ProcessId,
    kin: InstancePids,
    /// The listeners of the process. Empty while nobody listens.
    listeners: Listeners,
    answers: Answers,
}

impl WatchedInstance {
    fn is_closing(&self) -> bool {
        self.kin.iter().all(|pid| is_closing(*pid))
    }
}

impl Looks {
    /// Looks at the connections once; `running` has the pids of the instances that run. Returns
    /// `false` if no instance is left to look at, or if the connections cannot be listed.
    fn look(&self, running: &Pids) -> bool {
        let (watched, listening) = &mut *locked(&self.watched);
        let drained = take(&mut *locked(&self.drained));
        watched.retain_mut(|it| {
            // The pids are taken again, because the instance may have a new main process.
            let kin = running.of_each.get(&it.process).filter(|_| !drained.contains(&it.process));
            kin.inspect(|kin| it.kin = Arc::clone(kin)).is_some()
        });
        if watched.is_empty() {
            return false;
        }
        let known = watched.iter().map(|it| (it.process, (&it.kin, &it.listeners))).collect();
        let mut found = Listeners::of_each(&known, &running.all, listening).unwrap_or_default();
        for it in &mut *watched {
            let found = found.remove(&it.process);
            let is_nothing = found.as_ref().is_some_and(Listeners::is_nothing);
            it.listeners = found.unwrap_or(take(&mut it.listeners));
            // A process that is ending has perhaps already closed its listeners.
            if is_nothing && !it.is_closing() {
                locked(&self.seen).push((clock::now(), it.process, None));
            }
        }
        let listens = |it: &&WatchedInstance| !it.listeners.is_empty();
        if !watched.iter().any(|it| listens(&it)) {
            return !watched.is_empty();
        }
        let began = clock::now();
        let open = Open::now(watched.iter().filter(listens).map(|it| &it.listeners));
        let Ok(open) = open else { return false };
        watched.retain_mut(|it| {
            if it.listeners.is_empty() {
                return true;
            }
            let is_closing = it.is_closing();
            if let (false, Ok(connections)) = (is_closing, open.of(&it.listeners)) {
                let counts = it.answers.looked(&connections);
                self.witness.on_look(it.process, &it.listeners, &connections);
                locked(&self.seen).push((began, it.process, Some(counts)));
            }
            !is_closing
        });
        self.witness.narrow();
        !watched.is_empty()
    }
}

impl StopCounts {
    pub(crate) fn new(tell: Tell<bool>) -> Rc<Self> {
        Rc::new(Self {
            tell,
            pids: Rc::default(),
            looks: Arc::default(),
            under_way: Cell::default(),
            is_looking: Cell::default(),
            changed: Notify::new(),
            is_counting: Cell::default(),
            before_request: RefCell::default(),
        })
    }

    /// The main processes of all instances. Every new main process must be set here.
    pub(crate) fn pids(&self) -> &Rc<MainPids> {
        &self.pids
    }

    /// Finds out how the connections end.
    pub(crate) fn witness(&self) -> &Arc<Witness> {
        &self.looks.witness
    }

    /// Handles the beginning of a drain that counts the connections of its process.
    pub(crate) fn on_drain_counts(&self, process: ProcessId) {
        if self.is_counting.get() {
            locked(&self.looks.drained).push(process);
        }
    }

    /// Begins to count at the beginning of the shutdown. The first look comes after the other
    /// actions of this step of the event loop. The first look thus leaves out processes whose
    /// drains begin to count in this step. Tells the end of each look, and also if the
    /// first look cannot begin. `given` returns the inodes of the sockets that drainit holds
    /// for a process; `None` if the drain of the process counts the connections. Returns the
    /// processes to count.
    pub(crate) fn on_shutdown(
        self: &Rc<Self>,
        given: impl Fn(ProcessId) -> Option<BTreeSet<u32>>,
    ) -> Vec<ProcessId> {
        let watched = self.to_watch(given);
        let counted = watched.iter().map(|it| it.process).collect();
        *locked(&self.looks.watched) = (watched, None);
        let counts = Rc::clone(self);
        self.is_counting.set(true);
        local_task::spawn(async move { counts.watch().await });
        counted
    }

    fn to_watch(&self, given: impl Fn(ProcessId) -> Option<BTreeSet<u32>>) -> Vec<WatchedInstance> {
        let pids = self.pids.now();
        let idle = Counting::default().idle;
        let watched = pids.of_each.iter().filter_map(|(process, kin)| {
            let (mut listeners, answers) =
                (Listeners::of_inodes(given(*process)?), Answers::new(idle));
            listeners.set_shared(&pids.shared);
            Some(WatchedInstance { process: *process, kin: Arc::clone(kin), listeners, answers })
        });
        watched.collect()
    }

    /// Looks once at the connections of all instances, before a request that may stop some of them.
    /// Requests at the same time share a look. Waits at most [`LONGEST_LOOK`], and tells
    /// the end. Returns whether the look was late, so that it is unknown what the request cuts.
    /// `given` is as for [`Self::on_shutdown`].
    pub(crate) fn before_request(
        &self,
        given: impl Fn(ProcessId) -> Option<BTreeSet<u32>>,
    ) -> Pin<Box<dyn Future<Output = bool>>> {
        let latest = self.before_request.borrow().clone();
        let under_way = latest.filter(|over| over.has_changed().is_ok());
        let tell = Rc::clone(&self.tell);
        let mut over = under_way.unwrap_or_else(|| self.look_before_request(given));
        Box::pin(async move {
            let is_late = timeout(LONGEST_LOOK, over.changed()).await.is_err();
            if is_late {
                tracing::warn!("{LATE_LOOK}; it is carried out all the same");
            }
            tell(false);
            is_late
        })
    }

    fn look_before_request(
        &self,
        given: impl Fn(ProcessId) -> Option<BTreeSet<u32>>,
    ) -> watch::Receiver<()> {
        let (running, all) = (self.pids.now(), Arc::clone(&self.looks));
        let watched = Mutex::new((self.to_watch(given), None));
        let looks = Looks { watched, witness: Arc::clone(self.witness()), ..Looks::default() };
        let (is_over, over) = watch::channel(());
        let look = move || {
            looks.look(&running);
            locked(&all.seen).append(&mut *locked(&looks.seen));
            drop(is_over);
        };
        // If no thread can be started, the look is over at once.
        let _ = on_thread::begin_at_once(look);
        self.before_request.replace(Some(over.clone()));
        over
    }

    /// Begins one more look at the connections. Call this function right before a stop signal.
    pub(crate) fn look_before_stop(&self) {
        if self.is_counting.get() {
            self.look();
        }
    }

    /// Begins a look if no look is under way.
    fn look(&self) {
        if self.is_looking.replace(true) {
            return;
        }
        let (looks, running) = (Arc::clone(&self.looks), self.pids.now());
        let look = on_thread::begin_at_once(move || looks.look(&running)).ok();
        self.is_looking.set(look.is_some());
        self.under_way.replace(look);
        self.changed.notify_one();
    }

    /// Looks again and again, until [`Looks::look`] returns `false`.
    async fn watch(&self) {
        let mut pause = Duration::ZERO;
        let mut is_first = true;
        self.look();
        while self.is_counting.get() {
            let Some(look) = self.under_way.take() else {
                if take(&mut is_first) {
                    (self.tell)(true);
                }
                if timeout(pause, self.changed.notified()).await.is_err() {
                    self.look();
                }
                continue;
            };
            let began = clock::now();
            let is_any = look.await.unwrap_or_default();
            self.is_looking.set(false);
            (self.tell)(take(&mut is_first));
            let took = clock::now().since(began);
            pause = pause_after(took, LONGEST, FACTOR);
            self.is_counting.set(is_any);
        }
    }

    /// The results of the looks since the last call.
    pub(crate) fn take_counts(&self) -> Vec<Seen> {
        take(&mut *locked(&self.looks.seen))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::event::Request;
    use crate::supervisor::requests::Requests;
    use crate::supervisor::tasks::witness::add_warning;

    // holds: S799
    #[tokio::test]
    async fn only_a_request_whose_own_look_is_late_has_an_unknown_cost() {
        let told: Rc<RefCell<Vec<bool>>> = Rc::default();
        let telling = Rc::clone(&told);
        let counts = StopCounts::new(Rc::new(move |is_first| telling.borrow_mut().push(is_first)));
        // This look ends only with its sender.
        let (hanging, over) = watch::channel(());
        counts.before_request.replace(Some(over));
        let mut requests = Requests::default();
        let [(reply, first), (other_reply, second)] = [(); 2].map(|()| oneshot::channel());
        let is_late = counts.before_request(|_| None).await;
        requests.add("web", Request::Restart, reply, is_late);
        assert_eq!(*told.borrow(), [false]);
        drop(hanging);
        let is_late = counts.before_request(|_| None).await;
        requests.add("router", Request::Restart, other_reply, is_late);
        // The second look was not late. This does not change the answer to the first request.
        let mut answers = Vec::new();
        for (name, answer) in [("web", first), ("router", second)] {
            requests.answer(name, Request::Restart, &Ok(()));
            let is_late = answer.await.unwrap().unwrap();
            answers.push(add_warning(String::new(), is_late));
        }
        assert_eq!(answers, [format!("warning: {LATE_LOOK}\n"), String::new()]);
    }
}
