//! The traffic of a drained process, as an admin or the kernel counts it.

/// The traffic of a drained process. An unknown number is `None`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Open connections.
    pub connections: Option<u64>,
    /// Connections that were accepted since the start of the process.
    pub accepted: Option<u64>,
    /// Requests in flight.
    pub requests: Option<u64>,
    /// Further requests of which the kernel cannot tell whether they are in flight.
    pub unsure: Option<u64>,
    /// Requests that were received since the start of the process.
    pub received: Option<u64>,
}

/// The moment at which a [`Traffic`] was counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// Before the drain.
    Start,
    /// During the drain, or after it.
    Meanwhile,
    /// During the drain or after it, when the listeners are closed and no connection can be added.
    Closed,
    /// At the end of the drain or after it, right before the stop.
    Last,
}
