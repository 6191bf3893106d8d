//! Resolves a path of the config. A user whom drainit does not trust must not be able to lead
//! drainit to a file that this user may not use.
//!
//! drainit often runs as root, and a process of another user often owns a directory on the path.
//! That process could put a symbolic link there, or exchange two directories. Therefore drainit
//! walks along a path part by part. drainit follows a link only if the link belongs to root or to
//! drainit's own user. Root's links are needed for `/var/run`, and for `..data` in the volume of a
//! ConfigMap. drainit also notes who could exchange a name on the path ([`Changer`]). If drainit
//! runs as root, drainit uses behind that name only what these users could use themselves. If
//! drainit is not root, its processes run as the same user, so drainit has nothing to give away.
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
    /// The users who could make the name lead to another file. A group (or everybody) does not
    /// count if it can write to the directory of the file, but to no other directory on the path.
    changers: Changers,
}

/// The error for a path that another user could change.
#[derive(Debug)]
pub enum ForeignName {
    /// A symbolic link that belongs to another user.
    Link {
        /// The path of the link.
        link: PathBuf,
        /// The user id of its owner.
        owner: u32,
    },
    /// drainit may use the object, but a user who could exchange a name on the path may not.
    Exchanged {
        /// The directory in which this user could exchange a name.
        directory: PathBuf,
        /// Who could exchange the name.
        by: Changer,
        /// The use, such as "read", that is not permitted to this user, and the path of the object.
        refused: (&'static str, PathBuf),
    },
}

impl ForeignName {
    /// The [`ForeignName`] in an error; `None` if the error has another cause.
    pub fn of(error: &io::Error) -> Option<&Self> {
        error.get_ref()?.downcast_ref()
    }

    /// Says in a message why drainit refuses the path.
    pub fn why(&self) -> String {
        match self {
            Self::Link { link, owner } => format!(
                "the symbolic link `{}` belongs to user {owner}, and only those of root and of \
                 drainit's own user ({}) are followed",
                link.display(),
                geteuid()
            ),
            Self::Exchanged { directory, by, refused: (what, path) } => format!(
                "{by} could exchange names in `{}`, and so let drainit use `{}`, which {by} may \
                 not {what}",
                directory.display(),
                path.display()
            ),
        }
    }

    /// Says in a message how to correct the path.
    pub fn mend(&self) -> String {
        match self {
            Self::Link { link, .. } => {
                format!("write the path without the link, or `chown -h 0 {}`", link.display())
            }
            Self::Exchanged { by: Changer { user: Some(_), .. }, .. } => {
                "write a path on which only root can exchange names".to_owned()
            }
            Self::Exchanged { directory, .. } => {
                format!("`chmod +t {}`, or write another path", directory.display())
            }
        }
    }
}

/// Who could put another file in place of a name on a path: one user, a group, or everybody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Changer {
    user: Option<u32>,
    /// The group. If there is a `user`, this is the group of a file of the user, and most likely
    /// includes the user.
    group: Option<u32>,
}

impl Changer {
    /// The users who could exchange `entry` in `directory` (rename(2)), except for root and
    /// drainit's own user.
    fn all(directory: &FileStat, entry: &FileStat) -> impl Iterator<Item = Self> {
        let mode = Mode::from_bits_truncate(directory.st_mode);
        let of = |stat: &FileStat| {
            let one = Self { user: Some(stat.st_uid), group: Some(stat.st_gid) };
            (!is_trusted(stat.st_uid)).then_some(one)
        };
        let others = mode.intersects(Mode::S_IWGRP | Mode::S_IWOTH);
        let is_sticky = mode.contains(Mode::S_ISVTX);
        let open = others && !is_sticky;
        let group = Self { user: None, group: Some(directory.st_gid) };
        let everybody = Self { user: None, group: None };
        [
            of(directory),
            of(entry).filter(|_| others && is_sticky),
            (open && mode.contains(Mode::S_IWGRP)).then_some(group),
            (open && mode.contains(Mode::S_IWOTH)).then_some(everybody),
        ]
        .into_iter()
        .flatten()
    }

    /// Whether all these users have the permissions `bits` for a file. The owner of the file always
    /// counts as permitted, because the owner can change the mode. `bits` holds the permissions as
    /// the mode bits for others.
    fn may(self, bits: Mode, stat: &FileStat) -> bool {
        let mode = Mode::from_bits_truncate(stat.st_mode);
        let for_group = Mode::from_bits_truncate(bits.bits() << 3);
        self.user == Some(stat.st_uid)
            || mode.contains(bits)
            || self.group == Some(stat.st_gid) && mode.contains(for_group)
    }
}

impl fmt::Display for Changer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.user, self.group) {
            (Some(user), _) => write!(f, "user {user}"),
            (None, Some(group)) => write!(f, "the group {group}"),
            (None, None) => f.write_str("everybody"),
        }
    }
}

/// The users who could exchange a name on a path, each with the directory of the name.
type Changers = Vec<(Changer, PathBuf)>;

/// Fails if drainit wants to use a file in a way that is not permitted to one of these users. Never
/// fails if drainit does not run as root, because drainit then has no more rights than its
/// processes.
fn judge(
    changers: &Changers,
    (what, bits): (&'static str, Mode),
    stat: &FileStat,
    path: &Path,
) -> io::Result<()> {
    let refused = changers.iter().find(|(changer, _)| !changer.may(bits, stat));
    match refused.filter(|_| geteuid().is_root()) {
        None => Ok(()),
        Some((by, directory)) => Err(io::Error::other(ForeignName::Exchanged {
            directory: directory.clone(),
            by: *by,
            refused: (what, path.to_owned()),
        })),
    }
}

const READ: (&str, Mode) = ("read", Mode::S_IROTH);
const WRITE: (&str, Mode) = ("write to", Mode::S_IWOTH);
const ENTER: (&str, Mode) = ("enter", Mode::S_IXOTH);

impl fmt::Display for ForeignName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {}", self.why(), self.mend())
    }
}

impl std::error::Error for ForeignName {}

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
        Walk::from(AT_FDCWD, path, true)?.end_of(false)
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
        Walk::from(AT_FDCWD, path, true)?.end_of(true)
    }

    /// Like [`Self::behind`], but for a name in a directory that is open already.
    ///
    /// # Errors
    /// Fails as [`Self::behind`] does.
    pub fn below(directory: impl AsFd, name: &OsStr) -> io::Result<Self> {
        Walk::from(directory, Path::new(name), false)?.end_of(true)
    }

    /// Opens the file. Without `O_PATH`, fails with `ELOOP` if the name is a link.
    ///
    /// # Errors
    /// Fails as open(2) and [`after_lease`] do. Also fails with [`ForeignName`] if a user could
    /// exchange a name on the path, but may not open the file in this way.
    pub fn open(&self, flags: OFlag, mode: Mode) -> io::Result<File> {
        // A file of somebody else must not be emptied before `judge` has checked it.
        let empties = flags.contains(OFlag::O_TRUNC) && !self.changers.is_empty();
        let flags = flags | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let given = if empties { flags - OFlag::O_TRUNC } else { flags };
        let open = || Ok(File::from(openat(&self.directory, &*self.name, given, mode)?));
        let file = after_lease(open)?;
        if self.changers.is_empty() {
            return Ok(file);
        }
        let found = fstat(&file)?;
        let (is_path, access) = (flags.contains(OFlag::O_PATH), flags & OFlag::O_ACCMODE);
        let uses = [
            (READ, !is_path && access != OFlag::O_WRONLY),
            (WRITE, !is_path && access != OFlag::O_RDONLY),
            (ENTER, is(&found, SFlag::S_IFDIR)),
        ];
        for (what, _) in uses.into_iter().filter(|(_, is_used)| *is_used) {
            judge(&self.changers, what, &found, &self.path)?;
        }
        if empties {
            file.set_len(0)?;
        }
        Ok(file)
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
    _file: File,
}

impl PeerSocket {
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

/// Whether `stat` is the status of a file of this kind.
pub fn is(stat: &FileStat, kind: SFlag) -> bool {
    SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT == kind
}

/// A walk along a path, which ends at a [`Place`].
struct Walk {
    at: OwnedFd,
    /// The path of the directory `at`, without links. Only messages use this path.
    walked: PathBuf,
    path: PathBuf,
    /// The parts of the path that the walk has not reached yet, in reverse order.
    todo: Vec<OsString>,
    links: u32,
    is_fixed: bool,
    changers: Changers,
}

impl Walk {
    fn from(start: impl AsFd, path: &Path, is_fixed: bool) -> io::Result<Self> {
        let begin = if path.is_absolute() { "/" } else { "." };
        let at = openat(start, begin, LOOK, Mode::empty())?;
        let (walked, path) = (PathBuf::new(), path.to_owned());
        let todo = steps(&path);
        Ok(Self { at, walked, path, todo, links: 0, is_fixed, changers: Vec::new() })
    }

    /// Walks to the end of the path. If `follows` is set, also follows a link at the end.
    fn end_of(mut self, follows: bool) -> io::Result<Place> {
        while let Some(step) = self.todo.pop() {
            let is_name = self.todo.is_empty()
                && matches!(Path::new(&step).components().next(), Some(Component::Normal(_)));
            if is_name && !follows {
                let directory = fstat(&self.at)?;
                // Groups and everybody do not count here. Everybody may write to an `emptyDir`, and
                // drainit must be able to write to a directory of root in this `emptyDir`.
                self.changers.retain(|(changer, _)| changer.user.is_some());
                judge(&self.changers, WRITE, &directory, &self.walked)?;
                // If drainit is root, `judge` has checked that every user who could exchange the
                // directory may also write to it. Such a user may exchange every name in it anyway.
                self.changers.clear();
                return Ok(self.end(step));
            }
            let Some((next, stat)) = self.step(&step)? else { continue };
            if is_name {
                // A group (or everybody) does not count if it can write to the last directory, such
                // as an `emptyDir`, but to no other directory on the path. Such a group may replace
                // the file anyway, and drainit uses whatever file is there.
                let (known, is_fixed) = (self.changers.clone(), self.is_fixed);
                self.note(&stat)?;
                let is_known = |changer| known.iter().any(|(known, _)| *known == changer);
                self.changers.retain(|(it, _)| it.user.is_some() || is_known(*it));
                self.is_fixed = is_fixed;
                return Ok(self.end(step));
            }
            self.enter((next, stat), &step)?;
        }
        // The path, or a link at its end, is `/` or `.`, or ends with `..`. The walk has thus
        // entered the directory that the path names. Inside that directory, its name is `.`.
        Ok(self.end(OsString::from(".")))
    }

    fn end(self, name: OsString) -> Place {
        let Self { at, path, is_fixed, changers, .. } = self;
        Place { directory: at, name, path, is_fixed, changers }
    }

    /// Opens the next part of the path, and returns its file and status. If the part is a link,
    /// returns `None`, and the walk continues with the parts of the link's target.
    fn step(&mut self, step: &OsStr) -> io::Result<Option<(OwnedFd, FileStat)>> {
        let next = openat(&self.at, step, LOOK, Mode::empty())?;
        let stat = fstat(&next)?;
        if !is(&stat, SFlag::S_IFLNK) {
            return Ok(Some((next, stat)));
        }
        if !is_trusted(stat.st_uid) {
            let link = ForeignName::Link { link: self.walked.join(step), owner: stat.st_uid };
            return Err(io::Error::other(link));
        }
        self.links += 1;
        if self.links > MAX_LINKS {
            return Err(Errno::ELOOP.into());
        }
        self.todo.extend(steps(Path::new(&readlinkat(&next, "")?)));
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
        judge(&self.changers, ENTER, &stat, &self.walked)?;
        self.at = next;
        Ok(())
    }

    /// Notes who could exchange this entry of the directory `at`.
    fn note(&mut self, entry: &FileStat) -> io::Result<()> {
        let directory = fstat(&self.at)?;
        for changer in Changer::all(&directory, entry) {
            self.is_fixed = false;
            self.changers.retain(|(known, _)| *known != changer);
            self.changers.push((changer, self.walked.clone()));
        }
        Ok(())
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
mod tests {
    use std::fs;
    use std::io::Read as _;
    use std::os::unix::fs::{PermissionsExt as _, lchown, symlink};

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
    fn a_refused_file_is_not_emptied() {
        if !geteuid().is_root() {
            return; // only root can give a directory to another user
        }
        let dir = TempDir::new();
        dir.file("d/private/file", 0o644, "content");
        let at = |name: &str| dir.root().join(name);
        fs::set_permissions(at("d/private"), fs::Permissions::from_mode(0o700)).unwrap();
        lchown(at("d"), Some(OTHER), None).unwrap();
        let d = at("d").display().to_string();
        assert_eq!(
            content(&at("d/private/file")).unwrap_err().to_string(),
            format!(
                "user {OTHER} could exchange names in `{d}`, and so let drainit use `{d}/private`, \
                 which user {OTHER} may not enter; write a path on which only root can exchange names"
            )
        );
        fs::set_permissions(at("d/private"), fs::Permissions::from_mode(0o755)).unwrap();
        let place = Place::behind(&at("d/private/file")).unwrap();
        place.open(OFlag::O_WRONLY | OFlag::O_TRUNC, Mode::empty()).unwrap_err();
        assert_eq!(content(&at("d/private/file")).unwrap(), "content");
        assert!(Place::of(&at("d/new")).is_ok() && Place::of(&at("d/private/new")).is_err());
    }

    /// A process of another user, with its groups.
    #[derive(Clone, Copy, Debug)]
    struct Actor {
        user: u32,
        groups: [u32; 2],
    }

    impl Actor {
        fn owns(self, stat: &FileStat) -> bool {
            self.user == stat.st_uid
        }

        /// Whether the actor may do this with a file. An owner always may, after a change of the
        /// permissions.
        fn may(self, bits: u32, stat: &FileStat) -> bool {
            let for_group = self.groups.contains(&stat.st_gid) && stat.st_mode & bits << 3 != 0;
            self.owns(stat) || for_group || stat.st_mode & bits != 0
        }

        /// Whether the actor could make a name in a directory lead elsewhere.
        fn could_exchange(self, directory: &FileStat, entry: &FileStat) -> bool {
            let is_sticky = directory.st_mode & 0o1000 != 0;
            self.may(2, directory) && (!is_sticky || self.owns(directory) || self.owns(entry))
        }
    }

    // holds: C723, C801
    #[test]
    fn random_trees_agree_with_a_model_of_who_could_exchange_a_name() {
        if !geteuid().is_root() {
            return; // only root can give a file to another user
        }
        const SHARED: u32 = 20_000;
        // Nobody knows who is in a group, so any user may be in it.
        let actors: Vec<_> = [OTHER, 10_002, 10_003]
            .into_iter()
            .flat_map(|user| [user, SHARED, 0].map(|other| Actor { user, groups: [user, other] }))
            .collect();
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut below = |bound: u64| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state % bound
        };
        for number in 0..400 {
            let dir = TempDir::new();
            let (mut at, mut path) = (dir.root().to_owned(), dir.root().to_owned());
            // The directory and the entry of each step, and whether the entry is a link.
            let mut steps = Vec::new();
            let stat = |path: &Path| fstatat(AT_FDCWD, path, AtFlags::AT_SYMLINK_NOFOLLOW).unwrap();
            let depth = 1 + below(3);
            for level in 0..=depth {
                let entry = at.join("entry");
                match level == depth {
                    true => fs::write(&entry, "content").unwrap(),
                    false => fs::create_dir(&entry).unwrap(),
                }
                let modes: &[u32] = match level == depth {
                    true => &[0o600, 0o640, 0o644],
                    false => &[0o700, 0o755, 0o755, 0o775, 0o777, 0o1777, 0o1777, 0o1775, 0o750],
                };
                let mut give = |path: &Path| {
                    let owner = [0, 0, OTHER, 10_002][below(4) as usize];
                    let group = if owner == 0 { [0, SHARED][below(2) as usize] } else { owner };
                    lchown(path, Some(owner), Some(group)).unwrap();
                };
                give(&entry);
                let link = at.join("link");
                symlink("entry", &link).unwrap();
                give(&link);
                let mode = modes[below(modes.len() as u64) as usize];
                fs::set_permissions(&entry, fs::Permissions::from_mode(mode)).unwrap();
                let is_link = below(4) == 0;
                if is_link {
                    steps.push((stat(&at), stat(&link), true));
                }
                steps.push((stat(&at), stat(&entry), false));
                path.push(if is_link { "link" } else { "entry" });
                at = entry;
            }
            let shown: Vec<_> = steps
                .iter()
                .map(|(_, entry, _)| {
                    format!("{}:{} {:o}", entry.st_uid, entry.st_gid, entry.st_mode)
                })
                .collect();
            let found = content(&path);
            let case = format!("{number}: {} {shown:?}: {found:?}", path.display());
            let is_foreign = |(_, entry, is_link): &(FileStat, FileStat, bool)| {
                *is_link && !is_trusted(entry.st_uid)
            };
            let is_trap = |actor: &Actor| {
                let mut could = false;
                steps.iter().enumerate().any(|(place, (directory, entry, is_link))| {
                    let is_last = place + 1 == steps.len();
                    // A user who may write only to the last directory may replace the file anyway.
                    could |= actor.could_exchange(directory, entry)
                        && (!is_last || actor.owns(directory) || actor.owns(entry));
                    could && !is_link && !actor.may(if is_last { 4 } else { 1 }, entry)
                })
            };
            let trap = actors.iter().find(|actor| is_trap(actor));
            if steps.iter().any(is_foreign) || trap.is_some() {
                let refused = found.as_ref().is_err_and(|it| ForeignName::of(it).is_some());
                assert!(refused, "{trap:?} could choose the file: {case}");
            }
            let could = |steps: &[(FileStat, FileStat, bool)]| {
                let could_one = |(directory, entry, _): &(FileStat, FileStat, bool)| {
                    actors.iter().any(|actor| actor.could_exchange(directory, entry))
                };
                steps.iter().any(could_one)
            };
            if !could(&steps) && !steps.iter().any(is_foreign) {
                assert!(found.is_ok(), "nobody could exchange a name: {case}");
            }
            if let Ok(place) = Place::of(&path) {
                // `of` does not follow the last link.
                let is_link = path.ends_with("link");
                let before = &steps[..steps.len() - 1 - usize::from(is_link)];
                let keeps = place.address() == path;
                assert_eq!(keeps, !could(before), "the address is {:?}: {case}", place.address());
            }
        }
    }
}
