//! Finds the descendants of drainit in `/proc`, among them daemons that left their process group.
//!
//! The search leaves out the processes of other containers in a shared PID namespace, and the
//! processes that `docker exec` starts (their parent is 0).

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::io;
use std::iter::successors;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

use nix::errno::Errno;
use nix::unistd::{Gid, SysconfVar, Uid, getsid, setfsgid, setfsuid, sysconf};

use crate::proc_net::tcp_listeners_of;
use crate::reap::is_living_child;
use crate::{Pid, errno};
use drainit_core::types::{Time, harmless};

/// The processes of an instance: its main process, its former main processes that still run, and
/// the leader of their session. The descendants of these processes, and the members of the session,
/// belong to the instance, too.
pub type InstancePids = Arc<BTreeSet<Pid>>;

/// [`kin`] makes at most this many walks from parent to parent. [`kin`] begins a new walk if a
/// process on the way ends.
const MAX_WALKS: usize = 16;
/// A walk follows at most this many parents.
const MAX_DEPTH: usize = 256;
/// At most this many processes are named in a message.
const MAX_LISTED: usize = 10;
/// The name of a ring of io_uring(7), as `/proc/PID/fd` has it.
const RING: &str = "anon_inode:[io_uring]";
/// The line in `/proc/PID/fdinfo` before the files of a ring. The line has the size of their table.
const RING_FILES: &str = "UserFiles:";
/// The files of a ring are read so many times if there are none. The kernel shows none while the
/// process works on the ring, which takes microseconds.
const RING_READS: usize = 20;
/// The event loop's thread reads `/proc` for at most this many processes at a time.
pub const MOST_READ: usize = 256;

/// A living process below drainit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Descendant {
    pub pid: Pid,
    pub group: Pid,
    /// The `comm` of the process (at most 15 bytes), which the process can set itself. Control
    /// characters are replaced. The name is empty without `/proc`.
    pub name: String,
    /// The start time of the process, in ticks since boot; 0 without `/proc`. The start time and
    /// the pid together identify a process.
    pub started: u64,
}

impl Descendant {
    /// Whether the pid still belongs to the process that was found.
    pub(super) fn is_same(&self) -> bool {
        Stat::read(self.pid).is_some_and(|now| now.process.started == self.started)
    }

    /// Whether the process was started by this time; also `true` in the tick of this time.
    pub fn is_started_by(&self, time: Time) -> bool {
        let rate = sysconf(SysconfVar::CLK_TCK).ok().flatten().unwrap_or(100);
        u128::from(self.started) <= time.0.as_millis() * u128::from(rate.unsigned_abs()) / 1000
    }
}

/// Finds all living descendants of drainit. The scan ends early if `is_over` returns true. The scan
/// may take seconds, because `/proc` may list tens of thousands of processes.
///
/// # Errors
/// Fails if there is no `/proc`, or if `/proc` shows another PID namespace.
pub(super) fn find(is_over: &dyn Fn() -> bool) -> io::Result<Vec<Descendant>> {
    let own = std::process::id().cast_signed();
    let mut by_parent: HashMap<Pid, Vec<Stat>> = HashMap::new();
    for stat in processes()?.take_while(|_| !is_over()) {
        by_parent.entry(stat.parent).or_default().push(stat);
    }
    let mut found = Vec::new();
    let mut parents = vec![own];
    while let Some(parent) = parents.pop() {
        for stat in by_parent.remove(&parent).unwrap_or_default() {
            parents.push(stat.process.pid);
            if stat.is_alive {
                found.push(stat.process);
            }
        }
    }
    Ok(found)
}

/// The living children of drainit's main thread, the newest first. Skips a child if `wanted`
/// returns false for its pid, and reads at most `most` of the other children. Calls `wanted` just
/// before each read. The children include all orphans (`find_new_reaper` in exit.c). Returns
/// nothing if the kernel lists no children (if it has no `CONFIG_PROC_CHILDREN`).
pub fn living_children(most: usize, wanted: impl Fn(Pid) -> bool) -> impl Iterator<Item = Stat> {
    let wanted = children().into_iter().rev().filter(move |pid| wanted(*pid)).take(most);
    wanted.filter_map(Stat::read).filter(|stat| stat.is_alive)
}

/// The pids of the children of drainit's main thread, with those that a `/proc` mounted with
/// `hidepid` hides. Empty as for [`living_children`].
pub(super) fn children() -> Vec<Pid> {
    let own = std::process::id();
    started_by(Path::new(&format!("/proc/self/task/{own}")))
}

/// The pids of the children that this thread has started; `thread` is its directory in `/proc`. Empty
/// as for [`living_children`].
fn started_by(thread: &Path) -> Vec<Pid> {
    let list = fs::read_to_string(thread.join("children")).unwrap_or_default();
    list.split_ascii_whitespace().flat_map(str::parse).collect()
}

/// The living children of the main thread of this process, at most [`MOST_READ`] of them. Empty
/// without a `/proc` of drainit's PID namespace, or if the kernel lists no children.
pub fn children_of(pid: Pid) -> Vec<Descendant> {
    if !is_proc_ours() {
        return Vec::new();
    }
    let pids = started_by(Path::new(&format!("/proc/{pid}/task/{pid}"))).into_iter();
    let living = pids.take(MOST_READ).filter_map(Stat::read).filter(|stat| stat.is_alive);
    living.map(|stat| stat.process).collect()
}

/// The living descendants of this process. Call this on a thread of its own, because there may be
/// many. Empty as for [`children_of`].
pub fn all_below(pid: Pid) -> Vec<Descendant> {
    let mut found: Vec<Descendant> = Vec::new();
    let (mut parent, mut next) = (pid, 0);
    while is_proc_ours() {
        // Each thread has a list of the children that it has started.
        let threads = fs::read_dir(format!("/proc/{parent}/task")).into_iter().flatten().flatten();
        let pids = threads.flat_map(|thread| started_by(&thread.path()));
        let living = pids.filter_map(Stat::read).filter(|stat| stat.is_alive);
        found.extend(living.map(|stat| stat.process));
        let Some(process) = found.get(next) else { break };
        (parent, next) = (process.pid, next + 1);
    }
    found
}

/// The living children of drainit's main thread that a `/proc` mounted with `hidepid` hides. The
/// thread's list of children has their pids nevertheless.
pub fn hidden_children() -> Vec<Pid> {
    let is_hidden = |pid: &Pid| Stat::read(*pid).is_none() && is_living_child(*pid);
    children().into_iter().filter(is_hidden).collect()
}

/// The living members of a process group that descend from drainit. Empty without a `/proc` of
/// drainit's PID namespace.
pub(super) fn own_members(leader: Pid) -> Vec<Descendant> {
    let members = members_of(&BTreeSet::from([leader])).unwrap_or_default();
    members.into_values().flatten().collect()
}

/// For each of these process groups, its living members that descend from drainit. A group without
/// members has no entry. The entry of a group is empty if each member is a zombie or does not
/// descend from drainit. Like [`find`], this may take seconds.
///
/// # Errors
/// As for [`find`].
pub fn members_of(leaders: &BTreeSet<Pid>) -> io::Result<BTreeMap<Pid, Vec<Descendant>>> {
    let own = std::process::id().cast_signed();
    let mut groups: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for stat in processes()?.filter(|stat| leaders.contains(&stat.process.group)) {
        let living = groups.entry(stat.process.group).or_default();
        let is_own = |member: &Descendant| kin(member.pid, own) == Kin::Own;
        living.extend(Some(stat.process).filter(|_| stat.is_alive).filter(is_own));
    }
    Ok(groups)
}

/// The inodes of the sockets that drainit itself has open.
pub fn own_sockets() -> BTreeSet<u32> {
    let mut found = BTreeSet::new();
    let _ = open_sockets(std::process::id().cast_signed(), &mut found);
    found
}

/// Whether a process has one of these sockets open, as far as drainit sees.
pub fn has_open(pid: Pid, inodes: &BTreeSet<u32>) -> bool {
    let mut found = BTreeSet::new();
    let _ = open_sockets(pid, &mut found);
    !found.is_disjoint(inodes)
}

/// A process that has one of these sockets open; `None` if there is none that drainit may see.
///
/// # Errors
/// As for [`find`].
pub fn holder(inodes: &BTreeSet<u32>) -> io::Result<Option<Descendant>> {
    let mut all = processes()?.map(|stat| stat.process);
    Ok(all.find(|process| has_open(process.pid, inodes)))
}

/// The sockets that some processes have open.
#[derive(Debug, Default)]
pub struct Sockets {
    pub inodes: BTreeSet<u32>,
    /// The error if drainit may not see the descriptors of some of these processes.
    pub hidden: Option<io::Error>,
    /// Whether one of these processes listens in another network namespace.
    pub is_elsewhere: bool,
}

impl Sockets {
    fn may_have(&self, inode: u32) -> bool {
        self.hidden.is_some() || self.inodes.contains(&inode)
    }
}

/// Which processes have which sockets open: the result of [`holders`].
#[derive(Debug)]
pub struct Holders<K> {
    /// The sockets of each instance that was asked for.
    pub of_each: BTreeMap<K, Sockets>,
    /// The sockets of strays: descendants of drainit that belong to no instance.
    pub strays: Sockets,
    /// With `reads_all` of [`holders`]: the sockets of all other processes in `/proc`, as far as
    /// drainit may see them.
    pub rest: BTreeSet<u32>,
}

impl<K> Default for Holders<K> {
    fn default() -> Self {
        let (of_each, strays) = (BTreeMap::new(), Sockets::default());
        Self { of_each, strays, rest: BTreeSet::new() }
    }
}

impl<K: Ord> Holders<K> {
    /// Whether the instance or a stray has this socket open. Also true if drainit may not see all
    /// of their sockets.
    pub fn has(&self, key: &K, inode: u32) -> bool {
        let own = self.of_each.get(key).is_some_and(|own| own.may_have(inode));
        own || self.strays.may_have(inode)
    }

    /// Like [`Self::has`], but also true for a socket that nobody has open, as far as drainit sees.
    /// The descriptor of such a socket may be in a message between two processes (`SCM_RIGHTS`).
    pub fn may_have(&self, key: &K, inode: u32) -> bool {
        self.has(key, inode) || !self.is_seen(inode)
    }

    /// Whether any process has this socket open, as far as drainit sees.
    pub fn is_seen(&self, inode: u32) -> bool {
        let mut all = self.of_each.values().chain([&self.strays]).map(|it| &it.inodes);
        self.rest.contains(&inode) || all.any(|inodes| inodes.contains(&inode))
    }
}

/// Finds the open sockets of the processes and sessions in `leaders`, and of their descendants. The
/// result groups these sockets by the values in `leaders`. A descendant of two leaders belongs to
/// the nearer leader. `known` has the processes of all instances. Also finds the sockets of strays;
/// with `reads_all`, also those of all other processes. Call this on a thread of its own: it reads
/// all of `/proc`.
///
/// # Errors
/// As for [`find`].
pub fn holders<K: Copy + Ord>(
    leaders: &BTreeMap<Pid, K>,
    known: &BTreeSet<Pid>,
    reads_all: bool,
) -> io::Result<Holders<K>> {
    let own = std::process::id().cast_signed();
    let stats: BTreeMap<_, _> = processes()?.map(|stat| (stat.process.pid, stat)).collect();
    let (mut found, network) = (Holders::default(), network_of(own));
    for (pid, _) in stats.iter().filter(|(_, stat)| stat.is_alive) {
        let parents = || successors(Some(*pid), |pid| Some(stats.get(pid)?.parent)).take(MAX_DEPTH);
        // As in `kin`, an orphan is recognized by its session.
        let sessions = parents().filter_map(|pid| Some(stats.get(&pid)?.session));
        let mut all = parents().chain(sessions);
        let leader = all.find(|pid| leaders.contains_key(pid) || known.contains(pid));
        let of = match leader.map(|leader| leaders.get(&leader)) {
            Some(Some(key)) => found.of_each.entry(*key).or_default(),
            None if parents().skip(1).any(|pid| pid == own) => &mut found.strays,
            _ if reads_all => {
                let _ = open_sockets(*pid, &mut found.rest);
                continue;
            }
            _ => continue,
        };
        let result = open_sockets(*pid, &mut of.inodes);
        let is_denied = |error: &io::Error| error.kind() == io::ErrorKind::PermissionDenied;
        of.hidden = of.hidden.take().or(result.err().filter(is_denied));
        of.is_elsewhere = of.is_elsewhere || listens_elsewhere(*pid, &network, &of.inodes);
    }
    Ok(found)
}

/// Whether a process has ended, or is ending and no longer has its table of descriptors
/// (`exit_files`). The kernel may then have closed some sockets of the process.
pub fn is_closing(pid: Pid) -> bool {
    let is_ending = Stat::read(pid).is_none_or(|stat| !stat.is_alive || stat.is_exiting());
    is_ending && descriptors(pid).map_or(true, |mut all| all.next().is_none())
}

/// Whether every thread of a process is exiting. The process then runs none of its code any more,
/// and SIGKILL cannot end it sooner: the kernel frees what the process had. `false` if that is
/// unknown, as for more than [`MOST_READ`] threads, or without a `/proc` of drainit's PID namespace.
pub fn is_exiting(pid: Pid) -> bool {
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else { return false };
    let exits = |thread: fs::DirEntry| match fs::read(thread.path().join("stat")) {
        Ok(stat) => Stat::parse(&stat).is_some_and(|stat| stat.is_exiting()),
        // A thread that is gone has exited.
        Err(error) => [Errno::ENOENT, Errno::ESRCH].contains(&errno(&error)),
    };
    let mut threads = threads.flatten();
    is_proc_ours() && threads.by_ref().take(MOST_READ).all(exits) && threads.next().is_none()
}

/// The descriptors of a process. If its main thread has ended, lists those of its threads.
fn descriptors(pid: Pid) -> io::Result<impl Iterator<Item = fs::DirEntry>> {
    let mut own = fs::read_dir(format!("/proc/{pid}/fd"))?.flatten().peekable();
    let threads = match own.peek() {
        Some(_) => None,
        None => fs::read_dir(format!("/proc/{pid}/task")).ok(),
    };
    let of_thread = |thread: fs::DirEntry| fs::read_dir(thread.path().join("fd")).ok();
    Ok(own.chain(threads.into_iter().flatten().flatten().filter_map(of_thread).flatten().flatten()))
}

/// Adds the inodes of a process's open sockets to `found`, with those that the process has open only
/// in a ring of io_uring(7), without a descriptor. With the capability to trace, every
/// thread of drainit may see them. Without the capability, only a thread with the ids of the
/// process may see them.
fn open_sockets(pid: Pid, found: &mut BTreeSet<u32>) -> io::Result<()> {
    let mut read = || {
        for file in descriptors(pid)? {
            let target = match fs::read_link(file.path()) {
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return Err(error),
                target => target.unwrap_or_default(),
            };
            let target = target.to_str().unwrap_or_default();
            found.extend(socket(target));
            if target == RING {
                let info = file.path().into_os_string().into_string();
                found.extend(in_ring(&info.unwrap_or_default().replace("/fd/", "/fdinfo/"))?);
            }
        }
        Ok(())
    };
    match read() {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => as_owner(pid, read)?,
        read => read,
    }
}

/// The network namespace of a process; `None` if drainit may not see it.
fn network_of(pid: Pid) -> Option<PathBuf> {
    let read = || fs::read_link(format!("/proc/{pid}/ns/net")).ok();
    read().or_else(|| as_owner(pid, read).ok()?)
}

/// Whether a process runs in another network namespace than `own`, and one of the sockets `inodes`
/// listens there.
fn listens_elsewhere(pid: Pid, own: &Option<PathBuf>, inodes: &BTreeSet<u32>) -> bool {
    let is_other = own.is_some() && network_of(pid).is_some_and(|it| Some(it) != *own);
    is_other && tcp_listeners_of(pid).iter().any(|inode| inodes.contains(inode))
}

/// The inode of a socket whose file has this name.
fn socket(name: &str) -> Option<u32> {
    name.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

/// The sockets in a ring; `info` is the path of the ring in `/proc/PID/fdinfo`. Empty if the ring is
/// closed meanwhile.
fn in_ring(info: &str) -> io::Result<Vec<u32>> {
    let mut is_shown = false;
    for _ in 0..RING_READS {
        let text = match fs::read_to_string(info) {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return Err(error),
            text => text.unwrap_or_else(|_| format!("{RING_FILES}0")),
        };
        if let Some((_, files)) = text.split_once(RING_FILES) {
            is_shown = true;
            let mut lines = files.lines();
            let is_empty = lines.next().is_none_or(|size| size.trim() == "0");
            let files = lines.map_while(|line| line.trim_start().split_once(": "));
            let found: Vec<_> = files.filter_map(|(_, file)| socket(file)).collect();
            if is_empty || !found.is_empty() {
                return Ok(found);
            }
        }
        thread::yield_now();
    }
    let why = "the kernel does not show the sockets of its io_uring";
    match is_shown {
        true => Ok(Vec::new()),
        false => Err(io::Error::new(io::ErrorKind::PermissionDenied, why)),
    }
}

/// Calls `read` while this thread has the ids of the process. Without the capability to trace, only
/// such a thread may see the descriptors and the environment of a process.
pub(super) fn as_owner<T>(pid: Pid, read: impl FnOnce() -> T) -> io::Result<T> {
    let effective = |name| status_field(pid, name)?.split_ascii_whitespace().nth(1)?.parse().ok();
    let id = effective("Uid:").zip(effective("Gid:")).ok_or(io::ErrorKind::NotFound)?;
    // setfsgid and setfsuid change the ids of this thread only.
    let group = setfsgid(Gid::from_raw(id.1));
    let user = setfsuid(Uid::from_raw(id.0));
    let read = read();
    setfsuid(user);
    setfsgid(group);
    Ok(read)
}

/// Lists the processes in `/proc`, and leaves out processes that end during the read.
pub(super) fn processes() -> io::Result<impl Iterator<Item = Stat>> {
    if !is_proc_ours() {
        let message = "there is no /proc of our PID namespace";
        return Err(io::Error::new(io::ErrorKind::Unsupported, message));
    }
    let names = fs::read_dir("/proc")?.flatten().map(|entry| entry.file_name());
    Ok(names.filter_map(|name| Stat::read(name.to_str()?.parse().ok()?)))
}

/// Whether a process belongs to a child of drainit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kin {
    /// The process is the child itself, a descendant of the child, or in the child's session.
    Own,
    Stranger,
    /// The process has ended, so drainit cannot find out whether the process belonged to the child.
    Gone,
}

/// Finds out whether `pid` belongs to the child `leader`, which leads a session. Walks from parent
/// to parent. An orphan that drainit has inherited is recognized by its session, because no process
/// can join an existing session. Without a `/proc` of drainit's PID namespace, or if no walk comes
/// to an end, the session alone decides.
pub fn kin(pid: Pid, leader: Pid) -> Kin {
    let own = std::process::id().cast_signed();
    if pid == leader {
        return Kin::Own;
    }
    if !is_proc_ours() {
        return kin_by_session(pid, leader);
    }
    'again: for _ in 0..MAX_WALKS {
        let (mut next, mut is_in_session) = (pid, false);
        for _ in 0..MAX_DEPTH {
            if next == leader || next == own {
                return if next == leader || is_in_session { Kin::Own } else { Kin::Stranger };
            }
            if next <= 1 {
                return Kin::Stranger;
            }
            // Either the process itself or one of its ancestors has ended. If an ancestor has
            // ended, the child of that ancestor has another parent now, so another walk can
            // succeed.
            let Some(stat) = Stat::read(next) else { continue 'again };
            is_in_session |= stat.session == leader;
            next = stat.parent;
        }
    }
    kin_by_session(pid, leader)
}

fn kin_by_session(pid: Pid, leader: Pid) -> Kin {
    match session_of(pid) {
        Some(session) if session == leader => Kin::Own,
        Some(_) => Kin::Stranger,
        None => Kin::Gone,
    }
}

/// Whether this process is a child of `pid`, or a child of such a child, and so on.
pub fn descends_from(pid: Pid) -> bool {
    let parent = |pid: &Pid| Stat::read(*pid).map(|stat| stat.parent).filter(|it| *it > 0);
    core::iter::successors(parent(&std::process::id().cast_signed()), parent)
        .any(|above| above == pid)
}

/// The session of a process or zombie; `None` if the process does not exist.
pub fn session_of(pid: Pid) -> Option<Pid> {
    Some(getsid(Some(nix::unistd::Pid::from_raw(pid))).ok()?.as_raw())
}

/// The real user id that a process has now; `None` after the end of the process, or without a
/// `/proc` of drainit's PID namespace.
pub fn user_of(pid: Pid) -> Option<u32> {
    let users = status_field(pid, "Uid:").filter(|_| is_proc_ours())?;
    users.split_ascii_whitespace().next()?.parse().ok()
}

/// A field of `/proc/PID/status`. This file need not be UTF-8, because the name of the program may
/// have any bytes.
pub fn status_field(pid: Pid, name: &str) -> Option<String> {
    let status = fs::read(format!("/proc/{pid}/status")).ok()?;
    let status = String::from_utf8_lossy(&status);
    Some(status.lines().find_map(|line| line.strip_prefix(name))?.trim().to_owned())
}

/// The pid and the name of a process for a message; the pid alone if the name is unknown.
pub fn describe(pid: Pid) -> String {
    let name = Stat::read(pid).map(|stat| stat.process.name).unwrap_or_default();
    list(&[Descendant { pid, group: pid, name, started: 0 }])
}

/// Whether `/proc` shows drainit's PID namespace.
pub(super) fn is_proc_ours() -> bool {
    let own = std::process::id().to_string();
    fs::read_link("/proc/self").is_ok_and(|target| target.to_str() == Some(own.as_str()))
}

/// Names processes in one line, at most [`MAX_LISTED`] of them.
pub fn list(processes: &[Descendant]) -> String {
    let mut sorted: Vec<_> = processes.iter().collect();
    sorted.sort_by_key(|process| process.pid);
    let name = |process: &&Descendant| match process.name.as_str() {
        "" => process.pid.to_string(),
        name => format!("{} ({name})", process.pid),
    };
    let list: Vec<_> = sorted.iter().take(MAX_LISTED).map(name).collect();
    let more = match processes.len().saturating_sub(MAX_LISTED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!("{}{more}", list.join(", "))
}

/// The fields of `/proc/PID/stat` that drainit uses.
#[derive(Debug)]
pub struct Stat {
    pub process: Descendant,
    pub parent: Pid,
    pub session: Pid,
    /// The `PF_` flags of linux/sched.h.
    flags: u64,
    /// The processor time that the process has used, in ticks.
    pub used: u64,
    pub is_alive: bool,
    /// Whether the main thread runs, waits for a processor, or waits for a disk.
    pub is_busy: bool,
}

impl Stat {
    /// Whether the main thread is exiting, or has exited.
    fn is_exiting(&self) -> bool {
        /// `PF_EXITING` of linux/sched.h.
        const EXITING: u64 = 4;
        self.flags & EXITING != 0
    }

    pub fn read(pid: Pid) -> Option<Self> {
        Self::parse(&fs::read(format!("/proc/{pid}/stat")).ok()?)
    }

    /// Parses `PID (NAME) STATE PPID …`. The name may contain blanks and parentheses; the last `)`
    /// ends the name.
    pub fn parse(stat: &[u8]) -> Option<Self> {
        let text = String::from_utf8_lossy(stat);
        let (pid, rest) = text.split_once(" (")?;
        let (name, rest) = rest.rsplit_once(") ")?;
        // proc(5) counts the fields from 1. `rest` begins with field 3, the state.
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
        let field = |number: usize| fields.get(number - 3).copied();
        let number = |at: usize| field(at)?.parse::<u64>().ok();
        let threads = number(20)?;
        let is_dead = matches!(field(3)?, "Z" | "X");
        Some(Self {
            process: Descendant {
                pid: pid.parse().ok()?,
                group: field(5)?.parse().ok()?,
                name: harmless(name).into_owned(),
                started: number(22)?,
            },
            parent: field(4)?.parse().ok()?,
            session: field(6)?.parse().ok()?,
            flags: number(9)?,
            used: number(14)?.saturating_add(number(15)?),
            // A process also looks like a zombie if its main thread has ended before its other
            // threads.
            is_alive: !is_dead || threads > 1,
            is_busy: matches!(field(3)?, "R" | "D"),
        })
    }
}

#[cfg(test)]
#[allow(clippy::zombie_processes)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;
    use crate::testing::isolated::in_own_process;

    #[test]
    fn a_list_names_ten_processes_in_order_and_counts_the_others() {
        let of = |pid: Pid, name: &str| Descendant {
            pid,
            group: pid,
            name: name.to_owned(),
            started: 0,
        };
        assert_eq!(list(&[of(7, "sh"), of(3, ""), of(5, "db")]), "3, 5 (db), 7 (sh)");
        let many: Vec<_> = (1..=12).rev().map(|pid| of(pid, "")).collect();
        let ten = "1, 2, 3, 4, 5, 6, 7, 8, 9, 10";
        assert_eq!(list(&many[2..]), ten);
        assert_eq!(list(&many[1..]), format!("{ten} and 1 more"));
        assert_eq!(list(&many), format!("{ten} and 2 more"));
    }

    #[test]
    fn session_decides_where_there_is_no_proc() {
        let (own, session) = (std::process::id().cast_signed(), getsid(None).unwrap().as_raw());
        assert_eq!(kin_by_session(own, session), Kin::Own);
        assert_eq!(kin_by_session(own, session + 1), Kin::Stranger);
        // No process has so large a pid (proc(5), `pid_max`).
        assert_eq!(kin_by_session(Pid::MAX, session), Kin::Gone);
    }

    // holds: S840
    #[test]
    fn a_process_is_exiting_only_if_all_threads_are_exiting() {
        in_own_process(|| {
            assert!(!is_exiting(std::process::id().cast_signed()));
            assert!(!is_exiting(Pid::MAX));
            let mut child = Command::new("true").spawn().unwrap();
            let pid = child.id().cast_signed();
            while is_living_child(pid) {
                std::thread::yield_now();
            }
            assert!(is_exiting(pid), "a zombie");
            child.wait().unwrap();
            // The main thread ends, and another thread works on.
            let program = "import ctypes, threading\nthreading.Thread(target=input).start()\n\
                           ctypes.CDLL(None).pthread_exit(None)";
            let mut python = Command::new("python3");
            let python = python.args(["-c", program]).stdin(Stdio::piped()).spawn();
            let Ok(mut python) = python else { return };
            let pid = python.id().cast_signed();
            let is_alone = || Stat::read(pid).is_some_and(|stat| stat.is_exiting());
            while !is_alone() && python.try_wait().unwrap().is_none() {
                std::thread::yield_now();
            }
            assert!(is_alone() && !is_exiting(pid));
            drop(python.stdin.take());
            python.wait().unwrap();
        });
    }

    #[test]
    fn a_name_may_contain_blanks_and_parentheses() {
        let line = b"42 (a) b (c) R 7 1 1 0 -1 0 0 0 0 0 150 50 0 0 20 0 3 0 9000 0\n";
        let stat = Stat::parse(line).unwrap();
        let process = Descendant { pid: 42, group: 1, name: "a) b (c".to_owned(), started: 9000 };
        assert_eq!((stat.process, stat.parent, stat.is_alive), (process, 7, true));
        assert_eq!((stat.used, stat.is_busy), (200, true));
        let zombie = b"42 (x) Z 7 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 9000 0\n";
        assert!(!Stat::parse(zombie).unwrap().is_alive);
        let leader = b"42 (x) Z 7 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 2 0 9000 0\n";
        let leader = Stat::parse(leader).unwrap();
        assert!(leader.is_alive && !leader.is_busy);
        for broken in [&b""[..], b"42", b"42 (x) R 7", b"x (x) R"] {
            assert!(Stat::parse(broken).is_none());
        }
    }
}
