//! The main processes of all instances that run, and the sockets that drainit holds for them.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::os::Pid;
use crate::os::descendants::InstancePids;
use crate::types::ProcessId;

#[derive(Default)]
pub(crate) struct MainPids {
    instances: RefCell<BTreeMap<ProcessId, Instance>>,
    /// The result of [`Self::now`], computed once after each change, because hundreds of drains may
    /// ask for it many times a second.
    now: Cell<Option<Arc<Pids>>>,
}

/// The pids of the instances at one moment.
pub(crate) struct Pids {
    pub(crate) of_each: BTreeMap<ProcessId, InstancePids>,
    pub(crate) all: InstancePids,
    /// The inodes of the sockets that drainit holds for several instances.
    pub(crate) shared: BTreeSet<u32>,
}

impl Pids {
    /// The pids of an instance. After its end, an instance has none.
    pub(crate) fn of(&self, process: ProcessId) -> InstancePids {
        self.of_each.get(&process).cloned().unwrap_or_default()
    }

    /// The pids of the processes for which `which` is true, each with its process.
    pub(crate) fn leaders(&self, which: impl Fn(ProcessId) -> bool) -> BTreeMap<Pid, ProcessId> {
        let of_each = self.of_each.iter().filter(|(process, _)| which(**process));
        of_each.flat_map(|(process, pids)| pids.iter().map(|pid| (*pid, *process))).collect()
    }
}

#[derive(Default)]
struct Instance {
    pids: InstancePids,
    /// The inodes of the sockets that drainit holds for the instance.
    given: Arc<BTreeSet<u32>>,
}

impl MainPids {
    /// Handles the start of an instance. `given` has the inodes of the sockets that drainit holds
    /// for the instance.
    pub(crate) fn on_started(
        &self,
        process: ProcessId,
        pids: InstancePids,
        given: Arc<BTreeSet<u32>>,
    ) {
        self.change(|all| drop(all.insert(process, Instance { pids, given })));
    }

    /// Handles the new main process of an instance.
    pub(crate) fn set(&self, process: ProcessId, pids: InstancePids) {
        self.change(|all| all.entry(process).or_default().pids = pids);
    }

    /// Forgets an instance that has ended.
    pub(crate) fn remove(&self, process: ProcessId) {
        self.change(|all| drop(all.remove(&process)));
    }

    fn change(&self, change: impl FnOnce(&mut BTreeMap<ProcessId, Instance>)) {
        change(&mut self.instances.borrow_mut());
        self.now.take();
    }

    /// The pids of all instances that run.
    pub(crate) fn now(&self) -> Arc<Pids> {
        let now = self.now.take().unwrap_or_else(|| {
            let instances = self.instances.borrow();
            let of_each = instances.iter().map(|(process, it)| (*process, Arc::clone(&it.pids)));
            let all = instances.values().flat_map(|it| it.pids.iter().copied());
            let mut seen = BTreeSet::new();
            let given = instances.values().flat_map(|it| it.given.iter().copied());
            let shared = given.filter(|inode| !seen.insert(*inode)).collect();
            Arc::new(Pids { of_each: of_each.collect(), all: Arc::new(all.collect()), shared })
        });
        self.now.set(Some(Arc::clone(&now)));
        now
    }
}
