//! The definition of each slot of a run, and the current slot of each process. The simulated world
//! and the checker share this module.

use std::collections::BTreeMap;

use crate::scenario::NewConfig;
use crate::*;
use drainit_core::state::State;

/// The definitions of all slots. In their `dependencies` and `follows`, an id is the index of a
/// process, not a slot.
#[derive(Clone, Debug)]
pub(crate) struct Slots {
    slots: Vec<Slot>,
    /// For each process: its current slot (`Role::Current`), if it has one.
    current: Vec<Option<ProcessId>>,
    /// The definitions in the config of the last reload; empty before the first reload.
    config: Vec<Slot>,
    /// For each slot that gets a definition in the config of the last reload: its index there.
    newer: BTreeMap<ProcessId, usize>,
}

#[derive(Clone, Debug)]
struct Slot {
    process: usize,
    version: u32,
    spec: ProcessSpec,
    /// Dependencies that the process follows: it is restarted when a new instance of the dependency
    /// meets the condition.
    follows: Vec<(usize, StartCondition)>,
}

/// The processes that a process follows.
fn follows(of: &ProcessSpec) -> Vec<(usize, StartCondition)> {
    let follows = of.dependencies.iter().filter(|(on, _)| of.follows.contains(on));
    follows.map(|(on, condition)| (on.index(), *condition)).collect()
}

impl Slots {
    pub(crate) fn new(scenario: &Scenario) -> Self {
        let specs = scenario.spec.processes.iter().cloned().enumerate();
        let slot = |(process, spec)| {
            let follows = follows(&spec);
            Slot { process, version: 0, spec, follows }
        };
        let slots = specs.map(slot).collect();
        let mut current: Vec<_> = scenario.spec.ids().map(Some).collect();
        current.resize(scenario.behaviours.len(), None);
        Self { slots, current, config: Vec::new(), newer: BTreeMap::new() }
    }

    /// The definition of the process of this slot.
    pub(crate) fn of(&self, slot: ProcessId) -> &ProcessSpec {
        &self.slots[slot.index()].spec
    }

    /// Whether the instance of this slot must be restarted when a new instance of the process `on`
    /// has met this condition.
    pub(crate) fn follows(&self, slot: ProcessId, on: usize, met: StartCondition) -> bool {
        self.slots[slot.index()].follows.contains(&(on, met))
    }

    /// Whether the instance of this slot follows the process `on` under any condition.
    pub(crate) fn follows_any(&self, slot: ProcessId, on: usize) -> bool {
        self.slots[slot.index()].follows.iter().any(|(process, _)| *process == on)
    }

    pub(crate) fn process(&self, slot: ProcessId) -> usize {
        self.slots[slot.index()].process
    }

    pub(crate) fn current(&self, process: usize) -> Option<ProcessId> {
        self.current[process]
    }

    /// The number of all processes, including those that the current config does not have.
    pub(crate) fn processes(&self) -> usize {
        self.current.len()
    }

    pub(crate) fn count(&self) -> usize {
        self.slots.len()
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = ProcessId> + use<> {
        (0..self.slots.len() as u16).map(ProcessId)
    }

    /// For each process of a new config: its slot, and whether the process is new, unchanged or
    /// changed. A process that has failed counts as changed, so that the reload starts it again.
    pub(crate) fn plan(&self, config: &NewConfig, state: &State) -> Vec<Placed> {
        let is_used = |slot: &ProcessId| slot.index() < self.slots.len() && state.is_current(*slot);
        let mut free = (0..u16::MAX).map(ProcessId).filter(|slot| !is_used(slot));
        let mut placed = |(process, version): &(usize, u32)| {
            let current = self.current(*process).filter(is_used);
            let Some(slot) = current else { return free.next().map(Placed::New) };
            let has_failed = state.life(slot) == Lifecycle::Stopped { failed: true };
            Some(match self.slots[slot.index()].version == *version && !has_failed {
                true => Placed::Same(slot),
                false => Placed::Changed(slot),
            })
        };
        config.processes.iter().filter_map(&mut placed).collect()
    }

    /// Stores the definitions of a new config. The slots get these definitions later, one by one.
    pub(crate) fn reload(&mut self, config: &NewConfig, plan: &[Placed]) {
        let process = |id: ProcessId| ProcessId(config.processes[id.index()].0 as u16);
        self.config.clear();
        self.newer.clear();
        let processes = config.spec.processes.iter().zip(&config.processes).zip(plan);
        for (index, ((spec, (place, version)), placed)) in processes.enumerate() {
            self.newer.insert(placed.slot(), index);
            let mut spec = spec.clone();
            let needs = spec.dependencies.iter_mut().map(|(on, _)| on);
            for id in needs.chain(&mut spec.follows) {
                *id = process(*id);
            }
            let follows = follows(&spec);
            self.config.push(Slot { process: *place, version: *version, spec, follows });
        }
    }

    /// Whether all current slots have the definitions of the newest config.
    pub(crate) fn are_new(&self) -> bool {
        let current: Vec<_> = self.current.iter().flatten().collect();
        let has_new_dependencies = |slot: &ProcessId| {
            let of = &self.slots[slot.index()];
            let mut new = self.config.iter().filter(|new| new.process == of.process);
            new.all(|new| new.spec.dependencies == of.spec.dependencies)
        };
        self.missing().next().is_none()
            && current.len() == self.config.len()
            && current.into_iter().all(has_new_dependencies)
    }

    /// The definitions that are in the newest config, but in no current slot: the reload has not
    /// reached these processes yet, or has failed.
    pub(crate) fn missing(&self) -> impl Iterator<Item = &ProcessSpec> {
        let is_new = |of: &&Slot| {
            let slot = self.current[of.process].map(|slot| &self.slots[slot.index()]);
            slot.is_some_and(|slot| slot.version == of.version)
        };
        self.config.iter().filter(move |of| !is_new(of)).map(|of| &of.spec)
    }

    /// The definition that [`Slots::adopt`] gives to a slot.
    pub(crate) fn next(&self, of: ProcessId, is_newer: bool) -> &ProcessSpec {
        &self.next_slot(of, is_newer).spec
    }

    fn next_slot(&self, of: ProcessId, is_newer: bool) -> &Slot {
        let newer = self.newer.get(&of).filter(|_| is_newer).map(|index| &self.config[*index]);
        newer.unwrap_or_else(|| &self.slots[of.index()])
    }

    /// Gives a definition to a slot that comes into use.
    pub(crate) fn adopt(&mut self, slot: ProcessId, of: ProcessId, is_newer: bool) {
        let new = self.next_slot(of, is_newer).clone();
        if slot.index() == self.slots.len() {
            self.slots.push(new);
        } else {
            self.slots[slot.index()] = new;
        }
    }

    /// The index of the process of this slot in the newest config.
    pub(crate) fn in_config(&self, slot: ProcessId) -> Option<usize> {
        self.index_of(self.process(slot))
    }

    /// The index of a process in the newest config.
    pub(crate) fn index_of(&self, process: usize) -> Option<usize> {
        self.config.iter().position(|of| of.process == process)
    }

    /// A definition in the newest config.
    pub(crate) fn definition(&self, index: usize) -> &ProcessSpec {
        &self.config[index].spec
    }

    /// Gives a slot the definition of its process in the newest config.
    pub(crate) fn redefine(&mut self, slot: ProcessId) {
        self.slots[slot.index()] = self.config[self.newer[&slot]].clone();
    }

    /// Makes a slot the current slot of its process.
    pub(crate) fn take_over(&mut self, slot: ProcessId) {
        let process = self.process(slot);
        self.current[process] = Some(slot);
    }

    /// Records that the process of this slot is no longer in the config. A later config may have a
    /// process of this name again, and only the definitions of that config may depend on it.
    pub(crate) fn remove(&mut self, slot: ProcessId) {
        let process = self.process(slot);
        self.current[process] = self.current[process].filter(|current| *current != slot);
        for slot in &mut self.slots {
            slot.spec.dependencies.retain(|(on, _)| on.index() != process);
        }
    }
}
