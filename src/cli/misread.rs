//! The mend where a config was probably meant that stands without its `-c`.

use clap::error::{ContextKind, ContextValue, ErrorKind};

/// The mend for a command line that clap does not carry out.
pub(super) fn of_usage(error: &clap::Error) -> Option<String> {
    match (error.kind(), error.get(ContextKind::InvalidArg)) {
        (ErrorKind::UnknownArgument, Some(ContextValue::String(word))) => unnamed_config(word),
        _ => None,
    }
}

/// The mend for an argument that is a file where a config would need `-c`.
pub(super) fn unnamed_config(word: &str) -> Option<String> {
    let is_yaml = [".yaml", ".yml"].iter().any(|end| word.ends_with(end));
    (is_yaml && !word.starts_with('-')).then(|| format!("write `-c {word}` to name a config"))
}
