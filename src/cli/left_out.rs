//! Stands in for the commands that a binary without the feature `tools` does not have.

use std::ffi::OsString;

use clap::Args;

use crate::types::exit_code;

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
