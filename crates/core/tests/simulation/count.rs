//! Plays many scenarios, and adds up what they were.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use crate::scenario::Scenario;
use crate::{Broken, run};

/// A thread takes so many seeds at a time.
const CHUNK: u64 = 1000;

/// A thread plays no further seeds after so many that broke a promise.
const ENOUGH: usize = 100;

/// The sum of some runs.
#[derive(Debug, Default)]
pub(super) struct Count {
    pub(super) runs: u64,
    /// The events of all runs.
    pub(super) events: u64,
    /// The number of runs in which processes were killed.
    pub(super) runs_with_kills: u64,
    /// The runs that broke a promise.
    pub(super) broken: Vec<Broken>,
}

impl Count {
    fn play(&mut self, scenario: &Scenario) {
        self.runs += 1;
        match run(scenario) {
            Ok(run) => {
                self.events += run.events;
                self.runs_with_kills += u64::from(run.killed > 0);
            }
            Err(broken) => self.broken.push(broken),
        }
    }

    fn add(&mut self, other: Self) {
        self.runs += other.runs;
        self.events += other.events;
        self.runs_with_kills += other.runs_with_kills;
        self.broken.extend(other.broken);
    }
}

/// The number of cores.
pub(super) fn cores() -> usize {
    thread::available_parallelism().map_or(1, |cores| cores.get())
}

/// Plays the scenarios of some seeds on all cores. Runs that broke a promise are in the order of their seeds.
pub(super) fn count(seeds: Range<u64>, scenario: impl Fn(u64) -> Scenario + Sync) -> Count {
    let next = AtomicU64::new(seeds.start);
    let play = || {
        let mut count = Count::default();
        while count.broken.len() < ENOUGH {
            let from = next.fetch_add(CHUNK, Ordering::Relaxed);
            if from >= seeds.end {
                break;
            }
            for seed in from..seeds.end.min(from + CHUNK) {
                let _named = Named(seed);
                count.play(&scenario(seed));
            }
        }
        count
    };
    let mut sum = Count::default();
    thread::scope(|scope| {
        let threads: Vec<_> = (0..cores()).map(|_| scope.spawn(play)).collect();
        for thread in threads {
            match thread.join() {
                Ok(count) => sum.add(count),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
    });
    sum.broken.sort_unstable_by_key(|broken| broken.seed);
    sum
}

/// Names the seed of a panic.
struct Named(u64);

impl Drop for Named {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("seed {}", self.0);
        }
    }
}
