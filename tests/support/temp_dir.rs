//! Temporary directories, programs in them, and file locks.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

pub(crate) use drainit_os::testing::temp_dir::TempDir;
use nix::fcntl::{Flock, FlockArg};

/// Lets another process write a program. This process must not, because a fork of another test
/// could inherit the descriptor, and a program that is open for writing cannot be executed ("text
/// file busy").
pub(crate) fn write_program(path: &Path, content: impl AsRef<[u8]>) {
    let mut shell = Command::new("sh");
    shell.args(["-c", "cat >\"$0\" && chmod 755 \"$0\""]).arg(path);
    let mut shell = shell.stdin(Stdio::piped()).spawn().unwrap();
    shell.stdin.take().unwrap().write_all(content.as_ref()).unwrap();
    assert!(shell.wait().unwrap().success(), "{}", path.display());
}

/// Checks whether a process holds a lock on this file.
pub(crate) fn is_locked(path: &Path) -> bool {
    Flock::lock(File::open(path).unwrap(), FlockArg::LockExclusiveNonblock).is_err()
}
