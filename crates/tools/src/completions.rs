//! `drainit completions`: prints a script that completes drainit's command line in a shell.

use clap::{Args, Command, ValueEnum};
use clap_complete::shells;

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

/// The script.
pub(super) fn script(args: &CompletionsArgs, mut command: Command) -> String {
    let mut script = Vec::new();
    match args.shell {
        Shell::Bash => clap_complete::generate(shells::Bash, &mut command, "drainit", &mut script),
        Shell::Zsh => clap_complete::generate(shells::Zsh, &mut command, "drainit", &mut script),
        Shell::Fish => clap_complete::generate(shells::Fish, &mut command, "drainit", &mut script),
    }
    String::from_utf8_lossy(&script).into_owned()
}
