//! A reload brings the processes of a running container to a new config, one process after the
//! other.
//!
//! At the beginning of a reload, the spec of the core gets all processes of the new config, in
//! their new order. A new process is down. An unchanged process has its new dependencies and
//! settings. A changed process keeps its definition; [`crate::state::Slot::newer`] has the
//! definition for its next instance.
//!
//! If the new config reverses dependencies, the dependencies of unchanged and of changed processes
//! together can form a circle. In that case the unchanged processes of the circle, and those that
//! depend on them, keep their definitions, too.
//!
//! Then there is one step for each new process, each changed process, and each unchanged process
//! that has kept its definition. The step starts the process, gives it its new definition, or
//! replaces it. A process is replaced by a new instance beside the old one, or by a stop and a
//! start. Dependencies come before dependents, so when the step of a process begins, its
//! dependencies already match the new config. A process that is missing from the new config is
//! removed in a step of its own. This step comes after the steps of its changed dependents, when no
//! process needs the missing process any more. A step begins when the previous step is over. After
//! a failure no further step begins, and the remaining processes stay as they were.
//!
//! After the last step, each process that has `restart: true` for a replaced dependency is
//! restarted (it *follows* the dependency). The reload ends when these restarts are complete. In a
//! reload, a process is restarted in this way only once. The reload therefore ends even if a
//! dependency ends again and again.

use alloc::collections::BTreeSet;

use crate::family;
use crate::note::{Note, RequestError};
use crate::phase::operations::{Goal, Operations, is_down};
use crate::prelude::*;
use crate::slots::Placed;
use crate::spec::Spec;
use crate::state::{Lifecycle, Role, State};
use crate::types::ProcessId;

/// A reload that is not answered yet.
#[derive(Clone, Debug)]
pub(super) struct Reload {
    /// The processes whose step has not begun. The last element is the next process.
    pending: Vec<Placed>,
    /// The processes that are not in the new config and not removed yet, dependents first.
    gone: Vec<ProcessId>,
    has_removed: bool,
    /// Whether all steps are over, so that processes are now restarted if a dependency was replaced
    /// (`restart: true`).
    pub(super) follows: bool,
    /// The slots of the processes that were restarted because a dependency was replaced.
    pub(super) followed: Vec<ProcessId>,
    failed: Option<RequestError>,
}

impl Reload {
    /// Takes out of `gone` the processes that no other process needs: all that are down or, if none
    /// is down, one that runs. A reload can remove thousands of processes that are down, so one
    /// pass removes them all.
    fn take_free(&mut self, state: &State) -> Vec<ProcessId> {
        let mut down = BTreeSet::new();
        let (mut free, stay) = self.gone.drain(..).partition(|slot| {
            let mut dependents = state.process(*slot).dependents.iter();
            let is_down = state.life(*slot).is_gone() && dependents.all(|on| down.contains(on));
            is_down && down.insert(*slot)
        });
        self.gone = stay;
        let is_free = |slot: &ProcessId| state.process(*slot).dependents.is_empty();
        if free.is_empty()
            && let Some(place) = self.gone.iter().position(is_free)
        {
            free.push(self.gone.remove(place));
        }
        free
    }
}

impl Operations {
    /// Whether a reload can begin now.
    pub(crate) fn may_reload(&self, state: &State) -> Result<(), RequestError> {
        let mut stuck = self.goals.keys().filter(|id| state.life(**id).survives_kill());
        let why = stuck.next().map_or(RequestError::Reloading, |id| RequestError::Unkillable(*id));
        let may = self.reload.is_none() && self.requests.is_empty() && self.rests();
        if may { Ok(()) } else { Err(why) }
    }

    /// Whether no goal is left for which an operator or a reload waits. Nobody waits for the goals
    /// `Judged` and `Following`.
    fn rests(&self) -> bool {
        let is_settled = |goal: &Goal| matches!(goal, Goal::Judged { .. } | Goal::Following);
        self.goals.values().all(is_settled)
    }

    /// The work that a reload still has to do: 2 for each step that has not begun, and 1 for the
    /// step under way; 0 without a reload. The number falls when a step begins or ends.
    pub(super) fn steps(&self) -> usize {
        self.reload.as_ref().map_or(0, |reload| {
            let is_over = reload.failed.is_some();
            let later = if is_over { 0 } else { reload.pending.len() + reload.gone.len() };
            2 * later + usize::from(!reload.follows && !self.rests())
        })
    }

    /// Begins a reload.
    pub(crate) fn reload(&mut self, state: &mut State, mut new: Spec, placed: &[Placed]) {
        let slot = |id: &mut ProcessId| *id = placed[id.index()].slot();
        let stays: BTreeSet<_> = placed.iter().map(|placed| placed.slot()).collect();
        let is_gone = |id: &&ProcessId| state.is_current(**id) && !stays.contains(id);
        let gone: Vec<_> = state.spec.order.iter().rev().filter(is_gone).copied().collect();
        let mut same = BTreeSet::new();
        for (mut definition, placed) in new.processes.drain(..).zip(placed) {
            definition.dependencies.iter_mut().for_each(|(on, _)| slot(on));
            definition.follows.iter_mut().for_each(slot);
            match *placed {
                Placed::New(id) => state.reserve(id, definition),
                Placed::Same(id) | Placed::Changed(id) => {
                    same.extend((*placed == Placed::Same(id)).then_some(id));
                    state[id].newer = Some(Box::new(definition));
                }
            }
        }
        let mut pending: Vec<_> = new.order.iter().rev().map(|id| placed[id.index()]).collect();
        new.order.iter_mut().for_each(slot);
        state.take_over_config(new, &gone, &same);
        pending.retain(|placed| match placed {
            Placed::Same(id) => state[*id].newer.is_some(),
            Placed::Changed(_) | Placed::New(_) => true,
        });
        let followed = Vec::new();
        let (has_removed, follows, failed) = (false, false, None);
        self.reload = Some(Reload { pending, gone, has_removed, follows, followed, failed });
    }

    /// Whether the container is not ready because a reload has removed a process, and has yet to
    /// add a required process. The required process may be the removed one under another name.
    pub(crate) fn awaits_addition(&self, state: &State) -> bool {
        self.reload
            .iter()
            .filter(|reload| reload.has_removed)
            .flat_map(|reload| &reload.pending)
            .any(|placed| matches!(placed, Placed::New(slot) if state.process(*slot).required))
    }

    /// Begins the steps of the reload that are due.
    pub(super) fn proceed(&mut self, state: &mut State) {
        while self.rests()
            && let Some(reload) = &mut self.reload
        {
            if reload.failed.is_some() || reload.pending.is_empty() && reload.gone.is_empty() {
                reload.follows = true;
                break;
            }
            let free = reload.take_free(state);
            if !free.is_empty() {
                self.remove(state, &free);
            } else if let Some(next) = reload.pending.last().copied()
                && !family::is_doomed(state, next.slot())
            {
                reload.pending.pop();
                match next {
                    Placed::New(slot) => self.add(state, slot),
                    Placed::Changed(slot) => self.replace(state, slot),
                    Placed::Same(slot) => drop(state.redefine_running(slot)),
                }
            } else {
                break;
            }
        }
    }

    fn remove(&mut self, state: &mut State, slots: &[ProcessId]) {
        self.reload.iter_mut().for_each(|reload| reload.has_removed = true);
        for &slot in slots {
            state.step.note(Note::Removing(slot));
            state.set_role(slot, Role::Leaving);
            state.missing.remove(&slot);
            state.changes.forget_all(slot);
            self.bring_down(state, slot, Goal::Retired);
        }
    }

    fn add(&mut self, state: &mut State, new: ProcessId) {
        state.set_role(new, Role::Current);
        state.step.note(Note::Adding(new));
        if state.process(new).autostart {
            self.bring_up(state, new);
        } else {
            state.set(new, Lifecycle::Stopped { failed: false });
        }
    }

    /// Replaces a process whose definition has changed: by a new instance beside the old one, or by
    /// a stop and a start.
    fn replace(&mut self, state: &mut State, old: ProcessId) {
        if let Some(new) = self.overlap(state, old) {
            return self.bring_up(state, new);
        }
        state.step.note(Note::Replacing { process: old, old, overlaps: false });
        state.missing.remove(&old);
        state.changes.forget_all(old);
        let life = state.life(old);
        let starts = state[old].newer.as_ref().is_some_and(|new| new.autostart);
        if life == (Lifecycle::Stopped { failed: false }) || !starts && life.is_gone() {
            state.redefine(old);
            return state.set(old, Lifecycle::Stopped { failed: false });
        }
        if life.is_gone() && !state[old].went_well {
            // A process that has failed for good counts as meeting every condition of its
            // dependents. The process starts again now, so it has to meet the conditions anew.
            state.reach(old, None);
        }
        self.bring_down(state, old, Goal::Again);
    }

    /// Starts a process of a new config, and those of its dependencies that are down.
    pub(super) fn bring_up(&mut self, state: &mut State, slot: ProcessId) {
        state.set(slot, Lifecycle::Waiting);
        self.goals.insert(slot, Goal::Up { begun: true });
        let needs = state.process(slot).dependencies.clone();
        for (on, _) in needs {
            if is_down(state, on)
                && state.is_current(on)
                && !self.goals.contains_key(&on)
                && let Err(why) = self.start(state, on)
            {
                // A dependency cannot start, so this start fails.
                self.on_start_failed(state, slot, why);
                return;
            }
        }
    }

    /// Fails the reload if the reload waits for this process, or has restarted this process because
    /// a dependency was replaced. No other step then begins, and the remaining processes stay as
    /// they are.
    pub(super) fn fail_reload(&mut self, state: &mut State, process: ProcessId, why: RequestError) {
        let moves = self.goals.contains_key(&process) || state[process].beside.is_some();
        if let Some(reload) = &mut self.reload
            && (moves || reload.followed.contains(&process))
        {
            reload.failed.get_or_insert(why);
            reload.pending.iter().for_each(|placed| state[placed.slot()].newer = None);
        }
    }

    /// Answers the reload if no work is left. Returns whether the reload was answered.
    pub(super) fn answer_reload(&mut self, state: &mut State) -> bool {
        let is_over = self.reload.as_ref().is_some_and(|reload| {
            let has_followed = |id: &ProcessId| reload.followed.contains(id);
            let waits = |id: &ProcessId| family::is_doomed(state, *id) && !has_followed(id);
            reload.follows && self.rests() && !self.followers.keys().any(waits)
        });
        is_over && self.end_reload(state, None)
    }

    /// Ends the reload. Returns false if there is none. `why` is the reason if the reload ends
    /// early. Frees the slots that were reserved for new processes, and are still unused.
    pub(super) fn end_reload(&mut self, state: &mut State, why: Option<RequestError>) -> bool {
        let Some(reload) = self.reload.take() else { return false };
        state.slots.iter_mut().for_each(|slot| slot.newer = None);
        let is_reserved = |slot: &ProcessId| state.role(*slot) == Role::Reserved;
        let pending = reload.pending.iter().map(|placed| placed.slot());
        let reserved: Vec<_> = pending.filter(is_reserved).collect();
        if !reserved.is_empty() {
            state.retire(&reserved);
        }
        state.step.answer_reload(reload.failed.or(why).map_or(Ok(()), Err));
        true
    }
}
