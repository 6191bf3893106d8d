//! Judges how a connection has ended, from the last state of its socket. The kernel reports this
//! state when it destroys the socket. This module is pure.

use core::time::Duration;

use crate::connections::answers::{Connection, Debt};

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
        let was_unknown = before.is_some_and(|before| before.answer(idle) == Debt::Unknown);
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
}
