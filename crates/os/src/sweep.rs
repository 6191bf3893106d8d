//! Signals every descendant of drainit, even a descendant that has left the process group of its
//! parent.

use std::collections::BTreeSet;
use std::io;

use crate::descendants::{
    Descendant, children, find, is_proc_ours, list, living_children, own_members,
};
use crate::kill::{Group, group_of, kill, kill_group, left_group};
use crate::reap::has_child_in_group;
use crate::{Pid, has_reached, sys};
use drainit_core::types::Signal;

/// A scan reads the list of processes again if the last read has found new processes, but at most
/// this many times. Without a limit, a scan of processes that keep forking would never end.
pub(super) const MAX_PASSES: usize = 16;

/// The processes that a scan has signalled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Swept {
    Signalled(Vec<Descendant>),
    /// Every process of the PID namespace, because drainit is PID 1 and has no `/proc` that lists
    /// its descendants.
    Everything,
}

/// The processes that a scan has signalled, and the children that `/proc` hides, which have got no
/// signal yet.
pub struct Scanned {
    pub swept: Swept,
    pub hidden: Vec<Pid>,
}

/// Sends one signal to all descendants, and then SIGCONT, because a stopped process cannot act on
/// the signal.
///
/// A scan may miss a process that forks and ends faster than `/proc` is read. The caller therefore
/// repeats the scan for as long as [`crate::reap::has_children`] is true.
#[derive(Debug)]
pub struct Sweep {
    signal: Signal,
    /// The processes that earlier scans have found, by pid and start time.
    seen: BTreeSet<(Pid, u64)>,
    /// The processes that drainit may not signal (EPERM) and has not reported yet.
    refused: Vec<Descendant>,
    /// All processes that drainit may not signal, by pid and start time.
    deaf: BTreeSet<(Pid, u64)>,
    /// Whether `kill(-1)` has signalled every process of the PID namespace, so that no scan is
    /// needed.
    is_done: bool,
}

impl Sweep {
    pub const fn new(signal: Signal) -> Self {
        Self {
            signal,
            seen: BTreeSet::new(),
            refused: Vec::new(),
            deaf: BTreeSet::new(),
            is_done: false,
        }
    }

    /// Whether this sweep has found that drainit may not signal the process.
    pub(super) fn is_refused(&self, process: &Descendant) -> bool {
        self.deaf.contains(&(process.pid, process.started))
    }

    /// Returns a message about the processes that drainit may not signal; `None` without such
    /// processes. Each process is reported once.
    pub fn refusal(&mut self) -> Option<String> {
        let refused = std::mem::take(&mut self.refused);
        let signal = self.signal;
        (!refused.is_empty()).then(|| {
            format!(
                "not allowed to send {signal} to {}, which most likely belong to another user; \
                 run drainit as root with the capability KILL, or run all processes as one user",
                list(&refused)
            )
        })
    }

    /// Sends the signal to all descendants that have not got it yet, including processes that start
    /// during the scan. Once `is_over` returns true, the scan signals no further process and ends.
    pub fn scan(&mut self, is_over: &dyn Fn() -> bool) -> Swept {
        let mut hit = Vec::new();
        if self.is_done {
            return Swept::Signalled(hit);
        }
        for pass in 0..MAX_PASSES {
            let Ok(found) = find(is_over) else {
                // Without `/proc`, drainit cannot list its descendants. If drainit is PID 1, it
                // signals the whole PID namespace instead.
                let is_init = std::process::id() == 1 && !is_over();
                if pass == 0 && is_init && signal_everything(self.signal).is_ok() {
                    self.is_done = true;
                    return Swept::Everything;
                }
                break;
            };
            if !self.signal_new(found, &mut hit, is_over) {
                break;
            }
        }
        // If the parent of a process ends during the scan, the process becomes a child of drainit,
        // and the scan may have missed it. Reading the list of children again is cheap.
        for _ in 0..MAX_PASSES {
            let children = self.new_children(is_over);
            if !self.signal_new(children, &mut hit, is_over) {
                break;
            }
        }
        Swept::Signalled(hit)
    }

    /// The living children that are new to this sweep. Once `is_over` returns true, no further
    /// child is read, so many zombies cannot prolong the scan.
    fn new_children(&self, is_over: &dyn Fn() -> bool) -> Vec<Descendant> {
        let is_seen = |pid| self.seen.range((pid, 0)..=(pid, u64::MAX)).next().is_some();
        let children = living_children(usize::MAX, |pid| !is_over() && !is_seen(pid));
        children.map(|stat| stat.process).collect()
    }

    /// Signals the processes that are new to this sweep. Returns whether there was a new process; a
    /// process that drainit may not signal counts. Returns false if the scan is over. If a process
    /// cannot be read now, the next scan tries it again.
    pub(super) fn signal_new(
        &mut self,
        found: Vec<Descendant>,
        hit: &mut Vec<Descendant>,
        is_over: &dyn Fn() -> bool,
    ) -> bool {
        let mut is_new = false;
        for process in found {
            if is_over() {
                return false;
            }
            let key = (process.pid, process.started);
            if self.seen.contains(&key) {
                continue;
            }
            match send(&process, self.signal) {
                Ok(true) => hit.push(process),
                Ok(false) => continue,
                Err(_) => {
                    self.deaf.insert(key);
                    self.refused.push(process);
                }
            }
            is_new |= self.seen.insert(key);
        }
        is_new
    }
}

/// Sends a signal, and then SIGCONT, to the members of a process group whose leader is reaped.
/// Returns `false` if no process has got the signal.
///
/// If the group ends during this call, the kernel may give its number to the group of a stranger.
/// While a child of drainit in the group is not reaped, the group keeps its number. Without such a
/// child, drainit signals each member separately, and only if the member descends from drainit.
/// Without a `/proc` of drainit's PID namespace, drainit signals the group nevertheless.
///
/// # Errors
/// Fails as [`kill_group`] does if drainit signals the group as a whole.
pub fn signal_left_group(leader: Pid, signal: Signal) -> io::Result<bool> {
    if left_group(leader) == Group::Gone {
        return Ok(false);
    }
    if has_child_in_group(leader) || !is_proc_ours() {
        let sent = kill_group(leader, signal)?;
        let _ = kill_group(leader, Signal::CONT);
        return Ok(sent);
    }
    let (mut sweep, mut hit) = (Sweep::new(signal), Vec::new());
    for _ in 0..MAX_PASSES {
        if !sweep.signal_new(own_members(leader), &mut hit, &|| false) {
            break;
        }
    }
    Ok(!hit.is_empty())
}

/// The children of drainit in these process groups. The search of 2,000 children takes 3 ms, because
/// one file lists them all.
pub fn children_in(leaders: &[Pid]) -> Vec<Pid> {
    let mut found = if is_proc_ours() { children() } else { Vec::new() };
    found.retain(|pid| group_of(*pid).is_some_and(|group| leaders.contains(&group)));
    found
}

fn signal_everything(signal: Signal) -> io::Result<()> {
    const EVERYTHING: i32 = -1;
    sys::kill(EVERYTHING, signal)?;
    // This fails if every process has ended and was reaped since the first signal.
    let _ = sys::kill(EVERYTHING, Signal::CONT);
    Ok(())
}

/// Signals the process that was found; returns `false` if that process has ended. The parent of the
/// process may reap it at any time, and the kernel may then reuse the pid. drainit therefore opens
/// a pidfd before it checks the process: the pidfd keeps referring to the process that was checked.
pub(super) fn send(process: &Descendant, signal: Signal) -> io::Result<bool> {
    let handle = sys::pidfd_open(process.pid);
    if !process.is_same() {
        return Ok(false);
    }
    let sent = handle.and_then(|handle| {
        sys::pidfd_send_signal(&handle, signal)?;
        let _ = sys::pidfd_send_signal(&handle, Signal::CONT);
        Ok(())
    });
    // The kernel may be old, or a seccomp profile may refuse pidfds.
    has_reached(sent).or_else(|_| send_by_pid(process.pid, signal))
}

fn send_by_pid(pid: Pid, signal: Signal) -> io::Result<bool> {
    let sent = kill(pid, signal)?;
    let _ = kill(pid, Signal::CONT);
    Ok(sent)
}

#[cfg(test)]
#[allow(clippy::zombie_processes)]
mod tests {
    use super::*;
    use crate::kill::{group, kill};
    use crate::reap::{Reaped, reap_next};
    use crate::testing::isolated::{in_own_pid_namespace, in_own_process};
    use drainit_core::types::End;
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    use std::cell::Cell;
    use std::io::{BufRead, BufReader};
    use std::os::unix::process::CommandExt;
    use std::process::{Command, Stdio};
    use std::thread;

    fn descendants() -> io::Result<Vec<Descendant>> {
        find(&|| false)
    }

    fn reap_until(last: Reaped) {
        while reap_next().unwrap() != last {
            thread::yield_now();
        }
    }

    // holds: S68
    #[test]
    fn daemons_are_found() {
        in_own_process(|| {
            nix::sys::prctl::set_child_subreaper(true).unwrap();
            assert_eq!(descendants().unwrap(), []);
            // The sleeps are two generations below drainit, in a session of their own.
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
            reap_until(Reaped::Child(ended, End::Code(1)));

            let found = descendants().unwrap();
            assert_eq!(found.len(), 3, "{found:?}");
            // The other two processes may not have executed `sleep` yet, so only the name of the
            // shell is certain.
            assert!(found.iter().any(|process| process.name == "sh"), "{found:?}");
            assert!(found.iter().any(|process| process.pid == sleeper), "{found:?}");
            assert!(kill(sleeper, Signal::CONT).unwrap());
            let Swept::Signalled(hit) = Sweep::new(Signal::KILL).scan(&|| false) else {
                panic!("no /proc")
            };
            assert_eq!(hit.len(), 3);
            reap_until(Reaped::NoChildren);
            assert_eq!(descendants().unwrap(), []);
        });
    }

    #[test]
    fn scan_that_is_over_reads_no_further_zombies() {
        in_own_process(|| {
            nix::sys::prctl::set_child_subreaper(true).unwrap();
            let script = ["-c", "sleep 60 & sleep 60 & sleep 60 &"];
            Command::new("sh").args(script).status().unwrap();
            let orphans = || living_children(usize::MAX, |_| true).map(|one| one.process.pid);
            while orphans().count() < 3 {
                thread::yield_now();
            }
            let looks = Cell::new(0);
            let is_over = || looks.replace(looks.get() + 1) > 0;
            assert!(living_children(usize::MAX, |_| !is_over()).next().is_some());
            assert_eq!(looks.get(), 1, "the limit is looked at before each read, not before all");
            for orphan in orphans().collect::<Vec<_>>() {
                kill(orphan, Signal::KILL).unwrap();
                while crate::reap::is_living_child(orphan) {
                    thread::yield_now();
                }
            }
            looks.set(0);
            assert_eq!(Sweep::new(Signal::KILL).new_children(&is_over), []);
            assert_eq!(looks.get(), 3, "zombies hide the limit");
        });
    }

    // holds: S68
    #[test]
    fn a_reused_pid_is_not_signalled() {
        in_own_process(|| {
            let mut child = Command::new("sleep").arg("60").spawn().unwrap();
            let mut found = descendants().unwrap();
            found[0].started += 1;
            assert!(!send(&found[0], Signal::KILL).unwrap());
            found[0].started -= 1;
            assert!(send(&found[0], Signal::KILL).unwrap());
            assert!(!child.wait().unwrap().success());
        });
    }

    // holds: S391
    #[test]
    fn a_process_that_could_not_be_read_is_tried_again() {
        in_own_process(|| {
            let mut child = Command::new("sleep").arg("60").spawn().unwrap();
            let found = descendants().unwrap();
            let (mut sweep, mut hit) = (Sweep::new(Signal::KILL), Vec::new());
            let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
            setrlimit(Resource::RLIMIT_NOFILE, 3, hard).unwrap();
            assert!(!sweep.signal_new(found.clone(), &mut hit, &|| false));
            setrlimit(Resource::RLIMIT_NOFILE, soft, hard).unwrap();
            assert!(sweep.signal_new(found, &mut hit, &|| false));
            assert!(!child.wait().unwrap().success());
        });
    }

    // holds: S260
    #[test]
    fn a_group_whose_number_is_reused_is_not_signalled() {
        if !nix::unistd::geteuid().is_root() {
            return; // only root may choose the next pid
        }
        in_own_pid_namespace(|| {
            let sleep = || Command::new("sleep").arg("60").process_group(0).spawn().unwrap();
            let reaped = |pid: Pid| {
                kill(pid, Signal::KILL).unwrap();
                reap_until(Reaped::Child(pid, End::Signal(Signal::KILL)));
            };
            let leader = sleep().id().cast_signed();
            reaped(leader);
            std::fs::write("/proc/sys/kernel/ns_last_pid", (leader - 1).to_string()).unwrap();
            let other = sleep().id().cast_signed();
            assert_eq!((other, group(leader)), (leader, Group::Lives));
            assert!(!signal_left_group(leader, Signal::KILL).unwrap());
            assert!(crate::reap::is_living_child(other));
            reaped(other);
            // A group whose leader is reaped gets the signal.
            let mut shell = Command::new("sh");
            let script = shell.args(["-c", "sleep 60 & exit 3"]).process_group(0);
            let leader = script.spawn().unwrap().id().cast_signed();
            reap_until(Reaped::Child(leader, End::Code(3)));
            assert!(signal_left_group(leader, Signal::KILL).unwrap());
        });
    }
}
