//! The commands that never run in PID 1.

use clap::CommandFactory;

use crate::cli::{print, say};
use crate::commands::{Cli, Tool};
use crate::types::exit_code;
use drainit_advise::{Refused, Shown, run as run_tool};

pub(super) fn run(tool: Tool) -> u8 {
    match run_tool(tool, Cli::command()) {
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
