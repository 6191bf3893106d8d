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
use crate::phase::operations::{Goal, Operations, needs_no_start};
use crate::prelude::*;
use crate::state::{Lifecycle, Role, State};
use crate::types::ProcessId;

impl Operations {
    /// Begins a request, or fails it. Does nothing if an equal request is not answered yet, because
    /// the two share one answer, even if the new instance of a restart has started already.
    pub(crate) fn request(&mut self, state: &mut State, process: ProcessId, request: Request) {
        if self.requests.is_open(process, request) {
            return;
        }
        state.step.note(Note::RequestBegan { process, request });
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
                if state.life(process).runs() || state.life(process) == Lifecycle::Spawning =>
            {
                self.restart(state, process)
            }
            Request::Start | Request::Restart => self.start(state, process),
        };
        match members {
            Ok(members) => self.requests.add(process, request, members),
            Err(why) => state.step.answer(process, request, Err(why)),
        }
    }

    fn stop(&mut self, state: &mut State, process: ProcessId) -> Vec<ProcessId> {
        if state.life(process).is_gone() && !self.goals.contains_key(&process) {
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
        let beside: Vec<_> = stopped.iter().filter_map(|id| state[*id].beside).collect();
        stopped.extend(beside);
        stopped.retain(|id| !state.life(*id).is_gone() || self.goals.contains_key(id));
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
    /// `asked_to_stop` is the result of [`OpenRequests::asked_to_stop`].
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
            if is_busy(id) || state[id].beside.is_some() && !state.life(id).runs() {
                return Err(RequestError::Busy(id));
            }
            if !state.life(id).runs() {
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
            let pauses = state[id].restarts.after_rest.is_some();
            match state.life(id) {
                _ if self.goals.contains_key(&id) || pauses && id != process => {}
                Lifecycle::Backoff { .. } if id == process => {
                    state[id].restarts.in_a_row = 0;
                    state.limit_timer(id, Duration::ZERO);
                }
                _ if pauses => {
                    state[id].restarts.after_rest = Some(Duration::ZERO);
                    state[id].restarts.in_a_row = 0;
                }
                Lifecycle::Stopped { .. }
                | Lifecycle::Done
                | Lifecycle::PostStop { .. }
                | Lifecycle::Remains { .. }
                | Lifecycle::RestKilled { .. } => {
                    state[id].restarts.in_a_row = 0;
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
    pub(crate) fn on_skipped(&mut self, state: &mut State, process: ProcessId) {
        self.requests.fail(state, |asked| {
            let is_hit = asked.request != Request::Stop && asked.process == process;
            is_hit.then_some(RequestError::Skipped(process))
        });
    }
}
