//! The sum of many runs.

use std::time::Duration;

use crate::simulation::scenario::Scenario;
use crate::simulation::{Broken, run};

/// The sum of some runs.
#[derive(Debug, Default)]
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
    /// The runs that broke a promise.
    pub(crate) broken: Vec<Broken>,
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
            Err(broken) => count.broken.push(broken),
        }
        self.add(count);
    }

    pub(crate) fn add(&mut self, other: Self) {
        let worse = |a: Option<Worst>, b: Option<Worst>| {
            // Of equal ones the first.
            let rank = |worst: &Worst| (worst.took, std::cmp::Reverse(worst.seed));
            a.into_iter().chain(b).max_by_key(rank)
        };
        self.runs += other.runs;
        self.events += other.events;
        self.worst = worse(self.worst, other.worst);
        self.worst_with_survivors = worse(self.worst_with_survivors, other.worst_with_survivors);
        self.runs_with_kills += other.runs_with_kills;
        self.killed += other.killed;
        self.broken.extend(other.broken);
    }

    /// The run with the lowest seed that broke a promise, whichever thread played it.
    pub(crate) fn first_broken(&self) -> Option<Broken> {
        self.broken.iter().min_by_key(|broken| broken.seed).copied()
    }
}
