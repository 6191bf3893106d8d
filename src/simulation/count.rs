//! The sum of many runs.

use std::time::Duration;

use crate::simulation::scenario::Scenario;
use crate::simulation::{Broken, run};

/// The sum of some runs. That of several threads is the same as that of one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Count {
    pub(crate) runs: u64,
    /// The events of all runs.
    pub(crate) events: u64,
    /// The longest shutdown, without those in which a process may survive KILL.
    pub(crate) worst: Option<Worst>,
    /// The longest of those.
    pub(crate) worst_with_survivors: Option<Worst>,
    /// The number of runs in which processes were killed.
    pub(crate) runs_with_kills: u64,
    pub(crate) killed: u64,
    /// The number of runs that broke a promise, and the one with the lowest seed.
    pub(crate) broken: u64,
    pub(crate) first_broken: Option<Broken>,
}

/// A shutdown, and its seed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Worst {
    pub(crate) took: Duration,
    pub(crate) seed: u64,
}

impl Count {
    /// Plays a scenario.
    pub(crate) fn play(&mut self, scenario: &Scenario) {
        let mut count = Self { runs: 1, ..Self::default() };
        match run(scenario) {
            Ok(run) => {
                let worst = Some(Worst { took: run.took(), seed: scenario.seed });
                if scenario.has_survivors() {
                    count.worst_with_survivors = worst;
                } else {
                    count.worst = worst;
                }
                count.events = run.events;
                count.killed = run.report.killed() as u64;
                count.runs_with_kills = count.killed.min(1);
            }
            Err(broken) => (count.broken, count.first_broken) = (1, Some(broken)),
        }
        self.add(count);
    }

    pub(crate) fn add(&mut self, other: Self) {
        let worse = |a: Option<Worst>, b: Option<Worst>| {
            // Of equal ones the first.
            let rank = |worst: &Worst| (worst.took, std::cmp::Reverse(worst.seed));
            a.into_iter().chain(b).max_by_key(rank)
        };
        let broken = self.first_broken.into_iter().chain(other.first_broken);
        *self = Self {
            runs: self.runs + other.runs,
            events: self.events + other.events,
            worst: worse(self.worst, other.worst),
            worst_with_survivors: worse(self.worst_with_survivors, other.worst_with_survivors),
            runs_with_kills: self.runs_with_kills + other.runs_with_kills,
            killed: self.killed + other.killed,
            broken: self.broken + other.broken,
            first_broken: broken.min_by_key(|broken| broken.seed),
        };
    }
}
