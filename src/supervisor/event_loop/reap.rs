//! Reaps children that have ended, and handles their ends. The order of the steps decides what the
//! core learns first, so each step says why it has its place.

use std::io;

use crate::core::event::Event;
use crate::os::reap::REAP_AT_ONCE;
use crate::supervisor::children::{ChildRole, Ended, Remaining};
use crate::supervisor::event_loop::Step;
use crate::supervisor::tasks::run_command;
use crate::types::ProcessId;

/// A child that was reaped, and whether its process group has other members.
struct Reaped {
    child: Ended,
    remains: bool,
}

impl Step<'_> {
    /// Reaps children that have ended, orphans included, and handles their ends.
    pub(super) fn reap(&mut self) -> io::Result<()> {
        let (ended, rest) = self.take_ended()?;
        let gone = self.find_gone_groups();
        let reaped = self.look_at_groups(ended);
        self.begin_unseen_starts(&reaped)?;
        self.take_last_messages(&reaped)?;
        self.look_at_files(&reaped);
        self.handle_ends(reaped)?;
        self.handle_groups_gone(gone)?;
        self.handle_orphans_gone()?;
        self.end_sweep(rest)
    }

    /// Reaps some of the children, failures first. The order in which these children ended is
    /// unknown, and the failures probably caused the other ends.
    ///
    /// This step is the first, because all others are about these children.
    fn take_ended(&mut self) -> io::Result<(Vec<Ended>, Remaining)> {
        let (mut ended, rest) = self.executor.reap(REAP_AT_ONCE)?;
        ended.sort_by_key(|one| !self.has_failed(one));
        if rest == Remaining::More {
            // More children may have ended. Their SIGCHLD was already read, so this call makes the
            // next turn reap them.
            self.executor.wake_loop();
        }
        Ok((ended, rest))
    }

    /// Finds the earlier processes whose process groups are empty now.
    ///
    /// This step comes after the reaping, so that members that ended together with their leader are
    /// gone. It comes before the core decides anything, because the kernel may reuse the id of an
    /// empty group from now on.
    fn find_gone_groups(&mut self) -> Vec<ProcessId> {
        self.executor.groups_gone()
    }

    /// Finds out which children were main processes and which of their process groups have other
    /// members, and kills what the commands have left.
    ///
    /// This step, too, comes after the reaping and before the core decides anything. It comes after
    /// the search for empty groups, which is about the groups of earlier processes.
    fn look_at_groups(&mut self, ended: Vec<Ended>) -> Vec<Reaped> {
        self.executor.settle_mains(&ended);
        let remains: Vec<_> = ended.iter().map(|one| self.executor.leaves_group(one)).collect();
        run_command::kill_rest(&ended);
        let all = ended.into_iter().zip(remains);
        all.map(|(child, remains)| Reaped { child, remains }).collect()
    }

    /// Handles the starts of processes that ended before drainit saw their start.
    ///
    /// This step comes before the last messages and the ends, which the core expects only from a
    /// process that has started.
    fn begin_unseen_starts(&mut self, reaped: &[Reaped]) -> io::Result<()> {
        for one in reaped {
            if let Some(begun) = self.executor.on_begun_unseen(&one.child) {
                self.handle(begun)?;
            }
        }
        Ok(())
    }

    /// Handles the last messages of the processes.
    ///
    /// This step comes before the ends, because the process sent its messages before its end: for
    /// example, it may have become ready. A message about an instance that has ended is dropped.
    fn take_last_messages(&mut self, reaped: &[Reaped]) -> io::Result<()> {
        let processes = self.executor.last_messages(reaped.iter().map(|one| &one.child));
        for message in self.events.inbox.take_of(&processes) {
            self.on_message(message)?;
        }
        Ok(())
    }

    /// Looks at the watched files of the processes.
    ///
    /// This step comes before the ends, because an end may start the process again. The new
    /// instance will read the new content, so a change that this look finds must not cause another
    /// restart.
    fn look_at_files(&mut self, reaped: &[Reaped]) {
        for one in reaped {
            if let Some(ChildRole::Process(process)) = one.child.role {
                drop(self.executor.look(process));
            }
        }
    }

    /// Handles the ends.
    fn handle_ends(&mut self, reaped: Vec<Reaped>) -> io::Result<()> {
        for Reaped { child, remains } in reaped {
            if let Some(event) = self.executor.on_ended(child, remains) {
                self.handle(event)?;
            }
        }
        Ok(())
    }

    /// Tells the core which processes have no process group left.
    ///
    /// This step comes after the ends: the core must know that the process of a group has ended
    /// before it learns that the group is gone.
    fn handle_groups_gone(&mut self, gone: Vec<ProcessId>) -> io::Result<()> {
        gone.into_iter().try_for_each(|process| self.handle(Event::GroupGone(process)))
    }

    /// Tells the core which process groups have no orphans left.
    ///
    /// This step comes after the ends, which can make further members of a group children of
    /// drainit. Such children are orphans, too.
    fn handle_orphans_gone(&mut self) -> io::Result<()> {
        let gone = self.executor.orphans_gone();
        gone.into_iter().try_for_each(|event| self.handle(event))
    }

    /// Ends the last sweep if drainit has no children any more.
    ///
    /// This step is the last one, because the core begins the sweep when it has learned of the last
    /// end.
    fn end_sweep(&mut self, rest: Remaining) -> io::Result<()> {
        if rest == Remaining::None && self.executor.has_swept() {
            self.handle(Event::NothingLeft)?;
        }
        Ok(())
    }

    /// Whether the ended child is a process that has failed.
    fn has_failed(&self, ended: &Ended) -> bool {
        let machine = self.executor.processes.machine();
        matches!(ended.role, Some(ChildRole::Process(process))
            if !machine.state().process(process).is_success(ended.end))
    }
}
