//! Looks at the sockets of all processes, for everybody who asks: the drains, the counts of stops,
//! the witness of ends, the checks before a drain. No other file of the program lists sockets. One
//! look serves all who have asked by its beginning, and one search of `/proc` shows the sockets of
//! all processes. Looks and searches run on threads.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::mem::take;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{Notify, oneshot};
use tokio::task::yield_now;

use crate::core::connections::answers::Connection;
use crate::core::envoy::dialogue::Look;
use crate::local_task;
use crate::os::clock;
use crate::os::connections::{self, Open, SocketId, are_more};
use crate::os::descendants::InstancePids;
use crate::os::listeners::{Instance, Listeners, Listening, Search};
use crate::os::on_thread::{Share, begin_at_once, locked, on_thread};
use crate::supervisor::main_pids::{MainPids, Pids};
use crate::supervisor::tasks::witness::Witness;
use crate::types::{ProcessId, Time};

/// The error if the thread of a look has ended without a result.
const UNANSWERED: &str = "the look has failed";

/// The sockets to look at.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub(crate) process: ProcessId,
    /// [`Instance::ports`].
    pub(crate) ports: Vec<u16>,
}

impl Place {
    /// All sockets of a process.
    pub(crate) fn all_of(process: ProcessId) -> Self {
        Self { process, ports: Vec::new() }
    }
}

/// The places to look at, and how much must be known about them.
pub(crate) struct Wish {
    pub(crate) places: Vec<Place>,
    /// A search that began before this time is too old. In any case, a look needs a search if
    /// somebody has begun to listen since the last search, or if an instance has other processes
    /// now.
    pub(crate) since: Time,
    /// Whether a look also needs a search if no socket is known. No list shows drainit that a
    /// process begins to listen in another network namespace, nor that it gets a socket of another.
    pub(crate) must_find: bool,
}

impl Wish {
    /// The wish of a drain, which depends on the sockets of its process.
    pub(crate) fn to_drain(place: Place) -> Self {
        Self { places: vec![place], since: Time::default(), must_find: true }
    }
}

/// The listeners at a place, and the beginning of the search that has found them; `None` before the
/// first search.
#[derive(Clone, Default)]
struct Found {
    listeners: Listeners,
    searched: Option<Time>,
}

/// Keeps what is known about the sockets of an instance. The record stays after the end of the instance,
/// until the next instance starts.
#[derive(Default)]
struct Record {
    /// Distinguishes the instances of a process.
    number: u64,
    /// The inodes of the sockets that drainit holds for the instance.
    given: Arc<BTreeSet<u32>>,
    /// The listeners by the ports of their places.
    found: BTreeMap<Vec<u16>, Found>,
}

/// A copy of what is known about a place. Nothing is locked while the kernel answers.
struct Known {
    number: u64,
    given: Arc<BTreeSet<u32>>,
    found: Found,
}

type See = Box<dyn FnOnce(Result<&Tick, &str>) + Send>;

/// The result of `see` in [`Looker::look`], once the look is over. The error says why the look has
/// failed.
pub(crate) type Looked<T> = Pin<Box<dyn Future<Output = Result<T, String>>>>;

#[derive(Default)]
struct Pending {
    asks: Vec<(Wish, See)>,
    /// The pids at the latest ask.
    pids: Option<Arc<Pids>>,
    /// Whether a thread will take the asks.
    is_begun: bool,
}

/// The data that the threads of looks and searches share with the event loop. Each lock is held
/// briefly.
#[derive(Default)]
struct Shared {
    records: Mutex<BTreeMap<ProcessId, Record>>,
    pending: Mutex<Pending>,
    witness: Arc<Witness>,
}

/// The result of a look.
pub(crate) struct Tick {
    /// The time at which the list of the connections began.
    pub(crate) began: Time,
    /// For each who has asked, a part of the processor time of the look.
    pub(crate) cost: Duration,
    found: BTreeMap<Place, Found>,
    open: Result<Open, String>,
    witness: Arc<Witness>,
}

/// Some connections, which are looked at without a list of all.
#[derive(Clone, Default)]
pub(crate) struct Few(Vec<SocketId>);

impl Few {
    /// Whether more than `most` of the connections are as `wanted` still. Call this on a thread.
    pub(crate) fn are_more(&self, most: u64, wanted: impl FnMut(&Connection) -> bool) -> bool {
        are_more(&self.0, most, wanted)
    }
}

impl Tick {
    /// The listeners at a place, and the beginning of the search that has found them.
    pub(crate) fn listeners(&self, place: &Place) -> Option<(&Listeners, Time)> {
        self.found.get(place).and_then(|found| Some((&found.listeners, found.searched?)))
    }

    /// The listeners at a place, for a drain.
    ///
    /// # Errors
    /// Says that they cannot be found.
    pub(crate) fn to_drain(&self, place: &Place) -> Result<&Listeners, String> {
        let listeners = &self.found.get(place).ok_or(UNANSWERED)?.listeners;
        match listeners.hidden() {
            Some(why) if listeners.is_empty() && place.ports.is_empty() => {
                Err(format!("its ports cannot be found, so write them as `ports`: {why}"))
            }
            _ => Ok(listeners),
        }
    }

    /// The open connections at a place. The witness learns of them, too.
    ///
    /// # Errors
    /// Says why they are unknown.
    pub(crate) fn connections(&self, place: &Place) -> Result<Vec<Connection>, String> {
        let listeners = self.to_drain(place)?;
        self.see(place, listeners, Some(listeners))
    }

    /// Like [`Self::connections`], without those to the TCP port of an admin.
    ///
    /// # Errors
    /// Says why they are unknown.
    pub(crate) fn connections_except(
        &self,
        place: &Place,
        admin: Option<u16>,
    ) -> Result<Vec<Connection>, String> {
        let listeners = self.to_drain(place)?;
        self.see(place, listeners, listeners.except(admin)?.as_ref())
    }

    fn see(
        &self,
        place: &Place,
        all: &Listeners,
        counted: Option<&Listeners>,
    ) -> Result<Vec<Connection>, String> {
        let seen = match counted {
            Some(counted) => {
                counted.are_shown()?;
                self.open()?.of(counted)?
            }
            None => Vec::new(),
        };
        self.witness.on_look(place.process, all, &seen);
        Ok(seen)
    }

    /// All connections at the places.
    ///
    /// # Errors
    /// Says why they cannot be listed.
    pub(crate) fn open(&self) -> Result<&Open, String> {
        self.open.as_ref().map_err(String::clone)
    }

    /// [`Witness::narrow`].
    pub(crate) fn narrow_witness(&self) {
        self.witness.narrow();
    }

    /// The connections with these cookies.
    pub(crate) fn few(&self, cookies: &[u64]) -> Few {
        Few(self.open.as_ref().map(|open| open.ids(cookies)).unwrap_or_default())
    }
}

impl Shared {
    /// Copies what is known about these places.
    fn copy(&self, places: impl Iterator<Item = Place>) -> BTreeMap<Place, Known> {
        let records = locked(&self.records);
        let known = |place: Place| {
            let record = records.get(&place.process)?;
            let found = record.found.get(&place.ports).cloned().unwrap_or_default();
            Some((place, Known { number: record.number, given: Arc::clone(&record.given), found }))
        };
        places.filter_map(known).collect()
    }

    /// Keeps what a look or a search has found, unless another instance has started meanwhile, or
    /// the result of a later search is known.
    fn keep(&self, all: impl Iterator<Item = (Place, Known)>) {
        let mut records = locked(&self.records);
        for (place, Known { number, found, .. }) in all {
            let record = records.get_mut(&place.process).filter(|it| it.number == number);
            let Some(record) = record else { continue };
            let before = record.found.entry(place.ports).or_default();
            if before.searched <= found.searched {
                *before = found;
            }
        }
    }

    /// Searches `/proc` for the sockets of all instances.
    fn search(&self, listening: Arc<Listening>, pids: &Pids) -> Search {
        let began = clock::now();
        let search = Search::now(listening, &pids.leaders(|_| true), &pids.all);
        let ports = |(process, record): (&ProcessId, &Record)| {
            let ports: Vec<_> = record.found.keys().cloned().collect();
            ports.into_iter().map(|ports| Place { process: *process, ports }).collect::<Vec<_>>()
        };
        let places: Vec<_> = locked(&self.records).iter().flat_map(ports).collect();
        let mut known = self.copy(places.into_iter());
        for (place, known) in &mut known {
            let of = pids.of(place.process);
            let instance = known.instance(place, &of, pids);
            let listeners = search.of(&instance, &known.found.listeners);
            known.found = Found { listeners, searched: Some(began) };
        }
        self.keep(known.into_iter());
        search
    }

    /// Looks for all who have asked: first for those who need nothing from `/proc`, because a stop
    /// signal may wait for their look.
    fn serve(&self) {
        let Pending { asks, pids, .. } = take(&mut *locked(&self.pending));
        let Some(pids) = pids else { return };
        let mut before = clock::thread_cpu();
        let listening = match Listening::now() {
            Ok(listening) => listening,
            Err(why) => return asks.into_iter().for_each(|(_, see)| see(Err(&why))),
        };
        let is_slow = |(wish, _): &(Wish, See)| {
            let places = || wish.places.iter().cloned();
            let now = self.copy_at(places(), &listening, &pids);
            wish.is_due(&self.copy(places()), &listening, &pids)
                || now.values().any(|known| known.found.listeners.needs_holder())
        };
        let (slow, fast): (Vec<_>, Vec<_>) = asks.into_iter().partition(is_slow);
        for asks in [fast, slow] {
            let wishes: Vec<_> = asks.iter().map(|(wish, _)| wish).collect();
            let Ok(count @ 1..) = u32::try_from(wishes.len()) else { continue };
            let mut tick = self.look(&wishes, &listening, &pids);
            tick.cost = clock::thread_cpu().saturating_sub(before) / count;
            asks.into_iter().for_each(|(_, see)| see(Ok(&tick)));
            before = clock::thread_cpu();
        }
    }

    /// Copies what is known about these places, with those who listen now.
    fn copy_at(
        &self,
        places: impl Iterator<Item = Place>,
        listening: &Arc<Listening>,
        pids: &Pids,
    ) -> BTreeMap<Place, Known> {
        let mut known = self.copy(places);
        for (place, known) in &mut known {
            let of = pids.of(place.process);
            let instance = known.instance(place, &of, pids);
            known.found.listeners = known.found.listeners.at(listening, &instance);
        }
        known
    }

    fn look(&self, wishes: &[&Wish], listening: &Arc<Listening>, pids: &Pids) -> Tick {
        let places = || wishes.iter().flat_map(|wish| wish.places.iter().cloned());
        let known = self.copy(places());
        if wishes.iter().any(|wish| wish.is_due(&known, listening, pids)) {
            self.search(Arc::clone(listening), pids);
        }
        let known = self.copy_at(places(), listening, pids);
        let found = known.iter().map(|(place, known)| (place.clone(), known.found.clone()));
        let found: BTreeMap<_, _> = found.collect();
        self.keep(known.into_iter());
        let began = clock::now();
        let shown = found.values().map(|found| &found.listeners);
        let open = Open::now(shown.filter(|it| it.are_shown().is_ok()), &pids.all);
        let witness = Arc::clone(&self.witness);
        Tick { began, cost: Duration::ZERO, found, open, witness }
    }
}

impl Wish {
    /// Whether the look needs a search first; `listening` has the sockets that listen now.
    fn is_due(&self, known: &BTreeMap<Place, Known>, listening: &Listening, pids: &Pids) -> bool {
        let mut places = self.places.iter().filter_map(|place| known.get_key_value(place));
        places.any(|(place, known)| {
            let Found { listeners, searched } = &known.found;
            searched.is_none_or(|searched| searched < self.since)
                || !listeners.are_all_of(listening)
                || !listeners.are_of(&pids.of(place.process))
                || self.must_find && listeners.is_empty()
        })
    }
}

impl Known {
    fn instance<'a>(
        &'a self,
        place: &'a Place,
        of: &'a InstancePids,
        all: &'a Pids,
    ) -> Instance<'a> {
        let (process, ports) = (place.process, place.ports.as_slice());
        Instance { process, of, given: &self.given, shared: &all.shared, ports }
    }
}

/// Those who wait for the next search; `is_under_way` if another search comes first.
#[derive(Default)]
struct Searches {
    waiting: Vec<oneshot::Sender<Arc<Search>>>,
    is_under_way: bool,
}

/// Looks for everybody who asks.
#[derive(Default)]
pub(crate) struct Looker {
    pids: Rc<MainPids>,
    shared: Arc<Shared>,
    searches: RefCell<Searches>,
    /// Whether the next look is planned.
    is_planned: Cell<bool>,
    planned: Notify,
}

impl Looker {
    /// The main processes of all instances. Every new main process must be set here.
    pub(crate) fn pids(&self) -> &Rc<MainPids> {
        &self.pids
    }

    /// Finds out how the connections end.
    pub(crate) fn witness(&self) -> &Arc<Witness> {
        &self.shared.witness
    }

    /// Handles the start of an instance. `given` has the inodes of the sockets that drainit holds
    /// for the instance.
    pub(crate) fn on_started(&self, process: ProcessId, pids: InstancePids, given: BTreeSet<u32>) {
        let mut records = locked(&self.shared.records);
        let record = records.entry(process).or_default();
        let (number, given) = (record.number + 1, Arc::new(given));
        let found = [(Vec::new(), Found::default())].into();
        *record = Record { number, given: Arc::clone(&given), found };
        self.pids.on_started(process, pids, given);
    }

    /// Looks together with all who ask in this turn of the event loop. `see` gets the result on a
    /// thread.
    pub(crate) fn look<T: Send + 'static>(
        self: &Rc<Self>,
        wish: Wish,
        see: impl FnOnce(&Tick) -> T + Send + 'static,
    ) -> Looked<T> {
        let looked = self.ask(wish, see);
        if !self.is_planned.replace(true) {
            self.planned.notify_waiters();
            let looker = Rc::clone(self);
            local_task::spawn(async move {
                yield_now().await;
                looker.is_planned.set(false);
                looker.begin();
            });
        }
        looked
    }

    /// Waits until a look is planned at this time or later. Who asks at once then shares the look.
    /// `None` waits for ever.
    pub(crate) async fn planned(&self, from: Option<Time>) {
        loop {
            self.planned.notified().await;
            if from.is_some_and(|from| from <= clock::now()) {
                return;
            }
        }
    }

    /// Like [`Self::look`], but the look begins at once.
    pub(crate) fn look_now<T: Send + 'static>(
        &self,
        wish: Wish,
        see: impl FnOnce(&Tick) -> T + Send + 'static,
    ) -> Looked<T> {
        let looked = self.ask(wish, see);
        self.begin();
        looked
    }

    fn ask<T: Send + 'static>(
        &self,
        wish: Wish,
        see: impl FnOnce(&Tick) -> T + Send + 'static,
    ) -> Looked<T> {
        let mut records = locked(&self.shared.records);
        for Place { process, ports } in &wish.places {
            if let Some(record) = records.get_mut(process) {
                record.found.entry(ports.clone()).or_default();
            }
        }
        drop(records);
        let (sender, receiver) = oneshot::channel();
        // The send fails only if nobody waits for the result any more.
        let see: See =
            Box::new(move |tick| drop(sender.send(tick.map(see).map_err(str::to_owned))));
        let mut pending = locked(&self.shared.pending);
        pending.asks.push((wish, see));
        pending.pids = Some(self.pids.now());
        Box::pin(async { receiver.await.unwrap_or_else(|_| Err(UNANSWERED.to_owned())) })
    }

    fn begin(&self) {
        let mut pending = locked(&self.shared.pending);
        if pending.asks.is_empty() || pending.is_begun {
            return;
        }
        let shared = Arc::clone(&self.shared);
        match begin_at_once(move || shared.serve()) {
            Ok(_) => pending.is_begun = true,
            Err(why) => {
                let asks = take(&mut pending.asks);
                drop(pending);
                asks.into_iter().for_each(|(_, see)| see(Err(&why.to_string())));
            }
        }
    }

    /// Searches `/proc` for the sockets of all instances. One search serves all who have asked by
    /// its beginning. Without a list of the kernel, there is no answer.
    pub(crate) fn search(self: &Rc<Self>) -> oneshot::Receiver<Arc<Search>> {
        let (sender, receiver) = oneshot::channel();
        let mut searches = self.searches.borrow_mut();
        searches.waiting.push(sender);
        if !std::mem::replace(&mut searches.is_under_way, true) {
            let looker = Rc::clone(self);
            local_task::spawn(Share::Search.scope(async move { looker.search_for_all().await }));
        }
        receiver
    }

    async fn search_for_all(&self) {
        loop {
            yield_now().await;
            let waiting = take(&mut self.searches.borrow_mut().waiting);
            if waiting.is_empty() {
                self.searches.borrow_mut().is_under_way = false;
                return;
            }
            let (shared, pids) = (Arc::clone(&self.shared), self.pids.now());
            let search = move || Some(Arc::new(shared.search(Listening::now().ok()?, &pids)));
            if let Ok(Some(search)) = on_thread(Duration::MAX, search).await {
                for sender in waiting {
                    // The send fails only if nobody waits for the result any more.
                    let _ = sender.send(Arc::clone(&search));
                }
            }
        }
    }
}

/// The connections that wait until Envoy accepts them. If the kernel does not say (gVisor), 0: Envoy's
/// own counts then decide alone.
pub(crate) async fn waiting(addresses: Vec<SocketAddr>) -> u64 {
    let count = move || connections::waiting(&addresses).unwrap_or_default();
    on_thread(Duration::MAX, count).await.unwrap_or_default()
}

/// Counts the connections to these addresses, and adds those that were `reset`; `None` if there is no
/// address, or if the count fails.
/// The number of accepted connections is read first, so that no connection that arrives during the
/// look is missed.
pub(crate) async fn look_at(addresses: Vec<SocketAddr>, reset: u64) -> Option<Look> {
    if addresses.is_empty() {
        return None;
    }
    let look = move || {
        let accepted = connections::accepted();
        let open = connections::count(&addresses).ok()?;
        Some(Look { open: open.saturating_add(reset), accepted })
    };
    on_thread(Duration::MAX, look).await.ok().flatten()
}

/// Whether the kernel shows the connections to all of these addresses.
pub(crate) async fn are_visible(addresses: Vec<SocketAddr>) -> bool {
    let look = move || connections::are_visible(&addresses).unwrap_or_default();
    on_thread(Duration::MAX, look).await.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const WEB: ProcessId = ProcessId(0);
    const NEW: ProcessId = ProcessId(1);

    /// Plays with a looker that knows the sockets of this process as those of `WEB`.
    fn play(play: impl AsyncFnOnce(&Rc<Looker>)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        tokio::task::LocalSet::new().block_on(&runtime, async {
            let looker = Rc::<Looker>::default();
            let own: InstancePids = Arc::new([std::process::id().cast_signed()].into());
            looker.on_started(WEB, own, BTreeSet::new());
            looker.search().await.unwrap();
            let limit = Duration::from_secs(60);
            tokio::time::timeout(limit, play(&looker)).await.expect("nobody waits so long");
        });
    }

    fn wish(process: ProcessId) -> Wish {
        Wish { places: vec![Place::all_of(process)], since: Time::default(), must_find: false }
    }

    // holds: S1230, S1231
    #[test]
    fn asks_of_a_turn_and_joined_asks_share_a_look() {
        play(async |looker| {
            let joins = looker.planned(Some(Time::default()));
            let later = looker.planned(Some(Time::NEVER));
            let mut joins = Box::pin(async {
                joins.await;
                looker.look(wish(WEB), |tick| tick.began).await.unwrap()
            });
            let mut later = Box::pin(later);
            tokio::select! {
                biased;
                () = later.as_mut() => panic!("nothing is planned"),
                _ = joins.as_mut() => panic!("nothing is planned"),
                () = yield_now() => {}
            }
            let looks = [WEB, WEB].map(|it| looker.look(wish(it), |tick| tick.began));
            let [first, second] = looks;
            let (joined, first, second) = tokio::join!(joins, first, second);
            assert_eq!([Ok(joined), second], [first.clone(), first.clone()]);
            let next = looker.look(wish(WEB), |tick| tick.began);
            tokio::select! {
                biased;
                () = later => panic!("it is too early to join"),
                next = next => assert!(next > first),
            }
        });
    }

    // holds: S1232
    #[test]
    fn a_look_without_a_search_comes_before_the_search_of_another() {
        play(async |looker| {
            looker.on_started(NEW, InstancePids::default(), BTreeSet::new());
            let order = Arc::<Mutex<Vec<ProcessId>>>::default();
            let look = |process| {
                let order = Arc::clone(&order);
                looker.look(wish(process), move |_: &Tick| locked(&order).push(process))
            };
            let (new, web) = tokio::join!(look(NEW), look(WEB));
            assert_eq!((new, web), (Ok(()), Ok(())));
            assert_eq!(*locked(&order), [WEB, NEW]);
        });
    }

    #[test]
    fn a_late_search_keeps_nothing_of_an_earlier_instance() {
        play(async |looker| {
            let place = Place::all_of(WEB);
            let known = || looker.shared.copy([place.clone()].into_iter());
            let (before, is_searched) = (known(), || known()[&place].found.searched.is_some());
            assert!(is_searched());
            looker.on_started(WEB, InstancePids::default(), BTreeSet::new());
            looker.shared.keep(before.into_iter());
            assert!(!is_searched());
        });
    }
}
