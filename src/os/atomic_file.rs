//! Writes a file at once: a reader sees the old content or the new one, never a part.

use std::ffi::OsString;
use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

/// Readable by everybody, as a log is.
const MODE: u32 = 0o644;

/// Writes the file on a thread of its own: a file system that hangs must not delay the exit.
///
/// # Errors
/// Those of the system, and `TimedOut` if it is not written in time.
pub(crate) fn write_within(within: Duration, path: PathBuf, content: String) -> io::Result<()> {
    let (sender, receiver) = mpsc::channel();
    thread::Builder::new().name("report".to_owned()).spawn(move || {
        // Fails only when nobody waits any more.
        let _ = sender.send(write(&path, content.as_bytes()));
    })?;
    receiver.recv_timeout(within).unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// Writes a new file beside the old one, and gives it the name of the old one. Without fsync(2): it
/// need not survive a crash of the machine.
fn write(path: &Path, content: &[u8]) -> io::Result<()> {
    let name = path.file_name().ok_or(io::ErrorKind::IsADirectory)?;
    let beside = [OsString::from("."), name.to_owned(), OsString::from(".new")];
    let beside = path.with_file_name(beside.into_iter().collect::<OsString>());
    // `create_new` follows no symbolic link, so nobody can redirect the writing.
    let create = || OpenOptions::new().write(true).create_new(true).mode(MODE).open(&beside);
    let created = match create() {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            // Of a drainit that was killed meanwhile.
            fs::remove_file(&beside)?;
            create()
        }
        created => created,
    };
    let written = created?.write_all(content).and_then(|()| fs::rename(&beside, path));
    if written.is_err() {
        // Best effort: the error is that of the writing.
        let _ = fs::remove_file(&beside);
    }
    written
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::testing::temp_dir::TempDir;

    const LONG: Duration = Duration::from_secs(10);

    #[test]
    fn a_file_is_replaced_and_nothing_is_left_beside_it() {
        let dir = TempDir::new();
        let path = dir.path("report.json");
        // A link in its place is replaced, too, and a stale file beside it does no harm.
        let other = dir.path("other");
        fs::write(&other, "untouched").unwrap();
        std::os::unix::fs::symlink(&other, dir.path(".report.json.new")).unwrap();
        for content in ["one", "two"] {
            write_within(LONG, path.clone(), content.to_owned()).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), content);
        }
        assert_eq!(fs::read_to_string(&other).unwrap(), "untouched");
        assert_eq!(fs::read_dir(dir.root()).unwrap().count(), 2);
    }

    #[test]
    fn a_failure_leaves_nothing_behind() {
        let dir = TempDir::new();
        let taken = dir.path("taken");
        fs::create_dir(&taken).unwrap();
        for path in [taken, dir.path("none/report.json"), PathBuf::from("/")] {
            write_within(LONG, path, "x".to_owned()).unwrap_err();
        }
        assert_eq!(fs::read_dir(dir.root()).unwrap().count(), 1);
    }
}
