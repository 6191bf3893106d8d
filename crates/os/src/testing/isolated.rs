//! Runs a test in a process of its own, for tests that reap children, handle signals or change
//! their own process.

#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

use std::os::unix::process::CommandExt;
use std::process::{Command, Output};

const MARK: &str = "DRAINIT_TEST_ALONE";

/// Runs `body` in a new process. The function starts the test binary again, with only the test
/// `name` (its full path). The process leads a process group of its own, so that signals to its
/// group do not reach the test run.
pub fn in_own_process(name: &str, body: impl FnOnce()) {
    again(name, Command::new(std::env::current_exe().unwrap()), body);
}

/// Runs `body` as PID 1 of a new PID namespace, with the `/proc` of the old namespace.
pub fn in_own_pid_namespace(name: &str, body: impl FnOnce()) {
    let mut command = Command::new("unshare");
    if !nix::unistd::geteuid().is_root() {
        command.arg("--map-root-user");
    }
    command.args(["--pid", "--fork", "--kill-child"]).arg(std::env::current_exe().unwrap());
    again(name, command, body);
}

fn again(name: &str, mut command: Command, body: impl FnOnce()) {
    if std::env::var_os(MARK).is_some_and(|marked| marked == name) {
        return body();
    }
    let output = run_alone(name, command.env(MARK, name).process_group(0));
    let (stdout, stderr) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    // The message of the panic below begins with the assertion that has failed in the new process.
    let failed = stderr.split_once("panicked at ").map_or("", |(_, at)| {
        at.split("\nstack backtrace:").next().unwrap_or(at).split("\nnote: ").next().unwrap_or(at)
    });
    assert!(output.status.success(), "{failed}\n\nall of its output:\n{stdout}{stderr}");
    assert!(stdout.contains("1 passed"), "there is no test `{name}`: {stdout}");
}

/// For tests that end their process: runs the test `name` again in a process of its own, and
/// returns how that process has ended. In the new process, the variable `mark` has the value
/// `value`, so that the test knows where it runs.
pub fn end_of_own_process(name: &str, (mark, value): (&str, &str)) -> Output {
    run_alone(name, Command::new(std::env::current_exe().unwrap()).env(mark, value))
}

/// Starts the test binary with only the test `name`, and waits for its end.
fn run_alone(name: &str, binary: &mut Command) -> Output {
    binary.args(["--exact", name, "--nocapture", "--test-threads=1"]).output().unwrap()
}
