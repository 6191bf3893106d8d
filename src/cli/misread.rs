//! The remedy if a command line names a config without `-c`.

use clap::error::{ContextKind, ContextValue, ErrorKind};

/// The remedy for a command line that clap refuses.
pub(super) fn remedy_for(error: &clap::Error) -> Option<String> {
    match (error.kind(), error.get(ContextKind::InvalidArg)) {
        (ErrorKind::UnknownArgument, Some(ContextValue::String(word))) => unnamed_config(word),
        _ => None,
    }
}

/// The remedy for an argument that is a file where a config would need `-c`.
pub(super) fn unnamed_config(word: &str) -> Option<String> {
    let is_yaml = [".yaml", ".yml"].iter().any(|end| word.ends_with(end));
    (is_yaml && !word.starts_with('-')).then(|| format!("write `-c {word}` to name a config"))
}
