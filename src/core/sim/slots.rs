//! The slots of a run, as the simulated world and the checker see them.

use crate::core::sim::*;

/// The processes of the scenario by slot. Their edges name processes, not slots.
#[derive(Clone, Debug)]
pub(crate) struct Slots {
    specs: Vec<ProcessSpec>,
    /// The process of each slot.
    processes: Vec<usize>,
    /// The current slot of each process.
    current: Vec<ProcessId>,
}

impl Slots {
    pub(crate) fn new(spec: &Spec) -> Self {
        let processes = (0..spec.processes.len()).collect();
        Self { specs: spec.processes.clone(), processes, current: spec.ids().collect() }
    }

    /// What the process of this slot is.
    pub(crate) fn of(&self, slot: ProcessId) -> &ProcessSpec {
        &self.specs[slot.index()]
    }

    pub(crate) fn process(&self, slot: ProcessId) -> usize {
        self.processes[slot.index()]
    }

    pub(crate) fn current(&self, process: usize) -> ProcessId {
        self.current[process]
    }

    pub(crate) fn count(&self) -> usize {
        self.specs.len()
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = ProcessId> + use<> {
        (0..self.specs.len() as u16).map(ProcessId)
    }

    /// Gives a slot a definition; `new` has those of a config.
    pub(crate) fn adopt(&mut self, slot: ProcessId, from: Source, new: &[ProcessSpec]) {
        let (process, spec) = match from {
            Source::Copy(old) => (self.process(old), self.of(old).clone()),
            Source::Config(index) => (index, new[index].clone()),
        };
        if slot.index() == self.specs.len() {
            self.specs.push(spec);
            self.processes.push(process);
        } else {
            self.specs[slot.index()] = spec;
            self.processes[slot.index()] = process;
        }
    }

    pub(crate) fn take_over(&mut self, slot: ProcessId) {
        let process = self.process(slot);
        self.current[process] = slot;
    }
}
