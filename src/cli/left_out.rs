//! Takes the place of `tools.rs` in a binary without the feature `tools`.

use std::path::{Path, PathBuf};

use clap::Subcommand;
use clap::error::{ContextKind, ContextValue};

use crate::load::check::image::ImageLookup;
use crate::load::{Diagnostic, Environment};
use crate::plan::Plan;
use crate::types::exit_code;

/// Whether the help hides the options that need the feature `tools`.
pub(super) const ARE_HIDDEN: bool = true;

/// The commands of the feature `tools`, which this binary does not have.
#[derive(Debug, Subcommand)]
pub(super) enum Tool {}

const NAMES: [&str; 5] = ["import", "report", "schema", "completions", "man"];

pub(super) fn run(tool: Tool) -> u8 {
    match tool {}
}

/// Reports that this binary does not have the command, if the command line names a command of the
/// tools.
pub(super) fn refuse(error: &clap::Error) -> Option<u8> {
    let Some(ContextValue::String(name)) = error.get(ContextKind::InvalidSubcommand) else {
        return None;
    };
    NAMES.contains(&name.as_str()).then(|| report(&format!("`{name}`")))
}

pub(super) fn json(_: &Plan<'_>) -> Result<String, u8> {
    Err(report("the formats of `plan` other than `text`"))
}

pub(super) fn svg(plan: &Plan<'_>) -> Result<String, u8> {
    json(plan)
}

pub(super) fn check_pod(
    _: &[PathBuf],
    _: (&Path, Option<&str>),
    _: (&Environment, &Environment),
    _: ImageLookup<'_>,
) -> Result<(Vec<Diagnostic>, String), u8> {
    Err(report("`check --pod`"))
}

/// Reports the missing feature, and returns the exit code for the caller.
fn report(what: &str) -> u8 {
    let message = format!(
        "this binary was built without {what}; use one with the tools: `drainit-tools-…` of a release, or what \
         `make static TOOLS=1` or `cargo install` builds"
    );
    crate::cli::fail(&message, exit_code::USAGE)
}
