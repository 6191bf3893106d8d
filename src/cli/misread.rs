//! Suggests a remedy for a command line that drainit has probably read differently than the user
//! meant it.

use crate::load::Diagnostic;
use clap::error::{ContextKind, ContextValue, ErrorKind};

/// The remedy for a command line that clap refuses, or for which clap prints its help or the
/// version.
pub(super) fn remedy_for(error: &clap::Error) -> Option<String> {
    match (error.kind(), error.get(ContextKind::InvalidArg)) {
        (ErrorKind::UnknownArgument, Some(ContextValue::String(word))) => unnamed_config(word),
        _ => open_entrypoint(),
    }
}

/// The remedy for an argument that looks like a config file, which needs `-c` and a blank before
/// it. clap reads `-cFILE` as an argument for the processes.
pub(super) fn unnamed_config(word: &str) -> Option<String> {
    let is_yaml = [".yaml", ".yml"].iter().any(|end| word.ends_with(end));
    let file = word.strip_prefix("-c").map_or(word, |file| file.trim_start_matches('='));
    (is_yaml && !file.starts_with('-')).then(|| format!("write `-c {file}` to name a config"))
}

/// The remedy for a config that the command line names, if one of its files is missing or looks
/// like the config of another program. A container's `CMD`, such as `-c /etc/envoy.yaml`, may have
/// named that file.
pub(super) fn foreign_config(problems: &[Diagnostic]) -> Option<String> {
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

/// The remedy if the entrypoint of a container has no `--`. Then drainit reads the options that
/// follow the image's name as its own options.
fn open_entrypoint() -> Option<String> {
    let mut words = std::env::args_os().skip(1);
    let is_run = std::process::id() == 1 && words.next().is_some_and(|word| word == "run");
    (is_run && words.all(|word| word != "--")).then(|| {
        "drainit took the options for its own; if they are for a process, write \
         `ENTRYPOINT [\"drainit\", \"run\", \"--\"]` in the image"
            .to_owned()
    })
}
