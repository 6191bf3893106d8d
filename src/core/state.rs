//! What outlives a phase: how far each process is, the time of this step and the actions that it has led to.

use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Duration;

use crate::core::action::Action;
use crate::core::budget::Budget;
use crate::core::event::Event;
use crate::core::note::Note;
use crate::core::spec::{HookId, ProcessSpec, Spec, Stage};
use crate::types::{End, ProcessId, Time};

/// How far a process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lifecycle {
    /// Its dependencies are not there yet.
    Waiting,
    /// Its `only_if` is being looked at.
    Checking,
    /// Its `pre_start` hook runs.
    PreStart {
        /// When the hook is killed.
        until: Time,
    },
    /// The shell is starting it.
    Spawning,
    /// It runs and is not ready.
    Starting {
        /// Since when it runs.
        since: Time,
        /// When that has failed.
        ready_by: Time,
    },
    /// It runs and is ready.
    Ready {
        /// Since when it runs.
        since: Time,
    },
    /// It has ended and will be started again.
    Backoff {
        /// When.
        until: Time,
    },
    /// It runs; its `pre_stop` hook runs, too.
    PreStop {
        /// When the hook is killed.
        until: Time,
    },
    /// It was asked to end.
    Stopping {
        /// When.
        since: Time,
        /// When KILL follows.
        kill_at: Time,
    },
    /// It was killed and is not reaped yet.
    Killed {
        /// When it was asked to end; `None`: it was not.
        asked: Option<Time>,
        /// Until when its dependencies wait for its end; `None`: they no longer do, because it
        /// survives KILL.
        holds_until: Option<Time>,
    },
    /// It has ended, and others of its process group live on.
    Remains {
        /// When they are killed.
        kill_at: Time,
        /// It is started again after this pause, once they are gone.
        restart: Option<Duration>,
    },
    /// The others of its process group were killed, and are not gone yet.
    RestKilled {
        /// As for [`Lifecycle::Killed`].
        holds_until: Option<Time>,
        /// As for [`Lifecycle::Remains`].
        restart: Option<Duration>,
    },
    /// It is gone; its `post_stop` hook runs.
    PostStop {
        /// When the hook is killed.
        until: Time,
    },
    /// It is gone and will not come back; or it never came.
    Done,
}

impl Lifecycle {
    /// Whether there is a process that can be signalled.
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

    /// Whether nobody has to wait for it to get further.
    fn is_settled(self) -> bool {
        matches!(self, Self::Ready { .. } | Self::Done)
    }

    /// When this state ends by itself.
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

    /// Whether the process has ended, and others of its process group have not.
    #[must_use]
    pub fn has_rest(self) -> bool {
        matches!(self, Self::Remains { .. } | Self::RestKilled { .. })
    }

    /// Whether what it depends on need not wait for it: it is gone, or KILL does not end it.
    #[must_use]
    pub fn lets_go(self) -> bool {
        matches!(
            self,
            Self::Done
                | Self::Killed { holds_until: None, .. }
                | Self::RestKilled { holds_until: None, .. }
        )
    }
}

/// What has been reached at least once. A restart does not take it back, so dependents are not disturbed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reached {
    /// It was started.
    pub started: bool,
    /// It was ready.
    pub ready: bool,
    /// It has completed, or its end does not matter.
    pub completed: bool,
}

impl Reached {
    /// Nobody has to wait for it any longer.
    pub const ALL: Self = Self { started: true, ready: true, completed: true };
}

/// See the module.
///
/// There may be thousands of processes, and each has its events. So an event costs nothing for those that it does not
/// concern: what is asked at every step is kept up to date by [`State::set`] and [`State::reach`], and not looked for.
#[derive(Debug)]
pub struct State {
    /// What was asked for.
    pub spec: Rc<Spec>,
    /// How its time is shared.
    pub budget: Budget,
    /// The time of this step.
    pub now: Time,
    lifecycles: Vec<Lifecycle>,
    reached: Vec<Reached>,
    /// Whose life was set in this step; some more than once.
    pub touched: Vec<ProcessId>,
    /// Who has reached something in this step.
    pub arrived: Vec<ProcessId>,
    /// When a process needs something.
    moments: BTreeSet<(Time, ProcessId)>,
    /// How many are not [`Lifecycle::Done`].
    busy: usize,
    /// How many are neither that nor ready.
    unsettled: usize,
    /// The place of each in the order.
    rank: Vec<u16>,
    /// How often each was restarted, and how often in a row.
    pub restarts: Vec<Restarts>,
    /// Services that have ended for good with a failure, while the container goes on.
    failed: Vec<bool>,
    /// Whether [`Event::Start`] has come: before it there is nothing that a hook could undo.
    pub has_begun: bool,
    /// When each was told by a signal to drain, which it may answer by its end.
    pub told: Vec<Option<Time>>,
    /// When the grace period is over; known at the end.
    pub over: Option<Time>,
    /// What is to be done.
    pub actions: Vec<Action>,
}

/// The restarts of one process.
#[derive(Clone, Copy, Debug, Default)]
pub struct Restarts {
    /// Since the start of the container.
    pub total: u32,
    /// Without a good life between them.
    pub in_a_row: u32,
}

impl State {
    /// Everything waits.
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
            moments: BTreeSet::new(),
            busy: count,
            unsettled: count,
            rank,
            restarts: vec![Restarts::default(); count],
            failed: vec![false; count],
            has_begun: false,
            told: vec![None; count],
            over: None,
            actions: Vec::new(),
            spec,
        }
    }

    /// How far this process is.
    #[must_use]
    pub fn life(&self, id: ProcessId) -> Lifecycle {
        self.lifecycles[id.index()]
    }

    /// Sets how far this process is.
    pub fn set(&mut self, id: ProcessId, life: Lifecycle) {
        let before = std::mem::replace(&mut self.lifecycles[id.index()], life);
        self.touched.push(id);
        self.busy += usize::from(life != Lifecycle::Done);
        self.busy -= usize::from(before != Lifecycle::Done);
        self.unsettled += usize::from(!life.is_settled());
        self.unsettled -= usize::from(!before.is_settled());
        if before.wakes_at() != life.wakes_at() {
            before.wakes_at().map(|moment| self.moments.remove(&(moment, id)));
            self.moments.extend(life.wakes_at().map(|moment| (moment, id)));
        }
    }

    /// What this process has reached.
    #[must_use]
    pub fn reached(&self, id: ProcessId) -> Reached {
        self.reached[id.index()]
    }

    /// Sets what this process has reached.
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

    /// Remembers that a service has ended for good with a failure.
    pub fn fail(&mut self, id: ProcessId) {
        self.failed[id.index()] = true;
    }

    /// Whether a service that the config does not let be missing has ended for good with a failure.
    #[must_use]
    pub fn is_missing_one(&self) -> bool {
        let mut ids = self.spec.ids();
        ids.any(|id| self.failed[id.index()] && self.process(id).required)
    }

    /// The place of a process in the order.
    #[must_use]
    pub fn rank(&self, id: ProcessId) -> u16 {
        self.rank[id.index()]
    }

    /// The processes whose moment has come.
    pub fn due(&self) -> impl Iterator<Item = ProcessId> {
        self.moments.iter().take_while(|(moment, _)| *moment <= self.now).map(|(_, id)| *id)
    }

    /// The same, in the order of the file.
    #[must_use]
    pub fn due_in_order(&self) -> Vec<ProcessId> {
        let mut due: Vec<_> = self.due().collect();
        due.sort_unstable();
        due
    }

    /// What was asked for this process.
    #[must_use]
    pub fn process(&self, id: ProcessId) -> &ProcessSpec {
        &self.spec.processes[id.index()]
    }

    /// Whether this moment has come.
    #[must_use]
    pub fn is_past(&self, moment: Time) -> bool {
        moment <= self.now
    }

    /// Asks the shell for something.
    pub fn act(&mut self, action: Action) {
        self.actions.push(action);
    }

    /// Tells something.
    pub fn note(&mut self, note: Note) {
        self.act(Action::Note(note));
    }

    /// Starts the hook of this stage, if there is one, and says when it must be over.
    pub fn run_hook(&mut self, process: Option<ProcessId>, stage: Stage, within: Duration) -> Time {
        self.act(Action::RunHook(HookId { process, stage }));
        self.now + within
    }

    /// Kills a hook that has taken too long.
    pub fn abort_hook(&mut self, process: Option<ProcessId>, stage: Stage) {
        let hook = HookId { process, stage };
        self.act(Action::AbortHook(hook));
        self.note(Note::HookTimedOut(hook));
    }

    /// Asks what is left of the process group of a process that has ended to end, too.
    pub fn stop_rest(&mut self, process: ProcessId, kill_at: Time, restart: Option<Duration>) {
        let signal = self.process(process).stop_signal;
        self.act(Action::StopGroup { process, signal });
        self.note(Note::GroupRemains(process));
        self.set(process, Lifecycle::Remains { kill_at, restart });
    }

    /// Fits the waits that began before the shutdown, or while a drain was held, into its deadline.
    /// Returns whether a process group had to be killed for it.
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

    /// Until when the end of a process is waited for that is killed now.
    #[must_use]
    pub fn after_kill(&self, deadline: Time) -> Option<Time> {
        let wait = Budget::after_kill(self.now, deadline);
        (!wait.is_zero()).then_some(self.now + wait)
    }

    /// Kills the process groups without their leader whose time is over, and no longer waits for
    /// what has survived KILL. Returns whether a process group was killed.
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

    /// Kills the rest of the process group of a process that has ended.
    pub fn kill_rest(&mut self, process: ProcessId, restart: Option<Duration>, deadline: Time) {
        self.act(Action::Kill(process));
        self.note(Note::Killed { process, after: None });
        let holds_until = self.after_kill(deadline);
        self.set(process, Lifecycle::RestKilled { holds_until, restart });
    }

    /// A process was reaped during a shutdown.
    fn gone(&mut self, id: ProcessId, end: End, remains: bool, deadline: Time) {
        let took = match self.life(id) {
            Lifecycle::Stopping { since, .. } | Lifecycle::Killed { asked: Some(since), .. } => {
                Some(self.now.since(since))
            }
            Lifecycle::PreStop { .. } => {
                self.act(Action::AbortHook(HookId { process: Some(id), stage: Stage::PreStop }));
                None
            }
            _ => self.told[id.index()].map(|since| self.now.since(since)),
        };
        let killed = matches!(self.life(id), Lifecycle::Killed { .. });
        // Where drainit has killed it, that needs no other reason.
        let end = if killed { end.plainly() } else { end };
        self.note(Note::Stopped { process: id, end, took, killed });
        // What was killed was killed with its group.
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

    /// Whether this end is the answer to the signal that told the process to drain, and no failure.
    #[must_use]
    pub fn is_answer(&self, id: ProcessId, end: End) -> bool {
        let told_by = self.process(id).drain.and_then(|drain| drain.told_by).map(End::Signal);
        self.told[id.index()].is_some() && (end.is_success() || Some(end) == told_by)
    }

    /// Runs the `post_stop` of a process that has ended for good, during a shutdown.
    pub fn after_end(&mut self, id: ProcessId, deadline: Time) {
        match self.budget.post_stop(&self.spec, id, self.now, deadline) {
            Some(within) if !within.is_zero() => {
                let until = self.run_hook(Some(id), Stage::PostStop, within);
                self.set(id, Lifecycle::PostStop { until });
            }
            _ => self.set(id, Lifecycle::Done),
        }
    }

    /// What every phase of a shutdown does with the news that are the same in all of them.
    pub fn news_in_shutdown(&mut self, event: Event, deadline: Time) {
        match event {
            Event::Exited { process, end, remains } if self.life(process).is_alive() => {
                self.gone(process, end, remains, deadline)
            }
            Event::GroupGone(process) if self.life(process).has_rest() => {
                self.after_end(process, deadline);
            }
            // It was being started when the shutdown began.
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

    /// Goes on without the `post_stop` hooks that have taken too long.
    pub fn abort_late_hooks(&mut self) {
        for process in self.due_in_order() {
            if let Lifecycle::PostStop { .. } = self.life(process) {
                self.abort_hook(Some(process), Stage::PostStop);
                self.set(process, Lifecycle::Done);
            }
        }
    }

    /// The first moment at which a process needs something.
    #[must_use]
    pub(crate) fn wakes_at(&self) -> Option<Time> {
        self.moments.first().map(|(moment, _)| *moment)
    }
}
