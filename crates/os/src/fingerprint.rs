//! The fingerprint of a file's content, or of the files in a directory. The fingerprint shows
//! whether the content has changed.
//!
//! Each path has a thread of its own, because a file system may hang. The thread looks at its path
//! once a second, and also on request. The thread compares the metadata, and reports a change at
//! once. The first look also reads the content. Later, the thread reads changed content only if the
//! metadata has been the same for a second. By then, somebody who replaces several files, or writes
//! one file in pieces, has finished.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io::{self, Read as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::{Mode, SFlag};
use tokio::sync::mpsc;

use crate::signal::mask;
use crate::trusted_path::{ForeignName, Place, is};
use drainit_core::types::human;

/// The largest file whose content drainit reads, in bytes. drainit compares a larger file only by
/// its size, time and inode.
const LARGEST: u64 = 16 * 1024 * 1024;

/// drainit reads at most this many bytes of the files in a directory, in the order of the file
/// names. If a file would exceed this limit, drainit compares only its size, time and inode.
const LARGEST_TOTAL: u64 = 64 * 1024 * 1024;

/// The longest time for one look at the path. Longer looks would put a permanent load on the file
/// system.
const LONGEST: Duration = Duration::from_secs(10);

/// drainit does not read a directory with more names than this, because reading it would take much
/// memory and time.
const MOST_NAMES: usize = 10_000;

/// The number of the names `.` and `..`, which every directory has.
const DOTS: usize = 2;

/// The pause between two looks at the path.
const PAUSE: Duration = Duration::from_secs(1);

/// At most this many requests for a look may wait while the thread hangs.
const MOST_ASKED: usize = 16;

/// The stack size of the thread, in bytes.
const STACK: usize = 64 * 1024;

/// The size of a read, in bytes.
const CHUNK: usize = 16 * 1024;

/// A hash of the content of a file or a directory. drainit treats contents with equal hashes as
/// equal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fingerprint(pub u64);

impl Fingerprint {
    /// The fingerprint of a text that was already read. drainit compares it only with those of other
    /// texts: [`follow`] hashes a file in another way.
    pub fn of_text(text: &str) -> Self {
        let mut hasher = DefaultHasher::new();
        text.hash(&mut hasher);
        Self(hasher.finish())
    }
}

/// The content of a path, as far as it can be read.
#[derive(Debug)]
pub struct Content {
    /// The fingerprint; `None` if the path does not exist, or if drainit cannot read it.
    pub fingerprint: Option<Fingerprint>,
    /// The place and the error of a failed read. The place is the path itself, or the first such
    /// file in the directory.
    pub unreadable: Option<(PathBuf, io::Error)>,
}

/// The limits of one look, and the first file that the look could not read.
struct LookLimits {
    until: Instant,
    /// The bytes that may still be read.
    left: u64,
    unreadable: Option<(PathBuf, io::Error)>,
}

impl LookLimits {
    fn new(longest: Duration, bytes: u64) -> Self {
        Self { until: Instant::now() + longest, left: bytes, unreadable: None }
    }

    fn check_time(&self) -> io::Result<()> {
        if Instant::now() < self.until {
            return Ok(());
        }
        Err(io::Error::other(format!("reading it takes longer than {}", human(LONGEST))))
    }
}

/// A report of the thread.
#[derive(Debug)]
pub enum WatchReport {
    /// The metadata has changed since the previous look.
    Changed,
    /// The metadata has been the same for a second, or this is the first look.
    Quiet(Content),
    /// The look that a caller has requested is over.
    Answer(Asked),
}

/// A requested look. Its sender is dropped once the look is over or cannot begin. The drop wakes
/// the receiver, who waits for the look. `None` for a look for which nobody waits.
pub type Asked = Option<mpsc::UnboundedSender<()>>;

/// A path at which a thread looks until this value is dropped.
pub struct Followed {
    pub looks: mpsc::UnboundedReceiver<WatchReport>,
    pub asks: SyncSender<Asked>,
}

/// The looks of the thread at its path. `M` is the metadata.
pub struct Seen<M> {
    known: M,
    since: Instant,
    /// The metadata at the last read of the content.
    read: Option<M>,
    is_first: bool,
}

impl<M: Clone + PartialEq> Seen<M> {
    pub fn new(known: M, at: Instant) -> Self {
        Self { known, since: at, read: None, is_first: true }
    }

    /// Reads the content at the first call, and if the metadata has changed and then been the same
    /// for a second. The content may change while it is read. It then belongs to other metadata,
    /// and is read again later.
    pub fn quiet(
        &mut self,
        at: Instant,
        content: impl FnOnce() -> Content,
        metadata: impl FnOnce() -> M,
    ) -> Option<Content> {
        if !self.is_first && (self.read.as_ref() == Some(&self.known) || at - self.since < PAUSE) {
            return None;
        }
        let content = content();
        if !self.is_first && metadata() != self.known {
            return None;
        }
        // `None` makes the next look read an unreadable file again: a file may become readable
        // without a change of its metadata.
        self.read = content.unreadable.is_none().then(|| self.known.clone());
        self.is_first = false;
        Some(content)
    }

    /// Whether the metadata has changed since the last call.
    pub fn is_changed(&mut self, at: Instant, now: M) -> bool {
        let is_changed = now != self.known;
        if is_changed {
            (self.known, self.since) = (now, at);
        }
        is_changed
    }
}

/// Starts a thread that looks at `path`. The thread sends the content at once, and again whenever
/// the content may have changed.
pub fn follow(path: PathBuf) -> Followed {
    let (sender, looks) = mpsc::unbounded_channel();
    let (asks, asked) = sync_channel(MOST_ASKED);
    let follow = move || {
        mask::block_here();
        let mut seen = Seen::new(metadata(&path), Instant::now());
        loop {
            let content = seen.quiet(Instant::now(), || of(&path), || metadata(&path));
            if let Some(content) = content {
                let _ = sender.send(WatchReport::Quiet(content));
            }
            let answer = match asked.recv_timeout(PAUSE) {
                Ok(answer) => Some(answer),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => return,
            };
            if seen.is_changed(Instant::now(), metadata(&path)) {
                let _ = sender.send(WatchReport::Changed);
            }
            if let Some(answer) = answer {
                let _ = sender.send(WatchReport::Answer(answer));
            }
        }
    };
    // If the thread cannot start, the receiver sees that the sender is gone.
    let _ = thread::Builder::new().name("watch".to_owned()).stack_size(STACK).spawn(follow);
    Followed { looks, asks }
}

/// A fingerprint of the metadata. While the metadata is unchanged, the content counts as unchanged.
fn metadata(path: &Path) -> Result<Option<Fingerprint>, String> {
    let mut limits = LookLimits::new(LONGEST, LARGEST_TOTAL);
    fingerprint(path, add_metadata, &mut limits).map_err(|error| error.to_string())
}

fn of(path: &Path) -> Content {
    within(path, LookLimits::new(LONGEST, LARGEST_TOTAL))
}

fn within(path: &Path, mut limits: LookLimits) -> Content {
    let read = fingerprint(path, add_content, &mut limits);
    match read {
        Ok(fingerprint) => Content { fingerprint, unreadable: limits.unreadable },
        Err(error) => Content { fingerprint: None, unreadable: Some((path.to_owned(), error)) },
    }
}

/// Computes a fingerprint of a file or a directory. Files in subdirectories do not count. If
/// drainit may not read a file in the directory, only the file's name counts, so that drainit still
/// sees changes of the other files.
fn fingerprint(
    path: &Path,
    add: fn(&Place, &mut DefaultHasher, &mut LookLimits) -> io::Result<()>,
    limits: &mut LookLimits,
) -> io::Result<Option<Fingerprint>> {
    let Some(place) = there(Place::behind(path))? else { return Ok(None) };
    let Some(about) = there(place.stat())? else { return Ok(None) };
    let mut hasher = DefaultHasher::new();
    if is(&about, SFlag::S_IFDIR) {
        let mut files = BTreeSet::new();
        let directory = place.open(OFlag::O_DIRECTORY, Mode::empty());
        let Some(directory) = there(directory)? else { return Ok(None) };
        let mut entries = Dir::from_fd(directory.try_clone()?.into())?;
        for (number, entry) in entries.iter().enumerate() {
            let entry = entry?;
            limits.check_time()?;
            if number >= MOST_NAMES + DOTS {
                let why =
                    format!("the directory has more than {MOST_NAMES} names; watch one with fewer");
                return Err(io::Error::other(why));
            }
            let name = OsStr::from_bytes(entry.file_name().to_bytes()).to_owned();
            // Links are followed, as by a process that reads the file. A link to nowhere does not
            // count as a file.
            let place = place.below(&directory, &name);
            let is_file = match there(place.and_then(|place| place.stat())) {
                Ok(about) => about.is_some_and(|about| is(&about, SFlag::S_IFREG)),
                Err(error) => is_denied(&error).then_some(true).ok_or(error)?,
            };
            if is_file {
                files.insert(name);
            }
        }
        for name in files {
            name.hash(&mut hasher);
            let place = place.below(&directory, &name);
            match place.and_then(|place| add(&place, &mut hasher, limits)) {
                Err(error) if is_denied(&error) => {
                    UNREADABLE.hash(&mut hasher);
                    limits.unreadable.get_or_insert_with(|| (path.join(name), error));
                }
                result => drop(there(result)?),
            }
        }
    } else {
        if there(add(&place, &mut hasher, limits))?.is_none() {
            return Ok(None);
        }
    }
    Ok(Some(Fingerprint(hasher.finish())))
}

/// The hash uses this text in place of the content of a file that drainit may not read.
const UNREADABLE: &str = "unreadable";

/// Whether the error lasts until somebody changes the file or its permissions. Returns `false` for
/// a failure of the file system or of drainit itself, because such a failure may be over at the
/// next look.
fn is_denied(error: &io::Error) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw);
    matches!(errno, Some(Errno::EACCES | Errno::EPERM | Errno::ELOOP))
        || ForeignName::of(error).is_some()
}

/// Adds to a fingerprint the metadata that changes when a file changes.
fn add_metadata(
    place: &Place,
    hasher: &mut DefaultHasher,
    limits: &mut LookLimits,
) -> io::Result<()> {
    limits.check_time()?;
    let about = place.stat()?;
    (about.st_ino, about.st_size).hash(hasher);
    (about.st_mtime, about.st_mtime_nsec, about.st_ctime, about.st_ctime_nsec).hash(hasher);
    // The kernel's own files, such as those of a cgroup, always have the size 0 and the same times,
    // so only their content shows a change.
    if about.st_size == 0 && is(&about, SFlag::S_IFREG) {
        let until = limits.until;
        add_content(
            place,
            hasher,
            &mut LookLimits { until, left: CHUNK as u64, unreadable: None },
        )?;
    }
    Ok(())
}

/// Adds the content of a file to a fingerprint.
fn add_content(
    place: &Place,
    hasher: &mut DefaultHasher,
    limits: &mut LookLimits,
) -> io::Result<()> {
    // A writer that waits in the open of a FIFO would take the open below for that of its reader.
    if !is(&place.stat()?, SFlag::S_IFREG) {
        return Err(io::Error::other("it is neither a regular file nor a directory"));
    }
    // If a FIFO has taken the place of the file, this open does not wait for a writer.
    let file = place.open(OFlag::O_NONBLOCK, Mode::empty())?;
    let about = file.metadata()?;
    if !about.is_file() {
        return Err(io::Error::other("it is no longer a regular file"));
    }
    about.len().hash(hasher);
    let largest = LARGEST.min(limits.left);
    if about.len() > largest {
        (about.ino(), about.mtime(), about.mtime_nsec()).hash(hasher);
        return Ok(());
    }
    let mut chunk = vec![0; CHUNK];
    // The read has a limit, because some files of `/proc` report a size of 0 and never end.
    let mut file = file.take(largest);
    loop {
        limits.check_time()?;
        match file.read(&mut chunk)? {
            0 => break,
            count => hasher.write(chunk.get(..count).unwrap_or_default()),
        }
    }
    limits.left -= largest - file.limit();
    Ok(())
}

/// Turns the error for a missing path into `None`.
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
mod tests {
    use std::fs::{self, File};
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::testing::temp_dir::TempDir;

    /// The fingerprint of a path that can be read completely.
    fn of(path: &Path) -> Option<Fingerprint> {
        let Content { fingerprint, unreadable, .. } = super::of(path);
        assert!(unreadable.is_none(), "{unreadable:?}");
        fingerprint
    }

    // holds: C297, C300
    #[test]
    fn fingerprint_depends_on_content_alone() {
        let dir = TempDir::new();
        let path = dir.path("file");
        assert_eq!(of(&path), None);
        fs::write(&path, "one").unwrap();
        let one = of(&path);
        assert!(one.is_some());
        let again = dir.path("again");
        fs::write(&again, "one").unwrap();
        assert_eq!(of(&again), one, "the path does not count");
        fs::write(&path, "two").unwrap();
        assert_ne!(of(&path), one);
        let large = File::create(&path).unwrap();
        large.set_len(LARGEST + 1).unwrap();
        let before = of(&path);
        large.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
        assert_ne!(of(&path), before, "its time counts");
        assert!(super::of(Path::new("/dev/zero")).unreadable.is_some());
    }

    // holds: C293, C298, C299
    #[test]
    fn fingerprint_of_directory_covers_names_and_files() {
        let dir = TempDir::new();
        let base = dir.path("etc");
        fs::create_dir(&base).unwrap();
        let empty = of(&base);
        fs::create_dir(base.join("deeper")).unwrap();
        fs::write(base.join("deeper/file"), "x").unwrap();
        symlink("nowhere", base.join("link")).unwrap();
        assert_eq!(of(&base), empty, "only one level counts");
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

    // holds: C295, C308
    #[tokio::test]
    async fn a_change_is_read_after_a_quiet_second() {
        let dir = TempDir::new();
        let path = dir.path("file");
        let Followed { mut looks, asks } = follow(path.clone());
        let Some(WatchReport::Quiet(first)) = looks.recv().await else { panic!("no content") };
        fs::write(&path, "new").unwrap();
        let began = Instant::now();
        assert!(matches!(looks.recv().await, Some(WatchReport::Changed)));
        let Some(WatchReport::Quiet(second)) = looks.recv().await else { panic!("no content") };
        assert!(first.fingerprint.is_none() && second.fingerprint == of(&path), "{second:?}");
        assert!(began.elapsed() >= PAUSE, "{:?}", began.elapsed());
        drop(asks);
        assert!(looks.recv().await.is_none(), "the thread ends");
    }

    #[tokio::test]
    async fn requested_look_reports_change_before_answer() {
        let dir = TempDir::new();
        let path = dir.path("file");
        let Followed { mut looks, asks } = follow(path.clone());
        assert!(matches!(looks.recv().await, Some(WatchReport::Quiet(_))));
        for content in ["one", "two"] {
            fs::write(&path, content).unwrap();
            asks.send(None).unwrap();
            assert!(matches!(looks.recv().await, Some(WatchReport::Changed)), "{content}");
            assert!(matches!(looks.recv().await, Some(WatchReport::Answer(_))), "{content}");
        }
    }

    #[test]
    fn directory_with_too_many_names_is_an_error() {
        let dir = TempDir::new();
        let base = dir.path("etc");
        fs::create_dir(&base).unwrap();
        for number in 0..=MOST_NAMES {
            symlink("nowhere", base.join(number.to_string())).unwrap();
        }
        let (path, error) = super::of(&base).unreadable.unwrap();
        assert!(path == base && error.to_string().contains("more than 10000 names"), "{error}");
        fs::remove_file(base.join("0")).unwrap();
        assert!(of(&base).is_some());
    }

    #[test]
    fn reading_of_directory_is_bounded() {
        let dir = TempDir::new();
        let base = dir.path("etc");
        fs::create_dir(&base).unwrap();
        for name in ["a", "b", "c", "d"] {
            fs::write(base.join(name), "12345").unwrap();
        }
        let look = || within(&base, LookLimits::new(LONGEST, 12));
        let before = look();
        assert_eq!(look().fingerprint, before.fingerprint, "nothing has changed");
        fs::write(base.join("b"), "other").unwrap();
        let content = look().fingerprint;
        assert_ne!(content, before.fingerprint, "the content is read");
        for (name, is_read) in [("b", true), ("d", false)] {
            let file = File::options().write(true).open(base.join(name)).unwrap();
            file.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
            assert_eq!(look().fingerprint == content, is_read, "{name}: whether its time counts");
        }
        nix::unistd::mkfifo(&dir.path("fifo"), Mode::S_IRWXU).unwrap();
        let fifo = dir.path("fifo");
        let writer = {
            let fifo = fifo.clone();
            thread::spawn(move || File::options().write(true).open(fifo).unwrap())
        };
        for _ in 0..1000 {
            assert!(super::of(&fifo).unreadable.is_some(), "a FIFO has no content");
        }
        assert!(!writer.is_finished(), "a look opens a FIFO");
        let _reader = File::open(&fifo).unwrap();
        writer.join().unwrap();
        assert_eq!(of(&base), of(&base));
        // This file never ends, and reports a size of 0.
        let endless = within(Path::new("/proc/self/pagemap"), LookLimits::new(LONGEST, 100_000));
        assert!(endless.fingerprint.is_some() && endless.unreadable.is_none(), "{endless:?}");
    }

    // holds: C1001
    #[test]
    fn change_of_a_file_of_the_kernel_is_seen() {
        let path = Path::new("/proc/thread-self/comm");
        let look = || metadata(path).unwrap();
        fs::write(path, "before").unwrap();
        let before = look();
        assert_eq!(look(), before);
        let mut file = File::options().write(true).open(path).unwrap();
        std::io::Write::write_all(&mut file, b"after").unwrap();
        assert_ne!(look(), before);
    }

    #[test]
    fn slow_look_is_an_error() {
        let dir = TempDir::new();
        fs::write(dir.path("a"), "1").unwrap();
        for path in [dir.root(), &dir.path("a")] {
            let late = within(path, LookLimits::new(Duration::ZERO, LARGEST_TOTAL));
            let (at, error) = late.unreadable.unwrap();
            assert!(late.fingerprint.is_none() && at == path, "{at:?}");
            assert_eq!(error.to_string(), "reading it takes longer than 10s");
        }
    }

    // holds: C504
    #[test]
    fn unreadable_file_hides_no_change_of_neighbours() {
        let dir = TempDir::new();
        let base = dir.path("tls");
        fs::create_dir(&base).unwrap();
        fs::write(base.join("tls.crt"), "one").unwrap();
        // The test may run as root, who may read every file. Even root cannot follow a loop of
        // links.
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
        assert_ne!(of(&base), two, "a removed file counts");
        // Reading the first byte of this file fails with EIO, like a fault of a file system. Such a
        // fault may be over at the next look, so the whole directory counts as unreadable.
        symlink("/proc/self/mem", base.join("tls.key")).unwrap();
        let (path, _) = super::of(&base).unreadable.unwrap();
        assert_eq!(path, base);
    }
}
