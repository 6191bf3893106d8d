//! The commands that never run in PID 1.

use clap::CommandFactory;

use crate::cli::{Cli, print, say};
use crate::types::exit_code;
pub(super) use drainit_tools::Tool;
use drainit_tools::{Refused, Shown};

pub(super) fn run(tool: Tool) -> u8 {
    match tool.run(Cli::command()) {
        Ok(Shown { text, note }) => {
            print(text.as_bytes());
            say(&note);
            exit_code::OK
        }
        Err(Refused { why, code }) => {
            say(&format!("{}\n", why.trim_end()));
            code
        }
    }
}
