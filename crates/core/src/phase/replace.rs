//! Replacements: a new instance of a process starts beside the running one, in its own slot.
//!
//! ```text
//!  old:  Current ────────────────────▶ Leaving: drained, stopped ─▶ Retired
//!  new:  New: starts ─ is ready ─────▶ Current
//!                    └ does not get ready, or is not wanted: stopped ─▶ Retired
//! ```
//!
//! Until the new instance is ready, the old instance serves and is not touched. If the old instance
//! ends by itself in this time, its `restart` and `on_exit` decide, as for any process.

use core::time::Duration;

use crate::cause::Failure;
use crate::family;
use crate::note::{Note, RequestError};
use crate::phase::operations::{Goal, Operations};
use crate::prelude::*;
use crate::state::{Lifecycle, Role, State};
use crate::types::{ProcessId, Update};

impl Operations {
    /// Replaces the instance of a running process. If [`Self::overlap`] makes a slot, the new
    /// instance starts beside the old one. If not, the process gets the goal `goal`. Returns the
    /// slot of the new instance.
    pub(super) fn replace_or_restart(
        &mut self,
        state: &mut State,
        process: ProcessId,
        goal: Goal,
    ) -> ProcessId {
        if let Some(new) = self.overlap(state, process) {
            self.goals.insert(new, Goal::Up { begun: false });
            self.begin_again(state, new);
            return new;
        }
        self.bring_down(state, process, goal);
        process
    }

    /// Makes a slot for a new instance beside the running one. Returns `None` if `update` or the
    /// state of the process does not permit a second instance, or if there are too many slots.
    pub(super) fn overlap(&mut self, state: &mut State, old: ProcessId) -> Option<ProcessId> {
        let spec = state.process(old);
        // If the old instance does not serve, nobody needs it, so it is stopped first.
        let serves = matches!(state.life(old), Lifecycle::Ready { .. });
        let is_free = !self.goals.contains_key(&old) && state[old].beside.is_none();
        let overlaps =
            state[old].newer.as_deref().unwrap_or(spec).overlaps(spec) && serves && is_free;
        let new = overlaps.then(|| state.adopt_copy(old)).flatten()?;
        state.step.note(Note::Replacing { process: new, old, overlaps });
        self.replacements.push(new);
        Some(new)
    }

    /// Whether this slot is for a new instance that starts beside an instance with the same
    /// definition. [`Self::begin_again`] starts the new instance.
    pub(super) fn is_copy_beside(state: &State, slot: ProcessId) -> bool {
        state[slot].is_copy && matches!(state.role(slot), Role::New { .. })
    }

    /// If the instance in a new slot is ready, this slot becomes the current slot of its process.
    /// The instance in the old slot is drained and stopped.
    pub(super) fn take_over(&mut self, state: &mut State) {
        for new in self.replacements.clone() {
            if let Role::New { old } = state.role(new)
                && matches!(state.life(new), Lifecycle::Ready { .. })
                && !self.stops(new)
            {
                state.step.note(Note::TakesOver { process: new, old });
                self.swap(state, new, old);
            }
        }
    }

    /// Makes a new slot the current slot of its process, and begins to stop the instance in the old
    /// slot.
    pub(crate) fn swap(&mut self, state: &mut State, new: ProcessId, old: ProcessId) {
        state.take_over(new, old);
        self.requests.on_take_over(new, old);
        self.bring_down(state, old, Goal::Retired);
    }

    /// Rolls back the new instance if the old instance of a hot restart no longer serves. The new
    /// Envoy could not take over from the old one, and would abort some seconds later. The
    /// `restart` of the process decides whether the old instance starts again.
    pub(crate) fn on_old_failed(&mut self, state: &mut State, old: ProcessId) {
        if let Some(new) = state[old].beside
            && matches!(state.role(new), Role::New { .. })
            && state.process(new).update == Update::HotRestart
            && self.goals.contains_key(&new)
        {
            self.on_start_failed(state, new, RequestError::OldFailed(old));
        }
    }

    /// Begins the drain of each old instance whose newer instance has ended for good, or was
    /// stopped by a request or after a failed liveness check. Until then, the drain of the newer
    /// instance counted the connections of both instances.
    pub(crate) fn drain_old(&self, state: &mut State) {
        let is_full = |state: &State, newer: Option<ProcessId>| match self.goals.get(&newer?) {
            Some(Goal::Down) => Some(true),
            Some(Goal::Judged { why: Failure::Unhealthy, .. }) => Some(false),
            None if family::has_given_up(state, newer?) => Some(true),
            _ => None,
        };
        for (old, full) in family::left_to_drain(state, is_full) {
            state.begin_drain(old, full, state.now, Duration::ZERO);
        }
    }

    /// Stops a new instance that has not taken over. The old instance continues.
    pub(super) fn roll_back(&mut self, state: &mut State, new: ProcessId, why: RequestError) {
        if let Role::New { old } = state.role(new)
            && !self.stops(new)
        {
            state.step.note(Note::RolledBack { process: new, old, why });
            self.bring_down(state, new, Goal::Retired);
        }
    }

    /// Frees the slots whose instances were stopped for good. One pass frees all of them, because
    /// the stops of thousands of new instances can end in one step.
    pub(super) fn retire(&mut self, state: &mut State) {
        let is_over = |id: ProcessId, goal| goal == Goal::Retired && state.life(id).is_gone();
        let over = self.goals.iter().filter(|(id, goal)| is_over(**id, **goal));
        let over: Vec<_> = over.map(|(id, _)| *id).collect();
        if over.is_empty() {
            return;
        }
        state.retire(&over);
        self.goals.retain(|id, _| state.role(*id) != Role::Retired);
        self.replacements.retain(|new| state[*new].beside.is_some());
        self.followers.retain(|id, _| state.role(*id) != Role::Retired);
        if let Some(reload) = &mut self.reload {
            reload.followed.retain(|id| state.role(*id) != Role::Retired);
        }
        self.requests.on_retired(state);
    }
}
