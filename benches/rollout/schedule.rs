//! Schedules the rollouts: four light ones run at a time, each on its own thread; a rollout that
//! needs the whole machine runs alone.

use std::collections::VecDeque;
use std::io;
use std::sync::{Mutex, PoisonError};
use std::thread;

use crate::pod::Mode;
use crate::rollout::{Outcome, roll_out};
use crate::rows::Row;

/// The number of light rollouts that run at a time. They mostly wait: four of them leave two cores
/// idle more than half of the time.
const AT_ONCE: usize = 4;

/// One line of the table.
#[derive(Clone, Debug)]
pub(crate) struct Result {
    /// The index of the row.
    pub(crate) row: usize,
    pub(crate) mode: Mode,
    pub(crate) outcome: Outcome,
}

/// Runs all rollouts and reports progress on stderr. The results are in the order of the rows and
/// modes.
pub(crate) fn run(rows: &[Row]) -> io::Result<Vec<Result>> {
    let jobs = |alone| {
        let rows = rows.iter().enumerate().filter(move |(_, row)| row.alone == alone);
        rows.flat_map(|(at, row)| row.modes().iter().map(move |mode| (at, *mode)))
            .collect::<VecDeque<_>>()
    };
    let total = rows.iter().map(|row| row.modes().len()).sum();
    let done = Mutex::new(Vec::with_capacity(total));
    for (jobs, at_once) in [(jobs(false), AT_ONCE), (jobs(true), 1)] {
        let jobs = Mutex::new(jobs);
        thread::scope(|scope| {
            for _ in 0..at_once {
                scope.spawn(|| {
                    loop {
                        // This statement releases the lock at its end.
                        let job = lock(&jobs).pop_front();
                        let Some((row, mode)) = job else { return };
                        let outcome = roll_out(&rows[row], mode);
                        let mut done = lock(&done);
                        done.push(outcome.map(|outcome| Result { row, mode, outcome }));
                        tell(done.len(), total, &rows[row], done.last());
                        if done.last().is_some_and(std::result::Result::is_err) {
                            lock(&jobs).clear();
                        }
                    }
                });
            }
        });
    }
    let done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    let mut results = done.into_iter().collect::<io::Result<Vec<_>>>()?;
    results.sort_by_key(|result| (result.row, result.mode));
    Ok(results)
}

fn tell(number: usize, total: usize, row: &Row, result: Option<&io::Result<Result>>) {
    if let Some(Ok(Result { mode, outcome, .. })) = result {
        let (title, mode) = (row.title(), mode.name());
        let Outcome { failed, refused, .. } = outcome;
        eprintln!("{number:>4}/{total} {title}, {mode}: {failed} failed, {refused} refused");
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
