//! The history of a run, as far as several promises need it. The history checks nothing: it records
//! an event or an action after all promises have looked at it.

mod actions;
mod events;
mod notes;
mod queries;
mod reload;
mod requests;
mod slot;

use std::cell::Cell;

pub(super) use self::slot::SlotHistory;
use super::*;

/// The facts of a run that several promises read.
#[derive(Clone, Debug)]
pub(super) struct History<'a> {
    pub(super) scenario: &'a Scenario,
    pub(super) start: Time,
    pub(super) now: Time,
    /// The processes as they were at the last action.
    pub(super) procs: Vec<Proc>,
    pub(super) slots: Slots,
    /// The history of each slot.
    pub(super) at: Vec<SlotHistory>,
    pub(super) roles: Vec<Role>,
    /// The first breach of a promise.
    broken: Cell<Option<&'static str>>,
    /// The time from T0 to the deadline in the newest config.
    pub(super) window: Duration,
    /// The reload that is not answered yet.
    pub(super) reload: Option<Reloading>,
    /// Whether a reload has begun. Since then, processes of several configs may stop together, so
    /// a few promises about how long drainit waits are not checked.
    pub(super) has_reloaded: bool,
    /// The number of starts of all slots so far.
    pub(super) starts: u32,
    /// Slots whose start drainit aborted (`Action::AbortSpawn`) before the start was answered.
    pub(super) aborted: BTreeSet<ProcessId>,
    /// When the shutdown, or a drain without a stop, began. Since then, no process may start.
    pub(super) unready_since: Option<Time>,
    /// The granted `readiness_delay`.
    pub(super) delayed: Duration,
    /// Whether `/readyz` is still good since then (`Action::StayReady`).
    pub(super) stays_ready: bool,
    /// Whether all processes have once been ready or complete at the same time, so that `/readyz`
    /// could answer 200.
    pub(super) was_good: bool,
    /// The number of processes that have ended so far.
    pub(super) count_ends: usize,
    /// That number at `unready_since`.
    pub(super) ended_before: usize,
    /// Processes that were alive or being started at `unready_since`, so that the core keeps time
    /// for them. A process that ends before the shutdown stops it is removed.
    pub(super) planned: BTreeSet<usize>,
    pub(super) shutdown: Option<Shutdown>,
    /// When an operator last requested a drain without a stop.
    pub(super) held_at: Option<Time>,
    pub(super) stop_signals: u32,
    last_signal: Option<Time>,
    pub(super) exit: Option<u8>,
    /// The last signal to the leftovers.
    sweeping: Option<Signal>,
    /// Whether leftovers were killed or survive.
    pub(super) has_killed_leftovers: bool,
    /// The hooks that run now.
    pub(super) hooks: BTreeSet<HookId>,
    /// Requests that are not answered yet. Equal requests share one answer.
    pub(super) asked_for: BTreeSet<(usize, Request)>,
    /// For each process and kind of request: the value of `starts` when drainit began the first
    /// such request, and whether the process was alive then.
    pub(super) began: BTreeMap<(usize, Request), (u32, bool)>,
    /// `alone` and `by_request` of all slots as they were before the request that came in this
    /// step. A refused request must not change these flags.
    before: Option<Vec<(bool, bool)>>,
    /// Processes that only a request may start, because they have `autostart: false` or a request
    /// stopped them while they ran. A request to start the process, or a request or a reload that
    /// starts a dependent, removes the process.
    pub(super) down: BTreeSet<usize>,
}

/// A shutdown that has begun.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shutdown {
    pub(super) t0: Time,
    pub(super) deadline: Time,
    pub(super) cause: Cause,
}

/// A reload that is not answered yet.
#[derive(Clone, Debug, Default)]
pub(super) struct Reloading {
    pub(super) plan: Vec<Placed>,
    /// Processes that do not match the new config yet.
    pub(super) left: BTreeSet<usize>,
    /// Processes whose step of the reload has begun.
    pub(super) begun: BTreeSet<usize>,
    /// Processes that were restarted during the reload to follow a dependency.
    pub(super) followed: BTreeSet<usize>,
    pub(super) has_removed: bool,
}

impl<'a> History<'a> {
    pub(super) fn new(scenario: &'a Scenario, now: Time) -> Self {
        let count = scenario.spec.processes.len();
        let is_down = |(_, of): &(usize, &ProcessSpec)| !of.autostart;
        let down = scenario.spec.processes.iter().enumerate().filter(is_down);
        Self {
            scenario,
            start: now,
            now,
            procs: Vec::new(),
            slots: Slots::new(scenario),
            at: vec![SlotHistory::default(); count],
            roles: vec![Role::Current; count],
            broken: Cell::new(None),
            window: scenario.spec.window,
            reload: None,
            has_reloaded: false,
            starts: 0,
            aborted: BTreeSet::new(),
            unready_since: None,
            delayed: Duration::ZERO,
            stays_ready: false,
            was_good: false,
            count_ends: 0,
            ended_before: 0,
            planned: BTreeSet::new(),
            shutdown: None,
            held_at: None,
            stop_signals: 0,
            last_signal: None,
            exit: None,
            sweeping: None,
            has_killed_leftovers: false,
            hooks: BTreeSet::new(),
            asked_for: BTreeSet::new(),
            began: BTreeMap::new(),
            before: None,
            down: down.map(|(process, _)| process).collect(),
        }
    }

    pub(super) fn broken(&self) -> Option<&'static str> {
        self.broken.get()
    }

    pub(super) fn fail(&self, why: &'static str) {
        self.broken.set(self.broken.get().or(Some(why)));
    }

    /// Records the breach `why` if `holds` is false.
    pub(super) fn hold(&self, holds: bool, why: &'static str) {
        if !holds {
            self.fail(why);
        }
    }

    /// Takes over the time and the processes of the world.
    pub(super) fn look(&mut self, now: Time, procs: &[Proc]) {
        self.now = now;
        procs.clone_into(&mut self.procs);
    }

    /// Records the state after the core's actions for one event are done.
    pub(super) fn record_step(&mut self, machine: &Machine) {
        if let Phase::Running(running) = machine.phase() {
            self.was_good = running.was_ready();
        }
        if self.is_unready() {
            return;
        }
        for slot in self.slots.all() {
            // An old epoch may be stopping without a stop signal: it waits until the newer epoch
            // ends it.
            let is_stopping = matches!(machine.state().life(slot), Lifecycle::Stopping { .. });
            self[slot].stops_early |= is_stopping;
        }
    }
}
