//! Starts the processes of a config: each in its own session and process group, with the default
//! dispositions of all signals, as its user and in its working directory.
//!
//! A start opens no file but `/dev/null`, and does not wait, because a file system may hang. The
//! child searches `PATH` and executes the program; [`Exec`] returns the outcome. [`crate::reap`]
//! reaps the child later.

pub mod diagnose;
pub mod error;
pub mod limits;
pub mod single;
pub mod which;

use std::collections::BTreeMap;
use std::ffi::{CString, NulError, OsString};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::Mode;
use nix::unistd::{Gid, Uid};
use tokio::io::Interest;

use crate::Pid;
use crate::descendants::status_field;
use crate::signal::mask;
use crate::spawn::diagnose::{Attempt, cannot_become, diagnose, remedy};
pub use crate::spawn::error::SpawnError;
use crate::spawn::limits::Ulimit;
use crate::spawn::which::candidates;
use crate::sys::{self, ChildPlace, ChildPlan, ChildSetup, PendingExec};
use crate::trusted_path;
pub use crate::users::User;

#[derive(Debug, Default)]
pub struct SpawnRequest {
    /// The program and its arguments. A name without a slash is searched for in the `PATH` of
    /// [`Self::env`].
    pub command: Vec<OsString>,
    /// The whole environment; `None` means drainit's own. A later entry replaces an earlier entry
    /// of the same name.
    pub env: Option<Vec<(OsString, OsString)>>,
    /// The working directory; `None` means drainit's own. A relative path of the program starts at
    /// this directory.
    pub working_dir: Option<PathBuf>,
    /// The user of the process; `None` means drainit's own.
    pub user: Option<User>,
    /// The umask of the process; `None` means drainit's own.
    pub umask: Option<u32>,
    /// The resource limits that the config sets. All other limits are drainit's own.
    pub ulimits: Vec<Ulimit>,
    /// Whether the process gets drainit's own stdin; otherwise its stdin is empty.
    pub inherits_stdin: bool,
    /// The stdout of the process; `None` means drainit's own. drainit closes its copy after the
    /// start.
    pub stdout: Option<OwnedFd>,
    /// The stderr of the process; `None` means drainit's own. drainit closes its copy after the
    /// start.
    pub stderr: Option<OwnedFd>,
    /// The directory of [`Self::working_dir`], once drainit has opened it.
    pub directory: Option<File>,
    /// The sockets that the process gets as descriptors from 3 on, as in sd_listen_fds(3).
    pub sockets: Vec<OwnedFd>,
}

impl SpawnRequest {
    /// A command that inherits everything but stdin, which is empty.
    pub fn new(command: Vec<OsString>) -> Self {
        Self { command, ..Self::default() }
    }

    /// Starts the process as the leader of a new session and process group. The result of its exec
    /// is known later. Until the result is known, the session and the group may not exist yet. If
    /// there is a working directory, the caller opens [`Self::directory`] before this call.
    ///
    /// # Errors
    /// Fails if no process was created. The error has the cause and its exit code.
    pub fn start(self) -> Result<(Pid, Exec), SpawnError> {
        let setup = ChildSetup {
            mask: mask::inherited_mask().unwrap_or(0),
            defaults: mask::ALL,
            // In a shared session, a process of another user could join the group of this process.
            place: ChildPlace::Session,
            dies_with_us: false,
            listens: !self.sockets.is_empty(),
        };
        let is_open = self.working_dir.is_none() || self.directory.is_some();
        debug_assert!(is_open, "the working directory is not open");
        self.launch(setup)
    }

    fn launch(self, setup: ChildSetup) -> Result<(Pid, Exec), SpawnError> {
        let Some(path) = self.command.first().map(PathBuf::from) else {
            return Err(SpawnError::NoCommand);
        };
        self.try_launch(setup, false).map_err(|source| {
            match source.raw_os_error().map(Errno::from_raw) {
                Some(Errno::EAGAIN) => SpawnError::TooMany { path },
                _ => SpawnError::Other { path, source },
            }
        })
    }

    fn try_launch(mut self, setup: ChildSetup, runs_scripts: bool) -> io::Result<(Pid, Exec)> {
        let programs = match self.command.first() {
            Some(name) => candidates(name, self.path().as_deref()),
            None => Vec::new(),
        };
        let plan = ChildPlan {
            programs: c_strings(programs.into_iter().map(|path| path.into_os_string().into_vec()))?,
            args: c_strings(self.command.iter().map(|arg| arg.as_bytes().to_vec()))?,
            env: self.environment()?,
            runs_scripts,
            working_dir: self.directory.as_ref().map(AsRawFd::as_raw_fd),
            user: self.user.as_ref().and_then(difference),
            limits: limits::resolve(&self.ulimits)?,
            umask: self.umask,
            setup,
        };
        // The empty stdin is `/dev/null`, or a pipe that nobody writes to.
        let pipe = if null().is_none() { Some(io::pipe()?.0) } else { None };
        let empty = null().map(AsFd::as_fd).or(pipe.as_ref().map(AsFd::as_fd));
        let stdin = empty.filter(|_| !self.inherits_stdin);
        let stdio =
            [stdin, self.stdout.as_ref().map(AsFd::as_fd), self.stderr.as_ref().map(AsFd::as_fd)];
        let (pid, pending) = sys::start(plan, stdio, &self.sockets)?;
        // The child has its own copies.
        self.sockets.clear();
        self.directory = None;
        (self.stdout, self.stderr) = (None, None);
        Ok((pid, Exec { pending, outcome: None, request: Box::new(self) }))
    }

    /// The `PATH` of the process.
    fn path(&self) -> Option<OsString> {
        match &self.env {
            Some(env) => {
                env.iter().rev().find(|(key, _)| key == "PATH").map(|(_, path)| path.clone())
            }
            None => std::env::var_os("PATH"),
        }
    }

    /// The environment for `execve`; `None` means drainit's own.
    fn environment(&self) -> Result<Option<Vec<CString>>, NulError> {
        let Some(env) = &self.env else { return Ok(None) };
        // In a map, a later entry replaces an earlier one.
        let last: BTreeMap<_, _> = env.iter().map(|(key, value)| (key, value)).collect();
        let entry = |(key, value): (&OsString, &OsString)| {
            [key.as_bytes(), b"=", value.as_bytes()].concat()
        };
        c_strings(last.into_iter().map(entry)).map(Some)
    }
}

fn c_strings(words: impl Iterator<Item = Vec<u8>>) -> Result<Vec<CString>, NulError> {
    words.map(CString::new).collect()
}

/// The exec of a process that was started. The exec may still be under way.
#[derive(Debug)]
pub struct Exec {
    pending: PendingExec,
    /// `None` while the exec is under way. If the exec failed, its error number.
    outcome: Option<Result<(), i32>>,
    /// The request, without its descriptors.
    request: Box<SpawnRequest>,
}

impl Exec {
    fn outcome(&mut self) -> Option<Result<(), i32>> {
        self.outcome = self.outcome.or_else(|| self.pending.outcome());
        self.outcome
    }

    /// Whether the exec has succeeded, or the process has ended before the exec, for example by
    /// SIGKILL.
    pub fn has_succeeded(&mut self) -> bool {
        self.outcome() == Some(Ok(()))
    }

    /// The failure of the exec; `None` while there is none.
    pub fn failure(&mut self) -> Option<FailedExec> {
        let error = self.outcome()?.err()?;
        Some(FailedExec { request: std::mem::take(&mut self.request), error })
    }

    /// Waits for the outcome. The future does not borrow `self`.
    pub fn watch(&self) -> io::Result<impl Future<Output = ()> + use<>> {
        let report = sys::watch(self.pending.report(), Interest::READABLE)?;
        Ok(async move { drop(report.readable().await) })
    }
}

/// A failed exec. The process in which it failed ends by itself.
#[derive(Debug)]
pub struct FailedExec {
    request: Box<SpawnRequest>,
    error: i32,
}

impl FailedExec {
    pub fn error(&self) -> io::Error {
        io::Error::from_raw_os_error(self.error)
    }

    /// The cause, as far as the error number of the kernel shows it.
    pub fn undiagnosed(&self) -> SpawnError {
        let path = self.request.command.first().map(PathBuf::from).unwrap_or_default();
        match Errno::from_raw(self.error) {
            Errno::ENOENT => SpawnError::Missing { path },
            _ => SpawnError::Other { path, source: self.error() },
        }
    }

    /// Looks for the cause. May hang, because it opens files.
    pub fn diagnose(&self) -> SpawnError {
        let request = &self.request;
        let Some(name) = request.command.first() else { return SpawnError::NoCommand };
        let error = self.error();
        if self.error == Errno::EPERM as i32
            && let Some(limit) = limits::refused(&request.ulimits)
        {
            return limit;
        }
        let search = request.path();
        let attempt = Attempt {
            program: name,
            search: search.as_deref(),
            working_dir: request.working_dir.as_deref(),
            user: request.user.as_ref().filter(|user| difference(user).is_some()),
        };
        diagnose(error, &attempt)
    }
}

/// Opens a working directory, as drainit's own user. May wait for a file system.
///
/// # Errors
/// Fails if the directory cannot be entered.
pub fn open_directory(path: &Path) -> Result<File, SpawnError> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY;
    let opened =
        trusted_path::Place::behind(path).and_then(|place| place.open(flags, Mode::empty()));
    opened.map_err(|error| {
        let (path, why) = (path.to_owned(), error.to_string());
        diagnose::wrong_with_dir(&path).unwrap_or(SpawnError::WorkingDir { path, why })
    })
}

/// `/dev/null`, which is opened once; `None` if it does not exist.
pub fn null() -> Option<&'static File> {
    static NULL: OnceLock<Option<File>> = OnceLock::new();
    NULL.get_or_init(|| OpenOptions::new().read(true).write(true).open("/dev/null").ok()).as_ref()
}

/// The error that a change to `user` would give; `None` if the change is allowed or not needed.
/// drainit's own user and capabilities decide.
pub fn cannot_change_user(user: &User) -> Option<SpawnError> {
    let wanted = difference(user)?;
    let groups = if wanted.gid.is_some() || wanted.groups.is_some() { SET_GID } else { 0 };
    let uid = if wanted.uid.is_some() { SET_UID } else { 0 };
    (!has_capabilities(groups | uid)).then(|| cannot_become(user, remedy()))
}

/// CAP_SETGID and CAP_SETUID (capabilities(7)). Even root can lack these capabilities.
const SET_GID: u64 = 1 << 6;
const SET_UID: u64 = 1 << 7;

/// Whether drainit's effective capabilities include all of `needed`. Returns `true` if drainit
/// cannot read its capabilities.
fn has_capabilities(needed: u64) -> bool {
    let effective = status_field(std::process::id().cast_signed(), "CapEff:");
    let effective = effective.and_then(|hex| u64::from_str_radix(&hex, 16).ok());
    effective.is_none_or(|bits| bits & needed == needed)
}

/// The changes that make a process run as `user`. `None` if drainit already runs as `user`: the
/// process then keeps the groups of the container, such as Kubernetes' `fsGroup`.
fn difference(user: &User) -> Option<sys::NewUser> {
    let (uid, gid) = (Uid::from_raw(user.uid), Gid::from_raw(user.gid));
    let is_uid =
        nix::unistd::getresuid().is_ok_and(|now| [now.real, now.effective, now.saved] == [uid; 3]);
    let is_gid =
        nix::unistd::getresgid().is_ok_and(|now| [now.real, now.effective, now.saved] == [gid; 3]);
    if is_uid && is_gid {
        return None;
    }
    let groups: Vec<_> = user.groups.iter().copied().map(Gid::from_raw).collect();
    let has_groups = nix::unistd::getgroups().is_ok_and(|now| {
        now.len() == groups.len() && groups.iter().all(|group| now.contains(group))
    });
    Some(sys::NewUser {
        groups: (!has_groups).then_some(groups),
        gid: (!is_gid).then_some(gid),
        uid: (!is_uid).then_some(uid),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reap::{Reaped, reap_next};
    use crate::testing::isolated::{in_own_process, in_own_process_of_root};
    use crate::testing::temp_dir::TempDir;
    use drainit_core::types::End;
    use nix::sys::resource::{Resource, setrlimit};
    use std::fs::Permissions;
    use std::io::Read;
    use std::os::unix::fs::PermissionsExt;

    fn request(command: &[&str]) -> SpawnRequest {
        SpawnRequest::new(command.iter().map(Into::into).collect())
    }

    impl SpawnRequest {
        /// Starts the process, and waits for its exec.
        pub fn spawn(mut self) -> Result<Pid, SpawnError> {
            self.directory = self.working_dir.as_deref().map(open_directory).transpose()?;
            let (pid, mut exec) = self.start()?;
            loop {
                match exec.failure() {
                    None if exec.has_succeeded() => return Ok(pid),
                    None => {}
                    Some(failed) => {
                        let error = failed.diagnose();
                        // Reaps the failed process once it has ended, so that the test need not do
                        // it.
                        while crate::reap::is_living_child(pid) {
                            std::thread::yield_now();
                        }
                        let _ = nix::sys::wait::waitid(
                            nix::sys::wait::Id::Pid(nix::unistd::Pid::from_raw(pid)),
                            nix::sys::wait::WaitPidFlag::WEXITED,
                        );
                        return Err(error);
                    }
                }
                std::thread::yield_now();
            }
        }
    }

    /// Waits for the end of a child.
    pub(super) fn end_of(pid: Pid) -> End {
        loop {
            match reap_next().unwrap() {
                Reaped::Child(reaped, end) if reaped == pid => return end,
                Reaped::NoChildren => panic!("{pid} is gone"),
                _ => std::thread::yield_now(),
            }
        }
    }

    /// Runs the process to its end. Returns its output, and how it ended.
    fn run(mut request: SpawnRequest) -> (String, End) {
        let (mut read, write) = io::pipe().unwrap();
        request.stderr = Some(write.try_clone().unwrap().into());
        request.stdout = Some(write.into());
        let pid = request.spawn().unwrap();
        let mut output = String::new();
        read.read_to_string(&mut output).unwrap();
        (output, end_of(pid))
    }

    fn error(request: SpawnRequest) -> (u8, String) {
        let error = request.spawn().unwrap_err();
        (error.exit_code(), error.to_string())
    }

    // holds: C51, C74, C151, C164
    #[test]
    fn process_gets_arguments_environment_and_directory() {
        in_own_process(|| {
            let dir = TempDir::new();
            dir.file("bin/tool", 0o755, "#!/bin/sh\necho $0 $1 $A; pwd; cat; exit 3\n");
            let mut tool = request(&["tool", "x y"]);
            let (key, path) = ("PATH", format!("bin:{}", std::env::var("PATH").unwrap()));
            let env = [(key, "/nowhere"), ("A", "1"), ("A", "2"), (key, path.as_str())];
            tool.env = Some(env.map(|(key, value)| (key.into(), value.into())).into());
            tool.working_dir = Some(dir.root().into());
            let expected = format!("bin/tool x y 2\n{}\n", dir.root().display());
            assert_eq!(run(tool), (expected.clone(), End::Code(3)));
            // A name with a slash is also relative to the working directory of the process.
            let mut tool = request(&["bin/tool", "x y"]);
            tool.env = Some(vec![("PATH".into(), path.into()), ("A".into(), "2".into())]);
            tool.working_dir = Some(dir.root().into());
            assert_eq!(run(tool), (expected, End::Code(3)));
        });
    }

    // holds: C322, C323
    #[test]
    fn a_user_is_changed_completely() {
        in_own_process_of_root(|| {
            let as_user = |uid: u32, gid: u32, groups: &[u32]| {
                let script = "grep -E '^(Uid|Gid|Groups|Cap(Prm|Eff|Amb))' /proc/self/status | tr -s '\\t ' ' '";
                let mut id = request(&["sh", "-c", script]);
                id.user = Some(User { uid, gid, groups: groups.to_vec() });
                run(id).0
            };
            nix::unistd::setgroups(&[Gid::from_raw(0), Gid::from_raw(7)]).unwrap();
            assert_eq!(
                as_user(10001, 10002, &[5, 6]),
                "Uid: 10001 10001 10001 10001\nGid: 10002 10002 10002 10002\nGroups: 5 6 \n\
                 CapPrm: 0000000000000000\nCapEff: 0000000000000000\nCapAmb: 0000000000000000\n"
            );
            assert!(as_user(10001, 0, &[]).contains("Groups: \n"));
            // The test already runs as this user, so the process keeps the groups of the container.
            assert!(as_user(0, 0, &[]).contains("Groups: 0 7 \n"));

            let other = User { uid: 10001, gid: 10001, groups: vec![] };
            assert!(cannot_change_user(&other).is_none());
            let dir = TempDir::new();
            dir.file("closed/file", 0o644, "");
            // The directory can be entered, but not listed.
            let (closed, mode) = (dir.path("closed"), Permissions::from_mode(0o711));
            std::fs::set_permissions(&closed, mode).unwrap();

            let nobody = nix::unistd::Uid::from_raw(65534);
            nix::unistd::setresuid(nobody, nobody, nobody).unwrap();
            open_directory(&closed).unwrap();
            for (uid, gid) in [(10001, 0), (65534, 10001)] {
                let groups = vec![0, 7];
                assert!(cannot_change_user(&User { uid, gid, groups }).is_some(), "{uid}:{gid}");
            }
            assert!(cannot_change_user(&User { uid: 65534, gid: 0, groups: vec![] }).is_none());
            let mut request = request(&["true"]);
            request.user = Some(other);
            let said = "drainit runs as uid 65534 and cannot become 10001:10001; \
                remove `user:` or start the container as root";
            assert_eq!(error(request), (126, said.to_owned()));
            // This user already has processes, so the limit leaves no room for another process.
            setrlimit(Resource::RLIMIT_NPROC, 0, 0).unwrap();
            let (code, said) = error(super::tests::request(&["true"]));
            assert!(code == 126 && said.contains("no room for another process"), "{said}");
        });
    }

    #[test]
    fn each_failure_names_a_cause() {
        // This runs in a process of its own. Otherwise a child of another test could inherit a file
        // that is open for writing, and this test could not execute the file (ETXTBSY).
        in_own_process(|| {
            let dir = TempDir::new();
            let elf = std::fs::read("/bin/sh").unwrap();
            let at = elf.windows(7).position(|bytes| bytes == b"/lib64/").unwrap();
            let mut other_libc = elf.clone();
            other_libc[at + 1..at + 4].copy_from_slice(b"nix");
            let mut other_machine = elf;
            other_machine[18] = 0xf3;
            let files: [(&str, u32, &[u8], &str); 9] = [
                ("none", 0, b"", "does not exist"),
                ("plain", 0o644, b"#!/bin/sh\n", "is not executable; `chmod +x` it in the image"),
                ("shebang", 0o755, b"#! /no/sh -e\n", "its first line asks for `/no/sh`, which"),
                ("dos", 0o755, b"#!/bin/sh\r\n", "save the file with Unix line ends"),
                ("libc", 0o755, &other_libc, "it is linked for the loader `/nix64/ld-"),
                ("machine", 0o755, &other_machine, "built for another processor"),
                ("text", 0o755, b"echo hello\n", "neither a binary nor a script"),
                ("bom", 0o755, b"\xef\xbb\xbf#!/bin/sh\n", "byte order mark"),
                ("empty", 0o755, b"", "it is empty"),
            ];
            for (name, mode, content, expected) in files {
                if mode != 0 {
                    dir.file(name, mode, content);
                }
                let path = dir.root().join(name);
                let (code, said) = error(request(&[path.to_str().unwrap()]));
                assert_eq!(code, if mode == 0 { 127 } else { 126 }, "{said}");
                assert!(said.contains(expected) && said.contains(path.to_str().unwrap()), "{said}");
                // A relative name, as seen from inside the directory, fails with the same exit
                // code.
                let mut relative = request(&[&format!("./{name}")]);
                relative.working_dir = Some(dir.root().into());
                assert_eq!(error(relative).0, code);
            }
            let fails = |command: &[&str], expected: u8, words: &str| {
                let (code, said) = error(request(command));
                assert!(code == expected && said.contains(words), "{code}: {said}");
            };
            fails(&[dir.root().to_str().unwrap()], 126, "is a directory, not a program");
            fails(&["no-such-tool"], 127, "`no-such-tool` is in none of");
            fails(&["true", &"x".repeat(200_000)], 126, "too long (the kernel takes");
            for (wrong, why) in [("nowhere", "does not exist"), ("plain", "not a directory")] {
                let mut request = request(&["true"]);
                request.working_dir = Some(dir.root().join(wrong));
                let (code, said) = error(request);
                assert!(code == 126 && said.contains("working directory"), "{said}");
                assert!(said.ends_with(why), "{said}");
            }
            dir.file("busy", 0o755, std::fs::read("/bin/true").unwrap());
            let busy = dir.root().join("busy");
            let _writer = File::options().append(true).open(&busy).unwrap();
            fails(&[busy.to_str().unwrap()], 126, "open for writing");
            assert_eq!(error(request(&[])), (127, "the command is empty".to_owned()));
            // The search for the cause may hang. The exit code is known without this search.
            let request = Box::new(request(&["missing"]));
            let failed = FailedExec { request, error: Errno::ENOENT as i32 };
            assert_eq!(failed.undiagnosed().exit_code(), 127);
        });
    }
}
