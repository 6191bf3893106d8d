//! The critical chain of the start: which processes the container had to wait for.
//!
//! Only the first start of a process counts: a restart does not delay the processes that depend on
//! it.

use core::time::Duration;

use serde::Serialize;

use crate::prelude::*;
use crate::report::Journal;
use crate::report::history::History;
use crate::spec::Spec;
use crate::types::{StartCondition, Time, human, serialize_seconds};

/// The number of links of the critical chain in the log; the quickest are left out.
const SHOWN: usize = 5;

/// A part of the critical chain: the container waited for this process for so long.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Link {
    /// The process, or `pre_start hook`.
    pub name: String,
    /// The time since the link before it, or since the start of drainit.
    #[serde(rename = "seconds", serialize_with = "serialize_seconds")]
    pub takes: Duration,
}

impl History {
    /// When a dependent no longer had to wait for this process.
    fn met(&self, condition: StartCondition) -> Option<Time> {
        let met = match condition {
            StartCondition::Started => self.started,
            StartCondition::Ready | StartCondition::Completed => self.ready,
        };
        met.into_iter().chain(self.released).min()
    }
}

impl Journal {
    /// The time until everything was ready; `None` before that.
    #[must_use]
    pub fn start_took(&self) -> Option<Duration> {
        Some(self.all_ready?.since(self.began))
    }

    /// The critical chain, first to last: from the process that was ready last back along what each
    /// one waited for longest. Empty before everything is ready.
    #[must_use]
    pub fn chain(&self) -> &[Link] {
        &self.chain
    }

    pub(super) fn critical_chain(&self, all_ready: Time, spec: &Spec) -> Vec<Link> {
        let over = |id| Some((id, self.of(id).met(StartCondition::Ready)?));
        let started = spec.ids().filter_map(over);
        // A process that became ready for the first time after that delayed nothing. The
        // first of equals, as in the plan.
        let started = started.filter(|(_, ready)| *ready <= all_ready);
        let last = started.reduce(|a, b| if b.1 > a.1 { b } else { a });
        let mut chain = Vec::new();
        let mut next = last;
        while let Some((id, over)) = next {
            let needs = &spec.processes[id.index()].dependencies;
            let met = needs.iter().filter_map(|&(on, condition)| {
                // A moment later than its own is one of a restart.
                Some((on, self.of(on).met(condition)?)).filter(|(_, met)| *met <= over)
            });
            next = met.reduce(|a, b| if b.1 > a.1 { b } else { a });
            let begins = next.map_or(self.hook_over.unwrap_or(self.began), |(_, met)| met);
            // One that was left out took no time.
            if self.of(id).started.is_some() {
                let name = self.names.of(id).to_owned();
                chain.push(Link { name, takes: over.since(begins) });
            }
        }
        if let Some(over) = self.hook_over {
            let name = "pre_start hook".to_owned();
            chain.push(Link { name, takes: over.since(self.began) });
        }
        chain.reverse();
        chain
    }

    /// The line of the log: `everything is ready after 3.2s: python-executor 1.1s → policy-engine
    /// 400ms → router 1.7s`.
    pub(super) fn start_line(&self) -> String {
        let Some(took) = self.start_took() else { return "everything is ready".to_owned() };
        let chain = self.chain();
        let mut slowest: Vec<_> = (0..chain.len()).collect();
        slowest.sort_by_key(|place| core::cmp::Reverse(chain[*place].takes));
        slowest.truncate(SHOWN);
        let mut parts: Vec<String> = Vec::new();
        for (place, link) in chain.iter().enumerate() {
            if slowest.contains(&place) {
                parts.push(format!("{} {}", link.name, human(link.takes)));
            } else if parts.last().is_none_or(|last| last != "…") {
                parts.push("…".to_owned());
            }
        }
        let (after, parts) = (human(took), parts.join(" → "));
        if parts.is_empty() {
            format!("everything is ready after {after}")
        } else {
            format!("everything is ready after {after}: {parts}")
        }
    }
}
