//! Reads several files so that all of them are as they were at one moment. Somebody may replace the
//! files during the read, as the kubelet does with the files of a ConfigMap. A mixture of old and
//! new files is a config that nobody has written.

use std::cell::RefCell;
use std::fs::Metadata;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::fcntl::OFlag;
use nix::sys::stat::Mode;

use crate::language::directory;
use crate::language::source::{FileLimits, Identity, Source, Unreadable};
use drainit_os::trusted_path::Place;

/// How long drainit keeps trying. Files that still change after this time are not just being
/// replaced: a program writes to them all the time.
const PATIENCE: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(10);

/// Reads files together, and records them. A clone adds to the same record.
#[derive(Clone, Debug, Default)]
pub struct Reads(Rc<RefCell<ReadFiles>>);

/// The files that were read together.
#[derive(Debug, Default)]
struct ReadFiles {
    files: Vec<SeenFile>,
    directories: Vec<(PathBuf, Listing)>,
    has_pipe: bool,
}

/// The files of a config in a directory; `None` if the path is not a directory.
type Listing = Option<Result<Vec<PathBuf>, Unreadable>>;

#[derive(Debug)]
struct SeenFile {
    path: PathBuf,
    is_of_config: bool,
    /// `None` if the file did not exist.
    found: Option<(Identity, Rc<String>)>,
}

impl Reads {
    /// Reads a file by the rules in `limits`.
    ///
    /// # Errors
    /// Fails as [`Source::read_within`] does.
    pub fn read(&self, path: &Path, limits: &FileLimits) -> Result<Source, Unreadable> {
        let read = Source::read_within(path, limits);
        let mut record = self.0.borrow_mut();
        let found = match &read {
            // The content of a pipe cannot be read again.
            Ok(source) if source.identity.is_none() => {
                record.has_pipe = true;
                return read;
            }
            Ok(source) => source.identity.map(|identity| (identity, Rc::clone(&source.text))),
            Err(why) if why.is_missing => None,
            Err(_) => return read,
        };
        let (path, is_of_config) = (path.to_owned(), limits.is_of_config());
        record.files.push(SeenFile { path, is_of_config, found });
        read
    }

    /// Lists the files of a config, like [`directory::files`].
    pub(crate) fn list(&self, path: &Path) -> Listing {
        let listing = directory::files(path);
        self.0.borrow_mut().directories.push((path.to_owned(), listing.clone()));
        listing
    }
}

impl ReadFiles {
    /// The first directory or file that has changed since it was read.
    fn first_changed(&self) -> Option<PathBuf> {
        let is_other = |(path, listing): &&(PathBuf, Listing)| directory::files(path) != *listing;
        if let Some((path, _)) = self.directories.iter().find(is_other) {
            return Some(path.clone());
        }
        let changed = |seen: &&SeenFile| {
            let now = look(&seen.path, seen.is_of_config).as_ref().map(Identity::from).ok();
            now != seen.found.as_ref().map(|(identity, _)| *identity)
        };
        self.files.iter().find(changed).map(|seen| seen.path.clone())
    }

    /// Whether the same files had the same content at an earlier attempt. Some file systems report
    /// a new inode or time for a file that has not changed.
    fn has_content_of(&self, earlier: &Self) -> bool {
        let (new, old) = (&self.files, &earlier.files);
        let content = |seen: &SeenFile| seen.found.as_ref().map(|(_, text)| Rc::clone(text));
        let is_same = |(a, b): (&SeenFile, &SeenFile)| a.path == b.path && content(a) == content(b);
        new.len() == old.len() && new.iter().zip(old).all(is_same)
    }
}

fn look(path: &Path, is_of_config: bool) -> io::Result<Metadata> {
    match is_of_config {
        true => Place::behind(path)?.open(OFlag::O_PATH, Mode::empty())?.metadata(),
        false => std::fs::metadata(path),
    }
}

/// Calls `read` until all files that it reads through [`Reads`] are of one moment, or have the same
/// content in two attempts in a row.
///
/// # Errors
/// Fails if files change again and again, or if a file changes and `read` also reads a pipe, which
/// cannot be read again. The error has the path of a changed file.
pub fn of_one_moment<T>(mut read: impl FnMut(&Reads) -> T) -> Result<T, (PathBuf, Unreadable)> {
    let until = Instant::now() + PATIENCE;
    let mut earlier: Option<ReadFiles> = None;
    loop {
        let reads = Reads::default();
        let result = read(&reads);
        let record = reads.0.take();
        let Some(changed) = record.first_changed() else { return Ok(result) };
        if earlier.is_some_and(|earlier| record.has_content_of(&earlier)) {
            return Ok(result);
        }
        if record.has_pipe || Instant::now() > until {
            let why = Unreadable::new(
                "changed while drainit read it and the files beside it",
                "try again once nothing writes to them",
            );
            return Err((changed, why));
        }
        earlier = Some(record);
        sleep(PAUSE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::language::source::AT_START;
    use crate::testing::temp_dir::TempDir;

    /// Reads `a` and `b`. In each attempt, calls `between` after the read of `a`.
    fn both(dir: &TempDir, mut between: impl FnMut(u32)) -> Result<[String; 2], String> {
        let mut attempt = 0;
        let read = |reads: &Reads| {
            attempt += 1;
            let text = |name| {
                let read = reads.read(&dir.path(name), &AT_START);
                read.map_or_else(|why| why.message, |source| source.text.to_string())
            };
            let first = text("a");
            between(attempt);
            [first, text("b")]
        };
        of_one_moment(read).map_err(|(path, _)| path.file_name().unwrap().to_string_lossy().into())
    }

    // holds: C731
    #[test]
    fn files_that_change_meanwhile_are_read_again() {
        let dir = TempDir::new();
        dir.write("a", b"old");
        dir.write("b", b"old");
        assert_eq!(both(&dir, |_| ()).unwrap(), ["old", "old"]);
        let swap = |attempt| {
            if attempt == 1 {
                dir.write("new", b"new");
                std::fs::rename(dir.path("new"), dir.path("a")).unwrap();
                dir.write("b", b"new");
            }
        };
        assert_eq!(both(&dir, swap).unwrap(), ["new", "new"]);
        std::fs::remove_file(dir.path("a")).unwrap();
        let add = |attempt| drop((attempt == 1).then(|| dir.write("a", b"3")));
        assert_eq!(both(&dir, add).unwrap(), ["3", "new"]);
        // A new file with the same content does not count as a change.
        let again = |attempt: u32| {
            let name = dir.write(&attempt.to_string(), b"3");
            std::fs::rename(name, dir.path("a")).unwrap();
        };
        assert_eq!(both(&dir, again).unwrap(), ["3", "new"]);
        let always = |attempt: u32| drop(dir.write("a", attempt.to_string().as_bytes()));
        assert_eq!(both(&dir, always).unwrap_err(), "a");
    }
}
