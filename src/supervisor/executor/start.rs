//! Starts one instance of a process, with its pipes, its notify socket and its readiness probe.

use std::cell::Cell;
use std::fs::File;
use std::rc::Rc;
use std::sync::{Arc, Weak};

use tokio::time::timeout;

use crate::core::event::Event;
use crate::core::spec::{HookId, Stage};
use crate::keys::{Leftovers, Liveness, OnlyIf, Probe, Process, ProcessKind};
use crate::local_task::{self, LocalTask};
use crate::os::Pid;
use crate::os::clock;
use crate::os::kill::kill_child;
use crate::os::leftovers;
use crate::os::notify_socket::NotifySocket;
use crate::os::on_thread::{Share, on_thread};
use crate::os::spawn::{FailedExec, SpawnError};
use crate::supervisor::children::{ChildRole, Ended};
use crate::supervisor::executor::Executor;
use crate::supervisor::executor::hooks::share_of;
use crate::supervisor::executor::instance::Launching;
use crate::supervisor::executor::message::{InstanceSender, Message, News};
use crate::supervisor::executor::starts::Start;
use crate::supervisor::launch::{self, LONGEST_START, StartArguments, StartError};
use crate::supervisor::tasks::liveness::{self, ProbePace};
use crate::supervisor::tasks::preparation::{Preparation, PreparedFiles};
use crate::supervisor::tasks::readiness::notify::{NotifyListener, NotifySender};
use crate::supervisor::tasks::readiness::{self, ReadinessTarget, SILENT, commands_of};
use crate::supervisor::tasks::run_command::diagnose;
use crate::types::{ProcessId, Signal, exit_code, harmless};

/// The event of a start that was given up because of a stop.
fn event_of_aborted(process: ProcessId) -> Event {
    Event::SpawnFailed { process, exit_code: exit_code::CANNOT_EXECUTE }
}

impl Executor {
    /// Evaluates `only_if`. If this needs the file system, returns `None` and sends the answer
    /// later. If the process is skipped, removes its old sockets, because nothing will listen on
    /// them.
    pub(crate) fn condition(&mut self, process: ProcessId, check: u32) -> Option<Event> {
        let wanted = self.process(process);
        let paths = match &wanted.only_if {
            None => return Some(Event::Condition { process, check, holds: true }),
            Some(OnlyIf::Never) => {
                self.remove_sockets(process);
                return Some(Event::Condition { process, check, holds: false });
            }
            Some(paths @ OnlyIf::Any(_)) => paths.to_string(),
        };
        let (name, own, stale) =
            (wanted.name.clone(), self.own_socket(), self.stale_sockets(process));
        let sender = self.sender.clone();
        local_task::spawn(Share::Start(process).scope(async move {
            let evaluate = move || {
                let holds = wanted.only_if.as_ref().map_or(Ok(true), OnlyIf::holds);
                if !matches!(holds, Ok(true)) {
                    launch::remove_sockets(&wanted.name, &stale, own.as_deref());
                }
                holds.map_err(|link| link.to_string())
            };
            let holds = on_thread(LONGEST_START, evaluate).await.map_err(|why| why.to_string());
            let holds = holds.flatten().unwrap_or_else(|why| {
                let paths = harmless(&paths);
                tracing::warn!(
                    "{name}: left out, because its only_if ({paths}) cannot be checked: {why}"
                );
                false
            });
            let _ = sender.send(Message::Event(Event::Condition { process, check, holds }));
        }));
        None
    }

    /// Begins to start a process. Returns an event if the start failed at once.
    pub(crate) fn spawn(&mut self, process: ProcessId) -> Option<Event> {
        if !self.starts.begin_or_wait(process) {
            return None;
        }
        self.mark_files_read(process);
        let other_lives = self.other_slots(process).into_iter().any(|other| self.lives(other));
        let was_started = self.processes.history(process).start.first.is_some();
        // `take` clears the flag, because files that a hook has rendered for this start are not for
        // the next start.
        let is_rendered = std::mem::take(&mut self.processes.slots[process].instance.is_rendered);
        let renders = !is_rendered && !self.process(process).render.is_empty();
        let is_first = !was_started && !other_lives;
        let preparation = Preparation {
            own_socket: self.own_socket(),
            is_first,
            uses_sockets: true,
            stale: self.stale_sockets(process),
            values: Some(self.config.env.clone()),
            renders: renders.then(|| self.base.to_vec()),
            opens_log: self.logs.opens(&self.process(process).log.mode),
            shut: self.shut_files(process),
            is_wanted: Weak::new(),
        };
        self.prepare(Start::Process(process), process, preparation)
    }

    /// Gathers the files of a start or a hook. Continues at once if there are no files to gather.
    pub(super) fn prepare(
        &mut self,
        start: Start,
        process: ProcessId,
        mut preparation: Preparation,
    ) -> Option<Event> {
        let wanted = match start {
            Start::Hook(HookId { stage: Stage::PreStop | Stage::PostStop, .. }) => {
                self.with_values(process)
            }
            Start::Process(_) | Start::Hook(_) => self.process(process),
        };
        if !preparation.is_needed(&wanted) {
            return self.continue_start(start, Ok(PreparedFiles::default()));
        }
        let sender = self.sender.clone();
        let is_wanted = Arc::new(());
        preparation.is_wanted = Arc::downgrade(&is_wanted);
        let share = match start {
            Start::Process(process) => Share::Start(process),
            Start::Hook(hook) => share_of(hook),
        };
        let task = LocalTask::of(share, async move {
            let files = on_thread(LONGEST_START, move || preparation.run(&wanted)).await;
            drop(is_wanted);
            let files = files.unwrap_or_else(|why| Err(StartError::Unprepared(why.to_string())));
            let (task, files) = (tokio::task::id(), Box::new(files));
            let _ = sender.send(Message::FilesReady { start, task, files });
        });
        self.starts.prepare(start, task);
        None
    }

    /// Continues a start or a hook whose files were gathered.
    pub(crate) fn on_files(
        &mut self,
        start: Start,
        task: tokio::task::Id,
        files: Result<PreparedFiles, StartError>,
    ) -> Option<Event> {
        match self.starts.end_preparing(start, task) {
            true => self.continue_start(start, files),
            false => None,
        }
    }

    fn continue_start(
        &mut self,
        start: Start,
        files: Result<PreparedFiles, StartError>,
    ) -> Option<Event> {
        match start {
            Start::Hook(hook) => self.begin_hook(hook, files),
            Start::Process(process) => {
                let launched = files.and_then(|files| {
                    let directory = self.take_files(process, files);
                    let with_values = self.with_values(process);
                    self.launch(process, with_values, directory)
                });
                launched.err().map(|error| {
                    self.starts.end(process);
                    self.on_spawn_failed(process, &error)
                })
            }
        }
    }

    /// Keeps the values and the log file of a start, and returns the working directory.
    pub(super) fn take_files(&mut self, process: ProcessId, files: PreparedFiles) -> Option<File> {
        for log in files.logs {
            self.logs.add(log, self.config.logging.format);
        }
        for (place, socket) in files.sockets {
            self.replace_socket(process, place, &socket);
        }
        self.processes.slots[process].instance.with_values = files.with_values.map(Arc::new);
        files.directory
    }

    /// Handles the beginning of a turn of the event loop.
    pub(crate) fn begin_turn(&mut self) {
        self.starts.begin_turn();
        self.looked_in_turn = 0;
    }

    /// Gives up a start that is under way, unless the program already runs. Returns the event that
    /// ends the start.
    pub(crate) fn abort_spawn(&mut self, process: ProcessId) -> Event {
        self.starts.give_up(process);
        if let Some(pid) = self.launching(process) {
            if self.has_begun(process) {
                return self.on_begun(process).unwrap_or(event_of_aborted(process));
            }
            self.give_up(process, pid);
        }
        event_of_aborted(process)
    }

    /// The pid of a process whose exec is under way.
    pub(super) fn launching(&self, process: ProcessId) -> Option<Pid> {
        self.instance(process).launching_pid()
    }

    /// Whether the exec that is under way has succeeded.
    fn has_begun(&mut self, process: ProcessId) -> bool {
        let launching = self.processes.slots[process].instance.launching.as_mut();
        launching.is_some_and(|launching| launching.exec.has_succeeded())
    }

    /// Kills a process whose exec is under way.
    fn give_up(&mut self, process: ProcessId, pid: Pid) {
        self.processes.slots[process].instance.launching = None;
        self.starts.end(process);
        if self.is_there(process, pid) {
            let _ = kill_child(pid, Signal::KILL);
        }
    }

    /// Handles an exec that is over, or that takes too long.
    pub(crate) fn on_exec_over(
        &mut self,
        process: ProcessId,
        pid: Pid,
        is_late: bool,
    ) -> Option<Event> {
        if self.launching(process) != Some(pid) {
            return None;
        }
        if self.has_begun(process) {
            return self.on_begun(process);
        }
        // After a failed exec there is no event yet, because the reason is known only when the
        // child ends.
        is_late.then(|| {
            self.give_up(process, pid);
            self.on_spawn_failed(process, &StartError::Late)
        })
    }

    /// Handles the start of a process that ended before drainit saw that its exec had succeeded.
    pub(crate) fn on_begun_unseen(&mut self, ended: &Ended) -> Option<Event> {
        let Some(ChildRole::Process(process)) = ended.role else { return None };
        let is_it = self.launching(process) == Some(ended.pid) && ended.failed.is_none();
        if is_it { self.on_begun(process) } else { None }
    }

    /// Handles a failed exec of a process; `error` is the reason.
    pub(crate) fn on_exec_failed(
        &mut self,
        process: ProcessId,
        pid: Pid,
        error: SpawnError,
    ) -> Option<Event> {
        (self.launching(process) == Some(pid)).then(|| {
            self.processes.slots[process].instance.launching = None;
            self.starts.end(process);
            self.on_spawn_failed(process, &error.into())
        })
    }

    /// Looks for the reason why the exec of a process has failed.
    pub(super) fn explain(&self, process: ProcessId, pid: Pid, failed: FailedExec) {
        let sender = self.sender.clone();
        local_task::spawn(Share::Start(process).scope(async move {
            let error = diagnose(failed).await;
            let _ = sender.send(Message::ExecFailed { process, pid, error });
        }));
    }

    /// Logs why a process could not be started.
    pub(super) fn on_spawn_failed(&mut self, process: ProcessId, error: &StartError) -> Event {
        let reason = error.to_string();
        tracing::error!("{}: {reason}", self.process(process).name);
        self.processes.history(process).end.message = Some(reason.into());
        Event::SpawnFailed { process, exit_code: error.exit_code() }
    }

    /// The definition of the process, with the values that were read at its last start if it has
    /// such values.
    pub(super) fn with_values(&self, process: ProcessId) -> Arc<Process> {
        let with_values = self.instance(process).with_values.clone();
        with_values.unwrap_or_else(|| self.process(process))
    }

    /// Forgets the values that were read at the start, once nothing needs them any more.
    pub(super) fn forget_values(&mut self, process: ProcessId) {
        self.processes.slots[process].instance.with_values = None;
    }

    fn launch(
        &mut self,
        process: ProcessId,
        wanted: Arc<Process>,
        directory: Option<File>,
    ) -> Result<(), StartError> {
        let socket = wanted.uses_notify().then(|| NotifySocket::bind(process)).transpose()?;
        let epoch = self.next_epoch(process)?;
        let launcher = self.launcher(Some(&wanted));
        self.listen_again(process);
        let definition = self.definition(process).clone();
        self.marks += 1;
        let mark = self.marks;
        let handed = StartArguments {
            args: &definition.args,
            mark: (wanted.leftovers == Leftovers::End).then(|| leftovers::mark(&wanted.name, mark)),
            notify: socket.as_ref().map(NotifySocket::env_value),
            epoch: epoch.map(|epoch| epoch.number),
            sockets: &definition.sockets,
        };
        let (mut request, log) = launcher.process(&wanted, handed)?;
        // A reload that ends before the program runs must not drop the log file.
        self.logs.keep_open(log.as_ref());
        request.directory = directory;
        self.processes.slots[process].log_files = self.logs.files_of(&wanted.log.mode);
        let spawned = clock::now();
        if self.starts.count() {
            // More starts may be waiting for the next turn.
            self.wake_loop();
        }
        let (pid, exec) = self.children.start(request, process)?;
        let exec_over = exec.watch();
        let launching = Launching { pid, exec, wanted, socket, epoch, log, spawned, mark };
        self.processes.slots[process].instance.launching = Some(launching);
        let exec_over = exec_over.inspect_err(|_| self.give_up(process, pid))?;
        let sender = self.sender.clone();
        local_task::spawn(async move {
            let is_late = timeout(LONGEST_START, exec_over).await.is_err();
            let _ = sender.send(Message::ExecOver { process, pid, is_late });
        });
        Ok(())
    }

    /// Records that a process has begun, because its exec has succeeded.
    fn on_begun(&mut self, process: ProcessId) -> Option<Event> {
        let launching = self.processes.slots[process].instance.launching.take()?;
        self.starts.end(process);
        let Launching { pid, exec: _, wanted, socket, epoch, log, spawned, mark } = launching;
        let user = launch::user_of(&wanted).map(|user| user.uid);
        if !wanted.runs_commands() {
            self.forget_values(process);
        }
        let (wanted, given) = (self.with_values(process), self.held_inodes(process));
        let is_held = !given.is_empty();
        let older = self.other_slots(process).into_iter().collect();
        let current = &mut self.processes.slots[process].instance;
        current.number += 1;
        (current.pid, current.spawned, current.mark) = (Some(pid), spawned, Some(mark));
        (current.leader, current.former, current.asked) = (pid, Vec::new(), None);
        current.below.clear();
        self.traffic.looker.on_started(process, Arc::new([pid].into()), given);
        self.traffic.looker.witness().on_succeeded(self.processes.journal.slots_of(&wanted.name));
        current.epoch = epoch;
        current.is_ready = false;
        current.log.clone_from(&log);
        current.drain = None;
        current.keeps_listening = None;
        let journal = &mut self.processes.journal;
        journal.of_mut(process).start.is_held = is_held;
        journal.spawned(process, pid, epoch.map(|epoch| epoch.number));
        if wanted.readiness.is_some() {
            journal.tally(process).readiness_failures.get_or_insert(0);
        }
        // Until the first attempt has failed, this is the reason why the process is not ready.
        journal.of_mut(process).checks.failure = match wanted.readiness.as_ref().map(|it| &it.probe)
        {
            Some(Probe::Log(pattern)) => {
                Some(format!("no line of it matches `{}`", harmless(pattern.0.as_str())).into())
            }
            Some(Probe::Notify) => Some(SILENT.into()),
            Some(Probe::Exec(_)) => Some("its probe has not ended".into()),
            _ => None,
        };
        let instance =
            InstanceSender { process, instance: current.number, sender: self.sender.clone() };
        let notified = instance.clone();
        current.listener = socket.map(|socket| {
            let sender = NotifySender {
                name: wanted.name.clone(),
                tell: Box::new(move |news, place| {
                    notified.send_with(News::Notify(news), place);
                }),
                main: Cell::new(pid),
                sessions: Cell::new([pid; 2]),
                tells_readiness: wanted.tells_readiness(),
                tells_drained: wanted.tells_drained(),
                user,
                is_alone: Rc::clone(&self.is_alone),
            };
            NotifyListener::begin(socket, sender)
        });
        current.readiness = match &wanted.readiness {
            None if wanted.kind == ProcessKind::Oneshot => {
                Some(readiness::watch_oneshot(process, instance.tell(News::Readiness)))
            }
            None => None,
            Some(wanted_readiness) => Some(readiness::watch(
                ReadinessTarget {
                    process: Arc::clone(&wanted),
                    readiness: wanted_readiness.clone(),
                    epoch: Self::admin_to_take_over(&wanted, epoch),
                    log,
                    pids: Rc::clone(self.traffic.looker.pids()),
                    older,
                },
                Rc::clone(&self.base),
                self.children.starter(),
                process,
                instance.tell(News::Readiness),
            )),
        };
        Some(Event::Spawned(process))
    }

    /// Asks a new Envoy epoch once whether it has taken over from the older epoch. The question
    /// replaces the readiness probe of the new epoch.
    pub(crate) fn ask_epoch(&mut self, process: ProcessId) {
        let wanted = self.with_values(process);
        let tell = self.instance_sender(process).tell(News::Readiness);
        let limit = self.processes.machine().state().process(process).last_probe();
        let current = &mut self.processes.slots[process].instance;
        current.readiness = Self::admin_to_take_over(&wanted, current.epoch)
            .map(|epoch| readiness::ask_once(epoch, limit, process, tell));
    }

    /// Begins the liveness check of a ready process.
    pub(crate) fn watch_liveness(&mut self, process: ProcessId) {
        let wanted = self.with_values(process);
        let tell = self.instance_sender(process).tell(News::Liveness);
        let current = &mut self.processes.slots[process].instance;
        match &wanted.liveness {
            Some(Liveness::Notify(limit)) => {
                if let Some(listener) = &current.listener {
                    listener.expect_watchdog(*limit);
                }
            }
            Some(Liveness::Probe { probe, interval, timeout, start_period, .. }) => {
                let pace = ProbePace {
                    start_period: *start_period,
                    interval: *interval,
                    timeout: *timeout,
                };
                let (base, starter) = (Rc::clone(&self.base), self.children.starter());
                let run = commands_of(Arc::clone(&wanted), base, starter, *timeout);
                current.liveness = Some(liveness::watch(
                    process,
                    wanted.name.clone(),
                    probe.clone(),
                    pace,
                    Rc::new(run),
                    tell,
                ));
            }
            None => {}
        }
    }
}
