//! Resolves a path of the config, and refuses symbolic links of users whom drainit does not trust.
//!
//! drainit often runs as root, and a process of another user often owns a directory on the path.
//! That process could put a symbolic link there, so that drainit would read, write or remove
//! somebody else's file. Therefore drainit walks along a path part by part. It follows a link only
//! if the link belongs to root or to drainit's own user. Root's links are needed for `/var/run`,
//! and for `..data` in the volume of a ConfigMap.
//!
//! Every call of this module looks at a file system, and may have to wait for it.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Component, Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, openat, readlinkat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, fstatat};
use nix::unistd::geteuid;

/// The kernel follows at most this many symbolic links in one path (path_resolution(7)).
const MAX_LINKS: u32 = 40;

/// The flags for opening a name only to look at it. A link is not followed.
const LOOK: OFlag = OFlag::O_PATH.union(OFlag::O_NOFOLLOW).union(OFlag::O_CLOEXEC);

/// A name in a directory. The directory is held open, so that nobody can exchange a part of the
/// path that leads to it.
#[derive(Debug)]
pub struct Place {
    directory: OwnedFd,
    name: OsString,
    path: PathBuf,
    /// Whether only root and drainit's own user could make `path` lead to another directory.
    is_fixed: bool,
}

/// The error for a path with a symbolic link that belongs to another user.
#[derive(Debug)]
pub struct ForeignLink {
    link: PathBuf,
    owner: u32,
}

impl ForeignLink {
    /// If an error was caused by another user's link, returns that link.
    pub fn of(error: &io::Error) -> Option<&Self> {
        error.get_ref()?.downcast_ref()
    }

    /// Says in a message why drainit refuses the path.
    pub fn why(&self) -> String {
        let (link, owner, own) = (self.link.display(), self.owner, geteuid());
        format!(
            "the symbolic link `{link}` belongs to user {owner}, and only those of root and of drainit's \
             own user ({own}) are followed"
        )
    }

    /// Says in a message how to correct the path.
    pub fn mend(&self) -> String {
        format!("write the path without the link, or `chown -h 0 {}`", self.link.display())
    }
}

impl fmt::Display for ForeignLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {}", self.why(), self.mend())
    }
}

impl std::error::Error for ForeignLink {}

impl Place {
    /// Finds the place of a file to make, replace or remove. If the last part of the path is a
    /// link, the place is the link itself.
    ///
    /// # Errors
    /// Fails like open(2) if the directory cannot be opened, and with [`ForeignLink`] if a link
    /// belongs to another user.
    pub fn of(path: &Path) -> io::Result<Self> {
        Walk::from(AT_FDCWD, path, true)?.end_of(false)
    }

    /// Finds a file to read, or a socket to connect to. If the last part of the path is a link,
    /// follows it like the links before it.
    ///
    /// # Errors
    /// Fails like open(2) if the directory cannot be opened, with `ENOENT` if the file does not
    /// exist, and with [`ForeignLink`] if a link belongs to another user.
    pub fn behind(path: &Path) -> io::Result<Self> {
        Walk::from(AT_FDCWD, path, true)?.end_of(true)
    }

    /// Like [`Self::behind`], but for a name in a directory that is open already.
    ///
    /// # Errors
    /// Fails as [`Self::behind`] does.
    pub fn below(directory: impl AsFd, name: &OsStr) -> io::Result<Self> {
        Walk::from(directory, Path::new(name), false)?.end_of(true)
    }

    /// Opens the file. Fails with `ELOOP` if the name is a link.
    ///
    /// # Errors
    /// Fails as open(2) and [`after_lease`] do.
    pub fn open(&self, flags: OFlag, mode: Mode) -> io::Result<File> {
        let flags = flags | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let open = || Ok(File::from(openat(&self.directory, &*self.name, flags, mode)?));
        after_lease(open)
    }

    /// Returns the status of the file. If the name is a link, returns the status of the link.
    ///
    /// # Errors
    /// Fails as stat(2) does.
    pub fn stat(&self) -> io::Result<FileStat> {
        Ok(fstatat(&self.directory, &*self.name, AtFlags::AT_SYMLINK_NOFOLLOW)?)
    }

    /// The open directory, and the name in it.
    pub fn parts(&self) -> (&OwnedFd, &OsStr) {
        (&self.directory, &self.name)
    }

    /// A path for bind(2), which accepts no descriptor of a directory. If nobody else could make
    /// `path` lead elsewhere, returns `path`, so that getsockname(2) reports it. Otherwise returns
    /// a path by the directory's descriptor, which is valid as long as this value lives.
    pub fn address(&self) -> PathBuf {
        let by_descriptor = by_descriptor(&self.directory).filter(|_| !self.is_fixed);
        by_descriptor.map_or_else(|| self.path.clone(), |directory| directory.join(&self.name))
    }
}

/// A Unix socket to connect to. It stays the same file even if another file takes its path.
#[derive(Debug)]
pub struct Peer {
    /// The path for connect(2). It is valid as long as this value lives.
    pub address: PathBuf,
    _file: File,
}

impl Peer {
    /// Finds the Unix socket at `path`.
    ///
    /// # Errors
    /// Fails as [`Place::behind`] does.
    pub fn at(path: &Path) -> io::Result<Self> {
        let file = Place::behind(path)?.open(OFlag::O_PATH, Mode::empty())?;
        Ok(Self { address: by_descriptor(&file).unwrap_or_else(|| path.to_owned()), _file: file })
    }
}

/// The path that leads to an open file by its descriptor. `None` if /proc is not mounted.
fn by_descriptor(file: &impl AsRawFd) -> Option<PathBuf> {
    let path = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
    path.symlink_metadata().is_ok().then_some(path)
}

/// How long drainit waits for another process to give up its lease on a file. The kernel itself
/// ends the lease after 45 s (`/proc/sys/fs/lease-break-time`).
const LEASE_PATIENCE: Duration = Duration::from_secs(5);
const LEASE_PAUSE: Duration = Duration::from_millis(5);

/// Opens a file by calling `open`. While another process holds a lease on the file (`F_SETLEASE` in
/// fcntl(2)), an open with `O_NONBLOCK` fails, and the kernel asks that process to give the lease
/// up. Therefore this function tries again.
///
/// # Errors
/// Fails as `open` does, and with [`io::ErrorKind::ResourceBusy`] if the lease is not given up.
pub(crate) fn after_lease(open: impl Fn() -> io::Result<File>) -> io::Result<File> {
    let until = Instant::now() + LEASE_PATIENCE;
    loop {
        match open() {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            opened => return opened,
        }
        if Instant::now() > until {
            let why = "another process holds a lease on it, and /proc/locks has its pid";
            return Err(io::Error::new(io::ErrorKind::ResourceBusy, why));
        }
        std::thread::sleep(LEASE_PAUSE);
    }
}

/// Whether a file, directory or other entry exists at a path. Also returns `false` if drainit may
/// not look at the path (EACCES).
///
/// # Errors
/// Fails with [`ForeignLink`] if a link belongs to another user: nobody knows what is behind it.
pub fn exists(path: &Path) -> Result<bool, ForeignLink> {
    match Place::behind(path).and_then(|place| place.stat()) {
        Ok(_) => Ok(true),
        Err(error) => error.downcast().map_or(Ok(false), Err),
    }
}

/// Whether `stat` is the status of a file of this kind.
pub fn is(stat: &FileStat, kind: SFlag) -> bool {
    SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT == kind
}

/// A walk along a path, which ends at a [`Place`].
struct Walk {
    at: OwnedFd,
    /// The path of the directory `at`, without links. It is for messages.
    walked: PathBuf,
    path: PathBuf,
    /// The parts of the path that the walk has not reached yet, in reverse order.
    todo: Vec<OsString>,
    links: u32,
    is_fixed: bool,
}

impl Walk {
    fn from(start: impl AsFd, path: &Path, is_fixed: bool) -> io::Result<Self> {
        let begin = if path.is_absolute() { "/" } else { "." };
        let at = openat(start, begin, LOOK, Mode::empty())?;
        let (walked, path) = (PathBuf::new(), path.to_owned());
        let todo = steps(&path);
        Ok(Self { at, walked, path, todo, links: 0, is_fixed })
    }

    /// Walks to the end of the path. If `follows` is set, also follows a link at the end.
    fn end_of(mut self, follows: bool) -> io::Result<Place> {
        while let Some(step) = self.todo.pop() {
            let is_name = self.todo.is_empty()
                && matches!(Path::new(&step).components().next(), Some(Component::Normal(_)));
            if is_name && !follows {
                return Ok(self.end(step));
            }
            let Some(next) = self.step(&step)? else { continue };
            if is_name {
                return Ok(self.end(step));
            }
            self.enter(next, &step)?;
        }
        // The path is `/`, or ends with `.` or `..`, so the walk has entered the directory that
        // the path names. In there, the name of the directory is `.`.
        Ok(self.end(OsString::from(".")))
    }

    fn end(self, name: OsString) -> Place {
        Place { directory: self.at, name, path: self.path, is_fixed: self.is_fixed }
    }

    /// Opens the next part of the path, and returns its file and status. If the part is a link,
    /// returns `None`, and the walk continues with the parts of the link.
    fn step(&mut self, step: &OsStr) -> io::Result<Option<(OwnedFd, FileStat)>> {
        let next = openat(&self.at, step, LOOK, Mode::empty())?;
        let stat = fstat(&next)?;
        if !is(&stat, SFlag::S_IFLNK) {
            return Ok(Some((next, stat)));
        }
        if !is_trusted(stat.st_uid) {
            let link = ForeignLink { link: self.walked.join(step), owner: stat.st_uid };
            return Err(io::Error::other(link));
        }
        self.links += 1;
        if self.links > MAX_LINKS {
            return Err(Errno::ELOOP.into());
        }
        self.todo.extend(steps(Path::new(&readlinkat(&next, "")?)));
        self.is_fixed = self.is_fixed && self.keeps(&stat)?;
        Ok(None)
    }

    /// Enters a directory, so that the walk continues in it.
    fn enter(&mut self, (next, stat): (OwnedFd, FileStat), step: &OsStr) -> io::Result<()> {
        self.is_fixed = self.is_fixed && (step == "/" || self.keeps(&stat)?);
        self.walked.push(step);
        self.at = next;
        Ok(())
    }

    /// Whether only root and drainit's own user could replace this entry of the directory `at`.
    fn keeps(&self, entry: &FileStat) -> io::Result<bool> {
        let directory = fstat(&self.at)?;
        let mode = Mode::from_bits_truncate(directory.st_mode);
        let others = Mode::S_IWGRP | Mode::S_IWOTH;
        let is_sticky = mode.contains(Mode::S_ISVTX) && is_trusted(entry.st_uid);
        Ok(is_trusted(directory.st_uid) && (is_sticky || !mode.intersects(others)))
    }
}

fn is_trusted(user: u32) -> bool {
    user == 0 || user == geteuid().as_raw()
}

/// The parts of a path in reverse order. An absolute path has `/` as its first part.
fn steps(path: &Path) -> Vec<OsString> {
    let parts = path.components().filter(|part| *part != Component::CurDir);
    let mut steps: Vec<_> = parts.map(|part| part.as_os_str().to_owned()).collect();
    steps.reverse();
    steps
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::fs;
    use std::io::Read as _;
    use std::os::unix::fs::{PermissionsExt as _, lchown, symlink};
    use std::os::unix::net::{UnixListener, UnixStream};

    use super::*;
    use crate::testing::temp_dir::TempDir;

    const OTHER: u32 = 10_001;

    fn content(path: &Path) -> io::Result<String> {
        let mut text = String::new();
        Place::behind(path)?.open(OFlag::O_RDONLY, Mode::empty())?.read_to_string(&mut text)?;
        Ok(text)
    }

    #[test]
    fn links_of_root_and_of_the_own_user_are_followed() {
        let dir = TempDir::new();
        let at = |name: &str| dir.root().join(name);
        // Kubernetes mounts the volume of a ConfigMap in this form.
        fs::create_dir(at("..2026")).unwrap();
        fs::write(at("..2026/key"), "value").unwrap();
        symlink("..2026", at("..data")).unwrap();
        symlink("..data/key", at("key")).unwrap();
        symlink(at("key"), at("absolute")).unwrap();
        for name in ["key", "absolute", "..data/../absolute", "./..data/./key"] {
            assert_eq!(content(&at(name)).unwrap(), "value", "{name}");
        }
        for directory in ["", "/..data", "/..data/..", "/..data/."] {
            let path = PathBuf::from(format!("{}{directory}", dir.root().display()));
            let stat = Place::behind(&path).unwrap().stat().unwrap();
            assert!(is(&stat, SFlag::S_IFDIR), "{directory}");
        }
        assert!(is(&Place::behind(Path::new("/")).unwrap().stat().unwrap(), SFlag::S_IFDIR));
        symlink("loop", at("loop")).unwrap();
        for (name, errno) in
            [("loop", Errno::ELOOP), ("key/x", Errno::ENOTDIR), ("no", Errno::ENOENT)]
        {
            let error = content(&at(name)).unwrap_err();
            assert_eq!(error.raw_os_error(), Some(errno as i32), "{name}");
        }
        // `of` does not follow the last link.
        assert!(is(&Place::of(&at("key")).unwrap().stat().unwrap(), SFlag::S_IFLNK));
        assert!(Place::of(&at("key")).unwrap().open(OFlag::O_RDONLY, Mode::empty()).is_err());
    }

    #[test]
    fn a_link_of_another_user_is_refused_and_named() {
        if !geteuid().is_root() {
            return; // only root can give a file to another user
        }
        let dir = TempDir::new();
        let at = |name: &str| dir.root().join(name);
        fs::create_dir(at("real")).unwrap();
        fs::write(at("real/secret"), "secret").unwrap();
        symlink("real", at("theirs")).unwrap();
        symlink("real/secret", at("theirs-too")).unwrap();
        symlink("theirs", at("ours")).unwrap();
        for link in ["theirs", "theirs-too"] {
            lchown(at(link), Some(OTHER), None).unwrap();
        }
        for (path, link) in [
            ("theirs/secret", "theirs"),
            ("ours/secret", "theirs"),
            ("theirs-too", "theirs-too"),
            ("theirs/none", "theirs"),
        ] {
            let refused = content(&at(path)).unwrap_err().to_string();
            let link = format!("`{}` belongs to user {OTHER}", at(link).display());
            assert!(refused.contains(&link), "{path}: {refused}");
        }
        assert!(Place::of(&at("theirs/secret")).is_err() && Place::of(&at("theirs-too")).is_ok());
        lchown(at("theirs"), Some(0), None).unwrap();
        assert_eq!(content(&at("ours/secret")).unwrap(), "secret");
    }

    #[test]
    fn a_directory_that_is_swapped_later_does_not_matter() {
        let dir = TempDir::new();
        let at = |name: &str| dir.root().join(name);
        fs::create_dir(at("was")).unwrap();
        fs::create_dir(at("other")).unwrap();
        let place = Place::of(&at("was/file")).unwrap();
        fs::rename(at("was"), at("moved")).unwrap();
        symlink("other", at("was")).unwrap();
        place.open(OFlag::O_WRONLY | OFlag::O_CREAT, Mode::S_IRWXU).unwrap();
        assert!(at("moved/file").exists() && !at("other/file").exists());
    }

    #[test]
    fn the_address_is_the_path_only_where_nobody_else_can_swap_a_part() {
        let dir = TempDir::new();
        let at = |name: &str| dir.root().join(name);
        fs::create_dir(at("a")).unwrap();
        fs::create_dir(at("a/b")).unwrap();
        let mode =
            |bits: u32| fs::set_permissions(at("a"), fs::Permissions::from_mode(bits)).unwrap();
        for (bits, keeps) in [(0o755, true), (0o777, false), (0o775, false), (0o1777, true)] {
            mode(bits);
            let place = Place::of(&at("a/b/s")).unwrap();
            assert_eq!(place.address() == at("a/b/s"), keeps, "{bits:o}");
            // Another user may write to the last directory, but cannot exchange that directory.
            assert_eq!(Place::of(&at("a/s")).unwrap().address(), at("a/s"), "{bits:o}");
            let listener = UnixListener::bind(place.address()).unwrap();
            let peer = Peer::at(&at("a/b/s")).unwrap();
            drop(UnixStream::connect(&peer.address).unwrap());
            drop(listener);
            fs::remove_file(at("a/b/s")).unwrap();
        }
    }
}
