//! The kinds of traffic.

use std::fmt;
use std::time::Duration;

/// A protocol of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// HTTP/1.1 with keep-alive.
    Http1,
    /// With prior knowledge, without TLS.
    Http2,
    /// Messages on a bidirectional stream.
    Grpc,
    /// Messages on an upgraded HTTP/1.1 connection.
    WebSocket,
    /// Messages on a plain connection.
    Tcp,
}

impl Protocol {
    /// All protocols, in the order of the table.
    pub(crate) const ALL: [Self; 5] =
        [Self::Http1, Self::Http2, Self::Grpc, Self::WebSocket, Self::Tcp];
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Http1 => "HTTP/1.1",
            Self::Http2 => "HTTP/2",
            Self::Grpc => "gRPC streams",
            Self::WebSocket => "WebSocket",
            Self::Tcp => "TCP",
        })
    }
}

/// The pace at which each client sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pace {
    /// The client sends this many requests per second.
    PerSecond(u32),
    /// The client sends a request as soon as the previous answer is complete.
    FullSpeed,
}

impl Pace {
    /// All paces, in the order of the table.
    pub(crate) const ALL: [Self; 3] = [Self::PerSecond(1), Self::PerSecond(10), Self::FullSpeed];

    /// The time between two requests of a client; `None` at full speed.
    pub(crate) fn period(self) -> Option<Duration> {
        match self {
            Self::PerSecond(rate) => Some(Duration::from_secs(1) / rate),
            Self::FullSpeed => None,
        }
    }
}

impl fmt::Display for Pace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PerSecond(rate) => f.pad(&format!("{rate}/s")),
            Self::FullSpeed => f.pad("full speed"),
        }
    }
}
