//! A fresh PID namespace, in which drainit is PID 1.

use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// Runs a command as PID 1 of a PID namespace with its own `/proc`. It is killed if the test is.
pub(crate) const UNSHARE: [&str; 5] =
    ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"];

/// Whether PID namespaces are permitted. If not, the running test reports that it is skipped; in CI
/// that is an error, because a suite that tests nothing must not look green.
pub(crate) fn is_possible() -> bool {
    static POSSIBLE: OnceLock<Result<(), String>> = OnceLock::new();
    let possible = POSSIBLE.get_or_init(|| {
        let [program, options @ ..] = UNSHARE;
        let output = Command::new(program).args(options).arg("true").stdin(Stdio::null()).output();
        match output {
            Ok(output) if output.status.success() => Ok(()),
            Ok(output) => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
            Err(error) => Err(format!("unshare: {error}")),
        }
    });
    skip_unless(possible.clone())
}

/// Reports that the running test is skipped, and why, unless it can run.
pub(crate) fn skip_unless(possible: Result<(), String>) -> bool {
    let Err(reason) = possible else { return true };
    let thread = std::thread::current();
    let test = thread.name().unwrap_or("a test");
    let ci = std::env::var("CI").is_ok_and(|ci| ci == "true");
    assert!(!ci, "{test} would be skipped, and this is CI: {reason}");
    // Not `eprintln`, which the test harness hides.
    let _ = writeln!(std::io::stderr(), "skipped: {test}: {reason}");
    false
}
