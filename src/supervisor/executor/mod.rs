//! Carries out the actions of the core, and keeps what belongs to each instance: its pid, tasks and
//! log.

pub(crate) mod background;
mod clearing;
pub(crate) mod control_handle;
mod ended;
mod epoch;
mod epochs;
pub(crate) mod groups;
mod hooks;
pub(crate) mod inbox;
pub(crate) mod instance;
mod leftovers;
mod listening;
pub(crate) mod logs;
mod main_process;
mod message;
mod news;
mod notes;
mod own_work;
pub(crate) mod reload;
mod report;
mod stale_sockets;
mod start;
pub(crate) mod starts;
mod stop;
mod stop_signal;
mod traffic;
mod unready;
mod validation;

use std::cell::Cell;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::rc::Rc;
use std::sync::Arc;

use tokio::task::JoinHandle;

use crate::core::budget::Budget;
use crate::core::event::Request;
use crate::core::note::RequestError;
use crate::envoy::preflight::{self, Checked};
use crate::keys::{Config, Process, ProcessKind};
use crate::local_task::LocalTask;
use crate::logging::Output;
use crate::os::Pid;
use crate::os::descendants::all_below;
use crate::os::on_thread::{Share, on_thread};
use crate::supervisor::children::Children;
use crate::supervisor::executor::clearing::Clearings;
use crate::supervisor::executor::ended::Reaping;
use crate::supervisor::executor::groups::Groups;
use crate::supervisor::executor::hooks::Hooks;
use crate::supervisor::executor::instance::Instance;
use crate::supervisor::executor::leftovers::FinalSweep;
use crate::supervisor::executor::logs::Logs;
use crate::supervisor::executor::message::{InstanceSender, Message, MessageSender, News, tell};
use crate::supervisor::executor::own_work::BesideDrain;
use crate::supervisor::executor::starts::Starts;
use crate::supervisor::executor::traffic::ClientTraffic;
use crate::supervisor::launch::{self, Launcher};
use crate::supervisor::processes::Processes;
use crate::supervisor::requests::Requests;
use crate::supervisor::slots::{Definition, Slot};
use crate::supervisor::tasks::drain::{self};
use crate::supervisor::tasks::file_watch::FileWatches;
use crate::supervisor::tasks::looker::Place;
use crate::supervisor::tasks::reload::{ConfigSource, Reloads};
use crate::types::{ProcessId, Time};

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
    pub(crate) logs: Logs,
    sender: MessageSender,
    pub(crate) processes: Processes,
    /// The operators' requests that are not answered yet.
    pub(crate) requests: Requests,
    traffic: ClientTraffic,
    pub(crate) children: Children,
    /// Whether every config since the start of drainit has had the same single process.
    is_alone: Rc<Cell<bool>>,
    reaping: Reaping,
    /// Whether a draining Envoy passes its health check until [`Self::unready`] is called. If not,
    /// the Envoy fails the check as soon as it drains.
    stays_ready: bool,
    pub(crate) starts: Starts,
    /// The number of looks at the stop signals of processes in the current turn of the event loop.
    looked_in_turn: usize,
    hooks: Hooks,
    /// The task that looks for processes that fetch their own work.
    own_work: Option<LocalTask>,
    beside_drain: Option<BesideDrain>,
    /// The task that sends the message of the latest call of [`Executor::after_look`].
    last_look: Option<JoinHandle<()>>,
    /// The final sweep, which signals leftover processes; `None` while no sweep is under way.
    sweep: Option<FinalSweep>,
    groups: Groups,
    clearings: Clearings,
    /// The number of instances that drainit has begun to start.
    marks: u64,
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
            logs: Logs::new(output),
            children: Children::default(),
            traffic: ClientTraffic::new(&sender),
            sender,
            processes,
            requests: Requests::default(),
            is_alone,
            reaping: Reaping::new(),
            stays_ready: false,
            starts: Starts::default(),
            looked_in_turn: 0,
            hooks: Hooks::default(),
            own_work: None,
            beside_drain: None,
            last_look: None,
            sweep: None,
            groups: Groups::default(),
            clearings: Clearings::default(),
            marks: 0,
        }
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
        self.groups.forget(slot);
    }

    /// Gives a process its definition in the new config.
    pub(crate) fn redefine(&mut self, slot: ProcessId) {
        let Slot { definition, instance, .. } = &mut self.processes.slots[slot];
        definition.clone_from(&self.loading[&slot].1);
        if instance.pid.is_none() {
            (instance.with_values, instance.is_rendered) = (None, false);
        }
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

    /// The pid of a process; `None` before its start and after it is reaped.
    fn pid(&self, process: ProcessId) -> Option<Pid> {
        self.instance(process).pid.filter(|pid| self.is_there(process, *pid))
    }

    pub(crate) fn release_sockets(&mut self, process: ProcessId) {
        self.processes.slots[process].definition.sockets.clear();
    }

    /// Records that a process serves from now on. Begins to check whether its drain will work.
    pub(crate) fn on_serves(&mut self, process: ProcessId) {
        self.on_epoch_took_over(process);
        self.on_watched_files_read(process);
        let spec = Arc::clone(&self.processes.machine().state().spec);
        let times = || {
            let budget = Budget::of(&spec);
            (budget.longest_drain(&spec, process), budget.most_for_drain(&spec, process))
        };
        let (instance, definition) = (self.instance_sender(process), self.process(process));
        let share = Share::Probes(process);
        let says = instance.tell(News::DrainRisks);
        let is_oneshot = definition.kind == ProcessKind::Oneshot;
        let counting = definition.drain.as_ref().and_then(|drain| drain.method.counting());
        let check = match (counting.cloned(), self.pid(process)) {
            (Some(counting), Some(_)) => {
                let place = Place { process, ports: counting.ports };
                let looker = Rc::clone(&self.traffic.looker);
                let check = drain::connections::check(definition, looker, place, says);
                Some(LocalTask::of(share, check))
            }
            _ => preflight::check(&definition, &times).map(|check| {
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
                stop_signal::wait_until_loaded(&[pid]).await;
                let below = on_thread(stop_signal::LOOK, move || all_below(pid)).await;
                instance.send(News::Loaded { below: below.unwrap_or_default() });
            })
        });
        let current = &mut self.processes.slots[process].instance;
        (current.preflight, current.loading) = (check, load);
    }

    pub(crate) fn end_liveness(&mut self, process: ProcessId) {
        self.processes.slots[process].instance.liveness = None;
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

    /// The launcher for a process, or for the container's hooks. The output of a process goes to its
    /// log file if it has one.
    fn launcher(&self, process: Option<&Process>) -> Launcher {
        let output = self.logs.writer(process.map(|process| &process.log.mode));
        Launcher { base: Rc::clone(&self.base), output, format: self.config.logging.format }
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
