//! The state that all phases share: the lifecycle of each process, the time and the actions of the
//! current step.
//!
//! The lifecycle of a slot. The states in brackets are passed only if the config or the process
//! needs them:
//!
//! ```text
//!     ┌──────────────────────────── Backoff ◀── restart ──────────────┐
//!     ▼                                                               │
//!  Waiting ─▶ [Checking] ─▶ [Clearing] ─▶ [PreStart] ─▶ Spawning ─▶ [Starting] ─▶ Ready    ends by itself ─────┐
//!                                                         │           │                          │
//!                                                         └─ stop ────┤                          │
//!                                                                     ▼                          ▼
//!                                            [PreStop] ─▶ Stopping ─▶ [Killed] ─▶ [Remains ─▶ RestKilled]
//!                                                                                                │
//!                                   Done, Stopped ◀── [PostStop] ◀── the process group is gone ──┘
//! ```
//!
//! A request, a reload or a changed file takes a slot from `Done` or `Stopped` back to `Waiting`.

mod lifecycle;
mod shutdown;
mod step;

use alloc::collections::BTreeSet;
use alloc::sync::Arc;
use core::cell::OnceCell;
use core::ops::{Index, IndexMut};
use core::time::Duration;

pub use self::lifecycle::Lifecycle;
pub(crate) use self::shutdown::Killing;
pub use self::shutdown::Shutdown;
pub use self::step::Step;
use crate::action::Action;
use crate::budget::{Ahead, Budget, MOST_KEPT};
use crate::changes::Changes;
use crate::drain::progress::Progress;
use crate::family::states::Family;
use crate::prelude::*;
use crate::restart::Restarts;
use crate::spec::{ProcessSpec, Spec};
use crate::timers::Timers;
use crate::types::{End, ProcessId, Signal, StartCondition, Time};

/// The role of a slot for its process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Role {
    /// Requests, `/readyz` and restarts refer to this slot.
    #[default]
    Current,
    /// The instance starts beside the instance in the slot `old`. When the new instance is ready,
    /// its slot becomes the current slot. An instance that does not become ready is rolled back.
    New { old: ProcessId },
    /// A reload will add the process of this slot, which has no instance yet.
    Reserved,
    /// The instance was replaced, or its process is no longer in the config. The instance is
    /// drained and stopped, and its end does not count as a failure.
    Leaving,
    /// The slot is free: its instance is gone for good.
    Retired,
}

/// The state of one slot. See [`slots`](crate::slots).
#[derive(Clone, Debug, Default)]
pub struct Slot {
    pub(super) role: Role,
    /// The other slot of the same process, if the process has two.
    pub(super) beside: Option<ProcessId>,
    /// The definition that a reload has for the next instance of the process.
    pub(super) newer: Option<Box<ProcessSpec>>,
    /// Whether this slot was made with the definition of the other slot of the process.
    pub(super) is_copy: bool,
    life: Lifecycle,
    /// The last condition, in the order of [`StartCondition`], that the process has met at least
    /// once. The process has met the conditions before it, too. A restart does not reset this
    /// value, so dependents keep running. If the process is down and its dependents may start
    /// without it, the value is `Completed`.
    reached: Option<StartCondition>,
    /// Whether the `pre_start` hook or an instance has run since `post_stop` was last due. If so,
    /// `post_stop` is due when the process ends for good. Until then, a restart does not run
    /// `pre_start` again.
    pub(super) has_run: bool,
    /// Whether an instance of the process has run, in this slot or in the slot before it, and may
    /// have left processes behind.
    pub(super) may_have_left: bool,
    /// The time at which the readiness timeout was over; `None` until the last probe of the
    /// instance has begun.
    pub(super) overdue: Option<Time>,
    pub restarts: Restarts,
    pub probe_failures: ProbeFailures,
    /// The time of the last note which says that the process asks for more time.
    pub(super) extension_noted: Option<Time>,
    /// Whether the process is down without a failure, because it has completed or its `only_if`
    /// does not hold.
    pub(super) went_well: bool,
    /// Whether the kernel has shown that the running instance listens on nothing.
    pub(crate) listens_on_nothing: bool,
    /// The drain of the running instance.
    pub(crate) drain: Progress,
    pub(super) ending: EndFacts,
}

/// The failed liveness probes of a process.
#[derive(Clone, Copy, Debug, Default)]
pub struct ProbeFailures {
    /// The number since the start of the container.
    pub count: u64,
    /// The number in a row since the process became ready or has answered a probe.
    pub(super) in_a_row: u32,
}

/// The facts about the end of an instance.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct EndFacts {
    /// The time at which the process was asked to drain, if the process may end by itself once it
    /// has drained (`DrainSpec::signal`). Otherwise `None`.
    pub(super) drain_signalled: Option<Time>,
    /// For an instance that has ended, the time at which it was asked to end. If the instance ended
    /// by itself, the time at which the rest of its process group was asked to end.
    pub(super) asked: Option<Time>,
    /// Whether the instance is exiting, as the kernel has shown when its time to end was over.
    pub(super) exit: Exit,
}

/// The knowledge about the exit of an instance whose time to end is over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Exit {
    #[default]
    Unknown,
    /// `Action::LookForExit` was given, and is answered at once.
    Asked,
    /// The instance is exiting, so SIGKILL has no effect any more.
    Seen,
    /// The instance does not ignore its stop signal, or nothing is known.
    Busy,
    /// The instance ignores its stop signal, so no wait can help.
    Ignores,
}

impl Slot {
    pub(super) fn new(role: Role, life: Lifecycle) -> Self {
        Self { role, life, ..Self::default() }
    }
}

impl Index<ProcessId> for State {
    type Output = Slot;

    fn index(&self, slot: ProcessId) -> &Slot {
        &self.slots[slot.index()]
    }
}

impl IndexMut<ProcessId> for State {
    fn index_mut(&mut self, slot: ProcessId) -> &mut Slot {
        &mut self.slots[slot.index()]
    }
}

/// The state that all phases share. There can be thousands of processes, and no event may cost time
/// for each of them. [`State::set`] and [`State::reach`] therefore keep counters and timers up to
/// date, so that no step has to search all processes.
#[derive(Clone, Debug)]
pub struct State {
    pub spec: Arc<Spec>,
    /// The budget of the shutdown. Before it begins, the budget of a shutdown that drains and stops
    /// all processes, made when it is first needed.
    budget: OnceCell<Budget>,
    /// For the budget that is made when it is needed next, because steps that kept time are over:
    /// the deadline, and the end of the delay before the drains.
    replan: Option<(Time, Time)>,
    /// The shutdown, or the drain without a stop, since it has begun.
    pub shutdown: Option<Shutdown>,
    /// The time of the current step.
    pub now: Time,
    pub(super) slots: Vec<Slot>,
    pub(crate) family: Family,
    /// Processes for which drainit holds sockets.
    pub(super) held_sockets: Vec<ProcessId>,
    timers: Timers,
    /// The number of processes that are not [`Lifecycle::Done`].
    busy: usize,
    /// The number of processes that keep the container from being ready.
    unsettled: usize,
    /// Required processes that stay down after a failure while the container continues.
    pub missing: BTreeSet<ProcessId>,
    pub(crate) changes: Changes,
    /// Whether [`Event::Start`](crate::event::Event::Start) has come. Before this event nothing has
    /// run, so a stop runs no hook of the container.
    pub has_begun: bool,
    /// The number of evaluations of `only_if` so far. By this number, the core recognizes a late
    /// answer to an earlier evaluation.
    pub(super) checks: u32,
    /// Timers that are due by this time take effect in this step. This time is `now`, except in
    /// [`Machine::handle_early`]: there it is the time of the last step that was not early.
    ///
    /// [`Machine::handle_early`]: crate::machine::Machine::handle_early
    pub timers_at: Time,
    pub step: Step,
}

impl State {
    /// The state before the start. The maker of the spec has [linked](Spec::link) it.
    pub fn new(spec: Arc<Spec>, now: Time) -> Self {
        let count = spec.processes.len();
        debug_assert_eq!(spec.ranks.len(), count, "a spec that is not linked");
        Self {
            budget: OnceCell::new(),
            replan: None,
            shutdown: None,
            now,
            slots: vec![Slot::new(Role::Current, Lifecycle::Waiting); count],
            family: Family::default(),
            held_sockets: spec.ids().filter(|id| spec.processes[id.index()].listens).collect(),
            timers: Timers::default(),
            busy: count,
            unsettled: spec.processes.iter().filter(|process| process.autostart).count(),
            missing: BTreeSet::new(),
            changes: Changes::default(),
            has_begun: false,
            checks: 0,
            timers_at: now,
            step: Step::default(),
            spec,
        }
    }

    pub fn life(&self, id: ProcessId) -> Lifecycle {
        self[id].life
    }

    /// The spec, for a change of the graph or of a time in the budget, which is made again.
    pub(super) fn spec_mut(&mut self) -> &mut Spec {
        self.budget.take();
        self.replan = None;
        Arc::make_mut(&mut self.spec)
    }

    pub(crate) fn budget(&self) -> &Budget {
        let again = |(end, from): (Time, Time)| self.divide(end.since(from.max(self.now)), true);
        self.budget.get_or_init(|| self.replan.map_or_else(|| Budget::of(&self.spec), again))
    }

    /// In a shutdown, computes the budget again, from the end of the `delay` before the drains. If
    /// `fitted`, the waits under way end by the deadline.
    pub(crate) fn plan_budget(&mut self, delay: Duration, fitted: bool) {
        if let Some(left) = self.left_to_stop() {
            self.budget = self.divide(left.saturating_sub(delay), fitted).into();
        }
    }

    fn divide(&self, left: Duration, fitted: bool) -> Budget {
        Budget::new(&self.spec, left, |id| {
            let (life, now) = (self.life(id), self.now);
            let all = Ahead::all(self.process(id));
            let begun = Ahead { drain: false, is_begun: true, pre_stop: Duration::ZERO, ..all };
            let stops = |stop| Ahead { stop, ..begun };
            let over = |rest| Ahead { post_stop: Duration::ZERO, ..stops(Some(rest)) };
            // Before it fits, a hook counts with its need, as a hook that has not begun.
            let most = |need| if fitted { left } else { need };
            let rest = |need| life.wakes_at().map_or(left, |at| at.since(now)).min(most(need));
            match life {
                _ if life.is_down() => over(Duration::ZERO),
                // Its hook begins at once.
                Lifecycle::Backoff { .. } | Lifecycle::Clearing { .. } => over(all.post_stop),
                Lifecycle::PostStop { .. } => over(rest(all.post_stop)),
                Lifecycle::PreStop { .. } => Ahead { pre_stop: rest(all.pre_stop), ..begun },
                Lifecycle::Killed { .. } | Lifecycle::RestKilled { .. } => stops(Some(rest(left))),
                Lifecycle::Stopping { .. } | Lifecycle::Remains { .. } => {
                    stops(self.rest_of_stop(id, left, fitted))
                }
                Lifecycle::Ready { .. } if matches!(self[id].drain, Progress::NotDue) => all,
                _ if matches!(self[id].drain, Progress::Active(_)) => all,
                _ => Ahead { drain: false, ..all },
            }
        })
    }

    /// The rest of a stop that is under way: its declared time
    /// if that fits, because a shorter limit then grows. `None` if it declares no time and does not
    /// yet end by the deadline.
    fn rest_of_stop(&self, id: ProcessId, left: Duration, fitted: bool) -> Option<Duration> {
        let (since, kill_at) = self.asked_until(id)?;
        let Some(stop) = self.process(id).stop else {
            return fitted.then(|| kill_at.since(self.now));
        };
        let declared = Some(since + stop).filter(|end| end.since(self.now) <= left);
        declared.max(Some(kill_at)).map(|end| end.since(self.now).min(stop))
    }

    /// Has the budget from now, or `delayed`, to the deadline computed again if a process has ended
    /// in this step before its dependents, or its stop began before theirs: they can use the time
    /// that was kept for it. `holders` has the number of dependents of each process that are not
    /// gone, if it is known. If declared stops do not fit, the end of each of them can free a part of
    /// the excess for other steps ([`Budget::ends_free_time`]). Thousands of other ends in the order
    /// of a stop, or of processes without dependencies, do not each cost a budget.
    pub(crate) fn plan_again(&mut self, delayed: Option<Time>, holders: &[usize]) {
        let ends_free_time = self.budget.get().is_some_and(|budget| budget.ends_free_time);
        let above = |id| self.spec.above(id).iter().any(|id| !self.life(*id).is_down());
        let held = |id: ProcessId| holders.get(id.index()).map(|count| *count > 0);
        let frees = |id: &ProcessId| {
            let of = self.process(*id);
            let is_end = self.life(*id).is_down() && of.stop.is_some();
            ends_free_time && is_end && !of.dependencies.is_empty()
                || !self.life(*id).runs() && held(*id).unwrap_or_else(|| above(*id))
        };
        if let Some(left) = self.left_to_stop()
            && self.step.touched.iter().any(frees)
        {
            self.budget.take();
            self.replan = Some((self.now + left, delayed.unwrap_or(self.now)));
        }
    }

    /// Whether a drain without a stop is held: nothing has to stop yet.
    pub(crate) fn is_held(&self) -> bool {
        self.shutdown.as_ref().is_some_and(Shutdown::is_held)
    }

    /// The time that is left until the deadline; `None` outside a shutdown.
    pub(crate) fn left(&self) -> Option<Duration> {
        Some(self.shutdown.as_ref()?.left(self.now))
    }

    /// The time that is left for a stop that begins now; `None` outside a shutdown. While a drain
    /// is held, this is more than the time that is left for the drain ([`Self::left`]).
    pub(crate) fn left_to_stop(&self) -> Option<Duration> {
        match &self.shutdown {
            Some(shutdown) if shutdown.is_held() => Some(self.spec.window),
            _ => self.left(),
        }
    }

    /// Whether no time is left until the deadline.
    pub(crate) fn is_past_deadline(&self) -> bool {
        let is_over =
            |shutdown: &Shutdown| shutdown.killing.is_some() || self.is_past(shutdown.deadline);
        self.shutdown.as_ref().is_some_and(is_over)
    }

    /// The time at which drainit stops waiting even for a process that survives SIGKILL.
    pub(crate) fn hard_end(&self) -> Time {
        let end = |shutdown: &Shutdown| shutdown.deadline + self.spec.after_deadline();
        self.shutdown.as_ref().map_or(self.now, end)
    }

    /// Counts a stop signal, as [`Shutdown::count_signal`] says.
    pub(crate) fn count_signal(&mut self, signal: Signal) -> Option<u32> {
        self.shutdown.as_mut()?.count_signal(self.now, signal)
    }

    /// The reason why all processes are killed at once; `None` before the killing.
    pub(crate) fn killing(&self) -> Option<Killing> {
        self.shutdown.as_ref()?.killing
    }

    /// The limit of a stop without `stop_grace_period`. If nobody asked for the shutdown, the
    /// restart of the container waits for these stops.
    pub fn unset_stop(&self) -> Duration {
        let is_awaited = self.shutdown.as_ref().is_some_and(|it| !it.cause.is_asked());
        if is_awaited { self.spec.window.min(MOST_KEPT) } else { self.spec.window }
    }

    /// The time from the stop signal to SIGKILL if there were no deadline.
    pub(crate) fn stop_limit(&self, id: ProcessId) -> Duration {
        self.process(id).stop.unwrap_or(self.unset_stop())
    }

    /// The time that a process gets if it is asked to stop now.
    pub(crate) fn stop_time(&self, id: ProcessId) -> Duration {
        self.budget().stop(&self.spec, id, self.unset_stop(), self.left_to_stop())
    }

    /// Like [`Self::stop_time`], for a process that ignores its stop signal.
    pub(crate) fn stop_time_in_vain(&self, id: ProcessId) -> Duration {
        self.budget().stop_in_vain(&self.spec, id, self.unset_stop(), self.left_to_stop())
    }

    pub(super) fn set_role(&mut self, id: ProcessId, role: Role) {
        self.count_unsettled(id, |state| state[id].role = role);
        self.step.touched.push(id);
    }

    /// Changes a process, and counts again whether it keeps the container from being ready.
    fn count_unsettled(&mut self, id: ProcessId, change: impl FnOnce(&mut Self)) {
        self.unsettled -= usize::from(self.waits_for(id));
        change(self);
        self.unsettled += usize::from(self.waits_for(id));
    }

    /// Gives a slot another definition. If its instance runs, the two definitions differ only in
    /// settings that may change while a process runs.
    pub(super) fn define(&mut self, slot: ProcessId, new: ProcessSpec) {
        let old = self.process(slot);
        let new = ProcessSpec { to_end: new.to_end.or(old.to_end), ..new };
        let has_other_times = !new.has_times_of(old);
        if !new.required {
            self.missing.remove(&slot);
        }
        if has_other_times {
            self.spec_mut();
        }
        self.count_unsettled(slot, |state| Arc::make_mut(&mut state.spec).define(slot, new));
    }

    /// Whether the process runs, has a readiness probe and is not ready yet.
    pub(super) fn awaits_ready(&self, id: ProcessId) -> bool {
        let is_starting = matches!(self.life(id), Lifecycle::Starting { .. });
        is_starting && self.process(id).readiness_timeout.is_some()
    }

    /// Whether this end completes a oneshot. If so, the other members of the oneshot's process
    /// group are leftovers, and nothing waits for them. If the oneshot has failed or was asked to
    /// end, the other members have to end, too.
    pub fn completes(&self, id: ProcessId, end: End) -> bool {
        let spec = self.process(id);
        let is_asked =
            matches!(self.life(id), Lifecycle::Stopping { .. } | Lifecycle::Killed { .. });
        spec.oneshot && spec.is_success(end) && !is_asked
    }

    /// Whether an instance runs in the other slot of the process.
    pub(super) fn runs_beside(&self, id: ProcessId) -> bool {
        self[id].beside.is_some_and(|other| self.life(other).is_alive())
    }

    /// Whether the process continues in its other slot, so that the end of this instance runs no
    /// `post_stop` hook. There are two cases. The other instance has the same definition, and its
    /// end will run the hook. Or this instance has not taken over from the other instance.
    pub(super) fn continues_beside(&self, id: ProcessId) -> bool {
        let Some(other) = self[id].beside else { return false };
        let life = self.life(other);
        let is_up = (life.is_alive() || life.has_rest()) && !life.survives_kill()
            || matches!(
                life,
                Lifecycle::Spawning
                    | Lifecycle::Backoff { anew: false, .. }
                    | Lifecycle::Clearing { anew: false, .. }
            );
        let is_same = self[id].is_copy || self[other].is_copy;
        is_up && (is_same || self.has_not_taken_over(id))
    }

    pub fn set(&mut self, id: ProcessId, life: Lifecycle) {
        self.busy += usize::from(life != Lifecycle::Done);
        self.busy -= usize::from(self.life(id) != Lifecycle::Done);
        self.count_unsettled(id, |state| state[id].life = life);
        self.timers.set(id, life.wakes_at());
        self.step.touched.push(id);
    }

    /// Changes the time at which the timer of a process is due, if it has a timer.
    pub(crate) fn set_timer(&mut self, id: ProcessId, at: Time) {
        let mut life = self.life(id);
        if let Some(timer) = life.timer() {
            *timer = at;
            self.set(id, life);
        }
    }

    /// Shortens the timer of a process, so that it is due within `limit` from now.
    pub(crate) fn limit_timer(&mut self, id: ProcessId, limit: Duration) {
        let latest = self.now + limit;
        self.set_timer(id, self.life(id).wakes_at().map_or(latest, |at| at.min(latest)));
    }

    pub fn reached(&self, id: ProcessId) -> Option<StartCondition> {
        self[id].reached
    }

    pub fn reach(&mut self, id: ProcessId, reached: Option<StartCondition>) {
        if core::mem::replace(&mut self[id].reached, reached) != reached {
            self.step.arrived.push(id);
        }
    }

    /// Whether every process is gone for good.
    pub fn is_done(&self) -> bool {
        self.busy == 0
    }

    /// Whether every process is in a state in which the container can be ready. Processes that a
    /// reload will add later do not count.
    pub fn is_settled(&self) -> bool {
        self.unsettled == 0
    }

    /// Whether this process keeps the container from being ready.
    pub fn waits_for(&self, id: ProcessId) -> bool {
        let of = self.process(id);
        self.is_current(id) && of.autostart && !self.life(id).is_settled(of.required)
    }

    /// Visits all processes, dependents first. `visit` gets a process and whether a direct or
    /// indirect dependent needs it, and returns whether this process needs its dependencies.
    pub(crate) fn visit_dependents_first(
        &mut self,
        mut visit: impl FnMut(&mut Self, ProcessId, bool) -> bool,
    ) {
        let mut needs = vec![false; self.spec.processes.len()];
        // Not the whole spec, which would have to be copied if a process gets another definition.
        for process in self.spec.order.clone().into_iter().rev() {
            let mut above = self.process(process).dependents.iter();
            let is_needed = above.any(|id| needs[id.index()]);
            needs[process.index()] = visit(self, process, is_needed) || is_needed;
        }
    }

    /// Sorts processes by their position in [`Spec::order`], so dependencies come first.
    pub fn by_rank(&self, ids: impl Iterator<Item = ProcessId>) -> Vec<ProcessId> {
        let mut ids: Vec<_> = ids.collect();
        ids.sort_unstable_by_key(|id| (self.spec.rank(*id), *id));
        ids
    }

    /// The processes whose timer has expired.
    pub fn due(&self) -> impl Iterator<Item = ProcessId> {
        self.timers.due(self.timers_at)
    }

    pub fn process(&self, id: ProcessId) -> &ProcessSpec {
        &self.spec.processes[id.index()]
    }

    /// In a shutdown, releases the sockets of every process that was asked to end, is gone, or will
    /// never start.
    pub(crate) fn release_sockets(&mut self) {
        let mut held = core::mem::take(&mut self.held_sockets);
        held.retain(|&process| {
            let accepts = self.life(process).accepts();
            if !accepts {
                self.step.act(Action::ReleaseSockets(process));
            }
            accepts
        });
        self.held_sockets = held;
    }

    pub fn is_past(&self, time: Time) -> bool {
        time <= self.timers_at
    }

    /// The time at which the next timer is due. This is the timer of a process, or the time by
    /// which Envoy aborts an instance ([`Family::doomed`]).
    pub(crate) fn wakes_at(&self) -> Option<Time> {
        let of_family = self.family.doomed().map(|(_, until)| until);
        self.timers.first().into_iter().chain(of_family).min()
    }
}

#[cfg(test)]
mod tests;
