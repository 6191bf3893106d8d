//! Stands in for `tools.rs` in a binary without the feature `tools`.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};

use crate::load::check::image::ImageLookup;
use crate::load::{Diagnostic, Environment};
use crate::plan::Plan;
use crate::types::exit_code;

/// Whether the help leaves out what needs the tools.
pub(super) const ARE_HIDDEN: bool = true;

/// The commands of the feature `tools`.
#[derive(Debug, Subcommand)]
pub(super) enum Tool {
    #[command(hide = true)]
    Import(AnyArgs),
    #[command(hide = true)]
    Report(AnyArgs),
    #[command(hide = true)]
    Schema(AnyArgs),
    #[command(hide = true)]
    Completions(AnyArgs),
    #[command(hide = true)]
    Man(AnyArgs),
}

/// Takes whatever such a command is given.
#[derive(Debug, Args)]
#[command(disable_help_flag = true)]
pub struct AnyArgs {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    _arguments: Vec<OsString>,
}

/// Says that the command is not here.
pub(super) fn run(tool: Tool) -> u8 {
    report(match tool {
        Tool::Import(_) => "`import`",
        Tool::Report(_) => "`report`",
        Tool::Schema(_) => "`schema`",
        Tool::Completions(_) => "`completions`",
        Tool::Man(_) => "`man`",
    })
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
    _: &Environment,
    _: ImageLookup<'_>,
) -> Result<(Vec<Diagnostic>, String), u8> {
    Err(report("`check --pod`"))
}

/// Reports what is not in this binary; the code, for the caller to end with.
fn report(what: &str) -> u8 {
    let message = format!(
        "this binary was built without {what}; use one with the tools: `drainit-tools-…` of a release, or what \
         `make static TOOLS=1` or `cargo install` builds"
    );
    crate::cli::fail(&message, exit_code::USAGE)
}
