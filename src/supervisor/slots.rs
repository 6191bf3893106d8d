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
    /// The other slots of the same process, retired ones too. Kept, because every note asks for them
    /// and nearly every process has none.
    others: Vec<ProcessId>,
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
                others: Vec::new(),
            })
            .collect();
        Self { slots }
    }

    /// Gives a slot the same definition as another one.
    pub(crate) fn copy(&mut self, slot: ProcessId, from: ProcessId) {
        let copy = self.slots[from.index()].clone();
        self.put(slot, copy);
    }

    /// Gives a slot a definition of its own, from this place in a file. Returns another slot of the
    /// same process, or the slot itself if it was of that process; `None` for a new process.
    /// `others` are the slots that are in use, without this one.
    pub(crate) fn define(
        &mut self,
        slot: ProcessId,
        definition: Rc<Process>,
        place: usize,
        others: &[ProcessId],
    ) -> Option<ProcessId> {
        let is_known = |id: &ProcessId| {
            let known = self.slots.get(id.index());
            known.is_some_and(|known| known.definition.name == definition.name)
        };
        let is_free = |identity| others.iter().all(|other| self.identity(*other) != identity);
        let itself = Some(slot).filter(|id| is_known(id) && is_free(self.identity(*id)));
        let known = others.iter().copied().find(is_known).or(itself);
        let free = || (0..).map(ProcessId).find(|identity| is_free(*identity));
        let identity = known.map(|known| self.identity(known)).or_else(free).unwrap_or(slot);
        self.put(slot, Slot { definition, identity, place, others: Vec::new() });
        known
    }

    /// Gives a slot another definition, which differs only in what drainit may take over while the
    /// process runs.
    pub(crate) fn redefine(&mut self, slot: ProcessId, definition: Rc<Process>, place: usize) {
        let slot = &mut self.slots[slot.index()];
        (slot.definition, slot.place) = (definition, place);
    }

    /// Puts all slots behind those of a new file, until they have their place there.
    pub(crate) fn forget_places(&mut self) {
        self.slots.iter_mut().for_each(|slot| slot.place = usize::MAX);
    }

    fn put(&mut self, slot: ProcessId, mut new: Slot) {
        new.others.clear();
        for (id, other) in (0..).map(ProcessId).zip(&mut self.slots).filter(|(id, _)| *id != slot) {
            other.others.retain(|id| *id != slot);
            if other.identity == new.identity {
                other.others.push(slot);
                new.others.push(id);
            }
        }
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

    /// The other slots that the process of this slot has or had.
    pub(crate) fn others(&self, slot: ProcessId) -> Vec<ProcessId> {
        self.slots[slot.index()].others.clone()
    }

    pub(crate) fn place(&self, slot: ProcessId) -> usize {
        self.slots[slot.index()].place
    }

    /// The number of slots.
    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::load::testing::load;

    #[test]
    fn a_slot_knows_the_others_of_its_process_until_it_has_another_one() {
        let [a, b, more] = [0, 1, 2].map(ProcessId);
        let config = load(&["processes: {a: {command: [a]}, b: {command: [b]}}"], &[]).unwrap();
        let mut slots = Slots::new(&config.config);
        let others = |slots: &Slots| [a, b].map(|slot| slots.others(slot));
        assert_eq!(others(&slots), [vec![], vec![]]);
        slots.copy(more, a);
        assert_eq!(others(&slots), [vec![more], vec![]]);
        assert_eq!(slots.others(more), [a]);
        slots.copy(more, a);
        assert_eq!(others(&slots), [vec![more], vec![]]);
        let definition = slots.definition(b);
        assert_eq!(slots.define(more, definition, 1, &[a, b]), Some(b));
        assert_eq!(others(&slots), [vec![], vec![more]]);
        assert_eq!(slots.others(more), [b]);
    }
}
