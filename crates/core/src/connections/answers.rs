//! Which connections owe an answer, as far as the kernel can tell. This module is pure: looks at
//! the connections go in, and their number comes out.
//!
//! ```text
//!              received                    sent, after one segment
//!  Answered ─────────────▶ Owes ──────────────────────────────────▶ Answered
//!     │                      │ sent, after several segments            ▲
//!     │ sent unasked         ▼                                         │
//!     └─────────────────▶ Unknown ─────────────────────────────────────┘
//!                            nothing has moved for `idle`
//! ```
//!
//! A connection on which the server has received later than it has sent owes an answer. If it has
//! sent later, or in the same tick of the kernel's clock, this proves little: a second request may
//! have come before the answer to the first (HTTP/2, pipelining), or the answer may come in parts.
//! Therefore a connection is answered only if one segment has come since it last was answered, and
//! the server has sent since. Every other connection is unknown, and counts as busy, until nothing
//! has moved on it for `idle`.

use alloc::collections::BTreeMap;
use core::time::Duration;

/// A connection, as one look at the kernel's list shows it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Connection {
    /// The number that the kernel has given this socket, and gives to no other.
    pub cookie: u64,
    /// Whether the server has not accepted the connection yet, or has not read all of its bytes.
    pub is_unread: bool,
    /// Whether the client has not acknowledged all bytes yet.
    pub is_sending: bool,
    /// Whether the server can still send.
    pub can_send: bool,
    /// The bytes that the server has received.
    pub received: u64,
    /// The bytes that the server has written.
    pub written: u64,
    /// The number of segments with data that have come. A segment can come twice.
    pub segments: u32,
    /// The number of segments with data that the server has sent.
    pub segments_sent: u32,
    /// The time since the server has last received data, in ticks of some milliseconds. If none
    /// has come, since the connection was accepted.
    pub received_ago: Duration,
    /// The time since the server has last sent data, in the same ticks.
    pub sent_ago: Duration,
}

impl Connection {
    /// Whether the last data that moved came from the client. A request can come in the tick in
    /// which its connection began.
    fn is_asking(&self) -> bool {
        self.received > 0 && (self.segments_sent == 0 || self.received_ago < self.sent_ago)
    }

    /// Whether the last data that moved came from the server.
    fn is_answering(&self) -> bool {
        self.sent_ago < self.received_ago
    }

    /// Whether nothing has moved for `idle`.
    fn is_idle(&self, idle: Duration) -> bool {
        self.received_ago.min(self.sent_ago) >= idle
    }
}

/// The state of a connection, as far as the looks prove it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Belief {
    /// Every request has its answer. `segments` is [`Connection::segments`] of this time.
    /// `is_proved` is false if the only reason is that nothing has moved for `idle`.
    Answered {
        segments: u32,
        is_proved: bool,
    },
    /// A request has come. `segments` is [`Connection::segments`] of the time before. `is_plain`
    /// is false if several requests may have been under way then.
    Owes {
        segments: u32,
        is_plain: bool,
    },
    Unknown,
}

/// The connections of a process, as the looks so far show them.
#[derive(Debug)]
pub struct Answers {
    idle: Duration,
    connections: BTreeMap<u64, (Connection, Belief)>,
    /// Whether there was a look, so that each connection that is new has come since.
    has_looked: bool,
    /// The number of times that a look has shown a new connection or a new request.
    asked: u64,
}

/// The numbers of one look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Open connections.
    pub open: u64,
    /// Connections that may owe an answer.
    pub owing: u64,
    /// Connections that owe an answer. Those that only may owe one do not count.
    pub unanswered: u64,
    /// A number that grows whenever a look shows a new connection or newly received bytes.
    pub asked: u64,
}

impl Answers {
    /// `idle` is the time after which a connection whose state is unknown counts as answered.
    pub fn new(idle: Duration) -> Self {
        Self { idle, connections: BTreeMap::new(), has_looked: false, asked: 0 }
    }

    /// Handles a look at all open connections.
    pub fn looked(&mut self, seen: &[Connection]) -> Counts {
        let mut before = core::mem::take(&mut self.connections);
        for now in seen {
            // The kernel lists a connection twice if others end meanwhile.
            if self.connections.contains_key(&now.cookie) {
                continue;
            }
            let known = before.remove(&now.cookie);
            let is_new = known.is_none_or(|(last, _)| last.received != now.received);
            self.asked += u64::from(is_new);
            let belief = self.believe(known, now);
            let mut kept = *now;
            if let (Belief::Owes { .. }, Some((last, _))) = (belief, known) {
                // An answer can take longer than from one look to the next.
                kept.written = last.written;
            }
            self.connections.insert(now.cookie, (kept, belief));
        }
        self.has_looked = true;
        let may_owe = |(now, belief): &&(Connection, Belief)| {
            let is_owed = !matches!(belief, Belief::Answered { .. });
            now.is_unread || now.is_sending || now.can_send && is_owed
        };
        let owes = |(now, belief): &&(Connection, Belief)| {
            now.is_unread || now.can_send && matches!(belief, Belief::Owes { .. })
        };
        Counts {
            open: self.connections.len() as u64,
            owing: self.connections.values().filter(may_owe).count() as u64,
            unanswered: self.connections.values().filter(owes).count() as u64,
            asked: self.asked,
        }
    }

    fn believe(&self, known: Option<(Connection, Belief)>, now: &Connection) -> Belief {
        let answered = |is_proved| Belief::Answered { segments: now.segments, is_proved };
        // Nobody has asked anything yet.
        if now.received == 0 {
            return Belief::Answered { segments: 0, is_proved: true };
        }
        let (last, belief) = match known {
            Some(known) => known,
            // All of this connection is known.
            None if self.has_looked || now.segments <= 1 => {
                (Connection::default(), Belief::Answered { segments: 0, is_proved: true })
            }
            None if now.is_asking() => {
                let is_plain = now.segments <= now.segments_sent.saturating_add(1);
                return Belief::Owes { segments: now.segments.wrapping_sub(1), is_plain };
            }
            None => (*now, Belief::Unknown),
        };
        let has_received = last.received != now.received;
        let has_sent = last.written != now.written;
        let is_under_way = now.is_asking() || now.is_sending;
        let is_one_since = |segments: u32| now.segments.wrapping_sub(segments) <= 1;
        match belief {
            Belief::Answered { .. } if !has_received && !has_sent => belief,
            Belief::Answered { .. } if !has_received => Belief::Unknown,
            Belief::Answered { segments, .. } if !has_sent || is_under_way => {
                Belief::Owes { segments, is_plain: true }
            }
            // A server that has answered sends only after the request, even in the same tick.
            Belief::Answered { segments, is_proved }
                if is_one_since(segments) && (is_proved || now.is_answering()) =>
            {
                answered(true)
            }
            Belief::Answered { .. } => Belief::Unknown,
            Belief::Owes { .. } if !has_sent || is_under_way => belief,
            Belief::Owes { segments, is_plain: true } if is_one_since(segments) => answered(true),
            Belief::Owes { .. } => Belief::Unknown,
            Belief::Unknown if now.is_asking() => {
                Belief::Owes { segments: now.segments, is_plain: false }
            }
            Belief::Unknown if now.is_idle(self.idle) => answered(false),
            Belief::Unknown => Belief::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_counts_once_and_owes_until_the_answer() {
        let idle = Duration::from_secs(5);
        let ago = Duration::from_millis;
        let fresh = Connection { cookie: 1, can_send: true, ..Connection::default() };
        let asked = Connection { received: 9, segments: 1, ..fresh };
        let sending = Connection { written: 5, segments_sent: 1, is_sending: true, ..asked };
        let answered =
            Connection { written: 9, is_sending: false, received_ago: ago(4), ..sending };
        let mut answers = Answers::new(idle);
        let mut count = |seen: &[Connection]| {
            let Counts { open, owing, .. } = answers.looked(seen);
            (open, owing)
        };
        assert_eq!(count(&[fresh]), (1, 0));
        assert_eq!(count(&[asked, asked]), (1, 1));
        assert_eq!(count(&[sending]), (1, 1));
        assert_eq!(count(&[Connection { can_send: false, ..sending }]), (1, 1));
        assert_eq!(count(&[answered]), (1, 0));
        let (received_ago, sent_ago) = (ago(0), ago(8));
        let again = Connection { received: 18, segments: 2, received_ago, sent_ago, ..answered };
        assert_eq!(count(&[again]), (1, 1));
        let answered = Connection { written: 20, received_ago: ago(8), sent_ago: ago(4), ..again };
        assert_eq!(count(&[answered, answered]), (1, 0));
        assert_eq!(count(&[Connection { is_unread: true, ..answered }]), (1, 1));
        // A server that has closed its side owes nothing, whatever comes.
        let more = Connection { received: 20, segments: 3, ..answered };
        assert_eq!(count(&[Connection { can_send: false, ..more }]), (1, 0));
        assert_eq!(count(&[]), (0, 0));
    }

    // holds: S360
    #[test]
    fn only_a_proved_request_counts_as_unanswered() {
        let ago = Duration::from_millis;
        let open = Connection { cookie: 1, can_send: true, ..Connection::default() };
        // The connection has had answers before the first look.
        let used = Connection { received: 90, segments: 9, written: 900, segments_sent: 9, ..open };
        let (old, new) = (ago(2000), ago(500));
        for (connection, unanswered) in [
            (Connection { received_ago: new, sent_ago: old, ..used }, 1),
            // The last answer came in the tick of its request, or later.
            (Connection { received_ago: new, sent_ago: new, ..used }, 0),
            (Connection { received_ago: old, sent_ago: new, ..used }, 0),
            // The client has not acknowledged the answer yet; the kernel still sends it.
            (Connection { received_ago: old, sent_ago: new, is_sending: true, ..used }, 0),
            (Connection { received_ago: old, sent_ago: new, is_unread: true, ..used }, 1),
            (Connection { received_ago: new, sent_ago: old, can_send: false, ..used }, 0),
        ] {
            let counts = Answers::new(Duration::MAX).looked(&[connection]);
            assert_eq!(counts.unanswered, unanswered, "{connection:?}");
            assert!(counts.unanswered <= counts.owing || !connection.can_send, "{counts:?}");
        }
    }
}
