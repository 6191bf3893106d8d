//! The place of each process of a new config: the [`ProcessId`] (slot) that the process gets at a
//! reload, and the differences from the running process.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use drainit_journal::messages::Names;
use drainit_journal::rehearsal::Step;

use crate::core::machine::Machine;
use crate::core::slots::Placed;
use crate::core::spec::Spec;
use crate::core::state::Lifecycle;
use crate::keys::{Config, Process};
use crate::plan::changes;
use crate::types::ProcessId;

/// Keys that only say how drainit will treat the process later. If no other key has changed, the
/// reload does not restart the process.
const TAKEN_OVER: [&str; 4] = ["autostart", "depends_on", "leftovers", "update"];

/// A copy of the running drainit for another thread.
#[derive(Debug)]
pub struct Running {
    pub config: Config,
    pub machine: Machine,
    /// The name of the process in each slot.
    pub names: Names,
    /// The process and its arguments in the current slot of each process.
    pub definitions: Vec<(ProcessId, Arc<Process>, Vec<String>)>,
}

/// The state of a process, in the detail that a reload needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    Runs,
    /// The process has ended for good, or was never started because of its `only_if`.
    Over,
    /// The last start by a request or by a reload has failed.
    Failed,
    /// The process stays down until a request starts it: an operator has stopped it, or its
    /// `autostart` is false.
    Stopped,
}

impl From<Lifecycle> for Life {
    fn from(lifecycle: Lifecycle) -> Self {
        match lifecycle {
            Lifecycle::Stopped { failed: false } => Self::Stopped,
            Lifecycle::Stopped { failed: true } => Self::Failed,
            Lifecycle::Done => Self::Over,
            _ => Self::Runs,
        }
    }
}

/// A process of a new config, compared with the running process of the same name.
pub(super) struct Compared<'a> {
    /// The id in the new config.
    pub(super) id: ProcessId,
    pub(super) process: &'a Process,
    pub(super) placed: Placed,
    /// `None` if the process is new.
    pub(super) life: Option<Life>,
    /// The keys whose values differ.
    pub(super) keys: Vec<&'static str>,
    /// Whether the process is an Envoy that cannot take over from the running one.
    pub(super) is_apart: bool,
}

impl Compared<'_> {
    pub(super) fn is_same(&self) -> bool {
        matches!(self.placed, Placed::Same(_))
    }

    /// Whether the reload changes only how drainit will treat the process later.
    pub(super) fn is_redefined(&self) -> bool {
        self.is_same() && !self.keys.is_empty()
    }

    /// Whether the step belongs to the reload. A running process without changes can also start
    /// again by itself, after a failure.
    pub(super) fn is_moved(&self, step: &Step) -> bool {
        !self.is_same() || self.life != Some(Life::Runs) || step.follows.is_some()
    }
}

impl Running {
    /// The state of each process, by its current slot.
    pub fn lives(&self) -> Vec<(ProcessId, Life)> {
        self.definitions.iter().map(|(slot, ..)| (*slot, self.life(*slot))).collect()
    }

    pub(super) fn life(&self, slot: ProcessId) -> Life {
        self.machine.state().life(slot).into()
    }

    /// Compares the processes of a config with the running ones. `spec` and `args` belong to this
    /// config; `args` has the container's arguments for each of its processes. `None` if there are
    /// too many processes.
    pub(super) fn compare<'a>(
        &self,
        new: &'a Config,
        spec: &Spec,
        args: &[Vec<String>],
    ) -> Option<Vec<Compared<'a>>> {
        let by_name: BTreeMap<_, _> =
            self.definitions.iter().map(|one| (&*one.1.name, one)).collect();
        let used: HashSet<_> = self.definitions.iter().map(|(slot, ..)| *slot).collect();
        let mut free = (0..u16::MAX).map(ProcessId).filter(|slot| !used.contains(slot));
        let processes = spec.ids().zip(&new.processes).zip(args);
        let compared = processes.map(|((id, process), args)| {
            let Some((slot, old, old_args)) = by_name.get(&*process.name) else {
                let placed = Placed::New(free.next()?);
                let (life, keys, is_apart) = (None, Vec::new(), false);
                return Some(Compared { id, process, placed, life, keys, is_apart });
            };
            let life = self.life(*slot);
            let keys = changes::of_process((old, old_args), (process, args));
            // If an instance runs without `hot-restart` or with another base ID, a later hot
            // restart could not take over from it. The reload therefore replaces such an instance
            // now.
            let is_apart = spec.of(id).is_apart(self.machine.state().process(*slot));
            let is_changed = life == Life::Failed
                || keys.iter().any(|key| !TAKEN_OVER.contains(key))
                || is_apart;
            let placed = if is_changed { Placed::Changed } else { Placed::Same }(*slot);
            Some(Compared { id, process, placed, life: Some(life), keys, is_apart })
        });
        compared.collect()
    }
}
