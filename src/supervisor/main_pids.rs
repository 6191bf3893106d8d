//! The main processes of all instances that run.

use std::cell::{OnceCell, RefCell};
use std::collections::BTreeMap;
use std::sync::Arc;

use crate::os::connections::InstancePids;
use crate::types::ProcessId;

#[derive(Default)]
pub(crate) struct MainPids {
    of_each: RefCell<BTreeMap<ProcessId, InstancePids>>,
    /// The pids of all instances; empty until the first call of [`Self::all`] after a change.
    all: RefCell<OnceCell<InstancePids>>,
}

impl MainPids {
    /// Handles the start of an instance, or its new main process.
    pub(crate) fn set(&self, process: ProcessId, pids: InstancePids) {
        self.of_each.borrow_mut().insert(process, pids);
        self.all.take();
    }

    /// Forgets an instance that has ended.
    pub(crate) fn remove(&self, process: ProcessId) {
        self.of_each.borrow_mut().remove(&process);
        self.all.take();
    }

    /// The pids of an instance; none after its end.
    pub(crate) fn of(&self, process: ProcessId) -> InstancePids {
        self.of_each.borrow().get(&process).cloned().unwrap_or_default()
    }

    pub(crate) fn of_each(&self) -> BTreeMap<ProcessId, InstancePids> {
        self.of_each.borrow().clone()
    }

    pub(crate) fn all(&self) -> InstancePids {
        let collect = || self.of_each.borrow().values().flat_map(|it| it.iter().copied()).collect();
        Arc::clone(self.all.borrow().get_or_init(|| Arc::new(collect())))
    }
}
