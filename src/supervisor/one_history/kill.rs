//! The instance that gets the signal of `drainit kill`.

use tokio::sync::Semaphore;

use super::*;
use crate::control::connections::{Caller, ConnectionStage};
use crate::control::operate;
use crate::control::status::Status;
use crate::control::testing::CountingSupervisor;
use crate::os::Peer;

impl Play {
    /// Checks that the signal to a process with two instances goes to the current instance, or to
    /// the other instance if only the other instance runs.
    pub(super) fn check_kill(&self, status: &Status) {
        let (record, state) = (&self.record, self.processes.machine().state());
        let runs = |slot: &ProcessId| record.slots[slot].pid.is_some();
        let supervisor = CountingSupervisor::new();
        supervisor.status.replace(status.clone());
        let beside = status.processes.iter().filter(|one| one.replaces || one.replaced);
        for name in beside.map(|one| &one.name) {
            let current = record.current[name];
            let uri = format!("/v1/kill?signal=HUP&process={name}");
            let request = hyper::Request::post(uri).body(()).unwrap();
            let caller = Caller::Socket(Peer { pid: 1, uid: 0 });
            let stage = ConnectionStage::new(Arc::new(Semaphore::new(1)));
            drop(operate::answer(&request, "kill", &caller, &stage, &supervisor));
            let slots = record.slots.iter().filter(|(_, slot)| slot.name == *name);
            let mut other = slots.map(|(id, _)| *id).filter(runs);
            let is_there = |id: &ProcessId| state.role(*id) != Role::Retired;
            let target = Some(current).filter(runs).or_else(|| other.find(is_there));
            let sent = target.map(|slot| (slot, Signal::HUP));
            assert_eq!(supervisor.signals.take(), Vec::from_iter(sent), "the target in {name}");
        }
    }
}
