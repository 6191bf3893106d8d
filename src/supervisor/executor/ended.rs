//! Reaps children, and handles their ends.

use std::cell::OnceCell;
use std::io;

use crate::core::event::Event;
use crate::os::Pid;
use crate::os::descendants::Stat;
use crate::os::oom::OomKills;
use crate::supervisor::children::{ChildRole, Ended, Remaining};
use crate::supervisor::executor::Executor;
use crate::supervisor::executor::message::News;
use crate::supervisor::slots::Slots;
use crate::supervisor::tasks::readiness::ReadinessNews;
use crate::types::{End, ProcessId, Signal};

/// The facts about the children that are reaped together.
pub(super) struct Reaping {
    oom_kills: OomKills,
    /// The newest living orphans, read once for all of these children.
    pub(super) orphans: OnceCell<Vec<Stat>>,
}

impl Reaping {
    pub(super) fn new() -> Self {
        Self { oom_kills: OomKills::from_now_on(), orphans: OnceCell::new() }
    }

    /// Begins to reap. The facts about earlier children hold no more.
    fn begin(&mut self) {
        self.orphans.take();
        self.oom_kills.look_again();
    }
}

impl Executor {
    /// Reaps at most `max` children, and reads their last output. From then on, drainit does not
    /// signal their pids.
    pub(crate) fn reap(&mut self, max: usize) -> io::Result<(Vec<Ended>, Remaining)> {
        self.reaping.begin();
        let (mut ended, rest) =
            self.children.reap(max, |ended| last_output(&self.processes.slots, ended))?;
        for one in &mut ended {
            if let Some(ChildRole::Process(process)) = one.role
                && let Some(launching) = &mut self.processes.slots[process].instance.launching
                && launching.pid == one.pid
            {
                one.failed = launching.exec.failure();
            }
        }
        Ok((ended, rest))
    }

    /// Reads the last messages of processes that have ended. These messages may still be in a
    /// socket. Sends the resulting events to the event loop, and returns the processes.
    pub(crate) fn last_messages<'e>(
        &self,
        ended: impl Iterator<Item = &'e Ended>,
    ) -> Vec<ProcessId> {
        let mut processes = Vec::new();
        for one in ended {
            let Some(ChildRole::Process(process)) = one.role else { continue };
            let current = self.instance(process);
            if current.pid != Some(one.pid) {
                continue;
            }
            processes.push(process);
            let has_matched = current.log.as_ref().is_some_and(|log| log.has_matched());
            if has_matched && current.readiness.is_some() {
                self.instance_sender(process).send(News::Readiness(ReadinessNews::Ready));
            }
            if let Some(listener) = &current.listener {
                listener.take_all();
            }
        }
        processes
    }

    /// Whether drainit may have sent SIGKILL to this child.
    fn has_killed(&self, pid: Pid, role: Option<&ChildRole>) -> bool {
        match role {
            // A task that kills its command also drops its end of the channel.
            Some(ChildRole::Command { waiting, .. }) => waiting.is_closed(),
            Some(ChildRole::Process(process)) => {
                let current = self.instance(*process);
                let sent = self.processes.journal.of(*process).end.requested;
                // If this child is not the main process of the slot, drainit has killed it, or it
                // is a former main process.
                current.pid != Some(pid) || [current.asked, sent].contains(&Some(Signal::KILL))
            }
            None => false,
        }
    }

    /// Handles the end of a child. `remains` says whether its process group has other members.
    pub(crate) fn on_ended(&mut self, ended: Ended, remains: bool) -> Option<Event> {
        let Ended { pid, end, role, failed, was_only } = ended;
        let is_unexplained =
            end == End::Signal(Signal::KILL) && !self.has_killed(pid, role.as_ref());
        let by_oom = is_unexplained.then(|| self.reaping.oom_kills.explain_one()).flatten();
        let (is_oom, end) = (by_oom.is_some(), by_oom.unwrap_or(end));
        match role {
            None => {
                self.processes.journal.orphans += 1;
                if is_oom {
                    tracing::warn!("pid {pid}, a descendant of a process, {end}");
                } else {
                    tracing::debug!("orphan {pid} {end}");
                }
                None
            }
            Some(ChildRole::Command { waiting, .. }) => {
                // The send fails if the hook, probe or drain was dropped and no longer waits.
                let _ = waiting.send(end);
                None
            }
            Some(ChildRole::Process(process)) if failed.is_some() => {
                self.explain(process, pid, failed?);
                None
            }
            // There are three cases. The instance had survived SIGKILL until now, and has lost its
            // slot; the start of the instance was given up; or this child is a former main process.
            Some(ChildRole::Process(process)) if self.instance(process).pid != Some(pid) => None,
            Some(ChildRole::Process(process)) => {
                // If other members of the group remain, they may still serve on the `sockets` of
                // the process.
                if !remains {
                    self.remove_sockets(process);
                }
                self.on_epoch_ended(process);
                self.look_at_sockets(process);
                let current = &mut self.processes.slots[process].instance;
                (current.pid, current.leader) = (None, 0);
                current.gone = Some((pid, was_only));
                if !remains {
                    current.keeps_listening = None;
                }
                current.end_probes();
                current.listener = None;
                self.traffic.looker.pids().remove(process);
                self.traffic.record(&mut self.processes.journal);
                self.processes.journal.reaped(process);
                if self.process(process).hooks.post_stop.is_none() {
                    self.forget_values(process);
                }
                Some(Event::Exited { process, end, remains })
            }
        }
    }
}

/// Reads the last output of a process that has ended. This output may still be in its pipes.
fn last_output(slots: &Slots, ended: &Ended) {
    let Some(ChildRole::Process(process)) = ended.role else { return };
    let current = &slots[process].instance;
    let launching = current.launching.as_ref().filter(|launching| launching.pid == ended.pid);
    let log = match launching {
        Some(launching) => launching.log.as_ref(),
        None => current.log.as_ref().filter(|_| current.pid == Some(ended.pid)),
    };
    log.into_iter().for_each(|log| log.pump());
}
