//! Removes the `sockets` of a process that no instance uses any more.

use std::path::{Path, PathBuf};

use crate::os::on_thread::{self, Share};
use crate::os::same_path::is_same;
use crate::os::stale_socket::Removal;
use crate::supervisor::executor::Executor;
use crate::supervisor::launch;
use crate::types::ProcessId;

impl Executor {
    /// Removes the `sockets` of a process, except the sockets that an instance in another slot may
    /// use. A start that needs one of the removed paths waits for the removal. The exit of drainit
    /// also waits for the removal, but only briefly.
    pub(super) fn remove_sockets(&mut self, slot: ProcessId) {
        let stale = self.stale_sockets(slot);
        if stale.is_empty() {
            return;
        }
        let (name, own) = (self.process(slot).name.clone(), self.own_socket());
        let removal = Removal::begin(stale);
        let shown = name.clone();
        let remove = move || launch::remove_sockets(&name, &removal.paths, own.as_deref());
        if let Err(why) = on_thread::begin(Share::Sockets(Some(slot)), remove) {
            tracing::warn!("{shown}: cannot remove its sockets: {why}");
        }
    }

    /// The `sockets` of a process, except the sockets that an instance in another slot may use.
    pub(super) fn stale_sockets(&self, slot: ProcessId) -> Vec<PathBuf> {
        let process = self.process(slot);
        let is_stale = |path: &&PathBuf| !self.is_used_elsewhere(slot, path);
        process.sockets.iter().filter(is_stale).cloned().collect()
    }

    pub(super) fn own_socket(&self) -> Option<PathBuf> {
        self.config.control.socket.path().map(Path::to_owned)
    }

    /// Whether an instance in another slot has this path in its `sockets`. During a reload, this
    /// instance may belong to another process.
    fn is_used_elsewhere(&self, slot: ProcessId, path: &Path) -> bool {
        let all = self.processes.slots.all();
        let mut beside = all.filter(|(other, _)| *other != slot && self.lives(*other));
        // The file name is compared first, because the full comparison is slow with thousands of
        // processes.
        let is_it = |other: &PathBuf| other.file_name() == path.file_name() && is_same(other, path);
        beside.any(|(_, other)| other.definition.process.sockets.iter().any(is_it))
    }

    /// Whether the instance of a slot runs, or has ended and left a process group that still runs.
    pub(super) fn lives(&self, slot: ProcessId) -> bool {
        self.instance(slot).pid.is_some() || self.groups.of(slot).next().is_some()
    }
}
