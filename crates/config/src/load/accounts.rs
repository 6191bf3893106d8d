//! Looks up `user:` in `/etc/passwd` and `/etc/group`, as Docker does.
//!
//! The files are parsed here because the C library's lookup may load plugins (NSS), which a static
//! PID 1 must not do.

use std::io::Read;
use std::path::{Path, PathBuf};

use crate::config::User;
use crate::load::values::Invalid;
use crate::types::suggest::nearest;

/// At most this many bytes of each file are read.
const LARGEST: u64 = 4 * 1024 * 1024;

/// The accounts of the image, read on first use.
#[derive(Debug)]
pub struct Accounts {
    passwd_path: PathBuf,
    group_path: PathBuf,
    passwd: Option<Vec<Account>>,
    group: Option<Vec<Group>>,
}

#[derive(Debug)]
struct Account {
    name: String,
    uid: u32,
    gid: u32,
}

#[derive(Debug)]
struct Group {
    name: String,
    gid: u32,
    members: Vec<String>,
}

impl Accounts {
    /// Takes the paths of the two files; a missing file counts as empty.
    pub(crate) fn new(passwd: impl Into<PathBuf>, group: impl Into<PathBuf>) -> Self {
        Self { passwd_path: passwd.into(), group_path: group.into(), passwd: None, group: None }
    }

    /// Those of two texts.
    #[cfg(any(test, feature = "testing"))]
    pub fn of(passwd: &str, group: &str) -> Self {
        let passwd = passwd.lines().filter_map(account).collect();
        let group = group.lines().filter_map(self::group).collect();
        Self { passwd: Some(passwd), group: Some(group), ..Self::new("passwd", "group") }
    }

    /// Looks up `UID`, `NAME`, `UID:GID` or `NAME:GROUP`. As in Docker, a number needs no account
    /// and then has group 0; an account brings its supplementary groups unless a group is given.
    pub fn find(&mut self, text: &str) -> Result<User, Invalid> {
        let (user, group) = match text.split_once(':') {
            Some((user, group)) => (user, Some(group)),
            None => (text, None),
        };
        if user.is_empty() || group == Some("") {
            return Err(Invalid::new(
                "not a user",
                "write `UID`, `UID:GID`, `NAME` or `NAME:GROUP`",
            ));
        }
        let account = self.account(user)?;
        let gid = group.map(|group| self.gid(group)).transpose()?;
        let groups = match (&account.name, gid) {
            (name, None) if !name.is_empty() => self.groups_of(name, account.gid),
            _ => Vec::new(),
        };
        Ok(User { uid: account.uid, gid: gid.unwrap_or(account.gid), groups })
    }

    fn account(&mut self, user: &str) -> Result<Account, Invalid> {
        let path = self.passwd_path.clone();
        let passwd = self.passwd.get_or_insert_with(|| entries(&path, account));
        let number = id(user);
        // A name may look like a number.
        let found = passwd
            .iter()
            .find(|account| account.name == user)
            .or_else(|| passwd.iter().find(|account| Some(account.uid) == number));
        match (found, number) {
            (Some(found), _) => Ok(Account { name: found.name.clone(), ..*found }),
            (None, Some(uid)) => Ok(Account { name: String::new(), uid, gid: 0 }),
            _ => Err(unknown("user", user, &path, passwd.iter().map(|a| a.name.as_str()))),
        }
    }

    fn gid(&mut self, group: &str) -> Result<u32, Invalid> {
        let path = self.group_path.clone();
        let groups = self.groups();
        let number = id(group);
        match (groups.iter().find(|g| g.name == group), number) {
            (Some(found), _) => Ok(found.gid),
            (None, Some(gid)) => Ok(gid),
            _ => Err(unknown("group", group, &path, groups.iter().map(|g| g.name.as_str()))),
        }
    }

    fn groups_of(&mut self, user: &str, primary: u32) -> Vec<u32> {
        let member =
            |group: &&Group| group.gid != primary && group.members.iter().any(|m| m == user);
        let mut gids: Vec<_> = self.groups().iter().filter(member).map(|group| group.gid).collect();
        gids.sort_unstable();
        gids.dedup();
        gids
    }

    fn groups(&mut self) -> &[Group] {
        let path = &self.group_path;
        self.group.get_or_insert_with(|| entries(path, group))
    }
}

fn unknown<'a>(
    kind: &str,
    name: &str,
    path: &Path,
    known: impl Iterator<Item = &'a str>,
) -> Invalid {
    let help = match nearest(name, known) {
        Some(known) => format!("did you mean `{known}`? A number needs no entry there"),
        None => format!("add it to {}, or write its number", path.display()),
    };
    Invalid::new(format!("no {kind} of {}", path.display()), help)
}

fn entries<T>(path: &Path, parse: fn(&str) -> Option<T>) -> Vec<T> {
    let mut bytes = Vec::new();
    // An image from scratch has no such file.
    if let Ok(file) = std::fs::File::open(path) {
        let _ = file.take(LARGEST).read_to_end(&mut bytes);
    }
    String::from_utf8_lossy(&bytes).lines().filter_map(parse).collect()
}

/// `name:password:uid:gid:…`
fn account(line: &str) -> Option<Account> {
    let mut fields = line.split(':');
    let name = fields.next().filter(|name| !name.is_empty())?.to_owned();
    let uid = id(fields.nth(1)?)?;
    let gid = id(fields.next()?)?;
    Some(Account { name, uid, gid })
}

/// The highest number is no one's: to the kernel it means to stay what one is, such as root.
fn id(text: &str) -> Option<u32> {
    text.parse().ok().filter(|id| *id != u32::MAX)
}

/// `name:password:gid:member,member`
fn group(line: &str) -> Option<Group> {
    let mut fields = line.split(':');
    let name = fields.next().filter(|name| !name.is_empty())?.to_owned();
    let gid = id(fields.nth(1)?)?;
    let members =
        fields.next().unwrap_or_default().split(',').map(|m| m.trim().to_owned()).collect();
    Some(Group { name, gid, members })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::testing::temp_dir::TempDir;

    // holds: C320, C321, C322
    #[test]
    fn users_are_looked_up_as_in_docker() {
        let dir = TempDir::new();
        let passwd = dir.write(
            "passwd",
            b"# x\nroot:x:0:0::/:/bin/sh\nenvoy:x:101:102::/:\nbad:x:y:z\n77:x:9:9::/:\n",
        );
        let group = dir.write(
            "group",
            b"root:x:0:\nenvoy:x:102:envoy\ntls:x:200:root,envoy\nlog:x:150:envoy\n",
        );
        let mut accounts = Accounts::new(passwd, group);
        for (text, uid, gid, groups) in [
            ("0", 0, 0, &[200][..]),
            ("10001", 10001, 0, &[]),
            ("10001:10001", 10001, 10001, &[]),
            ("10001:tls", 10001, 200, &[]),
            ("101", 101, 102, &[150, 200]),
            ("envoy", 101, 102, &[150, 200]),
            ("envoy:tls", 101, 200, &[]),
            ("envoy:7", 101, 7, &[]),
            ("77", 9, 9, &[]),
        ] {
            assert_eq!(
                accounts.find(text).unwrap(),
                User { uid, gid, groups: groups.to_vec() },
                "{text}"
            );
        }
        assert!(accounts.find("evnoy").unwrap_err().help.starts_with("did you mean `envoy`?"));
        assert!(accounts.find("nobody").unwrap_err().why.starts_with("no user of "));
        assert!(accounts.find("envoy:web").unwrap_err().why.starts_with("no group of "));
        for text in ["", ":", "a:", ":b", "4294967295", "-1", "1:4294967296"] {
            assert!(accounts.find(text).is_err(), "{text}");
        }
    }

    // holds: C321
    #[test]
    fn numbers_work_in_an_image_without_accounts() {
        let mut accounts = Accounts::new("/nonexistent/passwd", "/nonexistent/group");
        assert_eq!(accounts.find("5:6").unwrap(), User { uid: 5, gid: 6, groups: vec![] });
        assert!(accounts.find("root").is_err());
    }
}
