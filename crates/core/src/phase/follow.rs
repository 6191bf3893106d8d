//! Restarts without a request: a dependent with `restart: true` follows a dependency, and a process
//! restarts because a watched file has changed.
//!
//! A dependent follows a dependency: the dependent is restarted when a new instance of the
//! dependency meets the condition of `depends_on`. A dependent that does not run is not restarted.
//! If several of its dependencies get new instances, the dependent waits for all of them, and is
//! restarted only once.

use alloc::sync::Arc;

use crate::action::Action;
use crate::event::Request;
use crate::family;
use crate::note::Note;
use crate::phase::operations::{Goal, Operations, needs_no_start};
use crate::prelude::*;
use crate::state::{Lifecycle, Role, State};
use crate::types::{ProcessId, StartCondition, WatchAction};

impl Operations {
    /// Begins the due actions of changed files. Returns whether one of these actions was a restart.
    pub(crate) fn follow_changes(&mut self, state: &mut State) -> bool {
        let mut restarts = false;
        let due = state.changes.due();
        if due.is_empty() {
            return false;
        }
        // A process that is about to follow a dependency begins no action of its own, so that it is
        // restarted only once.
        let waits = self.waiting_to_follow(state);
        let asked_to_stop = self.requests.asked_to_stop(&state.spec);
        for (process, watch) in due {
            let Some(&action) = state.process(process).watch.get(watch) else { continue };
            let request = Request::Restart;
            let is_free = !self.requests.is_open(process, request)
                && !waits[process.index()]
                && !self.goals.contains_key(&process)
                && !asked_to_stop[process.index()]
                && state[process].beside.is_none()
                && self.reload.is_none();
            let note = Note::FileChanged { process, watch, action };
            match (state.life(process), action) {
                (Lifecycle::Ready { .. }, WatchAction::Signal(signal)) if is_free => {
                    state.step.note(note);
                    state.step.act(Action::Signal { process, signal });
                }
                (Lifecycle::Ready { .. }, WatchAction::Restart)
                    if is_free && !family::is_doomed(state, process) =>
                {
                    state.step.note(note);
                    let members = vec![self.replace_or_restart(state, process, Goal::Again)];
                    self.requests.add(process, request, members);
                    restarts = true;
                }
                // The last start has failed, but with the changed files the next may succeed.
                (Lifecycle::Stopped { failed: true }, WatchAction::Restart)
                    if is_free
                        && self.needed_for(state, process, &asked_to_stop) == Ok(vec![process]) =>
                {
                    self.begin_start(state, process, &[process]);
                    state.step.note(note);
                    self.requests.add(process, request, vec![process]);
                    restarts = true;
                }
                (Lifecycle::Stopped { failed: true }, WatchAction::Signal(_))
                | (Lifecycle::Stopped { failed: false } | Lifecycle::Done, _) => {}
                _ => continue,
            }
            state.changes.forget(process, watch);
        }
        restarts
    }

    /// For each slot, whether its process follows a dependency that is about to get a new instance.
    /// A dependency is about to get a new instance in three cases: it has a goal; it is being
    /// replaced; or it will be restarted because of a changed file or of a dependency of its own.
    fn waiting_to_follow(&self, state: &State) -> Vec<bool> {
        let spec = &state.spec;
        let mut waits = vec![false; spec.processes.len()];
        for &process in &spec.order {
            let of = &spec.processes[process.index()];
            let mut actions = state.changes.of(process).filter_map(|watch| of.watch.get(watch));
            let is_to_restart = actions.any(|action| *action == WatchAction::Restart);
            if self.is_on_its_way(state, process)
                || state.life(process).runs() && (is_to_restart || waits[process.index()])
            {
                for (follower, _) in spec.followers(process) {
                    waits[follower.index()] = true;
                }
            }
        }
        waits
    }

    /// Whether a process has a goal or is being replaced, so that it may soon have a new instance.
    fn is_on_its_way(&self, state: &State, process: ProcessId) -> bool {
        let is_moved = self.goals.contains_key(&process)
            || state[process].beside.is_some_and(|other| state.role(other) != Role::Leaving);
        is_moved && state.is_current(process) && !state.life(process).survives_kill()
    }

    /// Whether this process has to wait for the new instance of a dependency. A process with
    /// `restart: true` for the dependency always waits. Any other process waits unless the
    /// dependency already meets the condition for the start. It does not wait, either, while the
    /// old instance of the dependency serves until the new one is ready.
    pub(super) fn needs_another(&self, state: &State, process: ProcessId) -> bool {
        let mut needs = state.process(process).dependencies.iter();
        needs.any(|&(on, condition)| {
            let follows = state.process(process).follows.contains(&on);
            let is_met =
                condition == StartCondition::Started && state.life(on).runs() && !self.stops(on);
            let serves = needs_no_start(state, on) && !self.goals.contains_key(&on);
            let counts = follows || !serves && !is_met;
            counts && self.is_on_its_way(state, on)
        })
    }

    /// Restarts the processes that follow a dependency which has a new instance. Dependencies come
    /// before dependents.
    pub(super) fn follow(&mut self, state: &mut State) {
        let spec = Arc::clone(&state.spec);
        for (on, met) in core::mem::take(&mut state.step.met) {
            for (process, _) in spec.followers(on).filter(|(_, condition)| *condition == met) {
                self.followers.entry(process).or_insert(on);
            }
        }
        if self.followers.is_empty() {
            return;
        }
        // A process that does not run, or is being stopped, does not have to follow, because it
        // will start after its dependency anyway.
        let mut followers = core::mem::take(&mut self.followers);
        followers.retain(|id, _| state.life(*id).runs() && !self.stops(*id));
        // A reload first does all its steps. Only then is a process restarted to follow a
        // dependency, so that each process is restarted only once.
        if self.reload.as_ref().is_some_and(|reload| !reload.follows) {
            self.followers = followers;
            return;
        }
        let mut waits = vec![false; spec.processes.len()];
        for id in followers.keys() {
            waits[id.index()] = self.reload.as_ref().is_some_and(|one| one.followed.contains(id));
        }
        for &process in &spec.order {
            let has_to_wait = waits[process.index()]
                || state[process].beside.is_some()
                || family::is_doomed(state, process);
            if !has_to_wait && let Some(on) = followers.remove(&process) {
                state.step.note(Note::Follows { process, on });
                let is_asked = self.reload.is_some() || self.goals.contains_key(&process);
                let goal = if is_asked { Goal::Again } else { Goal::Following };
                let new = self.replace_or_restart(state, process, goal);
                if let Some(reload) = &mut self.reload {
                    reload.followed.extend([process, new]);
                }
            }
            let is_resting = match (self.goals.get(&process), state.life(process)) {
                (None | Some(Goal::Up { begun: true }), life) => {
                    let is_up =
                        matches!(life, Lifecycle::Ready { .. } | Lifecycle::PostStop { .. });
                    is_up || life.is_gone()
                }
                (Some(_), _) => false,
            };
            let is_resting = is_resting && state[process].beside.is_none();
            if !is_resting || has_to_wait && state.life(process).runs() {
                for (follower, _) in spec.followers(process) {
                    waits[follower.index()] = true;
                }
            }
        }
        self.followers = followers;
    }
}
