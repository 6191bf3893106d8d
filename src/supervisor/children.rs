//! The children that drainit has started, by pid.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::oneshot;

use crate::local_task::LocalTask;
use crate::os::handle::Handle;
use crate::os::kill::kill_child;
use crate::os::reap::{Reaped, has_children, reap_next};
use crate::os::spawn::{Exec, FailedExec, SpawnError, SpawnRequest};
use crate::os::{Pid, clock};
use crate::types::{End, ProcessId, Signal};

/// The most processor time that one call of [`Children::reap`] takes to reap children and to read
/// their last output. The time is limited, because waitpid(2) searches all children for an ended
/// child, and thousands of children may be alive.
const MOST_WORK: Duration = Duration::from_millis(5);

/// The purpose of a child.
#[derive(Debug)]
pub(crate) enum ChildRole {
    Process(ProcessId),
    /// The command of a hook, of an `exec` probe or drain, or of Envoy's check of its config.
    Command {
        /// The task that runs the command receives how the command has ended.
        waiting: oneshot::Sender<End>,
        rest: Rest,
    },
}

/// What happens to the processes that outlive the command which started them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rest {
    /// The processes continue to run, because the command of a hook or a drain may start a daemon.
    Lives,
    /// The members of the command's process group are killed.
    Killed,
}

/// The children, each with its role.
///
/// The step of the event loop that starts an instance adds the instance to this table. A command
/// that a task starts is added at the beginning of the next step. Children are reaped only in a
/// step. Therefore drainit knows every child before drainit can reap the child. A reaped pid that
/// is not in this table belongs to an orphan that drainit has inherited.
#[derive(Default)]
pub(crate) struct Children {
    children: BTreeMap<Pid, KnownChild>,
    starter: Starter,
}

/// Starts children, and keeps them for [`Children::take_started`]. The tasks of hooks, probes and
/// drains share this value.
#[derive(Clone, Default)]
pub(crate) struct Starter(Rc<Cell<Vec<(Pid, KnownChild)>>>);

impl Starter {
    /// Starts a child with this role. The exec may still be under way on return.
    pub(crate) fn start(
        &self,
        request: SpawnRequest,
        role: ChildRole,
    ) -> Result<(Pid, Exec), SpawnError> {
        let is_only = !has_children();
        let (pid, exec) = request.start()?;
        let mut started = self.0.take();
        started.push((pid, KnownChild { role, is_only, adopted: None }));
        self.0.set(started);
        Ok((pid, exec))
    }
}

#[derive(Debug)]
struct KnownChild {
    role: ChildRole,
    /// Whether this child had no siblings at its start, not even an orphan, and drainit has started
    /// no other child since.
    is_only: bool,
    /// Set if an instance has named this process as the main process (`MAINPID=`), and drainit has
    /// not started the process. Such a process becomes a child of drainit when its parent ends.
    adopted: Option<Adopted>,
}

#[derive(Debug)]
struct Adopted {
    handle: Handle,
    /// The task that waits for the end of the process. The kernel reports this end only to the
    /// parent of the process.
    _watch: LocalTask,
}

/// A reaped child, which is no longer in the table because the kernel may reuse its pid.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) pid: Pid,
    pub(crate) end: End,
    /// The role of the child; `None` for an orphan.
    pub(crate) role: Option<ChildRole>,
    /// The failed exec, if the child is an instance that has ended because of this failure.
    pub(crate) failed: Option<FailedExec>,
    /// Whether this child had no siblings at its start, and drainit started no other child before
    /// it reaped this child. If so, an orphan that appeared in this time comes from this child, or
    /// from a command that entered the container (`docker exec`).
    pub(crate) was_only: bool,
}

/// The state of the remaining children after [`Children::reap`] has reaped some of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Remaining {
    /// More children may have ended.
    More,
    /// All children run.
    Running,
    /// There are no children.
    None,
}

impl Children {
    /// Starts an instance of a process, and adds it to the table.
    pub(crate) fn start(
        &mut self,
        request: SpawnRequest,
        process: ProcessId,
    ) -> Result<(Pid, Exec), SpawnError> {
        let started = self.starter.start(request, ChildRole::Process(process))?;
        self.take_started();
        Ok(started)
    }

    pub(crate) fn starter(&self) -> Starter {
        self.starter.clone()
    }

    /// Adds the children that were started since the last call.
    pub(crate) fn take_started(&mut self) {
        for (pid, child) in self.starter.0.take() {
            self.insert(pid, child);
        }
    }

    fn insert(&mut self, pid: Pid, child: KnownChild) {
        if let (1, Some(mut other)) = (self.children.len(), self.children.first_entry()) {
            other.get_mut().is_only = false;
        }
        let before = self.children.insert(pid, child);
        let is_free = before.is_none_or(|before| before.adopted.is_some());
        debug_assert!(is_free, "pid {pid} belongs to a child that is not reaped");
    }

    /// Adds a main process that drainit has not started. `watch` waits for its end.
    pub(crate) fn adopt(&mut self, pid: Pid, handle: Handle, watch: LocalTask, role: ChildRole) {
        let adopted = Some(Adopted { handle, _watch: watch });
        self.insert(pid, KnownChild { role, is_only: false, adopted });
    }

    /// Forgets an adopted process if it has ended and drainit does not have to reap it. Returns
    /// whether the process was forgotten.
    pub(crate) fn forget(&mut self, pid: Pid) -> bool {
        let has_gone = |adopted: &Adopted| !adopted.handle.is_there();
        let adopted = self.children.get(&pid).and_then(|child| child.adopted.as_ref());
        adopted.is_some_and(has_gone) && self.children.remove(&pid).is_some()
    }

    /// Sends a signal to a child that is not reaped yet, or to an adopted process. Returns `false`
    /// if the process does not exist.
    pub(crate) fn signal(&self, pid: Pid, signal: Signal) -> io::Result<bool> {
        match self.children.get(&pid).and_then(|child| child.adopted.as_ref()) {
            Some(adopted) => adopted.handle.signal(signal),
            None => kill_child(pid, signal),
        }
    }

    /// Reaps at most `max` children that have ended, calls `each` for each of them, and stops after
    /// [`MOST_WORK`]. Removes each child from the table at once, because the kernel may give the
    /// pid to a new process before the caller has handled the end of the child.
    pub(crate) fn reap(
        &mut self,
        max: usize,
        each: impl Fn(&Ended),
    ) -> io::Result<(Vec<Ended>, Remaining)> {
        let mut ended = Vec::new();
        let end = clock::thread_cpu() + MOST_WORK;
        while ended.len() < max && clock::thread_cpu() < end {
            match reap_next()? {
                Reaped::Child(pid, end) => {
                    let mut one = Ended { pid, end, role: None, failed: None, was_only: false };
                    if let Some(child) = self.children.remove(&pid) {
                        one.role = Some(child.role);
                        one.was_only = child.is_only;
                    }
                    each(&one);
                    ended.push(one);
                }
                Reaped::NoneNow => return Ok((ended, Remaining::Running)),
                Reaped::NoChildren => return Ok((ended, Remaining::None)),
            }
        }
        Ok((ended, Remaining::More))
    }

    /// The children that drainit has started and not reaped, and the adopted main processes, with
    /// their roles. Inherited orphans are not in the table.
    pub(crate) fn all(&self) -> impl Iterator<Item = (Pid, &ChildRole)> {
        self.children.iter().map(|(pid, child)| (*pid, &child.role))
    }

    /// The role of a child that is not reaped yet, or of an adopted process that has not ended.
    pub(crate) fn role(&self, pid: Pid) -> Option<&ChildRole> {
        let is_there =
            |child: &&KnownChild| child.adopted.as_ref().is_none_or(|one| one.handle.is_there());
        self.children.get(&pid).filter(is_there).map(|child| &child.role)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::isolated::in_own_process;

    fn request(program: &str) -> SpawnRequest {
        SpawnRequest::new(vec![program.into()])
    }

    #[test]
    fn command_of_a_task_is_known_to_the_reaper() {
        in_own_process(|| {
            let mut children = Children::default();
            let (waiting, _end) = tokio::sync::oneshot::channel();
            let role = ChildRole::Command { waiting, rest: Rest::Lives };
            let (pid, _exec) = children.starter().start(request("true"), role).unwrap();
            while crate::os::reap::is_living_child(pid) {
                std::thread::yield_now();
            }
            children.take_started();
            let (ended, _) = children.reap(1, |_| ()).unwrap();
            assert!(matches!(ended[0].role, Some(ChildRole::Command { .. })), "{ended:?}");
        });
    }

    // holds: S271
    #[test]
    fn long_output_leaves_other_children_to_the_next_turn() {
        in_own_process(|| {
            let mut children = Children::default();
            for _ in 0..3 {
                let (pid, _exec) = request("true").start().unwrap();
                while crate::os::reap::is_living_child(pid) {
                    std::thread::yield_now();
                }
            }
            let reads = |_: &Ended| {
                let until = clock::thread_cpu() + MOST_WORK;
                while clock::thread_cpu() < until {}
            };
            for _ in 0..3 {
                let (ended, rest) = children.reap(3, reads).unwrap();
                assert_eq!((ended.len(), rest), (1, Remaining::More));
            }
        });
    }
}
