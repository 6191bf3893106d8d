//! Slots: a process has one slot, and a second one while a new instance starts beside the running
//! one.
//!
//! A [`ProcessId`] is a slot. Both slots of a process have its name, and the dependents of the
//! process depend on both. If the instance of a slot was replaced, rolled back or removed, the slot
//! is *retired* once the instance is gone. A retired slot has no dependencies and no dependents,
//! and is shown nowhere. The next new instance or process reuses the slot.

use alloc::collections::BTreeSet;

use crate::action::Action;
use crate::family;
use crate::graph::Graph;
use crate::prelude::*;
use crate::restart::Restarts;
use crate::spec::{ProcessSpec, Spec};
use crate::state::{Lifecycle, ProbeFailures, Role, Slot, State};
use crate::types::{ProcessId, StartCondition};

/// The slot of a process of a new config, and what the reload does with the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placed {
    /// If the process runs, its instance continues, because no changed key requires a new instance.
    Same(ProcessId),
    /// The instance of the process is replaced, because a changed key requires a new instance.
    Changed(ProcessId),
    /// No slot has a process of this name, so the process gets this free slot.
    New(ProcessId),
}

impl Placed {
    pub fn slot(self) -> ProcessId {
        let (Self::Same(slot) | Self::Changed(slot) | Self::New(slot)) = self;
        slot
    }
}

impl State {
    pub fn role(&self, slot: ProcessId) -> Role {
        self[slot].role
    }

    /// Whether requests, `/readyz` and restarts refer to this slot.
    pub fn is_current(&self, slot: ProcessId) -> bool {
        self.role(slot) == Role::Current
    }

    /// Whether this instance was started to replace another one, and has not taken over from it.
    pub(crate) fn has_not_taken_over(&self, slot: ProcessId) -> bool {
        family::is_pending(self, slot) || matches!(self.role(slot), Role::New { .. })
    }

    /// Makes a slot for another instance of the process in slot `old`. If a reload has a definition
    /// for this instance, the new slot gets that definition. Otherwise, it gets the definition of
    /// `old`. Each dependent of the process then depends on both slots. Returns `None` if there are
    /// too many slots.
    pub(crate) fn adopt_copy(&mut self, old: ProcessId) -> Option<ProcessId> {
        let free = self.slots.iter().position(|slot| slot.role == Role::Retired);
        let slot = ProcessId(u16::try_from(free.unwrap_or(self.slots.len())).ok()?);
        let newer = self[old].newer.take();
        let is_newer = newer.is_some();
        let definition = newer.map_or_else(|| self.process(old).clone(), |newer| *newer);
        self.occupy(slot, definition, Role::New { old });
        self.spec_mut().add_beside(slot, old);
        let newer = self.slots.iter_mut().filter_map(|slot| slot.newer.as_deref_mut());
        newer.for_each(|process| process.depend_also_on(slot, old));
        self.reach(slot, self.reached(old));
        (self[slot].beside, self[old].beside) = (Some(old), Some(slot));
        self[slot].is_copy = !is_newer;
        self[slot].may_have_left = true;
        self.step.act(Action::Adopt { slot, of: old, is_newer });
        Some(slot)
    }

    /// Keeps a free slot for a process that a reload will add.
    pub(crate) fn reserve(&mut self, slot: ProcessId, definition: ProcessSpec) {
        self.occupy(slot, definition, Role::Reserved);
        self.step.act(Action::Adopt { slot, of: slot, is_newer: true });
    }

    /// Gives a process that is down its new definition from a reload. Returns false if the reload
    /// has no definition for the process.
    pub(crate) fn redefine(&mut self, slot: ProcessId) -> bool {
        if !self.redefine_running(slot) {
            return false;
        }
        self.held_sockets.retain(|held| *held != slot);
        self.held_sockets.extend(self.process(slot).listens.then_some(slot));
        let slot_state = &mut self[slot];
        (slot_state.restarts.in_a_row, slot_state.probe_failures.in_a_row) = (0, 0);
        slot_state.went_well = false;
        true
    }

    /// Gives a process the definition that a reload has for it. Returns false if there is none. If
    /// the process runs, the reload must have placed it as [`Placed::Same`].
    pub(crate) fn redefine_running(&mut self, slot: ProcessId) -> bool {
        let newer = self[slot].newer.take();
        newer.is_some_and(|newer| {
            self.define(slot, *newer);
            self.step.act(Action::Redefine(slot));
            true
        })
    }

    /// Takes over the settings of the container and the order of the processes from a new config.
    /// `gone` lists the processes that the new config lacks, dependents first. In the new order,
    /// these processes come first, unless they depend on others.
    ///
    /// Redefines the unchanged processes, whose slots are in `same`. If new dependencies and the
    /// old dependencies of other processes form a circle, the processes of the circle and all that
    /// depend on them keep their definitions.
    pub(crate) fn take_over_config(
        &mut self,
        new: Spec,
        gone: &[ProcessId],
        same: &BTreeSet<ProcessId>,
    ) {
        self.spec_mut().take_over(new, gone);
        let dependencies = self.spec.ids().map(|slot| {
            let newer = self[slot].newer.as_deref().filter(|_| same.contains(&slot));
            newer.unwrap_or_else(|| self.process(slot)).dependencies.clone()
        });
        let possible = Graph::sorted(dependencies.collect(), &self.spec.order).order;
        for slot in possible.into_iter().filter(|slot| same.contains(slot)) {
            self.redefine_running(slot);
        }
        self.spec_mut().link();
    }

    /// Gives a definition and a role to a free slot, or to the next new slot.
    fn occupy(&mut self, slot: ProcessId, definition: ProcessSpec, role: Role) {
        self.held_sockets.extend(definition.listens.then_some(slot));
        let new = Slot::new(role, Lifecycle::Done);
        let spec = self.spec_mut();
        if slot.index() == spec.processes.len() {
            spec.processes.push(definition);
            spec.ranks.push(0);
            self.slots.push(new);
        } else {
            spec.processes[slot.index()] = definition;
            self.changes.forget_all(slot);
            self[slot] = new;
        }
    }

    /// Makes a new slot the current slot of its process. The slot inherits the counts that outlive
    /// an instance.
    pub(crate) fn take_over(&mut self, slot: ProcessId, old: ProcessId) {
        self.set_role(old, Role::Leaving);
        self.set_role(slot, Role::Current);
        let count = self[old].restarts.count;
        self[slot].restarts = Restarts { count, in_a_row: 0, ..self[slot].restarts };
        self[slot].probe_failures = ProbeFailures { in_a_row: 0, ..self[old].probe_failures };
        self.inherit_conditions(slot, old);
        if let Lifecycle::Ready { .. } = self.life(slot) {
            let conditions = [StartCondition::Started, StartCondition::Ready];
            self.step.met.extend(conditions.map(|condition| (slot, condition)));
        }
        self.missing.remove(&old);
        self.changes.forget_all(old);
    }

    /// Copies the conditions that the old instance has met. If the old instance is down and did not
    /// end well, its conditions count as met only to let its dependents start. In that case,
    /// nothing is copied.
    fn inherit_conditions(&mut self, slot: ProcessId, old: ProcessId) {
        if !self.life(old).is_gone() || self[old].went_well {
            self.reach(slot, self.reached(old));
        }
    }

    /// Frees slots whose instances are gone for good. Removes the slots from the dependencies and
    /// dependents of other slots.
    pub(crate) fn retire(&mut self, slots: &[ProcessId]) {
        for &slot in slots {
            if self.held_sockets.contains(&slot) {
                self.held_sockets.retain(|held| *held != slot);
                self.step.act(Action::ReleaseSockets(slot));
            }
            self.set(slot, Lifecycle::Done);
            self.set_role(slot, Role::Retired);
            if let Some(other) = self[slot].beside.take() {
                self[other].beside = None;
                self[other].is_copy = false;
            }
            self.missing.remove(&slot);
            self.family.forget(slot);
        }
        let stays: Vec<_> = self.slots.iter().map(|slot| slot.role != Role::Retired).collect();
        let newer = self.slots.iter_mut().filter_map(|slot| slot.newer.as_deref_mut());
        newer.for_each(|one| one.keep_dependencies(|on| stays[on.index()]));
        self.spec_mut().retire(&stays);
    }
}
