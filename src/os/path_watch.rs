//! Watches one path with inotify: its existence, or its content, too.
//!
//! Neither the path nor its parents need exist; any part may be a symbolic link, and may be
//! replaced. Every directory on the way is watched for one name in it, so a busy `/tmp` causes no
//! wakeups.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::path::{Component, Path, PathBuf};

use nix::errno::Errno;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, InotifyEvent, WatchDescriptor};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::os::signal::mask;

/// The events that create a name or make it accessible.
const MASK: AddWatchFlags = AddWatchFlags::IN_CREATE
    .union(AddWatchFlags::IN_MOVED_TO)
    .union(AddWatchFlags::IN_ATTRIB)
    .union(AddWatchFlags::IN_ONLYDIR);

/// The events that also take a name away.
const GONE: AddWatchFlags = AddWatchFlags::IN_DELETE.union(AddWatchFlags::IN_MOVED_FROM);

/// The events of a file, or of the files in a directory, whose content may have changed. They
/// include [`MASK`] and [`GONE`], because the directory may be on the way to itself, and the kernel
/// keeps one mask for each inode.
const CONTENT: AddWatchFlags = AddWatchFlags::IN_MODIFY
    .union(AddWatchFlags::IN_CLOSE_WRITE)
    .union(AddWatchFlags::IN_CREATE)
    .union(AddWatchFlags::IN_MOVED_TO)
    .union(AddWatchFlags::IN_ATTRIB)
    .union(GONE);

/// The stack of the thread that closes an instance, in bytes.
const STACK: usize = 64 * 1024;

/// The kernel follows at most this many symbolic links in one path (path_resolution(7)).
const MAX_LINKS: usize = 40;

/// One inotify instance for one path. Dropping it ends all its watches.
pub struct PathWatch {
    fd: AsyncFd<RawInotify>,
    path: PathBuf,
    /// The file, or the files in the directory, are watched, too.
    has_content: bool,
    /// The directories on the way, and the name that matters in each; `None`: every name.
    names: Vec<(WatchDescriptor, Option<OsString>)>,
}

/// `AsyncFd` asks for `AsRawFd`, which `Inotify` does not have. It owns its descriptor and never
/// changes it; it is `None` only once it is being dropped.
struct RawInotify(Option<Inotify>);

impl RawInotify {
    fn get(&self) -> nix::Result<&Inotify> {
        self.0.as_ref().ok_or(Errno::EBADF)
    }
}

impl AsRawFd for RawInotify {
    fn as_raw_fd(&self) -> RawFd {
        const CLOSED: RawFd = -1;
        self.get().map_or(CLOSED, |inotify| inotify.as_fd().as_raw_fd())
    }
}

/// Closes the instance on another thread where one can be started: the kernel waits 5 to 20 ms for
/// readers of its marks (`synchronize_srcu`), and no process could be started meanwhile.
impl Drop for RawInotify {
    fn drop(&mut self) {
        let inotify = self.0.take();
        // Without a thread, dropping the closure closes it here.
        let close = move || {
            mask::block_here();
            drop(inotify);
        };
        let _ = std::thread::Builder::new().stack_size(STACK).spawn(close);
    }
}

impl PathWatch {
    /// Watches `path`. The caller checks the path after this returns; later changes are reported by
    /// [`PathWatch::changed`].
    ///
    /// # Errors
    /// Fails if inotify does: no instance or watch is left, or a directory cannot be read.
    pub fn new(path: &Path) -> io::Result<Self> {
        Self::begin(path, false)
    }

    /// Watches the content of `path`, too: that of a file, or of the files that are directly in a
    /// directory. A file that a link in the directory leads to is watched only for its name.
    ///
    /// # Errors
    /// As [`PathWatch::new`].
    pub fn of_content(path: &Path) -> io::Result<Self> {
        Self::begin(path, true)
    }

    fn begin(path: &Path, has_content: bool) -> io::Result<Self> {
        let inotify = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC)?;
        #[expect(deprecated, reason = "its unsafe successor asks for what `RawInotify` upholds")]
        let fd = AsyncFd::with_interest(RawInotify(Some(inotify)), Interest::READABLE)?;
        let mut watch = Self { fd, path: path.to_owned(), has_content, names: Vec::new() };
        watch.follow()?;
        Ok(watch)
    }

    /// Returns when the path may have changed since the last call (or since the start), and watches
    /// the way that it takes now.
    ///
    /// # Errors
    /// As [`PathWatch::new`]. The watch cannot be used any more then.
    pub async fn changed(&mut self) -> io::Result<()> {
        loop {
            let mut ready = self.fd.readable().await?;
            let mut relevant = false;
            loop {
                match ready.get_inner().get()?.read_events() {
                    Ok(events) => {
                        relevant |= events.iter().any(|event| concerns(&self.names, event));
                    }
                    Err(Errno::EAGAIN) => break,
                    Err(Errno::EINTR) => {}
                    Err(error) => return Err(error.into()),
                }
            }
            ready.clear_ready();
            drop(ready);
            if relevant {
                return self.follow();
            }
        }
    }

    /// Walks the path as the kernel would. Each directory is watched *before* its entry is read, so
    /// an entry that appears in between is reported.
    fn follow(&mut self) -> io::Result<()> {
        self.names.clear();
        let mut directory = PathBuf::from(if self.path.is_absolute() { "/" } else { "." });
        let mut rest = parts(&self.path);
        let mut links = 0;
        let mask = if self.has_content { MASK.union(GONE) } else { MASK };
        while let Some(name) = rest.pop_front() {
            if name == ".." {
                directory.push("..");
                continue;
            }
            let watched = self.fd.get_ref().get()?.add_watch(&directory, mask);
            match watched {
                Ok(descriptor) => self.names.push((descriptor, Some(name.clone()))),
                // It is missing or a file so far: the watch on the directory above reports when
                // that changes.
                Err(Errno::ENOENT | Errno::ENOTDIR) => return Ok(()),
                Err(error) => return Err(error.into()),
            }
            let entry = directory.join(&name);
            match std::fs::read_link(&entry) {
                Ok(target) => {
                    links += 1;
                    if links > MAX_LINKS {
                        return Err(Errno::ELOOP.into());
                    }
                    if target.is_absolute() {
                        directory = PathBuf::from("/");
                    }
                    for part in parts(&target).into_iter().rev() {
                        rest.push_front(part);
                    }
                }
                // Not a link (EINVAL), or missing (ENOENT): then the next watch fails, and the walk
                // ends.
                Err(_) => directory = entry,
            }
        }
        if self.has_content {
            match self.fd.get_ref().get()?.add_watch(&directory, CONTENT) {
                Ok(descriptor) => self.names.push((descriptor, None)),
                Err(Errno::ENOSPC) => return Err(Errno::ENOSPC.into()),
                // It is missing, or may not be read: the watch above reports when that changes.
                Err(_) => {}
            }
        }
        Ok(())
    }
}

/// The names of a path, with `..` as a name.
fn parts(path: &Path) -> VecDeque<OsString> {
    path.components()
        .filter_map(|component| match component {
            Component::Normal(name) => Some(name.to_owned()),
            Component::ParentDir => Some(OsStr::new("..").to_owned()),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
        })
        .collect()
}

/// Whether an event concerns a name on the way, one of its directories, or lost events.
fn concerns(names: &[(WatchDescriptor, Option<OsString>)], event: &InotifyEvent) -> bool {
    event.mask.contains(AddWatchFlags::IN_Q_OVERFLOW)
        || names.iter().any(|(descriptor, name)| {
            let is_same = match (&event.name, name) {
                (Some(changed), Some(name)) => changed == name,
                _ => true,
            };
            *descriptor == event.wd && is_same
        })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;
    use crate::testing::temp_dir::TempDir;

    /// Whether the watch reports a change within 100 ms.
    async fn reports(watch: &mut PathWatch) -> bool {
        timeout(Duration::from_millis(100), watch.changed()).await.is_ok_and(|r| r.is_ok())
    }

    #[tokio::test]
    async fn a_path_is_followed_as_it_comes_into_being() {
        let dir = TempDir::new();
        let base = dir.root();
        let mut watch = PathWatch::new(&base.join("a/b/file")).unwrap();
        for directory in ["a", "a/b"] {
            fs::create_dir(base.join(directory)).unwrap();
            assert!(reports(&mut watch).await, "{directory}");
        }
        fs::write(base.join("a/b/other"), "").unwrap();
        assert!(!reports(&mut watch).await, "another name is not reported");
        fs::write(base.join("a/b/file"), "").unwrap();
        assert!(reports(&mut watch).await);
    }

    #[tokio::test]
    async fn directories_made_at_once_are_found() {
        let dir = TempDir::new();
        let base = dir.root();
        let mut watch = PathWatch::new(&base.join("a/b/c/file")).unwrap();
        fs::create_dir_all(base.join("a/b/c")).unwrap();
        assert!(reports(&mut watch).await);
        // The walk after the first event has reached c, which existed by then.
        fs::write(base.join("a/b/c/file"), "").unwrap();
        assert!(reports(&mut watch).await);
    }

    #[tokio::test]
    async fn links_are_followed_even_when_they_point_nowhere_yet() {
        let dir = TempDir::new();
        let base = dir.root();
        symlink("later/deep", base.join("run")).unwrap();
        let mut watch = PathWatch::new(&base.join("run/file")).unwrap();
        for directory in ["later", "later/deep"] {
            fs::create_dir(base.join(directory)).unwrap();
            assert!(reports(&mut watch).await, "{directory}");
        }
        // The file is a link, too, out of its directory.
        symlink("../target", base.join("later/deep/file")).unwrap();
        assert!(reports(&mut watch).await);
        fs::write(base.join("later/target"), "").unwrap();
        assert!(reports(&mut watch).await);
    }

    #[tokio::test]
    async fn a_directory_that_is_replaced_is_followed() {
        let dir = TempDir::new();
        let base = dir.root();
        fs::create_dir(base.join("a")).unwrap();
        let mut watch = PathWatch::new(&base.join("a/file")).unwrap();
        fs::rename(base.join("a"), base.join("old")).unwrap();
        fs::create_dir(base.join("a")).unwrap();
        assert!(reports(&mut watch).await);
        fs::write(base.join("a/file"), "").unwrap();
        assert!(reports(&mut watch).await);
    }

    #[tokio::test]
    async fn content_is_watched_through_every_kind_of_change() {
        let dir = TempDir::new();
        let base = dir.root();
        // As the kubelet mounts a ConfigMap.
        fs::create_dir(base.join("..1")).unwrap();
        fs::write(base.join("..1/file"), "1").unwrap();
        symlink("..1", base.join("..data")).unwrap();
        symlink("..data/file", base.join("file")).unwrap();
        let mut file = PathWatch::of_content(&base.join("file")).unwrap();
        let mut whole = PathWatch::of_content(base).unwrap();
        fs::create_dir(base.join("..2")).unwrap();
        fs::write(base.join("..2/file"), "2").unwrap();
        assert!(!reports(&mut file).await, "not in use yet");
        assert!(reports(&mut whole).await);
        symlink("..2", base.join("..data_tmp")).unwrap();
        fs::rename(base.join("..data_tmp"), base.join("..data")).unwrap();
        assert!(reports(&mut file).await && reports(&mut whole).await);
        fs::remove_dir_all(base.join("..1")).unwrap();
        while reports(&mut file).await {}
        // In place, by rename, gone, and there again.
        let steps: [&dyn Fn(&Path); 4] = [
            &|path| fs::write(path, "3").unwrap(),
            &|path| {
                fs::write(path.with_file_name("new"), "4").unwrap();
                fs::rename(path.with_file_name("new"), path).unwrap();
            },
            &|path| fs::remove_file(path).unwrap(),
            &|path| fs::write(path, "5").unwrap(),
        ];
        for (number, step) in steps.iter().enumerate() {
            step(&base.join("..2/file"));
            assert!(reports(&mut file).await, "{number}");
            while reports(&mut file).await {}
        }
        fs::read(base.join("file")).unwrap();
        assert!(!reports(&mut file).await, "a reader changes nothing");
        while reports(&mut whole).await {}
        fs::write(base.join("more"), "").unwrap();
        assert!(reports(&mut whole).await);
        while reports(&mut whole).await {}
        fs::write(base.join("more"), "x").unwrap();
        assert!(reports(&mut whole).await);
    }

    #[tokio::test]
    async fn a_circle_of_links_is_an_error() {
        let dir = TempDir::new();
        let base = dir.root();
        symlink("b", base.join("a")).unwrap();
        symlink("a", base.join("b")).unwrap();
        assert!(PathWatch::new(&base.join("a/file")).is_err());
    }
}
