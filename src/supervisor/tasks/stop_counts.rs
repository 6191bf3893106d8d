//! Counts the connections of each process in a shutdown, so that the report can say how many
//! connections each stop has cut. The counts begin when the shutdown begins. The counts of a
//! process end when the process ends, or when its drain begins to count the connections. The first
//! stop signal waits for the first look at the connections, but only for the short time that the
//! core allows. Nothing waits for later looks.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
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
    ahead: RefCell<Ahead>,
    is_looking_ahead: Cell<bool>,
    /// Whether an instance has loaded during the look ahead that is under way.
    is_ahead_due: Cell<bool>,
    /// Called if another look ahead is due.
    ahead_is_due: Tell<()>,
}

/// The listening sockets of all instances, from a search that began once the instances had loaded
/// their programs. Only a search of `/proc` shows who has a socket open, and takes longer the more
/// processes there are. If nobody has begun to listen since this search, the first look of a
/// shutdown needs no search.
#[derive(Default)]
struct Ahead {
    of_each: BTreeMap<ProcessId, (InstancePids, Listeners)>,
    /// The inodes of the listening sockets of all processes; `None` before the first search.
    listening: Option<Arc<BTreeSet<u32>>>,
}

impl Ahead {
    /// The listeners of the instance of this process that has these main processes.
    fn of(&self, process: ProcessId, pids: &InstancePids) -> Option<&Listeners> {
        let (of, listeners) = self.of_each.get(&process)?;
        Arc::ptr_eq(of, pids).then_some(listeners)
    }
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
    /// Whether the listeners come from a search of which the journal does not know yet.
    is_found: bool,
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
        let is_searched = listening.is_none();
        let known = watched.iter().map(|it| (it.process, (&it.kin, &it.listeners))).collect();
        if let Ok(mut found) = Listeners::of_each(&known, &running.all, listening) {
            for it in &mut *watched {
                if let Some(found) = found.remove(&it.process) {
                    (it.listeners, it.is_found) = (found, true);
                }
                // A process that is ending has perhaps already closed its listeners.
                if it.is_found && it.listeners.is_nothing() && !it.is_closing() {
                    locked(&self.seen).push((clock::now(), it.process, None));
                }
            }
        }
        // A socket that another process has got since the look ahead does not look new, so the next
        // look searches. No signal waits for that look.
        if watched.iter_mut().map(|it| take(&mut it.is_found)).fold(false, |any, it| any | it) {
            *listening = listening.take().filter(|_| is_searched);
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
    pub(crate) fn new(tell: Tell<bool>, ahead_is_due: Tell<()>) -> Rc<Self> {
        Rc::new(Self {
            tell,
            ahead_is_due,
            ahead: RefCell::default(),
            is_looking_ahead: Cell::default(),
            is_ahead_due: Cell::default(),
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
        let counted = watched.0.iter().map(|it| it.process).collect();
        *locked(&self.looks.watched) = watched;
        let counts = Rc::clone(self);
        self.is_counting.set(true);
        local_task::spawn(async move { counts.watch().await });
        counted
    }

    /// The instances to look at, with what the look ahead has found, if that is known of all of them.
    fn to_watch(&self, given: impl Fn(ProcessId) -> Option<BTreeSet<u32>>) -> Watched {
        let (pids, ahead) = (self.pids.now(), self.ahead.borrow());
        let mut watched = Vec::new();
        let mut is_known = ahead.listening.is_some();
        for (&process, kin) in &pids.of_each {
            let Some(given) = given(process) else { continue };
            let found = ahead.of(process, kin);
            is_known &= found.is_some();
            watched.push(WatchedInstance {
                process,
                kin: Arc::clone(kin),
                listeners: found.cloned().unwrap_or_else(|| Listeners::of_inodes(given)),
                is_found: false,
                answers: Answers::new(Counting::default().awaits()),
            });
        }
        for it in &mut watched {
            it.is_found = is_known;
            it.listeners.set_known(&pids.all);
            it.listeners.set_shared(&pids.shared);
        }
        (watched, ahead.listening.clone().filter(|_| is_known))
    }

    /// Searches for the listening sockets of all instances on a thread of its own, so that the first
    /// look of a shutdown needs no search. If a search is under way, another one follows. Call
    /// this when an instance has loaded its program. `given` is as for [`Self::on_shutdown`].
    pub(crate) fn look_ahead(self: &Rc<Self>, given: impl Fn(ProcessId) -> Option<BTreeSet<u32>>) {
        if self.is_counting.get() || self.is_looking_ahead.get() {
            return self.is_ahead_due.set(true);
        }
        let pids = self.pids.now();
        let of_given = |(process, kin): (&ProcessId, &InstancePids)| {
            Some((*process, (Arc::clone(kin), Listeners::of_inodes(given(*process)?))))
        };
        let before: BTreeMap<_, _> = pids.of_each.iter().filter_map(of_given).collect();
        let search = move || {
            let each = before.iter().map(|(process, (kin, given))| (*process, (kin, given)));
            let mut listening = None;
            let found = Listeners::of_each(&each.collect(), &pids.all, &mut listening).ok()?;
            let of_each = found.into_iter().filter_map(|(process, found)| {
                Some((process, (Arc::clone(&before.get(&process)?.0), found)))
            });
            Some(Ahead { of_each: of_each.collect(), listening })
        };
        self.is_looking_ahead.set(true);
        let counts = Rc::clone(self);
        local_task::spawn(async move {
            // Without an answer, the first look of a shutdown searches.
            if let Ok(Some(ahead)) = on_thread::on_thread(Duration::MAX, search).await {
                counts.ahead.replace(ahead);
            }
            counts.is_looking_ahead.set(false);
            if counts.is_ahead_due.take() {
                (counts.ahead_is_due)(());
            }
        });
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
        // Nobody waits long for this look, so it always searches.
        let watched = Mutex::new((self.to_watch(given).0, None));
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

    // holds: S980
    #[test]
    fn the_first_look_searches_only_for_sockets_that_nobody_has_seen_before() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        tokio::task::LocalSet::new().block_on(&runtime, async {
            let due = Rc::new(Notify::new());
            let is_due = Rc::clone(&due);
            let counts = StopCounts::new(Rc::new(|_| ()), Rc::new(move |()| is_due.notify_one()));
            let given = |_| Some(BTreeSet::new());
            let (web, other) = (ProcessId(0), ProcessId(1));
            let own = Arc::new(BTreeSet::from([std::process::id().cast_signed()]));
            counts.pids().on_started(web, Arc::clone(&own), BTreeSet::new());
            let _listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            let is_known = || counts.to_watch(given).1.is_some();
            assert!(!is_known(), "nobody has searched yet");
            counts.look_ahead(given);
            counts.look_ahead(given);
            due.notified().await;
            assert!(is_known());
            // The look counts the connections to what the search has found.
            let looks = Looks { watched: Mutex::new(counts.to_watch(given)), ..Looks::default() };
            assert!(looks.look(&counts.pids().now()));
            assert!(matches!(locked(&looks.seen)[..], [(_, ProcessId(0), Some(_))]));
            // The next look searches, and those after it no longer do.
            assert!(locked(&looks.watched).1.is_none());
            looks.look(&counts.pids().now());
            assert!(locked(&looks.watched).1.is_some());
            // Another main process, or another instance, is unknown.
            counts.pids().set(web, Arc::new(BTreeSet::clone(&own)));
            assert!(!is_known());
            counts.pids().set(web, own);
            counts.pids().on_started(other, Arc::default(), BTreeSet::new());
            assert!(!is_known());
        });
    }

    // holds: S799
    #[tokio::test]
    async fn only_a_request_whose_own_look_is_late_has_an_unknown_cost() {
        let told: Rc<RefCell<Vec<bool>>> = Rc::default();
        let telling = Rc::clone(&told);
        let tell: Tell<bool> = Rc::new(move |is_first| telling.borrow_mut().push(is_first));
        let counts = StopCounts::new(tell, Rc::new(|()| ()));
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
