//! The requests of the operator that are not answered yet.

use crate::event::Request;
use crate::note::RequestError;
use crate::prelude::*;
use crate::spec::Spec;
use crate::state::{Lifecycle, Role, State};
use crate::types::ProcessId;

/// The requests that are not answered yet.
#[derive(Clone, Debug, Default)]
pub(super) struct OpenRequests {
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

impl OpenRequests {
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
                state.step.answer(process, request, Err(why));
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
                    let is_over = state.process(process).oneshot && life.is_gone();
                    // A request to start is done as soon as one instance serves, even if the
                    // process is being replaced.
                    let is_replaced =
                        request == Request::Restart && state[process].beside.is_some();
                    is_still(&process) && !is_replaced && (is_up || is_over)
                }
            };
            if is_done {
                state.step.answer(process, request, Ok(()));
            }
            !is_done
        });
    }
}
