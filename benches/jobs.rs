//! Runs the measurements of a bench. Measurements that need the whole machine run alone.

use std::collections::VecDeque;
use std::io;
use std::sync::{Mutex, PoisonError};
use std::thread;

use testkit::load::lock;

/// Runs all jobs of one queue, and then those of the next queue. The number beside a queue is the
/// number of its jobs that run at a time. Calls `tell` with each result and the number of results
/// so far. After an error, no further job begins.
pub fn run<J: Send, R: Send>(
    queues: [(VecDeque<J>, usize); 2],
    work: impl Fn(J) -> io::Result<R> + Sync,
    tell: impl Fn(usize, &R) + Sync,
) -> io::Result<Vec<R>> {
    let done = Mutex::new(Vec::new());
    for (jobs, at_once) in queues {
        let jobs = Mutex::new(jobs);
        thread::scope(|scope| {
            for _ in 0..at_once {
                scope.spawn(|| {
                    loop {
                        // The lock is released at the end of this statement, before the job runs.
                        let job = lock(&jobs).pop_front();
                        let Some(job) = job else { return };
                        let result = work(job);
                        let mut done = lock(&done);
                        match &result {
                            Ok(result) => tell(done.len() + 1, result),
                            Err(_) => lock(&jobs).clear(),
                        }
                        done.push(result);
                    }
                });
            }
        });
    }
    done.into_inner().unwrap_or_else(PoisonError::into_inner).into_iter().collect()
}
