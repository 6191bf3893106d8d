//! The state of all processes, and the data of `/status` and `/metrics`.

use std::time::Duration;

use crate::control::status::{
    DrainStatus, Part, ProcessStatus, ShutdownStatus, StartupStatus, Status, TrafficStatus,
};
use crate::core::action::Action;
use crate::core::cause::{Cause, Failure};
use crate::core::event::Event;
use crate::core::machine::Machine;
use crate::core::note::{Note, RequestError};
use crate::core::phase::{self, Phase};
use crate::core::slots::Placed;
use crate::core::spec::{Spec, Stage};
use crate::core::state::{Lifecycle, Role};
use crate::journal::entry::Entry;
use crate::journal::history::History;
use crate::journal::messages::Names;
use crate::journal::state::{ContainerPhase, ProcessState};
use crate::journal::{Journal, messages};
use crate::language::written::as_written;
use crate::os::{clock, private_socket};
use crate::supervisor::slots::{Definition, Slot, Slots};
use crate::types::suggest::shortened;
use crate::types::{ProcessId, Time};

/// The state of all processes, which the event loop changes and the control endpoints show.
pub(crate) struct Processes {
    machine: Machine,
    pub(crate) journal: Journal,
    pub(crate) slots: Slots,
    pid_namespace: Option<u64>,
    /// The shutdown. The value stays set after the machine has decided to exit, while drainit
    /// writes its last lines.
    shutdown: Option<phase::ShutdownFacts>,
}

impl Processes {
    pub(crate) fn new(definitions: Vec<Definition>, machine: Machine) -> Self {
        let names = definitions.iter().map(|one| one.process.name.clone()).collect();
        Self {
            journal: Journal::new(Names(names), machine.state().now),
            machine,
            slots: Slots::new(definitions),
            pid_namespace: private_socket::namespace().ok(),
            shutdown: None,
        }
    }

    /// Read access to the state machine of the core.
    pub(crate) fn machine(&self) -> &Machine {
        &self.machine
    }

    /// Gives an event to the machine, and returns its actions.
    pub(crate) fn handle(&mut self, now: Time, event: Event) -> Vec<Action> {
        // This event may have happened before the timer expired, while drainit handled the previous
        // event. Therefore an expired timer takes effect only in the next tick.
        let is_due = self.machine.next_wakeup().is_some_and(|due| due <= now);
        let actions = match is_due && event != Event::Tick {
            true => self.machine.handle_early(now, event),
            false => self.machine.handle(now, event),
        };
        self.journal.event(now, event, self.machine.phase());
        actions
    }

    /// Adds a note of the core to the journal, with a detail that only the supervisor knows.
    pub(crate) fn note(&mut self, now: Time, note: &Note, detail: Option<&str>) -> Entry {
        let detail = detail.map(as_written);
        self.journal.note(now, note, self.machine.state(), detail.as_deref())
    }

    /// Gives a new config to the machine.
    ///
    /// # Errors
    /// Says why the reload is refused.
    pub(crate) fn reload(
        &mut self,
        now: Time,
        new: Spec,
        plan: &[Placed],
    ) -> Result<Vec<Action>, String> {
        let actions = self.machine.reload(now, new, plan);
        actions.map_err(|why| self.failure(why))
    }

    /// Prepares a slot for a new instance of a process. The instance continues the history of the
    /// slot `from`. If `from` is `None`, this function looks for a slot of the same process.
    pub(crate) fn adopt(
        &mut self,
        now: Time,
        slot: ProcessId,
        definition: Definition,
        place: usize,
        from: Option<ProcessId>,
    ) {
        let name = definition.process.name.clone();
        let is_in_use = |id: &ProcessId| self.machine.state().role(*id) != Role::Retired;
        // If no other slot of the process is in use, the new instance continues the history of the
        // former instance in this slot.
        let known = |id: &ProcessId| *id == slot || is_in_use(id);
        let same = self.journal.slots_of(&name).filter(known).max_by_key(|id| *id != slot);
        self.journal.adopt(now, slot, name, from.or(same));
        self.slots.put(slot, definition, place);
    }

    /// The slots that the status shows, in file order. The slots of one process are together, with
    /// the current slot first.
    fn rows(&self) -> Vec<(ProcessId, Part)> {
        let state = self.machine.state();
        let mut rows: Vec<_> = self
            .slots
            .all()
            .filter_map(|(slot, Slot { place, .. })| {
                let part = match state.role(slot) {
                    Role::Current => Part::Current,
                    Role::New { .. } => Part::New,
                    Role::Leaving => Part::Old,
                    Role::Reserved | Role::Retired => return None,
                };
                Some((*place, part as u8, slot, part))
            })
            .collect();
        rows.sort_unstable_by_key(|(place, part, slot, _)| (*place, *part, *slot));
        rows.into_iter().map(|(.., slot, part)| (slot, part)).collect()
    }

    /// The definition in the current slot of each process. Each process comes after the processes
    /// that it depends on.
    pub(crate) fn definitions(&self) -> impl Iterator<Item = (ProcessId, &Definition)> {
        let state = self.machine.state();
        let current = state.spec.order.iter().filter(|slot| state.is_current(**slot));
        current.map(|slot| (*slot, &self.slots[*slot].definition))
    }

    /// The slots of the process of this name, except slots whose instance was replaced and is
    /// ending. The current slot comes first.
    pub(crate) fn watching(&self, name: &str) -> Vec<ProcessId> {
        let names = &self.journal.names;
        let of_name =
            |(slot, part): &(ProcessId, Part)| *part != Part::Old && names.of(*slot) == name;
        self.rows().into_iter().filter(of_name).map(|(slot, _)| slot).collect()
    }

    /// The current slot of the process of this name.
    pub(crate) fn process(&self, name: &str) -> Option<ProcessId> {
        let names = &self.journal.names;
        let mut current = self.rows().into_iter().filter(|(_, part)| *part == Part::Current);
        current.find(|(slot, _)| names.of(*slot) == name).map(|(slot, _)| slot)
    }

    /// The reason why a request failed, with the details that the core does not know.
    pub(crate) fn failure(&self, why: RequestError) -> String {
        let journal = &self.journal;
        let text = messages::request_error(why, &journal.names);
        let reason = match why {
            RequestError::Failed { process, why: Failure::Spawn { .. } } => {
                journal.of(process).message.clone()
            }
            RequestError::Failed { process, why: Failure::NotReady { .. } } => {
                journal.of(process).failure.clone()
            }
            RequestError::StillStarting => {
                return format!("{text}; {}", self.status(clock::now()).not_ready_reason());
            }
            RequestError::Reloading => {
                let moving = self.status(clock::now()).on_the_way();
                return moving.map_or(text.clone(), |moving| format!("{text}; {moving}"));
            }
            _ => None,
        };
        match reason {
            Some(reason) => format!("{text}: {reason}"),
            None => text,
        }
    }

    /// Adds a line to the shutdown report.
    pub(crate) fn remark(&mut self, line: &str) {
        self.journal.remark(&as_written(line));
    }

    /// The history of a slot.
    pub(crate) fn history(&mut self, slot: ProcessId) -> &mut History {
        self.journal.of_mut(slot)
    }

    /// Makes the state of the machine after a step visible in the status.
    pub(crate) fn update(&mut self, now: Time) {
        self.journal.update(now, &self.machine);
        self.shutdown = self.machine.phase().shutdown().copied().or(self.shutdown);
    }

    /// The status without the numbers of dropped lines, which only the writers of the output know.
    pub(crate) fn status(&self, now: Time) -> Status {
        let Self { machine, journal, slots, .. } = self;
        let world = machine.state();
        let (phase, ready) = ContainerPhase::of(machine);
        let cause = self.shutdown.map(|shutdown| shutdown.cause);
        let is_held = cause == Some(Cause::DrainRequested);
        let rows = self.rows().into_iter().map(|(slot, part)| {
            let (history, spec) = (journal.of(slot), world.process(slot));
            let last = journal.last_drain(slot);
            let drained_by =
                journal.others(slot).chain([slot]).filter_map(|id| world.drained_by(id));
            let cut = last.and_then(|(drained, _)| journal.of(drained).cut_after_drain());
            let drain = last.map(|(_, drain)| DrainStatus {
                traffic: TrafficStatus::new(drain.traffic(), cut),
                elapsed: drain.elapsed(now),
                over: drain.over(),
                left: drained_by.max().map_or(Duration::ZERO, |until| until.since(now)),
            });
            // After a request for a drain without a stop, the status also shows the drain of a
            // process that has ended, unless the drain of the process was over before the request.
            let is_told = last.is_some_and(|(drained, drain)| {
                drained == slot && (history.pid.is_some() || is_held && !drain.is_past)
            });
            ProcessStatus {
                slot,
                rank: world.rank(slot),
                name: journal.names.of(slot).to_owned(),
                part,
                state: history.state,
                pid: history.pid,
                epoch: history.epoch,
                ready: history.state == ProcessState::Ready,
                last_exit: history.last_end.map(|end| end.to_string()),
                last_exit_asked: history.is_last_asked,
                down: history.down,
                warnings: history
                    .drain_warnings
                    .iter()
                    .flat_map(|all| all.iter().cloned())
                    .chain(slots[slot].dropped())
                    .collect(),
                drain_warnings: history.drain_warnings.clone(),
                has_closed_admin: slots[slot].instance.has_closed_admin(),
                drain: drain.clone().filter(|_| is_told).map(|drain| match history.pid {
                    Some(_) => drain,
                    None => DrainStatus { traffic: drain.traffic.after_end(), ..drain },
                }),
                stop: history.stop_traffic().filter(|_| self.shutdown.is_some()).map(
                    |(last, cut)| {
                        let stop = TrafficStatus::new(last, cut);
                        if history.pid.is_some() { stop } else { stop.after_end() }
                    },
                ),
                restarts: world[slot].restarts,
                probe_failures: world[slot].probe_failures,
                since: now.since(history.since),
                is_missed: part == Part::Current
                    && (machine.waits_for(slot) || spec.required && !history.state.is_settled()),
                message: {
                    let waits_for = match (world.life(slot), &slots[slot].definition.process) {
                        (Lifecycle::PreStart { .. }, process) if process.is_validated() => {
                            Some("Envoy checks its config".to_owned())
                        }
                        _ => waits_for(machine, slot, &journal.names),
                    };
                    let said: Vec<_> = history.why().into_iter().chain(waits_for).collect();
                    (!said.is_empty()).then(|| said.join("; "))
                },
                started: history.started.map(|at| at.since(journal.began)),
                first_ready: history.ready.map(|at| at.since(journal.began)),
                tally: journal.counted(slot),
                last_drain: drain,
                has_drain: spec.drain.is_some(),
                followers: machine.state().spec.followers(slot).map(|(id, _)| id).collect(),
                has_liveness: spec.liveness_retries.is_some(),
                ..ProcessStatus::default()
            }
        });
        let processes = rows.collect();
        let shutdown = self.shutdown.map(|shutdown| {
            let is_held = shutdown.cause == Cause::DrainRequested;
            // A drain that was requested without a stop has no deadline after its end, because a
            // later stop gets a grace period of its own.
            let has_deadline = !is_held || phase != ContainerPhase::Drained;
            ShutdownStatus {
                cause: messages::why(shutdown.cause, &journal.names),
                elapsed: now.since(shutdown.t0),
                deadline_in: has_deadline.then(|| shutdown.deadline.since(now)),
                waits_for: journal.waits_for(),
                is_held,
            }
        });
        let startup = journal.start_took().map(|took| StartupStatus { took });
        Status {
            version: env!("CARGO_PKG_VERSION").into(),
            pid: std::process::id(),
            pid_namespace: self.pid_namespace,
            phase,
            ready,
            uptime: now.since(journal.began),
            startup,
            processes,
            shutdown,
            phases: journal.phases(now),
            dropped_lines: Vec::new(),
            reaped_orphans: journal.orphans,
        }
    }
}

/// Says which hook of a process runs, or what the process waits for before its start.
fn waits_for(machine: &Machine, slot: ProcessId, names: &Names) -> Option<String> {
    let stage = match (machine.state().life(slot), machine.phase()) {
        (Lifecycle::PreStart { .. }, _) => Stage::PreStart,
        (Lifecycle::PreStop { .. }, _) => Stage::PreStop,
        (Lifecycle::PostStop { .. }, _) => Stage::PostStop,
        (Lifecycle::Waiting, Phase::Running(running)) if running.runs_hook() => {
            return Some("waiting for the container's pre_start hook".to_owned());
        }
        _ => {
            let on: Vec<_> = machine.state().missing(slot).map(|id| names.of(id)).collect();
            return (!on.is_empty()).then(|| format!("waiting for {}", shortened(&on)));
        }
    };
    Some(format!("its {} hook is running", stage.name()))
}
