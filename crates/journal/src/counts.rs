//! The counts of connections and requests in the report.

use core::time::Duration;

use serde::Serialize;

use drainit_core::traffic::Traffic;

/// The counts of connections. Null means that a number is unknown.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct ConnectionData {
    pub start: Option<u64>,
    pub end: Option<u64>,
    pub new: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct RequestData {
    /// The number of requests in flight at the start; null if it is unknown.
    pub start: Option<u64>,
    /// The number of further requests that may have been in flight at the start: the kernel cannot
    /// tell. Absent if the process itself has counted its requests.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_unsure: Option<u64>,
    /// The number of completed requests; null if it is unknown.
    pub completed: Option<u64>,
    /// The number of upgrades (WebSockets, CONNECT) that have ended, no matter who ended them; null
    /// if the number is unknown.
    pub upgrades_ended: Option<u64>,
    pub cut: u64,
    /// Like `start_unsure`, for the requests that may have been cut.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unsure: Option<u64>,
}

impl RequestData {
    pub(super) fn of(first: Traffic, last: Traffic) -> Option<Self> {
        Some(Self {
            start: first.requests,
            start_unsure: first.unsure,
            completed: newer(first.completed, last.completed),
            upgrades_ended: newer(first.upgrades, last.upgrades),
            cut: last.requests?,
            unsure: last.unsure,
        })
    }
}

/// The difference of two counts, or 0 if the process began to count anew between them.
pub(super) fn newer(first: Option<u64>, last: Option<u64>) -> Option<u64> {
    Some(last?.wrapping_sub(first?).cast_signed().max(0).cast_unsigned())
}

/// The counts of a drain or of a stop, and the age of the last count when the drain or stop ended.
/// The age is `None` if the count was still right at that moment.
pub(super) type Counts = (ConnectionData, Option<RequestData>, Option<Duration>);
