//! Slots: a process has one, and a second one while a new instance replaces the running one.
//!
//! A [`ProcessId`] is a slot. The slots of one process have the same name, and a dependency of one
//! is a dependency of both. A slot that is over for good is *retired*: it has no edges, is not shown
//! anywhere, and is reused by the next replacement.

use std::rc::Rc;

use crate::config::StartCondition;
use crate::core::action::Action;
use crate::core::budget::Budget;
use crate::core::spec::ProcessSpec;
use crate::core::state::{Lifecycle, Restarts, State};
use crate::types::ProcessId;

/// The part that a slot plays for its process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Role {
    /// The slot that requests, `/readyz` and restarts are about.
    #[default]
    Current,
    /// It starts beside this slot, and becomes the current one when it is ready. If it does not
    /// become ready, it is taken back.
    New { old: ProcessId },
    /// It was replaced, or its process is no longer in the config: it is drained and stopped, and
    /// its end is no failure.
    Leaving,
    /// It is over for good, and free.
    Retired,
}

/// Where the definition of a slot comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The same as that of this slot.
    Copy(ProcessId),
    /// An index into the processes of the config that is being loaded.
    Config(usize),
}

/// The place of a process of a new config among those that run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placed {
    /// This slot has the same definition; only its dependencies may differ.
    Same(ProcessId),
    /// This slot has another definition, and is replaced.
    Changed(ProcessId),
    /// No process has its name.
    New,
}

impl State {
    #[must_use]
    pub fn role(&self, slot: ProcessId) -> Role {
        self.roles[slot.index()]
    }

    /// Whether the slot is the one that requests, `/readyz` and restarts are about.
    #[must_use]
    pub fn is_current(&self, slot: ProcessId) -> bool {
        self.role(slot) == Role::Current
    }

    /// Makes a slot for a further instance of the process of this slot, with the same edges: what
    /// needs one of them needs both. `None` if there are too many slots.
    pub(crate) fn adopt_copy(&mut self, old: ProcessId) -> Option<ProcessId> {
        let slot = self.allocate(self.process(old).clone(), Role::New { old })?;
        let spec = Rc::make_mut(&mut self.spec);
        let ProcessSpec { dependencies, dependents, .. } = spec.processes[old.index()].clone();
        for (on, _) in dependencies {
            let on = &mut spec.processes[on.index()];
            on.dependents.push(slot);
            let follows = on.followers.iter().find(|(id, _)| *id == old).copied();
            on.followers.extend(follows.map(|(_, condition)| (slot, condition)));
        }
        for dependent in dependents {
            let dependent = &mut spec.processes[dependent.index()];
            let needs = dependent.dependencies.iter().find(|(id, _)| *id == old).copied();
            dependent.dependencies.extend(needs.map(|(_, condition)| (slot, condition)));
        }
        let place = spec.order.iter().position(|id| *id == old).unwrap_or_default();
        spec.order.insert(place, slot);
        self.reach(slot, self.reached(old));
        self.reorder();
        self.act(Action::Adopt { slot, from: Source::Copy(old) });
        Some(slot)
    }

    /// Gives the first free slot, or a further one, a definition and a role.
    fn allocate(&mut self, spec: ProcessSpec, role: Role) -> Option<ProcessId> {
        let free = self.roles.iter().position(|role| *role == Role::Retired);
        let slot = ProcessId(u16::try_from(free.unwrap_or(self.roles.len())).ok()?);
        let processes = &mut Rc::make_mut(&mut self.spec).processes;
        if free.is_none() {
            processes.push(spec);
            self.push_slot();
        } else {
            processes[slot.index()] = spec;
            self.clear_slot(slot);
        }
        self.roles[slot.index()] = role;
        if self.process(slot).listens {
            self.held_sockets.push(slot);
        }
        Some(slot)
    }

    /// Makes a new slot the current one of its process: it inherits what outlives an instance.
    pub(crate) fn take_over(&mut self, slot: ProcessId, old: ProcessId) {
        self.set_role(old, Role::Leaving);
        self.set_role(slot, Role::Current);
        self.restarts[slot.index()] =
            Restarts { total: self.restarts[old.index()].total, in_a_row: 0 };
        self.inherit_probe_failures(slot, old);
        self.reach(slot, self.reached(old));
        self.met.extend(
            [StartCondition::Started, StartCondition::Ready].map(|condition| (slot, condition)),
        );
        self.missing.remove(&old);
        self.forget_changes(old);
    }

    /// Frees a slot that is over for good, and removes it from the graph.
    pub(crate) fn retire(&mut self, slot: ProcessId) {
        if self.held_sockets.contains(&slot) {
            self.held_sockets.retain(|held| *held != slot);
            self.act(Action::ReleaseSockets(slot));
        }
        self.set(slot, Lifecycle::Done);
        self.set_role(slot, Role::Retired);
        self.missing.remove(&slot);
        self.forget_changes(slot);
        let spec = Rc::make_mut(&mut self.spec);
        let ProcessSpec { dependencies, dependents, .. } = spec.processes[slot.index()].clone();
        for (on, _) in dependencies {
            let on = &mut spec.processes[on.index()];
            on.dependents.retain(|id| *id != slot);
            on.followers.retain(|(id, _)| *id != slot);
        }
        for dependent in dependents {
            spec.processes[dependent.index()].dependencies.retain(|(id, _)| *id != slot);
        }
        spec.order.retain(|id| *id != slot);
        spec.processes[slot.index()].retire();
        self.reorder();
    }

    /// Computes what follows from the order and the edges anew.
    fn reorder(&mut self) {
        for (id, place) in self.spec.order.iter().zip(0..) {
            self.rank[id.index()] = place;
        }
        self.budget = Budget::new(&self.spec);
    }
}
