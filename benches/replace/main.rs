//! The replace bench replaces a process under traffic in several ways, and counts every request
//! without an answer. `make bench-replace` runs all cells of the table. `make bench-replace
//! QUICK=1` runs a few cells in a minute.
//!
//!     bench-replace [--quick] [--seconds SECONDS] [PART OF A CELL'S NAME]
//!
//! Prints the table. The full run also writes `docs/dev/replace.md` and `docs/dev/replace.svg`. The
//! exit code is 1 if drainit lost a request with a mode that promises to lose none.
#![allow(clippy::print_stdout, clippy::print_stderr, clippy::disallowed_methods)]

#[path = "../bars.rs"]
mod bars;
mod cell;
mod client;
mod document;
mod http1;
mod http2;
#[path = "../jobs.rs"]
mod jobs;
mod mode;
mod picture;
mod protocol;
mod tcp;
mod websocket;

use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};
use std::{env, fs, io};

use testkit::envoy::checkout;
use testkit::measured::write_page;

use crate::cell::{Cell, Outcome, Plan, measure};
use crate::mode::Mode;
use crate::protocol::{Pace, Protocol};

/// How many cells with a fixed rate run at the same time. A cell at full speed runs alone.
const AT_ONCE: usize = 16;
/// The minimum time, in seconds, of a cell that runs at full speed and promises to lose nothing. In
/// this time, all these cells together send 10 million requests.
const SECONDS: u64 = 14;

/// One line of the table.
#[derive(Clone, Debug)]
pub(crate) struct Result {
    pub(crate) cell: Cell,
    pub(crate) outcome: Outcome,
}

fn main() -> ExitCode {
    match bench() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => {
            eprintln!("bench-replace: drainit lost requests where it need not");
            ExitCode::FAILURE
        }
        Err(problem) => {
            eprintln!("bench-replace: {problem}");
            ExitCode::FAILURE
        }
    }
}

fn bench() -> io::Result<bool> {
    let (mut is_quick, mut seconds, mut part) = (false, SECONDS, None);
    let mut arguments = env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--quick" => is_quick = true,
            "--seconds" => {
                let number = arguments.next().and_then(|number| number.parse().ok());
                seconds = number.ok_or_else(|| io::Error::other("--seconds needs a number"))?;
            }
            _ => part = Some(argument),
        }
    }
    let plan = if is_quick {
        Plan { replacements: 1, at_least: Duration::ZERO }
    } else {
        Plan { replacements: 2, at_least: Duration::from_secs(seconds) }
    };
    let missing: Vec<_> =
        Mode::ALL.into_iter().filter_map(|mode| Some((mode, mode.missing()?))).collect();
    for (mode, why) in &missing {
        eprintln!("{} is left out: {why}", mode.name());
    }
    let is_there = |cell: &Cell| missing.iter().all(|(mode, _)| cell.mode != *mode);
    let is_asked = |cell: &Cell| part.as_ref().is_none_or(|part| name(*cell).contains(part));
    let cells: Vec<_> = cells(is_quick).filter(is_there).filter(is_asked).collect();
    let begin = Instant::now();
    let directory = env::temp_dir().join(format!("bench-replace-{}", std::process::id()));
    let results = run(&cells, plan, &directory);
    let _ = fs::remove_dir_all(&directory);
    let results = results?;
    let text = document::markdown(&results, &missing, begin.elapsed());
    println!("{text}");
    if !is_quick && part.is_none() {
        write_page("replace.md", "make bench-replace", &[("results", text)]);
        let picture = checkout().join("docs/dev/replace.svg");
        fs::write(picture, picture::svg(&results))?;
        println!("written: docs/dev/replace.md, docs/dev/replace.svg");
    }
    let mut promised = results.iter().filter(|result| result.cell.mode.is_clean());
    Ok(promised.all(|result| result.outcome.lost() == 0))
}

fn name(cell: Cell) -> String {
    let Cell { mode, protocol, pace } = cell;
    format!("{}, {protocol}, {pace}", mode.name())
}

/// Returns all cells. A quick run has only cells that promise to lose nothing: all at the higher
/// rate, and HTTP/1.1 also at full speed.
fn cells(is_quick: bool) -> impl Iterator<Item = Cell> {
    let all = Mode::ALL.into_iter().flat_map(|mode| {
        Protocol::ALL.into_iter().flat_map(move |protocol| {
            Pace::ALL.into_iter().map(move |pace| Cell { mode, protocol, pace })
        })
    });
    all.filter(move |cell| {
        let is_short = match cell.pace {
            Pace::PerSecond(rate) => rate > 1,
            Pace::FullSpeed => cell.protocol == Protocol::Http1,
        };
        !is_quick || (cell.mode.is_clean() && is_short)
    })
}

/// Measures the cells and reports progress on stderr. The results are in the order of the cells.
fn run(cells: &[Cell], plan: Plan, directory: &Path) -> io::Result<Vec<Result>> {
    let queue = |alone| {
        let is_alone = move |cell: &Cell| (cell.pace == Pace::FullSpeed) == alone;
        cells.iter().enumerate().filter(|(_, cell)| is_alone(cell)).collect()
    };
    let work = |(number, cell): (usize, &Cell)| {
        let outcome = measure(*cell, plan, &directory.join(number.to_string()))?;
        Ok((number, Result { cell: *cell, outcome }))
    };
    let tell = |done, (_, Result { cell, outcome }): &(usize, Result)| {
        let (name, counts) = (name(*cell), &outcome.counts);
        eprintln!(
            "{done:>4}/{} {name}: {} requests, {} failed, {} refused, {} repeated, slowest {:.2?}",
            cells.len(),
            outcome.requests(),
            counts.failed,
            counts.refused,
            counts.repeated,
            counts.slowest
        );
        for (failure, (count, at)) in &counts.losses {
            eprintln!("          {count} times {failure}, first after {at:.2?}");
        }
    };
    let mut done = jobs::run([(queue(false), AT_ONCE), (queue(true), 1)], work, tell)?;
    done.sort_by_key(|(number, _)| *number);
    Ok(done.into_iter().map(|(_, result)| result).collect())
}
