//! The totals in the first line of `/dev/termination-log`, which programs read.

use alloc::collections::BTreeSet;
use core::fmt;

use serde_json::{Value, json};

use crate::Journal;
use crate::counts::CountData;
use crate::history::History;
use crate::prelude::*;

impl Journal {
    /// The report with the totals at the end of its first line. The words of this line must not
    /// change.
    pub fn ledger(&self, report: &str) -> String {
        let end = report.find('\n').unwrap_or(report.len());
        let (head, rest) = report.split_at(end);
        format!("{head}{}{rest}", self.totals_text())
    }

    /// The totals as the object `totals` of the report in JSON (docs/json.md).
    pub fn totals_data(&self) -> Value {
        let Totals { connections, requests, cut, left, by } = self.totals();
        let sums = [("connections", connections), ("requests", requests), ("cut", cut)];
        let may_be_more = sums.iter().filter(|(_, sum)| !sum.is_whole).map(|(name, _)| *name);
        json!({
            "connections": connections.known,
            "requests": requests.known,
            "cut": cut.known,
            "left": left,
            "may_be_more": may_be_more.collect::<Vec<_>>(),
            "counted_by": by,
        })
    }

    fn totals_text(&self) -> String {
        let Totals { connections, requests, cut, left, by } = self.totals();
        let by = if by.is_empty() { "-".to_owned() } else { Vec::from_iter(by).join(" and ") };
        let left = if left > 0 { format!("; left {left}") } else { String::new() };
        let killed = self.killed();
        format!(
            "; connections {connections}, requests {requests}, cut {cut}, killed {killed}, \
             counted by {by}{left}"
        )
    }

    fn totals(&self) -> Totals {
        let all: Vec<_> = self.slots.iter().filter_map(counted).collect();
        let connections = |of: &CountData| (of.connections.and_then(|it| it.start), false);
        let requests = |of: &CountData| {
            let perhaps = of.requests.and_then(|it| it.start_unsure);
            (of.requests.and_then(|it| it.start), perhaps > Some(0))
        };
        let known = all.iter().filter(|of| of.connections.is_some());
        Totals {
            connections: total(all.iter().map(connections)),
            requests: total(all.iter().map(requests)),
            cut: total(all.iter().map(cut)),
            left: all.iter().filter_map(|of| of.requests?.left).sum(),
            by: known.map(counter).collect(),
        }
    }
}

/// The sums over all processes.
struct Totals {
    connections: Sum,
    requests: Sum,
    cut: Sum,
    left: u64,
    by: BTreeSet<&'static str>,
}

/// A sum of counts.
#[derive(Clone, Copy)]
struct Sum {
    /// The sum of the known counts; `None` if no count is known, or if it is 0 and may be larger.
    known: Option<u64>,
    /// Whether the sum cannot be larger.
    is_whole: bool,
}

impl fmt::Display for Sum {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.known {
            Some(sum) if self.is_whole => write!(out, "{sum}"),
            Some(sum) => write!(out, "{sum}+"),
            None => write!(out, "-"),
        }
    }
}

/// The counts of the drain or of the stop, which are all unknown if a count has failed; `None` if
/// nothing was to be counted.
fn counted(of: &History) -> Option<CountData> {
    let drain = of.drain.as_ref().filter(|drain| !drain.is_past);
    let has_failed = drain.is_some_and(|drain| drain.counted) || of.is_unknown();
    let counts = drain.and_then(|_| of.drained()).or_else(|| of.cut());
    counts.or(has_failed.then(CountData::default))
}

/// The number of requests that were cut, and whether there may be more. The number is `None` if
/// nobody has seen how the requests ended.
fn cut(counts: &CountData) -> (Option<u64>, bool) {
    let Some(requests) = counts.requests else { return (None, false) };
    let is_seen = requests.unsure.is_some() || counts.age.is_none();
    (requests.cut.filter(|_| is_seen), requests.unsure > Some(0))
}

fn counter(counts: &CountData) -> &'static str {
    let is_of_kernel = counts.requests.is_some_and(|it| it.unsure.or(it.start_unsure).is_some());
    if is_of_kernel { "kernel" } else { "envoy" }
}

/// The sum of counts, each with whether there may be more.
fn total(counts: impl Iterator<Item = (Option<u64>, bool)>) -> Sum {
    let (mut sum, mut is_whole) = (None, true);
    for (count, has_more) in counts {
        is_whole &= count.is_some() && !has_more;
        sum = count.map_or(sum, |count| Some(sum.unwrap_or(0) + count));
    }
    let known = sum.filter(|sum| is_whole || *sum > 0);
    Sum { known, is_whole: is_whole && known.is_some() }
}
