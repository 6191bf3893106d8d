//! The requests of the operator to start, stop or restart a process.
//!
//! A stop gives a goal to the process and to all of its dependents. A start gives a goal to the
//! process and to those of its dependencies that are down. A restart gives a goal to the process
//! alone. A request is answered once its process has reached the goal, or cannot reach it.
//!
//! A stop replaces the goals of the processes that it stops, and fails the starts that need one of
//! these processes. A start or a restart is refused while one of the processes that it concerns is
//! being stopped or restarted. There is one exception. While a process is stopped because it follows
//! a dependency, a request to restart this process is accepted. The next start serves the request,
//! too.

use core::time::Duration;

use crate::event::Request;
use crate::family;
use crate::note::{Note, RequestError};
use crate::phase::operations::{Goal, Operations, is_gone, needs_no_start, runs};
use crate::prelude::*;
use crate::spec::Spec;
use crate::state::{Lifecycle, Role, State};
use crate::types::ProcessId;

/// The requests that are not answered yet.
#[derive(Clone, Debug, Default)]
pub(super) struct Requests {
    open: Vec<OpenRequest>,
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

impl Requests {
    pub(super) fn add(&mut self, process: ProcessId, request: Request, members: Vec<ProcessId>) {
        self.open.push(OpenRequest { process, request, members });
    }

    pub(super) fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    pub(super) fn is_open(&self, process: ProcessId, request: Request) -> bool {
        self.open.iter().any(|one| (one.process, one.request) == (process, request))
    }

    /// For each slot, whether there is an unanswered request to stop its process or a direct or
    /// indirect dependency of its process. A caller asks for thousands of slots, so this function
    /// searches the graph once for all of them.
    pub(super) fn asked_to_stop(&self, spec: &Spec) -> Vec<bool> {
        let mut asked = vec![false; spec.processes.len()];
        for one in self.open.iter().filter(|one| one.request == Request::Stop) {
            asked[one.process.index()] = true;
        }
        for id in &spec.order {
            if asked[id.index()] {
                let above = spec.of(*id).dependents.iter();
                above.for_each(|id| asked[id.index()] = true);
            }
        }
        asked
    }

    /// Lets the requests for the process in slot `old` refer to `new`. A restart then waits for the
    /// end of the old instance, too.
    pub(super) fn on_take_over(&mut self, new: ProcessId, old: ProcessId) {
        for asked in &mut self.open {
            if asked.process == old {
                asked.process = new;
            }
            if asked.request == Request::Restart && asked.members.contains(&new) {
                asked.members.push(old);
            }
        }
    }

    /// No request waits for a slot that is free.
    pub(super) fn on_retired(&mut self, state: &State) {
        for asked in &mut self.open {
            asked.members.retain(|id| state.role(*id) != Role::Retired);
        }
    }

    /// Fails the requests for which `why` returns a reason.
    pub(super) fn fail(
        &mut self,
        state: &mut State,
        mut why: impl FnMut(&OpenRequest) -> Option<RequestError>,
    ) {
        self.open.retain(|asked| {
            let failed = why(asked);
            if let Some(why) = failed {
                let OpenRequest { process, request, .. } = *asked;
                state.answer(process, request, Err(why));
            }
            failed.is_none()
        });
    }

    /// Answers the requests whose process has reached its goal.
    pub(super) fn answer(&mut self, state: &mut State, has_goal: impl Fn(ProcessId) -> bool) {
        let is_still = |id: &ProcessId| !has_goal(*id);
        self.open.retain(|OpenRequest { process, request, members }| {
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

impl Operations {
    /// Begins a request, or fails it. Does nothing if an equal request is not answered yet, because
    /// the two share one answer, even if the new instance of a restart has started already.
    pub(crate) fn request(&mut self, state: &mut State, process: ProcessId, request: Request) {
        if self.requests.is_open(process, request) {
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
            Ok(members) => self.requests.add(process, request, members),
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
        self.requests.fail(state, |asked| {
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
        let asked_to_stop = self.requests.asked_to_stop(&state.spec);
        let needs = self.needed_for(state, process, &asked_to_stop)?;
        self.begin_start(state, process, &needs);
        Ok(needs)
    }

    /// The process, and those of its dependencies that have to start or to become ready before it.
    /// `asked_to_stop` is the result of [`Requests::asked_to_stop`].
    pub(super) fn needed_for(
        &self,
        state: &State,
        process: ProcessId,
        asked_to_stop: &[bool],
    ) -> Result<Vec<ProcessId>, RequestError> {
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
                let needed = state.process(id).dependencies.iter();
                for (on, _) in needed.filter(|(on, _)| state.is_current(*on)) {
                    if !needs.contains(on) && (is_busy(*on) || !needs_no_start(state, *on)) {
                        needs.push(*on);
                    }
                }
            }
            next += 1;
        }
        Ok(needs)
    }

    /// Starts a process and its dependencies, as [`Self::needed_for`] has found them.
    pub(super) fn begin_start(
        &mut self,
        state: &mut State,
        process: ProcessId,
        needs: &[ProcessId],
    ) {
        for &id in needs {
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
    }

    /// Handles a process whose `only_if` does not hold. Requests for this process fail; requests
    /// for its dependents do not.
    pub(crate) fn skipped(&mut self, state: &mut State, process: ProcessId) {
        self.requests.fail(state, |asked| {
            let is_hit = asked.request != Request::Stop && asked.process == process;
            is_hit.then_some(RequestError::Skipped(process))
        });
    }
}
