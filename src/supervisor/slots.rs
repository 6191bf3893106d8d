//! The slots: each has the definition of a process, and one instance of it.

use std::collections::BTreeMap;
use std::ops::{Index, IndexMut};
use std::path::PathBuf;
use std::sync::Arc;

use crate::keys::{Config, Process};
use crate::logging::Output;
use crate::supervisor::executor::instance::Instance;
use crate::supervisor::sockets::Sockets;
use crate::types::{ProcessId, Stream, counted};

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

/// A slot: the process that it belongs to, and the instance that runs in it. A process has a second
/// slot while it is being replaced.
pub(crate) struct Slot {
    pub(crate) definition: Definition,
    /// The position of the process in the config file. A process that is not in the file any more
    /// comes last.
    pub(crate) place: usize,
    /// The log files of the process.
    pub(crate) log_files: Vec<LogTarget>,
    pub(crate) instance: Instance,
}

type LogTarget = (PathBuf, Arc<Output>);

impl Slot {
    fn new(definition: Definition, place: usize, instance: Instance) -> Self {
        Self { definition, place, log_files: Vec::new(), instance }
    }

    /// A warning if lines for the log file of the slot were dropped; `None` otherwise.
    pub(crate) fn drop_warning(&self) -> Option<String> {
        let dropped = self.log_files.iter().map(|(_, file)| file.dropped(Stream::Stdout));
        let dropped = dropped.sum::<u64>();
        let lines = || counted(dropped, "line", "lines");
        (dropped > 0).then(|| format!("{} of its log file dropped", lines()))
    }
}

/// The slots, in the order of their ids.
pub(crate) struct Slots(Vec<Slot>);

impl Slots {
    pub(crate) fn new(definitions: Vec<Definition>) -> Self {
        let slot = |(place, definition)| Slot::new(definition, place, Instance::default());
        Self(definitions.into_iter().enumerate().map(slot).collect())
    }

    /// Gives a slot to a new instance of the process with this definition. The slot exists already,
    /// or is the next new slot.
    pub(crate) fn put(&mut self, slot: ProcessId, definition: Definition, place: usize) {
        match self.0.get_mut(slot.index()) {
            Some(known) => *known = Slot::new(definition, place, known.instance.next()),
            None => self.0.push(Slot::new(definition, place, Instance::default())),
        }
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = (ProcessId, &Slot)> {
        (0..).map(ProcessId).zip(&self.0)
    }

    pub(crate) fn all_mut(&mut self) -> impl Iterator<Item = (ProcessId, &mut Slot)> {
        (0..).map(ProcessId).zip(&mut self.0)
    }

    /// The number of dropped lines for each log file.
    pub(crate) fn dropped_lines(&self) -> BTreeMap<PathBuf, u64> {
        let files = self.0.iter().flat_map(|slot| &slot.log_files);
        files.map(|(path, output)| (path.clone(), output.dropped(Stream::Stdout))).collect()
    }
}

impl Index<ProcessId> for Slots {
    type Output = Slot;

    fn index(&self, slot: ProcessId) -> &Slot {
        &self.0[slot.index()]
    }
}

impl IndexMut<ProcessId> for Slots {
    fn index_mut(&mut self, slot: ProcessId) -> &mut Slot {
        &mut self.0[slot.index()]
    }
}
