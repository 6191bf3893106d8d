//! `drainit completions`: prints a script that completes drainit's command line in a shell.

use clap::{Args, Command};
use clap_complete::Shell;

/// Options of `completions`.
#[derive(Debug, Args)]
pub struct CompletionsArgs {
    /// The shell that will read the script
    #[arg(value_enum)]
    shell: Shell,
}

/// Makes the script that completes `command` in a shell.
pub(super) fn script(args: &CompletionsArgs, mut command: Command) -> String {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command, "drainit", &mut script);
    String::from_utf8_lossy(&script).into_owned()
}
