//! A reload: the processes of a running container become those of a new config, in its order.
//!
//! Everything that differs is a step: a process that is replaced, added or removed. A step begins
//! when the steps of all that its process needs are over, and that of a removed one when nothing
//! needs it any more; added processes wait for removed ones, which may have the same address. After
//! a failure no further step begins: what has begun goes to its end, the rest stays as it was.
//!
//! When no step is left, what follows a replaced process is replaced, too, and the reload ends with
//! that. It does so once: a dependency that ends again and again does not keep the reload from its
//! end.

use crate::note::{Note, RequestError};
use crate::phase::operations::{Goal, Operations, is_down, is_gone};
use crate::phase::replace::Replacement;
use crate::prelude::*;
use crate::slots::{Placed, Role};
use crate::spec::Spec;
use crate::state::{Lifecycle, State};
use crate::types::ProcessId;

/// A reload that is not answered yet.
#[derive(Clone, Debug, Default)]
pub(super) struct Reload {
    /// In order.
    pending: Vec<Step>,
    under_way: Vec<Step>,
    /// Other processes: added ones were started because a step needs them, replaced ones follow.
    others: Vec<Step>,
    failed: Option<RequestError>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Replace { old: ProcessId, new: ProcessId },
    Add(ProcessId),
    Remove(ProcessId),
}

impl Step {
    /// The slot of the new config.
    fn new_slot(self) -> Option<ProcessId> {
        match self {
            Self::Replace { new, .. } | Self::Add(new) => Some(new),
            Self::Remove(_) => None,
        }
    }

    /// The slot that a failure to end is about.
    fn old_slot(self) -> Option<ProcessId> {
        match self {
            Self::Replace { old, .. } | Self::Remove(old) => Some(old),
            Self::Add(_) => None,
        }
    }
}

impl Reload {
    /// The number of steps and parts of them that are left.
    pub(super) fn left(&self) -> usize {
        2 * self.pending.len() + self.under_way.len()
    }

    /// A process follows, in this slot. It is a step, too.
    pub(super) fn follows(&mut self, old: ProcessId, new: ProcessId) {
        self.others.push(Step::Replace { old, new });
    }

    /// A new instance was taken back and is over: its process has followed where the old one is.
    pub(super) fn taken_back(&mut self, slot: ProcessId, old: ProcessId) {
        for step in self.others.iter_mut().filter(|step| step.new_slot() == Some(slot)) {
            *step = Step::Replace { old, new: old };
        }
    }

    /// Whether a process has followed already.
    pub(super) fn has_followed(&self, slot: ProcessId) -> bool {
        self.others.iter().any(|one| matches!(one, Step::Replace { new, .. } if *new == slot))
    }

    /// The start of this process has failed. Returns those that wait for it, if it is one of this
    /// reload.
    pub(super) fn start_failed(&mut self, process: ProcessId, why: RequestError) -> Vec<ProcessId> {
        let begun = self.under_way.iter().chain(&self.others);
        let started: Vec<_> = begun.filter_map(|step| step.new_slot()).collect();
        if !started.contains(&process) {
            return Vec::new();
        }
        self.failed.get_or_insert(why);
        started
    }

    /// KILL does not end a process.
    pub(super) fn unkillable(&mut self, process: ProcessId) {
        for steps in [&mut self.under_way, &mut self.others] {
            let left = steps.len();
            steps.retain(|step| ![step.old_slot(), step.new_slot()].contains(&Some(process)));
            if steps.len() < left {
                self.failed.get_or_insert(RequestError::Unkillable(process));
            }
        }
    }
}

impl Operations {
    /// Why a reload cannot begin now.
    pub(crate) fn refuses_reload(&self, state: &State) -> Option<RequestError> {
        // One that has failed may still be on its way down.
        let is_settled = |goal: &Goal| matches!(goal, Goal::Judged { .. } | Goal::Following);
        let is_busy = self.reload.is_some()
            || !self.requests.is_empty()
            || !self.replacements.is_empty()
            || !self.goals.values().all(is_settled);
        let mut stuck = self.goals.keys().filter(|id| state.life(**id).survives_kill());
        let why = stuck.next().map_or(RequestError::Reloading, |id| RequestError::Unkillable(*id));
        is_busy.then_some(why)
    }

    /// Takes a new config.
    pub(crate) fn reload(&mut self, state: &mut State, new: &Spec, plan: &[Placed]) {
        let before = state.spec.order.clone();
        let Some(slots) = state.merge(new, plan) else {
            state.note(Note::ReloadFailed { why: RequestError::Reloading });
            return;
        };
        let mut steps = Vec::new();
        let mut stays = vec![false; state.spec.processes.len()];
        for (placed, &new) in plan.iter().zip(&slots) {
            match *placed {
                Placed::Same(slot) => stays[slot.index()] = true,
                Placed::Changed(old) => {
                    stays[old.index()] = true;
                    let replacement = Replacement { old, new, overlaps: false, is_changed: true };
                    self.replacements.push(replacement);
                    steps.push(Step::Replace { old, new });
                }
                Placed::New => steps.push(Step::Add(new)),
            }
        }
        let gone = before.iter().filter(|slot| !stays[slot.index()] && state.is_current(**slot));
        steps.extend(gone.map(|slot| Step::Remove(*slot)));
        steps.sort_by_key(|step| step.new_slot().map(|slot| state.rank(slot)));
        self.reload = Some(Reload { pending: steps, ..Reload::default() });
    }

    /// The processes that a reload adds, has not come to, and that are missed: required ones, once
    /// none of those that it removes serves any more, which may be the same by another name.
    pub(crate) fn additions(&self, state: &State) -> impl Iterator<Item = ProcessId> {
        let reload = self.reload.as_ref().filter(|reload| {
            let mut removed = reload.under_way.iter().filter_map(|step| match step {
                Step::Remove(old) => Some(state.life(*old)),
                _ => None,
            });
            !removed.any(|life| matches!(life, Lifecycle::Ready { .. }))
        });
        let pending = reload.into_iter().flat_map(|reload| &reload.pending);
        pending.filter_map(|step| match step {
            Step::Add(new) if state.process(*new).required => Some(*new),
            _ => None,
        })
    }

    /// Begins the steps that are due.
    pub(super) fn proceed(&mut self, state: &mut State) {
        let Some(reload) = &mut self.reload else { return };
        if reload.pending.is_empty() {
            return;
        }
        let pending = core::mem::take(&mut reload.pending);
        if reload.failed.is_some() {
            for slot in pending.into_iter().filter_map(Step::new_slot) {
                self.retire(state, slot);
            }
            return;
        }
        let mut waits: Vec<ProcessId> =
            reload.under_way.iter().chain(&pending).filter_map(|step| step.new_slot()).collect();
        waits.sort_unstable();
        let mut left = Vec::new();
        for step in pending {
            let is_removing = self
                .reload
                .iter()
                .flat_map(|reload| &reload.under_way)
                .any(|step| matches!(step, Step::Remove(_)));
            let needs_no_other = |slot: ProcessId| {
                let mut needs = started_with(state, slot).into_iter();
                needs.all(|on| waits.binary_search(&on).is_err())
            };
            let is_due = match step {
                Step::Replace { old, new } => needs_no_other(new) && state.doomed(old).is_none(),
                Step::Add(new) => needs_no_other(new) && !is_removing,
                Step::Remove(old) => state.process(old).dependents.is_empty(),
            };
            if is_due { self.begin(state, step) } else { left.push(step) }
        }
        if let Some(reload) = &mut self.reload {
            reload.pending = left;
        }
    }

    fn begin(&mut self, state: &mut State, step: Step) {
        match step {
            Step::Remove(old) => {
                state.note(Note::Removing(old));
                state.leave(old);
                self.bring_down(state, old, Goal::Retired);
            }
            Step::Add(new) => {
                state.note(Note::Adding(new));
                if state.process(new).autostart {
                    self.bring_up(state, new);
                } else {
                    state.set(new, Lifecycle::Stopped { failed: false });
                }
            }
            Step::Replace { old, new } => {
                let serves = matches!(state.life(old), Lifecycle::Ready { .. });
                let may_overlap = state.process(new).overlaps(state.process(old));
                let overlaps = may_overlap && serves && !self.stops(old);
                state.note(Note::Replacing { process: new, old, overlaps });
                for one in self.replacements.iter_mut().filter(|one| one.new == new) {
                    one.overlaps = overlaps;
                }
                let life = state.life(old);
                let stays_down = life == Lifecycle::Stopped { failed: false }
                    || !state.process(new).autostart && is_gone(life);
                if !overlaps {
                    self.swap(state, new, old);
                }
                if stays_down {
                    state.reach(new, state.reached(old));
                    state.set(new, Lifecycle::Stopped { failed: false });
                } else {
                    self.bring_up(state, new);
                }
            }
        }
        if let Some(reload) = &mut self.reload {
            reload.under_way.push(step);
        }
    }

    /// Starts a process of a new config, and what it needs and is down.
    fn bring_up(&mut self, state: &mut State, slot: ProcessId) {
        state.set(slot, Lifecycle::Waiting);
        self.goals.insert(slot, Goal::Up { begun: true });
        let needs = state.process(slot).dependencies.clone();
        for (on, _) in needs {
            if is_down(state, on) && state.is_current(on) && !self.goals.contains_key(&on) {
                match (self.start(state, on), &mut self.reload) {
                    (Ok(members), Some(reload)) => {
                        reload.others.extend(members.into_iter().map(Step::Add));
                    }
                    (Err(why), Some(reload)) => {
                        reload.failed.get_or_insert(why);
                        // Its dependency does not come.
                        self.start_failed(state, slot, why);
                        return;
                    }
                    _ => {}
                }
            }
        }
    }

    /// Ends the steps that are over.
    pub(super) fn settle(&mut self) {
        if let Some(mut reload) = self.reload.take() {
            reload.under_way.retain(|step| self.is_under_way(*step));
            self.reload = Some(reload);
        }
    }

    fn is_under_way(&self, step: Step) -> bool {
        step.new_slot()
            .or(step.old_slot())
            .is_some_and(|slot| self.goals.contains_key(&slot) || self.is_replaced(slot))
    }

    /// Answers when no step is left. Returns whether it does.
    pub(super) fn answer_reload(&mut self, state: &mut State) -> bool {
        let is_over = self.reload.as_ref().is_some_and(|reload| {
            let waits = |id: &ProcessId| state.doomed(*id).is_some() && !reload.has_followed(*id);
            reload.left() == 0
                && !reload.others.iter().any(|step| self.is_under_way(*step))
                && !self.followers.keys().any(waits)
        });
        if let Some(reload) = self.reload.take_if(|_| is_over) {
            state.note(match reload.failed {
                None => Note::ReloadDone,
                Some(why) => Note::ReloadFailed { why },
            });
        }
        is_over
    }

    /// The shutdown has begun.
    pub(super) fn abandon_reload(&mut self, state: &mut State, why: RequestError) {
        if self.reload.take().is_some() {
            state.note(Note::ReloadFailed { why });
        }
    }
}

/// The dependencies of a process, and those of each that is down and starts with it.
fn started_with(state: &State, slot: ProcessId) -> Vec<ProcessId> {
    let mut found = vec![slot];
    let mut next = 0;
    while let Some(&id) = found.get(next) {
        if next == 0 || is_down(state, id) {
            for &(on, _) in &state.process(id).dependencies {
                if !found.contains(&on) {
                    found.push(on);
                }
            }
        }
        next += 1;
    }
    found.remove(0);
    found
}

impl State {
    /// The process of this slot is no longer in the config.
    fn leave(&mut self, slot: ProcessId) {
        self.set_role(slot, Role::Leaving);
        self.missing.remove(&slot);
        self.forget_changes(slot);
    }
}
