//! Reads several files so that all of them are as they were at one moment. Somebody may replace the
//! files during the read, as the kubelet does with the files of a ConfigMap. A mixture of old and
//! new files is a config that nobody has written.

use std::cell::RefCell;
use std::collections::BTreeMap;
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
use drainit_os::fingerprint::Fingerprint;
use drainit_os::trusted_path::{Place, Revisions};

/// How long drainit keeps trying. Files that still change after this time are not just being
/// replaced: a program writes to them all the time.
const PATIENCE: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(10);

/// Reads files together, and records them. A clone adds to the same record.
#[derive(Clone, Debug, Default)]
pub struct Reads(Rc<RefCell<ReadFiles>>);

/// The files that were read together.
#[derive(Debug, Default)]
pub(crate) struct ReadFiles {
    files: Vec<SeenFile>,
    directories: Vec<(PathBuf, Listing)>,
    has_pipe: bool,
    /// The revisions of ConfigMaps and Secrets from which the files were read.
    revisions: Revisions,
    /// Whether a file or a directory does not belong to a revision.
    has_others: bool,
}

/// The files of a config in a directory; `None` if the path is not a directory.
pub type Listing = Option<Result<Vec<PathBuf>, Unreadable>>;

#[derive(Debug)]
struct SeenFile {
    path: PathBuf,
    limits: &'static FileLimits,
    /// `None` if the file did not exist.
    found: Option<(Identity, Rc<String>)>,
}

impl Reads {
    /// Reads a file by the rules in `limits`.
    ///
    /// # Errors
    /// Fails as [`Source::read_within`] does.
    pub fn read(&self, path: &Path, limits: &'static FileLimits) -> Result<Source, Unreadable> {
        let mut record = self.0.borrow_mut();
        let revisions = &record.revisions;
        let (read, is_of_revision) =
            revisions.is_used_by(|| Source::read_in(path, limits, revisions));
        record.has_others |= !is_of_revision;
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
        record.files.push(SeenFile { path: path.to_owned(), limits, found });
        read
    }

    /// Lists the files of a config, like [`directory::files`].
    pub fn list(&self, path: &Path) -> Listing {
        let mut record = self.0.borrow_mut();
        let revisions = &record.revisions;
        let (listing, is_of_revision) = revisions.is_used_by(|| directory::files(path, revisions));
        record.has_others |= listing.is_some() && !is_of_revision;
        record.directories.push((path.to_owned(), listing.clone()));
        listing
    }
}

impl ReadFiles {
    /// The first directory or file that has changed since it was read.
    fn first_changed(&self) -> Option<PathBuf> {
        // All files of one revision are of one moment, even if another revision has taken its place
        // meanwhile. The kubelet may have begun to remove the files of the earlier revision, so this
        // is not true of a file that was missing.
        let now = Revisions::default();
        let is_one = self.revisions.count() == 1 && !self.has_others;
        let of = |was_there: bool| if is_one && was_there { &self.revisions } else { &now };
        let is_other =
            |(path, listing): &&(PathBuf, Listing)| directory::files(path, of(true)) != *listing;
        if let Some((path, _)) = self.directories.iter().find(is_other) {
            return Some(path.clone());
        }
        let changed = |seen: &&SeenFile| {
            let now = identity(&seen.path, seen.limits, of(seen.found.is_some()));
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

/// The identity of the file that is at this path now; `None` if it cannot be found.
fn identity(path: &Path, limits: &FileLimits, revisions: &Revisions) -> Option<Identity> {
    look(path, limits, revisions).as_ref().map(Identity::from).ok()
}

fn look(path: &Path, limits: &FileLimits, revisions: &Revisions) -> io::Result<Metadata> {
    match limits.is_of_config() {
        true => Place::behind_in(path, revisions)?.open(OFlag::O_PATH, Mode::empty())?.metadata(),
        false => std::fs::metadata(revisions.path(path).as_deref().unwrap_or(path)),
    }
}

/// The files of a config as they were read: what a later look compares them with. A pipe is left
/// out, because its content cannot be read again.
#[derive(Clone, Debug, Default)]
pub struct AsRead {
    files: BTreeMap<PathBuf, FileAsRead>,
    directories: BTreeMap<PathBuf, Listing>,
}

#[derive(Clone, Copy, Debug)]
struct FileAsRead {
    limits: &'static FileLimits,
    /// `None` if the file did not exist.
    found: Option<(Identity, Fingerprint)>,
}

impl From<ReadFiles> for AsRead {
    fn from(read: ReadFiles) -> Self {
        let one = |SeenFile { path, limits, found }| {
            let found = found.map(|(identity, text)| (identity, Fingerprint::of_text(&text)));
            (path, FileAsRead { limits, found })
        };
        let directories = read.directories.into_iter().collect();
        Self { files: read.files.into_iter().map(one).collect(), directories }
    }
}

impl AsRead {
    /// Whether a file has other content now, or a directory other files. The content of a file that
    /// cannot be read now is unknown, and does not count as changed: somebody may have removed the
    /// file after its use. May wait for a file system.
    pub fn has_changed(&self) -> bool {
        let now = Revisions::default();
        let is_other = |(path, read): (&PathBuf, &Listing)| {
            directory::files(path, &now).is_some_and(|now| now.is_ok() && Some(now) != *read)
        };
        self.directories.iter().any(is_other)
            || self.files.iter().any(|(path, read)| read.has_changed(path, &now))
    }
}

impl FileAsRead {
    fn has_changed(&self, path: &Path, revisions: &Revisions) -> bool {
        let (known, read) = self.found.unzip();
        let now = identity(path, self.limits, revisions);
        if now.is_none() || now == known {
            return false;
        }
        // A file that was only touched, or replaced by an equal file, has not changed.
        let now = Source::read_in(path, self.limits, revisions).ok();
        now.is_some_and(|now| Some(Fingerprint::of_text(&now.text)) != read)
    }
}

/// Calls `read` until all files that it reads through [`Reads`] are of one moment, or have the same
/// content in two attempts in a row. Also returns the files.
///
/// # Errors
/// Fails if files change again and again, or if a file changes and `read` also reads a pipe, which
/// cannot be read again. The error has the path of a changed file.
pub(crate) fn of_one_moment<T>(
    mut read: impl FnMut(&Reads) -> T,
) -> Result<(T, ReadFiles), (PathBuf, Unreadable)> {
    let until = Instant::now() + PATIENCE;
    let mut earlier: Option<ReadFiles> = None;
    loop {
        let reads = Reads::default();
        let result = read(&reads);
        let record = reads.0.take();
        let Some(changed) = record.first_changed() else { return Ok((result, record)) };
        if earlier.is_some_and(|earlier| record.has_content_of(&earlier)) {
            return Ok((result, record));
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
    use crate::language::source::{AT_START, CONFIG};
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
        let both = of_one_moment(read).map(|(both, _)| both);
        both.map_err(|(path, _)| path.file_name().unwrap().to_string_lossy().into())
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

    /// Reads a file and a directory as those of a config.
    fn as_read(paths: &[PathBuf]) -> AsRead {
        let read = |reads: &Reads| {
            for path in paths {
                let files = reads.list(path).map_or_else(|| vec![path.clone()], Result::unwrap);
                files.iter().for_each(|path| drop(reads.read(path, &CONFIG)));
            }
        };
        of_one_moment(read).unwrap().1.into()
    }

    // holds: C1015
    #[test]
    fn only_other_content_and_other_files_are_a_change() {
        let dir = TempDir::new();
        let (file, parts) = (dir.path("file"), dir.path("parts"));
        std::fs::create_dir(&parts).unwrap();
        dir.write("file", b"old");
        dir.write("parts/a.yaml", b"old");
        let paths = [file.clone(), parts.clone(), dir.path("missing")];
        let read = as_read(&paths);
        assert!(!read.has_changed());
        // An equal file in its place, as after a new revision of a ConfigMap.
        dir.write("new", b"old");
        std::fs::rename(dir.path("new"), &file).unwrap();
        assert!(!read.has_changed());
        dir.write("file", b"new");
        assert!(read.has_changed());
        dir.write("file", b"old");
        std::fs::remove_file(&file).unwrap();
        assert!(!read.has_changed(), "it is unknown what a missing file would say");
        std::fs::create_dir(&file).unwrap();
        assert!(!read.has_changed(), "a directory without a config cannot be read");
        std::fs::remove_dir(&file).unwrap();
        dir.write("file", b"old");
        dir.write("parts/README", b"");
        assert!(!read.has_changed());
        dir.write("parts/b.yaml", b"new");
        assert!(read.has_changed());
        std::fs::remove_file(parts.join("b.yaml")).unwrap();
        assert!(!read.has_changed());
        dir.write("missing", b"");
        assert!(read.has_changed(), "a file that was missing before");
    }

    /// Makes a volume with two revisions, which both have `a` and `b`.
    fn volume(name: &str, dir: &TempDir) -> PathBuf {
        for revision in ["..1", "..2"] {
            std::fs::create_dir_all(dir.path(name).join(revision)).unwrap();
            for file in ["a", "b"] {
                dir.write(&format!("{name}/{revision}/{file}"), revision.as_bytes());
                let _ =
                    std::os::unix::fs::symlink(format!("..data/{file}"), dir.path(name).join(file));
            }
        }
        turn(&dir.path(name), "..1");
        dir.path(name)
    }

    /// Turns `..data` to a revision, as the kubelet does.
    fn turn(volume: &Path, revision: &str) {
        let new = volume.join("..data_tmp");
        std::os::unix::fs::symlink(revision, &new).unwrap();
        std::fs::rename(new, volume.join("..data")).unwrap();
    }

    // holds: C930
    #[test]
    fn files_of_a_volume_are_of_the_revision_that_was_opened_first() {
        let dir = TempDir::new();
        let (one, two) = (volume("one", &dir), volume("two", &dir));
        /// Reads files, and calls `between` between each two of them.
        fn read(paths: &[PathBuf], mut between: impl FnMut(u32)) -> (String, u32) {
            let mut attempts = 0;
            let read = |reads: &Reads| {
                attempts += 1;
                let text = |(place, path): (usize, &PathBuf)| {
                    if place > 0 {
                        between(attempts);
                    }
                    let limits = if place % 2 == 0 { &AT_START } else { &CONFIG };
                    reads
                        .read(path, limits)
                        .map_or_else(|why| why.message, |it| it.text.to_string())
                };
                paths.iter().enumerate().map(text).collect::<Vec<_>>().join(" ")
            };
            (of_one_moment(read).unwrap().0, attempts)
        }
        let (a, b) = (one.join("a"), one.join("b"));
        // The link is turned at each read, and the files are read once all the same.
        let mut swaps = 0;
        let swap = |_| {
            swaps += 1;
            turn(&one, if swaps % 2 == 1 { "..2" } else { "..1" });
        };
        let three = [a.clone(), b.clone(), one.join("..data/b")];
        assert_eq!(read(&three, swap), ("..1 ..1 ..1".to_owned(), 1));
        // The earlier revision is gone before all of its files are read.
        let remove = |attempt| {
            if attempt == 1 {
                turn(&one, "..2");
                std::fs::remove_dir_all(one.join("..1")).unwrap();
            }
        };
        assert_eq!(read(&[a.clone(), b.clone()], remove), ("..2 ..2".to_owned(), 2));
        volume("one", &dir);
        // Two volumes, or a volume and another file, are of one moment only together.
        for other in [two.join("b"), dir.write("plain", b"plain")] {
            turn(&one, "..1");
            let (found, attempts) =
                read(&[a.clone(), other.clone(), b.clone()], |_| turn(&one, "..2"));
            let text = std::fs::read_to_string(&other).unwrap();
            assert_eq!((found, attempts), (format!("..2 {text} ..2"), 2));
        }
    }

    // holds: C930
    #[test]
    fn list_of_a_volume_is_that_of_the_revision() {
        use std::os::unix::fs::symlink;
        let dir = TempDir::new();
        for file in ["..1/a.yaml", "..1/b.yaml", "..2/b.yaml", "..2/c.yaml"] {
            std::fs::create_dir_all(dir.path(&file[..3])).unwrap();
            dir.write(file, b"");
        }
        // The kubelet adds `c.yaml` and removes `a.yaml` only after it has turned `..data`.
        for name in ["a.yaml", "b.yaml"] {
            symlink(format!("..data/{name}"), dir.path(name)).unwrap();
        }
        dir.write("own.yaml", b"");
        turn(dir.root(), "..1");
        let reads = Reads::default();
        let names = |reads: &Reads| {
            let files = reads.list(dir.root()).unwrap().unwrap();
            let name = |path: PathBuf| path.strip_prefix(dir.root()).unwrap().display().to_string();
            files.into_iter().map(name).collect::<Vec<_>>()
        };
        assert_eq!(names(&reads), ["a.yaml", "b.yaml", "own.yaml"]);
        turn(dir.root(), "..2");
        assert_eq!(names(&reads), ["a.yaml", "b.yaml", "own.yaml"]);
        assert_eq!(names(&Reads::default()), ["b.yaml", "..data/c.yaml", "own.yaml"]);
    }

    // holds: C1015
    #[test]
    fn new_revision_of_a_config_map_is_a_change() {
        use std::os::unix::fs::symlink;
        let dir = TempDir::new();
        for (revision, text) in [("..1", b"old"), ("..2", b"new"), ("..3", b"old")] {
            std::fs::create_dir(dir.path(revision)).unwrap();
            dir.write(&format!("{revision}/drainit.yaml"), text);
        }
        symlink("..data/drainit.yaml", dir.path("drainit.yaml")).unwrap();
        let turn_to = |revision: &str| {
            symlink(revision, dir.path("..tmp")).unwrap();
            std::fs::rename(dir.path("..tmp"), dir.path("..data")).unwrap();
        };
        turn_to("..1");
        for path in [dir.path("drainit.yaml"), dir.root().to_owned()] {
            let read = as_read(&[path]);
            turn_to("..2");
            assert!(read.has_changed());
            turn_to("..3");
            assert!(!read.has_changed());
            turn_to("..1");
        }
    }
}
