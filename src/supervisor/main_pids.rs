//! The main processes of all instances that run, and the sockets that drainit holds for them.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::os::connections::InstancePids;
use crate::types::ProcessId;

#[derive(Default)]
pub(crate) struct MainPids {
    of_each: RefCell<BTreeMap<ProcessId, Instance>>,
    /// The pids of all instances, and the inodes of the sockets that drainit holds for several of
    /// them. Computed once after each change, because hundreds of drains ask for both many times a
    /// second.
    derived: Cell<Option<(InstancePids, Arc<BTreeSet<u32>>)>>,
}

#[derive(Default)]
struct Instance {
    pids: InstancePids,
    /// The inodes of the sockets that drainit holds for the instance.
    given: BTreeSet<u32>,
}

impl MainPids {
    /// Handles the start of an instance. drainit holds sockets with these inodes for the instance.
    pub(crate) fn started(&self, process: ProcessId, pids: InstancePids, given: BTreeSet<u32>) {
        self.change(|of_each| drop(of_each.insert(process, Instance { pids, given })));
    }

    /// Handles the new main process of an instance.
    pub(crate) fn set(&self, process: ProcessId, pids: InstancePids) {
        self.change(|of_each| of_each.entry(process).or_default().pids = pids);
    }

    /// Forgets an instance that has ended.
    pub(crate) fn remove(&self, process: ProcessId) {
        self.change(|of_each| drop(of_each.remove(&process)));
    }

    fn change(&self, change: impl FnOnce(&mut BTreeMap<ProcessId, Instance>)) {
        change(&mut self.of_each.borrow_mut());
        self.derived.take();
    }

    /// The pids of an instance; none after its end.
    pub(crate) fn of(&self, process: ProcessId) -> InstancePids {
        let of_each = self.of_each.borrow();
        of_each.get(&process).map(|it| Arc::clone(&it.pids)).unwrap_or_default()
    }

    /// The inodes of the sockets that drainit holds for several instances.
    pub(crate) fn shared(&self) -> Arc<BTreeSet<u32>> {
        self.derived().1
    }

    /// The pids of each instance.
    pub(crate) fn of_each(&self) -> BTreeMap<ProcessId, InstancePids> {
        let of_each = self.of_each.borrow();
        of_each.iter().map(|(process, it)| (*process, Arc::clone(&it.pids))).collect()
    }

    /// The pids of all instances.
    pub(crate) fn all(&self) -> InstancePids {
        self.derived().0
    }

    fn derived(&self) -> (InstancePids, Arc<BTreeSet<u32>>) {
        let derived = self.derived.take().unwrap_or_else(|| {
            let of_each = self.of_each.borrow();
            let pids = of_each.values().flat_map(|it| it.pids.iter().copied()).collect();
            let mut seen = BTreeSet::new();
            let given = of_each.values().flat_map(|it| it.given.iter().copied());
            let shared = given.filter(|inode| !seen.insert(*inode)).collect();
            (Arc::new(pids), Arc::new(shared))
        });
        self.derived.set(Some(derived.clone()));
        derived
    }
}
