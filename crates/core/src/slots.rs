//! Slots: a process has one, and a second one while a new instance replaces the running one.
//!
//! A [`ProcessId`] is a slot. The slots of one process have the same name, and a dependency of one
//! is a dependency of both. A slot that is over for good is *retired*: it has no edges, is not shown
//! anywhere, and is reused by the next replacement.

use alloc::rc::Rc;

use crate::action::Action;
use crate::budget::Budget;
use crate::graph::Graph;
use crate::prelude::*;
use crate::spec::{ProcessSpec, Spec};
use crate::state::{Lifecycle, Slot, State};
use crate::types::{ProcessId, StartCondition};

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
    /// This slot has the same definition; only its dependencies and its `update` may differ.
    Same(ProcessId),
    /// This slot has another definition, and is replaced.
    Changed(ProcessId),
    /// No process has its name.
    New,
}

impl State {
    #[must_use]
    pub fn role(&self, slot: ProcessId) -> Role {
        self[slot].role
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
        self[slot].is_copy = true;
        self.act(Action::Adopt { slot, from: Source::Copy(old) });
        Some(slot)
    }

    /// Gives every process of a new config a slot, and returns them by its index. Old definitions
    /// stay in the slots that are to be replaced, and processes without a place in theirs.
    pub(crate) fn merge(&mut self, new: &Spec, plan: &[Placed]) -> Option<Vec<ProcessId>> {
        let more = plan.iter().filter(|placed| !matches!(placed, Placed::Same(_))).count();
        if self.slots.len() + more > usize::from(u16::MAX) {
            return None;
        }
        let mut slots = Vec::with_capacity(plan.len());
        for (index, (placed, spec)) in plan.iter().zip(&new.processes).enumerate() {
            let role = match *placed {
                Placed::Same(slot) => {
                    slots.push(slot);
                    continue;
                }
                Placed::Changed(old) => Role::New { old },
                Placed::New => Role::Current,
            };
            let slot = self.allocate(spec.clone(), role)?;
            if let Placed::Changed(old) = *placed {
                self.inherit_conditions(slot, old);
            }
            self.act(Action::Adopt { slot, from: Source::Config(index) });
            slots.push(slot);
        }
        for (&slot, process) in slots.iter().zip(&new.processes) {
            self.take_over_autostart(slot, process);
        }
        let spec = Rc::make_mut(&mut self.spec);
        spec.window = new.window;
        spec.reserve = new.reserve;
        spec.readiness_delay = new.readiness_delay;
        spec.unready_delay = new.unready_delay;
        spec.stop_signals.clone_from(&new.stop_signals);
        spec.hooks = new.hooks;
        for (slot, process) in slots.iter().zip(&new.processes) {
            let of = &mut spec.processes[slot.index()];
            // The check of the config of a hot restart is a hook.
            (of.update, of.handover, of.hooks) = (process.update, process.handover, process.hooks);
            of.base_id.clone_from(&process.base_id);
        }
        // The whole order may differ from that before. Where both together have none, only the new
        // one counts between processes of different configs.
        let mut in_use = vec![false; spec.processes.len()];
        for slot in spec.order.iter().chain(&slots) {
            in_use[slot.index()] = true;
        }
        let mut joined = join(spec, new, plan, &slots, true);
        let (mut graph, has_order) = Graph::sorted(joined.dependencies);
        if !has_order {
            joined = join(spec, new, plan, &slots, false);
            (graph, _) = Graph::sorted(joined.dependencies);
        }
        let edges = graph.dependencies.into_iter().zip(graph.dependents).zip(joined.followers);
        for (process, ((dependencies, dependents), followers)) in
            spec.processes.iter_mut().zip(edges)
        {
            process.dependencies = dependencies;
            process.dependents = dependents;
            process.followers = followers;
        }
        spec.order = graph.order.into_iter().filter(|slot| in_use[slot.index()]).collect();
        self.reorder();
        Some(slots)
    }

    /// Gives the first free slot, or a further one, a definition and a role.
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

    /// Makes a new slot the current one of its process: it inherits what outlives an instance.
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

    /// The conditions that the old instance has met are those of the process, unless it has met them
    /// all by failing for good.
    fn inherit_conditions(&mut self, slot: ProcessId, old: ProcessId) {
        let is_down = matches!(self.life(old), Lifecycle::Stopped { .. } | Lifecycle::Done);
        if !is_down || self[old].went_well {
            self.reach(slot, self.reached(old));
        }
    }

    /// Frees a slot that is over for good, and removes it from the graph.
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
        let spec = Rc::make_mut(&mut self.spec);
        let ProcessSpec { dependencies, dependents, .. } = spec.processes[slot.index()].clone();
        for (on, _) in dependencies {
            spec.processes[on.index()].dependents.retain(|id| *id != slot);
        }
        for on in &mut spec.processes {
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
    pub(crate) fn reorder(&mut self) {
        for (id, place) in self.spec.order.iter().zip(0..) {
            self.slots[id.index()].rank = place;
        }
        self.budget = Budget::new(&self.spec);
    }
}

/// The edges of all slots, by [`ProcessId`].
struct Edges {
    dependencies: Vec<Vec<(ProcessId, StartCondition)>>,
    followers: Vec<Vec<(ProcessId, StartCondition)>>,
}

/// The edges of all slots while a new config replaces the old one. An old definition keeps its
/// edges. `across`: what needs a process needs both of its slots, whichever config it is of.
fn join(old: &Spec, new: &Spec, plan: &[Placed], slots: &[ProcessId], across: bool) -> Edges {
    let mut dependencies = vec![Vec::new(); old.processes.len()];
    let mut followers = dependencies.clone();
    // The slots of each process, by its slot in the new config and that in the old one.
    let mut beside: Vec<Option<ProcessId>> = vec![None; old.processes.len()];
    let mut is_kept = vec![true; old.processes.len()];
    for (placed, slot) in plan.iter().zip(slots) {
        is_kept[slot.index()] = false;
        if let Placed::Changed(old) = placed {
            beside[slot.index()] = Some(*old);
            beside[old.index()] = Some(*slot);
        }
    }
    let both = |slot: ProcessId| {
        let other = beside[slot.index()].filter(|_| across);
        [Some(slot), other].into_iter().flatten()
    };
    for &slot in old.order.iter().filter(|slot| is_kept[slot.index()]) {
        for &(on, condition) in &old.processes[slot.index()].dependencies {
            dependencies[slot.index()].extend(both(on).map(|on| (on, condition)));
        }
    }
    // Each instance follows by the rules of its own config.
    for &slot in &old.order {
        for &(follower, condition) in &old.processes[slot.index()].followers {
            for on in both(slot).filter(|_| is_kept[follower.index()]) {
                followers[on.index()].push((follower, condition));
            }
        }
    }
    for (process, slot) in new.processes.iter().zip(slots) {
        for &(on, condition) in &process.dependencies {
            let on = both(slots[on.index()]).map(|on| (on, condition));
            dependencies[slot.index()].extend(on);
        }
        for &(follower, condition) in &process.followers {
            for on in both(*slot) {
                followers[on.index()].push((slots[follower.index()], condition));
            }
        }
    }
    Edges { dependencies, followers }
}
