//! `drainit completions`: prints a script that completes drainit's command line in a shell.

use clap::{Arg, Args as _, Command};
use clap_complete::Shell as Generator;
use drainit_commands::{CompletionsArgs, Shell, Whom};

use crate::types::Signal;

/// The commands that take names of processes.
fn naming(drainit: &Command) -> Vec<&str> {
    let takes_names =
        |command: &&Command| command.get_positionals().any(|words| words.get_id() == "names");
    drainit.get_subcommands().filter(takes_names).map(Command::get_name).collect()
}

/// The options that select a running drainit. The script completes the names of its processes.
fn selecting() -> Vec<String> {
    let command = Whom::augment_args(Command::new("drainit"));
    let names = |option: &Arg| {
        let short = option.get_short().map(|short| format!("-{short}"));
        short.into_iter().chain(option.get_long().map(|long| format!("--{long}")))
    };
    command.get_opts().flat_map(names).collect()
}

/// The addition to clap's script for each shell: a function that completes names of processes. In
/// the texts, words such as `WHERE` stand for lists. That for bash calls the function that clap
/// generates, and also completes signals.
const BASH: &str = include_str!("completions/names.bash");
const ZSH: &str = include_str!("completions/names.zsh");
const FISH: &str = include_str!("completions/names.fish");

/// Makes the script that completes `command` in a shell.
pub(super) fn script(args: &CompletionsArgs, mut command: Command) -> String {
    let mut of_clap = |shell: Generator| {
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut command, "drainit", &mut script);
        String::from_utf8_lossy(&script).into_owned()
    };
    let signals = Vec::from_iter(Signal::names()).join(" ");
    match args.shell {
        Shell::Bash => {
            let script = of_clap(Generator::Bash);
            let names = BASH.replace("COMMANDS", &naming(&command).join("|"));
            let names = names.replace("WHERE", &selecting().join("|"));
            script + &names.replace("SIGNALS", &signals)
        }
        Shell::Zsh => zsh(&of_clap(Generator::Zsh), &signals),
        Shell::Fish => of_clap(Generator::Fish) + &fish(&naming(&command), &signals),
    }
}

fn zsh(script: &str, signals: &str) -> String {
    let lines = script.lines().map(|line| match line.strip_prefix("'*::names -- ") {
        Some(rest) => format!("'*::names -- {}", rest.replace(":_default'", ":_drainit_names'")),
        None => line.replace(":SIGNAL:_default'", &format!(":SIGNAL:({signals})'")),
    });
    let mut parts: Vec<_> = lines.collect();
    // The last lines of the script call clap's function, which calls `_drainit_names`. Therefore
    // `_drainit_names` stands before these lines.
    let end = parts.iter().rposition(|line| line.starts_with("if [ \"$funcstack")).unwrap_or(0);
    parts.insert(end, ZSH.replace("WHERE", &selecting().join("|")));
    parts.join("\n") + "\n"
}

fn fish(naming: &[&str], signals: &str) -> String {
    let names = |verb: &&str| {
        format!(
            "complete -c drainit -n \"__fish_drainit_using_subcommand {verb}\" -f -a \"(__drainit_names)\"\n"
        )
    };
    let names: String = naming.iter().map(names).collect();
    let function = FISH.replace("WHERE", &selecting().join(" "));
    format!(
        "{function}{names}complete -c drainit -n \"__fish_drainit_using_subcommand kill\" -s s -l signal -x -a \"{signals}\"\n"
    )
}
