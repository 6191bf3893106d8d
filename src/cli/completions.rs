//! `drainit completions`: prints a script that completes drainit's command line in a shell.

use clap::{Args, CommandFactory, ValueEnum};
use clap_complete::shells;

use crate::cli::{Cli, print};
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
    print(&script);
    exit_code::OK
}
