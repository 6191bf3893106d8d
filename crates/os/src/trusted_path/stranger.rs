//! Who could exchange a name in a directory, and what these users may use.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::fcntl::{OFlag, openat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat};
use nix::unistd::AccessFlags;

use crate::sys;
use crate::trusted_path::foreign_name::{ForeignName, Who};
use crate::users::{self, User, is_trusted};

/// Somebody who could exchange a name on a path, and whom drainit does not trust.
#[derive(Clone, Debug)]
pub(super) struct Stranger {
    pub(super) who: Who,
    /// The ids and groups with which drainit asks the kernel.
    user: User,
    /// The first directory in which the stranger could exchange a name.
    directory: PathBuf,
}

pub(super) const READ: (&str, AccessFlags) = ("read", AccessFlags::R_OK);
pub(super) const WRITE: (&str, AccessFlags) = ("write to", AccessFlags::W_OK);
pub(super) const ENTER: (&str, AccessFlags) = ("enter", AccessFlags::X_OK);

impl Stranger {
    /// Fails unless each of the strangers may use an open file in this way. The owner of the file
    /// always may, because the owner can change the mode.
    pub(super) fn judge(
        strangers: &[Self],
        (what, access): (&'static str, AccessFlags),
        (file, stat): (impl AsFd, &FileStat),
        path: &Path,
    ) -> io::Result<()> {
        let others: Vec<_> =
            strangers.iter().filter(|stranger| stranger.user.uid != stat.st_uid).collect();
        let users: Vec<_> = others.iter().map(|stranger| &stranger.user).collect();
        let answers = users::may_access(&users, file.as_fd(), access)?;
        for (stranger, answer) in others.into_iter().zip(answers) {
            let unasked = match answer {
                Ok(true) => continue,
                Ok(false) => None,
                Err(why) => Some(why),
            };
            return Err(io::Error::other(ForeignName::Exchanged {
                directory: stranger.directory.clone(),
                by: stranger.who,
                refused: (what, path.to_owned()),
                unasked,
            }));
        }
        Ok(())
    }

    /// Adds those whom the list does not have yet.
    pub(super) fn add(
        strangers: &mut Vec<Self>,
        new: Vec<(Who, User)>,
        directory: impl Fn() -> PathBuf,
    ) {
        for (who, user) in new {
            if !strangers.iter().any(|known| known.user == user) {
                strangers.push(Self { who, user, directory: directory() });
            }
        }
    }
}

/// A directory, and one of its entries.
pub(super) struct Name<'a> {
    directory: &'a OwnedFd,
    found: FileStat,
    entry: &'a FileStat,
}

impl<'a> Name<'a> {
    pub(super) fn new(directory: &'a OwnedFd, entry: &'a FileStat) -> io::Result<Self> {
        Ok(Self { directory, found: fstat(directory)?, entry })
    }

    fn mode(&self) -> Mode {
        Mode::from_bits_truncate(self.found.st_mode)
    }

    /// Whether everybody may write to the directory, as to an `emptyDir`.
    pub(super) fn is_everybodys(&self) -> bool {
        self.mode().contains(Mode::S_IWOTH)
    }

    /// Whether others than the owner may write to the directory. If the directory has an access
    /// control list, the bits of the group are those of the list's mask.
    pub(super) fn is_shared(&self) -> bool {
        self.mode().intersects(Mode::S_IWGRP | Mode::S_IWOTH)
    }

    /// Whether others than the owners could have put the entry there. If the directory is sticky,
    /// they could still have made a hard link to a file of somebody else.
    pub(super) fn is_open(&self) -> bool {
        self.is_shared() && (!self.mode().contains(Mode::S_ISVTX) || is_hard_link(self.entry))
    }

    /// Whether anybody but root and drainit's own user could exchange the name.
    pub(super) fn is_exchangeable(&self) -> bool {
        !is_trusted(self.found.st_uid)
            || self.is_shared() && !is_trusted(self.entry.st_uid)
            || self.is_open()
    }

    /// Those who could exchange the name because they own the directory or the entry.
    pub(super) fn owners(&self) -> io::Result<Vec<(Who, User)>> {
        let owners = [Some(self.found.st_uid), self.is_shared().then_some(self.entry.st_uid)];
        let strangers = owners.into_iter().flatten().filter(|owner| !is_trusted(*owner));
        let users = strangers.flat_map(users::with_groups).collect();
        self.of_writers(users)
    }

    /// Those who could exchange the name because they may write to the directory: users of the
    /// config, and for those whom drainit does not know, a user with as few rights as possible.
    pub(super) fn writers(&self) -> io::Result<Vec<(Who, User)>> {
        let group = self.found.st_gid;
        let (who, member) = if self.is_everybodys() {
            (Who::Everybody, None)
        } else if has_acl(self.directory) {
            (Who::Listed, None)
        } else {
            (Who::Group(group), Some(group))
        };
        let mut writers = self.of_writers(users::known_strangers())?;
        writers.extend(users::nobody(member).map(|user| (who, user)));
        Ok(writers)
    }

    /// Those of the users who may write to the directory, or own it and could thus permit this.
    /// Somebody whom drainit cannot become, or whose groups drainit does not know, counts, too.
    pub(super) fn of_writers(&self, users: Vec<User>) -> io::Result<Vec<(Who, User)>> {
        let is_sure =
            |user: &User| user.uid == self.found.st_uid || users::has_unknown_groups(user);
        let (owners, others): (Vec<_>, Vec<_>) = users.into_iter().partition(is_sure);
        let access = AccessFlags::W_OK | AccessFlags::X_OK;
        let asked: Vec<_> = others.iter().collect();
        let answers = users::may_access(&asked, self.directory.as_fd(), access)?;
        let may = answers.into_iter().map(|answer| answer.unwrap_or(true));
        let writers = others.into_iter().zip(may).filter_map(|(user, may)| may.then_some(user));
        Ok(owners.into_iter().chain(writers).map(|user| (Who::User(user.uid), user)).collect())
    }
}

/// Whether another name may lead to the same file.
pub(super) fn is_hard_link(stat: &FileStat) -> bool {
    !is(stat, SFlag::S_IFDIR) && stat.st_nlink > 1
}

/// Whether a directory has an access control list. Returns `true` if drainit cannot find out.
fn has_acl(directory: &OwnedFd) -> bool {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let opened = openat(directory, ".", flags, Mode::empty());
    opened.map_or(true, |opened| sys::has_acl(opened.as_fd()))
}

/// Whether `stat` is the status of a file of this kind.
pub fn is(stat: &FileStat, kind: SFlag) -> bool {
    SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT == kind
}
