//! `user:` of a process. drainit looks the user and the group up in `/etc/passwd` and `/etc/group`,
//! as Docker does.
//!
//! drainit parses the files itself, because the C library's lookup may load plugins (NSS), which a
//! static PID 1 must not do.

use std::io::Read;
use std::path::PathBuf;

use drainit_os::spawn::User;
use nix::unistd::geteuid;

use crate::keys::forms::leaf;
use crate::keys::key::{Either, Shape, Table};
use crate::keys::reader::{Fields, Reader};
use crate::language::invalid::Invalid;
use crate::types::suggest::nearest;

/// drainit reads at most this many bytes of `/etc/passwd`, and of `/etc/group`.
const LARGEST: u64 = 4 * 1024 * 1024;

/// The users and groups of the image. drainit reads `/etc/passwd` and `/etc/group` when it first
/// needs them.
#[derive(Debug)]
pub struct Accounts {
    passwd: AccountFile,
    group: AccountFile,
}

#[derive(Debug)]
struct AccountFile {
    path: PathBuf,
    /// The word that messages use for an entry of the file.
    kind: &'static str,
    entries: Option<Vec<AccountEntry>>,
}

/// A line of `/etc/passwd` or `/etc/group`.
#[derive(Clone, Debug, Default)]
struct AccountEntry {
    name: String,
    id: u32,
    /// For a user, the number of the user's group. For a group, the names of its members.
    more: String,
    /// The home directory of a user.
    home: String,
}

/// The value of `user`. drainit looks the value up at each start of the process, because a hook or
/// another process may have changed `/etc/passwd`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Account {
    /// The value as the config has it, before the look-up.
    Written(String),
    Found {
        user: User,
        /// `None` if `/etc/passwd` does not have the user.
        name: Option<String>,
        home: String,
    },
}

impl Account {
    /// The name of the user, or the number if the user has no name. Before the look-up, returns the
    /// value as the config has it.
    pub fn name(&self) -> String {
        match self {
            Self::Written(text) => text.clone(),
            Self::Found { user, name, .. } => name.clone().unwrap_or_else(|| user.uid.to_string()),
        }
    }

    /// The user that was found; `None` before the look-up.
    pub fn found(&self) -> Option<&User> {
        match self {
            Self::Written(_) => None,
            Self::Found { user, .. } => Some(user),
        }
    }
}

leaf! {
    Account => Account: Shape::Filled("text"), written;
}

/// A user, or `{name: USER, required: false}`.
pub(crate) type RunAs = Either<Account, RunAsKeys>;

#[derive(Table)]
#[table(settle = Option<Account>, shared = "user")]
pub(crate) struct RunAsKeys {
    /// The user.
    #[key(required = "write `{name: USER, required: false}`")]
    name: Account,
    /// Whether drainit must be able to become this user.
    #[key(default = "true")]
    required: bool,
}

impl RunAsKeys {
    /// If `required` is false and drainit is not root, returns `Some(None)`, which means drainit's
    /// own user.
    fn settle(self, _: &mut Reader<'_>, _: &Fields<'_>) -> Option<Option<Account>> {
        let Self { name, required } = self;
        Some(Some(name).filter(|_| required || geteuid().is_root()))
    }
}

/// Parses the value of `user`. The users and groups that it names are looked up later.
pub(crate) fn written(text: &str) -> Result<Account, Invalid> {
    let (user, group) = parts(text)?;
    // A number outside of the range of ids is probably meant as an id, because no account has such
    // a name.
    let is_bad = |part: &&str| part.parse::<i128>().is_ok() && id(part).is_none();
    match [Some(user), group].into_iter().flatten().find(is_bad) {
        Some(part) => Err(Invalid::new(
            format!("not a user: no number is {part}"),
            format!("write a number from 0 to {}", u32::MAX - 1),
        )),
        None => Ok(Account::Written(text.to_owned())),
    }
}

/// The user and the group of `UID`, `UID:GID`, `NAME` or `NAME:GROUP`.
fn parts(text: &str) -> Result<(&str, Option<&str>), Invalid> {
    let (user, group) = match text.split_once(':') {
        Some((user, group)) => (user, Some(group)),
        None => (text, None),
    };
    if user.is_empty() || group == Some("") {
        return Err(Invalid::new("not a user", "write `UID`, `UID:GID`, `NAME` or `NAME:GROUP`"));
    }
    Ok((user, group))
}

impl Default for Accounts {
    fn default() -> Self {
        Self::new("/etc/passwd", "/etc/group")
    }
}

impl Accounts {
    fn new(passwd: impl Into<PathBuf>, group: impl Into<PathBuf>) -> Self {
        let file = |path, kind| AccountFile { path, kind, entries: None };
        Self { passwd: file(passwd.into(), "user"), group: file(group.into(), "group") }
    }

    /// Parses two texts as if they were `/etc/passwd` and `/etc/group`, for fuzzing.
    #[cfg(any(test, feature = "testing"))]
    pub fn of(passwd: &str, group: &str) -> Self {
        let mut accounts = Self::new("passwd", "group");
        accounts.passwd.parse(passwd);
        accounts.group.parse(group);
        accounts
    }

    /// Resolves `UID`, `UID:GID`, `NAME` or `NAME:GROUP`. A number is accepted even if the files do
    /// not have it. If `text` names no group and `/etc/passwd` has the user, the process gets the
    /// user's group, and all groups that have the user as a member.
    ///
    /// # Errors
    /// Fails if `text` has another form, or has a name that the files do not have.
    pub fn find(&mut self, text: &str) -> Result<Account, Invalid> {
        let (user, group) = parts(text)?;
        let account = self.passwd.find(user)?;
        let user = match group {
            Some(group) => {
                User { uid: account.id, gid: self.group.find(group)?.id, groups: Vec::new() }
            }
            None => self.with_groups(&account),
        };
        let AccountEntry { name, home, .. } = account;
        let home = if home.is_empty() { "/".to_owned() } else { home };
        Ok(Account::Found { user, name: Some(name).filter(|name| !name.is_empty()), home })
    }

    /// The user with this number and its groups; `None` if `/etc/passwd` does not have the number.
    pub fn of_number(uid: u32) -> Option<User> {
        match Self::default().find(&uid.to_string()).ok()? {
            Account::Found { user, name: Some(_), .. } if user.uid == uid => Some(user),
            _ => None,
        }
    }

    fn with_groups(&mut self, account: &AccountEntry) -> User {
        let gid = id(&account.more).unwrap_or_default();
        let is_member = |group: &&AccountEntry| {
            let mut members = group.more.split(',');
            group.id != gid && members.any(|member| member.trim() == account.name)
        };
        let mut further = Vec::new();
        if !account.name.is_empty() {
            let all = self.group.entries().iter();
            further.extend(all.filter(is_member).map(|group| group.id));
        }
        further.sort_unstable();
        further.dedup();
        User { uid: account.id, gid, groups: further }
    }
}

impl AccountFile {
    fn entries(&mut self) -> &[AccountEntry] {
        if self.entries.is_none() {
            let mut bytes = Vec::new();
            // A file that cannot be opened counts as empty: an image from scratch has neither file.
            if let Ok(file) = std::fs::File::open(&self.path) {
                let _ = file.take(LARGEST).read_to_end(&mut bytes);
            }
            self.parse(&String::from_utf8_lossy(&bytes));
        }
        self.entries.as_deref().unwrap_or_default()
    }

    /// Reads the entries from a text. A user without the number of a group is left out.
    fn parse(&mut self, text: &str) {
        let entry = |line: &str| {
            let mut fields = line.split(':');
            let name = fields.next().filter(|name| !name.is_empty())?.to_owned();
            let id = id(fields.nth(1)?)?;
            let more = fields.next().unwrap_or_default().to_owned();
            Some(AccountEntry {
                name,
                id,
                more,
                home: fields.nth(1).unwrap_or_default().to_owned(),
            })
        };
        let is_whole = |one: &AccountEntry| self.kind != "user" || id(&one.more).is_some();
        self.entries = Some(text.lines().filter_map(entry).filter(is_whole).collect());
    }

    /// The entry with this name or number. If no entry has the number, returns an entry with an
    /// empty name.
    fn find(&mut self, text: &str) -> Result<AccountEntry, Invalid> {
        let (path, kind, number) = (self.path.clone(), self.kind, id(text));
        let entries = self.entries();
        // Search the names first, because a name may consist of digits, and takes precedence over a
        // number.
        let by_name = entries.iter().find(|entry| entry.name == text);
        let found = by_name.or_else(|| entries.iter().find(|entry| Some(entry.id) == number));
        let unnamed = |id| AccountEntry { id, ..AccountEntry::default() };
        if let Some(found) = found.cloned().or(number.map(unnamed)) {
            return Ok(found);
        }
        let known = nearest(text, entries.iter().map(|entry| &*entry.name));
        let path = path.display();
        let help = match known {
            Some(known) => format!("did you mean `{known}`? A number needs no entry there"),
            None => format!("add it to {path}, or write its number"),
        };
        Err(Invalid::new(format!("not a {kind} in {path}"), help))
    }
}

/// Parses a number of a user or group. The highest number is refused, because the kernel reads this
/// number as "keep the current number". The process would then keep drainit's user, which may be
/// root.
fn id(text: &str) -> Option<u32> {
    text.parse().ok().filter(|id| *id != u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::temp_dir::TempDir;

    // holds: C320, C321, C322
    #[test]
    fn users_are_looked_up_as_in_docker() {
        let dir = TempDir::new();
        let passwd = "# x\nroot:x:0:0::/:/bin/sh\nenvoy:x:101:102::/srv/e:/bin/sh\nbad:x:y:z\n77:x:9:9::/:\n";
        let group = "root:x:0:\nenvoy:x:102:envoy\ntls:x:200:root,envoy\nlog:x:150:envoy\n";
        let [passwd, group] = [("passwd", passwd), ("group", group)]
            .map(|(name, text)| dir.write(name, text.as_bytes()));
        let mut accounts = Accounts::new(passwd, group);
        for (text, uid, gid, groups, name, home) in [
            ("0", 0, 0, &[200][..], "root", "/"),
            ("10001", 10001, 0, &[], "", "/"),
            ("10001:10001", 10001, 10001, &[], "", "/"),
            ("10001:tls", 10001, 200, &[], "", "/"),
            ("101", 101, 102, &[150, 200], "envoy", "/srv/e"),
            ("envoy", 101, 102, &[150, 200], "envoy", "/srv/e"),
            ("envoy:tls", 101, 200, &[], "envoy", "/srv/e"),
            ("envoy:7", 101, 7, &[], "envoy", "/srv/e"),
            ("77", 9, 9, &[], "77", "/"),
        ] {
            let user = User { uid, gid, groups: groups.to_vec() };
            let name = Some(name.to_owned()).filter(|name| !name.is_empty());
            let wanted = Account::Found { user, name, home: home.to_owned() };
            assert_eq!(accounts.find(text).unwrap(), wanted, "{text}");
            assert_eq!(written(text).unwrap(), Account::Written(text.to_owned()));
        }
        assert!(accounts.find("evnoy").unwrap_err().help.starts_with("did you mean `envoy`?"));
        assert!(accounts.find("nobody").unwrap_err().why.starts_with("not a user in "));
        assert!(accounts.find("envoy:web").unwrap_err().why.starts_with("not a group in "));
        for text in ["", ":", "a:", ":b", "4294967295", "-1", "1:4294967296"] {
            assert!(accounts.find(text).is_err(), "{text}");
            assert!(written(text).is_err(), "{text}");
        }
        // Numbers work in an image without accounts.
        let mut accounts = Accounts::new("/nonexistent/passwd", "/nonexistent/group");
        let found = accounts.find("5:6").unwrap();
        assert_eq!(found.found(), Some(&User { uid: 5, gid: 6, groups: vec![] }));
        assert!(accounts.find("root").is_err());
    }
}
