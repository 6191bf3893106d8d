//! `drainit import`: converts another program's list of processes to the draft of a config.
//!
//! Each format has a reader, which makes a [`draft::Draft`]. If an option has no counterpart in a
//! config, the draft has a comment about the option, so that nothing is dropped silently.

mod broker;
pub mod command;
mod draft;
mod ends;
#[cfg(test)]
mod every_option;
mod fcgi;
mod glob;
mod hints;
mod ini;
pub mod input;
mod order;
mod procfile;
mod refused;
#[cfg(test)]
pub(crate) mod same;
mod supervisord;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

pub use drainit_commands::Format;

use crate::Shown;
use crate::import::draft::Draft;
use crate::import::input::{InputFile, is_stdin};
use crate::load::Diagnostic;
use crate::types::counted;

/// Finds the format of a file by its name; `None` if the name does not show the format.
pub fn format_of(path: &Path) -> Option<Format> {
    let name = path.file_name()?.to_str()?.to_ascii_lowercase();
    match name.rsplit_once('.').map_or("", |(_, extension)| extension) {
        "conf" | "ini" => Some(Format::Supervisord),
        "procfile" => Some(Format::Procfile),
        _ => name.starts_with("procfile").then_some(Format::Procfile),
    }
}

/// The comment in the draft if the other program keeps running when one of its processes exits.
const ON_EXIT: &str = "`on_exit: ignore` keeps the original behaviour: when a process exits, the others run on. Without this key the \
                       exit stops the container, so that it is restarted, which is usually better. Even with the key, the container stops \
                       if a command cannot be executed at its start, unless the process has `required: false`.";

/// Converts files to one draft, with a note about the next step.
///
/// # Errors
///
/// Says why a file cannot be read or parsed.
pub fn import(files: &[(PathBuf, Format)]) -> Result<Shown, Vec<Diagnostic>> {
    let mut whole = Draft::default();
    let mut names = Vec::new();
    for (path, format) in files {
        whole.join(draft(InputFile::read(path)?, *format)?);
        names.push(match is_stdin(path) {
            true => "standard input".into(),
            false => path.file_name().unwrap_or(path.as_os_str()).to_string_lossy(),
        });
    }
    whole.fix_names();
    Ok(finish(whole, &names.join(", ")))
}

pub fn convert(file: InputFile, name: &str, format: Format) -> Result<Shown, Vec<Diagnostic>> {
    Ok(finish(draft(file, format)?, name))
}

fn draft(file: InputFile, format: Format) -> Result<Draft, Vec<Diagnostic>> {
    match format {
        Format::Procfile => crate::import::procfile::read(file),
        Format::Supervisord => crate::import::supervisord::read(file),
    }
}

fn finish(mut draft: Draft, name: &str) -> Shown {
    crate::import::order::add(&mut draft);
    crate::import::broker::add(&mut draft);
    crate::import::hints::add(&mut draft);
    crate::import::refused::comment_out(&mut draft);
    let comments = counted(draft.notes(), "comment", "comments");
    let note = format!("{comments} to be read; then try it with `drainit check -c FILE`\n");
    Shown { text: draft.to_yaml(name), note }
}
