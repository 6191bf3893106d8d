//! The record of a drain.

use core::time::Duration;

use crate::arrivals::Arrivals;
use crate::counts::{ConnectionData, CountData, Ends, FRESH, RequestData, newer};
use crate::messages::{self, DrainOver};
use crate::prelude::*;
use drainit_core::note::DrainEnd;
use drainit_core::traffic::{Moment, Traffic};
use drainit_core::types::Time;

/// A drain, and its traffic.
#[derive(Clone, Copy, Debug, Default)]
pub struct DrainHistory {
    /// The position among all drains and stops, in the order in which they began.
    pub(super) place: usize,
    pub(super) began: Time,
    pub(super) min: Duration,
    pub(super) longest: Duration,
    /// Whether drainit polls the traffic.
    pub(super) counted: bool,
    /// The time and the reason of the end of the drain, its duration, and the last sample of the
    /// traffic.
    pub(super) over: Option<(Time, DrainOver)>,
    pub(super) first: Option<Traffic>,
    pub(super) arrivals: Arrivals,
    pub(super) last: Option<(Time, Traffic, Moment)>,
    /// Whether the poll after `last` has failed.
    pub(super) is_unknown: bool,
    /// The time up to which the age of the last count is measured. At first, this is the end of the
    /// drain. Later, it is the time of the first of three events: the process was asked to end, was
    /// killed, or ended.
    pub(super) end: Option<Time>,
    pub(super) is_stopped: bool,
    /// Whether this drain was already over when the shutdown began, or when a drain of the whole
    /// container was requested. The report leaves out such a drain.
    pub is_past: bool,
}

impl DrainHistory {
    /// The traffic at the last poll. All numbers are `None` if this poll has failed.
    pub fn traffic(&self) -> Traffic {
        let last = self.last.filter(|_| !self.is_unknown);
        last.map(|(_, traffic, _)| traffic).unwrap_or_default()
    }

    /// The time that the drain has taken so far. If the drain is over, this is its whole duration.
    pub fn elapsed(&self, now: Time) -> Duration {
        self.over.map_or_else(|| now.since(self.began), |(_, over)| over.took)
    }

    /// Describes why the drain is over; `None` before its end.
    pub fn over(&self) -> Option<String> {
        self.over.as_ref().map(|(_, over)| messages::drain_end(over))
    }

    /// The age of a count at [`Self::end`]; `None` if the count is still right at that time.
    fn age(&self, seen: Time, traffic: Traffic, moment: Moment) -> Option<Duration> {
        let age = self.end.map(|end| end.since(seen)).unwrap_or_default();
        let is_quiet = self.over.is_some_and(|(_, over)| over.why == DrainEnd::Quiet);
        let is_last = match moment {
            // Traffic can change between a poll and the end, unless this poll has led to the end.
            Moment::Start | Moment::Meanwhile => is_quiet && age <= FRESH,
            // When the listeners are closed, a count of 0 connections cannot rise again.
            Moment::Closed => age <= FRESH || traffic.connections == Some(0),
            Moment::Last => age <= FRESH,
        };
        (!is_last).then_some(age)
    }

    /// The counts of this drain; `None` if nothing was counted.
    pub(super) fn counts(&self, ends: Option<Ends>) -> Option<CountData> {
        let (seen, last, moment) = self.last?;
        let first = self.first.unwrap_or_default();
        first.connections.or(last.connections)?;
        let (start, end) = (first.connections, last.connections);
        let new = newer(first.accepted, last.accepted);
        Some(CountData {
            connections: Some(ConnectionData { start, end, new }),
            requests: RequestData::of(first, last, ends),
            age: self.age(seen, last, moment),
        })
    }
}
