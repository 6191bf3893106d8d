//! The definition of each slot, for everything that carries out what the core decides.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;

use crate::config::{Config, Process};
use crate::core::slots::Placed;
use crate::logging::Output;
use crate::supervisor::sockets::Sockets;
use crate::types::{ProcessId, Stream};

/// A process of a config, with what it gets beside it.
#[derive(Clone)]
pub(crate) struct Definition {
    pub(crate) process: Rc<Process>,
    /// Its part of the container's arguments.
    pub(crate) args: Vec<String>,
    /// Those of `listen`; the slots of one process share them.
    pub(crate) sockets: Sockets,
}

impl Definition {
    /// Those of a config, in file order.
    pub(crate) fn of(config: &Config, args: Vec<Vec<String>>, sockets: Vec<Sockets>) -> Vec<Self> {
        let one = |((process, args), sockets): ((&Process, Vec<String>), Sockets)| Self {
            process: Rc::new(process.clone()),
            args,
            sockets,
        };
        config.processes.iter().zip(args).zip(sockets).map(one).collect()
    }
}

/// By slot. A process has a second slot while it is replaced.
pub(crate) struct Slots {
    slots: Vec<Slot>,
}

struct Slot {
    definition: Definition,
    /// Its place in the file.
    place: usize,
    /// Where its lines go, if that is a file.
    log_file: Option<LogTarget>,
}

type LogTarget = (PathBuf, Arc<Output>);

impl Slots {
    pub(crate) fn new(definitions: Vec<Definition>) -> Self {
        let slot = |(place, definition)| Slot { definition, place, log_file: None };
        Self { slots: definitions.into_iter().enumerate().map(slot).collect() }
    }

    /// Gives a slot, or a further one, a definition.
    pub(crate) fn put(&mut self, slot: ProcessId, definition: Definition, place: usize) {
        let new = Slot { definition, place, log_file: None };
        match self.slots.get_mut(slot.index()) {
            Some(known) => *known = new,
            None => self.slots.push(new),
        }
    }

    /// Gives a slot a definition that differs only in what drainit may take over while the process
    /// runs.
    pub(crate) fn redefine(&mut self, slot: ProcessId, definition: Definition) {
        self.slots[slot.index()].definition = definition;
    }

    /// Gives all slots their place in a new file; what is not in it comes last.
    pub(crate) fn set_places(&mut self, placed: &[Placed]) {
        self.slots.iter_mut().for_each(|slot| slot.place = usize::MAX);
        for (place, placed) in placed.iter().enumerate() {
            if let Placed::Same(slot) | Placed::Changed(slot) = placed {
                self.slots[slot.index()].place = place;
            }
        }
    }

    pub(crate) fn of(&self, slot: ProcessId) -> &Definition {
        &self.slots[slot.index()].definition
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &Definition> {
        self.slots.iter().map(|slot| &slot.definition)
    }

    /// Closes the sockets of a process.
    pub(crate) fn release_sockets(&mut self, slot: ProcessId) {
        self.slots[slot.index()].definition.sockets.clear();
    }

    pub(crate) fn set_log_file(&mut self, slot: ProcessId, file: Option<LogTarget>) {
        self.slots[slot.index()].log_file = file;
    }

    /// A warning about lines that the log file of a slot has dropped.
    pub(crate) fn dropped(&self, slot: ProcessId) -> Option<String> {
        let (_, file) = self.slots[slot.index()].log_file.as_ref()?;
        let dropped = file.dropped(Stream::Stdout);
        let lines = if dropped == 1 { "line" } else { "lines" };
        (dropped > 0).then(|| format!("{dropped} {lines} of its log file dropped"))
    }

    /// The lines that each log file has dropped.
    pub(crate) fn dropped_lines(&self) -> BTreeMap<PathBuf, u64> {
        let files = self.slots.iter().filter_map(|slot| slot.log_file.as_ref());
        files.map(|(path, output)| (path.clone(), output.dropped(Stream::Stdout))).collect()
    }

    pub(crate) fn place(&self, slot: ProcessId) -> usize {
        self.slots[slot.index()].place
    }

    /// The number of slots.
    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }
}
