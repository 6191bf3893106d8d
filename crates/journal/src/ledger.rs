//! The totals in the first line of `/dev/termination-log`, which programs read.

use alloc::collections::BTreeSet;

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
        format!("{head}{}{rest}", self.totals())
    }

    fn totals(&self) -> String {
        let all: Vec<_> = self.slots.iter().filter_map(counted).collect();
        let start = |of: &CountData| (of.connections.and_then(|it| it.start), false);
        let connections = total(all.iter().map(start));
        let start = |of: &CountData| {
            let perhaps = of.requests.and_then(|it| it.start_unsure);
            (of.requests.and_then(|it| it.start), perhaps > Some(0))
        };
        let start = total(all.iter().map(start));
        let cut = total(all.iter().map(cut));
        let known = all.iter().filter(|of| of.connections.is_some());
        let by: BTreeSet<_> = known.map(counter).collect();
        let by = if by.is_empty() { "-".to_owned() } else { Vec::from_iter(by).join(" and ") };
        let left: u64 = all.iter().filter_map(|of| of.requests?.left).sum();
        let left = if left > 0 { format!("; left {left}") } else { String::new() };
        format!(
            "; connections {connections}, requests {start}, cut {cut}, killed {}, counted by {by}{left}",
            self.killed()
        )
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

/// The sum of counts, each with whether there may be more. A sum that may be larger has a `+`, or is
/// `-` in place of 0.
fn total(counts: impl Iterator<Item = (Option<u64>, bool)>) -> String {
    let (mut sum, mut is_whole) = (None, true);
    for (count, has_more) in counts {
        is_whole &= count.is_some() && !has_more;
        sum = count.map_or(sum, |count| Some(sum.unwrap_or(0) + count));
    }
    match sum {
        Some(sum) if is_whole => sum.to_string(),
        Some(sum @ 1..) => format!("{sum}+"),
        _ => "-".to_owned(),
    }
}
