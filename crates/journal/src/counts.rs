//! The counts of connections and requests in the report.

use core::time::Duration;

use serde::Serialize;

use crate::prelude::*;
use drainit_core::traffic::Traffic;
use drainit_core::types::as_some_seconds;

/// If a count is at most this old at the end of a drain, the report shows it as the count at the
/// end. Normally, the stop signal follows a poll within this time. On a slow machine, the stop
/// signal may come later. The report then shows the count with its age.
pub(super) const FRESH: Duration = Duration::from_millis(50);

/// The counts of connections. Null means that a number is unknown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
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
    /// The number of requests that got no answer; null if nobody has seen how they ended.
    pub cut: Option<u64>,
    /// Like `start_unsure`, for the requests that may have been cut.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unsure: Option<u64>,
    /// The number of requests in flight at the stop signal; present if `cut` is null.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_flight: Option<u64>,
    /// The number of connections whose clients have closed them before the server did, although their
    /// latest data has no answer; absent if it is unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left: Option<u64>,
    /// The number of connections that the process has reset; absent if it is unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reset: Option<u64>,
    /// The number of connections among `reset` that the process had not accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unaccepted: Option<u64>,
}

/// How the requests of a drained or stopped process have ended. `None` means that it is unknown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// As in [`RequestData`].
    pub cut: Option<u64>,
    /// As in [`RequestData`].
    pub left: Option<u64>,
}

/// The connections that have ended without an answer, as the kernel tells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Ends {
    pub(super) cut: u64,
    /// The connections that perhaps owed an answer.
    pub(super) perhaps: u64,
    /// The connections whose clients have left before the server closed them.
    pub(super) left: u64,
    pub(super) reset: u64,
    pub(super) unaccepted: u64,
}

impl RequestData {
    /// `last` was counted at the stop signal. If a process counts its requests itself, then the
    /// requests in flight at the signal are cut.
    pub(super) fn of(first: Traffic, last: Traffic, ends: Option<Ends>) -> Option<Self> {
        let in_flight = last.requests?;
        let is_of_kernel = last.unsure.is_some();
        let ends = ends.filter(|_| is_of_kernel);
        let is_seen = !is_of_kernel || ends.is_some();
        Some(Self {
            start: first.requests,
            start_unsure: first.unsure,
            completed: newer(first.completed, last.completed),
            upgrades_ended: newer(first.upgrades, last.upgrades),
            cut: is_seen.then_some(ends.map_or(in_flight, |ends| ends.cut)),
            unsure: ends.map_or(last.unsure, |ends| Some(ends.perhaps)),
            in_flight: (!is_seen).then_some(in_flight),
            left: ends.map(|ends| ends.left),
            reset: ends.map(|ends| ends.reset),
            unaccepted: ends.map(|ends| ends.unaccepted),
        })
    }

    pub(super) fn is_any_cut(&self) -> bool {
        [self.cut, self.unsure, self.in_flight, self.reset].into_iter().flatten().any(|n| n > 0)
    }
}

/// The requests that the end of an instance has cut.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Cost {
    pub(super) requests: RequestData,
    /// Whether the requests in flight were counted before the stop signal.
    pub(super) is_early: bool,
}

impl Cost {
    /// Names these costs of one process, in the words of the report; `None` if there are none. Costs
    /// that were counted in the same way are added up.
    pub(super) fn words(costs: impl Iterator<Item = Self>) -> Option<String> {
        let mut sums: Vec<Self> = Vec::new();
        for cost in costs {
            match sums.iter_mut().find(|sum| sum.is_like(&cost)) {
                Some(sum) => sum.requests = sum.requests.plus(&cost.requests),
                None => sums.push(cost),
            }
        }
        let words: Vec<_> = sums.iter().map(|sum| sum.requests.outcome(sum.is_early)).collect();
        (!words.is_empty()).then(|| format!("requests {}", words.join("; requests ")))
    }

    /// Whether both costs have the same words, and their numbers are of the same kind.
    fn is_like(&self, other: &Self) -> bool {
        let kind = |of: &Self| (of.requests.lost(of.is_early).1, of.requests.cut.is_some());
        kind(self) == kind(other)
    }
}

impl RequestData {
    fn plus(&self, other: &Self) -> Self {
        let sum = |of: fn(&Self) -> Option<u64>| match (of(self), of(other)) {
            (Some(one), Some(two)) => Some(one + two),
            (one, two) => one.or(two),
        };
        Self {
            start: sum(|of| of.start),
            start_unsure: sum(|of| of.start_unsure),
            completed: sum(|of| of.completed),
            upgrades_ended: sum(|of| of.upgrades_ended),
            cut: sum(|of| of.cut),
            unsure: sum(|of| of.unsure),
            in_flight: sum(|of| of.in_flight),
            left: sum(|of| of.left),
            reset: sum(|of| of.reset),
            unaccepted: sum(|of| of.unaccepted),
        }
    }
}

/// The difference of two counts, or 0 if the process began to count anew between them.
pub(super) fn newer(first: Option<u64>, last: Option<u64>) -> Option<u64> {
    Some(last?.wrapping_sub(first?).cast_signed().max(0).cast_unsigned())
}

/// The counts of a drain or of a stop.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct CountData {
    /// Null if drainit did not count the connections.
    pub connections: Option<ConnectionData>,
    pub requests: Option<RequestData>,
    /// The age of the last count when the drain or the process ended; null if this count was still
    /// right at that moment.
    #[serde(rename = "counted_before_end", with = "as_some_seconds")]
    pub age: Option<Duration>,
}
