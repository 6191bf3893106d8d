//! The numbers that a drain needs from the statistics of an Envoy.

use crate::event::{Load, Unit};
use crate::traffic::Traffic;

/// The sums over all listeners and connection managers that serve clients. `None` means that a
/// statistic is missing and therefore unknown, never that it is zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sample {
    /// Open client connections: `listener.*.downstream_cx_active` plus [`Self::in_filters`].
    pub active: Option<u64>,
    /// Client connections accepted since Envoy's start (`listener.*.downstream_cx_total`).
    pub accepted_total: Option<u64>,
    /// Requests under way, including upgrades (`http.*.downstream_rq_active`).
    pub requests_active: Option<u64>,
    /// Requests since Envoy's start (`http.*.downstream_rq_total`).
    pub requests_total: Option<u64>,
    /// Connections that Envoy closed because it drains (`http.*.downstream_cx_drain_close`).
    pub drain_close: Option<u64>,
    /// Open connections on which a listener filter, such as the TLS inspector, still waits for the
    /// first bytes (`listener.*.downstream_pre_cx_active`).
    pub in_filters: Option<u64>,
    /// Upgrades under way: requests with `Upgrade` (WebSockets) or CONNECT that a connection
    /// manager lets through (`http.*.downstream_cx_upgrades_active`).
    pub upgrades_active: Option<u64>,
    /// Upgrades since Envoy's start, including those that the server has refused
    /// (`http.*.downstream_cx_upgrades_total`).
    pub upgrades_total: Option<u64>,
    /// Bytes that Envoy still holds because a client has not read enough yet
    /// (`http.*.downstream_cx_tx_bytes_buffered`). Envoy may already count the request as ended,
    /// because Envoy itself has received the whole response. For a connection without a request,
    /// the value is 0 with HTTP/1.1 and with HTTP/2 (measured with Envoy 1.36.4 and 1.40.0).
    pub unsent: Option<u64>,
}

impl Sample {
    /// The sample of an Envoy that has never accepted a connection.
    pub const NOTHING: Self = Self {
        active: Some(0),
        accepted_total: Some(0),
        requests_active: Some(0),
        requests_total: Some(0),
        drain_close: Some(0),
        upgrades_active: Some(0),
        upgrades_total: Some(0),
        in_filters: Some(0),
        unsent: Some(0),
    };

    /// Adds connections that wait in the kernel's queues until Envoy accepts them, as under
    /// `stop_accepting_connections`. Envoy does not know these connections. Each may have sent a
    /// request.
    pub fn with_waiting(self, waiting: u64) -> Self {
        let more = |count: Option<u64>| count.map(|count| count.saturating_add(waiting));
        Self {
            active: more(self.active),
            accepted_total: more(self.accepted_total),
            requests_active: more(self.requests_active),
            requests_total: more(self.requests_total),
            ..self
        }
    }

    /// Whether no statistic shows an accepted connection. The value is also true without
    /// statistics, as for an Envoy without listeners.
    pub fn has_accepted_none(&self) -> bool {
        [self.active, self.accepted_total].iter().all(|count| count.unwrap_or(0) == 0)
    }

    /// Requests whose response has not completely reached the client's socket. drainit does not
    /// know to how many responses the unsent bytes belong, so the bytes count as one request if no
    /// request is active.
    pub fn requests_left(&self) -> Option<u64> {
        let unsent = self.unsent.is_some_and(|bytes| bytes > 0);
        self.requests_active.map(|active| active.max(unsent.into()))
    }

    /// The traffic in the form that the core gets.
    pub fn load(&self, unit: Unit) -> Load {
        match unit {
            Unit::Connections => {
                Load { unit, active: self.active, total: self.accepted_total, ..Load::default() }
            }
            Unit::Requests => Load {
                unit,
                active: self.requests_left(),
                total: self.requests_total,
                ..Load::default()
            },
        }
    }

    /// The traffic in the form that the report gets.
    pub fn traffic(&self) -> Traffic {
        let less = |a: Option<u64>, b: Option<u64>| Some(a?.wrapping_sub(b?));
        let requests = self.requests_left();
        let upgrades = less(self.upgrades_total, self.upgrades_active);
        Traffic {
            connections: self.active,
            accepted: self.accepted_total,
            requests,
            completed: less(less(self.requests_total, requests), upgrades),
            upgrades,
            unsure: None,
            connected: None,
        }
    }
}
