//! `drainit man`: prints the manual page.

use std::io::{self, Write};

use clap::CommandFactory;
use clap_mangen::Man;

use crate::cli::Cli;
use crate::types::exit_code;

/// Prints the manual page.
pub(super) fn run() -> u8 {
    let mut page = Vec::new();
    let _ = Man::new(Cli::command()).render(&mut page);
    // Best effort: the reader may have closed the pipe.
    let _ = io::stdout().write_all(&page);
    exit_code::OK
}
