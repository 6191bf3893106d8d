//! The machine of the core with everything that belongs to it: the journal of its notes, and the
//! slots with the instances that carry out its decisions.

use crate::core::action::Action;
use crate::core::cause::Failure;
use crate::core::event::Event;
use crate::core::machine::Machine;
use crate::core::note::{Note, RequestError};
use crate::core::slots::Placed;
use crate::core::spec::Spec;
use crate::core::state::Role;
use crate::journal::entry::Entry;
use crate::journal::history::History;
use crate::journal::messages::Names;
use crate::journal::state::Part;
use crate::journal::{Journal, messages};
use crate::language::written::as_written;
use crate::os::{clock, private_socket};
use crate::supervisor::slots::{Definition, Slot, Slots};
use crate::types::{ProcessId, Time};

/// The state of all processes, which the event loop changes and the control endpoints show.
pub(crate) struct Processes {
    machine: Machine,
    pub(crate) journal: Journal,
    pub(crate) slots: Slots,
    pub(super) pid_namespace: Option<u64>,
}

impl Processes {
    pub(crate) fn new(definitions: Vec<Definition>, machine: Machine) -> Self {
        let names = definitions.iter().map(|one| one.process.name.clone()).collect();
        Self {
            journal: Journal::new(Names(names), machine.state().now),
            machine,
            slots: Slots::new(definitions),
            pid_namespace: private_socket::namespace().ok(),
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
        self.journal.event(now, event, &self.machine);
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
    pub(super) fn rows(&self) -> Vec<(ProcessId, Part)> {
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
                journal.of(process).end.message.clone()
            }
            RequestError::Failed { process, why: Failure::NotReady { .. } } => {
                journal.of(process).checks.failure.clone()
            }
            RequestError::StillStarting => {
                return format!(
                    "{text}; {}",
                    self.status(clock::now()).with_full_texts().not_ready_reason()
                );
            }
            RequestError::Reloading => {
                let moving = self.status(clock::now()).on_the_way();
                return moving.map_or(text.clone(), |moving| format!("{text}; {moving}"));
            }
            _ => None,
        };
        match reason {
            Some(reason) => format!("{text}: {}", reason.full()),
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
    }
}
