//! The drain of an Envoy: the questions to its admin interface, the times at which drainit asks
//! them, and the meaning of the answers.
//!
//! [`dialogue::Dialogue`] decides, and a small task of the supervisor asks the questions. The
//! simulation of `tests/simulation/dialogue.rs` plays the dialogue and the core against a model of
//! Envoy.

pub mod attempts;
pub mod close_watch;
pub mod dialogue;
pub mod output;
pub mod pace;
pub mod sample;

use core::fmt;

/// A `POST` to the admin.
///
/// - `/drain_listeners?graceful&skip_exit` asks clients to close their connections, but with
///   Envoy's default strategy it asks only some clients. Without `skip_exit` Envoy closes every
///   listener at the end of its `--drain-time-s`, which may be earlier than the end of `min`.
/// - `/healthcheck/fail` makes every later response close its connection.
/// - Plain `/drain_listeners` closes the listen sockets at once. Accepted connections stay, and
///   Envoy still counts them.
///
/// These statements hold for Envoy 1.36.4 to 1.40.0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Call {
    /// Begin to drain, and keep accepting connections.
    DrainListeners,
    /// Like `DrainListeners`, but only for listeners with `traffic_direction: INBOUND`.
    DrainInbound,
    /// Make every response close its connection.
    FailHealthcheck,
    /// Stop accepting connections.
    CloseListeners,
    /// Like `CloseListeners`, but only for listeners with `traffic_direction: INBOUND`.
    CloseInbound,
}

impl Call {
    /// The path and query of the URL.
    pub fn path(self) -> &'static str {
        match self {
            Self::DrainListeners => "/drain_listeners?graceful&skip_exit",
            Self::DrainInbound => "/drain_listeners?inboundonly&graceful&skip_exit",
            Self::FailHealthcheck => "/healthcheck/fail",
            Self::CloseListeners => "/drain_listeners",
            Self::CloseInbound => "/drain_listeners?inboundonly",
        }
    }

    /// The call that begins a drain, and the call that closes the listeners.
    pub fn of(only_inbound: bool) -> (Self, Self) {
        match only_inbound {
            false => (Self::DrainListeners, Self::CloseListeners),
            true => (Self::DrainInbound, Self::CloseInbound),
        }
    }
}

/// Writes text such as `POST /healthcheck/fail`.
impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "POST {}", self.path())
    }
}
