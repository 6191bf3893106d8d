//! Resolves a path of the config. A user whom drainit does not trust must not be able to lead
//! drainit to a file that this user may not use.
//!
//! drainit often runs as root, and a process of another user often owns a directory on the path.
//! That process could put a symbolic link there, or exchange two directories. Therefore drainit
//! walks along a path part by part. drainit follows a link only if the link belongs to root or to
//! drainit's own user. Root's links are needed for `/var/run`, and for `..data` in the volume of a
//! ConfigMap. drainit also notes who could exchange a name on the path ([`Stranger`]), and uses
//! behind that name only what this stranger could use by himself. The kernel decides what he could
//! use ([`users::may_access`]). If drainit has no more rights than its processes, there are no
//! strangers, because drainit then has nothing to give away.
//!
//! Every call of this module looks at a file system, and may have to wait for it.

mod foreign_name;
mod revisions;
mod stranger;
#[cfg(test)]
mod tests;

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Component, Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, openat, readlinkat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, fstatat};
use nix::unistd::AccessFlags;

pub use crate::trusted_path::foreign_name::{ForeignName, Who};
pub use crate::trusted_path::revisions::{DATA, Revisions};
pub use crate::trusted_path::stranger::is;
use crate::trusted_path::stranger::{ENTER, Name, READ, Stranger, WRITE, is_hard_link};
use crate::users::{self, is_mapped, is_trusted};

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
    /// Whether drainit uses the file that is there, and does not put a file there.
    is_used: bool,
    /// Who could make `path` lead to another directory.
    strangers: Vec<Stranger>,
}

impl Place {
    /// Finds the place of a file to make, replace or remove. If the last part of the path is a
    /// link, the place is the link itself.
    ///
    /// # Errors
    /// Fails like open(2) if the directory cannot be opened. Fails with [`ForeignName`] if a link
    /// belongs to another user. Also fails with [`ForeignName`] if a user could exchange a
    /// directory on the path, but may not enter this directory, or not write to the directory of
    /// the file.
    pub fn of(path: &Path) -> io::Result<Self> {
        Walk::from(AT_FDCWD, path)?.end_of(false)
    }

    /// Finds a file to read, or a socket to connect to. If the last part of the path is a link,
    /// follows it like the links before it.
    ///
    /// # Errors
    /// Fails like open(2) if the directory cannot be opened, and with `ENOENT` if the file does not
    /// exist. Fails with [`ForeignName`] if a link belongs to another user. Also fails with
    /// [`ForeignName`] if a user could exchange a directory on the path, but may not enter this
    /// directory.
    pub fn behind(path: &Path) -> io::Result<Self> {
        Walk::from(AT_FDCWD, path)?.end_of(true)
    }

    /// Like [`Self::behind`], but each `..data` leads to the revision in `revisions`.
    ///
    /// # Errors
    /// Fails as [`Self::behind`] does.
    pub fn behind_in(path: &Path, revisions: &Revisions) -> io::Result<Self> {
        let walk = Walk { revisions: Some(revisions), ..Walk::from(AT_FDCWD, path)? };
        walk.end_of(true)
    }

    /// Like [`Self::behind`], but for a name in the directory of this place, which is open already.
    ///
    /// # Errors
    /// Fails as [`Self::behind`] does.
    pub fn below(&self, directory: impl AsFd, name: &OsStr) -> io::Result<Self> {
        let mut walk = Walk::from(directory, Path::new(name))?;
        (walk.is_fixed, walk.strangers) = (false, self.strangers.clone());
        walk.end_of(true)
    }

    /// Opens the file. Without `O_PATH`, fails with `ELOOP` if the name is a link.
    ///
    /// # Errors
    /// Fails as open(2) and [`after_lease`] do. Also fails with [`ForeignName`] if a user could
    /// exchange a name on the path, but may not open the file in this way.
    pub fn open(&self, flags: OFlag, mode: Mode) -> io::Result<File> {
        let flags = flags | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        // A file of somebody else must not be emptied before `judge` has checked it.
        let given = flags - OFlag::O_TRUNC;
        let open = || Ok(File::from(openat(&self.directory, &*self.name, given, mode)?));
        let file = after_lease(open)?;
        let found = fstat(&file)?;
        let strangers = self.strangers_of(&found)?;
        let (is_path, access) = (flags.contains(OFlag::O_PATH), flags & OFlag::O_ACCMODE);
        let uses = [
            (READ, !is_path && access != OFlag::O_WRONLY),
            (WRITE, !is_path && access != OFlag::O_RDONLY),
            (ENTER, is(&found, SFlag::S_IFDIR)),
        ];
        for (what, _) in uses.into_iter().filter(|(_, is_used)| *is_used) {
            Stranger::judge(&strangers, what, (&file, &found), &self.path)?;
        }
        if flags.contains(OFlag::O_TRUNC) && is(&found, SFlag::S_IFREG) {
            file.set_len(0)?;
        }
        Ok(file)
    }

    /// Who could have chosen the file that was found here.
    fn strangers_of(&self, found: &FileStat) -> io::Result<Vec<Stranger>> {
        let name = Name::new(&self.directory, found)?;
        let mut all = self.strangers.clone();
        if !name.is_exchangeable() || !users::has_more_rights() {
            return Ok(all);
        }
        // Whoever may put files into a directory may choose the file that drainit replaces there,
        // unless it is a hard link to a file of somebody else.
        if !self.is_used && !is_hard_link(found) {
            return Ok(all);
        }
        let mut last = name.owners()?;
        // Everybody may write to an `emptyDir`, and drainit reads whatever file is there. In place
        // of a directory, drainit uses only what the users of the config can reach.
        let is_emptydir = name.is_everybodys() && !is_hard_link(found);
        if name.is_open() && !is_emptydir {
            last.extend(name.writers()?);
        } else if name.is_open() && is(found, SFlag::S_IFDIR) {
            last.extend(name.of_writers(users::known_strangers())?);
        }
        Stranger::add(&mut all, last, || self.path.parent().unwrap_or(Path::new(".")).to_owned());
        Ok(all)
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

    /// A path for bind(2), which accepts no descriptor of a directory. If no other user could make
    /// `path` lead elsewhere, returns `path`, so that getsockname(2) reports it. Otherwise returns
    /// a path through the descriptor of the directory, which is valid as long as this value lives.
    pub fn address(&self) -> PathBuf {
        let by_descriptor = by_descriptor(&self.directory).filter(|_| !self.is_fixed);
        by_descriptor.map_or_else(|| self.path.clone(), |directory| directory.join(&self.name))
    }
}

/// A Unix socket to connect to. This value keeps referring to the same socket even if another file
/// takes the path of the socket.
#[derive(Debug)]
pub struct PeerSocket {
    /// The path for connect(2). The path is valid as long as this value lives.
    pub address: PathBuf,
    place: Place,
    _file: File,
}

impl PeerSocket {
    /// Finds the Unix socket at `path`.
    ///
    /// # Errors
    /// Fails as [`Place::behind`] does.
    pub fn at(path: &Path) -> io::Result<Self> {
        let place = Place::behind(path)?;
        let file = place.open(OFlag::O_PATH, Mode::empty())?;
        let address = by_descriptor(&file).unwrap_or_else(|| path.to_owned());
        Ok(Self { address, place, _file: file })
    }

    /// Whether a user could put a socket into the directory of this one: the user owns the
    /// directory, or may write to it.
    pub fn could_be_of(&self, uid: u32) -> bool {
        let Ok(found) = fstat(&self.place.directory) else { return false };
        if found.st_uid == uid || Mode::from_bits_truncate(found.st_mode).contains(Mode::S_IWOTH) {
            return true;
        }
        let users = users::with_groups(uid);
        let users: Vec<_> = users.iter().collect();
        let access = AccessFlags::W_OK | AccessFlags::X_OK;
        let answers = users::may_access(&users, self.place.directory.as_fd(), access);
        answers.is_ok_and(|answers| answers.iter().any(|answer| matches!(answer, Ok(true))))
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
pub fn after_lease(open: impl Fn() -> io::Result<File>) -> io::Result<File> {
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

/// Whether a file, directory or other entry exists at a path. Also returns `false` after any other
/// error, for example if drainit may not look at the path (EACCES).
///
/// # Errors
/// Fails with [`ForeignName`] if another user decides what is at the path.
pub fn exists(path: &Path) -> Result<bool, ForeignName> {
    match Place::behind(path).and_then(|place| place.stat()) {
        Ok(_) => Ok(true),
        Err(error) => error.downcast().map_or(Ok(false), Err),
    }
}

/// A walk along a path, which ends at a [`Place`].
struct Walk<'r> {
    at: OwnedFd,
    /// The path of the directory `at`, without links. Only messages use this path.
    walked: PathBuf,
    path: PathBuf,
    /// The parts of the path that the walk has not reached yet, in reverse order.
    todo: Vec<OsString>,
    links: u32,
    is_fixed: bool,
    strangers: Vec<Stranger>,
    revisions: Option<&'r Revisions>,
}

impl Walk<'_> {
    fn from(start: impl AsFd, path: &Path) -> io::Result<Self> {
        let begin = if path.is_absolute() { "/" } else { "." };
        let at = openat(start, begin, LOOK, Mode::empty())?;
        let (walked, path) = (PathBuf::new(), path.to_owned());
        let todo = steps(&path);
        let (is_fixed, strangers, revisions) = (true, Vec::new(), None);
        Ok(Self { at, walked, path, todo, links: 0, is_fixed, strangers, revisions })
    }

    /// Walks to the end of the path. If `follows` is set, also follows a link at the end.
    fn end_of(mut self, follows: bool) -> io::Result<Place> {
        while let Some(step) = self.todo.pop() {
            let is_name = self.todo.is_empty()
                && matches!(Path::new(&step).components().next(), Some(Component::Normal(_)));
            if is_name && !follows {
                // Everybody may write to an `emptyDir`, and drainit must be able to write to a
                // directory of root in it. Here, only the users of the config count.
                self.strangers.retain(|stranger| stranger.who != Who::Everybody);
                let directory = (&self.at, &fstat(&self.at)?);
                Stranger::judge(&self.strangers, WRITE, directory, &self.walked)?;
                // Whoever may write to the directory may exchange every name in it anyway.
                self.strangers.clear();
                return Ok(self.end(step, false));
            }
            let Some((next, stat)) = self.step(&step)? else { continue };
            if is_name {
                return Ok(self.end(step, true));
            }
            self.enter((next, stat), &step)?;
        }
        // The path, or a link at its end, is `/` or `.`, or ends with `..`. The walk has thus
        // entered the directory that the path names. Inside that directory, its name is `.`.
        Ok(self.end(OsString::from("."), true))
    }

    fn end(self, name: OsString, is_used: bool) -> Place {
        let Self { at, path, is_fixed, strangers, .. } = self;
        Place { directory: at, name, path, is_fixed, is_used, strangers }
    }

    /// Opens the next part of the path, and returns its file and status. If the part is a link,
    /// returns `None`, and the walk continues with the parts of the link's target.
    fn step(&mut self, step: &OsStr) -> io::Result<Option<(OwnedFd, FileStat)>> {
        let next = openat(&self.at, step, LOOK, Mode::empty())?;
        let stat = fstat(&next)?;
        if !is(&stat, SFlag::S_IFLNK) {
            return Ok(Some((next, stat)));
        }
        // An owner that the user namespace does not map may be root, as for `/var/run`, or somebody
        // who has put the link into a directory of everybody.
        let owner = stat.st_uid;
        let is_known = is_mapped(owner) || !Name::new(&self.at, &stat)?.is_shared();
        if !is_trusted(owner) || !is_known {
            let link = ForeignName::Link { link: self.walked.join(step), owner };
            return Err(io::Error::other(link));
        }
        self.links += 1;
        if self.links > MAX_LINKS {
            return Err(Errno::ELOOP.into());
        }
        let mut target = PathBuf::from(readlinkat(&next, "")?);
        if let Some(revisions) = self.revisions.filter(|_| step == DATA) {
            target = revisions.target(&fstat(&self.at)?, target);
        }
        self.todo.extend(steps(&target));
        self.note(&stat)?;
        Ok(None)
    }

    /// Enters a directory, so that the walk continues in it.
    fn enter(&mut self, (next, stat): (OwnedFd, FileStat), step: &OsStr) -> io::Result<()> {
        // Nobody can exchange `/` or `..`.
        if step != "/" && step != ".." {
            self.note(&stat)?;
        }
        self.walked.push(step);
        Stranger::judge(&self.strangers, ENTER, (&next, &stat), &self.walked)?;
        self.at = next;
        Ok(())
    }

    /// Notes who could exchange this entry of the directory `at`.
    fn note(&mut self, entry: &FileStat) -> io::Result<()> {
        let name = Name::new(&self.at, entry)?;
        if !name.is_exchangeable() {
            return Ok(());
        }
        self.is_fixed = false;
        if users::has_more_rights() {
            let mut new = name.owners()?;
            if name.is_open() {
                new.extend(name.writers()?);
            }
            Stranger::add(&mut self.strangers, new, || self.walked.clone());
        }
        Ok(())
    }
}

/// The parts of a path in reverse order. An absolute path has `/` as its first part.
fn steps(path: &Path) -> Vec<OsString> {
    let parts = path.components().filter(|part| *part != Component::CurDir);
    let mut steps: Vec<_> = parts.map(|part| part.as_os_str().to_owned()).collect();
    steps.reverse();
    steps
}
