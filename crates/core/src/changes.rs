//! The watched files that have changed since their process was started.

use alloc::collections::BTreeMap;

use crate::prelude::*;
use crate::types::ProcessId;

/// The changed files whose action has not begun. The key is a process and an index into its
/// `watch`; the value says whether the file is quiet, so that the action is due.
#[derive(Clone, Debug, Default)]
pub struct Changes(BTreeMap<(ProcessId, usize), bool>);

impl Changes {
    pub(crate) fn on_seen(&mut self, process: ProcessId, watch: usize) {
        self.0.entry((process, watch)).or_default();
    }

    /// Handles a watched file to which nobody writes any more. The change is forgotten if the
    /// content is the same as before. If a start has read the file since the change, the change is
    /// already forgotten.
    pub(crate) fn on_quiet(&mut self, process: ProcessId, watch: usize, is_new: bool) {
        let change = (process, watch);
        if let Some(is_due) = self.0.get_mut(&change) {
            *is_due |= is_new;
            if !*is_due {
                self.0.remove(&change);
            }
        }
    }

    /// Forgets the changes for a process, for example because the start that begins now reads the
    /// new content.
    pub(crate) fn forget_all(&mut self, process: ProcessId) {
        if !self.0.is_empty() {
            self.0.retain(|(of, _), _| *of != process);
        }
    }

    pub(crate) fn forget(&mut self, process: ProcessId, watch: usize) {
        self.0.remove(&(process, watch));
    }

    /// The changes whose action is due.
    pub(crate) fn due(&self) -> Vec<(ProcessId, usize)> {
        self.0.iter().filter(|(_, is_due)| **is_due).map(|(change, _)| *change).collect()
    }

    /// The changed files of a process.
    pub(crate) fn of(&self, process: ProcessId) -> impl Iterator<Item = usize> {
        self.0.range((process, 0)..=(process, usize::MAX)).map(|((_, watch), _)| *watch)
    }
}
