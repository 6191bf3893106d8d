//! Commands that never run in PID 1, and a part of another command: `check --pod`.
//!
//! - `import` makes a config from the file of another program.
//! - `kubernetes` is `check --pod`.

#![forbid(unsafe_code)]
#![allow(clippy::disallowed_methods, reason = "never runs in PID 1")]
#![allow(missing_docs)]

mod completions;
pub mod import;
pub mod kubernetes;
mod man;
#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, clippy::disallowed_methods)]
mod reference_tests;
mod schema;
#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, clippy::disallowed_methods)]
mod schema_tests;

use clap::{Command, Subcommand};
pub(crate) use drainit_config::keys as config;
pub(crate) use drainit_config::{check, keys, language, load, plan};
pub(crate) use drainit_core::{graph, types};

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Tool {
    /// Draft a config from a Procfile or a supervisord.conf
    Import(import::command::ImportArgs),
    /// Print the JSON Schema of a config, for editors
    Schema,
    /// Print a script that completes the command line in a shell
    Completions(completions::CompletionsArgs),
    /// Print the manual page
    Man,
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

impl Tool {
    /// Runs the command. `drainit` is the definition of the whole command line; `completions` and
    /// `man` need it.
    pub fn run(self, drainit: Command) -> Result<Shown, Refused> {
        let text = match self {
            Self::Import(args) => return import::command::run(&args),
            Self::Schema => format!("{:#}\n", schema::schema()),
            Self::Completions(args) => completions::script(&args, drainit),
            Self::Man => man::page(drainit).unwrap_or_default(),
        };
        Ok(Shown { text, note: String::new() })
    }
}
