//! Judges what the init of a container owes its processes, row by row.
//!
//! One program plays three parts. As the *driver* (`run`), it starts an init in a new PID namespace
//! for each row ([`door`], [`room`]). As the *puppet*, it is the child of that init, and does what
//! the driver asks ([`puppet`]). Without a driver, it is the child of any init, and judges the rows
//! that need nobody outside (`rows/below.rs`).

#![allow(
    clippy::disallowed_methods,
    reason = "the probe is never PID 1, and may wait and open files"
)]

pub mod cli;
pub mod door;
pub mod proc;
pub mod puppet;
pub mod report;
pub mod room;
pub mod rows;
pub mod start;
pub mod sys;
pub mod verdict;
pub mod wire;

use std::io::{self, Write};

use start::Start;

/// Runs the program, and returns its exit code.
pub fn main() -> i32 {
    let start = Start::look();
    let arguments: Vec<_> =
        std::env::args_os().map(|word| word.to_string_lossy().into_owned()).collect();
    match cli::run(&arguments, &start) {
        Ok(code) => code,
        Err(why) => {
            let _ = writeln!(io::stderr(), "pid1-probe: {why}");
            2
        }
    }
}
