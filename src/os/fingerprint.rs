//! The fingerprint of a file's content, or of the files in a directory: to see whether it is another.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io::{self, Read as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::thread;

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

/// Takes the fingerprint on a thread of its own, because a file system may hang. `None` where
/// nothing is at the path.
pub(crate) fn take(path: PathBuf) -> oneshot::Receiver<io::Result<Option<Fingerprint>>> {
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

/// Files that are not directly in the directory do not count.
fn of(path: &Path) -> io::Result<Option<Fingerprint>> {
    let Some(about) = there(fs::metadata(path))? else { return Ok(None) };
    let mut hasher = DefaultHasher::new();
    if about.is_dir() {
        let mut files = BTreeMap::new();
        let Some(entries) = there(fs::read_dir(path))? else { return Ok(None) };
        for entry in entries {
            let entry = entry?;
            // Through links, as a reader would; a link to nowhere is no file.
            if there(fs::metadata(entry.path()))?.is_some_and(|about| about.is_file()) {
                files.insert(entry.file_name(), entry.path());
            }
        }
        for (name, path) in files {
            name.hash(&mut hasher);
            there(add(&path, &mut hasher))?;
        }
    } else if there(add(path, &mut hasher))?.is_none() {
        return Ok(None);
    }
    Ok(Some(Fingerprint(hasher.finish())))
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

    #[test]
    fn it_is_that_of_the_content_alone() {
        let dir = TempDir::new();
        let path = dir.path("file");
        assert_eq!(of(&path).unwrap(), None);
        fs::write(&path, "one").unwrap();
        let one = of(&path).unwrap();
        assert!(one.is_some());
        let again = dir.path("again");
        fs::write(&again, "one").unwrap();
        assert_eq!(of(&again).unwrap(), one, "another file with the same content");
        fs::write(&path, "two").unwrap();
        assert_ne!(of(&path).unwrap(), one);
        let large = File::create(&path).unwrap();
        large.set_len(LARGEST + 1).unwrap();
        let before = of(&path).unwrap();
        large.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
        assert_ne!(of(&path).unwrap(), before, "told apart by its time");
        of(Path::new("/dev/zero")).unwrap_err();
    }

    #[test]
    fn a_directory_is_its_files() {
        let dir = TempDir::new();
        let base = dir.path("etc");
        fs::create_dir(&base).unwrap();
        let empty = of(&base).unwrap();
        fs::create_dir(base.join("deeper")).unwrap();
        fs::write(base.join("deeper/file"), "x").unwrap();
        symlink("nowhere", base.join("link")).unwrap();
        assert_eq!(of(&base).unwrap(), empty, "one level");
        fs::write(base.join("nowhere"), "x").unwrap();
        let two = of(&base).unwrap();
        assert_ne!(two, empty);
        fs::remove_file(base.join("link")).unwrap();
        assert_ne!(of(&base).unwrap(), two, "each name counts");
        fs::rename(base.join("nowhere"), base.join("name")).unwrap();
        fs::rename(base.join("name"), base.join("nowhere")).unwrap();
        symlink("nowhere", base.join("link")).unwrap();
        assert_eq!(of(&base).unwrap(), two);
    }
}
