//! The commands that never run in PID 1.

use std::io::{self, Write};

use clap::CommandFactory;

use crate::cli::{Cli, print};
use crate::types::exit_code;
pub(super) use drainit_tools::Tool;
use drainit_tools::{Refused, Shown};

pub(super) fn run(tool: Tool) -> u8 {
    // Errors are ignored, because stderr may have no reader.
    match tool.run(Cli::command()) {
        Ok(Shown { text, note }) => {
            print(text.as_bytes());
            let _ = write!(io::stderr(), "{note}");
            exit_code::OK
        }
        Err(Refused { why, code }) => {
            let _ = writeln!(io::stderr(), "{}", why.trim_end());
            code
        }
    }
}
