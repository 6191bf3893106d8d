//! Process groups that outlive their leader: drainit signals them, and waits until they are empty.

use std::io::ErrorKind;
use std::time::Duration;

use crate::local_task::LocalTask;
use crate::os::Pid;
use crate::os::clock;
use crate::os::descendants::{has_only_zombies, list, members_of_group};
use crate::os::kill::{Group, left_group};
use crate::os::sweep::signal_left_group;
use crate::supervisor::children::Ended;
use crate::supervisor::executor::Executor;
use crate::supervisor::message::{Message, Rest, Role};
use crate::types::{ProcessId, Signal, Time};

/// The pause between two scans of the groups. The scans are needed because a member of a group can
/// be a process that does not descend from drainit, and the kernel does not report the end of such
/// a process.
const SCAN_PAUSE: Duration = Duration::from_millis(50);
/// The longest pause between two searches of `/proc` for a living member of a group.
const MAX_SEARCH_PAUSE: Duration = Duration::from_secs(1);

/// A process group that outlives its leader.
pub(super) struct LeftGroup {
    pub(super) process: ProcessId,
    leader: Pid,
    /// The time since which the kernel has not let drainit signal any member (EPERM); `None` if
    /// drainit can signal a member.
    refuses: Option<Time>,
    /// The time of the next search for a living member, and the pause after it.
    search: (Time, Duration),
    /// Whether the last search found no living member.
    was_dead: bool,
}

impl LeftGroup {
    fn new(process: ProcessId, leader: Pid, now: Time) -> Self {
        let search = (now + SCAN_PAUSE, SCAN_PAUSE);
        Self { process, leader, refuses: None, search, was_dead: false }
    }

    /// Whether the group has only zombies. The kernel counts a zombie as a member of the group
    /// until its parent reaps it, and a parent may never do so.
    fn is_dead(&mut self, now: Time) -> bool {
        let (at, pause) = self.search;
        if now < at {
            return false;
        }
        let is_dead = has_only_zombies(self.leader);
        // The group counts as dead only if two searches in a row find no living member. A single
        // search may miss a process that a member starts just before its own end.
        let was_dead = std::mem::replace(&mut self.was_dead, is_dead);
        let pause = if is_dead { SCAN_PAUSE } else { MAX_SEARCH_PAUSE.min(2 * pause) };
        self.search = (now + pause, pause);
        is_dead && was_dead
    }
}

impl Executor {
    /// Whether the process group of a process that has ended has other members. If so, drainit
    /// signals the group from now on. Returns `false` for a oneshot that has completed. Kills what
    /// the command of a probe leaves behind.
    pub(crate) fn leaves_group(&mut self, ended: &Ended) -> bool {
        if let (Some(Role::Command { rest: Rest::Killed, .. }), None) = (&ended.role, &ended.failed)
        {
            // Usually there is no such group.
            let _ = signal_left_group(ended.pid, Signal::KILL);
        }
        let Some(Role::Process(process)) = ended.role else { return false };
        // A start that was given up, or whose program never ran, has left no group.
        let current = [self.instances[process.index()].pid, self.launching(process)];
        if ended.failed.is_some() || !current.contains(&Some(ended.pid)) {
            return false;
        }
        let completes = self.status_board.machine.borrow().state().completes(process, ended.end);
        let remains = !completes && left_group(ended.pid) != Group::Gone;
        if remains {
            self.groups.push(LeftGroup::new(process, ended.pid, clock::now()));
            self.scan_groups();
        }
        remains
    }

    pub(crate) fn stop_group(&self, process: ProcessId, signal: Signal) {
        for leader in self.groups_of(process) {
            // EPERM is not reported here. `groups_gone` reports it if it lasts.
            if let Err(error) = signal_left_group(leader, signal)
                && error.kind() != ErrorKind::PermissionDenied
            {
                let name = &self.process(process).name;
                tracing::warn!("{name}: cannot send {signal} to its process group: {error}");
            }
        }
    }

    /// The ids of the remaining process groups of a process.
    pub(super) fn groups_of(&self, process: ProcessId) -> impl Iterator<Item = Pid> {
        self.groups.iter().filter(move |left| left.process == process).map(|left| left.leader)
    }

    /// Drops the groups that are empty, that have only zombies, or that have only processes that
    /// drainit may not signal. Returns the process of each dropped group, and removes its sockets.
    pub(crate) fn groups_gone(&mut self) -> Vec<ProcessId> {
        let now = clock::now();
        let mut gone = Vec::new();
        for mut left in std::mem::take(&mut self.groups) {
            left.refuses = match left_group(left.leader) {
                Group::Gone => {
                    gone.push(left.process);
                    continue;
                }
                Group::Lives if left.is_dead(now) => {
                    gone.push(left.process);
                    continue;
                }
                Group::Lives => None,
                Group::Refuses => Some(left.refuses.unwrap_or(now)),
            };
            // A first refusal is ignored: it may come from a member that has ended and is not
            // reaped yet.
            if left.refuses.is_some_and(|since| now.since(since) >= SCAN_PAUSE) {
                self.report_refusal(&left);
                gone.push(left.process);
            } else {
                self.groups.push(left);
            }
        }
        if self.groups.is_empty() {
            self.group_scan = None;
        }
        for process in &gone {
            self.remove_sockets(*process);
        }
        gone
    }

    /// Reports the members that drainit may not signal. drainit no longer waits for them.
    fn report_refusal(&self, left: &LeftGroup) {
        let name = &self.process(left.process).name;
        let members = members_of_group(left.leader);
        let pids = if members.is_empty() { String::new() } else { format!(" {}", list(&members)) };
        let line = format!(
            "{name}: not allowed to signal the processes that are left in its process \
             group{pids}, which most likely belong to another user; no longer waiting for them; \
             run drainit as root with the capability KILL, or run all processes as one user"
        );
        tracing::warn!("{line}");
        self.status_board.remark(&line);
    }

    fn scan_groups(&mut self) {
        let sender = self.sender.clone();
        self.group_scan.get_or_insert_with(|| {
            LocalTask::begin(async move {
                while sender.send(Message::Wake).is_ok() {
                    tokio::time::sleep(SCAN_PAUSE).await;
                }
            })
        });
    }
}
