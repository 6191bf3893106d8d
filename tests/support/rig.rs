//! Runs drainit in a test with a config, arguments, an environment and privileges.

use crate::support::said;
use std::fs::{self, File};
use std::io::{self, PipeReader};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use testkit::event::LOG_VARIABLE;

use super::namespace::{self, UNSHARE};
use super::record::{Recorder, Stream};
use super::running::{Ended, Running};
use super::temp_dir::{TempDir, write_program};
use super::{LONG, child, now};

/// The user ID and group ID of `nobody`.
pub(crate) const NOBODY: u32 = 65534;

/// A builder for a run of drainit. In configs and arguments, `DIR` is replaced with the directory
/// of the test, and `CHILD` with the program in `testkit/src/bin/child`.
#[derive(Debug)]
pub(crate) struct Rig {
    dir: TempDir,
    is_init: bool,
    wrapper: Vec<String>,
    args: Vec<String>,
    env: Vec<(String, String)>,
    cwd: Option<PathBuf>,
    stdout: Option<Stdio>,
    drainit: PathBuf,
    emulated: Option<PathBuf>,
    child: PathBuf,
}

/// A Python program that runs a command in which a system call fails if one of its arguments has this
/// value. Its arguments are the numbers of the call on x86-64 and on arm64, the offset of the argument
/// in `struct seccomp_data`, the value, the name of the error, and the command.
pub(crate) const REFUSING: &str = r#"
import ctypes, errno, os, platform, struct, sys
x86, arm, offset, value = map(int, sys.argv[1:5])
call = {"x86_64": x86, "aarch64": arm}[platform.machine()]
steps = [(0x20, 0, 0, 0), (0x15, 0, 3, call), (0x20, 0, 0, offset), (0x15, 0, 1, value),
         (0x06, 0, 0, 0x50000 | getattr(errno, sys.argv[5])), (0x06, 0, 0, 0x7fff0000)]
code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in steps))
program = ctypes.create_string_buffer(struct.pack("HP", len(steps), ctypes.addressof(code)))
libc = ctypes.CDLL(None, use_errno=True)
libc.prctl(38, 1, 0, 0, 0)
assert libc.prctl(22, 2, program, 0, 0) == 0
os.execvp(sys.argv[6], sys.argv[6:])
"#;

impl Rig {
    /// Runs drainit as PID 1 of a new PID namespace. Returns `None` if namespaces are not
    /// permitted; the test is then skipped.
    pub(crate) fn new() -> Option<Self> {
        namespace::is_possible().then(|| Self::with(true))
    }

    /// Like [`Self::new`], for a test in which `what` needs root.
    pub(crate) fn as_root(what: &str) -> Option<Self> {
        namespace::is_root_for(what).then(Self::new)?
    }

    /// Runs drainit as an ordinary process.
    pub(crate) fn not_init() -> Self {
        Self::with(false)
    }

    /// Returns a rig with drainit as PID 1, if that is possible, and a rig with drainit as an
    /// ordinary process.
    pub(crate) fn both() -> impl Iterator<Item = Self> {
        [Self::new(), Some(Self::not_init())].into_iter().flatten()
    }

    fn with(is_init: bool) -> Self {
        let drainit = PathBuf::from(env!("CARGO_BIN_EXE_drainit"));
        let child = child();
        Self {
            dir: TempDir::for_everybody(),
            is_init,
            wrapper: Vec::new(),
            args: Vec::new(),
            env: Vec::new(),
            cwd: None,
            stdout: None,
            drainit,
            emulated: None,
            child,
        }
    }

    /// Runs this drainit, built for another architecture, under an emulator.
    pub(crate) fn emulated(mut self, emulator: PathBuf, drainit: PathBuf) -> Self {
        (self.drainit, self.emulated) = (emulator, Some(drainit));
        self
    }

    /// Runs this drainit instead of the drainit under test.
    pub(crate) fn drainit(mut self, drainit: &Path) -> Self {
        drainit.clone_into(&mut self.drainit);
        self
    }

    /// Adds a variable to drainit's environment, which otherwise contains only `PATH`.
    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), self.fill(value)));
        self
    }

    /// Adds arguments after `run -c CONFIG`.
    pub(crate) fn args(mut self, args: &[&str]) -> Self {
        let args: Vec<_> = args.iter().map(|arg| self.fill(arg)).collect();
        self.args.extend(args);
        self
    }

    /// Sets drainit's working directory.
    pub(crate) fn cwd(mut self, path: impl Into<PathBuf>) -> Self {
        self.cwd = Some(path.into());
        self
    }

    /// Gives drainit this stdout instead of a pipe that the rig reads.
    pub(crate) fn stdout(mut self, stdout: impl Into<Stdio>) -> Self {
        self.stdout = Some(stdout.into());
        self
    }

    /// Adds a program that executes drainit, with the arguments of this program.
    pub(crate) fn wrapper(mut self, words: &[&str]) -> Self {
        self.wrapper.extend(words.iter().map(|word| (*word).to_owned()));
        self
    }

    /// Lets a shell run this script before drainit.
    pub(crate) fn after(self, script: &str) -> Self {
        let script = self.fill(&format!("{script} && exec \"$@\""));
        self.wrapper(&["sh", "-c", &script, "sh"])
    }

    /// Lets a shell run this script before drainit, both in a mount namespace of their own.
    pub(crate) fn after_mounts(self, script: &str) -> Self {
        self.wrapper(&["unshare", "--mount"]).after(script)
    }

    /// Runs drainit as a user who has no capabilities and cannot gain any.
    pub(crate) fn without_privileges(self) -> Self {
        let id = NOBODY.to_string();
        self.readable_by_everybody()
            .wrapper(&["setpriv", "--reuid", &id, "--regid", &id, "--clear-groups"])
            .wrapper(&["--inh-caps=-all", "--bounding-set=-all", "--no-new-privs"])
    }

    /// Copies drainit and the child to a place that every user can read.
    pub(crate) fn readable_by_everybody(mut self) -> Self {
        for program in [&mut self.drainit, &mut self.child] {
            if program.starts_with(self.dir.root()) {
                continue;
            }
            let copy = self.dir.path(&program.file_name().unwrap().to_string_lossy());
            // Another program makes the copy. If this program made it, a process of another test
            // could inherit the open descriptor for a moment, and nobody can execute a file that is
            // open for writing.
            assert!(Command::new("cp").arg(&*program).arg(&copy).status().unwrap().success());
            *program = copy;
        }
        self
    }

    /// Returns a path in the directory of the test.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path(name)
    }

    /// Writes a file into the directory of the test.
    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        self.dir.write(name, content);
    }

    /// Writes a program into the directory of the test.
    pub(crate) fn write_program(&self, name: &str, content: impl AsRef<[u8]>) {
        write_program(&self.path(name), content);
    }

    /// Replaces `DIR` and `CHILD` in a text.
    pub(crate) fn fill(&self, text: &str) -> String {
        filled(text, &self.dir, &self.child)
    }

    /// Records the events of programs that run in the directory of the test, as any user.
    pub(crate) fn recorder(&self) -> Arc<Recorder> {
        let event_log = self.path("events");
        let recorder = Recorder::new(event_log.clone());
        fs::set_permissions(&event_log, fs::Permissions::from_mode(0o666)).unwrap();
        recorder
    }

    /// Starts `drainit run` with this config.
    pub(crate) fn start(self, config: &str) -> Running {
        let config = self.fill(config);
        self.write("drainit.yaml", config);
        let path = self.path("drainit.yaml").display().to_string();
        self.start_with(&["run", "-c", &path])
    }

    /// Starts `drainit run` with this config, and waits until everything is ready.
    #[track_caller]
    pub(crate) fn start_ready(self, config: &str) -> Running {
        let running = self.start(config);
        running.wait_for_line(said::ALL_READY);
        running
    }

    /// Runs `drainit run` with this config to its end.
    pub(crate) fn run(self, config: &str) -> Ended {
        self.start(config).wait_exit(LONG)
    }

    /// Runs drainit with any arguments to its end.
    pub(crate) fn run_with(self, args: &[&str]) -> Ended {
        self.start_with(args).wait_exit(LONG)
    }

    /// Starts `drainit run` with this config as PID 1. Returns `None` if the test is to be skipped, as
    /// [`Self::new`] does.
    pub(crate) fn started(config: &str) -> Option<Running> {
        Some(Self::new()?.start(config))
    }

    /// Like [`Self::started`], and waits until everything is ready.
    #[track_caller]
    pub(crate) fn ready(config: &str) -> Option<Running> {
        Some(Self::new()?.start_ready(config))
    }

    /// Like [`Self::started`], and waits for the end.
    pub(crate) fn ran(config: &str) -> Option<Ended> {
        Some(Self::new()?.run(config))
    }

    /// Starts drainit with any arguments.
    pub(crate) fn start_with(mut self, args: &[&str]) -> Running {
        let args: Vec<_> = args.iter().map(|arg| self.fill(arg)).collect();
        let drainit = self.drainit.display().to_string();
        let mut words: Vec<String> = Vec::new();
        if self.is_init {
            words.extend(UNSHARE.map(str::to_owned));
        }
        words.append(&mut self.wrapper.clone());
        words.push(drainit);
        words.extend(self.emulated.take().map(|path| path.display().to_string()));
        words.extend(args);
        words.append(&mut self.args);
        let event_log = self.path("events");
        let recorder = self.recorder();

        let (program, args) = words.split_first().unwrap();
        let mut command = Command::new(program);
        command.args(args).env_clear().stdin(Stdio::null()).stderr(Stdio::piped());
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command
            .env(LOG_VARIABLE, event_log)
            .envs(self.env.iter().map(|(name, value)| (name, value)));
        command.current_dir(self.cwd.as_deref().unwrap_or(self.dir.root()));
        command.stdout(self.stdout.take().unwrap_or_else(Stdio::piped));
        recorder.update(|record| record.started = now());
        let mut child = command.spawn().unwrap();
        // Dropping the command closes our copies of the descriptors that were passed to drainit.
        drop(command);
        if let Some(stdout) = child.stdout.take() {
            recorder.collect(Stream::Stdout, stdout);
        }
        if let Some(stderr) = child.stderr.take() {
            recorder.collect(Stream::Stderr, stderr);
        }
        Running::new(child, recorder, self.dir, self.is_init, self.drainit)
    }
}

/// Replaces `DIR` and `CHILD` in a text.
pub(crate) fn filled(text: &str, dir: &TempDir, child: &Path) -> String {
    text.replace("CHILD", &child.display().to_string())
        .replace("DIR", &dir.root().display().to_string())
}

/// Creates a full pipe. Nothing reads the pipe while the returned reader is held.
pub(crate) fn full_pipe() -> (PipeReader, Stdio) {
    let (reader, writer) = io::pipe().unwrap();
    // The pipe is opened again, because O_NONBLOCK belongs to the open file description and must
    // not affect drainit.
    let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&writer));
    let mut filler = open_nonblocking(Path::new(&path));
    while io::Write::write(&mut filler, &[b'.'; 4096]).is_ok() {}
    (reader, writer.into())
}

fn open_nonblocking(path: &Path) -> File {
    use std::os::unix::fs::OpenOptionsExt;
    let flag = nix::fcntl::OFlag::O_NONBLOCK.bits();
    File::options().write(true).custom_flags(flag).open(path).unwrap()
}
