//! Plays many scenarios on all cores, and gathers the broken promises.

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

/// Plays the scenarios of these seeds on all cores. Returns the breaches in the order of their
/// seeds.
pub(super) fn breaches(
    seeds: Range<u64>,
    scenario: impl Fn(u64) -> Scenario + Sync,
) -> Vec<Broken> {
    let all = Mutex::new(Vec::new());
    let chunks: Vec<u64> = seeds.clone().step_by(CHUNK as usize).collect();
    on_all_cores(&chunks, |&from| {
        for seed in from..seeds.end.min(from + CHUNK) {
            let _named = Named(seed);
            if let Err(broken) = run(&scenario(seed)) {
                all.lock().unwrap().push(broken);
            }
            if all.lock().unwrap().len() >= ENOUGH {
                return;
            }
        }
    });
    let mut all = all.into_inner().unwrap();
    all.sort_unstable_by_key(|broken| broken.seed);
    all
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
