//! The replace bench replaces a process under traffic in several ways, and counts every request
//! without an answer. `make bench-replace` runs all cells of the table. `make bench-replace
//! QUICK=1` runs a few cells in a minute.
//!
//!     bench-replace [--quick] [--seconds SECONDS] [PART OF A CELL'S NAME]
//!
//! Prints the table. The full run also writes `docs/measured/replace.md` and `docs/measured/replace.svg`. The
//! exit code is 1 if drainit lost a request with a mode that promises to lose none.
#![allow(clippy::print_stdout, clippy::print_stderr, clippy::disallowed_methods)]

mod cell;
mod document;
mod mode;

use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};
use std::{env, fs, io};

use benches::load::Protocol;
use benches::{jobs, result};
use testkit::envoy::checkout;
use testkit::measured::write_page;

use crate::cell::{Cell, Outcome, Traffic, measure};
use crate::mode::Mode;

/// How many cells with a fixed rate run at the same time. A cell at full speed runs alone.
const AT_ONCE: usize = 16;
/// The minimum time, in seconds, of a cell that runs at full speed and promises to lose nothing. In
/// this time, all these cells together send 10 million requests.
const SECONDS: u64 = 14;

fn main() -> ExitCode {
    result::exit_code("bench-replace", bench())
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
    let (replacements, seconds) = if is_quick { (1, 0) } else { (2, seconds) };
    let missing: Vec<_> =
        Mode::ALL.into_iter().filter_map(|mode| Some((mode, mode.missing()?))).collect();
    for (mode, why) in &missing {
        eprintln!("{} is left out: {why}", mode.name());
    }
    let is_there = |cell: &Cell| missing.iter().all(|(mode, _)| cell.mode != *mode);
    let is_asked = |cell: &Cell| part.as_ref().is_none_or(|part| cell.to_string().contains(part));
    let cells: Vec<_> = cells(is_quick).filter(is_there).filter(is_asked).collect();
    let begin = Instant::now();
    let directory = env::temp_dir().join(format!("bench-replace-{}", std::process::id()));
    let outcomes = run(&cells, replacements, Duration::from_secs(seconds), &directory);
    let _ = fs::remove_dir_all(&directory);
    let outcomes = outcomes?;
    let text = document::markdown(&outcomes, &missing, begin.elapsed());
    println!("{text}");
    if !is_quick && part.is_none() {
        write_page("replace.md", "make bench-replace", &[("results", text)]);
        let picture = checkout().join("docs/measured/replace.svg");
        fs::write(picture, document::picture(&outcomes).svg())?;
        println!("written: docs/measured/replace.md, docs/measured/replace.svg");
    }
    let mut promised = outcomes.iter().filter(|outcome| outcome.cell.mode.is_clean());
    Ok(promised.all(|outcome| outcome.lost() == 0))
}

/// Returns all cells. A quick run has only cells that promise to lose nothing: all at the higher
/// rate, and HTTP/1.1 also at full speed.
fn cells(is_quick: bool) -> impl Iterator<Item = Cell> {
    let all = Mode::ALL
        .into_iter()
        .flat_map(|mode| Traffic::all().map(move |traffic| Cell { mode, traffic }));
    all.filter(move |Cell { mode, traffic }| {
        let is_short = traffic.pace == "10/s"
            || (traffic.protocol == Protocol::Http1 && traffic.period.is_zero());
        !is_quick || (mode.is_clean() && is_short)
    })
}

/// Measures the cells and reports progress on stderr. The results are in the order of the cells.
fn run(
    cells: &[Cell],
    replacements: u32,
    at_least: Duration,
    directory: &Path,
) -> io::Result<Vec<Outcome>> {
    let queue = |alone| {
        let is_alone = move |cell: &Cell| cell.traffic.period.is_zero() == alone;
        cells.iter().enumerate().filter(|(_, cell)| is_alone(cell)).collect()
    };
    let work = |(number, cell): (usize, &Cell)| {
        let directory = directory.join(number.to_string());
        Ok((number, measure(*cell, replacements, at_least, &directory)?))
    };
    let tell = |done, (_, outcome): &(usize, Outcome)| {
        let Outcome { cell, report, refused, .. } = outcome;
        eprintln!(
            "{done:>4}/{} {cell}: {} requests, {} failed, {refused} refused, slowest {:.2?}",
            cells.len(),
            outcome.requests(),
            outcome.failed(),
            report.slowest
        );
        for (at, failure) in report.failures.iter().take(3) {
            eprintln!("          {failure:?} after {at:.2?}");
        }
    };
    let mut done = jobs::run([(queue(false), AT_ONCE), (queue(true), 1)], work, tell)?;
    done.sort_by_key(|(number, _)| *number);
    Ok(done.into_iter().map(|(_, outcome)| outcome).collect())
}
