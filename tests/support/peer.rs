//! Runs tini or dumb-init, and drainit under the same name, and compares their behaviour. PIDs are
//! masked.

use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::Said;
use super::namespace::{UNSHARE, skip_unless};
use super::temp_dir::{TempDir, write_program};

/// A program, and drainit called by the name of that program.
pub(crate) struct Peer {
    original: PathBuf,
    /// The path of drainit under that name, in a separate directory.
    drainit: PathBuf,
    dir: TempDir,
}

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Invocation<'a> {
    pub(crate) env: &'a [(&'a str, &'a str)],
    /// Whether the program runs as PID 1 of a PID namespace.
    pub(crate) init: bool,
}

/// As an ordinary process.
pub(crate) const PLAIN: Invocation<'_> = Invocation { env: &[], init: false };
/// As PID 1.
pub(crate) const INIT: Invocation<'_> = Invocation { env: &[], init: true };

impl Peer {
    /// Returns the program of this name, if it is installed. Otherwise the running test is skipped,
    /// which is an error in CI.
    pub(crate) fn installed(name: &str) -> Option<Self> {
        let original = PathBuf::from("/usr/bin").join(name);
        let missing = || format!("no {}: install the Debian package {name}", original.display());
        let is_there = skip_unless(original.exists().then_some(()).ok_or_else(missing));
        is_there.then(|| Self { original, ..Self::by_name(name) })
    }

    /// Returns only drainit under this name, for tests that do not need the original.
    pub(crate) fn by_name(name: &str) -> Self {
        let dir = TempDir::for_everybody();
        let drainit = dir.path(name);
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_drainit"), &drainit).unwrap();
        Self { original: drainit.clone(), drainit, dir }
    }

    /// Returns the path at which drainit has the name of the program.
    pub(crate) fn drainit(&self) -> &Path {
        &self.drainit
    }

    /// Writes a script into the directory of the test, and returns its path.
    pub(crate) fn write_script(&self, text: &str) -> PathBuf {
        let script = self.path("script");
        write_program(&script, text);
        script
    }

    /// Returns a path in the directory of the test.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path(name)
    }

    /// Runs both programs with these arguments, and returns the result of the original first.
    pub(crate) fn both(&self, args: &[&str], how: Invocation<'_>) -> (Said, Said) {
        (run(&self.original, args, how), run(&self.drainit, args, how))
    }

    /// Runs drainit alone.
    pub(crate) fn ours(&self, args: &[&str], how: Invocation<'_>) -> Said {
        run(&self.drainit, args, how)
    }

    /// Asserts that both programs behave the same.
    #[track_caller]
    pub(crate) fn assert_same(&self, args: &[&str], how: Invocation<'_>) -> Said {
        let (theirs, ours) = self.both(args, how);
        assert!(theirs == ours, "{args:?} {how:?}\n--- theirs: {theirs:?}\n--- ours: {ours:?}");
        ours
    }

    /// Sends both programs a signal, and asserts whether the signal reaches a second process of the
    /// group; `is_reached` is the expected result. `options` precede the command.
    #[track_caller]
    pub(crate) fn assert_group(&self, options: &[&str], env: &[(&str, &str)], is_reached: bool) {
        // The script waits for the signal, but only briefly if the test expects no signal.
        let (looks, heard) = if is_reached { (300, "inner\n") } else { (20, "") };
        let script = format!(
            "exec 2>/dev/null; rm -f {0} {0}.ready; sh -c \"trap 'echo inner >{0}; exit' USR1; >{0}.ready; while [ \\$((n+=1)) -lt 900 ]; do sleep 0.01; done\" & \
            trap : USR1; while [ ! -e {0}.ready ]; do sleep 0.01; done; \
            kill -USR1 $PPID; i=0; while [ ! -s {0} ] && [ $i -lt {looks} ]; do sleep 0.03; i=$((i+1)); done; cat {0} 2>/dev/null; kill $!; exit 3",
            self.path("out").display()
        );
        let args = [options, &["sh", "-c", &script]].concat();
        let did = self.assert_same(&args, Invocation { env, init: false });
        assert_eq!((did.code, did.stdout.as_str()), (3, heard), "{options:?} {env:?}");
    }

    /// Asserts that both programs start their command with the same signals, descriptors and
    /// groups, which the script `show` prints. The programs inherit blocked and ignored signals and
    /// a descriptor.
    #[track_caller]
    pub(crate) fn assert_same_start(&self, options: &[&str], show: &str) {
        let did = |program: &Path| {
            let mut command = Command::new("env");
            command.args(["--block-signal=USR2,ALRM", "bash", "-c"]);
            command.args(["trap '' HUP USR1 TTIN TTOU; exec 7</etc/passwd; exec \"$@\"", "bash"]);
            command.arg(program).args(options).args(["bash", "-c", show]).stdin(Stdio::null());
            String::from_utf8(command.output().unwrap().stdout).unwrap()
        };
        let ours = did(&self.drainit);
        assert!(ours.contains("/etc/passwd"), "{ours}");
        assert_eq!(ours, did(&self.original));
    }
}

fn run(program: &Path, args: &[&str], how: Invocation<'_>) -> Said {
    // The program is called by its bare name, because its messages repeat the name.
    let name = program.file_name().unwrap().to_str().unwrap();
    let called = ["bash", "-c", "exec -a \"$0\" \"$@\"", name, program.to_str().unwrap()];
    let namespace: &[&str] = if how.init { &UNSHARE } else { &[] };
    let words: Vec<_> = namespace.iter().chain(&called).chain(args).collect();
    let mut command = Command::new(words[0]);
    command.args(&words[1..]).env_clear().env("PATH", "/usr/bin:/bin");
    let output = command.envs(how.env.iter().copied()).stdin(Stdio::null()).output().unwrap();
    let ended_by = output.status.signal().map(|signal| 1000 + signal);
    let said = Said::of(output);
    Said {
        code: ended_by.unwrap_or(said.code),
        stdout: without_pids(&said.stdout),
        stderr: without_pids(&said.stderr),
    }
}

/// Masks PIDs: numbers of four or more digits, and numbers after words such as `PID`.
fn without_pids(text: &str) -> String {
    let pid = regex_lite::Regex::new(r"(?i)(tini \(|pid: '|pid '|pid=|PID )[0-9]+|\b[0-9]{4,}\b");
    pid.unwrap().replace_all(text, "${1}N").into_owned()
}
