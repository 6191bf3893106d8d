//! The main process of an instance. A message with `MAINPID=` makes another process the main
//! process.

use std::io;
use std::sync::Arc;

use crate::core::event::Event;
use crate::local_task::LocalTask;
use crate::os::Pid;
use crate::os::descendants::{MOST_READ, children_of, is_exiting, session_of};
use crate::os::handle::Handle;
use crate::supervisor::children::{ChildRole, Ended};
use crate::supervisor::executor::Executor;
use crate::supervisor::executor::message::Message;
use crate::supervisor::executor::stop::with_cont;
use crate::types::{ProcessId, Signal};

/// The largest number of main processes of one instance, current and former, that may live at the
/// same time.
const MOST_FORMER: usize = 8;

impl Executor {
    /// Makes a process the main process of the current instance.
    pub(super) fn take_main(&mut self, process: ProcessId, pid: Pid, handle: Handle) {
        let current = self.instance(process);
        let mut former: Vec<_> = current.former.iter().copied().chain(current.pid).collect();
        former.retain(|former| self.is_there(process, *former));
        if current.pid == Some(pid) {
            return;
        }
        if !former.contains(&pid)
            && let Err(why) = self.adopt_main(process, pid, handle, former.len())
        {
            let line = format!("MAINPID={pid} is ignored: {why}");
            let listener = self.instance(process).listener.as_ref();
            listener.iter().for_each(|listener| listener.warn(&line));
            return;
        }
        former.retain(|former| *former != pid);
        self.set_main(process, pid, former);
        if let Some(signal) = self.instance(process).asked {
            for signal in with_cont(signal) {
                self.signal_one(process, pid, signal);
            }
        }
    }

    fn adopt_main(
        &mut self,
        process: ProcessId,
        pid: Pid,
        handle: Handle,
        former: usize,
    ) -> io::Result<()> {
        if former >= MOST_FORMER {
            return Err(io::Error::other("too many former main processes are still running"));
        }
        let (ended, sender) = (handle.wait_for_end()?, self.sender.clone());
        let watch = LocalTask::begin(async move {
            ended.await;
            let _ = sender.send(Message::MainEnded { process, pid });
        });
        self.children.adopt(pid, handle, watch, ChildRole::Process(process));
        Ok(())
    }

    /// Handles the end of a main process that drainit has not started. If the parent of this
    /// process still lives, drainit cannot reap the process, and forgets it here.
    pub(crate) fn on_main_ended(&mut self, process: ProcessId, pid: Pid) {
        let is_forgotten = self.children.forget(pid);
        if is_forgotten {
            self.drop_main(process, pid, |_| false);
        }
    }

    /// Handles children that were reaped, before anything else looks at these children. Afterwards,
    /// the end of a child is the end of its instance only if the child is the main process.
    pub(crate) fn settle_mains(&mut self, ended: &[Ended]) {
        for one in ended {
            let Some(ChildRole::Process(process)) = one.role else { continue };
            let current = self.instance(process);
            // If both this child and the main process have ended, the end of the instance is the
            // end of the main process.
            let main = current.pid.filter(|main| *main != one.pid);
            let is_reaped = |pid| main == Some(pid) && ended.iter().any(|one| one.pid == pid);
            self.drop_main(process, one.pid, is_reaped);
        }
    }

    /// Forgets `gone`, a main process or former main process that has ended. If no main process is
    /// left, the latest former main process becomes the main process again. If there is no former
    /// main process either, `gone` stays the main process.
    fn drop_main(&mut self, process: ProcessId, gone: Pid, is_reaped: impl Fn(Pid) -> bool) {
        let current = self.instance(process);
        let is_ours = current.pid == Some(gone) || current.former.contains(&gone);
        if !is_ours || current.former.is_empty() {
            return;
        }
        let mut mains: Vec<_> = current.former.iter().copied().chain(current.pid).collect();
        mains.retain(|pid| *pid != gone && (is_reaped(*pid) || self.is_there(process, *pid)));
        let main = mains.pop().unwrap_or(gone);
        self.set_main(process, main, mains);
        if ![main, self.instance(process).leader].contains(&gone) {
            self.leave_groups(process, &[gone]);
        }
    }

    fn set_main(&mut self, process: ProcessId, main: Pid, former: Vec<Pid>) {
        let name = &self.process(process).name;
        let current = &mut self.processes.slots[process].instance;
        // The leader of the session may have ended. The number of the session is still right,
        // because the kernel does not reuse the number of a group or session that has a member.
        let session = session_of(main).unwrap_or(current.leader);
        if !former.contains(&current.leader) && main != current.leader {
            current.leader = session;
        }
        let leader = current.leader;
        self.groups.forget_one(process, leader);
        if current.pid.replace(main) != Some(main) {
            tracing::info!("{name}: its main process is now {main}");
            self.processes.journal.has_main(process, main);
        } else {
            tracing::debug!("{name}: a former main process has ended");
        }
        if let Some(listener) = &current.listener {
            listener.set_main(main, [current.leader, session]);
        }
        let kin = former.iter().copied().chain([main, current.leader]);
        self.traffic.looker.pids().set(process, Arc::new(kin.collect()));
        current.former = former;
    }

    /// The main process and the former main processes of an instance, except reaped processes.
    pub(super) fn mains(&self, process: ProcessId) -> impl Iterator<Item = Pid> {
        let current = self.instance(process);
        let mains = current.former.iter().copied().chain(current.pid);
        mains.filter(move |pid| self.is_there(process, *pid))
    }

    /// Looks whether every main process of an instance is exiting. If no main process is left, looks
    /// at the rest of its process group. If the rest is too large to be read in a step, it is unknown
    /// whether it exits, and so it does not.
    pub(crate) fn look_for_exit(&self, process: ProcessId) -> Event {
        let rest = || Some(self.orphans_of(process)).filter(|pids| pids.len() <= MOST_READ);
        let is_leaf_exiting = |pid| is_exiting(pid) && children_of(pid).is_empty();
        let exits = match self.pid(process) {
            Some(_) => all_exit(self.mains(process), is_exiting),
            None => all_exit(rest().unwrap_or_default().into_iter(), is_leaf_exiting),
        };
        if exits {
            tracing::info!(
                "{}: is exiting, and the kernel still frees its memory or closes its files; SIGKILL \
                 cannot end it sooner, so drainit waits as long as the later stops can spare",
                self.process(process).name
            );
        }
        Event::ExitSeen { process, exits, ignores: self.ignores_its_stop(process) }
    }

    /// Whether a pid belongs to this process, and is not reaped.
    pub(super) fn is_there(&self, process: ProcessId, pid: Pid) -> bool {
        let is_its_own =
            |role: &ChildRole| matches!(role, ChildRole::Process(of) if *of == process);
        self.children.role(pid).is_some_and(is_its_own)
    }

    /// Sends a signal to the main process.
    pub(crate) fn signal(&self, process: ProcessId, signal: Signal) {
        self.pid(process).into_iter().for_each(|pid| self.signal_one(process, pid, signal));
    }

    pub(super) fn signal_one(&self, process: ProcessId, pid: Pid, signal: Signal) {
        if let Err(error) = self.children.signal(pid, signal) {
            tracing::warn!("{}: cannot send {signal}: {error}", self.process(process).name);
        }
    }
}

/// Whether there are processes, and all of them exit.
fn all_exit(mut pids: impl Iterator<Item = Pid>, exits: impl Fn(Pid) -> bool) -> bool {
    pids.next().is_some_and(&exits) && pids.all(exits)
}
