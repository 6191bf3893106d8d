//! Temporary directories and file locks.

use std::fs::{self, File, Permissions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use nix::fcntl::{Flock, FlockArg};

/// A directory that is removed when this value is dropped. Its path is short enough for Unix
/// sockets, and every user may write to it.
#[derive(Debug)]
pub(crate) struct TempDir(PathBuf);

impl TempDir {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = PathBuf::from(format!("/tmp/drainit-test-{}-{number}", std::process::id()));
        // An earlier process with this PID may have been killed, and have left the directory.
        let _ = fs::remove_dir_all(&path);
        fs::create_dir(&path).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o777)).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        fs::write(self.join(name), content).unwrap();
    }

    /// Lets another process write a program. This process must not, because a fork of another test
    /// could inherit the descriptor, and a program that is open for writing cannot be executed
    /// ("text file busy").
    pub(crate) fn write_program(&self, name: &str, content: impl AsRef<[u8]>) {
        let mut shell = Command::new("sh");
        shell.args(["-c", "cat >\"$0\" && chmod 755 \"$0\""]).arg(self.join(name));
        let mut shell = shell.stdin(Stdio::piped()).spawn().unwrap();
        shell.stdin.take().unwrap().write_all(content.as_ref()).unwrap();
        assert!(shell.wait().unwrap().success(), "{name}");
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Checks whether a process holds a lock on this file.
pub(crate) fn is_locked(path: &Path) -> bool {
    Flock::lock(File::open(path).unwrap(), FlockArg::LockExclusiveNonblock).is_err()
}
