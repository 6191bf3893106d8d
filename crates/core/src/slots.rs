//! Slots: a process has one slot, and a second one while a new instance starts beside the running
//! one.
//!
//! A [`ProcessId`] is a slot. Both slots of a process have its name, and the dependents of the
//! process depend on both. A slot whose instance is gone for good is *retired*: it has no
//! dependencies and no dependents, is shown nowhere, and is reused by the next replacement.

use alloc::rc::Rc;

use crate::action::Action;
use crate::family;
use crate::spec::{ConfigIndex, DefinitionSource, ProcessSpec, Spec};
use crate::state::{Lifecycle, Role, Slot, State};
use crate::types::{ProcessId, StartCondition};

/// The slot to which a process of a new config belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placed {
    /// The process has this slot. The running instance of the process continues, because no changed
    /// key requires a new instance.
    Same(ProcessId),
    /// The process has this slot. The instance of the process is replaced, because a changed key
    /// requires a new instance.
    Changed(ProcessId),
    /// No slot has a process of this name.
    New,
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

    /// Makes a slot for another instance of the process in slot `old`, with the same dependencies
    /// and dependents. Each dependent then depends on both slots. Returns `None` if there are too
    /// many slots.
    pub(crate) fn adopt_copy(&mut self, old: ProcessId) -> Option<ProcessId> {
        let slot = self.allocate(self.process(old).clone(), Role::New { old })?;
        self.share_dependents(slot, old);
        let spec = Rc::make_mut(&mut self.spec);
        for (on, _) in spec.processes[slot.index()].dependencies.clone() {
            let on = &mut spec.processes[on.index()];
            on.dependents.push(slot);
            let follows = on.followers.iter().find(|(id, _)| *id == old).copied();
            on.followers.extend(follows.map(|(_, condition)| (slot, condition)));
        }
        let place = spec.order.iter().position(|id| *id == old).unwrap_or_default();
        spec.order.insert(place, slot);
        self.reach(slot, self.reached(old));
        self.reorder();
        self[slot].is_copy = true;
        self.act(Action::Adopt { slot, from: DefinitionSource::Copy(old) });
        Some(slot)
    }

    /// Makes a slot for a process of a new config. [`Self::connect`] adds its dependencies later.
    /// Returns `None` if there are too many slots.
    pub(crate) fn adopt_new(
        &mut self,
        new: &Spec,
        process: ConfigIndex,
        role: Role,
    ) -> Option<ProcessId> {
        let mut definition = process.definition(new).clone();
        definition.dependencies.clear();
        definition.dependents.clear();
        definition.followers.clear();
        let slot = self.allocate(definition, role)?;
        if let Role::New { old } = role {
            self.share_dependents(slot, old);
            self.inherit_conditions(slot, old);
        }
        self.act(Action::Adopt { slot, from: DefinitionSource::Config(process) });
        Some(slot)
    }

    /// Gives the new slot the dependents and followers of the old slot. The old slot keeps them,
    /// too.
    fn share_dependents(&mut self, slot: ProcessId, old: ProcessId) {
        let spec = Rc::make_mut(&mut self.spec);
        let ProcessSpec { dependents, followers, .. } = spec.processes[old.index()].clone();
        for dependent in &dependents {
            let dependent = &mut spec.processes[dependent.index()];
            let needs = dependent.dependencies.iter().find(|(id, _)| *id == old).copied();
            dependent.dependencies.extend(needs.map(|(_, condition)| (slot, condition)));
        }
        spec.processes[slot.index()].dependents = dependents;
        spec.processes[slot.index()].followers = followers;
    }

    /// Gives a slot the dependencies that its process has in a new config, and moves the slot to
    /// `place` in the order. `slots` has the slots of the processes that come earlier in the order
    /// of the new config. Call [`Self::reorder`] afterwards.
    pub(crate) fn connect(
        &mut self,
        slot: ProcessId,
        place: usize,
        new: &Spec,
        process: ConfigIndex,
        slots: &[Option<ProcessId>],
    ) {
        self.disconnect(slot);
        let spec = Rc::make_mut(&mut self.spec);
        for &(on, condition) in &process.definition(new).dependencies {
            let on = ConfigIndex::of(on);
            let Some(below) = slots[on.0] else { continue };
            spec.processes[slot.index()].dependencies.push((below, condition));
            let followers = &on.definition(new).followers;
            let follows = followers.iter().find(|(id, _)| ConfigIndex::of(*id) == process);
            let below = &mut spec.processes[below.index()];
            below.dependents.push(slot);
            below.followers.extend(follows.map(|(_, condition)| (slot, *condition)));
        }
        if spec.order.get(place) != Some(&slot) {
            spec.order.retain(|id| *id != slot);
            spec.order.insert(place, slot);
        }
    }

    /// Removes all dependencies of a slot.
    fn disconnect(&mut self, slot: ProcessId) {
        let spec = Rc::make_mut(&mut self.spec);
        for (on, _) in core::mem::take(&mut spec.processes[slot.index()].dependencies) {
            let on = &mut spec.processes[on.index()];
            on.dependents.retain(|id| *id != slot);
            on.followers.retain(|(id, _)| *id != slot);
        }
    }

    /// Gives another definition to a process that is down. [`Self::connect`] then gives the process
    /// the dependencies of this definition.
    pub(crate) fn redefine(&mut self, slot: ProcessId, new: &ProcessSpec) {
        self.take_over_settings(slot, new);
        let of = &mut Rc::make_mut(&mut self.spec).processes[slot.index()];
        let old = core::mem::replace(of, new.clone());
        (of.dependencies, of.dependents) = (old.dependencies, old.dependents);
        of.followers = old.followers;
        let slot_state = &mut self[slot];
        (slot_state.restarts_in_a_row, slot_state.failures_in_a_row) = (0, 0);
        slot_state.went_well = false;
        self.held_sockets.retain(|held| *held != slot);
        self.held_sockets.extend(new.listens.then_some(slot));
    }

    /// Takes over the settings of the container from a new config.
    pub(crate) fn take_over_container(&mut self, new: &Spec) {
        let spec = Rc::make_mut(&mut self.spec);
        spec.window = new.window;
        spec.reserve = new.reserve;
        spec.readiness_delay = new.readiness_delay;
        spec.unready_delay = new.unready_delay;
        spec.stop_signals.clone_from(&new.stop_signals);
        spec.hooks = new.hooks;
    }

    /// Gives a definition and a role to the first free slot, or to a new slot if none is free.
    /// Returns `None` if there are too many slots.
    fn allocate(&mut self, spec: ProcessSpec, role: Role) -> Option<ProcessId> {
        let free = self.slots.iter().position(|slot| slot.role == Role::Retired);
        let slot = ProcessId(u16::try_from(free.unwrap_or(self.slots.len())).ok()?);
        let new = Slot::new(role, Lifecycle::Done);
        let processes = &mut Rc::make_mut(&mut self.spec).processes;
        if free.is_none() {
            processes.push(spec);
            self.slots.push(new);
        } else {
            processes[slot.index()] = spec;
            self.forget_changes(slot);
            self[slot] = new;
        }
        if let Role::New { old } = role {
            self[slot].beside = Some(old);
            self[old].beside = Some(slot);
        }
        if self.process(slot).listens {
            self.held_sockets.push(slot);
        }
        Some(slot)
    }

    /// Makes a new slot the current slot of its process. The slot inherits the counts that outlive
    /// an instance.
    pub(crate) fn take_over(&mut self, slot: ProcessId, old: ProcessId) {
        self.set_role(old, Role::Leaving);
        self.set_role(slot, Role::Current);
        let Slot { restarts, probe_failures, .. } = self[old];
        (self[slot].restarts, self[slot].restarts_in_a_row) = (restarts, 0);
        (self[slot].probe_failures, self[slot].failures_in_a_row) = (probe_failures, 0);
        self.inherit_conditions(slot, old);
        if let Lifecycle::Ready { .. } = self.life(slot) {
            let conditions = [StartCondition::Started, StartCondition::Ready];
            self.met.extend(conditions.map(|condition| (slot, condition)));
        }
        self.missing.remove(&old);
        self.forget_changes(old);
    }

    /// Copies the conditions that the old instance has met. Copies nothing if the process has
    /// failed for good: such a process counts as having met conditions that it has not met.
    fn inherit_conditions(&mut self, slot: ProcessId, old: ProcessId) {
        let is_down = matches!(self.life(old), Lifecycle::Stopped { .. } | Lifecycle::Done);
        if !is_down || self[old].went_well {
            self.reach(slot, self.reached(old));
        }
    }

    /// Frees a slot whose instance is gone for good. Removes the slot from the dependencies and
    /// dependents of other slots.
    pub(crate) fn retire(&mut self, slot: ProcessId) {
        if self.held_sockets.contains(&slot) {
            self.held_sockets.retain(|held| *held != slot);
            self.act(Action::ReleaseSockets(slot));
        }
        self.set(slot, Lifecycle::Done);
        self.set_role(slot, Role::Retired);
        if let Some(other) = self[slot].beside.take() {
            self[other].beside = None;
            self[other].is_copy = false;
        }
        self.missing.remove(&slot);
        self.family.forget(slot);
        self.disconnect(slot);
        let spec = Rc::make_mut(&mut self.spec);
        for dependent in core::mem::take(&mut spec.processes[slot.index()].dependents) {
            spec.processes[dependent.index()].dependencies.retain(|(id, _)| *id != slot);
        }
        spec.order.retain(|id| *id != slot);
        spec.processes[slot.index()].retire();
        self.reorder();
    }

    /// Computes the ranks and the budget again after the order, the dependencies or the dependents
    /// have changed.
    pub(crate) fn reorder(&mut self) {
        for (id, place) in self.spec.order.iter().zip(0..) {
            self.slots[id.index()].rank = place;
        }
        self.plan_budget();
    }
}
