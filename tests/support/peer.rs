//! Runs tini or dumb-init and drainit under the same name, and compares what they do. PIDs are
//! masked.

use std::fmt;
use std::io::Read;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::namespace::{UNSHARE, skip_unless};
use super::temp_dir::TempDir;

/// A program, and drainit called by its name.
pub(crate) struct Peer {
    original: PathBuf,
    /// Drainit under that name, in a directory of its own.
    drainit: PathBuf,
    dir: TempDir,
}

/// The result of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RunResult {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl fmt::Display for RunResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "code {}\nstdout:\n{}\nstderr:\n{}", self.code, self.stdout, self.stderr)
    }
}

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Invocation<'a> {
    pub(crate) env: &'a [(&'a str, &'a str)],
    /// As PID 1 of a PID namespace.
    pub(crate) init: bool,
}

impl Peer {
    /// The program of this name, if it is installed; the running test is skipped otherwise, and
    /// fails in CI.
    pub(crate) fn installed(name: &str) -> Option<Self> {
        let original = PathBuf::from("/usr/bin").join(name);
        let is_there = original.exists();
        let missing = || format!("no {}: install the Debian package {name}", original.display());
        if !skip_unless(if is_there { Ok(()) } else { Err(missing()) }) {
            return None;
        }
        Some(Self { original, ..Self::by_name(name) })
    }

    /// Only drainit under this name, for tests that do not need the original.
    pub(crate) fn by_name(name: &str) -> Self {
        let dir = TempDir::new();
        let drainit = dir.join(name);
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_drainit"), &drainit).unwrap();
        Self { original: drainit.clone(), drainit, dir }
    }

    /// The path of drainit under the name.
    pub(crate) fn drainit(&self) -> &Path {
        &self.drainit
    }

    /// A path in the directory of the test.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Runs both with these arguments; the original comes first.
    pub(crate) fn both(&self, args: &[&str], how: Invocation<'_>) -> (RunResult, RunResult) {
        (run(&self.original, args, how), run(&self.drainit, args, how))
    }

    /// Runs drainit alone.
    pub(crate) fn ours(&self, args: &[&str], how: Invocation<'_>) -> RunResult {
        run(&self.drainit, args, how)
    }

    /// Fails unless both do the same.
    #[track_caller]
    pub(crate) fn assert_same(&self, args: &[&str], how: Invocation<'_>) -> RunResult {
        let (theirs, ours) = self.both(args, how);
        assert!(theirs == ours, "{args:?} {how:?}\n--- theirs: {theirs}\n--- ours: {ours}");
        ours
    }
}

fn run(program: &Path, args: &[&str], how: Invocation<'_>) -> RunResult {
    // Called by its bare name, because messages repeat it.
    let name = program.file_name().unwrap().to_str().unwrap();
    let called = ["bash", "-c", "exec -a \"$0\" \"$@\"", name, program.to_str().unwrap()];
    let namespace: &[&str] = if how.init { &UNSHARE } else { &[] };
    let words: Vec<_> = namespace.iter().chain(&called).chain(args).collect();
    let mut command = Command::new(words[0]);
    command
        .args(&words[1..])
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .envs(how.env.iter().copied());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let (mut stdout, mut stderr) = (String::new(), String::new());
    let mut errors = child.stderr.take().unwrap();
    let reader = std::thread::spawn(move || {
        errors.read_to_string(&mut stderr).unwrap();
        stderr
    });
    child.stdout.take().unwrap().read_to_string(&mut stdout).unwrap();
    let status = child.wait().unwrap();
    let code = status.code().or(status.signal().map(|signal| 1000 + signal)).unwrap();
    RunResult { code, stdout: without_pids(&stdout), stderr: without_pids(&reader.join().unwrap()) }
}

/// Masks PIDs: numbers of four or more digits, and those after a word that a PID follows.
fn without_pids(text: &str) -> String {
    let pid = regex_lite::Regex::new(r"(?i)(tini \(|pid: '|pid '|pid=|PID )[0-9]+|\b[0-9]{4,}\b");
    pid.unwrap().replace_all(text, "${1}N").into_owned()
}
