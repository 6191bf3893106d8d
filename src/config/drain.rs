//! `drain:`: how traffic is taken away from a process before it is stopped.

use std::time::Duration;

use crate::config::{Address, HttpTarget};
use crate::types::Signal;

/// `drain:`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drain {
    pub method: DrainMethod,
    /// The longest wait.
    pub time: Duration,
    /// The shortest wait; at most `time`.
    pub min: Duration,
}

impl Drain {
    /// The default of `time`.
    pub const DEFAULT_TIME: Duration = Duration::from_secs(15);

    /// The same drain, which ends when no client is connected.
    #[must_use]
    pub fn by_connections(mut self) -> Self {
        if let DrainMethod::Envoy { until, .. } = &mut self.method {
            *until = DrainUntil::Connections;
        }
        self
    }
}

/// The way to request a drain of a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DrainMethod {
    /// Through Envoy's admin interface.
    Envoy {
        admin: Address,
        /// Also `POST /healthcheck/fail`, so that every response closes its connection.
        fail_healthcheck: bool,
        /// When that is.
        strategy: DrainStrategy,
        until: DrainUntil,
        /// Drained when at most this number of connections (or requests) is left. `None` where the
        /// config does not say: 0.
        exit_at: Option<u32>,
        /// `None` where the config does not say.
        direction: Option<Direction>,
        /// Listeners whose connections do not count, by name, address or `stat_prefix`. `None` where
        /// the config does not say.
        ignore_listeners: Option<Vec<String>>,
    },
    /// One request; a 2xx answer, at any moment within `time`, reports that the drain is complete.
    Http {
        /// Default POST.
        method: HttpMethod,
        target: HttpTarget,
    },
    /// A command; its end with code 0 reports that the drain is complete.
    Exec(Vec<String>),
    /// A signal; the end of the process reports that the drain is complete.
    Signal(Signal),
    /// A signal; `DRAINED=1` on `NOTIFY_SOCKET`, or the end of the process, reports that the drain
    /// is complete.
    Notify(Signal),
}

impl DrainMethod {
    /// The default of `min`. The removal of an endpoint takes time to spread, and an Envoy without
    /// connections does not know about it. All other methods report the end of the drain
    /// themselves.
    #[must_use]
    pub const fn default_min(&self) -> Duration {
        match self {
            Self::Envoy { .. } => Duration::from_secs(5),
            Self::Http { .. } | Self::Exec(_) | Self::Signal(_) | Self::Notify(_) => Duration::ZERO,
        }
    }
}

/// `until:` of an Envoy's drain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum DrainUntil {
    /// No client is connected.
    #[default]
    Connections,
    /// No request is in flight; for clients that never close their connections.
    Requests,
}

/// `strategy:` of an Envoy's drain, with the words of its `--drain-strategy`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum DrainStrategy {
    /// From the begin on, every response closes its connection.
    #[default]
    Immediate,
    /// Until `min` is over, Envoy's own drain chooses the responses that do.
    Gradual,
}

/// `direction:` of an Envoy's drain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Direction {
    #[default]
    All,
    /// Only listeners with `traffic_direction: INBOUND`: the egress of a sidecar goes on.
    Inbound,
}

/// The method of a request that drains.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum HttpMethod {
    #[default]
    Post,
    Put,
    Get,
    Delete,
}
