//! Stands in for the commands that a binary without the feature `tools` does not have.

use std::ffi::OsString;

use clap::{Args, Subcommand};

use crate::types::exit_code;

/// The commands of the feature `tools`.
#[derive(Debug, Subcommand)]
pub(super) enum Tool {
    #[command(hide = true)]
    Import(AnyArgs),
    #[command(hide = true)]
    Report(AnyArgs),
    #[command(hide = true)]
    Simulate(AnyArgs),
    #[command(hide = true)]
    Schema(AnyArgs),
    #[command(hide = true)]
    Completions(AnyArgs),
    #[command(hide = true)]
    Man(AnyArgs),
}

impl Tool {
    pub(super) fn run(self) -> u8 {
        report(match self {
            Self::Import(_) => "`import`",
            Self::Report(_) => "`report`",
            Self::Simulate(_) => "`simulate`",
            Self::Schema(_) => "`schema`",
            Self::Completions(_) => "`completions`",
            Self::Man(_) => "`man`",
        })
    }
}

/// Takes whatever such a command is given.
#[derive(Debug, Args)]
#[command(disable_help_flag = true)]
pub struct AnyArgs {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    _arguments: Vec<OsString>,
}

/// Reports that a command is not in this binary; the code, for the caller to end with.
pub(super) fn report(what: &str) -> u8 {
    let message = format!(
        "this binary was built without {what}; use one that `make static` built without `LEAN=1`"
    );
    crate::cli::fail(&message, exit_code::USAGE)
}
