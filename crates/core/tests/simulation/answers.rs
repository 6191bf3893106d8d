//! Plays the count of connections that owe an answer against a model of a server that knows which
//! it owes. One client asks in one of several ways, the kernel's clock ticks every 4 ms, and the
//! looks come at random times.

use std::collections::VecDeque;

use crate::cases::MS;
use crate::scenario::Rng;
use crate::tests::number;
use drainit_core::connections::answers::{Answers, Connection};

const TICK: u64 = 4;
pub(super) const IDLE: u64 = 1500;
const END: u64 = 12_000;

/// How the client asks, and how the server answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// One request after the other, each in one segment, answered at once or later.
    Plain,
    /// As `Plain`, with a pause after each answer, on a connection that is new.
    Calm,
    /// Requests of several segments.
    Uploads,
    /// The next request comes before the answer to the last one.
    Pipelined,
    /// Requests side by side, answered in any order.
    Multiplexed,
    /// The answer comes in parts.
    Streams,
}

/// A request whose answer is not complete.
#[derive(Clone, Debug)]
pub(super) struct Request {
    /// The times at which the parts of the answer are sent.
    parts: VecDeque<u64>,
    /// Whether another request came in the same segment.
    is_joined: bool,
    /// The looks that have seen that parts were sent.
    seen: u32,
    has_sent: bool,
    /// Whether nothing has moved for `idle` while it was under way, and the last that moved was
    /// not a request alone.
    was_idle: bool,
    /// Whether it came behind a request that the documents name: one of several in a segment, one
    /// that was quiet for `idle`, or
    /// one whose answer, of which no look has seen a second part, ended in the same tick.
    is_hidden: bool,
}

pub(super) struct Model {
    rng: Rng,
    pub(super) kind: Kind,
    pub(super) now: u64,
    connection: Connection,
    received_at: u64,
    sent_at: u64,
    /// The segments of the request that comes, and whether another request ends with the last.
    coming: VecDeque<u64>,
    pub(super) opens_at: u64,
    asks_at: u64,
    /// From this time on, the client asks nothing more.
    pub(super) quits_at: u64,
    pub(super) requests: Vec<Request>,
    /// The tick of the last end of an answer, and whether the documents name its request.
    ended: Option<(u64, bool)>,
    /// Whether several requests were under way at the first look.
    was_mixed: bool,
}

impl Model {
    pub(super) fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let all = [
            Kind::Plain,
            Kind::Calm,
            Kind::Uploads,
            Kind::Pipelined,
            Kind::Multiplexed,
            Kind::Streams,
        ];
        let kind = all[rng.below(all.len() as u64) as usize];
        let begins = rng.below(4000);
        Self {
            rng,
            kind,
            now: 0,
            connection: Connection { cookie: 1, can_send: true, ..Connection::default() },
            received_at: begins,
            sent_at: begins,
            coming: VecDeque::new(),
            opens_at: begins,
            asks_at: begins,
            quits_at: u64::MAX,
            requests: Vec::new(),
            ended: None,
            was_mixed: false,
        }
    }

    /// A time in which a server or a client thinks: none, less than a tick, or up to `most`.
    pub(super) fn think(&mut self, most: u64) -> u64 {
        match self.rng.below(4) {
            0 => 0,
            1 => self.rng.below(TICK),
            2 => self.rng.below(60),
            _ => self.rng.below(most),
        }
    }

    fn receive(&mut self) {
        self.connection.received += 100;
        self.connection.segments += 1;
        self.received_at = self.now;
    }

    /// The server has received a whole request.
    fn begin(&mut self, is_joined: bool) {
        let after = self.now + self.think(3000);
        let mut parts = VecDeque::from([after]);
        if self.kind == Kind::Streams {
            for _ in 0..self.rng.below(6) {
                let last = parts.back().copied().unwrap_or(after);
                let pause = self.think(1200);
                parts.push_back(last + pause);
            }
        }
        let is_behind = self.requests.iter().any(Request::is_documented);
        let is_hidden = is_behind || self.ended == Some((self.now / TICK, true));
        self.requests.push(Request {
            parts,
            is_joined,
            seen: 0,
            has_sent: false,
            was_idle: false,
            is_hidden,
        });
    }

    pub(super) fn is_open(&self) -> bool {
        self.now >= self.opens_at
    }

    /// Notes that a look comes now, perhaps the first.
    pub(super) fn note_look(&mut self, is_first: bool) {
        self.was_mixed |= is_first && self.requests.len() > 1;
        for request in &mut self.requests {
            if std::mem::take(&mut request.has_sent) {
                request.seen += 1;
            }
        }
    }

    fn note_idle(&mut self) {
        let moved = self.received_at.max(self.sent_at);
        let has_sent = self.connection.segments_sent > 0;
        let is_asking = !has_sent || self.received_at / TICK > self.sent_at / TICK;
        if self.now.saturating_sub(moved) >= IDLE - TICK && !is_asking {
            self.requests.iter_mut().for_each(|request| request.was_idle = true);
        }
    }

    /// Everything that happens in this millisecond, the answers before or after the requests.
    pub(super) fn step(&mut self) {
        let is_first = self.rng.once_in(2);
        if is_first {
            self.answer();
        }
        self.ask();
        self.answer();
        self.note_idle();
    }

    fn ask(&mut self) {
        let mut ends = false;
        while self.coming.front().is_some_and(|at| *at <= self.now) {
            self.coming.pop_front();
            self.receive();
            ends = self.coming.is_empty();
        }
        if ends {
            self.begin(false);
        }
        let most = match self.kind {
            Kind::Plain | Kind::Calm | Kind::Uploads | Kind::Streams => 1,
            Kind::Pipelined => 2,
            Kind::Multiplexed => 4,
        };
        let may_ask = self.requests.len() < most && self.coming.is_empty();
        if !may_ask || self.now < self.asks_at || self.now >= self.quits_at {
            return;
        }
        let pause = self.think(3000);
        self.asks_at = self.now + pause;
        if self.kind == Kind::Uploads {
            let segments = 1 + self.rng.below(4);
            let mut at = self.now;
            for _ in 0..segments {
                self.coming.push_back(at);
                at += 1 + self.think(80);
            }
            return;
        }
        self.receive();
        let is_joined = most > 1 && self.rng.once_in(4);
        self.begin(is_joined);
        if is_joined {
            self.begin(true);
        }
    }

    fn answer(&mut self) {
        let in_order = self.kind == Kind::Pipelined;
        let (now, mut index) = (self.now, 0);
        while index < self.requests.len() {
            let request = &mut self.requests[index];
            while request.parts.front().is_some_and(|at| *at <= now) {
                request.parts.pop_front();
                request.has_sent = true;
                self.connection.written += 1000;
                self.connection.segments_sent += 1;
                self.sent_at = now;
            }
            match request.parts.is_empty() {
                true => {
                    let request = self.requests.remove(index);
                    let is_in_parts = self.kind == Kind::Streams && request.seen <= 1;
                    let is_named = is_in_parts || request.is_joined || request.is_hidden;
                    self.ended = Some((now / TICK, is_named));
                    let pause = if self.kind == Kind::Calm { 310 } else { self.rng.below(2) };
                    self.asks_at = self.asks_at.max(now + pause);
                }
                false if in_order => return,
                false => index += 1,
            }
        }
    }

    pub(super) fn seen(&self) -> Connection {
        let ago = |at: u64| MS((self.now / TICK - at / TICK) * TICK);
        Connection {
            received_ago: ago(self.received_at),
            sent_ago: ago(self.sent_at),
            ..self.connection
        }
    }

    /// Whether the documents name this case, in which the count may be too low.
    pub(super) fn is_documented(&self) -> bool {
        // No look has seen two parts of the answer one after the other.
        let is_first_part = |request: &Request| {
            self.kind == Kind::Streams
                && request.seen <= 1
                && (request.seen > 0 || request.has_sent)
        };
        self.was_mixed || self.requests.iter().all(|it| it.is_documented() || is_first_part(it))
    }
}

impl Request {
    fn is_documented(&self) -> bool {
        self.was_idle || self.is_joined || self.is_hidden
    }
}

/// Plays one connection. Returns the number of looks while an answer is owed, and of those that
/// show one although none is owed.
fn play(seed: u64) -> (Kind, u32, u32) {
    let mut model = Model::new(seed);
    let mut answers = Answers::new(MS(IDLE));
    let begins = if model.kind == Kind::Calm { 0 } else { model.rng.below(6000) };
    let mut looks_at = begins;
    let (mut looks, mut owed, mut vain) = (0, 0, 0);
    while model.now < END {
        model.step();
        if model.now >= looks_at {
            looks_at = model.now + [25, 100, 300][model.rng.below(3) as usize];
            model.note_look(looks == 0);
            let seen = if model.is_open() { vec![model.seen()] } else { vec![] };
            let counts = answers.looked(&seen);
            let owes = !model.requests.is_empty();
            assert!(
                counts.owing > 0 || !owes || model.is_documented(),
                "seed {seed}, {:?} at {}: {:?} {:?}",
                model.kind,
                model.now,
                model.requests,
                model.seen(),
            );
            looks += 1;
            owed += u32::from(owes);
            vain += u32::from(counts.owing > 0 && !owes);
        }
        model.now += 1;
    }
    (model.kind, owed, vain)
}

// holds: S300
#[test]
fn answers_that_are_owed_are_counted_but_in_the_documented_cases() {
    let (mut owed_looks, mut vain_looks) = (0, 0);
    for seed in 0..number("DRAINIT_SIM_RUNS").unwrap_or(3000) {
        let (kind, owed, vain) = play(seed);
        if kind == Kind::Calm {
            assert!(vain == 0, "seed {seed}: the answer is known");
        }
        (owed_looks, vain_looks) = (owed_looks + owed, vain_looks + vain);
    }
    // The count says more than that something may be owed.
    assert!(vain_looks < owed_looks, "{vain_looks} {owed_looks}");
}
