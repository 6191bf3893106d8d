//! What is left over at the end: descendants of drainit that are no longer children of anything it started, such as
//! daemons that left their process group.
//!
//! Only descendants are touched. Where the PID namespace is shared, and for what `docker exec` starts in it (whose parent
//! is 0), other processes are not ours.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::io;
use std::ops::RangeInclusive;
use std::thread;
use std::time::Duration;

use nix::errno::Errno;

use crate::os::reap;
use crate::os::reap::Pid;
use crate::os::signal::mask;
use crate::os::{clock, sys};
use crate::types::{Signal, Time, harmless};

/// How often the list is read again, and for how long, while new processes appear: what forks faster than it is found
/// must not hold up the end.
const MAX_PASSES: usize = 16;
const MAX_DEPTH: usize = 256;
const MAX_TIME: Duration = Duration::from_millis(250);
/// The highest pid there can be (`PID_MAX_LIMIT` in the kernel's threads.h).
const MAX_PID: Pid = 4 * 1024 * 1024;
/// So many pids are tried between two looks at the clock.
const PIDS_AT_ONCE: usize = 1024;
/// So many of the processes that are left over are named.
const LISTED: usize = 10;

/// A living process below drainit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Descendant {
    /// Its pid.
    pub pid: Pid,
    /// Its name (`comm`, at most 15 bytes), which it may have chosen itself, made harmless; empty
    /// where there is no `/proc`.
    pub name: String,
    /// When it started, in ticks since boot. Together with the pid it names a process for good. 0 where there is no `/proc`.
    started: u64,
}

/// Whom a look has reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Swept {
    /// These.
    These(Vec<Descendant>),
    /// Without a `/proc` of our namespace, and as its PID 1: everybody in it, whoever that is.
    Everybody,
}

/// All living descendants of drainit.
///
/// # Errors
/// Where there is no `/proc`, or one of another PID namespace.
#[cfg(test)]
fn left_over() -> io::Result<Vec<Descendant>> {
    left_over_within(clock::now() + MAX_TIME)
}

/// All living descendants of drainit; where others have so many processes that `/proc` cannot be read by `end`, not all are found.
fn left_over_within(end: Time) -> io::Result<Vec<Descendant>> {
    let own = std::process::id().cast_signed();
    if !is_proc_ours() {
        let message = "there is no /proc of our PID namespace";
        return Err(io::Error::new(io::ErrorKind::Unsupported, message));
    }
    let mut by_parent: HashMap<Pid, Vec<Stat>> = HashMap::new();
    for entry in fs::read_dir("/proc")? {
        let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        if clock::now() > end {
            break;
        }
        // What has gone in the meantime is not left over.
        if let Some(stat) = Stat::read(pid) {
            by_parent.entry(stat.parent).or_default().push(stat);
        }
    }
    let mut found = Vec::new();
    let mut parents = vec![own];
    while let Some(parent) = parents.pop() {
        for stat in by_parent.remove(&parent).unwrap_or_default() {
            parents.push(stat.process.pid);
            if stat.lives {
                found.push(stat.process);
            }
        }
    }
    found.sort_by_key(|process| process.pid);
    Ok(found)
}

/// The living members of a process group, as far as `/proc` can tell.
#[must_use]
pub(crate) fn members_of_group(leader: Pid) -> Vec<Descendant> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let names = entries.flatten().map(|entry| entry.file_name());
    let pids = names.filter_map(|name| name.to_str()?.parse().ok());
    let members = pids.filter_map(Stat::read).filter(|stat| stat.lives && stat.group == leader);
    members.map(|stat| stat.process).collect()
}

/// Whom a process belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kin {
    /// To the process that was asked about: itself, below it, or in its process group.
    Own,
    /// To somebody else.
    Stranger,
    /// It has ended, and nobody can tell.
    Gone,
}

/// Whether `pid` belongs to the child `leader`, as far as the kernel can tell. Going up from parent
/// to parent, the first child of drainit's that is met decides (`is_child` tells who is one);
/// whoever has lost its parent, and has come to drainit, is known by its process group only.
/// Without a `/proc` of our PID namespace that is all that can be asked for.
pub(crate) fn kin(pid: Pid, leader: Pid, is_child: impl Fn(Pid) -> bool) -> Kin {
    let by_group = || match reap::group_of(pid) {
        Some(group) if group == leader => Kin::Own,
        Some(_) => Kin::Stranger,
        None => Kin::Gone,
    };
    if pid == leader {
        return Kin::Own;
    }
    let own = std::process::id().cast_signed();
    if !is_proc_ours() {
        return by_group();
    }
    'again: for _ in 0..MAX_PASSES {
        let (mut next, mut is_in_group) = (pid, false);
        for _ in 0..MAX_DEPTH {
            if next == leader || next == own {
                return if next == leader || is_in_group { Kin::Own } else { Kin::Stranger };
            }
            if next <= 1 || is_child(next) {
                return Kin::Stranger;
            }
            match Stat::read(next) {
                Some(stat) => {
                    is_in_group |= stat.group == leader;
                    next = stat.parent;
                }
                None if next == pid => return by_group(),
                // A parent has ended meanwhile, and its child has another one.
                None => continue 'again,
            }
        }
    }
    by_group()
}

/// How a process is called, for a message; its pid where nobody can tell.
pub(crate) fn describe(pid: Pid) -> String {
    let name = Stat::read(pid).map(|stat| stat.process.name).unwrap_or_default();
    list(&[Descendant { pid, name, started: 0 }])
}

/// Whether `/proc` is that of our PID namespace.
fn is_proc_ours() -> bool {
    let own = std::process::id().to_string();
    fs::read_link("/proc/self").is_ok_and(|target| target.to_str() == Some(own.as_str()))
}

/// Who they are, in a line that thousands of them do not fill.
#[must_use]
pub fn list(processes: &[Descendant]) -> String {
    let name = |process: &Descendant| match process.name.as_str() {
        "" => process.pid.to_string(),
        name => format!("{} ({name})", process.pid),
    };
    let list: Vec<_> = processes.iter().take(LISTED).map(name).collect();
    let more = match processes.len().saturating_sub(LISTED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!("{}{more}", list.join(", "))
}

/// One signal for all descendants, and CONT after it for what is stopped. What forks and ends faster than `/proc` is read
/// may be missed by a look, and so one may be repeated, for as long as `reap::has_children` says that there is somebody.
#[derive(Debug)]
pub struct Sweep {
    signal: Signal,
    /// Who has been met, by pid and start.
    seen: BTreeSet<(Pid, u64)>,
    /// Whom the kernel does not let us signal, and nobody was told of yet.
    refused: Vec<Descendant>,
    /// Everybody there was has had it at once, and what they forked meanwhile: the kernel sees to that.
    is_done: bool,
    /// Without a `/proc`: the pid that is tried next.
    next: Pid,
}

impl Sweep {
    /// Nobody is signalled yet.
    #[must_use]
    pub const fn new(signal: Signal) -> Self {
        Self { signal, seen: BTreeSet::new(), refused: Vec::new(), is_done: false, next: 1 }
    }

    /// What it sends.
    #[must_use]
    pub const fn signal(&self) -> Signal {
        self.signal
    }

    /// Whether no look has found anybody yet.
    #[must_use]
    pub fn is_new(&self) -> bool {
        self.seen.is_empty()
    }

    /// Tells, once of each, who has been met but may not be signalled: whoever belongs to another user, where drainit is
    /// not root.
    pub fn refusal(&mut self) -> Option<String> {
        let refused = std::mem::take(&mut self.refused);
        let signal = self.signal;
        (!refused.is_empty()).then(|| {
            format!(
                "not allowed to send {signal} to {}, most likely another user's; run drainit as root, or all of them as \
                one user",
                list(&refused)
            )
        })
    }

    /// Sends the signal to all descendants that have not had it, and to those that they start meanwhile. Every living
    /// descendant counts, children with a role too.
    pub fn look(&mut self) -> Swept {
        let began = clock::now();
        let mut hit = Vec::new();
        if self.is_done {
            return Swept::These(hit);
        }
        for pass in 0..MAX_PASSES {
            let Ok(found) = left_over_within(began + MAX_TIME) else {
                if pass > 0 {
                    break;
                }
                return self.look_without_proc();
            };
            if !self.signal_new(found, &mut hit) || clock::now().since(began) > MAX_TIME {
                break;
            }
        }
        // What ends before it is come to in all of /proc is our child, as it has lost its parent; and these are few.
        for _ in 0..MAX_PASSES {
            if !self.signal_new(living_children(), &mut hit) {
                break;
            }
        }
        Swept::These(hit)
    }

    /// The init of a PID namespace reaches everybody in it. Anybody else asks the kernel of one pid after the other: whoever
    /// has lost its parent is our child, and its own children will be.
    fn look_without_proc(&mut self) -> Swept {
        if std::process::id() == 1 && signal_everybody(self.signal).is_ok() {
            self.is_done = true;
            return Swept::Everybody;
        }
        // They are given out in order, so most likely it is one of these.
        let own = std::process::id().cast_signed();
        Swept::These(self.look_among(own..=newest_pid()))
    }

    /// Tries these pids first, for half of the time at most: where there are millions of them, the others have their turn
    /// as well, and the next look goes on where this one ends.
    fn look_among(&mut self, likely: RangeInclusive<Pid>) -> Vec<Descendant> {
        let began = clock::now();
        let mut hit = Vec::new();
        self.signal_children(likely, began + MAX_TIME / 2, &mut hit);
        if hit.is_empty() {
            let all = (self.next..=MAX_PID).chain(1..self.next);
            self.next = self.signal_children(all, began + MAX_TIME, &mut hit).unwrap_or(self.next);
        }
        hit
    }

    /// Signals who of these is a living child; the pid at which time was up.
    fn signal_children(
        &mut self,
        pids: impl Iterator<Item = Pid>,
        end: Time,
        hit: &mut Vec<Descendant>,
    ) -> Option<Pid> {
        for (tried, pid) in pids.enumerate() {
            if tried % PIDS_AT_ONCE == 0 && clock::now() > end {
                return Some(pid);
            }
            if reap::is_living_child(pid) {
                let child = Descendant { pid, name: String::new(), started: 0 };
                self.signal_new(vec![child], hit);
            }
        }
        None
    }

    /// Signals those that have not been met before; whether there was one.
    fn signal_new(&mut self, found: Vec<Descendant>, hit: &mut Vec<Descendant>) -> bool {
        let mut is_new = false;
        for process in found {
            if self.seen.insert((process.pid, process.started)) {
                is_new = true;
                match process.signal(self.signal) {
                    Ok(true) => hit.push(process),
                    Ok(false) => {}
                    Err(_) => self.refused.push(process),
                }
            }
        }
        is_new
    }
}

/// The children of the main thread, to which all orphans go (`find_new_reaper` in the kernel's exit.c); nobody where the
/// kernel does not list them (`CONFIG_PROC_CHILDREN`).
fn living_children() -> Vec<Descendant> {
    let own = std::process::id();
    let list = fs::read_to_string(format!("/proc/self/task/{own}/children")).unwrap_or_default();
    let pids = list.split_ascii_whitespace().filter_map(|pid| pid.parse().ok());
    pids.filter_map(Stat::read).filter(|stat| stat.lives).map(|stat| stat.process).collect()
}

/// The pid that was given out last, which is a new thread's; 0 where there cannot be one.
fn newest_pid() -> Pid {
    let thread = thread::Builder::new().spawn(|| {
        mask::block_here();
        nix::unistd::gettid()
    });
    // The first thread of `exec`, which makes the C library let its own signals through here as well.
    mask::block_here();
    thread.ok().and_then(|thread| thread.join().ok()).map_or(0, nix::unistd::Pid::as_raw)
}

fn signal_everybody(signal: Signal) -> io::Result<()> {
    const EVERYBODY: i32 = -1;
    sys::kill(EVERYBODY, signal)?;
    sys::kill(EVERYBODY, Signal::CONT)
}

impl Descendant {
    /// Signals a process if it is still the one that was found. Grandchildren are reaped by their parents, so the kernel may
    /// give their pid to somebody else at any time; a pidfd taken before the check keeps its meaning. `false` where it has
    /// ended.
    fn signal(&self, signal: Signal) -> io::Result<bool> {
        if self.started == 0 {
            // Found as a child of ours, and nobody else has its pid before it is reaped.
            return self.signal_by_pid(signal);
        }
        let handle = sys::pidfd_open(self.pid);
        let is_same = Stat::read(self.pid).is_some_and(|now| now.process.started == self.started);
        if !is_same {
            return Ok(false);
        }
        let sent = handle.and_then(|handle| {
            sys::pidfd_send_signal(&handle, signal)?;
            // What is stopped would sleep through it; what has ended by then needs no more.
            let _ = sys::pidfd_send_signal(&handle, Signal::CONT);
            Ok(())
        });
        match sent {
            Ok(()) => Ok(true),
            Err(error) if error.raw_os_error() == Some(Errno::ESRCH as i32) => Ok(false),
            // An old kernel, or a seccomp profile that does not know pidfds.
            Err(_) => self.signal_by_pid(signal),
        }
    }

    fn signal_by_pid(&self, signal: Signal) -> io::Result<bool> {
        let sent = reap::kill(self.pid, signal)?;
        let _ = reap::kill(self.pid, Signal::CONT);
        Ok(sent)
    }
}

/// What `/proc/PID/stat` says.
struct Stat {
    process: Descendant,
    parent: Pid,
    group: Pid,
    lives: bool,
}

impl Stat {
    fn read(pid: Pid) -> Option<Self> {
        Self::parse(&fs::read(format!("/proc/{pid}/stat")).ok()?)
    }

    /// `PID (NAME) STATE PPID …`; the name may hold blanks and parentheses, so it ends at the last of these.
    fn parse(stat: &[u8]) -> Option<Self> {
        let text = String::from_utf8_lossy(stat);
        let (pid, rest) = text.split_once(" (")?;
        let (name, rest) = rest.rsplit_once(") ")?;
        // proc(5) counts the fields from 1, and the state is the third.
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
        let field = |number: usize| fields.get(number - 3).copied();
        let threads: u64 = field(20)?.parse().ok()?;
        let is_dead = matches!(field(3)?, "Z" | "X");
        Some(Self {
            process: Descendant {
                pid: pid.parse().ok()?,
                name: harmless(name).into_owned(),
                started: field(22)?.parse().ok()?,
            },
            parent: field(4)?.parse().ok()?,
            group: field(5)?.parse().ok()?,
            // A main thread may end before the others, and then looks like a zombie.
            lives: !is_dead || threads > 1,
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::zombie_processes)]
mod tests {
    use super::*;
    use crate::os::reap::{Reaped, kill, reap_next};
    use crate::testing::isolated::{alone, alone_as_init};
    use crate::types::End;
    use std::io::{BufRead, BufReader};
    use std::process::{Command, Stdio};

    #[test]
    fn a_name_may_hold_anything() {
        let line = b"42 (a) b (c) R 7 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 3 0 9000 0\n";
        let stat = Stat::parse(line).unwrap();
        let process = Descendant { pid: 42, name: "a) b (c".to_owned(), started: 9000 };
        assert_eq!((stat.process, stat.parent, stat.lives), (process, 7, true));
        let zombie = b"42 (x) Z 7 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 9000 0\n";
        assert!(!Stat::parse(zombie).unwrap().lives);
        let leader = b"42 (x) Z 7 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 2 0 9000 0\n";
        assert!(Stat::parse(leader).unwrap().lives);
        for broken in [&b""[..], b"42", b"42 (x) R 7", b"x (x) R"] {
            assert!(Stat::parse(broken).is_none());
        }
    }

    #[test]
    fn daemons_are_found_and_others_are_not() {
        alone("os::sweep::tests::daemons_are_found_and_others_are_not", || {
            nix::sys::prctl::set_child_subreaper(true).unwrap();
            assert_eq!(left_over().unwrap(), []);
            // Two generations away from us, in a session of their own.
            let script = "setsid sh -c 'sleep 60 & sleep 60 & echo $!; wait' & read gone";
            let mut shell = Command::new("sh")
                .args(["-c", script])
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            let mut line = String::new();
            BufReader::new(shell.stdout.take().unwrap()).read_line(&mut line).unwrap();
            let sleeper: Pid = line.trim().parse().unwrap();
            drop(shell.stdin.take());
            let ended = shell.id().cast_signed();
            while reap_next().unwrap() != Reaped::Child(ended, End::Code(1)) {
                thread::yield_now();
            }

            let found = left_over().unwrap();
            assert_eq!(found.len(), 3, "{found:?}");
            // Which of them has reached its exec, nobody knows; the first did before it wrote.
            assert!(found.iter().any(|process| process.name == "sh"), "{found:?}");
            assert!(found.iter().any(|process| process.pid == sleeper), "{found:?}");
            assert!(kill(sleeper, Signal::CONT).unwrap());
            let Swept::These(hit) = Sweep::new(Signal::KILL).look() else { panic!("no /proc") };
            assert_eq!(hit.len(), 3);
            while reap_next().unwrap() != Reaped::NoChildren {
                thread::yield_now();
            }
            assert_eq!(left_over().unwrap(), []);
        });
    }

    #[test]
    fn more_pids_than_there_is_time_for_hide_nobody() {
        alone("os::sweep::tests::more_pids_than_there_is_time_for_hide_nobody", || {
            let pid = Command::new("sleep").arg("60").spawn().unwrap().id().cast_signed();
            let mut sweep = Sweep::new(Signal::KILL);
            // Ten would do for all pids that there are, on a machine that has nothing else to do.
            let hit = (0..500).find_map(|_| sweep.look_among(MAX_PID..=Pid::MAX).pop());
            assert_eq!(hit.unwrap().pid, pid);
        });
    }

    #[test]
    fn a_pid_that_belongs_to_somebody_else_by_now_is_left_alone() {
        alone("os::sweep::tests::a_pid_that_belongs_to_somebody_else_by_now_is_left_alone", || {
            let mut child = Command::new("sleep").arg("60").spawn().unwrap();
            let mut found = left_over().unwrap();
            found[0].started += 1;
            assert!(!found[0].signal(Signal::KILL).unwrap());
            found[0].started -= 1;
            assert!(found[0].signal(Signal::KILL).unwrap());
            assert!(!child.wait().unwrap().success());
        });
    }

    #[test]
    fn without_its_own_proc_only_an_init_signals_everybody() {
        let name = "os::sweep::tests::without_its_own_proc_only_an_init_signals_everybody";
        alone_as_init(name, || {
            assert_eq!(std::process::id(), 1);
            assert!(left_over().is_err());
            let pid = Command::new("sleep").arg("60").spawn().unwrap().id().cast_signed();
            assert_eq!(Sweep::new(Signal::KILL).look(), Swept::Everybody);
            let killed = Reaped::Child(pid, End::Signal(Signal::KILL));
            while reap_next().unwrap() != killed {
                thread::yield_now();
            }
        });
    }
}
