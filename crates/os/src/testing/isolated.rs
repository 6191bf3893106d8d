//! Runs a test in a process of its own, for tests that reap children, handle signals or change
//! their own process.

#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

use std::os::unix::process::CommandExt;
use std::process::{Command, Output};

const MARK: &str = "DRAINIT_TEST_ALONE";

/// Runs the rest of the current test, `body`, in a new process, which is the test binary with only
/// this test. The process leads a process group of its own, so that signals to its group do not
/// reach the test run.
pub fn in_own_process(body: impl FnOnce()) {
    again(Command::new(std::env::current_exe().unwrap()), body);
}

/// Like [`in_own_process`], for tests that only root can run: another user runs nothing.
pub fn in_own_process_of_root(body: impl FnOnce()) {
    if nix::unistd::geteuid().is_root() {
        in_own_process(body);
    }
}

/// Runs `body` as PID 1 of a new PID namespace, with the `/proc` of the old namespace.
pub fn in_own_pid_namespace(body: impl FnOnce()) {
    let mut command = Command::new("unshare");
    if !nix::unistd::geteuid().is_root() {
        command.arg("--map-root-user");
    }
    command.args(["--pid", "--fork", "--kill-child"]).arg(std::env::current_exe().unwrap());
    again(command, body);
}

fn again(mut command: Command, body: impl FnOnce()) {
    if std::env::var_os(MARK).is_some() {
        return body();
    }
    let output = run_alone(command.env(MARK, "").process_group(0));
    let (stdout, stderr) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    // The message of the panic below begins with the assertion that has failed in the new process.
    let failed = stderr.split_once("panicked at ").map_or("", |(_, at)| {
        at.split("\nstack backtrace:").next().unwrap_or(at).split("\nnote: ").next().unwrap_or(at)
    });
    assert!(output.status.success(), "{failed}\n\nall of its output:\n{stdout}{stderr}");
    assert!(stdout.contains("1 passed"), "{stdout}");
}

/// For tests that end their process: runs `body` with `value` in a new process, and returns how
/// that process has ended.
pub fn end_of_own_process(value: &str, body: impl FnOnce(&str)) -> Output {
    if let Ok(value) = std::env::var(MARK) {
        body(&value);
        std::process::exit(0);
    }
    run_alone(Command::new(std::env::current_exe().unwrap()).env(MARK, value))
}

/// Starts the test binary with only the current test, whose name is that of the thread, and waits
/// for its end.
fn run_alone(binary: &mut Command) -> Output {
    let thread = std::thread::current();
    binary.args(["--exact", thread.name().unwrap(), "--nocapture", "--test-threads=1"]);
    binary.output().unwrap()
}
