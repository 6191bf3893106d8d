//! Carries out the actions of the core, and keeps what belongs to each instance: its pid, tasks and
//! log.

pub(crate) mod background;
mod epochs;
pub(crate) mod groups;
mod hooks;
pub(crate) mod instance;
mod leftovers;
mod listening;
mod main_process;
pub(crate) mod message;
mod news;
mod notes;
mod own_work;
pub(crate) mod reload;
mod start;
mod stop_signal;
mod unready;
mod validation;

use std::cell::{Cell, OnceCell};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::config::{Config, DrainMethod, Hook, LogFile, LogFormat, LogMode, Process, ProcessKind};
use crate::core::cause::{Cause, Failure};
use crate::core::event::{Event, Request};
use crate::core::note::RequestError;
use crate::core::phase::Phase;
use crate::core::spec::HookId;
use crate::envoy::preflight::{self, Checked};
use crate::journal::event;
use crate::local_task::LocalTask;
use crate::logging::Output;
use crate::logging::capture::OutputCapture;
use crate::logging::file::LogFiles;
use crate::logging::format::stamp;
use crate::os::Pid;
use crate::os::clock;
use crate::os::descendants::Stat;
use crate::os::kill::kill_group;
use crate::os::on_thread;
use crate::os::on_thread::Share;
use crate::os::oom::OomKills;
use crate::os::reap::{has_ended, is_child};
use crate::os::replace_file::replace_within;
use crate::os::same_path::is_same;
use crate::os::stale_socket::Removal;
use crate::os::sweep::signal_left_group;
use crate::os::termination_log;
use crate::supervisor::children::{ChildRole, Children, Ended, Remaining};
use crate::supervisor::executor::groups::{AskedOrphans, LeftGroup, Search};
use crate::supervisor::executor::hooks::RunningHook;
use crate::supervisor::executor::instance::Instance;
use crate::supervisor::executor::leftovers::FinalSweep;
use crate::supervisor::executor::message::{
    InstanceSender, Message, MessageSender, News, Start, tell,
};
pub(crate) use crate::supervisor::executor::start::STARTS_OF_TURN;
use crate::supervisor::launch;
use crate::supervisor::launch::Launcher;
use crate::supervisor::processes::Processes;
use crate::supervisor::requests::{RequestReply, Requests};
use crate::supervisor::slots::{Definition, Slot, Slots};
use crate::supervisor::tasks::drain::serving::Serving;
use crate::supervisor::tasks::drain::target::{DrainNews, DrainTarget};
use crate::supervisor::tasks::drain::{self, DrainCommand, RunningDrain};
use crate::supervisor::tasks::file_watch::FileWatches;
use crate::supervisor::tasks::readiness::ReadinessNews;
use crate::supervisor::tasks::reload::{ConfigSource, Reloads};
use crate::supervisor::tasks::stop_counts::StopCounts;
use crate::supervisor::tasks::witness::{Attention, Endings};
use crate::types::{End, ProcessId, Signal, Time, harmless};

/// While fewer logs than this are open, drainit does not look for ended logs to drop.
const MIN_OPEN_LOGS: usize = 16;
/// The permissions of the file with the shutdown report. Everybody may read the file, like a log.
const REPORT_MODE: u32 = 0o644;

pub(crate) struct Executor {
    /// The config that was applied last. An instance that still runs with an older definition has
    /// this definition in its [`Slot`].
    config: Rc<Config>,
    /// While a reload is being applied: for each slot, the position of its process in the new
    /// config, and the new definition of the process. Empty otherwise.
    loading: BTreeMap<ProcessId, (usize, Definition)>,
    pub(crate) reloads: Reloads,
    pub(crate) file_watches: FileWatches,
    /// drainit's environment with the `env:` defaults.
    base: Rc<[(OsString, OsString)]>,
    output: Arc<Output>,
    files: LogFiles,
    sender: MessageSender,
    pub(crate) processes: Processes,
    /// The operators' requests that are not answered yet.
    pub(crate) requests: Requests,
    stop_counts: Rc<StopCounts>,
    /// Set while requests of operators are under way.
    attention: Weak<Attention>,
    pub(crate) children: Children,
    /// Whether every config since the start of drainit has had the same single process.
    is_alone: Rc<Cell<bool>>,
    oom_kills: OomKills,
    /// Whether a draining Envoy passes its health check until [`Self::unready`] is called. If not,
    /// the Envoy fails the check as soon as it drains.
    stays_ready: bool,
    /// The processes whose start is under way.
    starting: BTreeSet<ProcessId>,
    /// The tasks that gather the files for starts and hooks.
    preparing: BTreeMap<Start, LocalTask>,
    /// The processes whose start waits for other starts.
    to_start: VecDeque<ProcessId>,
    /// The number of processes that the current turn of the event loop has started.
    started_in_turn: usize,
    /// The number of looks at the stop signals of processes in the current turn of the event loop.
    looked_in_turn: usize,
    hooks: BTreeMap<HookId, RunningHook>,
    /// The task that looks for processes that fetch their own work.
    own_work: Option<LocalTask>,
    /// The task that sends the message of the latest call of [`Executor::after_look`].
    last_look: Option<JoinHandle<()>>,
    /// The captures whose pipes may still contain output.
    pub(crate) open_logs: Vec<Rc<OutputCapture>>,
    /// When `open_logs` has this length, drainit drops the ended logs from it.
    max_open_logs: usize,
    /// The final sweep, which signals leftover processes; `None` while no sweep is under way.
    sweep: Option<FinalSweep>,
    groups: Vec<LeftGroup>,
    /// The orphans that have got a stop signal, by the process whose group they are in.
    orphans_asked: BTreeMap<ProcessId, AskedOrphans>,
    search: Search,
    /// The task that regularly wakes the event loop, which then scans the groups.
    group_scan: Option<LocalTask>,
    /// The newest living orphans, read once for all children that are reaped together.
    orphans: OnceCell<Vec<Stat>>,
}

impl Executor {
    pub(crate) fn new(
        config: Rc<Config>,
        output: Arc<Output>,
        sender: MessageSender,
        processes: Processes,
        source: Option<ConfigSource>,
    ) -> Self {
        let base = launch::base_environment(&config).into();
        let is_alone = Rc::new(Cell::new(config.processes.len() == 1));
        Self {
            config,
            loading: BTreeMap::new(),
            reloads: Reloads::new(source, tell(&sender, Message::OfReload)),
            file_watches: FileWatches::new(tell(&sender, Message::File)),
            base,
            output,
            files: LogFiles::default(),
            children: Children::default(),
            stop_counts: StopCounts::new(tell(&sender, |is_first| Message::Counted { is_first })),
            sender,
            attention: Weak::new(),
            processes,
            requests: Requests::default(),
            is_alone,
            oom_kills: OomKills::from_now_on(),
            stays_ready: false,
            starting: BTreeSet::new(),
            to_start: VecDeque::new(),
            started_in_turn: 0,
            looked_in_turn: 0,
            preparing: BTreeMap::new(),
            hooks: BTreeMap::new(),
            own_work: None,
            last_look: None,
            open_logs: Vec::new(),
            max_open_logs: 0,
            sweep: None,
            groups: Vec::new(),
            orphans_asked: BTreeMap::new(),
            search: Search::default(),
            orphans: OnceCell::new(),
            group_scan: None,
        }
    }

    /// Handles a request of an operator for a process. Returns the event for the core.
    pub(crate) fn on_request(
        &mut self,
        name: &str,
        request: Request,
        reply: RequestReply,
    ) -> Option<Event> {
        let Some(process) = self.processes.process(name) else {
            // A reload has removed the process meanwhile. The send fails only if the client has
            // gone away.
            let _ = reply.send(Err(format!("there is no process `{name}` any more")));
            return None;
        };
        self.requests.add(name, request, reply);
        Some(Event::Requested { process, request })
    }

    /// Handles the end of a look at the connections.
    pub(crate) fn on_counted(&mut self, is_first: bool) -> Option<Event> {
        self.record_counts();
        is_first.then_some(Event::Counted)
    }

    /// Handles the end of a request of an operator. Returns the answer, which says if it is unknown
    /// what the request has cut.
    pub(crate) fn on_request_over(
        &mut self,
        endings: Option<Endings>,
        answer: Result<String, String>,
    ) -> Result<String, String> {
        self.record(endings);
        self.processes.journal.sum_up_ends();
        answer.map(|warnings| match self.stop_counts.unknown() {
            Some(why) => format!("{warnings}warning: {why}\n"),
            None => warnings,
        })
    }

    /// Prepares a slot for a new instance, and forgets the process that the slot had before.
    pub(crate) fn adopt(&mut self, now: Time, slot: ProcessId, of: ProcessId, is_newer: bool) {
        let (place, definition) = if is_newer {
            self.loading[&of].clone()
        } else {
            let slot = &self.processes.slots[of];
            (slot.place, slot.definition.clone())
        };
        self.processes.adopt(now, slot, definition, place, (of != slot).then_some(of));
        // If the earlier process of the slot has left a process group, this group has survived
        // SIGKILL, and the core no longer waits for the group.
        self.groups.retain(|left| left.process != slot);
    }

    /// Gives a process its definition in the new config.
    pub(crate) fn redefine(&mut self, slot: ProcessId) {
        let Slot { definition, instance, .. } = &mut self.processes.slots[slot];
        definition.clone_from(&self.loading[&slot].1);
        if instance.pid.is_none() {
            (instance.with_values, instance.is_rendered) = (None, false);
        }
    }

    /// Removes the `sockets` of a process, except the sockets that an instance in another slot may
    /// use. A start that needs one of the removed paths waits for the removal. The exit of drainit
    /// also waits for the removal, but only briefly.
    fn remove_sockets(&mut self, slot: ProcessId) {
        let stale = self.stale_sockets(slot);
        if stale.is_empty() {
            return;
        }
        let (name, own) = (self.process(slot).name.clone(), self.own_socket());
        let removal = Removal::begin(stale);
        let shown = name.clone();
        let remove = move || launch::remove_sockets(&name, &removal.paths, own.as_deref());
        if let Err(why) = on_thread::begin(Share::Sockets(Some(slot)), remove) {
            tracing::warn!("{shown}: cannot remove its sockets: {why}");
        }
    }

    /// The `sockets` of a process, except the sockets that an instance in another slot may use.
    fn stale_sockets(&self, slot: ProcessId) -> Vec<PathBuf> {
        let process = self.process(slot);
        let is_stale = |path: &&PathBuf| !self.is_used_elsewhere(slot, path);
        process.sockets.iter().filter(is_stale).cloned().collect()
    }

    fn own_socket(&self) -> Option<PathBuf> {
        self.config.control.socket.path().map(Path::to_owned)
    }

    /// Whether an instance in another slot has this path in its `sockets`. During a reload, this
    /// instance may belong to another process.
    fn is_used_elsewhere(&self, slot: ProcessId, path: &Path) -> bool {
        let all = self.processes.slots.all();
        let mut beside = all.filter(|(other, _)| *other != slot && self.lives(*other));
        // The file name is compared first, because the full comparison is slow with thousands of
        // processes.
        let is_it = |other: &PathBuf| other.file_name() == path.file_name() && is_same(other, path);
        beside.any(|(_, other)| other.definition.process.sockets.iter().any(is_it))
    }

    /// Whether the instance of a slot runs, or has ended and left a process group that still runs.
    fn lives(&self, slot: ProcessId) -> bool {
        self.instance(slot).pid.is_some() || self.groups_of(slot).next().is_some()
    }

    /// Whether this is the current instance of the process, and the instance runs.
    fn is_current(&self, process: ProcessId, instance: u32) -> bool {
        let current = self.instance(process);
        current.number == instance && current.pid.is_some()
    }

    /// The sender for events of the current instance of a process.
    fn instance_sender(&self, process: ProcessId) -> InstanceSender {
        let instance = self.instance(process).number;
        InstanceSender { process, instance, sender: self.sender.clone() }
    }

    /// Sends [`Message::Wake`], which the event loop handles after all messages that already wait.
    pub(crate) fn wake_loop(&self) {
        let _ = self.sender.send(Message::Wake);
    }

    /// Keeps a log so that its last lines can be read at the end. If many logs are open, drops the
    /// logs that have ended, and their pipes.
    fn keep_open(&mut self, log: Option<&Rc<OutputCapture>>) {
        if self.open_logs.len() >= self.max_open_logs {
            self.open_logs.retain(|log| !log.is_finished());
            self.max_open_logs = MIN_OPEN_LOGS + 2 * self.open_logs.len();
        }
        self.open_logs.extend(log.cloned());
    }

    /// Reaps at most `max` children, and reads their last output. From then on, drainit does not
    /// signal their pids.
    pub(crate) fn reap(&mut self, max: usize) -> io::Result<(Vec<Ended>, Remaining)> {
        self.orphans.take();
        self.oom_kills.look_again();
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

    /// The pid of a process; `None` before its start and after it is reaped.
    fn pid(&self, process: ProcessId) -> Option<Pid> {
        self.instance(process).pid.filter(|pid| self.is_there(process, *pid))
    }

    /// Reads the last messages of processes that have ended. These messages may still be in a
    /// socket. Sends the resulting events to the event loop, and returns the processes.
    pub(crate) fn last_messages(&self, ended: &[Ended]) -> Vec<ProcessId> {
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
                let sent = self.processes.journal.of(*process).sent;
                // If this child is not the main process of the slot, drainit has killed it, or it
                // is a former main process.
                current.pid != Some(pid) || [current.asked, sent].contains(&Some(Signal::KILL))
            }
            None => false,
        }
    }

    /// Handles the end of a child. `remains` says whether its process group has other members.
    pub(crate) fn ended(&mut self, ended: Ended, remains: bool) -> Option<Event> {
        let Ended { pid, end, role, failed, was_only } = ended;
        let is_unexplained =
            end == End::Signal(Signal::KILL) && !self.has_killed(pid, role.as_ref());
        let by_oom = is_unexplained.then(|| self.oom_kills.explain_one()).flatten();
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
                self.epoch_ended(process);
                self.look_at_sockets(process);
                let current = &mut self.processes.slots[process].instance;
                (current.pid, current.leader) = (None, 0);
                current.gone = Some((pid, was_only));
                if !remains {
                    current.keeps_listening = None;
                }
                current.end_probes();
                current.listener = None;
                self.stop_counts.pids().remove(process);
                self.record_counts();
                self.processes.journal.reaped(process);
                if self.process(process).hooks.post_stop.is_none() {
                    self.forget_values(process);
                }
                Some(Event::Exited { process, end, remains })
            }
        }
    }

    pub(crate) fn kill(&mut self, process: ProcessId) {
        if let Some(signal) = self.instance(process).asked {
            self.look_at_signal(process, signal);
        }
        let mains: Vec<_> = self.mains(process).collect();
        self.processes.history(process).killed_since.get_or_insert_with(clock::now);
        let current = &mut self.processes.slots[process].instance;
        current.asked = Some(Signal::KILL);
        let led = mains.iter().filter(|pid| is_child(**pid));
        let killed = led.map(|leader| kill_group(*leader, Signal::KILL));
        let leader =
            Some(current.leader).filter(|leader| !mains.is_empty() && !mains.contains(leader));
        let left = self.groups_of(process).chain(leader);
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

    pub(crate) fn release_sockets(&mut self, process: ProcessId) {
        self.processes.slots[process].definition.sockets.clear();
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

    /// Asks a process to end.
    pub(crate) fn stop(&mut self, process: ProcessId, signal: Signal) {
        let current = &mut self.processes.slots[process].instance;
        current.end_probes();
        current.asked = Some(signal);
        self.keep_listening(process);
        self.stop_counts.stopping();
        self.processes.history(process).asked_since.get_or_insert_with(clock::now);
        // drainit must look before it sends the signal, because sending a signal to a child that
        // has ended succeeds until the child is reaped.
        if self.pid(process).is_some_and(has_ended) {
            self.processes.history(process).ended_first = true;
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
            serving: self.serving(process),
        };
        let starter = self.children.starter();
        // If an older epoch of this Envoy still runs, the drain counts connections, because the
        // statistics report the requests of an older epoch only every few seconds.
        let drain = &match self.has_older_epoch(process) {
            true => drain.clone().by_connections(),
            false => drain.clone(),
        };
        if !matches!(drain.method, DrainMethod::Envoy(_) | DrainMethod::Connections(_)) {
            self.processes.history(process).asked_since = Some(clock::now());
        }
        let running = RunningDrain::begin(drain, target, starter, |command| {
            let hook = Hook { command: command.to_vec(), timeout: None, user: None };
            let launcher = self.launcher(Some(process_config));
            let (request, log) = launcher.hook(&hook, Some(process_config))?;
            self.keep_open(log.as_ref());
            Ok(request)
        });
        if running.counts() {
            self.stop_counts.drains(process);
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

    /// The inodes of the sockets that drainit holds for a process.
    fn given(&self, process: ProcessId) -> BTreeSet<u32> {
        self.definition(process).sockets.iter().filter_map(|socket| socket.inode()).collect()
    }

    fn serving(&self, process: ProcessId) -> Serving {
        let listeners = Rc::clone(&self.instance(process).listeners);
        let witness = Arc::clone(self.stop_counts.witness());
        Serving { process, pids: Rc::clone(self.stop_counts.pids()), witness, listeners }
    }

    pub(crate) fn close_listeners(&self, process: ProcessId) {
        if let Some(drain) = &self.instance(process).drain {
            drain.command(DrainCommand::Close);
        }
    }

    pub(crate) fn end_drain(&self, process: ProcessId) {
        if let Some(drain) = &self.instance(process).drain {
            drain.command(DrainCommand::End);
        }
    }

    /// Records that a process serves from now on. Begins to check whether its drain will work.
    pub(crate) fn serves(&mut self, process: ProcessId) {
        self.epoch_took_over(process);
        self.watched_files_were_read(process);
        let window = self.config.shutdown.window();
        let (instance, definition) = (self.instance_sender(process), self.process(process));
        let share = Share::Probes(process);
        let says = instance.tell(News::DrainRisks);
        let is_oneshot = definition.kind == ProcessKind::Oneshot;
        let counting = definition.drain.as_ref().and_then(|drain| drain.method.counting());
        let check = match (counting.cloned(), self.pid(process)) {
            (Some(counting), Some(_)) => {
                let serving = self.serving(process);
                let check = drain::connections::check(definition, serving, counting, says);
                Some(LocalTask::of(share, check))
            }
            _ => preflight::check(&definition, window).map(|check| {
                let measured = instance.tell(News::TimeToEnd);
                LocalTask::of(share, async move {
                    let Checked { findings, to_end } = check.await;
                    to_end.into_iter().for_each(measured);
                    says(findings);
                })
            }),
        };
        let load = self.pid(process).filter(|_| !is_oneshot).map(|pid| {
            LocalTask::begin(async move {
                stop_signal::loaded(&[pid]).await;
                instance.send(News::Loaded);
            })
        });
        let current = &mut self.processes.slots[process].instance;
        (current.preflight, current.loading) = (check, load);
    }

    pub(crate) fn end_liveness(&mut self, process: ProcessId) {
        self.processes.slots[process].instance.liveness = None;
    }

    /// Begins to count the connections of clients, so that the shutdown report says how many
    /// connections each stop has cut. From now on, a process whose output nobody reads is blocked
    /// for at most `patience`.
    pub(crate) fn shutdown_begins(&mut self, patience: Duration) {
        self.own_work = self.look_who_serves();
        self.processes.slots.all_mut().for_each(|(_, slot)| slot.instance.keeps_listening = None);
        self.processes.journal.sees_endings(self.stop_counts.witness().begins(true));
        self.stop_counts.shutdown_began(|process| {
            let drain = self.instance(process).drain.as_ref();
            (!drain.is_some_and(RunningDrain::counts)).then(|| self.given(process))
        });
        self.output.stop_waiting(patience);
        self.files.stop_waiting(patience);
    }

    /// Answers all clients that have made this request.
    pub(crate) fn answer(
        &mut self,
        process: ProcessId,
        request: Request,
        outcome: Result<(), RequestError>,
    ) {
        let outcome = outcome.map_err(|why| self.processes.failure(why));
        self.requests.answer(&self.process(process).name, request, &outcome);
    }

    /// The launcher for a process, or for the container's hooks. The output of a process goes to
    /// its log file if it has one.
    fn launcher(&self, process: Option<&Process>) -> Launcher {
        let (base, format) = (Rc::clone(&self.base), self.config.logging.format);
        let output = match process.map(|process| &process.log.mode) {
            // The log file was opened for the start, on another thread. If a reload has dropped the
            // file since then, drainit does not open the file again, because the event loop's
            // thread opens no files.
            Some(LogMode::File(LogFile { path, stderr, .. })) => {
                let stdout = match path {
                    Some(path) => self.files.get(path),
                    None => Some(&self.output),
                };
                match stderr {
                    None => stdout.map(Arc::clone),
                    Some(stderr) => stdout
                        .zip(self.files.get(stderr))
                        .map(|(stdout, stderr)| Output::split(stdout, stderr)),
                }
            }
            _ => None,
        };
        Launcher { base, output: output.unwrap_or_else(|| Arc::clone(&self.output)), format }
    }

    /// Writes the queued lines to the log files, for at most `within`.
    pub(crate) fn finish_files(&self, within: Duration) {
        self.files.finish(within);
    }

    /// For each client in this PID namespace that has requested the shutdown, waits for its end.
    pub(crate) fn shutdown_clients(
        &mut self,
    ) -> impl Iterator<Item = impl Future<Output = ()> + use<>> + use<> {
        self.requests.clients()
    }

    /// Begins to find out what a request of an operator costs the clients of the processes; `None`
    /// in a shutdown, which refuses requests.
    pub(crate) fn attend(&mut self) -> Option<Rc<Attention>> {
        let Phase::Running(_) = self.processes.machine().phase() else { return None };
        let attention = self.attention.upgrade().unwrap_or_else(|| {
            let witness = self.stop_counts.witness();
            self.processes.journal.sees_endings(witness.begins(false));
            Rc::new(Attention::new(witness))
        });
        self.attention = Rc::downgrade(&attention);
        Some(attention)
    }

    /// Looks at the connections of all processes before a request, which may stop some of them.
    pub(crate) fn look_at_clients(&self) -> Pin<Box<dyn Future<Output = ()>>> {
        self.stop_counts.request_began(|process| Some(self.given(process)))
    }

    /// Adds the latest counts of connections to the journal.
    fn record_counts(&mut self) {
        let journal = &mut self.processes.journal;
        for (began, process, counts) in self.stop_counts.seen() {
            journal.stop_traffic(began, process, counts.traffic(true));
        }
        self.record(self.stop_counts.witness().endings());
    }

    /// Adds connections that have ended to the journal.
    fn record(&mut self, endings: Option<Endings>) {
        match endings {
            None => self.processes.journal.lost_endings(),
            Some(endings) => {
                for (at, process, ending) in endings {
                    self.processes.journal.connection_ended(at, process, ending);
                }
            }
        }
    }

    /// Whether the container stops because a process could not be started.
    pub(crate) fn has_failed_to_start(&self) -> bool {
        let cause = self.processes.journal.stopped_by();
        matches!(cause, Some(Cause::Failed { why: Failure::Spawn { .. }, .. }))
    }

    /// Writes the report of the shutdown at the end of the log, and to the termination log. If the
    /// log has the format JSON, its last line also contains the report as JSON. If the config sets
    /// `shutdown.report`, drainit writes this JSON to the file of `shutdown.report`, too. Writing
    /// this file takes at most `within`, and so does writing the termination log.
    pub(crate) fn report(&mut self, now: Time, code: u8, within: &dyn Fn() -> Duration) {
        self.record_counts();
        self.record(self.stop_counts.witness().last_endings());
        let (file, format) = (&self.config.shutdown.report, self.config.logging.format);
        let is_json = format == LogFormat::Json;
        let wall = SystemTime::now();
        let at = |time: Time| stamp(wall.checked_sub(now.since(time)).unwrap_or(wall));
        let Processes { journal: report, slots, .. } = &self.processes;
        let machine = self.processes.machine();
        let place = |slot| slots[slot].place;
        let data =
            (is_json || file.is_some()).then(|| report.data(now, code, machine.state(), place, at));
        let json = data.flatten().map(|data| data.json());
        if let (Some(file), Some(json)) = (file, &json)
            && let Err(error) =
                replace_within(within(), file.clone(), format!("{json}\n"), REPORT_MODE)
        {
            let file = file.display().to_string();
            tracing::warn!("the report cannot be written to {}: {error}", harmless(&file));
        }
        let text = report.text(now, code);
        let ledger = report.ledger(&text);
        self.requests.answer_shutdown(code, &text);
        let mut members = event::exit(code, report.took(now)).members();
        if let Some(json) = json {
            members = format!("{members},\"report\":{json}");
        }
        tracing::info!(members, "{text}");
        termination_log::write(&ledger, within());
    }

    fn instance(&self, slot: ProcessId) -> &Instance {
        &self.processes.slots[slot].instance
    }

    fn definition(&self, slot: ProcessId) -> &Definition {
        &self.processes.slots[slot].definition
    }

    fn process(&self, slot: ProcessId) -> Arc<Process> {
        Arc::clone(&self.definition(slot).process)
    }

    /// The other slots that the process has or had.
    fn other_slots(&self, slot: ProcessId) -> Vec<ProcessId> {
        self.processes.journal.others(slot).collect()
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

/// Reads the last lines of these logs from all pipes. Waits at most `within` for the ends of the
/// pipes. Then reads the rest from the pipes that have not ended, again for at most `within`.
pub(crate) async fn last_lines(logs: Vec<Rc<OutputCapture>>, within: &dyn Fn() -> Duration) {
    let all = async {
        for log in &logs {
            log.finished().await;
        }
    };
    let _ = timeout(within(), all).await;
    let until = clock::now() + within();
    for log in logs {
        log.finish(|| clock::now() < until);
    }
}

/// Adds SIGCONT to a stop signal, because the process may be stopped by SIGSTOP. SIGCONT discards
/// pending SIGTSTP, SIGTTIN and SIGTTOU (signal(7)), so SIGCONT comes before these three signals,
/// and after every other signal.
fn with_cont(signal: Signal) -> [Signal; 2] {
    match signal {
        Signal::TSTP | Signal::TTIN | Signal::TTOU => [Signal::CONT, signal],
        _ => [signal, Signal::CONT],
    }
}
