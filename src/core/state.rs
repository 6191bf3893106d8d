//! The state that all phases share: the lifecycle of each process, the time and the actions of the
//! current step.

use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Duration;

use crate::core::action::Action;
use crate::core::budget::Budget;
use crate::core::event::Event;
use crate::core::note::Note;
use crate::core::spec::{HookId, ProcessSpec, Spec, Stage};
use crate::types::{End, ProcessId, Time};

/// The lifecycle of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lifecycle {
    /// It waits for its dependencies.
    Waiting,
    /// Its `only_if` is being evaluated.
    Checking,
    /// Its `pre_start` hook runs, and is killed at `until`.
    PreStart { until: Time },
    /// `Action::Spawn` was given and not answered yet.
    Spawning,
    /// It runs and is not ready. At `ready_by` the start has failed.
    Starting { since: Time, ready_by: Time },
    /// It runs and is ready.
    Ready { since: Time },
    /// It has ended and will be started again at `until`.
    Backoff { until: Time },
    /// It runs; its `pre_stop` hook runs, too, and is killed at `until`.
    PreStop { until: Time },
    /// It was asked to end. KILL follows at `kill_at`.
    Stopping { since: Time, kill_at: Time },
    /// It was killed and is not reaped yet.
    Killed {
        /// When it was asked to end; `None` if it was not.
        asked: Option<Time>,
        /// Its dependencies wait for its end until then; `None`: no longer, it survives KILL.
        holds_until: Option<Time>,
    },
    /// It has ended, and other members of its process group are alive.
    Remains {
        kill_at: Time,
        /// The pause before it is started again, once they are gone.
        restart: Option<Duration>,
    },
    /// The other members of its process group were killed and are not gone yet.
    RestKilled {
        /// As for [`Lifecycle::Killed`].
        holds_until: Option<Time>,
        /// As for [`Lifecycle::Remains`].
        restart: Option<Duration>,
    },
    /// It is gone; its `post_stop` hook runs, and is killed at `until`.
    PostStop { until: Time },
    /// A request has stopped it, or its start by request has failed. It stays down until it is
    /// asked to start, and the container does not end for it.
    Stopped {
        /// Its start by request has failed.
        failed: bool,
    },
    /// It is gone for good, or was never started.
    Done,
}

impl Lifecycle {
    /// Whether there is a process to signal.
    #[must_use]
    pub fn is_alive(self) -> bool {
        matches!(
            self,
            Self::Starting { .. }
                | Self::Ready { .. }
                | Self::PreStop { .. }
                | Self::Stopping { .. }
                | Self::Killed { .. }
        )
    }

    /// Whether the container does not have to wait for it to be ready.
    fn is_settled(self) -> bool {
        matches!(self, Self::Ready { .. } | Self::Done)
    }

    /// The expiry of the timer of this state.
    fn wakes_at(self) -> Option<Time> {
        match self {
            Self::PreStart { until }
            | Self::Backoff { until }
            | Self::PreStop { until }
            | Self::PostStop { until }
            | Self::Starting { ready_by: until, .. }
            | Self::Remains { kill_at: until, .. }
            | Self::Stopping { kill_at: until, .. } => (until != Time::NEVER).then_some(until),
            Self::Killed { holds_until, .. } | Self::RestKilled { holds_until, .. } => holds_until,
            _ => None,
        }
    }

    /// Whether the process has ended, and other members of its process group have not.
    #[must_use]
    pub fn has_rest(self) -> bool {
        matches!(self, Self::Remains { .. } | Self::RestKilled { .. })
    }

    /// Whether its dependencies need not wait for it: it is gone, or survives KILL.
    #[must_use]
    pub fn releases_dependencies(self) -> bool {
        matches!(
            self,
            Self::Done
                | Self::Killed { holds_until: None, .. }
                | Self::RestKilled { holds_until: None, .. }
        )
    }
}

/// The conditions that a process has met at least once. A restart does not reset them, so
/// dependents are not disturbed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reached {
    pub started: bool,
    pub ready: bool,
    /// It has completed, or its end does not matter.
    pub completed: bool,
}

impl Reached {
    pub const ALL: Self = Self { started: true, ready: true, completed: true };
}

/// There may be thousands of processes. An event must not cost time for those that it does not
/// concern, so [`State::set`] and [`State::reach`] maintain counters and timers instead of
/// searching for them at every step.
#[derive(Debug)]
pub struct State {
    pub spec: Rc<Spec>,
    pub budget: Budget,
    /// The time of the current step.
    pub now: Time,
    lifecycles: Vec<Lifecycle>,
    reached: Vec<Reached>,
    /// Processes whose lifecycle was set in this step, possibly more than once.
    pub touched: Vec<ProcessId>,
    /// Processes that have met a further condition in this step.
    pub arrived: Vec<ProcessId>,
    /// The timers of all processes.
    timers: BTreeSet<(Time, ProcessId)>,
    /// Number of processes that are not [`Lifecycle::Done`].
    busy: usize,
    /// Number of processes that are neither `Done` nor ready.
    unsettled: usize,
    /// The position of each process in the order.
    rank: Vec<u16>,
    pub restarts: Vec<Restarts>,
    pub probe_failures: Vec<ProbeFailures>,
    /// A required process stays down after a failure, while the container goes on.
    pub missing: bool,
    /// [`Event::Start`] has come: before it there is nothing that a hook could undo.
    pub has_begun: bool,
    /// When each process was asked to drain by a signal, which it may answer by its end.
    pub drain_signalled: Vec<Option<Time>>,
    /// The end of the grace period; set with the exit.
    pub grace_end: Option<Time>,
    /// The actions of the current step.
    pub actions: Vec<Action>,
}

/// The restarts of one process.
#[derive(Clone, Copy, Debug, Default)]
pub struct Restarts {
    /// Since the start of the container.
    pub total: u32,
    /// Consecutive ones, without a long life between them.
    pub in_a_row: u32,
}

/// The failures of the liveness check of one process.
#[derive(Clone, Copy, Debug, Default)]
pub struct ProbeFailures {
    /// Since the start of the container.
    pub total: u64,
    /// Since the process became ready, without a success between them.
    in_a_row: u32,
}

impl State {
    #[must_use]
    pub fn new(spec: Rc<Spec>, now: Time) -> Self {
        let count = spec.processes.len();
        let mut rank = vec![0; count];
        for (id, place) in spec.order.iter().zip(0..) {
            rank[id.index()] = place;
        }
        Self {
            budget: Budget::new(&spec),
            now,
            lifecycles: vec![Lifecycle::Waiting; count],
            reached: vec![Reached::default(); count],
            touched: Vec::new(),
            arrived: Vec::new(),
            timers: BTreeSet::new(),
            busy: count,
            unsettled: count,
            rank,
            restarts: vec![Restarts::default(); count],
            probe_failures: vec![ProbeFailures::default(); count],
            missing: false,
            has_begun: false,
            drain_signalled: vec![None; count],
            grace_end: None,
            actions: Vec::new(),
            spec,
        }
    }

    #[must_use]
    pub fn life(&self, id: ProcessId) -> Lifecycle {
        self.lifecycles[id.index()]
    }

    pub fn set(&mut self, id: ProcessId, life: Lifecycle) {
        let before = std::mem::replace(&mut self.lifecycles[id.index()], life);
        self.touched.push(id);
        self.busy += usize::from(life != Lifecycle::Done);
        self.busy -= usize::from(before != Lifecycle::Done);
        self.unsettled += usize::from(!life.is_settled());
        self.unsettled -= usize::from(!before.is_settled());
        if before.wakes_at() != life.wakes_at() {
            before.wakes_at().map(|time| self.timers.remove(&(time, id)));
            self.timers.extend(life.wakes_at().map(|time| (time, id)));
        }
    }

    #[must_use]
    pub fn reached(&self, id: ProcessId) -> Reached {
        self.reached[id.index()]
    }

    pub fn reach(&mut self, id: ProcessId, reached: Reached) {
        if std::mem::replace(&mut self.reached[id.index()], reached) != reached {
            self.arrived.push(id);
        }
    }

    /// Whether every process is gone for good.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.busy == 0
    }

    /// Whether every process is ready, or gone for good.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.unsettled == 0
    }

    /// The position of a process in the order.
    #[must_use]
    pub fn rank(&self, id: ProcessId) -> u16 {
        self.rank[id.index()]
    }

    /// The processes whose timer has expired.
    pub fn due(&self) -> impl Iterator<Item = ProcessId> {
        self.timers.iter().take_while(|(time, _)| *time <= self.now).map(|(_, id)| *id)
    }

    /// The same in file order.
    #[must_use]
    pub fn due_in_order(&self) -> Vec<ProcessId> {
        let mut due: Vec<_> = self.due().collect();
        due.sort_unstable();
        due
    }

    #[must_use]
    pub fn process(&self, id: ProcessId) -> &ProcessSpec {
        &self.spec.processes[id.index()]
    }

    #[must_use]
    pub fn is_past(&self, time: Time) -> bool {
        time <= self.now
    }

    pub fn act(&mut self, action: Action) {
        self.actions.push(action);
    }

    pub fn note(&mut self, note: Note) {
        self.act(Action::Note(note));
    }

    /// Counts a failed liveness probe. Returns whether the check has failed.
    pub fn probe_failed(&mut self, id: ProcessId) -> bool {
        let retries = self.process(id).liveness_retries.unwrap_or(1);
        let count = &mut self.probe_failures[id.index()];
        count.total += 1;
        count.in_a_row = count.in_a_row.saturating_add(1);
        let failures = count.in_a_row;
        if failures < retries {
            self.note(Note::ProbeFailed { process: id, failures, retries });
        }
        failures >= retries
    }

    /// Forgets earlier failures of the liveness check: the process is ready, or has answered.
    pub fn probe_succeeded(&mut self, id: ProcessId) {
        self.probe_failures[id.index()].in_a_row = 0;
    }

    /// Gives a process that asks for it more time to become ready, or to end: `by` from now, unless
    /// its time is over. A shutdown grants no more than the later stops can spare.
    pub fn extend_timeout(&mut self, id: ProcessId, by: Duration, deadline: Option<Time>) {
        let (before, longest) = match self.life(id) {
            Lifecycle::Starting { ready_by, .. } => (ready_by, Duration::MAX),
            Lifecycle::Stopping { kill_at, .. } => {
                let spare = |at| self.budget.longest_stop(&self.spec, id, self.now, at);
                (kill_at, deadline.map_or(Duration::MAX, spare))
            }
            _ => return,
        };
        let longer = self.now + by.min(longest);
        if self.is_past(before) || longer <= before {
            return;
        }
        match self.life(id) {
            Lifecycle::Starting { since, .. } => {
                self.set(id, Lifecycle::Starting { since, ready_by: longer });
            }
            Lifecycle::Stopping { since, .. } => {
                self.set(id, Lifecycle::Stopping { since, kill_at: longer });
            }
            _ => {}
        }
        self.note(Note::TimeoutExtended { process: id, limit: longer.since(self.now) });
    }

    /// Starts a hook and returns when it must be over.
    pub fn run_hook(&mut self, process: Option<ProcessId>, stage: Stage, within: Duration) -> Time {
        self.act(Action::RunHook(HookId { process, stage }));
        self.now + within
    }

    /// Kills a hook that is no longer needed.
    pub fn abort_hook(&mut self, process: Option<ProcessId>, stage: Stage) {
        self.act(Action::AbortHook(HookId { process, stage }));
    }

    /// Kills a hook that has taken too long.
    pub fn time_out_hook(&mut self, process: Option<ProcessId>, stage: Stage) {
        self.abort_hook(process, stage);
        self.note(Note::HookTimedOut(HookId { process, stage }));
    }

    /// Asks the rest of the process group of an ended process to end.
    pub fn stop_rest(&mut self, process: ProcessId, kill_at: Time, restart: Option<Duration>) {
        let signal = self.process(process).stop_signal;
        self.act(Action::StopGroup { process, signal });
        self.note(Note::GroupRemains(process));
        self.set(process, Lifecycle::Remains { kill_at, restart });
    }

    /// Fits waits that began before the shutdown, or while a drain was held, into its deadline.
    /// Returns whether a process group was killed.
    pub fn fit_waits(&mut self, deadline: Time) -> bool {
        for id in self.spec.ids() {
            match self.life(id) {
                Lifecycle::Remains { kill_at, .. } => {
                    let limit = self.budget.stop(&self.spec, id, self.now, deadline);
                    let kill_at = kill_at.min(self.now + limit);
                    self.set(id, Lifecycle::Remains { kill_at, restart: None });
                }
                Lifecycle::RestKilled { .. } => {
                    let holds_until = self.after_kill(deadline);
                    self.set(id, Lifecycle::RestKilled { holds_until, restart: None });
                }
                Lifecycle::PostStop { until } => {
                    let limit = self.budget.post_stop(&self.spec, id, self.now, deadline);
                    let until = until.min(self.now + limit.unwrap_or_default());
                    self.set(id, Lifecycle::PostStop { until });
                }
                _ => {}
            }
        }
        self.abort_late_hooks();
        self.kill_late_rests(deadline)
    }

    /// When to stop waiting for the end of a process that is killed now.
    #[must_use]
    pub fn after_kill(&self, deadline: Time) -> Option<Time> {
        let wait = Budget::after_kill(self.now, deadline);
        (!wait.is_zero()).then_some(self.now + wait)
    }

    /// Kills process groups without a leader whose time is over, and stops waiting for what
    /// survives KILL. Returns whether a process group was killed.
    pub fn kill_late_rests(&mut self, deadline: Time) -> bool {
        let mut killed = false;
        for process in self.due_in_order() {
            match self.life(process) {
                Lifecycle::Remains { restart, .. } => {
                    self.kill_rest(process, restart, deadline);
                    killed = true;
                }
                Lifecycle::RestKilled { restart, .. } => {
                    self.set(process, Lifecycle::RestKilled { holds_until: None, restart });
                }
                Lifecycle::Killed { asked, .. } => {
                    self.set(process, Lifecycle::Killed { asked, holds_until: None });
                }
                _ => {}
            }
        }
        killed
    }

    /// Kills the rest of the process group of an ended process.
    pub fn kill_rest(&mut self, process: ProcessId, restart: Option<Duration>, deadline: Time) {
        self.act(Action::Kill(process));
        self.note(Note::Killed { process, after: None });
        let holds_until = self.after_kill(deadline);
        self.set(process, Lifecycle::RestKilled { holds_until, restart });
    }

    /// Handles the end of a process during a shutdown.
    fn exited(&mut self, id: ProcessId, end: End, remains: bool, deadline: Time) {
        let took = match self.life(id) {
            Lifecycle::Stopping { since, .. } | Lifecycle::Killed { asked: Some(since), .. } => {
                Some(self.now.since(since))
            }
            Lifecycle::PreStop { .. } => {
                self.abort_hook(Some(id), Stage::PreStop);
                None
            }
            _ => self.drain_signalled[id.index()].map(|since| self.now.since(since)),
        };
        let killed = matches!(self.life(id), Lifecycle::Killed { .. });
        // drainit sent this KILL, so there is no need to guess another sender.
        let end = if killed { end.plainly() } else { end };
        self.note(Note::Stopped { process: id, end, took, killed });
        // KILL was sent to the whole group.
        if remains && !killed && !self.process(id).oneshot {
            let kill_at = match self.life(id) {
                Lifecycle::Stopping { kill_at, .. } => kill_at,
                _ => self.now + self.budget.stop(&self.spec, id, self.now, deadline),
            };
            self.stop_rest(id, kill_at, None);
        } else {
            self.after_end(id, deadline);
        }
    }

    /// Whether this end answers the signal that asked the process to drain, and is no failure.
    #[must_use]
    pub fn is_answer(&self, id: ProcessId, end: End) -> bool {
        let signal = self.process(id).drain.and_then(|drain| drain.signal).map(End::Signal);
        self.drain_signalled[id.index()].is_some() && (end.is_success() || Some(end) == signal)
    }

    /// Runs the `post_stop` hook of a process that has ended for good, during a shutdown.
    pub fn after_end(&mut self, id: ProcessId, deadline: Time) {
        match self.budget.post_stop(&self.spec, id, self.now, deadline) {
            Some(within) if !within.is_zero() => {
                let until = self.run_hook(Some(id), Stage::PostStop, within);
                self.set(id, Lifecycle::PostStop { until });
            }
            _ => self.set(id, Lifecycle::Done),
        }
    }

    /// Handles the events that mean the same in every phase of a shutdown.
    pub fn handle_in_shutdown(&mut self, event: Event, deadline: Time) {
        match event {
            Event::Exited { process, end, remains } if self.life(process).is_alive() => {
                self.exited(process, end, remains, deadline)
            }
            Event::GroupGone(process) if self.life(process).has_rest() => {
                self.after_end(process, deadline);
            }
            // The shutdown began between `Action::Spawn` and its answer.
            Event::Spawned(process) if self.life(process) == Lifecycle::Spawning => {
                self.note(Note::Started(process));
                self.set(process, Lifecycle::Starting { since: self.now, ready_by: Time::NEVER });
            }
            Event::SpawnFailed { process, .. } if self.life(process) == Lifecycle::Spawning => {
                self.set(process, Lifecycle::Done);
            }
            Event::HookEnded {
                hook: HookId { process: Some(process), stage: Stage::PostStop },
                ..
            } if matches!(self.life(process), Lifecycle::PostStop { .. }) => {
                self.set(process, Lifecycle::Done);
            }
            _ => {}
        }
        self.abort_late_hooks();
    }

    /// Kills the `post_stop` hooks that have taken too long.
    pub fn abort_late_hooks(&mut self) {
        for process in self.due_in_order() {
            if let Lifecycle::PostStop { .. } = self.life(process) {
                self.time_out_hook(Some(process), Stage::PostStop);
                self.set(process, Lifecycle::Done);
            }
        }
    }

    /// The first timer of a process.
    #[must_use]
    pub(crate) fn wakes_at(&self) -> Option<Time> {
        self.timers.first().map(|(time, _)| *time)
    }
}
