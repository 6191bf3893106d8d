//! The mend where a command line was probably meant otherwise than drainit has read it: an option of
//! the container's processes that drainit took for its own, or a config without `-c`.

use clap::error::{ContextKind, ContextValue, ErrorKind};

/// The entrypoint of an image, which keeps its arguments from drainit.
const ENTRYPOINT: &str = "ENTRYPOINT [\"drainit\", \"run\", \"--\"]";

/// The mend for a command line that clap does not carry out.
pub(super) fn of_usage(error: &clap::Error) -> Option<String> {
    match (error.kind(), error.get(ContextKind::InvalidArg)) {
        (ErrorKind::DisplayHelp | ErrorKind::DisplayVersion, _) => {
            is_open_entrypoint().then(|| format!("this is drainit's own; {}", for_the_processes()))
        }
        (ErrorKind::UnknownArgument, Some(ContextValue::String(word))) => unnamed_config(word),
        _ => None,
    }
}

/// The mend where `run` has found no valid config, or its arguments belong to nobody. `names_files`:
/// there was a `-c`.
pub(super) fn of_run(names_files: bool, arguments: &[String]) -> Option<String> {
    match arguments.first() {
        Some(word) if !names_files => unnamed_config(word),
        _ if names_files && is_open_entrypoint() => Some(format!(
            "`-c` and `--config` before a `--` name drainit's own config; {}",
            for_the_processes()
        )),
        _ => None,
    }
}

/// A file that stands where a config would need `-c`.
fn unnamed_config(word: &str) -> Option<String> {
    let is_yaml = [".yaml", ".yml"].iter().any(|end| word.ends_with(end));
    (is_yaml && !word.starts_with('-')).then(|| format!("a config is named by `-c {word}`"))
}

fn for_the_processes() -> String {
    format!("if it was meant for a process of the container, write `{ENTRYPOINT}` in the image")
}

/// Whether this is the entrypoint of a container, and may have read what is behind the image's name.
fn is_open_entrypoint() -> bool {
    let mut words = std::env::args_os().skip(1);
    let is_run = words.next().is_some_and(|word| word == "run");
    std::process::id() == 1 && is_run && words.all(|word| word != "--")
}
