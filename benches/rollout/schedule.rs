//! Schedules the rollouts: four light rollouts run at a time, each on its own thread. A rollout
//! that needs the whole machine runs alone.

use std::io;

use benches::jobs;

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
    let queue = |alone| {
        let rows = rows.iter().enumerate().filter(move |(_, row)| row.alone == alone);
        rows.flat_map(|(at, row)| row.modes().iter().map(move |mode| (at, *mode))).collect()
    };
    let total: usize = rows.iter().map(|row| row.modes().len()).sum();
    let work = |(row, mode): (usize, Mode)| {
        roll_out(&rows[row], mode).map(|outcome| Result { row, mode, outcome })
    };
    let tell = |number, Result { row, mode, outcome }: &Result| {
        let (title, mode) = (rows[*row].title(), mode.name());
        let Outcome { failed, refused, .. } = outcome;
        eprintln!("{number:>4}/{total} {title}, {mode}: {failed} failed, {refused} refused");
    };
    let mut results = jobs::run([(queue(false), AT_ONCE), (queue(true), 1)], work, tell)?;
    results.sort_by_key(|result| (result.row, result.mode));
    Ok(results)
}
