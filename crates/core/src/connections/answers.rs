//! Finds the connections that owe an answer, as far as the kernel can tell. This module is pure:
//! the result of each look at the kernel's list goes in, and the number of connections that owe an
//! answer comes out.
//!
//! If the server has received data since it last sent data, the connection owes an answer. If the
//! server has sent data since it last received data, or did both in the same tick of the kernel's
//! clock, nothing proves that the answer is complete. A part of the answer may be missing (a
//! stream), or the answer may belong to an earlier request (pipelining, HTTP/2). A connection of
//! this kind is unknown: it counts as busy until nothing has moved on it for `idle`. An answer that
//! has paused while drainit looked and gone on may pause again, so its connection counts for twice
//! its longest pause.
//!
//! The kernel has no better evidence. A later request shows that the answer before it is complete,
//! but then the later request needs an answer. Segments and bytes say how much has moved, and not
//! how much is missing: the first part of a stream looks like a short answer.

use alloc::collections::BTreeMap;
use core::time::Duration;

use crate::event::Unit;
use crate::prelude::*;
use crate::traffic::Traffic;

/// With [`Awaits::Read`], a connection counts for this long after the client has last sent something.
pub const READ_PAUSE: Duration = Duration::from_secs(1);

/// The kernel rounds its ticks to milliseconds, so rounding can change the difference of two times
/// by this much.
const ROUNDING: Duration = Duration::from_millis(2);

/// This many witnesses are chosen beyond those that are necessary, so that the end of one does not cost
/// a look at all connections.
const SPARE: usize = 7;
/// With more witnesses, a look at all connections costs less.
const MOST_WITNESSES: usize = 50;

/// A connection, as one look at the kernel's list shows it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Connection {
    /// The number that the kernel has given this socket, and gives to no other socket.
    pub cookie: u64,
    /// Whether the client is drainit, which connects to probe the server or to ask it to drain.
    pub is_ours: bool,
    /// Whether the server has not accepted the connection yet, or has not read all of its bytes.
    pub is_unread: bool,
    /// Whether the server has not accepted the connection yet.
    pub is_waiting: bool,
    /// Whether the client has not acknowledged all bytes that the server has sent.
    pub is_sending: bool,
    /// Whether the server can still send.
    pub can_send: bool,
    /// The bytes that the server has received.
    pub received: u64,
    /// The segments with data that the server has received.
    pub segments: u32,
    /// Whether the server has sent data.
    pub has_sent: bool,
    /// The time since the server has last received data, in ticks of some milliseconds. If the
    /// server has received none, the time since the connection was accepted.
    pub received_ago: Duration,
    /// The time since the server has last sent data, in the same ticks.
    pub sent_ago: Duration,
}

/// The event for which a drain waits on each connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Awaits {
    /// The server owes no answer. An answer may pause for this time.
    Answers(Duration),
    /// The server has read all that the client has sent, and owes no answer: the client is a
    /// publisher.
    Read,
}

/// Whether a connection owes an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Debt {
    Nothing,
    /// The kernel cannot tell.
    Unknown,
    Owed,
}

impl Connection {
    /// Whether the server has received or sent something since an earlier look at this connection.
    /// While nothing moves, `received_ago` and `sent_ago` grow equally.
    fn has_moved_since(&self, last: &Self) -> bool {
        let times = [self.sent_ago + last.received_ago, last.sent_ago + self.received_ago];
        self.received != last.received || times[0].abs_diff(times[1]) > ROUNDING
    }

    /// The time since data last moved, in either direction.
    fn quiet(&self) -> Duration {
        self.received_ago.min(self.sent_ago)
    }

    fn was_used(&self) -> bool {
        self.received > 0 || self.has_sent
    }

    /// Whether the latest data came from the client. A request can arrive in the tick in which its
    /// connection began. Then `received_ago` and `sent_ago` are equal, although nothing was sent.
    pub fn is_asking(&self) -> bool {
        self.received > 0 && (!self.has_sent || self.received_ago < self.sent_ago)
    }

    pub(super) fn answer(&self, awaits: Awaits) -> Debt {
        let Awaits::Answers(idle) = awaits else {
            return match self.received {
                _ if self.is_unread => Debt::Owed,
                1.. if self.received_ago < READ_PAUSE => Debt::Unknown,
                _ => Debt::Nothing,
            };
        };
        let is_moving = self.was_used() && self.quiet() < idle;
        if self.is_unread || self.can_send && self.is_asking() {
            Debt::Owed
        } else if self.is_sending || self.can_send && is_moving {
            Debt::Unknown
        } else {
            Debt::Nothing
        }
    }
}

/// A connection, as all looks so far have shown it.
#[derive(Clone, Copy, Debug)]
struct Seen {
    /// The last look at all connections.
    last: Connection,
    /// The last look at this connection.
    latest: Connection,
    /// Whether the connection owes an answer, or may have owed one at any time since the first look.
    was_busy: bool,
    /// Whether something has moved on the connection since the first look.
    is_watched: bool,
    /// The longest time without data after which an answer has gone on.
    pause: Duration,
}

impl Seen {
    /// The connection as one more look shows it.
    fn compared_with(self, now: &Connection, awaits: Awaits) -> Self {
        let pause = self.pause_with(now, awaits);
        let is_watched = self.is_watched || now.has_moved_since(&self.latest);
        Self { latest: *now, pause, is_watched, ..self }
    }

    /// The longest pause within an answer after a further look. The server has sent the latest data
    /// before the pause and after it, and the client has sent nothing. A pause that began before the
    /// first look counts only if the connection counted until its end: a longer one is probably the
    /// time between two pings.
    fn pause_with(&self, now: &Connection, awaits: Awaits) -> Duration {
        let Awaits::Answers(idle) = awaits else { return Duration::ZERO };
        let (latest, pause) = (&self.latest, self.latest.quiet());
        let goes_on = now.received == latest.received && now.has_moved_since(latest);
        let was_seen = self.is_watched || pause < idle_after(idle, self.pause);
        let is_within = goes_on && !latest.is_asking() && was_seen;
        if is_within { self.pause.max(pause) } else { self.pause }
    }
}

/// The time after which a silent connection counts as answered, if its answers have paused so long.
fn idle_after(idle: Duration, pause: Duration) -> Duration {
    idle.max(pause.saturating_mul(2))
}

impl Awaits {
    /// The event for which a drain waits on a connection whose answers have paused so long.
    fn after(self, pause: Duration) -> Self {
        match self {
            Self::Answers(idle) => Self::Answers(idle_after(idle, pause)),
            Self::Read => Self::Read,
        }
    }

    /// If nothing moves for this time, a connection that is unknown counts no longer.
    fn settles(self, connection: &Connection) -> Duration {
        match self {
            Self::Answers(idle) => idle.saturating_sub(connection.quiet()),
            Self::Read => READ_PAUSE.saturating_sub(connection.received_ago),
        }
    }
}

/// The connections of a process, as all looks at the kernel's list so far have shown them.
#[derive(Debug)]
pub struct Answers {
    awaits: Awaits,
    /// The connections of the last look at all of them, by cookie; `None` before the first look.
    connections: Option<BTreeMap<u64, Seen>>,
    /// `connected` counts the new connections that the looks have shown. `asked` counts how often a
    /// look has shown a new connection or a new request.
    connected: u64,
    asked: u64,
}

/// The numbers that one look at the kernel's list shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Open connections.
    pub open: u64,
    /// Connections that owe an answer.
    pub owing: u64,
    /// Connections that may owe an answer; the kernel cannot tell.
    pub unknown: u64,
    /// Open connections that may have owed an answer at some time since the first look. They count
    /// as answered only because nothing has moved on them for `idle`. The server can still send on
    /// them, so a stop may cut their answers.
    pub silent: u64,
    /// A number that grows whenever a look shows a new connection.
    pub connected: u64,
    /// A number that grows whenever a look shows a new connection or newly received bytes.
    pub asked: u64,
    /// If nothing moves for this time, no connection is unknown any more, except those on which the
    /// server is still sending. Zero if this time is over, or if no connection is unknown.
    pub settles: Duration,
}

impl Counts {
    /// The number of connections that owe an answer or may owe one, as far as the kernel can tell.
    pub fn busy(&self) -> u64 {
        self.owing + self.unknown
    }

    /// The traffic at this look. If `is_last`, the silent connections count as unsure, because a
    /// stop may cut their answers.
    pub fn traffic(&self, is_last: bool) -> Traffic {
        let (connections, requests) = (Some(self.open), Some(self.owing));
        let unsure = Some(self.unknown + if is_last { self.silent } else { 0 });
        let connected = Some(self.connected);
        Traffic { connections, connected, requests, unsure, ..Traffic::default() }
    }
}

impl Answers {
    pub fn new(awaits: Awaits) -> Self {
        Self { awaits, connections: None, connected: 0, asked: 0 }
    }

    /// The cookies of some connections of the last look that count for a drain with these limits,
    /// first those that will probably count for the longest time. While more than `exit_at` of them
    /// count, the drain cannot be over, whatever the other connections do. Empty if the last look
    /// shows no such connections.
    pub fn witnesses(&self, unit: Unit, exit_at: u64) -> Vec<u64> {
        let most = usize::try_from(exit_at).unwrap_or(usize::MAX).saturating_add(1 + SPARE);
        let all = self.connections.iter().flatten().map(|(_, seen)| &seen.last);
        let rank = |one: &Connection| match one.answer(self.awaits_of(one.cookie)) {
            Debt::Owed => Duration::ZERO,
            _ => one.quiet(),
        };
        let mut counted: Vec<_> =
            all.filter(|one| !one.is_ours && self.counts(one, unit)).collect();
        if counted.len() as u64 <= exit_at || most > MOST_WITNESSES {
            return Vec::new();
        }
        if counted.len() > most {
            counted.select_nth_unstable_by_key(most, |one| rank(one));
            counted.truncate(most);
        }
        counted.sort_unstable_by_key(|one| rank(one));
        counted.iter().map(|one| one.cookie).collect()
    }

    /// The event for which a drain waits on this connection: an answer may pause for `idle`, or for twice the
    /// longest pause that the answers on the connection have shown.
    fn awaits_of(&self, cookie: u64) -> Awaits {
        let seen = self.connections.as_ref().and_then(|all| all.get(&cookie));
        self.awaits.after(seen.map_or(Duration::ZERO, |seen| seen.pause))
    }

    /// Handles a look at one connection. [`Self::looked`] handles a look at all of them.
    pub fn saw(&mut self, connection: &Connection) {
        let all = self.connections.as_mut();
        if let Some(seen) = all.and_then(|all| all.get_mut(&connection.cookie)) {
            *seen = seen.compared_with(connection, self.awaits);
        }
    }

    /// If nothing moves for this time, this connection counts as answered ([`Counts::settles`]).
    pub fn settles(&self, connection: &Connection) -> Duration {
        let awaits = self.awaits_of(connection.cookie);
        match connection.answer(awaits) {
            Debt::Unknown => awaits.settles(connection),
            _ => Duration::ZERO,
        }
    }

    /// Whether a connection counts for a drain that waits for answers or for the end of the
    /// connections.
    pub fn counts(&self, connection: &Connection, unit: Unit) -> bool {
        let awaits = self.awaits_of(connection.cookie);
        unit == Unit::Connections || connection.answer(awaits) != Debt::Nothing
    }

    /// Handles a look at all open connections.
    pub fn looked(&mut self, seen: &[Connection]) -> Counts {
        let before = self.connections.take();
        let mut connections = BTreeMap::new();
        let mut counts = Counts::default();
        for now in seen {
            let before_now = before.as_ref().and_then(|before| before.get(&now.cookie));
            let last = before_now.map(|seen| seen.last);
            let compared = before_now.map(|seen| seen.compared_with(now, self.awaits));
            let pause = compared.map_or(Duration::ZERO, |seen| seen.pause);
            let awaits = self.awaits.after(pause);
            // drainit may close its connection before the server does. The server's side then no
            // longer shows that drainit was the client.
            let is_ours = now.is_ours || last.is_some_and(|last| last.is_ours);
            let answer = now.answer(awaits);
            let is_new = last.is_none_or(|last| last.received != now.received);
            // A request can come and be answered between two looks, so any movement counts. At the
            // first look, there is no earlier look to compare with. Only a request in the same tick
            // as the last answer then counts, because the times do not show which came later.
            let has_moved = match before {
                None => now.received_ago == now.sent_ago,
                Some(_) => last.is_none_or(|last| now.has_moved_since(&last)),
            };
            let was_busy =
                now.was_used() && has_moved || before_now.is_some_and(|seen| seen.was_busy);
            let is_busy = answer != Debt::Nothing;
            let last = Connection { is_ours, ..*now };
            // All that has moved on a new connection has done so since the first look.
            let is_watched = compared.map_or(before.is_some(), |seen| seen.is_watched);
            let was_busy = was_busy || is_busy;
            let is_last = Seen { last, latest: *now, was_busy, is_watched, pause };
            // The kernel may list a connection twice if other connections end during the listing.
            if connections.insert(now.cookie, is_last).is_some() || is_ours {
                continue;
            }
            counts.open += 1;
            counts.owing += u64::from(answer == Debt::Owed);
            let may_be_answered = self.awaits != Awaits::Read && now.can_send;
            counts.silent += u64::from(was_busy && !is_busy && may_be_answered);
            if answer == Debt::Unknown {
                counts.unknown += 1;
                counts.settles = counts.settles.max(awaits.settles(now));
            }
            self.connected += u64::from(before_now.is_none());
            self.asked += u64::from(is_new);
        }
        self.connections = Some(connections);
        (counts.connected, counts.asked) = (self.connected, self.asked);
        counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn used() -> Connection {
        let open = Connection { cookie: 1, can_send: true, ..Connection::default() };
        Connection { received: 90, has_sent: true, ..open }
    }

    // holds: S360, S430, S431
    #[test]
    fn a_connection_owes_an_answer_or_nothing_or_is_unknown() {
        let ago = Duration::from_millis;
        let (used, open) = (used(), Connection { received: 0, has_sent: false, ..used() });
        let (old, new, still) = (ago(2000), ago(500), ago(5000));
        let closed = Connection { can_send: false, is_sending: true, ..used };
        let asked_again = Connection { received_ago: new, sent_ago: old, ..closed };
        for (connection, owing, unknown) in [
            // Nobody has asked anything yet.
            (open, 0, 0),
            (Connection { is_unread: true, ..open }, 1, 0),
            (Connection { received: 9, ..open }, 1, 0),
            (Connection { received_ago: new, sent_ago: old, ..used }, 1, 0),
            (Connection { received_ago: still, sent_ago: still * 2, ..used }, 1, 0),
            // The server has sent data in the same tick as the request, or in a later tick.
            (Connection { received_ago: new, sent_ago: new, ..used }, 0, 1),
            (Connection { received_ago: old, sent_ago: new, ..used }, 0, 1),
            (Connection { received_ago: still, sent_ago: still, ..used }, 0, 0),
            // The client has not acknowledged the answer yet; the kernel still sends it.
            (Connection { received_ago: old, sent_ago: still, is_sending: true, ..used }, 1, 0),
            (Connection { received_ago: still, sent_ago: still, is_sending: true, ..used }, 0, 1),
            (Connection { received_ago: still, sent_ago: still, is_unread: true, ..used }, 1, 0),
            // A server that has closed its side owes no further answer, but may still be sending
            // one.
            (Connection { received_ago: new, sent_ago: old, can_send: false, ..used }, 0, 0),
            (closed, 0, 1),
            (asked_again, 0, 1),
        ] {
            let mut answers = Answers::new(Awaits::Answers(ago(5000)));
            let counts = answers.looked(&[connection, connection]);
            let quiet = connection.received_ago.min(connection.sent_ago);
            let settles = if unknown > 0 { still.saturating_sub(quiet) } else { ago(0) };
            let is_perhaps = connection.can_send && connection.received_ago == still;
            let is_perhaps = is_perhaps && connection.sent_ago == still && !connection.is_sending;
            let silent = u64::from(is_perhaps && !connection.is_unread);
            let expected =
                Counts { open: 1, owing, unknown, silent, connected: 1, asked: 1, settles };
            assert_eq!(counts, expected, "{connection:?}");
            assert_eq!(answers.looked(&[connection]).asked, 1, "nothing has come");
            let more = Connection { received: 91, ..connection };
            assert_eq!(answers.looked(&[more]).asked, 2, "a request has come");
            let none = Counts { connected: 1, asked: 2, ..Counts::default() };
            assert_eq!(answers.looked(&[]), none);
        }
    }

    #[test]
    fn the_connection_that_is_unknown_for_longest_says_when_all_are_known() {
        let ago = Duration::from_millis;
        let [early, late] = [(1, 2000), (2, 500)].map(|(cookie, quiet)| Connection {
            cookie,
            received_ago: ago(quiet),
            sent_ago: ago(quiet),
            ..used()
        });
        for all in [[early, late], [late, early]] {
            let counts = Answers::new(Awaits::Answers(ago(5000))).looked(&all);
            assert_eq!((counts.unknown, counts.settles), (2, ago(4500)), "{all:?}");
        }
    }

    // holds: S894
    #[test]
    fn an_answer_that_has_paused_may_pause_twice_as_long() {
        let ago = Duration::from_millis;
        // Looks at a stream that was requested a minute ago. Before a look after a shorter pause, the
        // server has sent something.
        let seen = |looks: &[u64]| {
            let (mut now, mut last) = (60_000, 0);
            let one = |quiet: &u64| {
                now += if *quiet > last { *quiet - last } else { *quiet + 5 };
                last = *quiet;
                Connection { received_ago: ago(now), sent_ago: ago(*quiet), ..used() }
            };
            looks.iter().map(one).collect::<Vec<_>>()
        };
        // Looks at a stream with these times since its last part, and whether the last one counts.
        for (looks, is_counted) in [
            (&[4000, 10, 7900][..], true),
            (&[4000, 10, 8000], false),
            // The longest pause counts, wherever it comes.
            (&[1000, 10, 4000, 10, 2000, 10, 7900], true),
            (&[4000, 10, 1000, 10, 7900], true),
            // It has not gone on yet, or was short.
            (&[1000, 4000, 5000], false),
            (&[2000, 10, 5000], false),
            // It began before the first look, and is longer than an answer may pause.
            (&[15_000, 10, 5000], false),
            // It began and ended between the first look and the last.
            (&[15_000, 10, 6000, 10, 11_900], true),
            (&[15_000, 10, 6000, 10, 12_000], false),
            (&[4000, 10, 8000, 10, 15_900], true),
            (&[4000, 10, 8000, 10, 16_000], false),
        ] {
            let mut answers = Answers::new(Awaits::Answers(ago(5000)));
            let looks = seen(looks);
            let counts = looks.iter().map(|one| answers.looked(&[*one])).last();
            assert_eq!(counts.unwrap().unknown == 1, is_counted, "{looks:?}");
            // Looks at only this connection show the pauses, too.
            let mut answers = Answers::new(Awaits::Answers(ago(5000)));
            answers.looked(&looks[..1]);
            looks.iter().for_each(|one| answers.saw(one));
            let last = looks.last().unwrap();
            assert_eq!(answers.counts(last, Unit::Requests), is_counted, "{looks:?}");
        }
        // The whole life of a new connection is after the first look.
        let looks = seen(&[6000, 10, 11_900]);
        for (is_new, unknown) in [(false, 0), (true, 1)] {
            let mut answers = Answers::new(Awaits::Answers(ago(5000)));
            if is_new {
                answers.looked(&[]);
            }
            let counts = looks.iter().map(|one| answers.looked(&[*one])).last();
            assert_eq!(counts.unwrap().unknown, unknown, "new: {is_new}");
        }
        // A client that pauses before its next request, and a server that thinks, do not count.
        let asks = |received_ago, sent_ago, received| Connection {
            received_ago: ago(received_ago),
            sent_ago: ago(sent_ago),
            received,
            ..used()
        };
        for (before, after) in
            [(asks(4000, 3990, 90), asks(20, 10, 180)), (asks(4000, 9000, 90), asks(4010, 10, 90))]
        {
            let mut answers = Answers::new(Awaits::Answers(ago(5000)));
            answers.looked(&[before]);
            answers.looked(&[after]);
            let later = Connection { received_ago: ago(9000), sent_ago: ago(5000), ..after };
            assert_eq!(answers.looked(&[later]).unknown, 0, "{before:?}");
        }
    }

    // holds: S984
    #[test]
    fn the_connection_of_a_publisher_counts_until_all_is_read_and_a_second_is_over() {
        let ago = Duration::from_millis;
        for (received_ago, is_unread, received, owing, unknown) in [
            (ago(5000), true, 9, 1, 0),
            (ago(5000), false, 9, 0, 0),
            (ago(400), false, 9, 0, 1),
            (ago(1000), false, 9, 0, 0),
            // Nothing was sent yet: the time counts from the beginning of the connection.
            (ago(400), false, 0, 0, 0),
        ] {
            // The client has sent the latest data, and waits for nothing.
            let one =
                Connection { received_ago, is_unread, received, sent_ago: ago(9000), ..used() };
            let mut answers = Answers::new(Awaits::Read);
            let counts = answers.looked(&[one]);
            assert_eq!(
                (counts.owing, counts.unknown, counts.silent),
                (owing, unknown, 0),
                "{one:?}"
            );
            let settles = if unknown > 0 { ago(600) } else { ago(0) };
            assert_eq!((counts.settles, answers.settles(&one)), (settles, settles), "{one:?}");
            assert_eq!(answers.counts(&one, Unit::Requests), owing + unknown > 0, "{one:?}");
        }
        // Data that the server has sent does not count, and no answer is perhaps cut.
        let mut answers = Answers::new(Awaits::Read);
        let sent = Connection { received_ago: ago(5000), sent_ago: ago(10), ..used() };
        assert_eq!(answers.looked(&[Connection { is_unread: true, ..sent }]).owing, 1);
        assert_eq!(answers.looked(&[sent]).traffic(true).unsure, Some(0));
    }

    // holds: S504
    #[test]
    fn connections_that_become_silent_are_perhaps_cut() {
        let ago = Duration::from_millis;
        let moved =
            |millis| Connection { received_ago: ago(millis), sent_ago: ago(millis), ..used() };
        let mut answers = Answers::new(Awaits::Answers(ago(5000)));
        let mut unsure = |connection| {
            let counts = answers.looked(&[connection]);
            [false, true].map(|is_last| counts.traffic(is_last).unsure)
        };
        assert_eq!(unsure(moved(6000)), [Some(0), Some(1)], "in one tick before the drain");
        let answered = Connection { cookie: 2, received_ago: ago(6004), ..moved(6000) };
        let mut others = Answers::new(Awaits::Answers(ago(5000)));
        let counts = others.looked(&[answered]);
        assert_eq!(counts.traffic(true).unsure, Some(0), "answered before the drain");
        assert_eq!(unsure(moved(10)), [Some(1); 2]);
        assert_eq!(unsure(moved(5010)), [Some(0), Some(1)]);
        let closed = Connection { can_send: false, ..moved(5010) };
        assert_eq!(unsure(closed), [Some(0); 2], "the server has closed it");
    }

    // holds: S432
    #[test]
    fn connections_of_drainit_do_not_count_even_after_the_close() {
        let ours = Connection { cookie: 1, received: 9, is_ours: true, ..Connection::default() };
        let mut answers = Answers::new(Awaits::Answers(Duration::MAX));
        assert_eq!(answers.looked(&[ours]), Counts::default());
        assert_eq!(answers.looked(&[Connection { is_ours: false, ..ours }]), Counts::default());
    }
}
