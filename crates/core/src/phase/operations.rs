//! The operations while the container runs: requests of the operator ([`requests`]), failed liveness
//! checks, actions after changes of watched files and restarts of dependents with `restart: true`
//! ([`follow`]), replacements ([`replace`]) and reloads ([`reload`]).
//!
//! An operation gives goals to processes. A process has at most one goal, and moves towards it as
//! soon as the order allows:
//!
//! ```text
//!  Down, Failed          ─▶ stopped ─▶ stays down
//!  Again, Following      ─▶ stopped ─▶ started again
//!  Judged                ─▶ stopped ─▶ `restart` decides
//!  Retired               ─▶ stopped ─▶ its slot is free
//!  Up                    ─▶ started ─▶ ready or complete
//! ```
//!
//! When the shutdown begins, all requests fail and all goals are dropped. Stops under way continue,
//! and must end before the deadline.
//!
//! [`requests`]: crate::phase::requests
//! [`follow`]: crate::phase::follow
//! [`replace`]: crate::phase::replace
//! [`reload`]: crate::phase::reload

use alloc::collections::{BTreeMap, BTreeSet};
use core::time::Duration;

use crate::action::Action;
use crate::cause::Failure;
use crate::drain::progress::Progress;
use crate::event::Request;
use crate::family;
use crate::note::{Note, RequestError};
use crate::phase::open_requests::OpenRequests;
use crate::phase::reload::Reload;
use crate::prelude::*;
use crate::state::{Lifecycle, State};
use crate::types::{ProcessId, RestartPolicy, StartCondition, Time};

#[derive(Clone, Debug, Default)]
pub(crate) struct Operations {
    pub(super) goals: BTreeMap<ProcessId, Goal>,
    pub(super) requests: OpenRequests,
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

impl Operations {
    /// Whether an operation stops this process, so that its end is not a failure.
    pub(crate) fn stops(&self, process: ProcessId) -> bool {
        self.goals.get(&process).is_some_and(|goal| !matches!(goal, Goal::Up { .. }))
    }

    /// Whether a request, a replacement or a reload starts this process.
    fn starts(&self, process: ProcessId) -> bool {
        matches!(self.goals.get(&process), Some(Goal::Up { .. }))
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

    pub(super) fn bring_down(&mut self, state: &mut State, process: ProcessId, goal: Goal) {
        self.goals.insert(process, goal);
        state.cancel_start(process);
    }

    /// Handles a failed liveness check.
    pub(crate) fn on_unhealthy(&mut self, state: &mut State, process: ProcessId) {
        if let Lifecycle::Ready { since } = state.life(process)
            && !self.goals.contains_key(&process)
        {
            state.step.act(Action::EndLiveness(process));
            state.step.note(Note::Unhealthy(process));
            self.on_old_failed(state, process);
            let why = Failure::Unhealthy;
            self.on_start_failed(state, process, RequestError::Failed { process, why });
            self.bring_down(state, process, Goal::Judged { since, why });
        }
    }

    /// Handles the failed start of a process, and fails the starts that need this process. Returns
    /// whether a request, a replacement or a reload had begun the failed start. If so, the
    /// container does not end.
    pub(crate) fn on_start_failed(
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
        self.requests.fail(state, |asked| {
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

    /// Fails all requests, because a shutdown or a drain without a stop has begun.
    pub(crate) fn abandon(&mut self, state: &mut State, why: RequestError) {
        self.goals.clear();
        self.replacements.clear();
        self.end_reload(state, Some(why));
        self.followers.clear();
        self.requests.fail(state, |_| Some(why));
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
        let order = state.spec.order.clone();
        state.visit_dependents_first(|state, process, above| {
            if self.stops(process) {
                judged.extend(self.move_down(state, process, above));
            }
            !state.life(process).releases_dependencies()
        });
        self.retire(state);
        for &process in order.iter().filter(|_| may_start) {
            if let Some(Goal::Up { begun }) = self.goals.get(&process).copied() {
                self.move_up(state, process, begun);
            }
        }
        for &process in &order {
            self.begin_again(state, process);
        }
        self.requests.answer(state, |id| self.goals.contains_key(&id));
        judged
    }

    /// Fails the starts that wait for a process that survives SIGKILL, because this process cannot
    /// start again.
    fn give_up(&mut self, state: &mut State) {
        if !self.requests.is_empty() || self.reload.is_some() {
            for process in state.spec.ids() {
                if state.life(process).survives_kill() && !self.stops(process) {
                    self.on_start_failed(state, process, RequestError::Unkillable(process));
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
                    self.on_start_failed(state, slot, RequestError::Unkillable(process));
                }
            }
        }
    }

    /// Fails each restart that has started an Envoy which will abort. Fails the reload, too, if it
    /// has started such an Envoy.
    fn fail_doomed(&mut self, state: &mut State) {
        for (process, why) in family::doomed(state) {
            self.requests.fail(state, |asked| {
                let is_hit = (asked.process, asked.request) == (process, Request::Restart);
                is_hit.then_some(why)
            });
            self.fail_reload(state, process, why);
        }
    }

    /// Takes the steps that bring a process down, as far as they are due. `above` says whether a
    /// direct or indirect dependent is not gone yet. A process with the goal `Down` waits for its
    /// end.
    fn move_down(&mut self, state: &mut State, process: ProcessId, above: bool) -> Option<Judged> {
        let goal = *self.goals.get(&process)?;
        let waits = above && goal == Goal::Down;
        if let Lifecycle::Ready { .. } = state.life(process) {
            if family::tie(state, process).is_handed_over() {
                // A newer Envoy has taken over. The old one drains by itself and cannot be polled,
                // so drainit does not wait for this drain.
                state[process].drain = Progress::Over;
            } else if matches!(state[process].drain, Progress::NotDue) && !waits {
                let full = !matches!(goal, Goal::Judged { .. });
                state.begin_drain(process, full, state.now, Duration::ZERO);
            }
            state.step_drain(process);
            if !waits && state[process].drain.is_drained() {
                state.note_drain_off(process);
                state.begin_stop(process, false);
            }
        } else if let Lifecycle::Starting { .. } = state.life(process)
            && !waits
        {
            state.begin_stop(process, false);
        }
        let life = state.life(process);
        if life.is_gone() {
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
            self.requests.fail(state, |asked| {
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
        if is_due && state.life(process).is_gone() && !self.needs_another(state, process) {
            state[process].restarts.in_a_row = 0;
            self.goals.insert(process, Goal::Up { begun: true });
            state.begin(process);
        }
    }

    /// Takes the steps that bring a process up, as far as they are due.
    fn move_up(&mut self, state: &mut State, process: ProcessId, begun: bool) {
        if !begun && Self::is_copy_beside(state, process) {
            return;
        }
        if !begun && state.life(process).is_gone() {
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
}

/// Whether a dependency needs no start: it is ready, or it is down and its dependents may start
/// without it.
pub(super) fn needs_no_start(state: &State, process: ProcessId) -> bool {
    match state.life(process) {
        Lifecycle::Ready { .. } => true,
        Lifecycle::Done
        | Lifecycle::PostStop { .. }
        | Lifecycle::Remains { .. }
        | Lifecycle::RestKilled { .. } => {
            state[process].restarts.after_rest.is_none()
                && state.reached(process) == Some(StartCondition::Completed)
        }
        _ => false,
    }
}

/// Whether a dependency is down and has to be started.
pub(super) fn is_down(state: &State, process: ProcessId) -> bool {
    state.life(process).is_gone() && !needs_no_start(state, process)
}
