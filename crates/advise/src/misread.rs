//! Suggests a remedy for a command line that drainit has probably read differently than the user
//! meant it.

use std::path::Path;

use clap::Command;
use clap::error::{ContextKind, ContextValue, ErrorKind};

use crate::keys::neighbours::{COMPOSE, IMPORT, of_command};
use crate::load::{self, Diagnostic, Environment};
use crate::types::suggest::nearest;

/// The remedy for a command line that clap refuses, or for which clap prints the help or the
/// version.
pub fn remedy_for(error: &clap::Error, drainit: &Command, verb: &str) -> Option<String> {
    match (error.kind(), error.get(ContextKind::InvalidArg)) {
        (ErrorKind::UnknownArgument, Some(ContextValue::String(word))) => unnamed_file(word, verb)
            .or_else(|| unnamed_config(word))
            .or_else(|| other_option(word, drainit, verb))
            .or_else(open_entrypoint),
        _ => open_entrypoint(),
    }
}

/// The whole message for a subcommand that does not exist; `None` for any other error.
pub fn unknown_command(error: &clap::Error, drainit: &Command) -> Option<String> {
    let Some(ContextValue::String(word)) = error.get(ContextKind::InvalidSubcommand) else {
        return None;
    };
    let names = drainit.get_subcommands().map(Command::get_name);
    let remedy = match (of_command(word), nearest(word, names)) {
        (Some(remedy), _) => remedy.to_owned(),
        (None, Some(near)) => format!("did you mean `drainit {near}`?"),
        (None, None) => "`drainit --help` lists the commands".to_owned(),
    };
    Some(format!("drainit has no command `{word}`; {remedy}"))
}

/// The option that an unknown option of the command `verb` probably stands for, as a remedy.
pub(crate) fn other_option(word: &str, drainit: &Command, verb: &str) -> Option<String> {
    let word = word.strip_prefix("--")?;
    if verb == "reload" && ["dry-run", "check", "plan"].contains(&word) {
        return Some("`drainit plan --reload` shows what a reload would change".to_owned());
    }
    let names = drainit.find_subcommand(verb)?.get_arguments().filter_map(clap::Arg::get_long);
    Some(format!("did you mean `--{}`?", nearest(word, names)?))
}

/// The remedy for a file name that has no `-c` before it. If the file belongs to another program,
/// the remedy says so.
fn unnamed_file(word: &str, verb: &str) -> Option<String> {
    if !["check", "plan"].contains(&verb) || !Path::new(word).is_file() {
        return None;
    }
    other_file(word).or_else(|| Some(format!("write `-c {word}` to name a config")))
}

/// Says to which other program a file belongs, and what to do with the file.
pub fn other_file(file: &str) -> Option<String> {
    let is_file = Path::new(file).is_file();
    let loaded = is_file.then(|| load::load(&[file.into()], &Environment::default()));
    loaded?.err()?.into_iter().find_map(|Diagnostic { message, help, .. }| {
        let help = help.filter(|it| {
            message.ends_with(load::FOREIGN) || it.ends_with(IMPORT) || it == COMPOSE
        })?;
        Some(format!("{message}; {}", help.replace(IMPORT, &IMPORT.replace("FILE", file))))
    })
}

/// The remedy for an argument that looks like a config file: to write `-c FILE`. An argument
/// `-cFILE` gets the same remedy, because clap reads it as an argument for the processes.
pub fn unnamed_config(word: &str) -> Option<String> {
    let is_yaml = [".yaml", ".yml"].iter().any(|end| word.ends_with(end));
    let file = word.strip_prefix("-c").map_or(word, |file| file.trim_start_matches('='));
    (is_yaml && !file.starts_with('-')).then(|| format!("write `-c {file}` to name a config"))
}

/// The remedy if a named config file is missing or looks like the config of another program. A
/// container's `CMD`, such as `-c /etc/envoy.yaml`, may have named the file.
pub fn foreign_config(problems: &[Diagnostic]) -> Option<String> {
    let is_foreign = |problem: &Diagnostic| {
        let is_unlike = |help: &String| help.starts_with("known keys:");
        let is_of_file = problem.line == 0 && problem.is_error();
        is_of_file
            || problem.message.starts_with("unknown key")
                && problem.message.ends_with("at the top level")
                && problem.help.as_ref().is_some_and(is_unlike)
    };
    problems.iter().any(is_foreign).then(open_entrypoint).flatten()
}

/// The remedy if the entrypoint of a container has no `--`. Without the `--`, drainit reads the
/// options that follow the image's name as its own options.
fn open_entrypoint() -> Option<String> {
    let mut words = std::env::args_os().skip(1);
    let is_run = std::process::id() == 1 && words.next().is_some_and(|word| word == "run");
    (is_run && words.all(|word| word != "--")).then(|| {
        "drainit took the options for its own; if they are for a process, write \
         `ENTRYPOINT [\"drainit\", \"run\", \"--\"]` in the image"
            .to_owned()
    })
}
