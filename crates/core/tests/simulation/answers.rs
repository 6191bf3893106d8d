//! Tests drainit's count of the connections that owe an answer, against a model of a server, which
//! knows the answers that it owes. One client sends requests in one of several ways, the kernel's
//! clock ticks every 4 ms, and the looks come at random times, some of them long after the previous
//! look.

use std::collections::VecDeque;

use crate::cases::MS;
use crate::scenario::Rng;
use crate::tests::number;
use drainit_core::connections::answers::{Answers, Awaits, Connection};
use drainit_core::connections::endings::Ending;

const TICK: u64 = 4;
pub(super) const IDLE: u64 = 1500;
const END: u64 = 12_000;

/// How the client asks, and how the server answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// One request after the other, each in one segment. The answer comes at once or later.
    Plain,
    /// A request, after whose answer the server closes the connection.
    Closes,
    /// Requests of several segments.
    Uploads,
    /// The next request comes before the answer to the last one.
    Pipelined,
    /// Requests side by side, answered in any order.
    Multiplexed,
    /// The answer comes in parts.
    Streams,
}

/// A request whose answer is not complete: the times at which the parts of the answer are sent.
#[derive(Clone, Debug)]
pub(super) struct Request(VecDeque<u64>);

pub(super) struct Model {
    rng: Rng,
    pub(super) kind: Kind,
    pub(super) now: u64,
    connection: Connection,
    received_at: u64,
    sent_at: u64,
    /// The times at which the segments of the current request arrive. The request ends with the
    /// last segment.
    coming: VecDeque<u64>,
    pub(super) opens_at: u64,
    asks_at: u64,
    /// From this time on, the client sends no further request.
    pub(super) quits_at: u64,
    pub(super) requests: Vec<Request>,
    /// The longest time without data after which an answer has gone on.
    pause: u64,
    is_closed: bool,
}

impl Model {
    pub(super) fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let all = [
            Kind::Plain,
            Kind::Closes,
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
            pause: 0,
            is_closed: false,
        }
    }

    /// A random pause of a server or a client: none, less than a tick, or up to `most`.
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
        self.received_at = self.now;
    }

    /// The server has received a whole request.
    fn begin(&mut self) {
        let after = self.now + self.think(3000);
        let mut parts = VecDeque::from([after]);
        if self.kind == Kind::Streams {
            for _ in 0..self.rng.below(6) {
                let last = parts.back().copied().unwrap_or(after);
                let pause = self.think(2 * IDLE);
                parts.push_back(last + pause);
            }
        }
        self.requests.push(Request(parts));
    }

    pub(super) fn is_open(&self) -> bool {
        self.now >= self.opens_at && !self.is_closed
    }

    /// The longest time after which this connection counts as answered.
    pub(super) fn idle(&self) -> u64 {
        IDLE.max(2 * self.pause)
    }

    /// The time at which the connection last carried data, in either direction.
    pub(super) fn moved_at(&self) -> u64 {
        self.received_at.max(self.sent_at)
    }

    /// Plays everything that happens in this millisecond: the answers, and before or after them the
    /// requests.
    pub(super) fn step(&mut self) {
        let is_first = self.rng.once_in(2);
        if is_first {
            self.answer();
        }
        self.ask();
        self.answer();
    }

    fn ask(&mut self) {
        let mut ends = false;
        while self.coming.front().is_some_and(|at| *at <= self.now) {
            self.coming.pop_front();
            self.receive();
            ends = self.coming.is_empty();
        }
        if ends {
            self.begin();
        }
        let most = match self.kind {
            Kind::Plain | Kind::Closes | Kind::Uploads | Kind::Streams => 1,
            Kind::Pipelined => 2,
            Kind::Multiplexed => 4,
        };
        let may_ask = self.requests.len() < most && self.coming.is_empty();
        let is_over = self.now >= self.quits_at || self.is_closed;
        if !may_ask || self.now < self.asks_at || is_over {
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
        self.begin();
        if is_joined {
            self.begin();
        }
    }

    fn answer(&mut self) {
        let in_order = self.kind == Kind::Pipelined;
        let (now, mut index) = (self.now, 0);
        while index < self.requests.len() {
            let Request(parts) = &mut self.requests[index];
            while parts.front().is_some_and(|at| *at <= now) {
                parts.pop_front();
                self.pause = self.pause.max(now - self.received_at.max(self.sent_at));
                self.connection.has_sent = true;
                self.sent_at = now;
            }
            match parts.is_empty() {
                true => {
                    self.requests.remove(index);
                    self.asks_at = self.asks_at.max(now + self.rng.below(2));
                    self.is_closed = self.kind == Kind::Closes;
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

    /// Whether this is the documented case in which the count may be too low: nothing has moved for
    /// `idle`, and the client was not the last to send.
    pub(super) fn is_documented(&self) -> bool {
        let has_asked = !self.connection.has_sent || self.received_at / TICK > self.sent_at / TICK;
        self.now.saturating_sub(self.moved_at()) >= IDLE - TICK && !has_asked
    }
}

/// Checks what drainit would say if the connection ended now. `before` has the connection at the
/// first look after the latest request.
fn check_ending(seed: u64, model: &Model, before: Option<&Connection>) {
    let end = Connection { can_send: false, ..model.seen() };
    let ending = end.ending(before, false, MS(IDLE));
    let is_owed = !model.requests.is_empty() || !model.coming.is_empty();
    let is_asked_last =
        end.received > 0 && (!end.has_sent || model.received_at / TICK > model.sent_at / TICK);
    let was_sending = before.is_some_and(|before| {
        before.has_sent && before.sent_ago <= before.received_ago && before.sent_ago < MS(IDLE)
    });
    // holds: S784
    assert!(
        match ending {
            Ending::Cut => is_owed && is_asked_last,
            Ending::Unknown => true,
            _ => !is_owed || !is_asked_last && !was_sending,
        },
        "seed {seed}, {:?} at {}: {ending:?} {end:?} {before:?} {:?}",
        model.kind,
        model.now,
        model.requests,
    );
}

/// Plays one connection, and returns the number of looks that have shown that an answer is owed.
fn play(seed: u64) -> u32 {
    let mut model = Model::new(seed);
    let mut answers = Answers::new(Awaits::Answers(MS(IDLE)));
    let mut looks_at = model.rng.below(6000);
    let first = looks_at;
    let (mut owed, mut before) = (0, None::<Connection>);
    while model.now < END {
        model.step();
        before = before.filter(|before| before.has_all_of(&model.seen()));
        if model.now >= model.opens_at {
            check_ending(seed, &model, before.as_ref());
        }
        if model.now >= looks_at {
            // The longest pause stands for the time between the end of a drain and the stop:
            // drainit does not look in that time.
            looks_at = model.now + [25, 100, 300, 4000][model.rng.below(4) as usize];
            let seen = if model.is_open() { vec![model.seen()] } else { vec![] };
            let counts = answers.looked(&seen);
            before = before.or(seen.first().copied());
            let is_counted = counts.owing + counts.unknown > 0;
            let owes = !model.requests.is_empty();
            let is_still = model.now >= model.moved_at() + model.idle() + TICK;
            let is_asking = owes || !model.coming.is_empty();
            assert!(
                if is_counted { is_asking || !is_still } else { !owes || model.is_documented() },
                "seed {seed}, {:?} at {}: {counts:?} {:?} {:?}",
                model.kind,
                model.now,
                model.requests,
                model.seen(),
            );
            // holds: S504
            let was_seen = model.moved_at() + IDLE > first + TICK;
            assert!(
                !owes || is_counted || !was_seen || counts.silent > 0,
                "seed {seed}, {:?} at {}: an answer is cut and not named, {counts:?}",
                model.kind,
                model.now,
            );
            owed += u32::from(owes && is_counted);
        }
        model.now += 1;
    }
    owed
}

// holds: S300, S430
#[test]
fn answers_that_are_owed_are_counted_unless_nothing_moves_for_idle() {
    let runs = number("DRAINIT_SIM_RUNS").unwrap_or(3000);
    assert!((0..runs).map(play).sum::<u32>() > 0);
}
