//! The definition of each slot, for everything that carries out what the core decides.

use std::rc::Rc;

use crate::config::{Config, Process};
use crate::types::ProcessId;

/// By slot. A process has a second slot while it is replaced.
pub(crate) struct Slots {
    slots: Vec<Slot>,
}

#[derive(Clone)]
struct Slot {
    definition: Rc<Process>,
    /// The process, whatever its slot: its first one. Logs and counts go on under it.
    identity: ProcessId,
    /// Its place in the file.
    place: usize,
}

impl Slots {
    pub(crate) fn new(config: &Config) -> Self {
        let slots = (0..)
            .map(ProcessId)
            .zip(&config.processes)
            .map(|(identity, process)| Slot {
                definition: Rc::new(process.clone()),
                identity,
                place: identity.index(),
            })
            .collect();
        Self { slots }
    }

    /// Gives a slot the same definition as another one.
    pub(crate) fn copy(&mut self, slot: ProcessId, from: ProcessId) {
        let copy = self.slots[from.index()].clone();
        self.put(slot, copy);
    }

    fn put(&mut self, slot: ProcessId, new: Slot) {
        match self.slots.get_mut(slot.index()) {
            Some(known) => *known = new,
            None => self.slots.push(new),
        }
    }

    pub(crate) fn definition(&self, slot: ProcessId) -> Rc<Process> {
        Rc::clone(&self.slots[slot.index()].definition)
    }

    pub(crate) fn identity(&self, slot: ProcessId) -> ProcessId {
        self.slots[slot.index()].identity
    }

    pub(crate) fn place(&self, slot: ProcessId) -> usize {
        self.slots[slot.index()].place
    }

    /// The number of slots.
    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }
}
