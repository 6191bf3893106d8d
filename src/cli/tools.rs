//! The commands and options of the feature `tools`. In a binary without the feature, `left_out.rs`
//! takes the place of this file.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::CommandFactory;

use crate::cli::{Cli, print};
use crate::load::check::image::ImageLookup;
use crate::load::{Diagnostic, Environment};
use crate::plan::Plan;
use crate::types::exit_code;
pub(super) use drainit_tools::Tool;
use drainit_tools::{Refused, Shown, drawing, kubernetes};

/// Whether the help hides the options that need the feature `tools`.
pub(super) const ARE_HIDDEN: bool = false;

pub(super) fn run(tool: Tool) -> u8 {
    // Errors are ignored, because stderr may have no reader.
    match tool.run(Cli::command()) {
        Ok(Shown { text, note }) => {
            print(text.as_bytes());
            let _ = write!(io::stderr(), "{note}");
            exit_code::OK
        }
        Err(Refused { why, code }) => {
            let _ = writeln!(io::stderr(), "{}", why.trim_end());
            code
        }
    }
}

/// Refuses nothing, because this binary has all commands.
pub(super) fn refuse(_: &clap::Error) -> Option<u8> {
    None
}

/// The plan as JSON, for programs.
pub(super) fn json(plan: &Plan<'_>) -> Result<String, u8> {
    Ok(crate::plan::json::json(plan))
}

/// The plan as a picture.
pub(super) fn svg(plan: &Plan<'_>) -> Result<String, u8> {
    Ok(drawing::plan::svg(plan))
}

/// Checks a config against a manifest. Also returns which containers were checked.
pub(super) fn check_pod(
    paths: &[PathBuf],
    (pod, container): (&Path, Option<&str>),
    environments: (&Environment, &Environment),
    lookup: ImageLookup<'_>,
) -> Result<(Vec<Diagnostic>, String), u8> {
    let checked = kubernetes::check(paths, pod, container, environments, lookup);
    Ok((checked.diagnostics, checked.containers.join("; ")))
}
