//! `drainit check`: every error and warning of a config at once, and of the pod that it is to run in.

use std::io::{self, Write};
use std::path::PathBuf;

use clap::Args;

use super::config_files::ConfigFiles;
use crate::config::{self, Diagnostic, Environment, Severity, pod};
use crate::vocab::exit_code;

/// Options of `check`.
#[derive(Debug, Args)]
pub struct CheckArgs {
    #[command(flatten)]
    files: ConfigFiles,
    /// Take warnings for errors
    #[arg(long)]
    strict: bool,
    /// A manifest to hold the config against: a Pod, Deployment, StatefulSet, DaemonSet, ReplicaSet, Job or CronJob; - reads
    /// standard input
    #[arg(long, value_name = "FILE")]
    pod: Option<PathBuf>,
    /// The container of the manifest that runs drainit [default: each whose command names drainit, else the only one]
    #[arg(long, value_name = "NAME", requires = "pod")]
    container: Option<String>,
}

/// Prints what is wrong; 0 if nothing is, or only warnings and they may be.
pub(super) fn check(args: &CheckArgs) -> u8 {
    let (paths, environment) = (args.files.paths(), Environment::from_process());
    let (problems, fine) = match &args.pod {
        Some(pod) => {
            let checked = pod::check(&paths, pod, args.container.as_deref(), &environment);
            (checked.problems, checked.looked_at.join("; "))
        }
        None => match config::load_to_show(&paths, &environment) {
            Ok(mut loaded) => {
                let processes = plural(loaded.config.processes.len(), "process", "processes");
                let warnings = std::mem::take(&mut loaded.warnings);
                // It is not taken apart: at the end the kernel gets all memory back at once.
                std::mem::forget(loaded);
                (warnings, processes)
            }
            Err(problems) => (problems, String::new()),
        },
    };
    // Whoever closed the pipe has seen enough; the code says the rest.
    let _ = write(&problems, &fine);
    let failed = problems.iter().any(|problem| args.strict || problem.is_error());
    if failed { exit_code::CONFIG } else { exit_code::OK }
}

fn write(problems: &[Diagnostic], fine: &str) -> io::Result<()> {
    let mut out = io::stderr().lock();
    for problem in problems {
        writeln!(out, "{problem}")?;
    }
    let count = |severity| problems.iter().filter(|problem| problem.severity == severity).count();
    let (errors, warnings) = (count(Severity::Error), count(Severity::Warning));
    let warnings_text = plural(warnings, "warning", "warnings");
    match (errors, warnings) {
        (0, 0) => writeln!(io::stdout(), "ok: {fine}"),
        (0, _) => writeln!(out, "{warnings_text}"),
        _ => writeln!(out, "{}, {warnings_text}", plural(errors, "error", "errors")),
    }
}

pub(super) fn plural(count: usize, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}
