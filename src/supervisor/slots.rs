//! The definition of each slot, for the code that carries out the decisions of the core.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use crate::config::{Config, Process};
use crate::logging::Output;
use crate::supervisor::sockets::Sockets;
use crate::types::{ProcessId, Stream};

/// A process of a config, with its arguments and sockets.
#[derive(Clone)]
pub(crate) struct Definition {
    pub(crate) process: Arc<Process>,
    /// The arguments that the process gets from the container's command line.
    pub(crate) args: Vec<String>,
    /// The sockets of `listen`. All slots of the process share them.
    pub(crate) sockets: Sockets,
}

impl Definition {
    /// Returns the definition of each process of a config, in the order of the config.
    pub(crate) fn of(config: &Config, args: Vec<Vec<String>>, sockets: Vec<Sockets>) -> Vec<Self> {
        let one = |((process, args), sockets): ((&Arc<Process>, Vec<String>), Sockets)| Self {
            process: Arc::clone(process),
            args,
            sockets,
        };
        config.processes.iter().zip(args).zip(sockets).map(one).collect()
    }
}

/// The slots, in the order of their ids. A process has a second slot while it is being replaced.
pub(crate) struct Slots {
    slots: Vec<SlotEntry>,
}

struct SlotEntry {
    definition: Definition,
    /// The position of the process in the config file.
    place: usize,
    /// The log file of the process, if it has one.
    log_files: Vec<LogTarget>,
}

type LogTarget = (PathBuf, Arc<Output>);

impl Slots {
    pub(crate) fn new(definitions: Vec<Definition>) -> Self {
        let slot = |(place, definition)| SlotEntry { definition, place, log_files: Vec::new() };
        Self { slots: definitions.into_iter().enumerate().map(slot).collect() }
    }

    /// Gives a definition to a slot. The slot exists already, or is the next new slot.
    pub(crate) fn put(&mut self, slot: ProcessId, definition: Definition, place: usize) {
        let new = SlotEntry { definition, place, log_files: Vec::new() };
        match self.slots.get_mut(slot.index()) {
            Some(known) => *known = new,
            None => self.slots.push(new),
        }
    }

    /// Changes the definition of a slot. If an instance runs in the slot, it continues, because the
    /// change requires no new instance.
    pub(crate) fn redefine(&mut self, slot: ProcessId, definition: Definition) {
        self.slots[slot.index()].definition = definition;
    }

    /// Gives each slot the place that its process has in a new config file. Slots of processes that are not in the
    /// file come last.
    pub(crate) fn set_places(&mut self, places: impl Fn(ProcessId) -> Option<usize>) {
        for (slot, id) in self.slots.iter_mut().zip(0..) {
            slot.place = places(ProcessId(id)).unwrap_or(usize::MAX);
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

    pub(crate) fn set_log_files(&mut self, slot: ProcessId, files: Vec<LogTarget>) {
        self.slots[slot.index()].log_files = files;
    }

    /// A warning if lines for the log file of a slot were dropped; `None` otherwise.
    pub(crate) fn dropped(&self, slot: ProcessId) -> Option<String> {
        let files = self.slots[slot.index()].log_files.iter();
        let dropped = files.map(|(_, file)| file.dropped(Stream::Stdout)).sum::<u64>();
        let lines = if dropped == 1 { "line" } else { "lines" };
        (dropped > 0).then(|| format!("{dropped} {lines} of its log file dropped"))
    }

    /// The number of dropped lines for each log file.
    pub(crate) fn dropped_lines(&self) -> BTreeMap<PathBuf, u64> {
        let files = self.slots.iter().flat_map(|slot| &slot.log_files);
        files.map(|(path, output)| (path.clone(), output.dropped(Stream::Stdout))).collect()
    }

    pub(crate) fn place(&self, slot: ProcessId) -> usize {
        self.slots[slot.index()].place
    }

    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }
}
