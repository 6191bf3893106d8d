//! The users whom drainit does not trust, and what the kernel lets them do with a file.
//!
//! drainit does not compute the rights of another user from the mode of a file: groups, access
//! control lists, user namespaces and network file systems also decide. drainit asks the kernel, on
//! a thread that has the rights of this user.

use std::fs;
use std::io;
use std::os::fd::BorrowedFd;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;

use nix::unistd::{AccessFlags, geteuid};

use crate::signal::mask;
use crate::sys;

/// The user and groups of a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    pub uid: u32,
    pub gid: u32,
    /// The supplementary groups of the user.
    pub groups: Vec<u32>,
}

/// The users of the configs that drainit has read.
static KNOWN: Mutex<Vec<User>> = Mutex::new(Vec::new());

fn known() -> MutexGuard<'static, Vec<User>> {
    KNOWN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Finds the user with an id in the image.
type Find = fn(u32) -> Option<User>;

static FIND: OnceLock<Find> = OnceLock::new();

/// The stack size of a thread that asks, in bytes.
const STACK: usize = 64 * 1024;

/// Makes the users of a config known, with the groups that their processes get.
pub fn make_known(users: impl IntoIterator<Item = User>) {
    let mut known = known();
    for user in users {
        if !known.contains(&user) {
            known.push(user);
        }
    }
}

/// Sets how to find the groups of a user whom no config names. Only the first call counts.
pub fn find_with(find: Find) {
    let _ = FIND.set(find);
}

/// The users of the config whom drainit does not trust.
pub(crate) fn known_strangers() -> Vec<User> {
    known().iter().filter(|user| !is_trusted(user.uid)).cloned().collect()
}

/// This user with the groups of the config's processes, or else with the groups that the image gives
/// the user. If neither has the user, the user with a group that gives no rights.
pub(crate) fn with_groups(uid: u32) -> Vec<User> {
    let mut known = known_strangers();
    known.retain(|user| user.uid == uid);
    if known.is_empty() {
        known.extend(FIND.get().and_then(|find| find(uid)));
    }
    if known.is_empty() {
        known.push(User { uid, gid: no_group(), groups: Vec::new() });
    }
    known
}

/// Whether drainit does not know the groups of this user.
pub(crate) fn has_unknown_groups(user: &User) -> bool {
    user.gid == no_group()
}

/// A user who has nothing but what everybody has, and what this group gives. `None` if the user
/// namespace has no other users than root and drainit's own.
pub(crate) fn nobody(group: Option<u32>) -> Option<User> {
    let uid = unused(ids("uid_map"), geteuid().as_raw())?;
    Some(User { uid, gid: no_group(), groups: group.into_iter().collect() })
}

/// A group that gives no rights. Without such a group, the result is a number that is not a
/// group, and that no thread can take.
fn no_group() -> u32 {
    unused(ids("gid_map"), nix::unistd::getegid().as_raw()).unwrap_or(u32::MAX)
}

/// Whether drainit trusts a user. drainit trusts root and its own user. An id that the user namespace
/// does not map, which the kernel shows as 65534, belongs to nobody who can act inside the namespace.
pub fn is_trusted(uid: u32) -> bool {
    uid == 0 || uid == geteuid().as_raw() || !is_mapped(uid)
}

/// Whether a process of drainit's user namespace can have this user id.
pub fn is_mapped(uid: u32) -> bool {
    ids("uid_map").iter().any(|(first, last)| (*first..=*last).contains(&uid))
}

/// The highest id that is neither root's nor `own`. Files hardly ever belong to this id.
fn unused(ids: &[(u32, u32)], own: u32) -> Option<u32> {
    let of_range = |(first, last): &(u32, u32)| {
        (*first..=*last).rev().take(3).find(|id| *id != 0 && *id != own)
    };
    ids.iter().filter_map(of_range).max()
}

/// The first and the last id of each range that drainit's user namespace maps
/// (user_namespaces(7)). Without `/proc`, all ids count as mapped.
fn ids(map: &'static str) -> &'static [(u32, u32)] {
    static USERS: OnceLock<Vec<(u32, u32)>> = OnceLock::new();
    static GROUPS: OnceLock<Vec<(u32, u32)>> = OnceLock::new();
    let known = if map == "uid_map" { &USERS } else { &GROUPS };
    known.get_or_init(|| {
        let text = fs::read_to_string(format!("/proc/self/{map}")).unwrap_or_default();
        match parse(&text) {
            ranges if ranges.is_empty() => vec![(0, u32::MAX - 1)],
            ranges => ranges,
        }
    })
}

fn parse(map: &str) -> Vec<(u32, u32)> {
    let range = |line: &str| {
        let mut numbers = line.split_ascii_whitespace().map(str::parse::<u32>);
        let (first, count) = (numbers.next()?.ok()?, numbers.nth(1)?.ok()?);
        Some((first, first.checked_add(count.checked_sub(1)?)?))
    };
    map.lines().filter_map(range).collect()
}

/// CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH, CAP_SETGID and CAP_SETUID (capabilities(7)).
const OVER_OTHERS: u64 = 1 << 1 | 1 << 2 | 1 << 6 | 1 << 7;

/// Whether drainit may have rights that another user of its processes lacks. A drainit that is not
/// root and has none of these capabilities cannot start a process of another user.
pub(crate) fn has_more_rights() -> bool {
    let permitted = sys::permitted_capabilities().unwrap_or(u64::MAX);
    geteuid().is_root() || permitted & OVER_OTHERS != 0
}

/// Asks the kernel whether each of these users has this access to an open file or directory. For a
/// directory, the user must also be able to reach it: the kernel does not check this here.
///
/// # Errors
/// Fails if no thread can be started. The answer for a user is an error if drainit cannot become
/// this user.
pub(crate) fn may_access(
    users: &[&User],
    file: BorrowedFd<'_>,
    access: AccessFlags,
) -> io::Result<Vec<io::Result<bool>>> {
    let ask = |user: &&User| {
        sys::take_file_rights(user.uid, user.gid, &user.groups)?;
        match sys::may_access(file, access) {
            Err(error) if error.raw_os_error() == Some(libc::ENOSYS) => Err(error),
            answer => Ok(answer.is_ok()),
        }
    };
    if users.is_empty() {
        return Ok(Vec::new());
    }
    let no_thread = || {
        let why = "no thread can be started to ask for the rights of another user: the container \
                   has reached its pids limit, or lacks memory";
        io::Error::other(why)
    };
    thread::scope(|scope| {
        let builder = thread::Builder::new().name("as-user".to_owned()).stack_size(STACK);
        let asks = builder.spawn_scoped(scope, || {
            mask::block_here();
            users.iter().map(ask).collect()
        });
        asks.map_err(|_| no_thread())?.join().map_err(|_| no_thread())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ids_of_a_user_namespace_are_known() {
        assert_eq!(parse("         0       1000          1\n"), [(0, 0)]);
        assert_eq!(parse("0 1000 1\n1 100000 65536\n"), [(0, 0), (1, 65_536)]);
        assert_eq!(parse("0 0 4294967295\n"), [(0, u32::MAX - 1)]);
        assert_eq!(parse("x\n0 0 0\n"), []);
        for (map, own, expected) in [
            ("0 1000 1", 0, None),
            ("1000 1000 1", 1000, None),
            ("0 0 1\n1000 1000 1", 1000, None),
            ("0 0 1\n1000 1000 2", 1000, Some(1001)),
            ("0 1000 1\n1 100000 65536", 0, Some(65_536)),
            ("0 0 4294967295", 0, Some(u32::MAX - 1)),
        ] {
            assert_eq!(unused(&parse(map), own), expected, "{map}");
        }
    }
}
