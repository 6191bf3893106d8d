//! A reload brings the processes of a running container to a new config, one process after the
//! other.
//!
//! There is one step for each process of the new config. The step adds the process, replaces it, or
//! only changes its dependencies. A process that is replaced is stopped, gets its new definition
//! when it is down, and is started. Only a new instance that starts beside the old one has a slot
//! of its own. Dependencies come before dependents, so when the step of a process begins, its
//! dependencies already match the new config. A process that is missing from the new config is
//! removed in a step of its own, after its dependents are replaced or removed. Unchanged dependents
//! do not delay the removal: in the new config they do not depend on the process. A step begins
//! when the previous step is over. After a failure no further step begins, and the remaining
//! processes stay as they were.
//!
//! After the last step, each process with `restart: true` for a replaced dependency is restarted
//! (it *follows* the dependency). The reload ends when these restarts are complete. In a reload, a
//! process is restarted in this way only once. The reload therefore ends even if a dependency ends
//! again and again.

use alloc::collections::VecDeque;
use alloc::rc::Rc;

use crate::action::Action;
use crate::family;
use crate::note::{Note, RequestError};
use crate::phase::operations::{Goal, Operations, is_down, is_gone};
use crate::prelude::*;
use crate::slots::Placed;
use crate::spec::{ConfigIndex, Spec};
use crate::state::{Lifecycle, Role, State};
use crate::types::{ProcessId, StartCondition};

/// A reload that is not answered yet. The `new` config has its own ids.
#[derive(Clone, Debug)]
pub(super) struct Reload {
    new: Rc<Spec>,
    /// For each process of the new config, the slot to which the process belongs in the running
    /// config. The index of `plan` and of `slots` is the [`ConfigIndex`].
    plan: Vec<Placed>,
    slots: Vec<Option<ProcessId>>,
    pending: VecDeque<ConfigIndex>,
    /// The slots of processes that are not in the new config and not removed yet.
    gone: Vec<ProcessId>,
    /// The process that the current step adds or replaces, as its index in the new config.
    step: ConfigIndex,
    /// The slots that the current step starts or stops.
    under_way: Vec<ProcessId>,
    /// For each process that has followed a dependency, its old slot and the slot of its new
    /// instance.
    followed: Vec<[ProcessId; 2]>,
    has_removed: bool,
    /// The slot that the current step removes.
    removing: Option<ProcessId>,
    failed: Option<RequestError>,
}

enum NextMove {
    Remove(ProcessId),
    Place(ConfigIndex),
}

impl Reload {
    /// The work that is left: twice the number of steps that have not begun, plus the number of
    /// slots that the current step starts or stops.
    pub(super) fn left(&self) -> usize {
        let steps = if self.failed.is_none() { self.pending.len() + self.gone.len() } else { 0 };
        2 * steps + self.under_way.len()
    }

    /// The next step, if it can begin now. Unchanged processes before this step need no step: they
    /// get their new definition at once.
    fn next(&mut self, state: &mut State) -> Option<NextMove> {
        if !self.under_way.is_empty() || self.left() == 0 {
            return None;
        }
        while let Some(&process) = self.pending.front()
            && let Placed::Same(slot) = self.plan[process.0]
        {
            self.pending.pop_front();
            state.take_over_settings(slot, process.definition(&self.new));
            state.act(Action::Redefine { slot, config: process });
            self.connect(state, process, slot);
        }
        state.reorder();
        // A removed process does not wait for its unchanged dependents: in the new config, they do
        // not depend on it.
        let stays = |slot: &ProcessId| self.plan.contains(&Placed::Same(*slot));
        let is_free = |slot: &ProcessId| state.process(*slot).dependents.iter().all(stays);
        if let Some(place) = self.gone.iter().position(is_free) {
            return Some(NextMove::Remove(self.gone.remove(place)));
        }
        let next = *self.pending.front()?;
        if let Placed::Changed(old) = self.plan[next.0]
            && family::is_doomed(state, old)
        {
            return None;
        }
        self.pending.pop_front();
        self.step = next;
        Some(NextMove::Place(next))
    }

    /// Gives a new process, or the new instance of a process, a slot of its own. Fails the reload
    /// if there are too many slots.
    fn place(&mut self, state: &mut State, role: Role) -> Option<ProcessId> {
        let slot = state.adopt_new(&self.new, self.step, role);
        match slot {
            Some(slot) => self.placed(state, slot),
            None => self.failed = Some(RequestError::Reloading),
        }
        slot
    }

    /// Records the slot of the process of the current step.
    fn placed(&mut self, state: &mut State, slot: ProcessId) {
        self.connect(state, self.step, slot);
        state.reorder();
    }

    /// Connects a slot to the dependencies that its process has in the new config. These
    /// dependencies have their slots already.
    fn connect(&mut self, state: &mut State, process: ConfigIndex, slot: ProcessId) {
        self.slots[process.0] = Some(slot);
        let place = self.new.order.len() - self.pending.len() - 1;
        state.connect(slot, place, &self.new, process, &self.slots);
    }

    /// The condition, from the new config, under which an unchanged process follows a dependency.
    /// The dependency has its new definition already.
    pub(super) fn condition(&self, process: ProcessId, on: ProcessId) -> Option<StartCondition> {
        let on = self.slots.iter().position(|slot| *slot == Some(on))?;
        let same = self.plan.iter().position(|placed| *placed == Placed::Same(process))?;
        let mut followers = self.new.processes[on].followers.iter();
        followers.find(|(id, _)| id.index() == same).map(|(_, condition)| *condition)
    }

    /// Records that a process follows a dependency: the process in slot `old` gets a new instance
    /// in slot `new`.
    pub(super) fn follows(&mut self, old: ProcessId, new: ProcessId) {
        self.followed.push([old, new]);
    }

    /// Handles a slot that is free now. If its process has followed a dependency, only the other
    /// slot of the process stays in `followed`.
    pub(super) fn retired(&mut self, slot: ProcessId) {
        for slots in &mut self.followed {
            match *slots {
                [old, new] if old == slot => *slots = [new; 2],
                [old, new] if new == slot => *slots = [old; 2],
                _ => {}
            }
        }
    }

    /// Whether the process of this slot has already followed a dependency in this reload.
    pub(super) fn has_followed(&self, slot: ProcessId) -> bool {
        self.followed.iter().any(|slots| slots.contains(&slot))
    }

    /// Handles the failure of a start. If the reload has begun this start, the reload fails, and
    /// the function returns all slots that the reload has started.
    pub(super) fn start_failed(&mut self, process: ProcessId, why: RequestError) -> Vec<ProcessId> {
        let started = [&*self.under_way, self.followed.as_flattened()].concat();
        if !started.contains(&process) {
            return Vec::new();
        }
        self.failed.get_or_insert(why);
        started
    }

    /// Fails the reload if it waits for this process, which survives SIGKILL.
    pub(super) fn unkillable(&mut self, process: ProcessId) {
        let left = self.under_way.len() + self.followed.len();
        if self.under_way.contains(&process) {
            self.under_way.clear();
        }
        self.followed.retain(|slots| !slots.contains(&process));
        if self.under_way.len() + self.followed.len() < left {
            self.failed.get_or_insert(RequestError::Unkillable(process));
        }
    }
}

impl Operations {
    /// Whether a reload can begin now.
    pub(crate) fn may_reload(&self, state: &State) -> Result<(), RequestError> {
        // A process that is stopped after a failure or to follow a dependency does not prevent a
        // reload: no operator waits for the process.
        let is_settled = |goal: &Goal| matches!(goal, Goal::Judged { .. } | Goal::Following);
        let is_busy = self.reload.is_some()
            || !self.requests.is_empty()
            || !self.replacements.is_empty()
            || !self.goals.values().all(is_settled);
        let mut stuck = self.goals.keys().filter(|id| state.life(**id).survives_kill());
        let why = stuck.next().map_or(RequestError::Reloading, |id| RequestError::Unkillable(*id));
        if is_busy { Err(why) } else { Ok(()) }
    }

    /// Begins a reload.
    pub(crate) fn reload(&mut self, state: &mut State, new: &Spec, plan: &[Placed]) {
        let mut stays = vec![false; state.spec.processes.len()];
        for placed in plan {
            if let Placed::Same(slot) | Placed::Changed(slot) = placed {
                stays[slot.index()] = true;
            }
        }
        let is_gone = |slot: &&ProcessId| !stays[slot.index()] && state.is_current(**slot);
        let gone = state.spec.order.iter().rev().filter(is_gone).copied().collect();
        state.take_over_container(new);
        self.reload = Some(Reload {
            plan: plan.to_vec(),
            slots: vec![None; plan.len()],
            pending: new.order.iter().copied().map(ConfigIndex::of).collect(),
            gone,
            step: ConfigIndex(0),
            under_way: Vec::new(),
            followed: Vec::new(),
            has_removed: false,
            removing: None,
            failed: None,
            new: Rc::new(new.clone()),
        });
    }

    /// Whether the container is not ready because a reload has removed a process that served, and
    /// has not yet added a required process. The required process may be the removed process under
    /// another name.
    pub(crate) fn awaits_addition(&self, state: &State) -> bool {
        let Some(reload) = self.reload.as_ref().filter(|reload| reload.has_removed) else {
            return false;
        };
        let serves = |slot| matches!(state.life(slot), Lifecycle::Ready { .. });
        let is_awaited = |process: &ConfigIndex| {
            reload.plan[process.0] == Placed::New && process.definition(&reload.new).required
        };
        !reload.removing.is_some_and(serves) && reload.pending.iter().any(is_awaited)
    }

    /// Begins the steps that are due.
    pub(super) fn proceed(&mut self, state: &mut State) {
        while let Some(reload) = &mut self.reload {
            match reload.next(state) {
                None => return,
                Some(NextMove::Remove(slot)) => {
                    (reload.has_removed, reload.removing) = (true, Some(slot));
                    reload.under_way.push(slot);
                    state.note(Note::Removing(slot));
                    state.mark_removed(slot);
                    self.bring_down(state, slot, Goal::Retired);
                }
                Some(NextMove::Place(process)) => {
                    reload.removing = None;
                    match reload.plan[process.0] {
                        Placed::Same(old) | Placed::Changed(old) => self.replace(state, old),
                        Placed::New => self.add(state),
                    }
                }
            }
        }
    }

    fn add(&mut self, state: &mut State) {
        let Some(new) = self.reload.as_mut().and_then(|one| one.place(state, Role::Current)) else {
            return;
        };
        state.note(Note::Adding(new));
        if state.process(new).autostart {
            self.bring_up(state, new);
        } else {
            state.set(new, Lifecycle::Stopped { failed: false });
        }
    }

    /// Replaces a process whose definition has changed. If `update` permits two instances, the new
    /// instance starts beside the old one. If not, the process is stopped, gets the new definition
    /// when it is down, and is started.
    fn replace(&mut self, state: &mut State, old: ProcessId) {
        let stops = self.stops(old);
        let Some(reload) = &mut self.reload else { return };
        let new = reload.step.definition(&reload.new);
        let life = state.life(old);
        let serves = matches!(life, Lifecycle::Ready { .. }) && !stops;
        if serves && new.overlaps(state.process(old)) {
            let Some(new) = reload.place(state, Role::New { old }) else { return };
            state.note(Note::Replacing { process: new, old, overlaps: true });
            self.replacements.push(new);
            self.add_to_step(old);
            return self.bring_up(state, new);
        }
        let stays_down =
            life == Lifecycle::Stopped { failed: false } || !new.autostart && is_gone(life);
        state.note(Note::Replacing { process: old, old, overlaps: false });
        state.missing.remove(&old);
        state.forget_changes(old);
        if is_gone(life) && !stays_down && !state[old].went_well {
            // The process has ended for good, so until now it counted as having met all conditions.
            state.reach(old, None);
        }
        self.add_to_step(old);
        self.bring_down(state, old, Goal::Redefined { stays_down });
    }

    /// Gives its definition in the new config to a process that is down.
    pub(super) fn redefine(&mut self, state: &mut State, process: ProcessId, stays_down: bool) {
        if let Some(reload) = &mut self.reload {
            state.redefine(process, reload.step.definition(&reload.new));
            state.act(Action::Redefine { slot: process, config: reload.step });
            reload.placed(state, process);
        }
        if stays_down {
            state.set(process, Lifecycle::Stopped { failed: false });
        } else {
            self.bring_up(state, process);
        }
    }

    /// Starts a process of a new config, and those of its dependencies that are down.
    fn bring_up(&mut self, state: &mut State, slot: ProcessId) {
        state.set(slot, Lifecycle::Waiting);
        self.goals.insert(slot, Goal::Up { begun: true });
        self.add_to_step(slot);
        let needs = state.process(slot).dependencies.clone();
        for (on, _) in needs {
            if is_down(state, on) && state.is_current(on) && !self.goals.contains_key(&on) {
                match self.start(state, on) {
                    Ok(members) => members.into_iter().for_each(|slot| self.add_to_step(slot)),
                    // A dependency cannot start, so this start fails.
                    Err(why) => {
                        self.start_failed(state, slot, why);
                        return;
                    }
                }
            }
        }
    }

    /// Records that the current step starts or stops this slot.
    fn add_to_step(&mut self, slot: ProcessId) {
        self.reload.iter_mut().for_each(|reload| reload.under_way.push(slot));
    }

    /// Ends the current step if it is over.
    pub(super) fn settle(&mut self, state: &State) {
        if let Some(mut reload) = self.reload.take() {
            reload.under_way.retain(|slot| self.is_moving(state, *slot));
            self.reload = Some(reload);
        }
    }

    fn is_moving(&self, state: &State, slot: ProcessId) -> bool {
        self.goals.contains_key(&slot) || state[slot].beside.is_some()
    }

    /// Answers the reload if no work is left. Returns whether the reload was answered.
    pub(super) fn answer_reload(&mut self, state: &mut State) -> bool {
        let is_over = self.reload.as_ref().is_some_and(|reload| {
            let waits = |id: &ProcessId| family::is_doomed(state, *id) && !reload.has_followed(*id);
            reload.left() == 0
                && !reload.followed.iter().flatten().any(|slot| self.is_moving(state, *slot))
                && !self.followers.keys().any(waits)
        });
        if let Some(reload) = self.reload.take_if(|_| is_over) {
            state.answer_reload(reload.failed.map_or(Ok(()), Err));
        }
        is_over
    }

    /// Fails the reload, because a shutdown or a drain without a stop has begun.
    pub(super) fn abandon_reload(&mut self, state: &mut State, why: RequestError) {
        if self.reload.take().is_some() {
            state.answer_reload(Err(why));
        }
    }
}

impl State {
    /// Handles a process that is no longer in the config.
    fn mark_removed(&mut self, slot: ProcessId) {
        self.set_role(slot, Role::Leaving);
        self.missing.remove(&slot);
        self.forget_changes(slot);
    }
}
