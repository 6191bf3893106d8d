//! Plays the core, and the dialogue with Envoy's admin interface, against a model of Envoy and its
//! clients.
//!
//! After a response, the model of Envoy may close the connection. After `healthcheck/fail`, each
//! response closes its connection. Before that call, the probability of a close grows with the time
//! of the drain, as in Envoy's default drain strategy. Some requests are upgrades to WebSockets,
//! whose connections close when they end. After a hot restart, Envoy counts what is under way in the
//! old Envoy, but not that it began. The admin interface answers one question at a time. An answer
//! can come at once, after seconds or never; an answer can be incomplete, or have another status.
//! These faults begin at some time, or happen by chance. An admin interface may also refuse only the
//! calls that begin the drain. In some plays, the kernel can count the connections and the requests
//! in flight, the Envoy is never live, or the next epoch, with new statistics, replaces the Envoy.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};

use crate::cases::{ENGINE, MS, ROUTER, TERM, drain_in, exited, gateway};
use crate::scenario::Rng;
use crate::tests::number;
use crate::*;
use drainit_core::connections::answers::Counts;
use drainit_core::drain::progress::QUIET;
use drainit_core::envoy::Call;
use drainit_core::envoy::attempts::AskFailure;
use drainit_core::envoy::attempts::LIMIT;
use drainit_core::envoy::dialogue::{Answer, Ask, Dialogue, DrainOutput, EnvoyTerms, Look};
use drainit_core::envoy::sample::Sample;
use drainit_core::traffic::Traffic;

/// If the admin interface works, it closes the listeners and counts the open connections within
/// this time.
const CALL: Duration = Duration::from_millis(600);
/// If the admin interface works, drainit notices within this time that nothing is open any more.
const SEEN: Duration = Duration::from_millis(1500);
/// The kernel does not know whether a connection owes an answer until nothing has moved on it for
/// this time.
const IDLE: Duration = Duration::from_secs(5);
/// The most attempts at a call that fit into its limit: drainit pauses between two attempts.
const MOST_ATTEMPTS: u32 = 14;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Thing {
    /// The admin interface handles a question. From then on, the answer is fixed.
    Takes(u64),
    Answers(u64),
    /// The kernel counts the connections.
    Looks,
    /// The kernel counts the connections that owe an answer. The count began at this time.
    Witnesses(Time),
    /// A client tries to connect. Envoy may refuse the connection.
    Connects,
    /// A request begins on a connection.
    Begins(u64),
    Ends(u64),
    Exits(u32),
    Delivers(usize),
    /// The next epoch has replaced Envoy, and answers from now on.
    Replaced,
}

/// A connection of a client.
#[derive(Clone, Copy, Debug)]
struct Connection {
    since: Time,
    /// The time at which the request in flight on this connection began; `None` if no request is in
    /// flight.
    request: Option<Time>,
    /// The time at which the last request ended.
    answered: Option<Time>,
    is_upgraded: bool,
}

/// The number of requests that were completed, and of upgrades that have ended.
type Ended = [u64; 2];

/// The state of Envoy, as its clients and its admin interface show it.
#[derive(Default)]
struct Envoy {
    connections: BTreeMap<u64, Connection>,
    accepted: u64,
    requests: u64,
    upgrades: u64,
    drain_close: u64,
    ended: Ended,
    drains_since: Option<Time>,
    fails: bool,
    is_closed: bool,
}

/// A question to the admin interface that is not answered yet.
#[derive(Clone, Debug)]
struct Asked {
    ask: Ask,
    since: Time,
    answer: Option<Answer>,
    /// The moment that the answer describes.
    taken: Time,
    /// The ends until that moment.
    ended: Ended,
}

/// The number of attempts at a call, the time of the first failure, and whether the admin interface
/// has answered an attempt with 200.
type Attempted = (u32, Option<Time>, bool);

/// The history of the last drain.
#[derive(Default)]
struct Drain {
    calls: BTreeMap<Call, Attempted>,
    /// The last answer to each call that begins the drain.
    answers: BTreeMap<Call, Result<(), AskFailure>>,
    warnings: Vec<String>,
    /// The counts, each with the moment that it describes, and the ends until then.
    taken: Vec<(Time, Traffic, Ended)>,
    /// The first count that the report got, and the ends until then.
    first: Option<(Traffic, Ended)>,
    /// The time at which the drain began, and the time that Envoy has spent on counts since.
    polled: (Time, Duration),
    /// The time that Envoy has spent on the longest of these counts.
    longest_poll: Duration,
    /// The time of the last look at the kernel's count. The looks begin when the Envoy has listed
    /// its listeners.
    looked_at: Option<Time>,
    /// The last count that the core got, with the moment that the count describes.
    reported: Option<(Time, Load)>,
    /// When Envoy closed its listeners; `None` until the dialogue has learned of it.
    closed_at: Option<Time>,
    /// Whether the next epoch has replaced Envoy since the beginning of the drain.
    is_replaced: bool,
    /// Whether the kernel has counted the connections that owe an answer.
    is_witnessed: bool,
    /// Whether Envoy has accepted a call before the first closing of the listeners.
    is_accepted: bool,
    was_closing: bool,
    /// Whether the kernel or the admin interface has shown the traffic.
    is_counted: bool,
}

struct World {
    rng: Rng,
    now: Time,
    queue: BinaryHeap<Reverse<(Time, u64, Thing)>>,
    sequence: u64,
    scheduled: Vec<Event>,
    at_once: VecDeque<Event>,
    machine: Machine,
    envoy: Envoy,
    dialogue: Option<Dialogue>,
    terms: EnvoyTerms,
    stays_ready: bool,
    /// Whether the next question has to make the Envoy fail its health check.
    must_fail: bool,
    /// The question under way, and its key.
    asked: Option<(u64, Asked)>,
    drain: Drain,
    instance: u32,
    runs: bool,
    /// On average, one in `wrong` answers of the admin interface is wrong. If `wrong` is 0, no
    /// answer is wrong.
    wrong: u64,
    late: u64,
    /// The admin interface needs this many milliseconds for each answer.
    slow: u64,
    /// Whether the admin interface refuses the calls that begin the drain.
    refuses: bool,
    /// Whether the kernel can count the connections.
    sees: bool,
    /// Whether the kernel's count misses some connections.
    hides: bool,
    /// The number of connections that Envoy and other programs have accepted.
    opened: u64,
    /// How often other programs accept a connection between two looks: on average, once in `others`
    /// looks. If `others` is 0, they accept none.
    others: u64,
    /// The times at which Envoy has accepted a connection.
    accepted_at: Vec<Time>,
    /// The times at which a request has begun.
    begun_at: Vec<Time>,
    /// The last traffic that the report got.
    last: Traffic,
    /// From this time on, every question to the admin interface fails.
    lost_at: Time,
    live_at: Time,
    /// From this time on no new client comes, because the endpoint is removed.
    removed_at: Time,
    drain_time: Duration,
    /// The longest pause of a client before its next connection.
    longest_pause: u64,
    longest_request: u64,
    reported_at: Time,
    /// The moment that the last answer about Envoy's state describes.
    was_unused_at: Time,
    until: Time,
    is_answered: bool,
    closing_asked: Option<Time>,
    is_hurried: bool,
    is_ended: bool,
    /// The last moment at which the drain had to wait for a connection or a request.
    busy_at: Time,
    /// The last moment at which the kernel could not rule out that a connection owes an answer.
    owed_at: Time,
    broken: Option<String>,
    exit: bool,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let min = MS(rng.one_of([0, 500, 3000, 5000]));
        let time = min.max(MS(rng.one_of([100, 1000, 6000, 15_000])));
        let exit_at = rng.one_of([0, 0, 0, 2]);
        let mut spec = gateway();
        spec.unready_delay = MS(rng.one_of([0, 0, 0, 2000]));
        let drain = drain_in(&mut spec);
        (drain.time, drain.min, drain.exit_at) = (Some(time), min, exit_at);
        spec.link();
        let start = Time(MS(1_000_000));
        let unit = if rng.once_in(2) { Unit::Connections } else { Unit::Requests };
        let terms = EnvoyTerms {
            min_until: start,
            longest: time,
            only_inbound: rng.once_in(4),
            fail_healthcheck: !rng.once_in(4),
            stays_ready: false,
            leaves_out: rng.once_in(4),
            unit,
            exit_at,
        };
        let mut world = Self {
            now: start,
            queue: BinaryHeap::new(),
            sequence: 0,
            scheduled: Vec::new(),
            at_once: VecDeque::from([Event::Start]),
            machine: Machine::new(Arc::new(spec), start),
            envoy: Envoy::default(),
            dialogue: None,
            terms,
            stays_ready: false,
            must_fail: false,
            asked: None,
            drain: Drain::default(),
            instance: 0,
            runs: false,
            wrong: rng.one_of([0, 0, 2, 10]),
            late: rng.one_of([0, 0, 3, 20]),
            slow: rng.one_of([0, 0, 40, 300, 1100, 9000]),
            refuses: rng.once_in(8),
            sees: rng.once_in(2),
            hides: false,
            opened: 0,
            others: rng.one_of([0, 0, 1, 5, 20]),
            accepted_at: Vec::new(),
            begun_at: Vec::new(),
            last: Traffic::default(),
            lost_at: if rng.once_in(4) { start + rng.millis(25_000) } else { Time::NEVER },
            live_at: if rng.once_in(8) { start + rng.millis(20_000) } else { start },
            removed_at: Time::NEVER,
            drain_time: MS(rng.one_of([5000, 600_000])),
            longest_pause: rng.one_of([400, 3000]),
            longest_request: rng.one_of([5, 50, 2000, 20_000]),
            reported_at: start,
            was_unused_at: start,
            until: Time::NEVER,
            is_answered: true,
            closing_asked: None,
            is_hurried: false,
            busy_at: start,
            owed_at: start,
            is_ended: true,
            broken: None,
            exit: false,
            rng,
        };
        // The kernel hides connections only if the admin interface answers reliably, and can thus
        // show the hidden connections.
        let answers = world.wrong + world.late == 0 && world.lost_at == Time::NEVER;
        let answers = answers && !world.refuses;
        world.hides = answers && world.slow < 1000 && world.rng.once_in(3);
        let asks_drain = world.rng.once_in(3);
        if asks_drain {
            let at = world.rng.millis(4000);
            world.deliver(at, Event::DrainRequested);
        }
        if world.rng.once_in(5) {
            let at = world.rng.millis(4000);
            world.deliver(at, Event::Requested { process: ROUTER, request: Request::Restart });
        }
        let stop = MS(1000) + world.rng.millis(if asks_drain { 20_000 } else { 4000 });
        world.deliver(stop, TERM);
        for signal in [Signal::TERM, Signal::INT] {
            if world.rng.once_in(6) {
                let at = stop + world.rng.millis(9000);
                world.deliver(at, Event::Signal(signal));
            }
        }
        if world.rng.once_in(6) {
            let at = world.rng.millis(12_000);
            world.push(at, Thing::Replaced);
        }
        if world.live_at > start && world.rng.once_in(2) {
            // Envoy becomes live just when its drain begins.
            world.live_at = start + stop + world.rng.millis(30);
        }
        let removed = stop + world.rng.millis(4500);
        world.removed_at = start + removed;
        for _ in 0..world.rng.below(12) {
            let at = world.rng.millis(6000);
            world.push(at, Thing::Connects);
        }
        world
    }

    fn push(&mut self, after: Duration, thing: Thing) {
        self.sequence += 1;
        self.queue.push(Reverse((self.now + after, self.sequence, thing)));
    }

    fn deliver(&mut self, after: Duration, event: Event) {
        self.scheduled.push(event);
        self.push(after, Thing::Delivers(self.scheduled.len() - 1));
    }

    fn check(&mut self, holds: bool, why: impl Into<String>) {
        if !holds && self.broken.is_none() {
            self.broken = Some(why.into());
        }
    }

    fn play(&mut self) {
        let start = self.now;
        while !self.exit && self.broken.is_none() {
            if let Some(event) = self.at_once.pop_front() {
                self.step(event);
                continue;
            }
            self.check(self.now.since(start) < MS(300_000), "the run never ends");
            let wakes = self.dialogue.as_ref().and_then(Dialogue::wakes_at);
            self.check_wakes(wakes);
            let due = self.machine.next_wakeup().unwrap_or(Time::NEVER);
            let next = self.queue.peek().map_or(Time::NEVER, |Reverse((at, ..))| *at);
            if let Some(at) = wakes.filter(|at| *at <= due && *at <= next) {
                // The timer may be late.
                let late = if self.rng.once_in(4) { self.rng.millis(3) } else { Duration::ZERO };
                self.now = self.now.max(at) + late;
                self.with(Dialogue::tick);
            } else if due <= next {
                self.check(due != Time::NEVER, "no event and no timer is left");
                self.now = self.now.max(due);
                self.step(Event::Tick);
            } else if let Some(Reverse((at, _, thing))) = self.queue.pop() {
                self.now = self.now.max(at);
                self.happen(thing);
            }
        }
    }

    /// Checks that nothing is due right before the wake-up of the dialogue.
    fn check_wakes(&mut self, wakes: Option<Time>) {
        let next = wakes.map_or(MS(300_000), |wakes| wakes.since(self.now));
        let before = self.now + next.saturating_sub(Duration::from_nanos(1));
        let early = self.dialogue.clone().map(|mut early| early.tick(before));
        let is_due = !early.unwrap_or_default().is_empty();
        self.check(!is_due, "the dialogue was due before its wake-up");
    }

    /// The number of open connections or requests that the drain waits for.
    fn left(&self) -> u64 {
        self.count().load(self.terms.unit).active.unwrap_or_default()
    }

    fn happen(&mut self, thing: Thing) {
        let is_new = matches!(thing, Thing::Connects | Thing::Begins(_) | Thing::Replaced);
        if is_new || self.left() > self.terms.exit_at {
            self.busy_at = self.now;
        }
        let counts = self.owing();
        if is_new || counts.owing + counts.unknown > self.terms.exit_at {
            self.owed_at = self.now.max(self.owed_at);
            // Nothing happens at the moment at which a connection has been silent for `IDLE`.
            let settles = self.now + counts.settles;
            self.owed_at = self.owed_at.max(if counts.owing > self.terms.exit_at {
                self.now
            } else {
                settles
            });
        }
        match thing {
            Thing::Delivers(key) => {
                let event = self.scheduled[key];
                self.is_hurried |= event == Event::Signal(Signal::INT);
                self.step(event);
            }
            Thing::Exits(instance) if instance == self.instance && self.runs => {
                self.runs = false;
                self.envoy = Envoy::default();
                self.step(exited(ROUTER));
            }
            Thing::Replaced => {
                self.envoy = Envoy::default();
                (self.drain.reported, self.drain.closed_at, self.drain.is_replaced) =
                    (None, None, true);
            }
            Thing::Connects => self.connect(),
            Thing::Begins(connection) => self.begin_request(connection),
            Thing::Ends(connection) => self.end_request(connection),
            Thing::Takes(key) => self.take(key),
            Thing::Answers(key) => self.answer(key),
            Thing::Looks => {
                // A hidden connection belongs to a listener for which drainit does not ask the
                // kernel.
                let is_hidden = |key: &u64| self.hides && key.is_multiple_of(2);
                let seen = self.envoy.connections.keys().filter(|key| !is_hidden(key));
                let open = seen.count() as u64;
                let requests = (open == 0).then_some(0);
                let traffic = self.count().traffic();
                let traffic = Traffic { connections: Some(open), requests, ..traffic };
                self.drain.taken.push((self.now, traffic, self.envoy.ended));
                if self.others > 0 && self.rng.once_in(self.others) {
                    self.opened += 1;
                }
                let look = self.sees.then_some(Look { open, accepted: Some(self.opened) });
                self.drain.looked_at = self.sees.then_some(self.now);
                self.drain.is_counted |= self.sees;
                self.with(|dialogue, now| dialogue.looked(now, look));
            }
            Thing::Witnesses(began) => {
                let counts = self.owing();
                self.drain.taken.push((self.now, counts.traffic(false), self.envoy.ended));
                self.drain.is_witnessed |= self.sees;
                self.drain.is_counted |= self.sees;
                let seen = if self.sees { Ok(counts) } else { Err("not listed".to_owned()) };
                self.with(|dialogue, now| dialogue.witnessed(began, now, seen));
            }
            Thing::Exits(_) => {}
        }
    }

    /// The connections as the kernel shows them.
    fn owing(&self) -> Counts {
        let all = self.envoy.connections.values();
        let left = |one: &Connection| (one.answered? + IDLE).0.checked_sub(self.now.0);
        let idle = all.clone().filter(|one| one.request.is_none());
        let unknown: Vec<_> = idle.filter_map(left).filter(|left| !left.is_zero()).collect();
        Counts {
            open: all.len() as u64,
            owing: all.filter(|one| one.request.is_some()).count() as u64,
            unknown: unknown.len() as u64,
            silent: 0,
            connected: self.envoy.accepted,
            asked: self.envoy.accepted + self.begun_at.len() as u64,
            settles: unknown.into_iter().max().unwrap_or_default(),
        }
    }

    fn connect(&mut self) {
        if self.now >= self.removed_at {
            return;
        }
        let is_let_in = self.runs && self.now >= self.live_at && !self.envoy.is_closed;
        if is_let_in {
            self.sequence += 1;
            let key = self.sequence;
            (self.envoy.accepted, self.opened) = (self.envoy.accepted + 1, self.opened + 1);
            self.accepted_at.push(self.now);
            let is_upgraded = self.rng.once_in(4);
            let since = self.now;
            let connection = Connection { since, request: None, answered: None, is_upgraded };
            self.envoy.connections.insert(key, connection);
            self.push(Duration::ZERO, Thing::Begins(key));
        } else {
            let pause = self.rng.millis(900);
            self.push(pause, Thing::Connects);
        }
    }

    fn begin_request(&mut self, key: u64) {
        let now = self.now;
        let Some(connection) = self.envoy.connections.get_mut(&key) else { return };
        connection.request = Some(now);
        self.begun_at.push(now);
        self.envoy.requests += 1;
        self.envoy.upgrades += u64::from(connection.is_upgraded);
        let lasts = self.rng.millis(self.longest_request) + MS(1);
        self.push(lasts, Thing::Ends(key));
    }

    fn end_request(&mut self, key: u64) {
        let Some(connection) = self.envoy.connections.get_mut(&key) else { return };
        if connection.request.take().is_none() {
            return;
        }
        connection.answered = Some(self.now);
        let is_upgraded = connection.is_upgraded;
        self.envoy.ended[usize::from(is_upgraded)] += 1;
        let since = self.envoy.drains_since.map_or(Duration::ZERO, |since| self.now.since(since));
        let by_chance =
            self.rng.millis(600_000) < since * 600_000 / self.drain_time.as_millis() as u32;
        let is_asked = self.envoy.fails || self.envoy.drains_since.is_some() && by_chance;
        if is_asked || is_upgraded || self.rng.once_in(6) {
            self.envoy.drain_close += u64::from(is_asked && !is_upgraded);
            self.envoy.connections.remove(&key);
            let pause = self.rng.millis(self.longest_pause);
            self.push(pause, Thing::Connects);
        } else if !self.rng.once_in(4) {
            let pause = self.rng.millis(800);
            self.push(pause, Thing::Begins(key));
        } // Otherwise the connection stays idle.
    }

    fn count(&self) -> Sample {
        if self.now < self.live_at && self.envoy.accepted == 0 {
            // An Envoy that is not live has no listeners, and therefore no statistics about them.
            return Sample::default();
        }
        let requests = self.envoy.connections.values().filter(|one| one.request.is_some());
        let upgrades = requests.clone().filter(|one| one.is_upgraded).count();
        Sample {
            active: Some(self.envoy.connections.len() as u64),
            accepted_total: Some(self.envoy.accepted),
            requests_active: Some(requests.count() as u64),
            requests_total: Some(self.envoy.requests),
            upgrades_active: Some(upgrades as u64),
            upgrades_total: Some(self.envoy.upgrades),
            drain_close: Some(self.envoy.drain_close),
            in_filters: Some(0),
            unsent: Some(0),
        }
    }

    /// Lets the admin interface handle a question: it carries out a call, and fixes the answer.
    fn take(&mut self, key: u64) {
        let wrong = self.wrong > 0 && self.rng.once_in(self.wrong);
        let is_there = self.runs && self.now < self.lost_at;
        let failure = AskFailure { why: "answered 503".to_owned(), is_refusal: is_there };
        let mut sample = self.count();
        if self.wrong > 0 && self.rng.once_in(self.wrong) {
            let of = self.rng.below(5);
            let fields = [
                &mut sample.active,
                &mut sample.accepted_total,
                &mut sample.requests_active,
                &mut sample.upgrades_active,
                &mut sample.upgrades_total,
            ];
            if let Some(field) = fields.into_iter().nth(of as usize) {
                *field = None;
            }
        }
        let Some((_, Asked { ask, .. })) = self.asked.as_ref().filter(|(now, _)| *now == key)
        else {
            return;
        };
        let (_, close) = Call::of(self.terms.only_inbound);
        let is_refused = self.refuses && matches!(ask, Ask::Call(call) if *call != close);
        let fails = wrong || !is_there || is_refused;
        let result = if fails { Err(failure.clone()) } else { Ok(()) };
        let answer = match *ask {
            Ask::Listeners => Answer::Listeners(result),
            Ask::Sample { is_whole } => {
                if !is_whole {
                    (sample.accepted_total, sample.requests_total) = (None, None);
                    (sample.upgrades_total, sample.drain_close) = (None, None);
                }
                Answer::Sample(result.map(|()| sample))
            }
            Ask::State => Answer::State { is_unused: (!fails).then_some(self.now < self.live_at) },
            Ask::Call(call) => {
                if !fails {
                    match call {
                        Call::DrainListeners | Call::DrainInbound => {
                            self.envoy.drains_since.get_or_insert(self.now);
                        }
                        Call::FailHealthcheck => self.envoy.fails = true,
                        Call::CloseListeners | Call::CloseInbound => self.envoy.is_closed = true,
                    }
                }
                Answer::Call(result)
            }
        };
        if let Some((_, asked)) = &mut self.asked {
            (asked.answer, asked.taken) = (Some(answer), self.now);
            asked.ended = self.envoy.ended;
        }
    }

    fn answer(&mut self, key: u64) {
        let Some((_, asked)) = self.asked.take_if(|(now, _)| *now == key) else { return };
        let Asked { ask, since, answer: Some(answer), taken, ended } = asked else { return };
        let is_closing = self.is_closing(ask);
        match (&answer, ask) {
            (Answer::Call(Ok(())), Ask::Call(call)) => {
                if let Some((.., is_done)) = self.drain.calls.get_mut(&call) {
                    *is_done = true;
                }
                if is_closing && self.envoy.is_closed {
                    self.drain.closed_at = Some(taken);
                }
            }
            (Answer::Sample(Ok(sample)), _) => {
                self.drain.taken.push((taken, sample.traffic(), ended));
                self.drain.is_counted = true;
                self.check_cost(self.now.since(since));
            }
            (Answer::State { is_unused: Some(_) }, _) => self.was_unused_at = taken,
            _ => {}
        }
        if let (Answer::Call(result), Ask::Call(call), false) = (&answer, ask, is_closing) {
            self.drain.answers.insert(call, result.clone());
            self.drain.is_accepted |= result.is_ok() && !self.drain.was_closing;
            if let (Err(_), Some((_, failed, _))) = (result, self.drain.calls.get_mut(&call)) {
                failed.get_or_insert(self.now);
            }
        }
        self.with(|dialogue, now| dialogue.answered(now, answer));
    }

    /// Checks that the counts cost Envoy at most 3 % of its time. A few counts may exceed this
    /// share, because they must come at once: the first, one at the end of `min`, those after the
    /// closing, and those that confirm the end.
    fn check_cost(&mut self, took: Duration) {
        let (began, spent) = self.drain.polled;
        self.drain.polled.1 = spent + took;
        self.drain.longest_poll = self.drain.longest_poll.max(took);
        let most = self.now.since(began) / 33 + self.drain.longest_poll * 10;
        // holds: S32
        self.check(spent + took <= most, "the counts cost Envoy too much");
    }

    /// Checks that the report counts each ended request as a request, and each ended upgrade as an
    /// upgrade.
    fn check_ended(&mut self, traffic: Traffic, ended: Option<Ended>) {
        let Some(ended) = ended.filter(|_| !self.drain.is_replaced) else { return };
        let (first, before) = *self.drain.first.get_or_insert((traffic, ended));
        let counts = [(first.completed, traffic.completed), (first.upgrades, traffic.upgrades)];
        for ((first, last), really) in counts.into_iter().zip(ended.into_iter().zip(before)) {
            let (Some(first), Some(last), (now, before)) = (first, last, really) else { continue };
            // holds: S133
            self.check(last.wrapping_sub(first) == now - before, "an end is miscounted");
        }
    }

    fn is_closing(&self, ask: Ask) -> bool {
        ask == Ask::Call(Call::of(self.terms.only_inbound).1)
    }

    fn with(&mut self, step: impl FnOnce(&mut Dialogue, Time) -> Vec<DrainOutput>) {
        let now = self.now;
        let outputs = self.dialogue.as_mut().map(|dialogue| step(dialogue, now));
        self.carry_out(outputs.unwrap_or_default());
    }

    fn carry_out(&mut self, outputs: Vec<DrainOutput>) {
        for output in outputs {
            match output {
                DrainOutput::Ask(ask) => self.ask(ask),
                DrainOutput::Look => {
                    let after = self.rng.millis(4);
                    self.push(after, Thing::Looks);
                }
                DrainOutput::Witness => {
                    let after = self.rng.millis(4);
                    self.push(after, Thing::Witnesses(self.now));
                }
                DrainOutput::Sampled { load, traffic, .. } => {
                    // A total may be missing, or may come from the previous epoch.
                    let is_of = |taken: &Traffic| {
                        let Traffic { connections, requests, .. } = traffic;
                        if self.drain.is_replaced {
                            return (connections, requests) == (taken.connections, taken.requests);
                        }
                        let accepted = traffic.accepted.and(taken.accepted);
                        let completed = traffic.completed.and(taken.completed);
                        let upgrades = traffic.upgrades.and(taken.upgrades);
                        Traffic { accepted, completed, upgrades, ..*taken } == traffic
                    };
                    let taken = self.drain.taken.iter().rfind(|(_, taken, _)| is_of(taken));
                    let is_counted = taken.is_some()
                        || traffic == Sample::NOTHING.traffic()
                            && self.was_unused_at < self.live_at;
                    self.drain.reported = taken.map(|(taken, ..)| (*taken, load));
                    let ended = taken.map(|(.., ended)| *ended);
                    self.check_ended(traffic, ended);
                    (self.reported_at, self.last) = (self.now, traffic);
                    self.check(is_counted, "the core gets a sample that was not counted");
                    self.at_once.push_back(Event::DrainSample { process: ROUTER, load });
                }
                DrainOutput::Unknown => {
                    let load = Load::default();
                    self.at_once.push_back(Event::DrainSample { process: ROUTER, load });
                }
                DrainOutput::Answered { accepted } => {
                    let begins = |(call, (.., is_done)): (&Call, &Attempted)| {
                        let (_, close) = Call::of(self.terms.only_inbound);
                        *is_done && *call != close
                    };
                    let was_accepted = self.drain.calls.iter().any(begins);
                    self.check(!self.is_answered, "the drain is answered twice");
                    // holds: S700
                    self.check(
                        accepted,
                        "a drain that Envoy has not accepted only lasts for `min`",
                    );
                    let is_early = self.now.since(self.drain.polled.0) < LIMIT;
                    self.check(was_accepted || !is_early, "a refused drain counts as accepted");
                    self.is_answered = true;
                    let process = ROUTER;
                    self.at_once.push_back(Event::DrainAnswered { process, accepted });
                }
                DrainOutput::Drained => self.at_once.push_back(Event::Drained(ROUTER)),
                DrainOutput::NothingToDrain => {
                    self.at_once.push_back(Event::NothingToDrain(ROUTER))
                }
                DrainOutput::ListenersClosed => {
                    self.closing_asked = None;
                    self.at_once.push_back(Event::ListenersClosed(ROUTER));
                }
                DrainOutput::Warn(what) => {
                    // holds: S275
                    let is_early = |(call, (_, failed, is_done)): (&Call, &Attempted)| {
                        let is_named = what.starts_with(&call.to_string()) && !is_done;
                        let failed =
                            failed.filter(|_| is_named && !self.is_closing(Ask::Call(*call)));
                        failed.is_some_and(|failed| self.now.since(failed) + MS(250) < LIMIT)
                    };
                    let is_early = !self.is_ended && self.drain.calls.iter().any(is_early);
                    self.check(!is_early, "a call is given up too early");
                    self.drain.warnings.push(what);
                }
                DrainOutput::Log(_) => {}
            }
        }
    }

    fn ask(&mut self, ask: Ask) {
        // holds: S236
        self.check(self.asked.is_none(), "the admin has two questions at once");
        let is_last = self.is_closing(ask) || matches!(ask, Ask::Sample { .. });
        self.check(!self.is_ended || is_last, "a question follows the end of the drain");
        // holds: S237
        self.check(
            !self.must_fail || matches!(ask, Ask::Call(_)) || self.closing_asked.is_some(),
            "a count comes before the failing of the health check",
        );
        self.must_fail &= ask != Ask::Call(Call::FailHealthcheck);
        let has_begun = !self.drain.answers.is_empty() || matches!(ask, Ask::Call(_));
        self.check(has_begun, "the traffic is counted before the drain begins");
        if let Ask::Call(call) = ask {
            let (attempts, failed, is_done) =
                self.drain.calls.entry(call).or_insert((0, None, false));
            *attempts += 1;
            let (attempts, failed, is_done) = (*attempts, *failed, *is_done);
            self.check(!is_done, format!("{call} is repeated after it was done"));
            if self.is_closing(ask) {
                let is_early = self.now < self.terms.min_until && !self.is_hurried;
                self.check(!is_early, "the listeners are closed within `min`");
            } else {
                let is_within = failed.is_none_or(|failed| self.now.since(failed) <= LIMIT);
                self.check(is_within, format!("{call} is repeated for too long"));
                self.check(attempts <= MOST_ATTEMPTS, format!("{call} is repeated too often"));
            }
        }
        self.sequence += 1;
        let key = self.sequence;
        let (since, ended) = (self.now, Ended::default());
        self.asked = Some((key, Asked { ask, since, answer: None, taken: since, ended }));
        let is_late = self.late > 0 && self.rng.once_in(self.late);
        let takes = if is_late { self.rng.millis(900) } else { self.rng.millis(6) } + MS(self.slow);
        let answers = takes + self.rng.millis(if is_late { 300 } else { 6 });
        self.push(takes, Thing::Takes(key));
        self.push(answers, Thing::Answers(key));
    }

    fn step(&mut self, event: Event) {
        let is_prompt = self.slow + self.late == 0;
        let late = self.closing_asked.is_some_and(|asked| self.now.since(asked) > CALL);
        let late = late && is_prompt;
        self.check(!late, "the closing of the listeners is not answered");
        let actions = self.machine.handle(self.now, event);
        for action in actions {
            self.act(action);
        }
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Spawn(process) => {
                if process == ROUTER {
                    self.runs = true;
                    self.instance += 1;
                    self.envoy = Envoy::default();
                    (self.dialogue, self.closing_asked) = (None, None);
                }
                self.at_once.push_back(Event::Spawned(process));
            }
            Action::Drain { min, longest, .. } => {
                self.asked = None;
                self.drain = Drain { polled: (self.now, Duration::ZERO), ..Drain::default() };
                if self.rng.once_in(6) {
                    // This Envoy is the next epoch: its totals begin now, but its gauges also
                    // count what is under way in the old Envoy.
                    (self.envoy.requests, self.envoy.upgrades) = (0, 0);
                }
                self.until = self.now + longest;
                (self.is_answered, self.is_ended) = (false, false);
                let (min_until, stays_ready) = (self.now + min, self.stays_ready);
                self.terms = EnvoyTerms { min_until, longest, stays_ready, ..self.terms };
                let (dialogue, outputs) = Dialogue::begin(self.now, self.terms);
                self.dialogue = Some(dialogue);
                self.carry_out(outputs);
            }
            Action::CloseListeners(_) => {
                self.drain.was_closing = true;
                self.closing_asked = Some(self.now);
                let until = self.machine.state().drained_by(ROUTER);
                let is_quiet = !self.is_ended && until.is_some_and(|until| self.now < until);
                let age = self.now.since(self.reported_at);
                self.check(!is_quiet || age <= QUIET, "an old sample closes the listeners");
                if is_quiet {
                    self.check_quiet();
                }
                self.with(Dialogue::close);
            }
            Action::EndDrain(_) => {
                (self.is_ended, self.must_fail) = (true, false);
                let asked = self.asked.take();
                self.with(Dialogue::end);
                if self.asked.is_none() && self.dialogue.as_ref().is_some_and(Dialogue::is_asking) {
                    self.asked = asked;
                }
                let are_named = self.drain.answers.iter().all(|(call, result)| {
                    let Err(AskFailure { why, .. }) = result else { return true };
                    let error = format!("{call}: {why}");
                    self.drain.warnings.iter().any(|warning| warning.starts_with(&error))
                });
                self.check(are_named, "the last error of a call is not named");
                let unanswered =
                    self.drain.warnings.iter().any(|what| what.contains("had not answered"));
                self.check(!unanswered || self.drain.answers.is_empty(), "an answer is denied");
            }
            Action::StayReady => self.stays_ready = true,
            Action::Unready => {
                let is_due = std::mem::take(&mut self.stays_ready)
                    && self.terms.stays_ready
                    && self.terms.fail_healthcheck
                    && !self.is_ended;
                self.must_fail |= is_due;
                self.with(Dialogue::unready);
                let is_busy = self.asked.is_some();
                self.check(!is_due || is_busy, "the health check stays good");
            }
            Action::Stop { process: ENGINE, .. } | Action::Kill(ENGINE) => {
                self.at_once.push_back(exited(ENGINE));
            }
            Action::Stop { .. } | Action::Kill(_) => {
                let after = self.rng.millis(50);
                self.push(after, Thing::Exits(self.instance));
            }
            Action::Sweep(_) => self.at_once.push_back(Event::NothingLeft),
            Action::Note(Note::DrainOver { why, .. }) => self.over(why),
            Action::Exit(_) => self.exit = true,
            _ => {}
        }
    }

    /// Checks that no client has come in the quiet time that must precede the end of a drain.
    fn check_quiet(&mut self) {
        // The next epoch can have the same totals as the previous epoch.
        let is_exact = self.late == 0 && !self.drain.is_replaced;
        let Some((taken, _)) = self.drain.reported.filter(|_| is_exact) else { return };
        // The answers of a slow Envoy are older than the last look at the kernel's count.
        let seen =
            self.drain.looked_at.filter(|_| self.slow >= 300).map_or(taken, |at| at.max(taken));
        let since = Time((taken + MS(15)).since(Time(QUIET)));
        // With `exit_at`, the connections that may stay open may get further requests.
        let is_by_requests = self.drain.is_witnessed
            && self.terms.exit_at == 0
            && self.drain.calls.values().all(|(.., is_done)| !is_done);
        let times = if is_by_requests { &self.begun_at } else { &self.accepted_at };
        let mut times = times.iter().rev();
        let has_come = times.any(|at| *at > since && *at < seen);
        // holds: S276
        self.check(!has_come, "the drain is over while clients come");
    }

    /// Checks that the drain may be over for this reason.
    fn over(&mut self, why: DrainEnd) {
        match why {
            DrainEnd::Quiet => {
                let Some((taken, counted)) = self.drain.reported else { return };
                let is_late = self.drain.closed_at.is_none_or(|closed| closed <= taken);
                self.check(is_late, "a sample from before the closing ends the drain");
                // A connection that the kernel does not show may have come after the Envoy's last
                // answer.
                let unseen = if self.hides { MS(1500 + self.slow * 4) } else { Duration::ZERO };
                let is_old = |one: &&Connection| match counted.unit {
                    Unit::Connections => one.since + unseen < taken,
                    Unit::Requests => one.request.is_some_and(|began| began + unseen < taken),
                };
                let left = self.envoy.connections.values().filter(is_old).count() as u64;
                self.check(
                    left <= self.terms.exit_at,
                    "the drain is over while counted traffic is in flight",
                );
                // If no answer was wrong or late, and no client came for 2 s, there was time for a
                // complete answer.
                let came = self.accepted_at.last().map_or(Duration::MAX, |at| self.now.since(*at));
                let is_plain = self.wrong + self.late + self.others + self.terms.exit_at == 0
                    && self.lost_at == Time::NEVER
                    && !self.refuses
                    && came > MS(2000);
                if is_plain && self.slow == 300 && !self.hides && !self.drain.is_replaced {
                    // holds: S277
                    self.check(
                        self.last.completed.is_some(),
                        "the report does not have the totals",
                    );
                }
                let is_known = counted.active.is_some() && counted.total.is_some();
                self.check(is_known, "an unknown sample ends the drain");
                let is_of_envoy = counted.unit == self.terms.unit;
                // holds: S238
                self.check(
                    !self.drain.is_accepted || is_of_envoy,
                    "the kernel counts for an Envoy that drains",
                );
                // holds: S701
                self.check(self.drain.is_counted, "the drain is over although nobody has counted");
                self.check(self.now >= self.terms.min_until, "the drain is over within `min`");
            }
            DrainEnd::TimeOver => {
                self.check(self.now >= self.until, "the drain is over before `time`");
                let is_counted = self.terms.unit == Unit::Connections
                    && self.slow >= 300
                    && self.drain.looked_at.is_some_and(|at| self.now.since(at) < MS(1000))
                    && self.left() > self.terms.exit_at;
                if let (Some(asked), true) = (self.closing_asked, is_counted && !self.hides) {
                    // An Envoy that has never been live counts as one without traffic. After a
                    // replacement, the last count may come from the previous epoch.
                    let is_fresh = self.drain.reported.is_some_and(|(taken, _)| taken >= asked)
                        || self.drain.is_replaced && self.reported_at >= asked
                        || self.last == Sample::NOTHING.traffic();
                    // holds: S277
                    self.check(is_fresh, "the connections at the end are unknown");
                }
                let is_healthy = self.wrong + self.late == 0
                    && !self.refuses
                    && self.lost_at == Time::NEVER
                    && (self.slow < 100 || self.sees);
                // The calls, the list of the listeners and a first sample come before the end of
                // the drain. If `exit_at` is not 0, or if requests count, the kernel's count may
                // not show that the drain can end.
                let seen = SEEN + MS(self.slow) * 40;
                let is_busy = self.left() > self.terms.exit_at
                    || !self.envoy.connections.is_empty() && self.slow > 0
                    || self.now.since(self.busy_at) < seen
                    || self.until.since(self.terms.min_until) < seen;
                self.check(
                    !is_healthy || is_busy,
                    "nothing was open, but the drain lasted for all of `time`",
                );
                let is_refused = self.refuses || self.lost_at <= self.drain.polled.0;
                let is_owed = self.now.since(self.owed_at) < SEEN
                    || self.until.since(self.terms.min_until) < SEEN
                    || self.until.since(self.drain.polled.0) < LIMIT + SEEN
                    || self.drain.is_replaced;
                // holds: S700
                self.check(
                    !is_refused || !self.sees || is_owed,
                    "no answer was owed, but a drain without an admin lasted for all of `time`",
                );
            }
            DrainEnd::NotLive => {
                let was_unused = self.was_unused_at < self.live_at;
                self.check(was_unused, "the drain is over as not live, but Envoy was live");
                self.check(
                    self.now.since(self.was_unused_at) <= CALL,
                    "the drain ends long after its reason is known",
                );
            }
            // holds: S700
            DrainEnd::NotAccepted => self.check(false, "the drain only lasts for `min`"),
            _ => {}
        }
    }
}

// holds: S30, S43, S48, S51
#[test]
fn every_promise_of_the_dialogue_holds_with_any_admin() {
    let runs = number("DRAINIT_SIM_RUNS").unwrap_or(10_000);
    let all = || [1_173_118].into_iter().chain(0..runs).collect();
    let seeds: Vec<_> = number("DRAINIT_SIM_SEED").map_or_else(all, |seed| vec![seed]);
    for seed in seeds {
        let mut world = World::new(seed);
        world.play();
        if let Some(why) = &world.broken {
            panic!(
                "seed {seed}: {why}, {:?} after the start",
                world.now.since(Time(MS(1_000_000)))
            );
        }
    }
}
