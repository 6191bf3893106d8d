//! Starts one instance of a process, with its pipes, its notify socket and its readiness probe.

use std::rc::Rc;

use crate::config::{Liveness, Process};
use crate::core::event::Event;
use crate::os::notify_socket::NotifySocket;
use crate::supervisor::executor::Executor;
use crate::supervisor::launch;
use crate::supervisor::launch::{Handed, StartError};
use crate::supervisor::liveness::{Instance, LivenessWatch, Pace};
use crate::supervisor::message::{Message, Role};
use crate::supervisor::readiness::notify::{Listener, NotifySender, States};
use crate::supervisor::readiness::probe::{LastFailure, RunningCommand, answered_already};
use crate::supervisor::readiness::{ReadinessTarget, Watch};
use crate::supervisor::run_command;
use crate::types::ProcessId;

impl Executor {
    /// Evaluates `only_if`. The stale sockets of a skipped process are removed: nothing will listen
    /// on them.
    pub(crate) fn condition(&self, process: ProcessId) -> bool {
        let wanted = self.process(process);
        let holds = wanted.only_if.as_ref().is_none_or(launch::holds);
        if !holds {
            self.remove_sockets(process);
        }
        holds
    }

    pub(crate) fn spawn(&mut self, process: ProcessId) -> Event {
        if !self.instances[process.index()].was_started
            && let Err(error) = self.check_sockets(process)
        {
            return self.spawn_failed(process, &error);
        }
        self.remove_sockets(process);
        let started = self.prepare(process).and_then(|()| {
            let with_values = self.with_values(process);
            self.try_spawn(process, &with_values)
        });
        // The next start renders anew.
        self.instances[process.index()].is_rendered = false;
        match started {
            Ok(()) => Event::Spawned(process),
            Err(error) => self.spawn_failed(process, &error),
        }
    }

    /// Reports why a process could not be started.
    pub(super) fn spawn_failed(&self, process: ProcessId, error: &StartError) -> Event {
        let reason = error.to_string();
        tracing::error!("{}: {reason}", self.names.of(process));
        self.status_board.set_message(process, Some(reason));
        Event::SpawnFailed { process, exit_code: error.exit_code() }
    }

    /// Reads the values of a process that are known only at its start, and writes its templates:
    /// those once a start, so that `pre_start` may check or change what was written.
    pub(super) fn prepare(&mut self, process: ProcessId) -> Result<(), StartError> {
        let wanted = self.process(process);
        let with_values = launch::with_values(&wanted, &self.config.env)?.map(Rc::new);
        let current = &mut self.instances[process.index()];
        current.with_values.clone_from(&with_values);
        if !current.is_rendered {
            launch::render(with_values.as_deref().unwrap_or(&wanted), &self.base)?;
            current.is_rendered = true;
        }
        Ok(())
    }

    /// The process with the values that were read at its last start, if it has such values.
    pub(super) fn with_values(&self, process: ProcessId) -> Rc<Process> {
        let with_values = self.instances[process.index()].with_values.clone();
        with_values.unwrap_or_else(|| self.process(process))
    }

    fn try_spawn(&mut self, process: ProcessId, wanted: &Process) -> Result<(), StartError> {
        let socket = wanted.uses_notify().then(|| NotifySocket::bind(process)).transpose()?;
        let epoch = self.next_epoch(process)?;
        let launcher = self.launcher(Some(wanted))?;
        let handed = Handed {
            args: &self.args[process.index()],
            notify: socket.as_ref().map(NotifySocket::env_value),
            epoch: epoch.map(|epoch| epoch.number),
            sockets: &self.sockets[process.index()],
        };
        let (request, log) = launcher.process(self.owner(process), wanted, handed)?;
        self.warn_if_ready_already(process, wanted);
        let pid = self.children.borrow_mut().spawn(request, Role::Process(process))?;
        self.keep_open(log.as_ref());
        let current = &mut self.instances[process.index()];
        current.number += 1;
        current.was_started = true;
        current.pid = Some(pid);
        current.epoch = epoch;
        current.is_ready = false;
        current.name = Some(match epoch {
            Some(epoch) => format!("epoch {}", epoch.number),
            None => format!("PID {pid}"),
        });
        current.log.clone_from(&log);
        current.drain = None;
        self.status_board.set_pid(process, Some(pid));
        self.status_board.set_message(process, None);
        current.unhealthy = LastFailure::default();
        self.status_board.set_unhealthy(process, Rc::clone(&current.unhealthy));
        let last_failure = LastFailure::default();
        self.status_board.set_failure(process, Rc::clone(&last_failure));
        let instance = current.number;
        current.listener = socket.map(|socket| {
            let sender = NotifySender {
                process,
                name: wanted.name.clone(),
                instance,
                pid,
                children: Rc::clone(&self.children),
                tells_readiness: wanted.tells_readiness(),
                tells_drained: wanted.tells_drained(),
                is_only_process: self.config.processes.len() == 1,
            };
            let states = States {
                status: Rc::clone(&last_failure),
                unhealthy: Rc::clone(&current.unhealthy),
            };
            Listener::begin(socket, sender, states, self.sender.clone())
        });
        current.watch = match &wanted.readiness {
            None => None,
            Some(_) if wanted.tells_readiness() => None,
            Some(readiness) => Some(Watch::begin(
                ReadinessTarget {
                    process: wanted.clone(),
                    readiness: readiness.clone(),
                    epoch: Self::admin_to_take_over(wanted, epoch),
                    log,
                    failures: self.status_board.meter.borrow_mut().readiness_failures(process),
                },
                Rc::clone(&self.base),
                Rc::clone(&self.children),
                self.sender.clone(),
                Rc::clone(&last_failure),
                Message::Ready { process, instance },
            )),
        };
        current.last_failure = last_failure;
        self.status_board.set_epoch(process, epoch.map(|epoch| epoch.number));
        Ok(())
    }

    /// Asks a new epoch once more, in place of its readiness probe.
    pub(crate) fn ask_epoch(&mut self, process: ProcessId) {
        let wanted = self.with_values(process);
        let current = &mut self.instances[process.index()];
        let instance = current.number;
        current.watch = Self::admin_to_take_over(&wanted, current.epoch).map(|epoch| {
            let event = Event::NotLive(process);
            Watch::ask_once(
                epoch,
                self.sender.clone(),
                Rc::clone(&current.last_failure),
                Message::Ready { process, instance },
                Message::OfInstance { process, instance, event },
            )
        });
    }

    /// Begins the liveness check of a process that is ready.
    pub(crate) fn watch_liveness(&mut self, process: ProcessId) {
        let wanted = self.with_values(process);
        let current = &mut self.instances[process.index()];
        let failure = Rc::clone(&current.unhealthy);
        match &wanted.liveness {
            Some(Liveness::Notify(limit)) => {
                if let Some(listener) = &current.listener {
                    listener.expect_watchdog(*limit);
                }
            }
            Some(Liveness::Probe { probe, interval, timeout, start_period, .. }) => {
                let pace =
                    Pace { start_period: *start_period, interval: *interval, timeout: *timeout };
                let (base, children) = (Rc::clone(&self.base), Rc::clone(&self.children));
                let (user, limit) = (Process::clone(&wanted), *timeout);
                let run = move |command: &[String]| -> RunningCommand {
                    let request = launch::probe(command, &user, &base);
                    Box::pin(run_command::run(request, Rc::clone(&children), limit))
                };
                current.liveness = Some(LivenessWatch::begin(
                    Instance { process, name: wanted.name.clone(), number: current.number },
                    probe.clone(),
                    pace,
                    failure,
                    self.sender.clone(),
                    Rc::new(run),
                ));
            }
            None => {}
        }
    }

    /// Warns if something answers the readiness probe of a process before its first start. Later it
    /// may be a leftover of its earlier instance.
    fn warn_if_ready_already(&self, process: ProcessId, wanted: &Process) {
        let was_started = self.instances[process.index()].was_started;
        let readiness = wanted.readiness.as_ref().filter(|_| !was_started);
        let answers = |probe| answered_already(probe, &wanted.listen);
        if let Some(address) = readiness.and_then(|wanted| answers(&wanted.probe)) {
            tracing::warn!(
                "{}: {address} answers before the process is started: another process listens there, \
                 and its answers will be taken for readiness",
                wanted.name
            );
        }
    }
}
