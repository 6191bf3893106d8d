//! The traffic of a drained process, as Envoy's admin interface or the kernel counts it.

use core::time::Duration;

/// After a look at the kernel's list of connections, the pause is at least this many times as long
/// as the look, or [`LONGEST`] if that is shorter. Looks therefore cost at most a tenth of a core.
pub const FACTOR: u32 = 10;
/// If no end of a drain waits for a look, the pause after the look is this many times as long as
/// its processor time lasts. Such looks cost at most 3 % of the processor time.
pub const SHARE: u32 = 33;
/// The pause after a long look is at most this long. On a busy machine, a look takes long, but uses
/// little processor time.
pub const LONGEST: Duration = Duration::from_millis(500);

/// The pause after a look at the kernel's list of connections. `took` is the time that the look
/// took. The pause is `factor` times as long, but at most [`LONGEST`] and at least `least`.
pub fn pause_after(took: Duration, least: Duration, factor: u32) -> Duration {
    least.max((took * factor).min(LONGEST))
}

/// The traffic of a drained process. An unknown number is `None`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Open connections.
    pub connections: Option<u64>,
    /// Connections that were accepted since the start of the process.
    pub accepted: Option<u64>,
    /// New connections that the looks at the kernel's list have shown. A connection that began and ended between two
    /// looks is not among them.
    pub connected: Option<u64>,
    /// Requests in flight.
    pub requests: Option<u64>,
    /// Further requests that may be in flight; the kernel cannot tell.
    pub unsure: Option<u64>,
    /// Requests that have ended since the start of the process, apart from [`Self::upgrades`]. Only
    /// the difference of two counts has a meaning, modulo 2^64. After a hot restart, a count can be
    /// below zero, because the new Envoy counts requests of the old Envoy as in flight, but not as
    /// begun.
    pub completed: Option<u64>,
    /// Upgrades (WebSockets, CONNECT) that have ended. As for [`Self::completed`], only the
    /// difference of two counts has a meaning.
    pub upgrades: Option<u64>,
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
