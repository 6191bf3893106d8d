//! Plays many scenarios, and counts the runs, their events and the broken promises.

use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use crate::scenario::Scenario;
use crate::{Broken, run};

/// A thread takes this many seeds from the range at a time.
const CHUNK: u64 = 1000;

/// After this many broken runs, the threads take no more seeds.
const ENOUGH: usize = 100;

/// The sums of many runs.
#[derive(Debug, Default)]
pub(super) struct Count {
    pub(super) runs: u64,
    /// The number of events of all runs together.
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

/// Plays the scenarios of these seeds on all cores. Breaches are in the order of their seeds.
pub(super) fn count(seeds: Range<u64>, scenario: impl Fn(u64) -> Scenario + Sync) -> Count {
    let sum = Mutex::new(Count::default());
    let chunks: Vec<u64> = seeds.clone().step_by(CHUNK as usize).collect();
    on_all_cores(&chunks, |&from| {
        if sum.lock().unwrap().broken.len() >= ENOUGH {
            return;
        }
        let mut count = Count::default();
        for seed in from..seeds.end.min(from + CHUNK) {
            let _named = Named(seed);
            count.play(&scenario(seed));
        }
        sum.lock().unwrap().add(count);
    });
    let mut sum = sum.into_inner().unwrap();
    sum.broken.sort_unstable_by_key(|broken| broken.seed);
    sum
}

/// Calls `work` once for each element, on as many threads as there are cores. The threads take the
/// elements in order.
pub(super) fn on_all_cores<T: Sync>(all: &[T], work: impl Fn(&T) + Sync) {
    let next = AtomicUsize::new(0);
    let work = || {
        while let Some(one) = all.get(next.fetch_add(1, Ordering::Relaxed)) {
            work(one);
        }
    };
    let cores = thread::available_parallelism().map_or(1, |cores| cores.get());
    thread::scope(|scope| (0..cores).for_each(|_| drop(scope.spawn(work))));
}

/// Prints its seed when it is dropped during a panic, so that the run can be played again.
struct Named(u64);

impl Drop for Named {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("seed {}", self.0);
        }
    }
}
