//! `drainit completions`: prints a script that completes drainit's command line in a shell.

use std::io::{self, Write};

use clap::{Args, CommandFactory, ValueEnum};
use clap_complete::shells;

use crate::cli::Cli;
use crate::types::exit_code;

/// Options of `completions`.
#[derive(Debug, Args)]
pub struct CompletionsArgs {
    /// The shell that reads the script
    #[arg(value_enum)]
    shell: Shell,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Shell {
    Bash,
    Zsh,
    Fish,
}

/// Prints the script.
pub(super) fn run(args: &CompletionsArgs) -> u8 {
    let mut command = Cli::command();
    let mut script = Vec::new();
    match args.shell {
        Shell::Bash => clap_complete::generate(shells::Bash, &mut command, "drainit", &mut script),
        Shell::Zsh => clap_complete::generate(shells::Zsh, &mut command, "drainit", &mut script),
        Shell::Fish => clap_complete::generate(shells::Fish, &mut command, "drainit", &mut script),
    }
    // Best effort: the reader may have closed the pipe.
    let _ = io::stdout().write_all(&script);
    exit_code::OK
}
