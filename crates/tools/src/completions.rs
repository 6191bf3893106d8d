//! `drainit completions`: prints a script that completes drainit's command line in a shell.

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Command};
use clap_complete::Shell;

/// The shells that people use in containers and at work.
const SHELLS: [&str; 3] = ["bash", "zsh", "fish"];

/// Options of `completions`.
#[derive(Debug, Args)]
pub struct CompletionsArgs {
    /// The shell that will read the script
    #[arg(value_parser = PossibleValuesParser::new(SHELLS).try_map(|name| name.parse::<Shell>()))]
    shell: Shell,
}

/// Makes the script that completes `command` in a shell.
pub(super) fn script(args: &CompletionsArgs, mut command: Command) -> String {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command, "drainit", &mut script);
    String::from_utf8_lossy(&script).into_owned()
}
