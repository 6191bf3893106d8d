//! The rollout bench replaces a pod with a real Envoy under traffic, repeatedly, and counts every
//! request without an answer. `make bench-rollout` runs all rows, and `make bench-rollout QUICK=1`
//! runs a few rows in a minute.
//!
//! Prints the table. The full run also writes `docs/measured/rollout.md` and `docs/measured/rollout.svg`. The
//! exit code is 1 if namespaces are not permitted. The exit code is also 1 if drainit lost a
//! request with a protocol in which a server can announce the end of a connection.
#![allow(clippy::print_stdout, clippy::print_stderr, clippy::disallowed_methods)]

mod document;
mod node;
mod pod;
mod rollout;
mod rows;
mod schedule;
mod upstream;
mod wrk;

use std::process::ExitCode;
use std::time::Instant;
use std::{fs, io};

use benches::result;
use testkit::envoy::checkout;
use testkit::measured::write_page;

fn main() -> ExitCode {
    match node::enter() {
        Ok(None) => result::exit_code("bench-rollout", bench()),
        Ok(Some(code)) => code,
        Err(problem) => result::exit_code("bench-rollout", Err(problem)),
    }
}

/// Selects the rows: a few for `--quick`, or the rows whose name contains any other argument.
fn bench() -> io::Result<bool> {
    let argument = std::env::args().nth(1);
    let rows = match argument.as_deref() {
        None => rows::all(),
        Some("--quick") => rows::quick(),
        Some(part) => rows::all().into_iter().filter(|row| row.title().contains(part)).collect(),
    };
    let begin = Instant::now();
    let results = schedule::run(&rows)?;
    let text = document::markdown(&rows, &results, begin.elapsed());
    let servers = document::servers(&rows, &results);
    println!("{text}\n{servers}");
    if argument.is_none() {
        write_page("rollout.md", "make bench-rollout", &[("results", text), ("servers", servers)]);
        let picture = checkout().join("docs/measured/rollout.svg");
        fs::write(picture, document::picture(&rows, &results).svg())?;
        println!("written: docs/measured/rollout.md, docs/measured/rollout.svg");
    }
    let broken = |result: &&schedule::Result| {
        result.mode == pod::Mode::Drainit
            && rows[result.row].impolite.is_none()
            && result.outcome.lost() > 0
    };
    for result in results.iter().filter(broken) {
        println!("\n{}, drainit:", rows[result.row].title());
        print!("{}", result.outcome.evidence());
    }
    Ok(!results.iter().any(|result| broken(&result)))
}
