//! `drainit check`: every error and warning of a config at once.

use std::io::{self, Write};

use clap::Args;

use super::config_files::ConfigFiles;
use crate::config::{self, Diagnostic, Environment, Severity};
use crate::vocab::exit_code;

/// Options of `check`.
#[derive(Debug, Args)]
pub struct CheckArgs {
    #[command(flatten)]
    files: ConfigFiles,
    /// Take warnings for errors
    #[arg(long)]
    strict: bool,
}

/// Prints what is wrong; 0 if nothing is, or only warnings and they may be.
pub(super) fn check(args: &CheckArgs) -> u8 {
    let (problems, processes) =
        match config::load(&args.files.paths(), &Environment::from_process()) {
            Ok(loaded) => (loaded.warnings, Some(loaded.config.processes.len())),
            Err(problems) => (problems, None),
        };
    // Whoever closed the pipe has seen enough; the code says the rest.
    let _ = write(&problems, processes);
    let failed = processes.is_none() || (args.strict && !problems.is_empty());
    if failed { exit_code::CONFIG } else { exit_code::OK }
}

fn write(problems: &[Diagnostic], processes: Option<usize>) -> io::Result<()> {
    let mut out = io::stderr().lock();
    for problem in problems {
        writeln!(out, "{problem}")?;
    }
    let count = |severity| problems.iter().filter(|problem| problem.severity == severity).count();
    let (errors, warnings) = (count(Severity::Error), count(Severity::Warning));
    match processes {
        Some(processes) if warnings == 0 => {
            writeln!(io::stdout(), "ok: {}", plural(processes, "process", "processes"))
        }
        Some(_) => writeln!(out, "{}", plural(warnings, "warning", "warnings")),
        None => {
            writeln!(
                out,
                "{}, {}",
                plural(errors, "error", "errors"),
                plural(warnings, "warning", "warnings")
            )
        }
    }
}

pub(super) fn plural(count: usize, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}
