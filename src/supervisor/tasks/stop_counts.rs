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

use tokio::sync::{Notify, watch};
use tokio::time::{sleep, timeout};

use crate::core::connections::answers::{Answers, Counts};
use crate::core::traffic::{FACTOR, LONGEST, pause_after};
use crate::keys::Counting;
use crate::local_task;
use crate::os::clock;
use crate::os::descendants::{InstancePids, is_closing};
use crate::os::on_thread::locked;
use crate::supervisor::main_pids::Pids;
use crate::supervisor::tasks::Tell;
use crate::supervisor::tasks::looker::{Looked, Looker, Place, Tick, Wish};
use crate::supervisor::tasks::witness::LATE_LOOK;
use crate::types::{ProcessId, Time};

/// A request of an operator waits at most this long for the look at the connections: a stop must
/// not hang with a look, which reads `/proc` of each process. A look at 15,000 connections took
/// 0.17 s on an idle machine.
const LONGEST_LOOK: Duration = Duration::from_secs(1);

/// The counts of all processes.
pub(crate) struct StopCounts {
    /// Gets a call after each look, with whether this was the first look of the shutdown.
    tell: Tell<bool>,
    looker: Rc<Looker>,
    looks: Arc<Looks>,
    /// The instances that run, without those whose drain has begun to count their connections.
    counted: RefCell<BTreeSet<ProcessId>>,
    /// The beginning of the shutdown.
    began: Cell<Time>,
    has_looked: Cell<bool>,
    /// The latest look at the connections; `None` once [`Self::watch`] waits for this look.
    under_way: Cell<Option<Looked<bool>>>,
    is_looking: Cell<bool>,
    changed: Notify,
    is_counting: Cell<bool>,
    /// The latest look before a request. Its sender is dropped when the look is over.
    before_request: RefCell<Option<watch::Receiver<()>>>,
}

/// The result of a look that began at this time: the connections of a process. `None` if the process
/// listens on nothing; the time is then that of the end of the look.
pub(crate) type Seen = (Time, ProcessId, Option<Counts>);

/// The data that the thread of a look shares with the event loop.
#[derive(Default)]
struct Looks {
    /// After the beginning of the shutdown, only the thread of a look takes this lock.
    watched: Mutex<BTreeMap<ProcessId, WatchedInstance>>,
    /// The results that the journal has not got yet. The lock is held briefly.
    seen: Mutex<Vec<Seen>>,
}

struct WatchedInstance {
    kin: InstancePids,
    /// The beginning of the last search of which the journal knows.
    searched: Option<Time>,
    answers: Answers,
}

impl WatchedInstance {
    fn is_closing(&self) -> bool {
        self.kin.iter().all(|pid| is_closing(*pid))
    }
}

impl Looks {
    fn watch(&self, processes: &BTreeSet<ProcessId>) {
        let instance = || WatchedInstance {
            kin: Arc::default(),
            searched: None,
            answers: Answers::new(Counting::default().awaits()),
        };
        *locked(&self.watched) = processes.iter().map(|process| (*process, instance())).collect();
    }

    /// Handles a look at the processes in `counted`; `running` has the pids of all instances.
    /// Returns `false` if no instance is left to look at, or if the connections cannot be listed.
    fn see(&self, tick: &Tick, counted: &BTreeSet<ProcessId>, running: &Pids) -> bool {
        let watched = &mut *locked(&self.watched);
        watched.retain(|process, it| {
            // The pids are taken again, because the instance may have a new main process.
            it.kin = running.of(*process);
            counted.contains(process)
        });
        watched.retain(|process, it| {
            let (place, is_closing) = (Place::all_of(*process), it.is_closing());
            let Some((listeners, searched)) = tick.listeners(&place) else { return true };
            if listeners.is_empty() {
                let is_news = it.searched.replace(searched) < Some(searched);
                // A process that is ending has perhaps already closed its listeners.
                if is_news && listeners.is_nothing() && !is_closing {
                    locked(&self.seen).push((clock::now(), *process, None));
                }
                return true;
            }
            if let (false, Ok(connections)) = (is_closing, tick.connections(&place)) {
                let counts = it.answers.looked(&connections);
                locked(&self.seen).push((tick.began, *process, Some(counts)));
            }
            !is_closing
        });
        tick.narrow_witness();
        tick.open().is_ok() && !watched.is_empty()
    }
}

impl StopCounts {
    pub(crate) fn new(tell: Tell<bool>, looker: Rc<Looker>) -> Rc<Self> {
        Rc::new(Self {
            tell,
            looker,
            looks: Arc::default(),
            counted: RefCell::default(),
            began: Cell::default(),
            has_looked: Cell::default(),
            under_way: Cell::default(),
            is_looking: Cell::default(),
            changed: Notify::new(),
            is_counting: Cell::default(),
            before_request: RefCell::default(),
        })
    }

    /// Whether the connections are counted, as in the shutdown.
    pub(crate) fn is_counting(&self) -> bool {
        self.is_counting.get()
    }

    /// Handles the beginning of a drain that counts the connections of its process.
    pub(crate) fn on_drain_counts(&self, process: ProcessId) {
        self.counted.borrow_mut().remove(&process);
    }

    /// Begins to count at the beginning of the shutdown. The first look comes after the other
    /// actions of this step of the event loop. The first look thus leaves out processes whose
    /// drains begin to count in this step. Tells the end of each look, and also if the
    /// first look cannot begin. `is_drained` returns whether the drain of a process counts the
    /// connections. Returns the processes to count.
    pub(crate) fn on_shutdown(
        self: &Rc<Self>,
        is_drained: impl Fn(ProcessId) -> bool,
    ) -> BTreeSet<ProcessId> {
        let running = self.looker.pids().now();
        let counted = running.of_each.keys().copied().filter(|process| !is_drained(*process));
        let counted: BTreeSet<_> = counted.collect();
        self.looks.watch(&counted);
        self.counted.replace(counted.clone());
        let counts = Rc::clone(self);
        self.is_counting.set(true);
        self.began.set(clock::now());
        local_task::spawn(async move { counts.watch().await });
        counted
    }

    /// Looks once at the connections of all instances, before a request that may stop some of them.
    /// Requests at the same time share a look. Waits at most [`LONGEST_LOOK`], and tells
    /// the end. Returns whether the look was late, so that it is unknown what the request cuts.
    pub(crate) fn before_request(&self) -> Pin<Box<dyn Future<Output = bool>>> {
        let latest = self.before_request.borrow().clone();
        let under_way = latest.filter(|over| over.has_changed().is_ok());
        let tell = Rc::clone(&self.tell);
        let mut over = under_way.unwrap_or_else(|| self.look_before_request());
        Box::pin(async move {
            let is_late = timeout(LONGEST_LOOK, over.changed()).await.is_err();
            if is_late {
                tracing::warn!("{LATE_LOOK}; it is carried out all the same");
            }
            tell(false);
            is_late
        })
    }

    fn look_before_request(&self) -> watch::Receiver<()> {
        let (running, all) = (self.looker.pids().now(), Arc::clone(&self.looks));
        let counted: BTreeSet<_> = running.of_each.keys().copied().collect();
        let looks = Looks::default();
        looks.watch(&counted);
        let (is_over, over) = watch::channel(());
        // Nobody waits long for this look, so it always searches.
        let wish = wish(&counted, clock::now());
        // If no thread can be started, the look is over at once.
        drop(self.looker.look_now(wish, move |tick| {
            looks.see(tick, &counted, &running);
            locked(&all.seen).append(&mut *locked(&looks.seen));
            drop(is_over);
        }));
        self.before_request.replace(Some(over.clone()));
        over
    }

    /// Begins one more look at the connections. Call this function right before a stop signal.
    pub(crate) fn look_before_stop(&self) {
        if self.is_counting.get() {
            self.look(true);
        }
    }

    /// Plans a look if no look is under way, or begins it at once, because a stop signal follows. The
    /// first look and a look before a stop signal search only if somebody has begun to listen, or
    /// if a process has started, since the last search. A socket that another process has got since
    /// then does not look new, so the next other look searches, if nobody has done so since the
    /// beginning of the shutdown.
    fn look(&self, is_at_once: bool) {
        if self.is_looking.replace(true) {
            return;
        }
        let (looks, running) = (Arc::clone(&self.looks), self.looker.pids().now());
        let mut counted = self.counted.borrow_mut();
        counted.retain(|process| running.of_each.contains_key(process));
        let is_first = !self.has_looked.replace(true);
        let since = if is_first || is_at_once { Time::default() } else { self.began.get() };
        let (wish, counted) = (wish(&counted, since), counted.clone());
        let see = move |tick: &Tick| looks.see(tick, &counted, &running);
        let look = match is_at_once {
            true => self.looker.look_now(wish, see),
            false => self.looker.look(wish, see),
        };
        self.under_way.replace(Some(look));
        self.changed.notify_one();
    }

    /// Looks again and again, until [`Looks::see`] returns `false`.
    async fn watch(&self) {
        let (mut ended, mut pause, mut is_first) = (clock::now(), Duration::ZERO, true);
        self.look(false);
        while self.is_counting.get() {
            let Some(look) = self.under_way.take() else {
                let due = ended + pause;
                tokio::select! {
                    () = self.changed.notified() => {}
                    () = self.looker.planned(Some(ended + pause / 2)) => self.look(false),
                    () = sleep(due.since(clock::now())) => self.look(false),
                }
                continue;
            };
            let began = clock::now();
            let is_any = look.await.unwrap_or_default();
            self.is_looking.set(false);
            (self.tell)(take(&mut is_first));
            ended = clock::now();
            let took = ended.since(began);
            pause = pause_after(took, LONGEST, FACTOR);
            self.is_counting.set(is_any);
        }
    }

    /// The results of the looks since the last call.
    pub(crate) fn take_counts(&self) -> Vec<Seen> {
        take(&mut *locked(&self.looks.seen))
    }
}

/// The wish to look at all sockets of these processes.
fn wish(processes: &BTreeSet<ProcessId>, since: Time) -> Wish {
    let places = processes.iter().map(|process| Place::all_of(*process)).collect();
    Wish { places, since, must_find: false }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;
    use crate::core::event::Request;
    use crate::supervisor::requests::Requests;
    use crate::supervisor::tasks::witness::add_warning;

    // holds: S980
    #[test]
    fn the_first_look_searches_only_for_sockets_that_nobody_has_seen_before() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        tokio::task::LocalSet::new().block_on(&runtime, async {
            let looker = Rc::<Looker>::default();
            let (web, other) = (ProcessId(0), ProcessId(1));
            let own = Arc::new(BTreeSet::from([std::process::id().cast_signed()]));
            looker.on_started(web, Arc::clone(&own), BTreeSet::new());
            let _listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            let looks = Arc::<Looks>::default();
            looks.watch(&[web].into());
            // Returns whether the listeners come from a search since `since`.
            let look = async |since| {
                let (looks, running) = (Arc::clone(&looks), looker.pids().now());
                let counted: BTreeSet<_> = running.of_each.keys().copied().collect();
                let wish = wish(&counted, since);
                let see = move |tick: &Tick| {
                    assert!(looks.see(tick, &counted, &running));
                    counted.iter().map(|it| tick.listeners(&Place::all_of(*it)).unwrap().1).max()
                };
                looker.look_now(wish, see).await.unwrap().unwrap()
            };
            let [first, second] = [looker.search(), looker.search()];
            let (first, second) = (first.await.unwrap(), second.await.unwrap());
            assert!(Arc::ptr_eq(&first, &second), "who asks at the same time shares a search");
            let searched = look(Time::default()).await;
            // The look counts the connections to what the search has found.
            assert!(matches!(locked(&looks.seen)[..], [(_, ProcessId(0), Some(_))]));
            assert_eq!(look(Time::default()).await, searched);
            // The next look searches, and those after it no longer do.
            let began = clock::now();
            let second = look(began).await;
            assert!(second >= began);
            assert_eq!(look(began).await, second);
            // Another main process, or another instance, is unknown.
            looker.pids().set(web, Arc::new([1].into()));
            let again = look(began).await;
            looker.on_started(other, Arc::default(), BTreeSet::new());
            let newest = look(began).await;
            assert!(newest > again && again > second);
            looker.on_started(web, own, BTreeSet::new());
            assert!(look(began).await > newest);
        });
    }

    // holds: S799
    #[tokio::test]
    async fn only_a_request_whose_own_look_is_late_has_an_unknown_cost() {
        let told: Rc<RefCell<Vec<bool>>> = Rc::default();
        let telling = Rc::clone(&told);
        let tell: Tell<bool> = Rc::new(move |is_first| telling.borrow_mut().push(is_first));
        let counts = StopCounts::new(tell, Rc::default());
        // This look ends only with its sender.
        let (hanging, over) = watch::channel(());
        counts.before_request.replace(Some(over));
        let mut requests = Requests::default();
        let [(reply, first), (other_reply, second)] = [(); 2].map(|()| oneshot::channel());
        let is_late = counts.before_request().await;
        requests.add("web", Request::Restart, reply, is_late);
        assert_eq!(*told.borrow(), [false]);
        drop(hanging);
        let is_late = counts.before_request().await;
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
