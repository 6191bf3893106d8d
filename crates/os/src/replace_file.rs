//! Replaces a file as a whole: a reader sees either the whole old content or the whole new content.
//! The new content is never readable with wider permissions than those of the finished file.

use std::collections::hash_map::RandomState;
use std::ffi::{OsStr, OsString};
use std::fs::{File, Permissions};
use std::hash::BuildHasher as _;
use std::io;
use std::io::Write as _;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat, renameat};
use nix::sys::stat::{Mode, SFlag, fstatat};
use nix::unistd::{UnlinkatFlags, getegid, geteuid, unlinkat};

use crate::on_thread::wait_for;
use crate::spawn::User;
use crate::trusted_path::{Place, is};

/// A temporary file that has not changed for this long is left over: nobody writes it any more.
const LONGEST_WRITE: Duration = Duration::from_secs(60);

/// Like [`replace`], on a thread of its own: a hanging file system must not delay the exit.
///
/// # Errors
/// Returns the errors of [`replace`], and `TimedOut` if the work takes longer than `within`.
pub fn replace_within(
    within: Duration,
    path: PathBuf,
    content: String,
    mode: u32,
) -> io::Result<()> {
    wait_for(within, move || replace(&path, content.as_bytes(), mode, None))
}

/// Writes `content` to a temporary file in the directory of `path`, and renames the temporary file
/// to `path`. The file belongs to `user`, or without `user` to drainit's own user. Does not call
/// fsync(2): the file need not survive a crash of the machine.
///
/// # Errors
/// Fails if the write fails, and in cases such as these: `path` is a mount point, or something
/// other than a regular file; its directory is missing or refuses the file; the path leads through
/// a symbolic link of another user; or drainit may not give the file to `user`. In each case,
/// `path` is unchanged.
pub fn replace(path: &Path, content: &[u8], mode: u32, user: Option<&User>) -> io::Result<()> {
    if path.file_name().is_none() {
        return Err(io::Error::other("it does not end with the name of a file"));
    }
    let place = Place::of(path)
        .map_err(|error| explain(error, Errno::ENOENT, "its directory does not exist"))?;
    let (directory, name) = place.parts();
    // Root may rename a file over a device such as /dev/null, and then everything on the machine
    // that uses the device would fail. `fstatat` follows links, because /dev/stdout is a link to a
    // device or a pipe.
    let found = fstatat(directory, name, AtFlags::empty());
    if found.is_ok_and(|found| !is(&found, SFlag::S_IFREG)) {
        return Err(io::Error::other("it exists and is not a regular file, so it is left alone"));
    }
    let (unfinished, file) = create(directory, name)?;
    let written = write(file, content, mode, user).and_then(|()| {
        let renamed = renameat(directory, &*unfinished, directory, name);
        let remedy = "it is a mount point, which cannot be replaced; mount its directory instead";
        renamed.map_err(|errno| explain(errno.into(), Errno::EBUSY, remedy))
    });
    if written.is_err() {
        let _ = unlinkat(directory, &*unfinished, UnlinkatFlags::NoRemoveDir);
    }
    written
}

/// Removes the temporary files that a killed [`replace`] has left beside `path`. Files younger than
/// a minute stay, because another drainit may still write them. Reads the whole directory.
pub fn tidy(path: &Path) {
    let (Some(_), Ok(place)) = (path.file_name(), Place::of(path)) else { return };
    let (directory, name) = place.parts();
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let Ok(mut entries) = Dir::openat(directory, ".", flags, Mode::empty()) else { return };
    let prefix = temporary(name);
    for entry in entries.iter().flatten() {
        let name = entry.file_name().to_bytes();
        if name.starts_with(prefix.as_bytes()) {
            remove_left_over(directory, OsStr::from_bytes(name));
        }
    }
}

/// Whether both paths lead to the same file, also through links.
pub fn is_one_file(a: &Path, b: &Path) -> bool {
    let identity = |path: &Path| path.metadata().ok().map(|file| (file.dev(), file.ino()));
    identity(a).is_some_and(|a| identity(b) == Some(a))
}

/// Replaces the message of `error` if the number of the error is `errno`.
fn explain(error: io::Error, errno: Errno, message: &str) -> io::Error {
    if error.raw_os_error() == Some(errno as i32) { io::Error::other(message) } else { error }
}

/// The name of the temporary file for the file `name`. [`create`] may add a random end to it.
fn temporary(name: &OsStr) -> OsString {
    let mut temporary = OsString::from(".");
    temporary.push(name);
    temporary.push(".drainit");
    temporary
}

/// Makes the temporary file, and returns its name. If another drainit is writing its own temporary
/// file, the name gets a random end. A PID would not be enough: several containers may share a
/// volume, and each of them has a PID 1.
fn create(directory: &OwnedFd, name: &OsStr) -> io::Result<(OsString, File)> {
    // `O_EXCL` makes a new file, so no link is followed.
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_CLOEXEC;
    let create = |name: &OsStr| openat(directory, name, flags, Mode::S_IWUSR).map(File::from);
    let mut name = temporary(name);
    remove_left_over(directory, &name);
    match create(&name) {
        Err(Errno::EEXIST) => {
            name.push(format!(".{:016x}", RandomState::new().hash_one(())));
            create(&name).map(|file| (name, file)).map_err(io::Error::from)
        }
        created => Ok((name, created?)),
    }
}

/// Removes a temporary file that has not changed for [`LONGEST_WRITE`].
fn remove_left_over(directory: &OwnedFd, name: &OsStr) {
    let Ok(found) = fstatat(directory, name, AtFlags::AT_SYMLINK_NOFOLLOW) else { return };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let changed = Duration::from_secs(u64::try_from(found.st_mtime).unwrap_or_default());
    if now.saturating_sub(changed) > LONGEST_WRITE {
        let _ = unlinkat(directory, name, UnlinkatFlags::NoRemoveDir);
    }
}

fn write(mut file: File, content: &[u8], mode: u32, user: Option<&User>) -> io::Result<()> {
    if let Some(user) = user
        && (user.uid, user.gid) != (geteuid().as_raw(), getegid().as_raw())
    {
        fchown(&file, Some(user.uid), Some(user.gid))?;
    }
    // Changing the owner clears the set-user-ID bits, so the mode is set after the owner.
    file.set_permissions(Permissions::from_mode(mode))?;
    file.write_all(content)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt, symlink};

    use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};

    use super::*;
    use crate::testing::temp_dir::TempDir;

    const LONG: Duration = Duration::from_secs(10);

    // holds: S140, C283, C284, C631
    #[test]
    fn replaced_file_has_new_content_and_permissions() {
        let dir = TempDir::new();
        let path = dir.write("a.conf", b"old");
        let left = dir.write(".a.conf.drainit", b"left by one that was killed");
        let old = SystemTime::now() - 2 * LONGEST_WRITE;
        File::options().write(true).open(left).unwrap().set_modified(old).unwrap();
        replace_within(LONG, path.clone(), "new".to_owned(), 0o640).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o640);
        assert_eq!(fs::read_dir(dir.root()).unwrap().count(), 1);
    }

    #[test]
    fn files_that_are_replaced_at_once_are_whole() {
        let dir = TempDir::new();
        let path = dir.path("a");
        std::thread::scope(|scope| {
            for letter in *b"abcdefgh" {
                let path = &path;
                scope.spawn(move || {
                    for _ in 0..30 {
                        replace(path, &[letter; 70_000], 0o600, None).unwrap();
                        let found = fs::read(path).unwrap();
                        assert!(found.len() == 70_000 && found.iter().all(|it| *it == found[0]));
                    }
                });
            }
        });
        assert_eq!(fs::read_dir(dir.root()).unwrap().count(), 1);
    }

    #[test]
    fn paths_to_the_same_file_are_recognised() {
        let dir = TempDir::new();
        let (a, b) = (dir.write("a", b""), dir.write("b", b""));
        symlink("a", dir.path("link")).unwrap();
        assert!(is_one_file(&a, &a) && is_one_file(&dir.path("link"), &a));
        assert!(!is_one_file(&a, &b) && !is_one_file(&dir.path("none"), &dir.path("none")));
    }

    // holds: C607
    #[test]
    fn a_new_file_gets_mode_then_content_and_then_the_name() {
        let dir = TempDir::new();
        let inotify = Inotify::init(InitFlags::IN_CLOEXEC).unwrap();
        let flags =
            AddWatchFlags::IN_ATTRIB | AddWatchFlags::IN_MODIFY | AddWatchFlags::IN_MOVED_TO;
        let path = dir.write("a.conf", b"old");
        let reader = File::open(&path).unwrap();
        inotify.add_watch(dir.root(), flags).unwrap();
        replace(&path, b"new", 0o640, None).unwrap();
        let events: Vec<_> =
            inotify.read_events().unwrap().into_iter().map(|event| event.mask).collect();
        assert_eq!(
            events,
            [AddWatchFlags::IN_ATTRIB, AddWatchFlags::IN_MODIFY, AddWatchFlags::IN_MOVED_TO]
        );
        assert_eq!(std::io::read_to_string(reader).unwrap(), "old");
    }

    // holds: C284, C292
    #[test]
    fn link_is_replaced_by_a_file_of_the_user_and_target_kept() {
        let dir = TempDir::new();
        let target = dir.write("target", b"kept");
        symlink(&target, dir.path("link")).unwrap();
        let user = User { uid: 65534, gid: 65533, groups: Vec::new() };
        let user = Some(&user).filter(|_| geteuid().is_root());
        replace(&dir.path("link"), b"new", 0o600, user).unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"kept");
        assert_eq!(fs::read(dir.path("link")).unwrap(), b"new");
        let found = fs::metadata(dir.path("link")).unwrap();
        assert!(user.is_none() || (found.uid(), found.gid()) == (65534, 65533), "{found:?}");
    }

    // holds: C86, C283, C607, C630
    #[test]
    fn only_regular_files_are_replaced() {
        let dir = TempDir::new();
        let fifo = dir.path("fifo");
        nix::unistd::mkfifo(&fifo, Mode::S_IRWXU).unwrap();
        let _listener = std::os::unix::net::UnixListener::bind(dir.path("socket")).unwrap();
        // The link `device` is like /dev/stdout, which can be a link to a device.
        symlink("/dev/null", dir.path("device")).unwrap();
        for name in ["fifo", "socket", "device"] {
            let error = replace(&dir.path(name), b"new", 0o600, None).unwrap_err().to_string();
            assert!(error.contains("not a regular file"), "{name}: {error}");
            let found = fs::symlink_metadata(dir.path(name)).unwrap();
            assert!(!found.is_file(), "{name} was replaced");
        }
        assert_eq!(fs::read_dir(dir.root()).unwrap().count(), 3);
    }

    // holds: S140, C283, C607, C608
    #[test]
    fn failure_changes_nothing() {
        let dir = TempDir::new();
        fs::create_dir(dir.path("directory")).unwrap();
        assert!(replace(&dir.path("directory"), b"new", 0o600, None).is_err());
        let missing = replace_within(LONG, dir.path("none/a"), "new".to_owned(), 0o600);
        assert_eq!(missing.unwrap_err().to_string(), "its directory does not exist");
        assert!(replace(Path::new("/"), b"new", 0o600, None).is_err());
        assert_eq!(fs::read_dir(dir.root()).unwrap().count(), 1);
    }
}
