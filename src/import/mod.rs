//! The process lists of other programs, turned into the draft of a config: `drainit import`.
//!
//! A reader for each format makes a [`draft::Draft`]; what a format says and a config cannot, becomes a comment at the
//! place where somebody will look for it. Nothing is left out silently.

pub(crate) mod compose;
pub(crate) mod compose_values;
pub(crate) mod draft;
#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
pub(crate) mod every_option;
pub(crate) mod ini;
pub(crate) mod input;
pub(crate) mod procfile;
pub(crate) mod shell_words;
pub(crate) mod supervisord;
pub(crate) mod supervisord_values;
#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests;
pub(crate) mod yaml;

use std::path::Path;

use crate::import::input::InputFile;
use crate::load::Diagnostic;

/// Whose file it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// Foreman, Heroku and others
    Procfile,
    /// Docker Compose
    Compose,
    /// supervisord
    Supervisord,
}

impl Format {
    /// By the name of the file, as these programs look for it.
    #[must_use]
    pub(crate) fn of(path: &Path) -> Option<Self> {
        let name = path.file_name()?.to_str()?.to_ascii_lowercase();
        match name.rsplit_once('.').map_or("", |(_, extension)| extension) {
            "yml" | "yaml" => Some(Self::Compose),
            "conf" | "ini" => Some(Self::Supervisord),
            "procfile" => Some(Self::Procfile),
            _ => name.starts_with("procfile").then_some(Self::Procfile),
        }
    }
}

/// Of programs under which the end of one process means nothing for the others.
const ON_EXIT: &str = "`on_exit: ignore` is what happens there: the others run on. Without it the end of a process stops the \
                       container, which is mostly better: whoever runs the container starts it again.";

/// A config, as text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Imported {
    /// The YAML.
    pub(crate) text: String,
    /// How many of its comments say that something could not be carried over, or needs a look.
    pub(crate) notes: usize,
}

/// Reads a file of another program.
///
/// # Errors
/// Everything that keeps it from being understood at all.
pub(crate) fn import(path: &Path, format: Format) -> Result<Imported, Vec<Diagnostic>> {
    let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy();
    convert(InputFile::read(path)?, &name, format)
}

fn convert(file: InputFile, name: &str, format: Format) -> Result<Imported, Vec<Diagnostic>> {
    let mut draft = match format {
        Format::Procfile => crate::import::procfile::read(file),
        Format::Compose => crate::import::compose::read(file),
        Format::Supervisord => crate::import::supervisord::read(file),
    }?;
    draft.merge_repeated_notes();
    Ok(Imported { text: draft.to_yaml(name), notes: draft.notes() })
}
