//! Process groups that outlive their leader: drainit signals them, and waits until they are empty.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, ErrorKind};
use std::time::Duration;

use crate::core::event::Event;
use crate::local_task::LocalTask;
use crate::os::Pid;
use crate::os::clock;
use crate::os::descendants::{Descendant, MOST_READ, Stat, list, members_of};
use crate::os::kill::{Group, group_of, kill_child, left_group};
use crate::os::on_thread::{self, Share};
use crate::os::reap::is_child;
use crate::os::sweep::{children_in, signal_left_group};
use crate::supervisor::children::{ChildRole, Ended};
use crate::supervisor::executor::Executor;
use crate::supervisor::executor::message::{Members, Message, MessageSender};
use crate::supervisor::executor::stop::with_cont;
use crate::types::{ProcessId, Signal, Time};

/// The pause between two scans of the groups. The scans are needed, because the kernel does not
/// report the end of a member that is not a child of drainit.
const SCAN_PAUSE: Duration = Duration::from_millis(50);
/// The longest pause between two searches of `/proc` for living members of the groups.
const MAX_SEARCH_PAUSE: Duration = Duration::from_secs(1);

/// A process group that outlives its leader.
struct LeftGroup {
    process: ProcessId,
    leader: Pid,
    /// The living members that the last search has found.
    living: Vec<Descendant>,
    /// Whether the last search has found nothing to wait for: only zombies, or only processes that
    /// drainit may not signal (EPERM). If the next search finds nothing to wait for either, the
    /// group is given up. One search is not enough, because a member may start a process just
    /// before its own end, and the search may miss that process. Also, EPERM may come from a member
    /// that has ended and is not reaped yet.
    is_lost: bool,
}

/// The children of drainit in the group of a process that have got a stop signal.
struct AskedOrphans {
    signal: Signal,
    /// The time at which the group was asked to end.
    since: Time,
    pids: Vec<Pid>,
}

/// The search of `/proc` for the living members of all groups. The search is needed, because the
/// kernel counts a zombie as a member of its group until the zombie is reaped, and some parents
/// never reap. The search runs on a thread, because it takes seconds if there are tens of thousands
/// of processes.
#[derive(Default)]
struct Search {
    /// The time of the next search.
    at: Time,
    /// The pause before the next search.
    pause: Duration,
    began: Time,
    running: Option<LocalTask>,
}

/// The process groups that outlive their leaders.
#[derive(Default)]
pub(super) struct Groups {
    left: Vec<LeftGroup>,
    /// The orphans that have got a stop signal, by the process whose group they are in.
    asked: BTreeMap<ProcessId, AskedOrphans>,
    search: Search,
    /// The task that regularly wakes the event loop, which then scans the groups.
    scan: Option<LocalTask>,
}

impl Groups {
    /// The leaders of the groups of a process.
    pub(super) fn of(&self, process: ProcessId) -> impl Iterator<Item = Pid> {
        self.left.iter().filter(move |left| left.process == process).map(|left| left.leader)
    }

    /// Names the members of the groups of a process that the last search has found.
    pub(super) fn members(&self, process: ProcessId) -> Option<String> {
        let groups = self.left.iter().filter(|left| left.process == process);
        let living: Vec<_> = groups.flat_map(|left| left.living.iter().cloned()).collect();
        (!living.is_empty()).then(|| format!("left in it: {}", list(&living)))
    }

    /// Forgets the groups of a process.
    pub(super) fn forget(&mut self, process: ProcessId) {
        self.left.retain(|left| left.process != process);
    }

    /// Forgets a group of a process that leads its instance again.
    pub(super) fn forget_one(&mut self, process: ProcessId, leader: Pid) {
        self.left.retain(|left| left.process != process || left.leader != leader);
    }

    /// Wakes the event loop from now on, and searches soon.
    fn scan(&mut self, sender: MessageSender) {
        let (soon, search) = (clock::now() + SCAN_PAUSE, &mut self.search);
        search.at = if self.scan.is_none() { soon } else { search.at.min(soon) };
        search.pause = SCAN_PAUSE;
        self.scan.get_or_insert_with(|| {
            LocalTask::begin(async move {
                while sender.send(Message::Wake).is_ok() {
                    tokio::time::sleep(SCAN_PAUSE).await;
                }
            })
        });
    }

    /// Forgets the orphans that have ended or left their group. Returns the orphans' groups of which
    /// none is left.
    fn take_gone_orphans(&mut self) -> BTreeMap<ProcessId, AskedOrphans> {
        let Self { left, asked, .. } = self;
        let is_left = |of: ProcessId, pid: Pid| {
            let is_its_own =
                |left: &LeftGroup| left.process == of && group_of(pid) == Some(left.leader);
            is_child(pid) && left.iter().any(is_its_own)
        };
        for (process, asked) in &mut *asked {
            while asked.pids.pop_if(|pid| !is_left(*process, *pid)).is_some() {}
        }
        let (gone, left) =
            std::mem::take(asked).into_iter().partition(|(_, asked)| asked.pids.is_empty());
        *asked = left;
        gone
    }
}

impl Search {
    fn is_due(&self, now: Time, is_awaited: bool) -> bool {
        is_awaited && self.running.is_none() && now >= self.at
    }

    /// Handles the end of a search. `is_doubtful` says whether the next search decides about a group.
    fn on_end(&mut self, now: Time, is_doubtful: bool) {
        self.running = None;
        self.pause = match is_doubtful {
            true => SCAN_PAUSE,
            false => MAX_SEARCH_PAUSE.min(2 * self.pause),
        };
        self.at = now + self.pause.max(now.since(self.began));
    }
}

impl LeftGroup {
    /// Whether a search has shown that drainit need not wait for the group any more. `is_empty`
    /// says whether the search has found no living member.
    fn is_over(&mut self, state: Group, is_empty: bool) -> bool {
        let is_lost = state == Group::Refuses || state == Group::Lives && is_empty;
        let was_lost = std::mem::replace(&mut self.is_lost, is_lost);
        state == Group::Gone || is_lost && was_lost
    }
}

impl Executor {
    /// Whether the process group of a process that has ended has other members. If so, the group
    /// gets the stop signals from now on. Returns `false` for a oneshot that has completed.
    pub(crate) fn leaves_group(&mut self, ended: &Ended) -> bool {
        let Some(ChildRole::Process(process)) = ended.role else { return false };
        // A start that was given up, or whose program never ran, leaves no group.
        let current = [self.instance(process).pid, self.launching(process)];
        if ended.failed.is_some() || !current.contains(&Some(ended.pid)) {
            return false;
        }
        if self.processes.machine().state().completes(process, ended.end) {
            self.groups.forget(process);
            return false;
        }
        self.leave_groups(process, &[ended.pid, self.instance(process).leader]);
        let remains = self.groups.of(process).next().is_some();
        if remains {
            self.groups.scan(self.sender.clone());
        }
        remains
    }

    /// Keeps each group with one of these leaders, if the group still has members. If the instance
    /// continues with another main process, nobody waits for these groups before the end of the
    /// instance.
    pub(super) fn leave_groups(&mut self, process: ProcessId, leaders: &[Pid]) {
        for &leader in leaders {
            if left_group(leader) != Group::Gone && self.groups.of(process).all(|it| it != leader) {
                self.groups.left.push(LeftGroup {
                    process,
                    leader,
                    living: Vec::new(),
                    is_lost: false,
                });
                // `kill` has not reached the group of a main process that was the child of another
                // process. The group of the instance's leader needs no second search of `/proc`.
                let current = self.instance(process);
                if current.asked == Some(Signal::KILL) && leader != current.leader {
                    let _ = signal_left_group(leader, Signal::KILL);
                }
            }
        }
    }

    /// The groups of processes that have ended.
    fn awaited_groups(&self) -> impl Iterator<Item = &LeftGroup> {
        self.groups.left.iter().filter(|left| self.instance(left.process).pid.is_none())
    }

    /// Sends the stop signal to the children of drainit in the groups of a process. If drainit has no
    /// such child, or cannot find or signal any, returns the event that says so.
    pub(crate) fn stop_orphans(&mut self, process: ProcessId, signal: Signal) -> Option<Event> {
        self.ask_orphans(process, AskedOrphans { signal, since: clock::now(), pids: Vec::new() })
    }

    /// Asks the orphans that were started before the group was asked to end. A chain of processes,
    /// each of which forks the next one and ends, could otherwise outrun the signals for ever.
    fn ask_orphans(&mut self, process: ProcessId, mut asked: AskedOrphans) -> Option<Event> {
        let signal = asked.signal;
        // Nothing is reaped here, so each pid still belongs to its child.
        let newest = self.orphans_of(process).into_iter().rev().take(MOST_READ);
        asked.pids = newest
            .filter_map(Stat::read)
            .filter(|stat| stat.is_alive && stat.process.is_started_by(asked.since))
            .map(|stat| stat.process.pid)
            .filter(|pid| with_cont(signal).iter().all(|one| kill_child(*pid, *one).is_ok()))
            .collect();
        if asked.pids.is_empty() {
            return Some(Event::OrphansGone(process));
        }
        self.groups.asked.insert(process, asked);
        None
    }

    /// Looks for groups whose orphans have ended or left the group. The ends may have given drainit
    /// further children in the group: if so, these get the stop signal. Otherwise, returns an event.
    pub(crate) fn orphans_gone(&mut self) -> Vec<Event> {
        let gone = self.groups.take_gone_orphans().into_iter();
        gone.filter_map(|(process, asked)| self.ask_orphans(process, asked)).collect()
    }

    pub(crate) fn stop_group(&self, process: ProcessId, signal: Signal) {
        for leader in self.groups.of(process) {
            // EPERM is not reported here. `judge_groups` reports it if two searches in a row find
            // nothing to wait for.
            if let Err(error) = signal_left_group(leader, signal)
                && error.kind() != ErrorKind::PermissionDenied
            {
                let name = &self.process(process).name;
                tracing::warn!("{name}: cannot send {signal} to its process group: {error}");
            }
        }
    }

    /// The children of drainit in the remaining process groups of a process, with zombies.
    pub(super) fn orphans_of(&self, process: ProcessId) -> Vec<Pid> {
        children_in(&self.groups.of(process).collect::<Vec<_>>())
    }

    /// Drops the groups that are empty, and returns the ended processes that have no group left. If
    /// a search for the members of the other groups is due, begins this search.
    pub(crate) fn groups_gone(&mut self) -> Vec<ProcessId> {
        let is_gone = |left: &LeftGroup| left_group(left.leader) == Group::Gone;
        let (gone, left) = std::mem::take(&mut self.groups.left).into_iter().partition(is_gone);
        self.groups.left = left;
        let now = clock::now();
        if self.groups.search.is_due(now, self.awaited_groups().next().is_some()) {
            self.begin_search(now);
        }
        self.on_groups_dropped(gone)
    }

    fn begin_search(&mut self, now: Time) {
        self.groups.search.began = now;
        let leaders: BTreeSet<_> = self.awaited_groups().map(|left| left.leader).collect();
        let found = on_thread::begin(Share::Container, move || members_of(&leaders));
        let sender = self.sender.clone();
        self.groups.search.running = Some(LocalTask::begin(async move {
            // If no thread can be started, or `/proc` cannot be read, no members are known.
            let found = match found {
                Ok(found) => found.await.ok().and_then(io::Result::ok),
                Err(_) => None,
            };
            let _ = sender.send(Message::Members(found.unwrap_or_default()));
        }));
    }

    /// Handles the members that a search has found. Drops the groups that are empty or lost, and
    /// returns the ended processes that have no group left.
    pub(crate) fn judge_groups(&mut self, members: &Members) -> Vec<ProcessId> {
        let mut gone = Vec::new();
        for mut left in std::mem::take(&mut self.groups.left) {
            let living = members.get(&left.leader);
            let state = left_group(left.leader);
            if left.is_over(state, living.is_some_and(Vec::is_empty)) {
                if state == Group::Refuses {
                    self.report_refusal(&left, living.map_or(&[], Vec::as_slice));
                }
                gone.push(left);
            } else {
                left.living = living.cloned().unwrap_or_default();
                self.groups.left.push(left);
            }
        }
        self.groups.search.on_end(clock::now(), self.groups.left.iter().any(|left| left.is_lost));
        self.on_groups_dropped(gone)
    }

    /// Returns the ended processes that have no group left after these groups were dropped, and
    /// removes the sockets of these processes.
    fn on_groups_dropped(&mut self, gone: Vec<LeftGroup>) -> Vec<ProcessId> {
        if self.awaited_groups().next().is_none() {
            (self.groups.scan, self.groups.search.running) = (None, None);
        }
        // A process does not count if it still runs with another main process, or has another group
        // left.
        let mut gone: BTreeSet<_> = gone.into_iter().map(|left| left.process).collect();
        gone.retain(|process| self.instance(*process).pid.is_none());
        for left in &self.groups.left {
            gone.remove(&left.process);
        }
        for process in &gone {
            self.remove_sockets(*process);
            self.look_at_sockets(*process);
            self.processes.slots[*process].instance.keeps_listening = None;
        }
        gone.into_iter().collect()
    }

    /// Reports the members that drainit may not signal. drainit no longer waits for them.
    fn report_refusal(&mut self, left: &LeftGroup, members: &[Descendant]) {
        let name = &self.process(left.process).name;
        let pids = if members.is_empty() { String::new() } else { format!(" {}", list(members)) };
        let line = format!(
            "{name}: not allowed to signal the processes that are left in its process \
             group{pids}, which most likely belong to another user; no longer waiting for them; \
             run drainit as root with the capability KILL, or run all processes as one user"
        );
        tracing::warn!("{line}");
        self.processes.remark(&line);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn searches_take_at_most_half_of_the_time_and_become_rare() {
        let local = tokio::task::LocalSet::new();
        let _entered = local.enter();
        let ms = |ms| Time(Duration::from_millis(ms));
        let mut search = Search { pause: SCAN_PAUSE, ..Search::default() };
        // The pause after a search that has taken so long, and found a group in doubt or not.
        for (took, is_doubtful, pause) in [
            (1, false, 100),
            (1, false, 200),
            (300, false, 400),
            (1, false, 800),
            (1, false, 1000),
            (1, false, 1000),
            (1, true, 50),
            (3000, true, 3000),
        ] {
            (search.began, search.running) = (ms(0), Some(LocalTask::begin(async {})));
            assert!(!search.is_due(ms(9999), true), "a search is running");
            search.on_end(ms(took), is_doubtful);
            let is_due = [took + pause - 1, took + pause].map(|at| search.is_due(ms(at), true));
            assert_eq!(is_due, [false, true], "{took} {is_doubtful}");
            assert!(!search.is_due(ms(9999), false), "nobody waits for a group");
        }
    }

    #[test]
    fn a_group_is_given_up_after_two_searches_that_find_nothing() {
        use Group::{Gone, Lives, Refuses};
        let all = [(Gone, true), (Lives, true), (Lives, false), (Refuses, true), (Refuses, false)];
        for before in all {
            for (state, is_empty) in all {
                let (process, living) = (ProcessId(0), Vec::new());
                let mut left = LeftGroup { process, leader: 2, living, is_lost: false };
                assert_eq!(left.is_over(before.0, before.1), before.0 == Gone, "{before:?}");
                let is_lost = |it| it == (Lives, true) || matches!(it, (Refuses, _));
                let is_over = state == Gone || is_lost(before) && is_lost((state, is_empty));
                assert_eq!(left.is_over(state, is_empty), is_over, "{before:?} {state:?}");
            }
        }
    }
}
