//! Judges how a connection has ended, from the last state of its socket. The kernel reports this
//! state when it destroys the socket. This module is pure.

use core::time::Duration;

use crate::connections::answers::{Awaits, Connection, Debt};

/// A client that says that it leaves closes the connection in the same moment, and the server follows
/// at once. On a busy machine, the server takes some ticks of the kernel's clock.
const GOODBYE: Duration = Duration::from_millis(100);

/// The largest last word of a client, in bytes. `close_notify` of TLS has 24 to 53.
const LAST_WORD: u64 = 64;

/// How a connection has ended, as far as the kernel can tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// No answer was owed.
    Answered,
    /// The latest data came from the server, less than `idle` before the end. The data was the end
    /// of an answer, except if the server was stopped by force: then the data may be a part of a
    /// stream.
    Sending,
    /// The client and the server have sent in the same tick of the kernel's clock, less than `idle`
    /// before the end. The tick hides which of them was the last. Or at an earlier look, nobody
    /// could tell whether an answer was owed, and the client has sent nothing since.
    Unknown,
    /// The server owed an answer.
    Cut,
    /// The latest data of the client has no answer, but the client has closed the connection before
    /// the server did. The client gave up, or the data said that it leaves (`close_notify` of TLS,
    /// PostgreSQL's `Terminate`, a close frame of a WebSocket).
    Left,
    /// The server has reset the connection without an answer to its last data, if there was any.
    /// The kernel no longer knows more.
    Reset,
    /// Like [`Self::Reset`], and the server had not accepted the connection at the last look.
    Unaccepted,
}

impl Connection {
    /// How this connection, whose socket the kernel has destroyed in this state, has ended.
    /// `is_reset` says whether the server has reset it. `before` has the connection at the first
    /// look that has shown the latest data of the client; `None` without such a look.
    pub fn ending(&self, before: Option<&Self>, is_reset: bool, idle: Duration) -> Ending {
        let was_unknown =
            before.is_some_and(|before| before.answer(Awaits::Answers(idle)) == Debt::Unknown);
        let is_quiet = self.received_ago.min(self.sent_ago) >= idle;
        match self.received {
            _ if is_reset && before.is_some_and(|before| before.is_waiting) => Ending::Unaccepted,
            _ if is_reset => Ending::Reset,
            1.. if self.is_asking() => Ending::Cut,
            // Perhaps the server was already sending a stream.
            _ if was_unknown => Ending::Unknown,
            0 if !self.has_sent => Ending::Answered,
            _ if is_quiet => Ending::Answered,
            1.. if self.received_ago == self.sent_ago => Ending::Unknown,
            _ => Ending::Sending,
        }
    }

    /// Whether the client has closed this connection before the server did. `before` is as for
    /// [`Self::ending`], but also has a look before the latest data. `is_remembered` says whether the
    /// kernel still has a socket with the same addresses: the kernel remembers a connection (state
    /// TIME_WAIT) if the server has closed it first. If the client answers the server's FIN with
    /// data, as many TLS clients do, the kernel forgets the connection at once. Therefore, there must also
    /// be a sign of the client's end: its FIN, which counts as a received byte but not as a segment with
    /// data, or a last word right before the end.
    pub fn has_left(&self, before: Option<&Self>, is_remembered: bool) -> bool {
        let says_goodbye = self.received_ago <= GOODBYE;
        let has_sign = match before {
            Some(before) if before.segments == self.segments => {
                self.received == before.received + 1
            }
            Some(before) => self.received > before.received && says_goodbye,
            None => says_goodbye,
        };
        has_sign && !is_remembered
    }

    /// Whether the latest data of the client was perhaps its last word, after which the server has
    /// closed first: a TLS client may wait for the server's `close_notify`. At the look `before`,
    /// nothing was owed. Then came a few bytes, which the server has read right before the end.
    pub fn says_goodbye(&self, before: Option<&Self>) -> bool {
        before.is_some_and(|before| {
            let was_answered = before.has_sent && !before.is_asking() && !before.is_unread;
            let more = self.received.saturating_sub(before.received);
            let is_short = self.segments == before.segments + 1 && (1..=LAST_WORD).contains(&more);
            was_answered && is_short && !self.is_unread && self.received_ago <= GOODBYE
        })
    }

    /// Whether the client has sent nothing between this look and a later state of the connection.
    /// The kernel counts the client's FIN as a received byte.
    pub fn has_all_of(&self, later: &Self) -> bool {
        later.received.saturating_sub(self.received) <= 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // holds: S780
    #[test]
    fn the_direction_of_the_last_data_tells_how_a_connection_has_ended() {
        let (idle, ago) = (Duration::from_secs(5), Duration::from_millis);
        let used = Connection { received: 90, has_sent: true, ..Connection::default() };
        for (end, expected) in [
            (Connection { has_sent: false, received_ago: ago(8), ..used }, Ending::Cut),
            (Connection { has_sent: false, received: 0, ..used }, Ending::Answered),
            (Connection { received_ago: ago(8), sent_ago: ago(900), ..used }, Ending::Cut),
            (Connection { received_ago: ago(8000), sent_ago: ago(9000), ..used }, Ending::Cut),
            (Connection { received_ago: ago(900), sent_ago: ago(8), ..used }, Ending::Sending),
            (Connection { received_ago: ago(9000), sent_ago: ago(8), ..used }, Ending::Sending),
            (Connection { received_ago: ago(9000), sent_ago: ago(5000), ..used }, Ending::Answered),
            (Connection { received_ago: ago(8), sent_ago: ago(8), ..used }, Ending::Unknown),
            (Connection { received_ago: ago(5000), sent_ago: ago(5000), ..used }, Ending::Answered),
            // A server that speaks first.
            (Connection { received: 0, ..used }, Ending::Sending),
        ] {
            assert_eq!(end.ending(None, false, idle), expected, "{end:?}");
        }
        let waiting = Connection { is_waiting: true, is_unread: true, ..Connection::default() };
        let asked = Connection { received_ago: ago(8), sent_ago: ago(900), can_send: true, ..used };
        let sends = Connection { received_ago: ago(900), sent_ago: ago(8), can_send: true, ..used };
        for (before, is_reset, expected) in [
            (waiting, true, Ending::Unaccepted),
            (asked, true, Ending::Reset),
            (asked, false, Ending::Sending),
            (sends, false, Ending::Unknown),
        ] {
            let end = Connection { can_send: false, ..sends };
            assert_eq!(end.ending(Some(&before), is_reset, idle), expected, "{before:?}");
        }
        let more = |bytes: u64| Connection { received: 90 + bytes, ..used };
        assert!(used.has_all_of(&more(1)) && !used.has_all_of(&more(2)));
    }

    // holds: S931
    #[test]
    fn clients_have_left_if_the_kernel_shows_their_end_and_forgets_the_connection() {
        let ago = Duration::from_millis;
        let asked = Connection { received: 90, segments: 1, ..Connection::default() };
        let end = |received, segments, millis| Connection {
            received,
            segments,
            received_ago: ago(millis),
            ..asked
        };
        for (before, end, has_left) in [
            // The FIN of a client that gave up.
            (Some(asked), end(91, 1, 3000), true),
            // The server has closed, or the client answers the server's FIN with data.
            (Some(asked), end(90, 1, 3000), false),
            (Some(asked), end(90, 1, 10), false),
            (Some(asked), end(90, 2, 10), false),
            // A goodbye and a FIN; a request that was open for a while.
            (Some(asked), end(115, 2, 10), true),
            (Some(asked), end(190, 2, 3000), false),
            (None, end(90, 1, 10), true),
            (None, end(90, 1, 3000), false),
        ] {
            assert_eq!(end.has_left(before.as_ref(), false), has_left, "{before:?} {end:?}");
            assert!(!end.has_left(before.as_ref(), true), "{before:?} {end:?}");
        }
    }

    // holds: S935
    #[test]
    fn a_few_bytes_right_before_the_end_are_perhaps_a_goodbye() {
        let ago = Duration::from_millis;
        let answered = Connection {
            received: 90,
            segments: 1,
            has_sent: true,
            received_ago: ago(900),
            sent_ago: ago(800),
            ..Connection::default()
        };
        let end = |received, segments, millis| Connection {
            received,
            segments,
            received_ago: ago(millis),
            ..answered
        };
        let asked = Connection { sent_ago: ago(1000), ..answered };
        let unread = Connection { is_unread: true, ..end(114, 2, 10) };
        for (before, end, expected) in [
            (Some(answered), end(114, 2, 10), true),
            (Some(answered), end(154, 2, 10), true),
            (Some(answered), end(155, 2, 10), false),
            (Some(answered), end(114, 3, 10), false),
            (Some(answered), end(114, 2, 101), false),
            (Some(answered), end(90, 1, 10), false),
            (Some(answered), unread, false),
            (Some(asked), end(114, 2, 10), false),
            (None, end(114, 2, 10), false),
        ] {
            assert_eq!(end.says_goodbye(before.as_ref()), expected, "{before:?} {end:?}");
        }
    }
}
