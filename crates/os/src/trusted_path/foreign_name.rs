//! The error for a path that leads, or could lead, where another user decides.

use std::fmt;
use std::io;
use std::path::PathBuf;

use nix::unistd::geteuid;

/// Somebody who could exchange a name on a path, as messages say it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    User(u32),
    /// A member of a group that may write to the directory. Nobody knows the members.
    Group(u32),
    /// Whoever the access control list of the directory names.
    Listed,
    Everybody,
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User(user) => write!(f, "user {user}"),
            Self::Group(group) => write!(f, "the group {group}"),
            Self::Listed => f.write_str("others by an access control list"),
            Self::Everybody => f.write_str("everybody"),
        }
    }
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
        by: Who,
        /// The use, such as "read", that is not permitted to this user, and the path of the object.
        refused: (&'static str, PathBuf),
        /// Why drainit cannot become this user, and thus cannot ask the kernel.
        unasked: Option<io::Error>,
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
            Self::Exchanged { directory, by, refused: (what, path), unasked: None } => format!(
                "{by} could exchange names in `{}`, and so let drainit use `{}`, which {by} may \
                 not {what}",
                directory.display(),
                path.display()
            ),
            Self::Exchanged { directory, by, refused: (what, path), unasked: Some(why) } => {
                format!(
                    "{by} could exchange names in `{}`, and drainit cannot become such a user to \
                     ask the kernel who may {what} `{}` ({why})",
                    directory.display(),
                    path.display()
                )
            }
        }
    }

    /// Says in a message how to correct the path.
    pub fn mend(&self) -> String {
        let own = match geteuid() {
            root if root.is_root() => String::new(),
            own => format!(" and user {own}"),
        };
        match self {
            Self::Link { link, .. } => {
                format!("write the path without the link, or `chown -h 0 {}`", link.display())
            }
            Self::Exchanged { unasked: Some(_), .. } => format!(
                "add the capabilities SETUID and SETGID, or write a path on which only root{own} \
                 can exchange names"
            ),
            Self::Exchanged { by: Who::User(_), .. } => {
                format!("write a path on which only root{own} can exchange names")
            }
            Self::Exchanged { directory, .. } => {
                format!("`chmod +t {}`, or write another path", directory.display())
            }
        }
    }
}

impl fmt::Display for ForeignName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {}", self.why(), self.mend())
    }
}

impl std::error::Error for ForeignName {}
