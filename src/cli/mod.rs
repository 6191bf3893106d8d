//! The command line: one file for each command.

mod ask;
pub mod check;
#[cfg(feature = "tools")]
pub mod completions;
pub mod config_files;
pub mod control_address;
pub mod drain;
pub mod exec;
pub mod exec_drain;
pub mod health;
#[cfg(feature = "tools")]
pub mod import;
pub mod kill;
#[cfg(not(feature = "tools"))]
pub mod left_out;
pub mod logs;
#[cfg(feature = "tools")]
pub mod man;
pub mod operate;
pub mod plan;
#[cfg(feature = "tools")]
pub mod report;
pub mod run;
#[cfg(feature = "tools")]
pub mod schema;
pub mod status;
mod values;

use std::ffi::OsString;
use std::io::{self, Write};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::compat;
use crate::core::event::Request;
use crate::os::signal::mask;
use crate::types::{exit_code, harmless};

/// The init that drains before it stops.
#[derive(Debug, Parser)]
#[command(name = "drainit", version, propagate_version = true, subcommand_required = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start the processes of a config, supervise them, drain and stop them in order
    Run(crate::cli::run::RunArgs),
    /// Run one command, without a config: forward signals, reap orphans
    Exec(Box<crate::cli::exec::ExecArgs>),
    /// Report all errors and warnings of a config
    Check(crate::cli::check::CheckArgs),
    /// Show the start order, and the longest shutdown against the grace period
    Plan(crate::cli::plan::PlanArgs),
    /// Drain the running container, without stopping it
    Drain(crate::cli::drain::DrainArgs),
    /// Draft a config from a Procfile, a Compose file or a supervisord.conf
    #[cfg(feature = "tools")]
    Import(crate::cli::import::ImportArgs),
    #[cfg(not(feature = "tools"))]
    #[command(hide = true)]
    Import(crate::cli::left_out::AnyArgs),
    /// Draw the report of a shutdown that has happened, beside its plan
    #[cfg(feature = "tools")]
    Report(crate::cli::report::ReportArgs),
    #[cfg(not(feature = "tools"))]
    #[command(hide = true)]
    Report(crate::cli::left_out::AnyArgs),
    /// Check whether the running container is healthy, for an exec probe or a HEALTHCHECK
    Health(crate::cli::health::HealthArgs),
    /// Show the processes of the running container, and how far a shutdown is
    Status(crate::cli::status::StatusArgs),
    /// Stop single processes, their dependents first; they stay down until they are started
    Stop(crate::cli::operate::OperateArgs),
    /// Start single processes, their dependencies first
    Start(crate::cli::operate::OperateArgs),
    /// Replace single processes
    Restart(crate::cli::operate::OperateArgs),
    /// Send a signal to single processes
    Kill(crate::cli::kill::KillArgs),
    /// Show the last lines of the processes
    Logs(crate::cli::logs::LogsArgs),
    /// Print the JSON Schema of a config, for editors
    #[cfg(feature = "tools")]
    Schema,
    #[cfg(not(feature = "tools"))]
    #[command(hide = true)]
    Schema(crate::cli::left_out::AnyArgs),
    /// Print a script that completes the command line in a shell
    #[cfg(feature = "tools")]
    Completions(crate::cli::completions::CompletionsArgs),
    #[cfg(not(feature = "tools"))]
    #[command(hide = true)]
    Completions(crate::cli::left_out::AnyArgs),
    /// Print the manual page
    #[cfg(feature = "tools")]
    Man,
    #[cfg(not(feature = "tools"))]
    #[command(hide = true)]
    Man(crate::cli::left_out::AnyArgs),
}

/// Parses the command line and carries it out.
#[must_use]
pub fn main() -> ExitCode {
    // A stop signal may arrive right after the exec.
    mask::hold();
    let args: Vec<_> = std::env::args_os().collect();
    let code = compat::run(&args).or_else(|| crate::cli::exec::exec_plainly(&args));
    ExitCode::from(code.unwrap_or_else(|| carry_out(args)))
}

fn carry_out(args: Vec<OsString>) -> u8 {
    let parsed = Cli::try_parse_from(args);
    if !matches!(parsed, Ok(Cli { command: Command::Run(_) | Command::Exec(_) })) {
        mask::release();
    }
    match parsed {
        Ok(Cli { command: Command::Run(args) }) => crate::cli::run::run(args),
        Ok(Cli { command: Command::Exec(args) }) => crate::cli::exec::exec(*args),
        Ok(Cli { command: Command::Check(args) }) => crate::cli::check::check(&args),
        Ok(Cli { command: Command::Plan(args) }) => crate::cli::plan::plan(&args),
        Ok(Cli { command: Command::Drain(args) }) => crate::cli::drain::drain(&args),
        #[cfg(feature = "tools")]
        Ok(Cli { command: Command::Import(args) }) => crate::cli::import::run(&args),
        #[cfg(not(feature = "tools"))]
        Ok(Cli { command: Command::Import(_) }) => crate::cli::left_out::report("`import`"),
        #[cfg(feature = "tools")]
        Ok(Cli { command: Command::Report(args) }) => crate::cli::report::report(&args),
        #[cfg(not(feature = "tools"))]
        Ok(Cli { command: Command::Report(_) }) => crate::cli::left_out::report("`report`"),
        Ok(Cli { command: Command::Health(args) }) => crate::cli::health::health(args),
        Ok(Cli { command: Command::Status(args) }) => crate::cli::status::status(&args),
        Ok(Cli { command: Command::Stop(args) }) => {
            crate::cli::operate::operate(Request::Stop, &args)
        }
        Ok(Cli { command: Command::Start(args) }) => {
            crate::cli::operate::operate(Request::Start, &args)
        }
        Ok(Cli { command: Command::Restart(args) }) => {
            crate::cli::operate::operate(Request::Restart, &args)
        }
        Ok(Cli { command: Command::Kill(args) }) => crate::cli::kill::kill(&args),
        Ok(Cli { command: Command::Logs(args) }) => crate::cli::logs::logs(&args),
        #[cfg(feature = "tools")]
        Ok(Cli { command: Command::Schema }) => crate::cli::schema::run(),
        #[cfg(not(feature = "tools"))]
        Ok(Cli { command: Command::Schema(_) }) => crate::cli::left_out::report("`schema`"),
        #[cfg(feature = "tools")]
        Ok(Cli { command: Command::Completions(args) }) => crate::cli::completions::run(&args),
        #[cfg(not(feature = "tools"))]
        Ok(Cli { command: Command::Completions(_) }) => {
            crate::cli::left_out::report("`completions`")
        }
        #[cfg(feature = "tools")]
        Ok(Cli { command: Command::Man }) => crate::cli::man::run(),
        #[cfg(not(feature = "tools"))]
        Ok(Cli { command: Command::Man(_) }) => crate::cli::left_out::report("`man`"),
        Err(error) => {
            // Best effort: the stream may have no reader.
            let _ = error.print();
            if error.use_stderr() { exit_code::USAGE } else { exit_code::OK }
        }
    }
}

/// Prints an error, and returns the exit code.
fn fail(message: &str, code: u8) -> u8 {
    // Best effort: stderr may have no reader.
    let _ = writeln!(io::stderr(), "[drainit] error: {}", harmless(message));
    code
}
