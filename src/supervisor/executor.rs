//! Carries out what the core decides, and knows what is under way for each process.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::AbortHandle;
use tokio::time::timeout;

use crate::config::{Config, Hook, Probe, Process, Readiness};
use crate::core::event::Event;
use crate::core::note::{AfterEnd, Note};
use crate::core::spec::{HookId, Stage};
use crate::envoy::preflight::Verification;
use crate::logging::Output;
use crate::logging::capture::OutputCapture;
use crate::os::Pid;
use crate::os::clock;
use crate::os::descendants::{list, members_of_group};
use crate::os::kill::{Group, group, kill, kill_group};
use crate::os::notify_socket::NotifySocket;
use crate::os::oom::OomKills;
use crate::os::reap::has_children;
use crate::os::spawn::SpawnRequest;
use crate::os::sweep::{Sweep, Swept};
use crate::os::termination_log;
use crate::report::Report;
use crate::report::messages;
use crate::report::messages::{Level, Names};
use crate::supervisor::children::{Ended, Rest};
use crate::supervisor::drain;
use crate::supervisor::drain::RunningDrain;
use crate::supervisor::launch;
use crate::supervisor::message::{Family, Message, MessageSender, Role};
use crate::supervisor::readiness;
use crate::supervisor::readiness::Watch;
use crate::supervisor::readiness::notify::{Listener, Speaker};
use crate::supervisor::readiness::probe::{LastFailure, answered_already};
use crate::supervisor::status::StatusBoard;
use crate::types::{End, ProcessId, Signal, Time, harmless};

/// The pause between two looks at process groups without their leader.
const GROUP_LOOK: Duration = Duration::from_millis(50);
/// So many logs that have ended are kept, at least, before they are looked for.
const SOME_LOGS: usize = 16;

/// See the module.
pub(crate) struct Executor {
    config: Rc<Config>,
    args: Vec<Vec<String>>,
    base: Rc<[(OsString, OsString)]>,
    output: Arc<Output>,
    names: Names,
    sender: MessageSender,
    statuses: Rc<StatusBoard>,
    report: Rc<RefCell<Report>>,
    family: Family,
    oom_kills: OomKills,
    lives: Vec<Current>,
    hooks: BTreeMap<HookId, HookRun>,
    /// Logs whose pipes may still hold something.
    open_logs: Vec<Rc<OutputCapture>>,
    /// So many of them there may be before those that have ended are looked for.
    most_open_logs: usize,
    /// At the end: who has been told what.
    sweep: Option<Sweep>,
    /// Process groups that live on without the process that led them.
    groups: Vec<LeftGroup>,
    /// ImageLookup at them again and again: not everybody in them must be a descendant whose end is told.
    groups_watch: Option<AbortHandle>,
}

/// What is under way for one process.
#[derive(Default)]
struct Current {
    /// Counts the starts.
    life: u32,
    pid: Option<Pid>,
    log: Option<Rc<OutputCapture>>,
    watch: Option<Watch>,
    listener: Option<Listener>,
    /// Why it is not ready yet, or what it says of itself.
    said: LastFailure,
    drain: Option<RunningDrain>,
    verification: Option<Verification>,
}

struct HookRun {
    pid: Pid,
    log: Option<Rc<OutputCapture>>,
}

/// A process group that lives on without the process that led it.
struct LeftGroup {
    process: ProcessId,
    leader: Pid,
    /// Since when nobody is in it whom drainit may signal.
    refuses: Option<Time>,
}

impl Executor {
    pub(crate) fn new(
        config: Rc<Config>,
        args: Vec<Vec<String>>,
        output: Arc<Output>,
        names: Names,
        sender: MessageSender,
        statuses: Rc<StatusBoard>,
    ) -> Self {
        let base = launch::base_environment(&config).into();
        let report = Rc::new(RefCell::new(Report::new(names.clone())));
        let lives = config.processes.iter().map(|_| Current::default()).collect();
        Self {
            config,
            args,
            base,
            output,
            names,
            sender,
            statuses,
            report,
            family: Family::default(),
            oom_kills: OomKills::from_now_on(),
            lives,
            hooks: BTreeMap::new(),
            open_logs: Vec::new(),
            most_open_logs: 0,
            sweep: None,
            groups: Vec::new(),
            groups_watch: None,
        }
    }

    /// What message mean for the core, if anything.
    pub(crate) fn event(&mut self, message: Message) -> Option<Event> {
        match message {
            Message::Event(event) => Some(event),
            Message::Ready { process, life } => {
                let current = &mut self.lives[process.index()];
                (current.life == life && current.pid.is_some()).then(|| {
                    current.watch = None;
                    self.statuses.message(process, None);
                    Event::Ready(process)
                })
            }
            Message::Drained { process, life } => {
                let current = &self.lives[process.index()];
                let is_now = current.life == life && current.pid.is_some();
                is_now.then_some(Event::Drained(process))
            }
            Message::Again => None,
        }
    }

    /// Has the loop turn once more, after everything else that waits.
    pub(crate) fn again(&self) {
        let _ = self.sender.send(Message::Again);
    }

    /// Whether a process is to be started. Where it is not, nobody will listen on its sockets.
    pub(crate) fn condition(&self, process: ProcessId) -> bool {
        let wanted = self.process(process);
        let holds = wanted.only_if.as_ref().is_none_or(launch::holds);
        if !holds {
            launch::remove_sockets(&wanted.name, &wanted.sockets);
        }
        holds
    }

    pub(crate) fn spawn(&mut self, process: ProcessId) -> Event {
        let config = Rc::clone(&self.config);
        let wanted = &config.processes[process.index()];
        launch::remove_sockets(&wanted.name, &wanted.sockets);
        match self.try_spawn(process, wanted) {
            Ok(()) => Event::Spawned(process),
            Err((exit_code, reason)) => {
                tracing::error!("{}: {reason}", wanted.name);
                self.statuses.message(process, Some(reason));
                Event::SpawnFailed { process, exit_code }
            }
        }
    }

    fn try_spawn(&mut self, process: ProcessId, wanted: &Process) -> Result<(), (u8, String)> {
        let socket = if launch::talks(wanted) {
            Some(NotifySocket::bind(process).map_err(no_resources)?)
        } else {
            None
        };
        let (request, log) = launch::process(
            wanted,
            &self.args[process.index()],
            &self.base,
            socket.as_ref().map(NotifySocket::env_value),
            &self.output,
            self.config.logging.format,
        )
        .map_err(no_resources)?;
        self.warn_of_somebody_else(process, wanted);
        let pid = self.start(request, Role::Process(process))?;
        self.keep_open(log.as_ref());
        let current = &mut self.lives[process.index()];
        current.life += 1;
        current.pid = Some(pid);
        current.log.clone_from(&log);
        self.statuses.pid(process, Some(pid));
        self.statuses.message(process, None);
        let said = LastFailure::default();
        self.statuses.watch(process, Rc::clone(&said));
        let life = current.life;
        current.listener = socket.map(|socket| {
            let speaker = Speaker {
                process,
                name: wanted.name.clone(),
                life,
                pid,
                family: Rc::clone(&self.family),
                is_only_one: self.config.processes.len() == 1,
            };
            Listener::begin(socket, speaker, Rc::clone(&said), self.sender.clone())
        });
        current.watch = match &wanted.readiness {
            Some(Readiness { probe: Probe::Notify, .. }) | None => None,
            Some(readiness) => Some(Watch::begin(
                readiness::ReadinessTarget {
                    process: wanted.clone(),
                    readiness: readiness.clone(),
                    log,
                },
                Rc::clone(&self.base),
                Rc::clone(&self.family),
                self.sender.clone(),
                Rc::clone(&said),
                Message::Ready { process, life },
            )),
        };
        current.said = said;
        Ok(())
    }

    /// Says that the readiness of a process is answered before it is started. Only the first time:
    /// later it may be the rest of its earlier life.
    fn warn_of_somebody_else(&self, process: ProcessId, wanted: &Process) {
        let is_first = self.lives[process.index()].life == 0;
        let readiness = wanted.readiness.as_ref().filter(|_| is_first);
        if let Some(address) = readiness.and_then(|wanted| answered_already(&wanted.probe)) {
            tracing::warn!(
                "{}: {address} answers before the process is started: another process listens there, \
                 and its answers will be taken for readiness",
                wanted.name
            );
        }
    }

    /// Remembers a log whose last lines are wanted at the end, and forgets those that have ended, with their pipes.
    fn keep_open(&mut self, log: Option<&Rc<OutputCapture>>) {
        if self.open_logs.len() >= self.most_open_logs {
            self.open_logs.retain(|log| !log.is_finished());
            self.most_open_logs = SOME_LOGS + 2 * self.open_logs.len();
        }
        self.open_logs.extend(log.cloned());
    }

    fn start(&self, request: SpawnRequest, role: Role) -> Result<Pid, (u8, String)> {
        let started = self.family.borrow_mut().spawn(request, role);
        started.map_err(|error| (error.exit_code(), harmless(&error.to_string()).into_owned()))
    }

    /// Reaps children, at most `most`. Nobody signals them any more.
    pub(crate) fn reap(&mut self, most: usize) -> io::Result<(Vec<Ended<Role>>, Rest)> {
        self.family.borrow_mut().reap(most)
    }

    /// The pid of a process as long as it is its own.
    fn pid(&self, process: ProcessId) -> Option<Pid> {
        let is_its_own = |role: &Role| matches!(role, Role::Process(of) if *of == process);
        self.lives[process.index()]
            .pid
            .filter(|pid| self.family.borrow().role(*pid).is_some_and(is_its_own))
    }

    /// Whether others live on in the process group of a process that has ended. They are signalled
    /// from now on.
    pub(crate) fn leaves_a_group(&mut self, ended: &Ended<Role>) -> bool {
        let Some(Role::Process(process)) = ended.role else { return false };
        let remains = group(ended.pid) != Group::Gone;
        if remains {
            self.groups.push(LeftGroup { process, leader: ended.pid, refuses: None });
            self.watch_groups();
        }
        remains
    }

    /// A child has been reaped. `remains`: others live on in its process group.
    pub(crate) fn ended(&mut self, ended: Ended<Role>, remains: bool) -> Option<Event> {
        let Ended { pid, end, role } = ended;
        let is_oom = end == End::Signal(Signal::KILL) && self.oom_kills.explain_one();
        let end = if is_oom { End::OutOfMemory } else { end };
        match role {
            None if is_oom => {
                tracing::warn!("pid {pid}, a descendant of a process, {end}");
                None
            }
            None => {
                tracing::debug!("orphan {pid} {end}");
                None
            }
            Some(Role::Command(waiting)) => {
                // Nobody may be waiting any more.
                let _ = waiting.send(end);
                None
            }
            Some(Role::Hook(hook)) => {
                if let Some(run) = self.hooks.remove(&hook)
                    && let Some(log) = run.log
                {
                    log.pump();
                }
                if !end.is_success() {
                    let line = format!("{}: {end}", messages::hook_name(hook, &self.names));
                    tracing::warn!("{line}");
                    self.report.borrow_mut().remark(line);
                }
                Some(Event::HookEnded { hook, success: end.is_success() })
            }
            Some(Role::Process(process)) => {
                let wanted = &self.config.processes[process.index()];
                launch::remove_sockets(&wanted.name, &wanted.sockets);
                let current = &mut self.lives[process.index()];
                current.pid = None;
                current.watch = None;
                current.verification = None;
                current.listener = None;
                if let Some(log) = &current.log {
                    log.pump();
                }
                self.statuses.pid(process, None);
                Some(Event::Exited { process, end, remains })
            }
        }
    }

    pub(crate) fn signal(&self, process: ProcessId, signal: Signal) -> Option<Event> {
        if let Some(pid) = self.pid(process)
            && let Err(error) = kill(pid, signal)
        {
            tracing::warn!("{}: cannot send {signal}: {error}", self.names.of(process));
        }
        None
    }

    pub(crate) fn stop_group(&self, process: ProcessId, signal: Signal) -> Option<Event> {
        for leader in self.groups_of(process) {
            let sent = awake(signal).map(|signal| kill_group(leader, signal));
            // That nobody in it may be signalled is reported when it has lasted a moment.
            let is_news = |error: &io::Error| error.kind() != io::ErrorKind::PermissionDenied;
            if let Some(error) = sent.into_iter().find_map(|sent| sent.err().filter(is_news)) {
                let name = self.names.of(process);
                tracing::warn!("{name}: cannot send {signal} to its process group: {error}");
            }
        }
        None
    }

    /// The numbers of the process groups that it has left.
    fn groups_of(&self, process: ProcessId) -> impl Iterator<Item = Pid> {
        self.groups.iter().filter(move |left| left.process == process).map(|left| left.leader)
    }

    /// The process groups that are empty by now, or hold only whom drainit may not signal.
    pub(crate) fn groups_gone(&mut self) -> Vec<ProcessId> {
        let now = clock::now();
        let mut gone = Vec::new();
        for mut left in std::mem::take(&mut self.groups) {
            left.refuses = match group(left.leader) {
                Group::Gone => {
                    gone.push(left.process);
                    continue;
                }
                Group::Lives => None,
                Group::Refuses => Some(left.refuses.unwrap_or(now)),
            };
            // Not at once: who has ended already may only not be reaped yet by its parent.
            if left.refuses.is_some_and(|since| now.since(since) >= GROUP_LOOK) {
                self.refused(&left);
                gone.push(left.process);
            } else {
                self.groups.push(left);
            }
        }
        if self.groups.is_empty()
            && let Some(watch) = self.groups_watch.take()
        {
            watch.abort();
        }
        gone
    }

    /// Nobody could ever stop what is left in this group: it is reported, and no longer waited for.
    fn refused(&self, left: &LeftGroup) {
        let name = self.names.of(left.process);
        let members = members_of_group(left.leader);
        let who = if members.is_empty() { String::new() } else { format!(" {}", list(&members)) };
        let line = format!(
            "{name}: not allowed to signal those that live on in its process group{who}, most likely another user's, so \
            they are not waited for; run drainit as root, or all of them as one user"
        );
        tracing::warn!("{line}");
        self.report.borrow_mut().remark(line);
    }

    fn watch_groups(&mut self) {
        let sender = self.sender.clone();
        self.groups_watch.get_or_insert_with(|| {
            let again = async move {
                while sender.send(Message::Again).is_ok() {
                    tokio::time::sleep(GROUP_LOOK).await;
                }
            };
            tokio::task::spawn_local(again).abort_handle()
        });
    }

    pub(crate) fn kill(&self, process: ProcessId) -> Option<Event> {
        let pid = self.pid(process);
        for leader in pid.into_iter().chain(self.groups_of(process)) {
            if let Err(error) = kill_group(leader, Signal::KILL) {
                let name = self.names.of(process);
                tracing::warn!("{name}: cannot kill its process group: {error}");
            }
        }
        // It may have left the group that it was started in.
        if let Some(pid) = pid {
            let _ = kill(pid, Signal::KILL);
        }
        None
    }

    pub(crate) fn run_hook(&mut self, id: HookId) -> Option<Event> {
        let config = Rc::clone(&self.config);
        let process = id.process.map(|process| &config.processes[process.index()]);
        let hooks = process.map_or(&config.hooks, |process| &process.hooks);
        let hook: Option<&Hook> = match id.stage {
            Stage::PreStart => hooks.pre_start.as_ref(),
            Stage::PreStop => hooks.pre_stop.as_ref(),
            Stage::PostStop => hooks.post_stop.as_ref(),
        };
        let failed = Some(Event::HookEnded { hook: id, success: false });
        let Some(hook) = hook else { return failed };
        let request = launch::hook(hook, process, &self.base, &self.output, config.logging.format);
        let started = request
            .map_err(no_resources)
            .and_then(|(request, log)| Ok((self.start(request, Role::Hook(id))?, log)));
        match started {
            Ok((pid, log)) => {
                self.keep_open(log.as_ref());
                self.hooks.insert(id, HookRun { pid, log });
                None
            }
            Err((_, reason)) => {
                tracing::error!("{}: {reason}", messages::hook_name(id, &self.names));
                failed
            }
        }
    }

    pub(crate) fn abort_hook(&self, id: HookId) -> Option<Event> {
        let is_its_own = |role: &Role| matches!(role, Role::Hook(of) if *of == id);
        if let Some(run) = self.hooks.get(&id)
            && self.family.borrow().role(run.pid).is_some_and(is_its_own)
            && let Err(error) = kill_group(run.pid, Signal::KILL)
        {
            tracing::warn!("{}: cannot be killed: {error}", messages::hook_name(id, &self.names));
        }
        None
    }

    /// The shutdown has begun.
    pub(crate) fn unready(&mut self) -> Option<Event> {
        self.output.stop_waiting();
        for current in &mut self.lives {
            current.watch = None;
            current.verification = None;
        }
        None
    }

    pub(crate) fn drain(
        &mut self,
        process: ProcessId,
        min: Duration,
        longest: Duration,
    ) -> Option<Event> {
        let config = Rc::clone(&self.config);
        let wanted = &config.processes[process.index()];
        let (drain, pid) = (wanted.drain.as_ref()?, self.pid(process)?);
        let subject = drain::DrainTarget {
            process,
            min,
            longest,
            name: wanted.name.clone(),
            pid,
            sender: self.sender.clone(),
            report: Rc::clone(&self.report),
        };
        let family = Rc::clone(&self.family);
        let running = RunningDrain::begin(drain, subject, &family, |words| {
            let command = Hook { command: words.to_vec(), timeout: None };
            let format = config.logging.format;
            let request = launch::hook(&command, Some(wanted), &self.base, &self.output, format);
            let (request, log) = request.map_err(|error| no_resources(error).1)?;
            self.keep_open(log.as_ref());
            Ok(request)
        });
        self.lives[process.index()].drain = Some(running);
        None
    }

    pub(crate) fn close_listeners(&self, process: ProcessId) -> Option<Event> {
        if let Some(drain) = &self.lives[process.index()].drain {
            drain.close();
        }
        None
    }

    pub(crate) fn end_drain(&self, process: ProcessId) -> Option<Event> {
        if let Some(drain) = &self.lives[process.index()].drain {
            drain.end();
        }
        None
    }

    /// It serves: begins to look whether its drain will work.
    fn verify(&mut self, process: ProcessId) {
        let (wanted, args) = (self.process(process), &self.args[process.index()]);
        let begun = Verification::begin(wanted, args, self.config.shutdown.window());
        self.lives[process.index()].verification = begun;
    }

    pub(crate) fn sweeping(&self) -> bool {
        self.sweep.is_some()
    }

    /// Signals everything below drainit that is left, and has not had this signal yet.
    pub(crate) fn sweep(&mut self, signal: Signal) -> Event {
        let sweep = match &mut self.sweep {
            Some(sweep) if sweep.signal() == signal => sweep,
            other => other.insert(Sweep::new(signal)),
        };
        // Everybody below drainit is below a child of its.
        if !has_children() {
            return Event::Leftovers(0);
        }
        let is_new = sweep.is_new();
        let swept = sweep.scan();
        if let Some(refusal) = sweep.refusal() {
            let line = format!("left over: {refusal}");
            tracing::warn!("{line}");
            self.report.borrow_mut().remark(line);
        }
        match swept {
            // There is somebody whom nobody saw; the reaper says when there is not.
            Swept::Signalled(found) if found.is_empty() => Event::Tick,
            Swept::Signalled(mut found) => {
                let count = found.len();
                // A command that was killed with its drain is not left over, only not gone yet.
                let family = self.family.borrow();
                found.retain(|left| !matches!(family.role(left.pid), Some(Role::Command(_))));
                if !found.is_empty() {
                    let line = format!("left over: {}", list(&found));
                    // Whoever flees by forking would fill the log.
                    if is_new {
                        tracing::info!("{line}; sending {signal}");
                        self.report.borrow_mut().remark(format!("{line}; {signal} sent"));
                    } else {
                        tracing::debug!("{line}; sending {signal}");
                    }
                }
                Event::Leftovers(count)
            }
            Swept::Everything => {
                const AT_LEAST: usize = 1;
                let line =
                    format!("there is no /proc: {signal} to everything in this PID namespace");
                tracing::info!("{line}");
                self.report.borrow_mut().remark(line);
                // Nobody has counted; the reaper says when nothing is left.
                Event::Leftovers(AT_LEAST)
            }
        }
    }

    /// Writes a line, with what only the shell knows, and keeps the report.
    pub(crate) fn note(&mut self, now: Time, note: &Note) -> Option<Event> {
        self.report.borrow_mut().note(now, note);
        let (level, mut line) = messages::line(note, &self.names);
        let failed = match *note {
            Note::Started(process) if self.process(process).readiness.is_none() => {
                self.verify(process);
                None
            }
            Note::Ready { process, .. } => {
                self.verify(process);
                None
            }
            Note::NotReady { process, .. } => {
                if let Some(reason) = self.lives[process.index()].said.borrow().as_ref() {
                    line = format!("{line}: {reason}");
                }
                Some(process)
            }
            Note::Ended { process, next: AfterEnd::Shutdown | AfterEnd::Exhausted, .. } => {
                Some(process)
            }
            _ => None,
        };
        if let Some(log) = failed.and_then(|process| self.lives[process.index()].log.as_ref()) {
            log.pump();
            let last = log.last_lines();
            if !last.is_empty() {
                line = format!("{line}; its last lines:\n  {}", last.join("\n  "));
            }
        }
        match level {
            Level::Error => tracing::error!("{line}"),
            Level::Warning => tracing::warn!("{line}"),
            Level::Info => tracing::info!("{line}"),
        }
        None
    }

    /// Takes the last lines out of all pipes, bounded.
    pub(crate) async fn last_lines(&mut self, within: Duration) {
        let logs = std::mem::take(&mut self.open_logs);
        let all = async {
            for log in &logs {
                log.finished().await;
            }
        };
        let _ = timeout(within, all).await;
        for log in logs {
            log.pump();
            log.finish();
        }
    }

    /// Writes the report.
    pub(crate) fn report(&self, now: Time, code: u8) {
        let text = self.report.borrow().text(now, code);
        tracing::info!("{text}");
        termination_log::write(&text);
    }

    fn process(&self, id: ProcessId) -> &Process {
        &self.config.processes[id.index()]
    }
}

/// A signal that asks for the end, for somebody who may be stopped and would sleep through it. CONT takes back what stops
/// and has not been seen yet, and so comes before it.
pub(crate) fn awake(signal: Signal) -> [Signal; 2] {
    match signal {
        Signal::TSTP | Signal::TTIN | Signal::TTOU => [Signal::CONT, signal],
        _ => [signal, Signal::CONT],
    }
}

/// drainit itself lacks something, most likely descriptors.
fn no_resources(error: io::Error) -> (u8, String) {
    (crate::types::exit_code::CANNOT_EXECUTE, format!("cannot be started: {error}"))
}
