//! Drains the instance of a process, asks it to end, and kills it.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use crate::keys::{DrainMethod, Hook};
use crate::os::clock;
use crate::os::kill::kill_group;
use crate::os::reap::{has_ended, is_child};
use crate::os::sweep::signal_left_group;
use crate::supervisor::executor::Executor;
use crate::supervisor::executor::message::News;
use crate::supervisor::slots::Slot;
use crate::supervisor::tasks::drain::target::{DrainNews, DrainTarget};
use crate::supervisor::tasks::drain::{DrainCommand, RunningDrain};
use crate::types::{ProcessId, Signal};

impl Executor {
    /// Asks a process to end.
    pub(crate) fn stop(&mut self, process: ProcessId, signal: Signal) {
        let current = &mut self.processes.slots[process].instance;
        current.end_probes();
        current.asked = Some(signal);
        self.keep_listening(process);
        self.traffic.counts.look_before_stop();
        self.processes.history(process).end.asked_since.get_or_insert_with(clock::now);
        // drainit must look before it sends the signal, because sending a signal to a child that
        // has ended succeeds until the child is reaped.
        if self.pid(process).is_some_and(has_ended) {
            self.processes.history(process).end.ended_first = true;
        }
        self.look_at_signal(process, signal);
        // Living former main processes get the signal, too, because each of them is an ancestor of
        // the main process, or serves beside it.
        for pid in self.mains(process) {
            for signal in with_cont(signal) {
                self.signal_one(process, pid, signal);
            }
        }
    }

    pub(crate) fn kill(&mut self, process: ProcessId) {
        if let Some(signal) = self.instance(process).asked {
            self.look_at_signal(process, signal);
        }
        let mains: Vec<_> = self.mains(process).collect();
        self.processes.history(process).end.killed_since.get_or_insert_with(clock::now);
        let current = &mut self.processes.slots[process].instance;
        current.asked = Some(Signal::KILL);
        let led = mains.iter().filter(|pid| is_child(**pid));
        let killed = led.map(|leader| kill_group(*leader, Signal::KILL));
        let leader =
            Some(current.leader).filter(|leader| !mains.is_empty() && !mains.contains(leader));
        let left = self.groups.of(process).chain(leader);
        let left = left.map(|leader| signal_left_group(leader, Signal::KILL));
        for killed in killed.chain(left) {
            if let Err(error) = killed {
                let name = &self.process(process).name;
                tracing::warn!("{name}: cannot kill its process group: {error}");
            }
        }
        // These processes also get SIGKILL directly, because each may have left its process group.
        for pid in mains {
            let _ = self.children.signal(pid, Signal::KILL);
        }
    }

    /// Like [`Self::unready`], but an Envoy whose drain begins later passes its health check until
    /// [`Self::unready`] is called.
    pub(crate) fn stay_ready(&mut self) {
        self.unready();
        self.stays_ready = true;
    }

    /// Ends all probes and all checks of whether a drain will work. Makes each draining Envoy fail
    /// its health check.
    pub(crate) fn unready(&mut self) {
        self.stays_ready = false;
        for (_, Slot { instance, .. }) in self.processes.slots.all_mut() {
            instance.end_probes();
            if let Some(drain) = &instance.drain {
                drain.command(DrainCommand::Unready);
            }
        }
    }

    pub(crate) fn drain(&mut self, process: ProcessId, min: Duration, longest: Duration) {
        self.processes.slots[process].instance.end_probes();
        self.keep_listening(process);
        let process_config = self.with_values(process);
        let process_config = &*process_config;
        let (Some(drain), Some(_)) = (&process_config.drain, self.pid(process)) else { return };
        let target = DrainTarget {
            process,
            tell: self.tell_drain(process),
            min,
            longest,
            stays_ready: self.stays_ready,
            name: process_config.name.clone(),
            looker: Rc::clone(&self.traffic.looker),
            logged: RefCell::default(),
        };
        let starter = self.children.starter();
        // If an older epoch of this Envoy still runs, the drain counts connections, because the
        // statistics report the requests of an older epoch only every few seconds.
        let drain = &match self.has_older_epoch(process) {
            true => drain.clone().by_connections(),
            false => drain.clone(),
        };
        if !matches!(drain.method, DrainMethod::Envoy(_) | DrainMethod::Connections(_)) {
            self.processes.history(process).end.asked_since = Some(clock::now());
        }
        let running = RunningDrain::begin(drain, target, starter, |command| {
            let hook = Hook { command: command.to_vec().into(), timeout: None, user: None };
            let launcher = self.launcher(Some(process_config));
            let (request, log) = launcher.hook(&hook, Some(process_config))?;
            self.logs.keep_open(log.as_ref());
            Ok(request)
        });
        if running.counts() {
            self.traffic.counts.on_drain_counts(process);
        }
        self.processes.slots[process].instance.liveness = None;
        self.processes.slots[process].instance.drain = Some(running);
    }

    /// Passes the news of a drain on. A line for the report counts also after the end of the
    /// instance.
    fn tell_drain(&self, process: ProcessId) -> Box<dyn Fn(DrainNews)> {
        let instance = self.instance_sender(process);
        Box::new(move |news| match news {
            DrainNews::Remark(line) => instance.remark(line),
            news => instance.send(News::Drain(news)),
        })
    }

    pub(crate) fn command_drain(&self, process: ProcessId, command: DrainCommand) {
        if let Some(drain) = &self.instance(process).drain {
            drain.command(command);
        }
    }
}

/// Adds SIGCONT to a stop signal, because the process may be stopped by SIGSTOP. SIGCONT discards
/// pending SIGTSTP, SIGTTIN and SIGTTOU (signal(7)), so SIGCONT comes before these three signals,
/// and after every other signal.
pub(super) fn with_cont(signal: Signal) -> [Signal; 2] {
    match signal {
        Signal::TSTP | Signal::TTIN | Signal::TTOU => [Signal::CONT, signal],
        _ => [signal, Signal::CONT],
    }
}
