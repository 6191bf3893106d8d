//! Runs drainit as PID 1 of a new PID namespace.

use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// The prefix that runs a command as PID 1 of a PID namespace with its own `/proc`. The command is
/// killed when the test is killed.
pub(crate) const UNSHARE: [&str; 5] =
    ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"];

/// Checks whether PID namespaces are permitted. If they are not, reports that the running test is
/// skipped. In CI a skipped test is an error, so that nobody overlooks it.
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

/// Returns whether the test runs as root. If not, reports that the test is skipped, because `what`
/// needs root.
pub(crate) fn is_root_for(what: &str) -> bool {
    let is_root = nix::unistd::geteuid().is_root();
    skip_unless(is_root.then_some(()).ok_or_else(|| format!("{what} needs root")))
}

/// Returns true if `possible` is `Ok`. If not, reports why the test is skipped, or fails in CI.
pub(crate) fn skip_unless(possible: Result<(), String>) -> bool {
    let Err(reason) = possible else { return true };
    let ci = std::env::var("CI").is_ok_and(|ci| ci == "true");
    assert!(!ci, "a test would be skipped, and this is CI: {reason}");
    skip(&reason);
    false
}

/// Reports that the running test is skipped. In CI, this is for a program that Debian does not have.
pub(crate) fn skip(reason: &str) {
    let thread = std::thread::current();
    let test = thread.name().unwrap_or("a test");
    // `eprintln` cannot be used, because the test harness captures its output.
    let _ = writeln!(std::io::stderr(), "skipped: {test}: {reason}");
}
