//! The fingerprint of a file's content, or of the files in a directory: to see whether it is another.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io::{self, Read as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::thread;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use tokio::sync::oneshot;

use crate::os::signal::mask;

/// A larger file is told apart by its size, time and inode: its content is not read.
const LARGEST: u64 = 16 * 1024 * 1024;

/// The stack of the thread that reads, in bytes.
const STACK: usize = 64 * 1024;

/// The size of a read, in bytes.
const CHUNK: usize = 16 * 1024;

/// Two contents with the same fingerprint are the same, as far as drainit is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fingerprint(u64);

/// The content of a path, as far as it can be read.
#[derive(Debug)]
pub(crate) struct Content {
    /// `None` where nothing is there, or where that cannot be read.
    pub(crate) fingerprint: Option<Fingerprint>,
    /// The path itself, or the first file of a directory, that cannot be read, and why.
    pub(crate) unreadable: Option<(PathBuf, io::Error)>,
}

/// Reads on a thread of its own, because a file system may hang.
pub(crate) fn take(path: PathBuf) -> oneshot::Receiver<Content> {
    let (sender, receiver) = oneshot::channel();
    let take = move || {
        mask::block_here();
        // Fails only when nobody waits any more.
        let _ = sender.send(of(&path));
    };
    // Without a thread the receiver sees that the sender is gone.
    let _ = thread::Builder::new().name("watch".to_owned()).stack_size(STACK).spawn(take);
    receiver
}

fn of(path: &Path) -> Content {
    let mut unreadable = None;
    match fingerprint(path, &mut unreadable) {
        Ok(fingerprint) => Content { fingerprint, unreadable },
        Err(error) => Content { fingerprint: None, unreadable: Some((path.to_owned(), error)) },
    }
}

/// Files that are not directly in the directory do not count. Of one that may not be read only the
/// name counts: the others are watched.
fn fingerprint(
    path: &Path,
    unreadable: &mut Option<(PathBuf, io::Error)>,
) -> io::Result<Option<Fingerprint>> {
    let Some(about) = there(fs::metadata(path))? else { return Ok(None) };
    let mut hasher = DefaultHasher::new();
    if about.is_dir() {
        let mut files = BTreeMap::new();
        let Some(entries) = there(fs::read_dir(path))? else { return Ok(None) };
        for entry in entries {
            let entry = entry?;
            // Through links, as a reader would; a link to nowhere is no file.
            let is_file = match there(fs::metadata(entry.path())) {
                Ok(about) => about.is_some_and(|about| about.is_file()),
                Err(error) => is_denied(&error).then_some(true).ok_or(error)?,
            };
            if is_file {
                files.insert(entry.file_name(), entry.path());
            }
        }
        for (name, path) in files {
            name.hash(&mut hasher);
            match add(&path, &mut hasher) {
                Err(error) if is_denied(&error) => {
                    UNREADABLE.hash(&mut hasher);
                    unreadable.get_or_insert((path, error));
                }
                result => drop(there(result)?),
            }
        }
    } else if there(add(path, &mut hasher))?.is_none() {
        return Ok(None);
    }
    Ok(Some(Fingerprint(hasher.finish())))
}

/// Stands for the content of a file that may not be read.
const UNREADABLE: &str = "unreadable";

/// Whether this is so until somebody changes it: no fault of the file system or of drainit itself.
fn is_denied(error: &io::Error) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw);
    matches!(errno, Some(Errno::EACCES | Errno::EPERM | Errno::ELOOP))
}

/// Adds a file to a fingerprint.
fn add(path: &Path, hasher: &mut DefaultHasher) -> io::Result<()> {
    // A FIFO would wait for its writer.
    let mut file: File =
        OpenOptions::new().read(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(path)?;
    let about = file.metadata()?;
    if !about.is_file() {
        return Err(io::Error::other("it is neither a regular file nor a directory"));
    }
    about.len().hash(hasher);
    if about.len() > LARGEST {
        (about.ino(), about.mtime(), about.mtime_nsec()).hash(hasher);
        return Ok(());
    }
    let mut chunk = vec![0; CHUNK];
    loop {
        match file.read(&mut chunk)? {
            0 => return Ok(()),
            count => hasher.write(chunk.get(..count).unwrap_or_default()),
        }
    }
}

/// `None` where the path does not exist.
fn there<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error)
            if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) =>
        {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::testing::temp_dir::TempDir;

    /// The fingerprint where everything can be read.
    fn of(path: &Path) -> Option<Fingerprint> {
        let Content { fingerprint, unreadable } = super::of(path);
        assert!(unreadable.is_none(), "{unreadable:?}");
        fingerprint
    }

    #[test]
    fn it_is_that_of_the_content_alone() {
        let dir = TempDir::new();
        let path = dir.path("file");
        assert_eq!(of(&path), None);
        fs::write(&path, "one").unwrap();
        let one = of(&path);
        assert!(one.is_some());
        let again = dir.path("again");
        fs::write(&again, "one").unwrap();
        assert_eq!(of(&again), one, "another file with the same content");
        fs::write(&path, "two").unwrap();
        assert_ne!(of(&path), one);
        let large = File::create(&path).unwrap();
        large.set_len(LARGEST + 1).unwrap();
        let before = of(&path);
        large.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
        assert_ne!(of(&path), before, "told apart by its time");
        assert!(super::of(Path::new("/dev/zero")).unreadable.is_some());
    }

    #[test]
    fn a_directory_is_its_files() {
        let dir = TempDir::new();
        let base = dir.path("etc");
        fs::create_dir(&base).unwrap();
        let empty = of(&base);
        fs::create_dir(base.join("deeper")).unwrap();
        fs::write(base.join("deeper/file"), "x").unwrap();
        symlink("nowhere", base.join("link")).unwrap();
        assert_eq!(of(&base), empty, "one level");
        fs::write(base.join("nowhere"), "x").unwrap();
        let two = of(&base);
        assert_ne!(two, empty);
        fs::remove_file(base.join("link")).unwrap();
        assert_ne!(of(&base), two, "each name counts");
        fs::rename(base.join("nowhere"), base.join("name")).unwrap();
        fs::rename(base.join("name"), base.join("nowhere")).unwrap();
        symlink("nowhere", base.join("link")).unwrap();
        assert_eq!(of(&base), two);
    }

    #[test]
    fn a_file_that_cannot_be_read_hides_no_change_of_its_neighbours() {
        let dir = TempDir::new();
        let base = dir.path("tls");
        fs::create_dir(&base).unwrap();
        fs::write(base.join("tls.crt"), "one").unwrap();
        // Root may read everything, but follows no loop either.
        symlink("old.key", base.join("old.key")).unwrap();
        let one = super::of(&base);
        let (path, error) = one.unreadable.unwrap();
        assert_eq!((path, error.raw_os_error()), (base.join("old.key"), Some(Errno::ELOOP as i32)));
        assert!(one.fingerprint.is_some());
        assert_eq!(super::of(&base).fingerprint, one.fingerprint);
        fs::write(base.join("tls.crt"), "two").unwrap();
        let two = super::of(&base).fingerprint;
        assert_ne!(two, one.fingerprint);
        fs::remove_file(base.join("old.key")).unwrap();
        assert_ne!(of(&base), two, "a file that goes");
    }
}
