//! The results of a load bench: the first line of its table, and its exit code.

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use testkit::envoy::checkout;
use testkit::measured::{machine, version};

/// The drainit that is measured.
pub fn drainit() -> PathBuf {
    checkout().join("target/static/drainit")
}

/// Returns the date, the versions of drainit and Envoy, the machine, and the time of the bench.
pub fn head(envoys: &[&str], took: Duration) -> String {
    let date = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
    format!(
        "{}, drainit {}, Envoy {}, on {}. The bench took {} minutes.\n\n",
        date.split('T').next().unwrap_or_default(),
        version(&drainit()),
        envoys.join(", "),
        machine(),
        took.as_secs().div_ceil(60)
    )
}

/// Returns the exit code of a bench. `result` says whether drainit lost no request where it
/// promises to lose none.
#[allow(clippy::print_stderr)]
pub fn exit_code(bench: &str, result: io::Result<bool>) -> ExitCode {
    match result {
        Ok(true) => return ExitCode::SUCCESS,
        Ok(false) => eprintln!("{bench}: drainit lost requests where it need not"),
        Err(problem) => eprintln!("{bench}: {problem}"),
    }
    ExitCode::FAILURE
}
