//! The operations while the container runs: requests of the operator, failed liveness checks,
//! actions after changes of watched files, and restarts of dependents with `restart: true`.
//!
//! An operation gives goals to processes. A stop gives a goal to the process and to all of its
//! dependents. A start gives a goal to the process and to those of its dependencies that are down.
//! A restart gives a goal to the process alone. A process has at most one goal, and moves towards
//! it as soon as the order allows. A request is answered once its process has reached the goal, or
//! cannot reach it.
//!
//! A stop replaces the goals of the processes that it stops, and fails the starts that need one of
//! these processes. A start or a restart is refused while one of the processes that it concerns is
//! being stopped or restarted. There is one exception. While a process is stopped because it
//! follows a dependency (see below), a request to restart this process is accepted. The next start
//! serves the request, too. When the shutdown begins, all requests fail and all goals are dropped.
//! Stops under way continue, and must end before the deadline.
//!
//! A dependent with `restart: true` follows a dependency: the dependent is restarted when a new
//! instance of the dependency meets the condition of `depends_on`. A dependent that does not run is
//! not restarted. If several of its dependencies get new instances, the dependent waits for all of
//! them, and is restarted only once.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::sync::Arc;
use core::time::Duration;

use crate::action::Action;
use crate::cause::Failure;
use crate::drain::progress::Progress;
use crate::event::Request;
use crate::family;
use crate::note::{Note, RequestError};
use crate::phase::reload::Reload;
use crate::prelude::*;
use crate::state::{Lifecycle, Role, State};
use crate::types::{ProcessId, RestartPolicy, StartCondition, Time, WatchAction};

#[derive(Clone, Debug, Default)]
pub(crate) struct Operations {
    pub(super) goals: BTreeMap<ProcessId, Goal>,
    pub(super) requests: Vec<OpenRequest>,
    /// The slots of new instances. A slot stays in this list until it is free, or until the slot of
    /// the old instance is free.
    pub(super) replacements: Vec<ProcessId>,
    pub(super) reload: Option<Reload>,
    /// Running processes that still have to restart because a dependency has a new instance. The
    /// value is this dependency.
    pub(super) followers: BTreeMap<ProcessId, ProcessId>,
}

/// The aim of an operation for a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Goal {
    /// Stop the process after its dependents. The process stays down until a request starts it.
    Down,
    /// Stop the process, because its start by a request or a reload has failed. The dependents of
    /// the process have not started, or they run without it.
    Failed,
    /// Stop the instance and free its slot, because the instance was replaced or is rolled back.
    Retired,
    /// Stop the process, then start it again. If a reload has a new definition for the process, the
    /// start uses this definition.
    Again,
    /// Stop the process because a dependency has a new instance (`restart: true`), then start it
    /// again. If the start fails, the container may end, as after any other failure.
    Following,
    /// Stop the process after a failure. The `restart` of the process then decides whether it
    /// starts again. `since` is the time at which the process was started.
    Judged { since: Time, why: Failure },
    /// Start the process. If the start fails, the container does not end. `begun` says whether the
    /// start has begun.
    Up { begun: bool },
}

/// A process that was stopped after a failure. The `restart` of the process has to decide.
pub(crate) struct Judged {
    pub(crate) process: ProcessId,
    /// The time at which the process was started.
    pub(crate) since: Time,
    pub(crate) why: Failure,
}

/// A request that is not answered yet.
#[derive(Clone, Debug)]
pub(super) struct OpenRequest {
    /// The current slot of the process.
    pub(super) process: ProcessId,
    pub(super) request: Request,
    /// The slots that the request waits for. A stop waits for all slots that it stops. A start
    /// waits for the process and for those of its dependencies that did not run. A restart waits
    /// for the new slot, and later for the old slot, too.
    pub(super) members: Vec<ProcessId>,
}

impl Operations {
    /// Whether an operation stops this process, so that its end is not a failure.
    pub(crate) fn stops(&self, process: ProcessId) -> bool {
        self.goals.get(&process).is_some_and(|goal| !matches!(goal, Goal::Up { .. }))
    }

    /// For each slot, whether there is an unanswered request to stop its process or a direct or
    /// indirect dependency of its process. A caller asks for thousands of slots, so this function
    /// searches the graph once for all of them.
    fn asked_to_stop(&self, state: &State) -> Vec<bool> {
        let mut asked = vec![false; state.spec.processes.len()];
        for one in self.requests.iter().filter(|one| one.request == Request::Stop) {
            asked[one.process.index()] = true;
        }
        for id in &state.spec.order {
            if asked[id.index()] {
                let above = state.process(*id).dependents.iter();
                above.for_each(|id| asked[id.index()] = true);
            }
        }
        asked
    }

    /// Whether an operation on this process keeps the container from being ready. An operation does
    /// so if it stops a required process, or a failed process that will be restarted.
    pub(crate) fn blocks_readiness(&self, state: &State, process: ProcessId) -> bool {
        let spec = state.process(process);
        let comes_back = matches!(self.goals.get(&process), Some(Goal::Judged { .. }))
            && spec.autostart
            && !state.life(process).survives_kill()
            && spec.restart.policy != RestartPolicy::No;
        state.is_current(process) && (spec.required && self.stops(process) || comes_back)
    }

    /// The time at which the next timer of a drain is due.
    pub(crate) fn wakes_at(&self, state: &State) -> Option<Time> {
        let drains = self.goals.keys().map(|id| &state[*id].drain);
        drains.filter_map(|progress| progress.wakes_at(state.now)).min()
    }

    /// Begins a request, or fails it. Does nothing if an equal request is not answered yet, because
    /// the two share one answer, even if the new instance of a restart has started already.
    pub(crate) fn request(&mut self, state: &mut State, process: ProcessId, request: Request) {
        if self.requests.iter().any(|one| (one.process, one.request) == (process, request)) {
            return;
        }
        state.note(Note::RequestBegan { process, request });
        let members = match request {
            _ if self.reload.is_some() => Err(RequestError::Reloading),
            _ if !state.is_current(process) => Err(RequestError::Busy(process)),
            Request::Stop => Ok(self.stop(state, process)),
            // The next start of the process has not begun, so it serves this request, too.
            Request::Restart if self.goals.get(&process) == Some(&Goal::Following) => {
                self.goals.insert(process, Goal::Again);
                Ok(vec![process])
            }
            // A process whose spawn is not answered counts as running, because it may have read
            // files before they changed.
            Request::Restart
                if runs(state, process) || state.life(process) == Lifecycle::Spawning =>
            {
                self.restart(state, process)
            }
            Request::Start | Request::Restart => self.start(state, process),
        };
        match members {
            Ok(members) => self.requests.push(OpenRequest { process, request, members }),
            Err(why) => state.answer(process, request, Err(why)),
        }
    }

    fn stop(&mut self, state: &mut State, process: ProcessId) -> Vec<ProcessId> {
        if is_gone(state.life(process)) && !self.goals.contains_key(&process) {
            let went_well = state[process].went_well;
            if went_well && state[process].beside.is_none() {
                return Vec::new();
            }
            if !went_well {
                // From now on no watched file starts the process, and a reload starts the process
                // only if a dependent needs it. Dependents or another instance of the process may
                // still run, and are stopped below.
                state.set(process, Lifecycle::Stopped { failed: false });
            }
        }
        let mut stopped = state.spec.above(process);
        stopped.push(process);
        for id in stopped.clone() {
            stopped.extend(state[id].beside);
        }
        stopped.retain(|id| !is_gone(state.life(*id)) || self.goals.contains_key(id));
        stopped.sort_unstable();
        stopped.dedup();
        self.fail(state, |asked| {
            let is_stopped = |id: &&ProcessId| stopped.binary_search(id).is_ok();
            let mut starts = asked.members.iter().filter(|_| asked.request != Request::Stop);
            starts.find(is_stopped).copied().map(RequestError::Superseded)
        });
        for &id in &stopped {
            match state.role(id) {
                Role::New { old } => self.roll_back(state, id, RequestError::Superseded(old)),
                // The instance is being stopped already, or the slot has no instance.
                Role::Leaving | Role::Reserved | Role::Retired => {}
                Role::Current => self.bring_down(state, id, Goal::Down),
            }
        }
        stopped
    }

    fn restart(
        &mut self,
        state: &mut State,
        process: ProcessId,
    ) -> Result<Vec<ProcessId>, RequestError> {
        if self.goals.contains_key(&process) || state[process].beside.is_some() {
            return Err(RequestError::Busy(process));
        }
        if let Some((_, why)) = family::doomed(state).into_iter().find(|(id, _)| *id == process) {
            return Err(why);
        }
        Ok(vec![self.replace_or_restart(state, process, Goal::Again)])
    }

    /// Starts a process and those of its dependencies that are down. Returns all slots that the
    /// start waits for.
    pub(super) fn start(
        &mut self,
        state: &mut State,
        process: ProcessId,
    ) -> Result<Vec<ProcessId>, RequestError> {
        let spec = Arc::clone(&state.spec);
        let asked_to_stop = self.asked_to_stop(state);
        let is_busy = |id: ProcessId| self.stops(id) || asked_to_stop[id.index()];
        let mut needs = vec![process];
        let mut next = 0;
        while let Some(&id) = needs.get(next) {
            if state.life(id).survives_kill() {
                return Err(RequestError::Unkillable(id));
            }
            if is_busy(id) || state[id].beside.is_some() && !runs(state, id) {
                return Err(RequestError::Busy(id));
            }
            if !runs(state, id) {
                let needed = spec.processes[id.index()].dependencies.iter();
                for (on, _) in needed.filter(|(on, _)| state.is_current(*on)) {
                    if !needs.contains(on) && (is_busy(*on) || !needs_no_start(state, *on)) {
                        needs.push(*on);
                    }
                }
            }
            next += 1;
        }
        for &id in &needs {
            // Whether the process will be restarted once the rest of its group is gone.
            let pauses = state[id].restart_after.is_some();
            match state.life(id) {
                _ if self.goals.contains_key(&id) || pauses && id != process => {}
                Lifecycle::Backoff { .. } if id == process => {
                    state[id].restarts_in_a_row = 0;
                    state.limit_timer(id, Duration::ZERO);
                }
                _ if pauses => {
                    state[id].restart_after = Some(Duration::ZERO);
                    state[id].restarts_in_a_row = 0;
                }
                Lifecycle::Stopped { .. }
                | Lifecycle::Done
                | Lifecycle::PostStop { .. }
                | Lifecycle::Remains { .. }
                | Lifecycle::RestKilled { .. } => {
                    state[id].restarts_in_a_row = 0;
                    state[id].went_well = false;
                    state.reach(id, None);
                    state.missing.remove(&id);
                    self.goals.insert(id, Goal::Up { begun: false });
                }
                _ => {}
            }
        }
        Ok(needs)
    }

    /// Begins the due actions of changed files. Returns whether one of these actions was a restart.
    pub(crate) fn follow_changes(&mut self, state: &mut State) -> bool {
        let mut restarts = false;
        let due = state.changed.iter().filter(|(_, is_due)| **is_due).map(|(change, _)| *change);
        let due: Vec<_> = due.collect();
        if due.is_empty() {
            return false;
        }
        // A process that is about to follow a dependency begins no action of its own, so that it is
        // restarted only once.
        let waits = self.waiting_to_follow(state);
        let asked_to_stop = self.asked_to_stop(state);
        for (process, watch) in due {
            let Some(&action) = state.process(process).watch.get(watch) else { continue };
            let request = Request::Restart;
            let is_asked =
                self.requests.iter().any(|one| (one.process, one.request) == (process, request));
            let is_free = !is_asked
                && !waits[process.index()]
                && !self.goals.contains_key(&process)
                && !asked_to_stop[process.index()]
                && state[process].beside.is_none()
                && self.reload.is_none();
            let note = Note::FileChanged { process, watch, action };
            match (state.life(process), action) {
                (Lifecycle::Ready { .. }, WatchAction::Signal(signal)) if is_free => {
                    state.note(note);
                    state.act(Action::Signal { process, signal });
                }
                (Lifecycle::Ready { .. }, WatchAction::Restart)
                    if is_free && !family::is_doomed(state, process) =>
                {
                    state.note(note);
                    let members = vec![self.replace_or_restart(state, process, Goal::Again)];
                    self.requests.push(OpenRequest { process, request, members });
                    restarts = true;
                }
                // The last start has failed, but with the changed files the next may succeed.
                (Lifecycle::Stopped { failed: true }, WatchAction::Restart)
                    if is_free && self.may_start_alone(state, process, &asked_to_stop) =>
                {
                    if let Ok(members) = self.start(state, process) {
                        state.note(note);
                        self.requests.push(OpenRequest { process, request, members });
                        restarts = true;
                    }
                }
                (Lifecycle::Stopped { failed: true }, WatchAction::Signal(_))
                | (Lifecycle::Stopped { failed: false } | Lifecycle::Done, _) => {}
                _ => continue,
            }
            state.changed.remove(&(process, watch));
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
            let changes = state.changed.range((process, 0)..=(process, usize::MAX));
            let mut actions = changes.filter_map(|((_, watch), _)| of.watch.get(*watch));
            let is_to_restart = actions.any(|action| *action == WatchAction::Restart);
            if self.is_on_its_way(state, process)
                || runs(state, process) && (is_to_restart || waits[process.index()])
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
    fn needs_another(&self, state: &State, process: ProcessId) -> bool {
        let mut needs = state.process(process).dependencies.iter();
        needs.any(|&(on, condition)| {
            let follows = state.process(process).follows.contains(&on);
            let is_met = condition == StartCondition::Started && runs(state, on) && !self.stops(on);
            let serves = needs_no_start(state, on) && !self.goals.contains_key(&on);
            let counts = follows || !serves && !is_met;
            counts && self.is_on_its_way(state, on)
        })
    }

    /// Whether this process can start without the start of another process. `asked_to_stop` is the
    /// result of [`Self::asked_to_stop`].
    fn may_start_alone(&self, state: &State, process: ProcessId, asked_to_stop: &[bool]) -> bool {
        let is_busy = |id: ProcessId| self.stops(id) || asked_to_stop[id.index()];
        let mut needs = state.process(process).dependencies.iter();
        needs.all(|&(on, _)| !state.is_current(on) || needs_no_start(state, on) && !is_busy(on))
    }

    /// Handles a failed liveness check.
    pub(crate) fn unhealthy(&mut self, state: &mut State, process: ProcessId) {
        if let Lifecycle::Ready { since } = state.life(process)
            && !self.goals.contains_key(&process)
        {
            state.act(Action::EndLiveness(process));
            state.note(Note::Unhealthy(process));
            self.old_failed(state, process);
            let why = Failure::Unhealthy;
            self.start_failed(state, process, RequestError::Failed { process, why });
            self.bring_down(state, process, Goal::Judged { since, why });
        }
    }

    /// Handles the failed start of a process, and fails the starts that need this process. Returns
    /// whether a request, a replacement or a reload had begun the failed start. If so, the
    /// container does not end.
    pub(crate) fn start_failed(
        &mut self,
        state: &mut State,
        process: ProcessId,
        why: RequestError,
    ) -> bool {
        let is_own = self.starts(process);
        let mut lost = self.fail_start(state, process, why);
        while let Some(next) = lost.pop() {
            if self.starts(next) {
                lost.extend(self.fail_start(state, next, why));
            }
        }
        is_own
    }

    /// Whether a request, a replacement or a reload starts this process.
    fn starts(&self, process: ProcessId) -> bool {
        matches!(self.goals.get(&process), Some(Goal::Up { .. }))
    }

    /// Fails the start of one process, and the requests that wait for it. Returns other slots that
    /// now cannot start.
    fn fail_start(
        &mut self,
        state: &mut State,
        process: ProcessId,
        why: RequestError,
    ) -> Vec<ProcessId> {
        let is_own = self.starts(process);
        self.fail_reload(state, process, why);
        // Dependents may wait for this start. Their starts and the requests for them fail, too.
        let dependents = state.waiting_dependents(process).filter(|_| is_own);
        let mut lost: BTreeSet<_> = dependents.chain([process]).collect();
        let mut members = BTreeSet::<ProcessId>::new();
        self.fail(state, |asked| {
            let is_hit = asked.members.iter().any(|id| lost.contains(id));
            let is_hit = is_hit && asked.request != Request::Stop;
            is_hit.then(|| members.extend(&asked.members)).map(|()| why)
        });
        lost.remove(&process);
        if !members.is_empty() {
            // Dependents in the failed requests cannot start now. Other requests may wait for them.
            let above = state.spec.above(process).into_iter();
            lost.extend(above.filter(|id| members.contains(id)));
        }
        lost.retain(|id| state.life(*id) == Lifecycle::Waiting);
        if is_own && state.is_current(process) {
            // A new instance of a dependent may have waited for this process. This new instance
            // does not start, and the old instance beside it keeps running.
            lost.extend(self.replacements.iter().filter(|new| {
                let needs = state.process(**new).dependencies.iter().any(|(on, _)| *on == process);
                let has_begun = self.goals.get(new) != Some(&Goal::Up { begun: false });
                needs && !has_begun && Self::is_copy_beside(state, **new)
            }));
            self.bring_down(state, process, Goal::Failed);
        } else if is_own {
            self.roll_back(state, process, why);
        }
        lost.into_iter().collect()
    }

    /// Handles a process whose `only_if` does not hold. Requests for this process fail; requests
    /// for its dependents do not.
    pub(crate) fn skipped(&mut self, state: &mut State, process: ProcessId) {
        self.fail(state, |asked| {
            let is_hit = asked.request != Request::Stop && asked.process == process;
            is_hit.then_some(RequestError::Skipped(process))
        });
    }

    /// Fails all requests, because a shutdown or a drain without a stop has begun.
    pub(crate) fn abandon(&mut self, state: &mut State, why: RequestError) {
        self.goals.clear();
        self.replacements.clear();
        self.end_reload(state, Some(why));
        self.followers.clear();
        self.fail(state, |_| Some(why));
    }

    pub(super) fn fail(
        &mut self,
        state: &mut State,
        mut why: impl FnMut(&OpenRequest) -> Option<RequestError>,
    ) {
        self.requests.retain(|asked| {
            let failed = why(asked);
            if let Some(why) = failed {
                let OpenRequest { process, request, .. } = *asked;
                state.answer(process, request, Err(why));
            }
            failed.is_none()
        });
    }

    pub(super) fn bring_down(&mut self, state: &mut State, process: ProcessId, goal: Goal) {
        self.goals.insert(process, goal);
        state.cancel_start(process, state.no_deadline());
    }

    /// Moves every process as far towards its goal as order and time allow, and answers requests.
    /// Returns the processes that are down after a failure.
    pub(crate) fn advance(&mut self, state: &mut State, may_start: bool) -> Vec<Judged> {
        let mut judged = Vec::new();
        loop {
            let (replacements, steps) = (self.replacements.len(), self.steps());
            judged.extend(self.pass(state, may_start));
            // Another pass is needed if a replacement, a step of a reload or the reload has ended.
            // Processes or steps may have waited for this end.
            let has_progress = self.replacements.len() < replacements || self.steps() < steps;
            if !has_progress && !self.answer_reload(state) {
                return judged;
            }
        }
    }

    fn pass(&mut self, state: &mut State, may_start: bool) -> Vec<Judged> {
        let mut judged = Vec::new();
        self.proceed(state);
        self.give_up(state);
        self.fail_doomed(state);
        self.take_over(state);
        self.follow(state);
        if self.goals.is_empty() && self.requests.is_empty() && self.reload.is_none() {
            return judged;
        }
        let spec = Arc::clone(&state.spec);
        // A process with the goal `Down` is stopped only when its dependents are gone.
        let mut holds = vec![false; spec.processes.len()];
        for &process in spec.order.iter().rev() {
            let mut above = spec.processes[process.index()].dependents.iter();
            let above = above.any(|id| holds[id.index()]);
            if self.stops(process) {
                judged.extend(self.move_down(state, process, above));
            }
            holds[process.index()] = above || !state.life(process).releases_dependencies();
        }
        self.retire(state);
        for &process in spec.order.iter().filter(|_| may_start) {
            if let Some(Goal::Up { begun }) = self.goals.get(&process).copied() {
                self.move_up(state, process, begun);
            }
        }
        for &process in &spec.order {
            self.begin_again(state, process);
        }
        self.answer(state);
        judged
    }

    /// Fails the starts that wait for a process that survives SIGKILL, because this process cannot
    /// start again.
    fn give_up(&mut self, state: &mut State) {
        if !self.requests.is_empty() || self.reload.is_some() {
            for process in state.spec.ids() {
                if state.life(process).survives_kill() && !self.stops(process) {
                    self.start_failed(state, process, RequestError::Unkillable(process));
                }
            }
        }
        let survives = |id: &ProcessId| self.stops(*id) && state.life(*id).survives_kill();
        for process in self.goals.keys().copied().filter(survives).collect::<Vec<_>>() {
            if let Some(Goal::Down | Goal::Failed | Goal::Again) = self.goals.get(&process) {
                // From now on only a request can start the process. Until such a request, the
                // process counts as having met no condition.
                state.reach(process, None);
            }
            for slot in state.waiting_for(process) {
                if matches!(self.goals.get(&slot), Some(Goal::Up { .. })) {
                    self.start_failed(state, slot, RequestError::Unkillable(process));
                }
            }
        }
    }

    /// Fails each restart that has started an Envoy which will abort. Fails the reload, too, if it
    /// has started such an Envoy.
    fn fail_doomed(&mut self, state: &mut State) {
        for (process, why) in family::doomed(state) {
            self.fail(state, |asked| {
                let is_hit = (asked.process, asked.request) == (process, Request::Restart);
                is_hit.then_some(why)
            });
            self.fail_reload(state, process, why);
        }
    }

    /// Restarts the processes that follow a dependency which has a new instance. Dependencies come
    /// before dependents.
    fn follow(&mut self, state: &mut State) {
        let spec = Arc::clone(&state.spec);
        for (on, met) in core::mem::take(&mut state.met) {
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
        followers.retain(|id, _| runs(state, *id) && !self.stops(*id));
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
                state.note(Note::Follows { process, on });
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
                    is_up || is_gone(life)
                }
                (Some(_), _) => false,
            };
            let is_resting = is_resting && state[process].beside.is_none();
            if !is_resting || has_to_wait && runs(state, process) {
                for (follower, _) in spec.followers(process) {
                    waits[follower.index()] = true;
                }
            }
        }
        self.followers = followers;
    }

    /// Takes the steps that bring a process down, as far as they are due. `above` says whether a
    /// direct or indirect dependent is not gone yet.
    fn move_down(&mut self, state: &mut State, process: ProcessId, above: bool) -> Option<Judged> {
        let goal = *self.goals.get(&process)?;
        let deadline = state.no_deadline();
        if let Lifecycle::Ready { .. } = state.life(process) {
            let waits = above && goal == Goal::Down;
            if family::tie(state, process).is_handed_over() {
                // A newer Envoy has taken over. The old one drains by itself and cannot be polled,
                // so drainit does not wait for this drain.
                state[process].drain = Progress::Over;
            } else if matches!(state[process].drain, Progress::NotDue) && !waits {
                let full = !matches!(goal, Goal::Judged { .. });
                state.begin_drain(process, full, Duration::ZERO, deadline);
            }
            state.step_drain(process, deadline);
            if !waits && state[process].drain.is_drained() {
                state.begin_stop(process, false, deadline);
            }
        } else if let Lifecycle::Starting { .. } = state.life(process)
            && !(above && goal == Goal::Down)
        {
            state.begin_stop(process, false, deadline);
        }
        let life = state.life(process);
        if is_gone(life) {
            // `begin_again` still needs the goal `Again`, and `retire` still needs the goal
            // `Retired`.
            if !matches!(goal, Goal::Again | Goal::Retired) {
                self.goals.remove(&process);
            }
            match goal {
                Goal::Down | Goal::Failed => {
                    state.reach(process, None);
                    state[process].went_well = false;
                    state.set(process, Lifecycle::Stopped { failed: goal == Goal::Failed });
                }
                Goal::Again if state.redefine(process) => self.bring_up(state, process),
                Goal::Following => state.begin(process),
                Goal::Judged { since, why } => return Some(Judged { process, since, why }),
                Goal::Again | Goal::Retired | Goal::Up { .. } => {}
            }
        } else if life.releases_dependencies() {
            // The process survives SIGKILL, so the processes that wait for it cannot start any
            // more.
            let waiting = state.waiting_for(process);
            self.fail(state, |asked| {
                let waits = asked.request != Request::Stop && waiting.contains(&asked.process);
                let is_hit = waits || asked.members.contains(&process);
                is_hit.then_some(RequestError::Unkillable(process))
            });
            if !matches!(goal, Goal::Judged { .. } | Goal::Following) {
                self.end_reload(state, Some(RequestError::Unkillable(process)));
            }
            if goal == Goal::Again {
                self.goals.insert(process, Goal::Failed);
            }
        }
        None
    }

    /// Starts a process that is down for a restart, or a new instance that waits beside the old
    /// one. If dependencies of the process are being restarted, too, the start waits for their new
    /// instances.
    pub(super) fn begin_again(&mut self, state: &mut State, process: ProcessId) {
        let is_due = match self.goals.get(&process) {
            Some(Goal::Up { begun: false }) => Self::is_copy_beside(state, process),
            goal => goal == Some(&Goal::Again),
        };
        if is_due && is_gone(state.life(process)) && !self.needs_another(state, process) {
            state[process].restarts_in_a_row = 0;
            self.goals.insert(process, Goal::Up { begun: true });
            state.begin(process);
        }
    }

    /// Takes the steps that bring a process up, as far as they are due.
    fn move_up(&mut self, state: &mut State, process: ProcessId, begun: bool) {
        if !begun && Self::is_copy_beside(state, process) {
            return;
        }
        if !begun && is_gone(state.life(process)) {
            self.goals.insert(process, Goal::Up { begun: true });
            state.set(process, Lifecycle::Waiting);
        }
        state.begin_if_possible(process);
        let is_up = match state.life(process) {
            Lifecycle::Ready { .. } => true,
            // The process has completed, or its `only_if` does not hold.
            Lifecycle::PostStop { .. } | Lifecycle::Done => begun,
            _ => false,
        };
        if is_up {
            self.goals.remove(&process);
        }
    }

    /// Answers the requests whose process has reached its goal.
    fn answer(&mut self, state: &mut State) {
        let is_still = |id: &ProcessId| !self.goals.contains_key(id);
        self.requests.retain(|OpenRequest { process, request, members }| {
            let (process, request) = (*process, *request);
            let life = state.life(process);
            let is_done = match request {
                Request::Stop => members.iter().all(is_still),
                Request::Start | Request::Restart => {
                    let is_up = matches!(life, Lifecycle::Ready { .. });
                    let is_over = state.process(process).oneshot && is_gone(life);
                    // A request to start is done as soon as one instance serves, even if the
                    // process is being replaced.
                    let is_replaced =
                        request == Request::Restart && state[process].beside.is_some();
                    is_still(&process) && !is_replaced && (is_up || is_over)
                }
            };
            if is_done {
                state.answer(process, request, Ok(()));
            }
            !is_done
        });
    }
}

/// Whether the process runs, and its stop has not begun.
fn runs(state: &State, process: ProcessId) -> bool {
    matches!(state.life(process), Lifecycle::Starting { .. } | Lifecycle::Ready { .. })
}

/// Whether the process and the rest of its process group are down.
pub(super) fn is_gone(life: Lifecycle) -> bool {
    matches!(life, Lifecycle::Stopped { .. } | Lifecycle::Done)
}

/// Whether a dependency needs no start: it is ready, or it is down and its dependents may start
/// without it.
fn needs_no_start(state: &State, process: ProcessId) -> bool {
    match state.life(process) {
        Lifecycle::Ready { .. } => true,
        Lifecycle::Done
        | Lifecycle::PostStop { .. }
        | Lifecycle::Remains { .. }
        | Lifecycle::RestKilled { .. } => {
            state[process].restart_after.is_none()
                && state.reached(process) == Some(StartCondition::Completed)
        }
        _ => false,
    }
}

/// Whether a dependency is down and has to be started.
pub(super) fn is_down(state: &State, process: ProcessId) -> bool {
    is_gone(state.life(process)) && !needs_no_start(state, process)
}
