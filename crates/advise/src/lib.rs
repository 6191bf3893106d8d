//! The advice of drainit: what it tells people about a config, a pod, an image or a command line.
//!
//! - `image` looks for the config's programs, directories and users in the file system.
//! - `import` makes a config from the file of another program.
//! - `kubernetes` is `check --pod`.
//! - `misread` suggests remedies for misread command lines.
//!
//! `drainit run` uses `image` and `misread` before the first process starts. A running drainit uses
//! only `image`, on the thread that reads the config for a reload.

#![forbid(unsafe_code)]
#![allow(clippy::disallowed_methods, reason = "runs before the loop, on a thread, or not in PID 1")]
#![allow(missing_docs)]

mod completions;
pub mod image;
pub mod import;
pub mod kubernetes;
mod man;
pub mod misread;
#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, clippy::disallowed_methods)]
mod reference_tests;
mod schema;
#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, clippy::disallowed_methods)]
mod schema_tests;

use clap::Command;
use drainit_commands::Tool;
pub(crate) use drainit_config::{check, keys, known, language, load, plan};
pub(crate) use drainit_core::types;
pub(crate) use drainit_os as os;
use regex_lite::Regex;

/// Compiles a regular expression that is part of this program, and therefore always valid.
#[allow(clippy::unwrap_used)]
fn pattern(text: &str) -> Regex {
    Regex::new(text).unwrap()
}

/// The output of a command that has succeeded.
#[derive(Debug, Default)]
pub struct Shown {
    pub text: String,
    /// A note that is printed to stderr after the text.
    pub note: String,
}

/// Why a command has failed, and the exit code.
#[derive(Debug)]
pub struct Refused {
    pub why: String,
    pub code: u8,
}

/// Runs the command. `drainit` is the definition of the whole command line; `completions` and `man`
/// need it.
pub fn run(tool: Tool, drainit: Command) -> Result<Shown, Refused> {
    let text = match tool {
        Tool::Import(args) => return import::command::run(&args),
        Tool::Schema => format!("{:#}\n", schema::schema()),
        Tool::Completions(args) => completions::script(&args, drainit),
        Tool::Man => man::page(drainit).unwrap_or_default(),
    };
    Ok(Shown { text, note: String::new() })
}
