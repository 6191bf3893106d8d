//! Compares every step of a run with the promises. The checker repeats the limits of the core on
//! purpose: it must not share a mistake with the core. A function `holds_…` checks one promise, and
//! `hold` records a breach. A process "follows" a dependency if it is restarted because the
//! dependency has a new instance (`restart: true` in `depends_on`).

mod deadline;

use std::cell::Cell;
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use crate::longest::sums_below;
use crate::scenario::NewConfig;
use crate::slots::Slots;
use crate::*;
use drainit_core::cause::Failure;
use drainit_core::note::AfterEnd;
use drainit_core::phase::Phase;
use drainit_core::state::Lifecycle;
use drainit_core::state::Role;

/// The least time of a shutdown, even if a drain without a stop has used up the window.
const LEAST: Duration = Duration::from_secs(1);
/// If a stop signal comes within this time after a requested drain, the drain may be that of a
/// `preStop` hook, and the grace period counts from the request.
const HOOK_TO_SIGNAL: Duration = Duration::from_secs(5);
/// The stops wait at most this long for the count of the connections that they cut.
const COUNTS: Duration = Duration::from_millis(250);

/// The parts of a run's history that the checks need.
#[derive(Clone, Debug)]
pub(crate) struct Checker<'a> {
    scenario: &'a Scenario,
    slots: Slots,
    /// The history of each slot.
    at: Vec<Seen>,
    roles: Vec<Role>,
    /// The time from T0 to the deadline in the newest config.
    window: Duration,
    /// The reload that is not answered yet.
    reload: Option<Reloading>,
    /// Whether a reload has begun. Since then, processes of several configs may stop together, so
    /// the checker skips a few promises about how long drainit waits.
    has_reloaded: bool,
    /// The number of starts of all slots so far.
    starts: u32,
    /// Slots whose start drainit aborted (`Action::AbortSpawn`) before the start was answered.
    aborted: BTreeSet<ProcessId>,
    /// The last action, if a note about this action has to follow at once.
    work: Option<Action>,
    /// The first breach of a promise.
    broken: Cell<Option<&'static str>>,
    /// Whether the shutdown, or a drain without a stop, has begun, so that no process may start any
    /// more.
    unready: bool,
    /// When `unready` was set.
    unready_since: Option<Time>,
    /// Whether all processes have once been ready or complete at the same time, so that `/readyz`
    /// could answer 200.
    was_good: bool,
    /// When `Action::StayReady` came, if `/readyz` has not turned 503 since.
    stays_ready: Option<Time>,
    /// Whether the shutdown has begun to stop processes.
    stops_began: bool,
    /// Whether all drains of the shutdown were over before this step. If so, the stops may have
    /// begun before any stop signal is sent: each stop may wait for a process that was already
    /// being stopped.
    are_drains_over: bool,
    /// The time until which stops wait for the count of the connections that they cut.
    counted_until: Option<Time>,
    /// The number of processes that had ended by the time `unready` was set.
    ended_before: usize,
    /// Processes that were alive or being started when `unready` was set. A process that ends before
    /// the shutdown stops it is removed.
    planned: BTreeSet<usize>,
    /// The number of processes that have ended so far.
    count_ends: usize,
    /// Whether `Event::Start` came before the shutdown.
    has_begun: bool,
    start: Time,
    t0: Option<Time>,
    /// Whether a process has ended after a `POST /drain` without being asked to.
    has_unasked_end: bool,
    /// Processes that have run and whose `post_stop` hook must still run.
    owes_post_stop: BTreeSet<usize>,
    /// Whether this step has to ask the rest of a group to end, because its orphans are gone.
    owes_rest: bool,
    /// The last end or failed start before the shutdown, and whether it was a success.
    last_end: Option<(End, bool)>,
    /// Slots whose last evaluation of `only_if` was true, so that the next start does not evaluate
    /// it again. A slot leaves this set when it gets a stop signal, or when its `post_stop` hook
    /// runs.
    admitted: BTreeSet<ProcessId>,
    /// For each slot, the number of the last evaluation of its `only_if`.
    checks: BTreeMap<ProcessId, u32>,
    /// Slots whose `pre_start` hook has succeeded and need not run again at the next start. A
    /// slot leaves this set when it gets a stop signal, or when its `post_stop` hook runs.
    prepared: BTreeSet<ProcessId>,
    /// Slots whose `pre_start` hook or instance has run since the last `post_stop` hook.
    has_run: BTreeSet<ProcessId>,
    deadline: Option<Time>,
    cause: Option<Cause>,
    stop_signals: u32,
    last_signal: Option<Time>,
    exit: Option<u8>,
    /// Whether leftovers were killed, or the rest of a process group, or whether they survive.
    killed: bool,
    has_hung: bool,
    sweeping: Option<Signal>,
    /// When drainit first sent a signal to the leftovers.
    swept_at: Option<Time>,
    /// For each process, here and in the next three fields: whether an instance in any of its slots
    /// was started, was skipped, became ready, or ended.
    was_started: Vec<bool>,
    was_skipped: Vec<bool>,
    was_ready: Vec<bool>,
    ended: Vec<bool>,
    /// The process that has failed its liveness check in this step.
    failed_check: Option<ProcessId>,
    /// For each process: whether a start has failed.
    start_failed: Vec<bool>,
    /// When an operator last requested a drain without a stop.
    held_at: Option<Time>,
    /// When that drain was over.
    rests_since: Option<Time>,
    /// The hooks that run now.
    hooks: BTreeSet<HookId>,
    /// Requests that are not answered yet. Equal requests share one answer.
    asked_for: BTreeSet<(usize, Request)>,
    /// The request that came in this step, if an equal request was not answered yet.
    repeated: Option<(usize, Request)>,
    /// For each process and kind of request: the value of `starts` when drainit began the first
    /// such request, and whether the process was alive then.
    began: BTreeMap<(usize, Request), (u32, bool)>,
    /// Slots that get a new definition once their instance is gone.
    redefined: BTreeSet<ProcessId>,
    /// Processes whose last run has completed, or whose last start was skipped.
    went_well: BTreeSet<usize>,
    /// The changed files of each slot, each with whether it is quiet (no longer being written). An
    /// entry is removed when drainit acts on the change or starts the process.
    changed: BTreeMap<(ProcessId, usize), bool>,
    /// For each process: whether only a request may start it, because it has `autostart: false` or
    /// a request stopped it while it ran. A request to start the process, or a request or a reload
    /// that starts a dependent, sets the value to false.
    down: Vec<bool>,
    /// `alone` and `by_request` of all slots as they were before the request that came in this
    /// step. A refused request must not change these flags.
    before: Option<Vec<(bool, bool)>>,
}

/// The history of a slot, and of the instance in it.
#[derive(Clone, Debug, Default)]
struct Seen {
    started_as: u32,
    /// Whether the instance became ready before `unready` was set.
    was_serving: bool,
    /// Whether drainit lets the instance end without a drain: no time was left, or a newer epoch
    /// has taken over.
    not_drained: bool,
    asked: Option<(Time, Duration)>,
    /// Whether drainit has granted the instance more time to end.
    extended: bool,
    group_killed: bool,
    killed_in_shutdown: bool,
    /// After SIGKILL: the time from which the core no longer waits for the instance's end.
    survives_at: Option<Time>,
    drain: Option<(Time, Duration)>,
    /// Whether the instance's drain began before the shutdown, or before the drain without a stop.
    drained_early: bool,
    draining: bool,
    /// Whether the traffic of the instance is counted again between the stops of its dependents and
    /// its own stop.
    recounted: bool,
    drained: bool,
    /// Whether the instance's drain is finished: the drain was over while the instance still ran,
    /// or drainit skipped the drain because no time was left.
    drain_over: bool,
    /// Whether the instance's drain was over because no connection or request was open.
    was_quiet: bool,
    /// Whether the drain was over when the stop signal came.
    is_held: bool,
    /// The longest time that the last closing of the instance's listeners may take.
    closing: Duration,
    /// The number of processes that had ended when that closing began.
    ended_before_closing: usize,
    /// Whether the instance is an Envoy that was never live, so that it has nothing to drain
    /// (`Event::NothingToDrain`).
    not_live: bool,
    /// The number of processes that had already ended when the instance's drain began. If `unready`
    /// was set before the drain, this is the number at the time when `unready` was set.
    ended_before_drain: usize,
    last_active: Option<u64>,
    accepted: Option<bool>,
    /// The number of failed liveness probes in a row, and the number that fails the check; `None`
    /// without a check, or after `Event::Unhealthy`.
    probe_failures: Option<(u32, u32)>,
    /// When the readiness timeout is over. drainit must not give up the start before this time.
    ready_by: Option<Time>,
    /// For a oneshot: when its `timeout` is over.
    complete_by: Option<Time>,
    /// Whether the instance is ready, and drainit has not begun to stop it.
    serves: bool,
    /// Whether a restart of the instance has failed because it survives SIGKILL. A new start clears
    /// this flag, even if `only_if` skips the start.
    stuck: bool,
    /// Whether drainit stops the instance without its dependents: for a restart, or after a failed
    /// start or liveness check.
    alone: bool,
    /// Whether an operator's request stops the instance. Its dependents stop first.
    by_request: bool,
    /// Whether the instance has failed its liveness check, so that its drain lasts for `min` only.
    unhealthy: bool,
    /// Whether the instance's stop began before the shutdown.
    stops_early: bool,
    /// Whether drainit has released the instance's held sockets.
    released: bool,
    /// Whether the instance has ended, and no new instance runs in the slot.
    gone: bool,
    /// Whether the instance is an epoch that has not taken over from the older epoch beside it.
    pending: bool,
    /// Whether the instance is an epoch that a newer epoch has to end in place of drainit
    /// (`Note::HandedOver`).
    handed_over: bool,
    /// Whether the instance is an old epoch: a newer epoch has taken over from it.
    taken_over: bool,
    /// Whether the instance has ended, and its `restart` policy does not start it again.
    given_up: bool,
    /// Whether the instance is an epoch that Envoy will abort, because the older epoch beside it
    /// has ended too early.
    doomed: bool,
    /// Whether the instance got its stop signal.
    signalled: bool,
    /// Whether drainit has sent a signal to the other members of the instance's process group,
    /// which outlive the instance.
    rest_signalled: bool,
    /// Whether the orphans of this group are gone; `None` if drainit has not asked them to end.
    orphans_gone: Option<bool>,
    /// Whether `Note::Started` was given for the instance.
    started: bool,
    /// Whether the kernel has shown that the instance listens on nothing.
    listens_on_nothing: bool,
    /// Whether the instance must be restarted to follow a dependency: the dependency has a new
    /// instance, which has met the condition of `depends_on`.
    behind: bool,
    /// Whether the instance is restarted to follow a dependency, and its new start has not begun.
    follows: bool,
    /// Whether the instance is on its way up. The way begins with a start or with an end, and lasts
    /// until the instance is ready, complete or skipped.
    on_its_way: bool,
    /// Whether [`Checker::holds_start`] has already checked the start that has begun. A start
    /// reaches this check up to three times: for `only_if`, for the `pre_start` hook, and for the
    /// spawn.
    is_judged: bool,
}

/// A reload that is not answered yet.
#[derive(Clone, Debug, Default)]
struct Reloading {
    plan: Vec<Placed>,
    /// Processes that do not match the new config yet.
    left: BTreeSet<usize>,
    /// Processes whose step of the reload has begun.
    begun: BTreeSet<usize>,
    /// Processes that were restarted during the reload to follow a dependency.
    followed: BTreeSet<usize>,
    has_removed: bool,
}

/// An exit that an operator asked for gets this time after the limit of its stop.
const MOST_EXIT: Duration = Duration::from_secs(5);

impl<'a> Checker<'a> {
    pub(crate) fn new(scenario: &'a Scenario, now: Time) -> Self {
        let count = scenario.spec.processes.len();
        Self {
            scenario,
            slots: Slots::new(scenario),
            at: vec![Seen::default(); count],
            window: scenario.spec.window,
            reload: None,
            has_reloaded: false,
            roles: vec![Role::Current; count],
            starts: 0,
            aborted: BTreeSet::new(),
            work: None,
            broken: Cell::new(None),
            unready: false,
            unready_since: None,
            was_good: false,
            stays_ready: None,
            stops_began: false,
            are_drains_over: false,
            counted_until: None,
            ended_before: 0,
            planned: BTreeSet::new(),
            count_ends: 0,
            has_begun: false,
            start: now,
            t0: None,
            has_unasked_end: false,
            owes_post_stop: BTreeSet::new(),
            owes_rest: false,
            last_end: None,
            admitted: BTreeSet::new(),
            checks: BTreeMap::new(),
            prepared: BTreeSet::new(),
            has_run: BTreeSet::new(),
            deadline: None,
            cause: None,
            stop_signals: 0,
            last_signal: None,
            exit: None,
            killed: false,
            has_hung: false,
            sweeping: None,
            swept_at: None,
            was_started: vec![false; scenario.behaviours.len()],
            was_skipped: vec![false; scenario.behaviours.len()],
            was_ready: vec![false; scenario.behaviours.len()],
            ended: vec![false; scenario.behaviours.len()],
            failed_check: None,
            start_failed: vec![false; scenario.behaviours.len()],
            held_at: None,
            rests_since: None,
            hooks: BTreeSet::new(),
            asked_for: BTreeSet::new(),
            repeated: None,
            began: BTreeMap::new(),
            redefined: BTreeSet::new(),
            went_well: BTreeSet::new(),
            changed: BTreeMap::new(),
            down: (0..scenario.behaviours.len())
                .map(|process| {
                    let of = scenario.spec.processes.get(process);
                    of.is_some_and(|of| !of.autostart)
                })
                .collect(),
            before: None,
        }
    }

    /// The exit code, if there was an exit.
    pub(crate) fn exit(&self) -> Option<u8> {
        self.exit
    }

    /// The first breach, if there is one. Later breaches have no meaning.
    pub(crate) fn broken(&self) -> Option<&'static str> {
        self.broken.get()
    }

    pub(crate) fn fail(&self, why: &'static str) {
        self.broken.set(self.broken.get().or(Some(why)));
    }

    /// Records the breach `why` if `holds` is false.
    fn hold(&self, holds: bool, why: &'static str) {
        if !holds {
            self.fail(why);
        }
    }

    /// When drainit notices that the time `at` has come. If drainit is paused at that time, it
    /// notices this only at the end of the pause.
    fn seen_at(&self, at: Time) -> Time {
        self.start + self.scenario.seen_at(at.since(self.start))
    }

    /// Whether drainit was paused between these times.
    fn was_paused(&self, from: Time, now: Time) -> bool {
        let from = from.since(self.start);
        let is_within =
            |(begin, end): &(Duration, Duration)| from < *end && self.start + *begin < now;
        self.scenario.pauses.iter().any(is_within)
    }

    /// Whether drainit was paused after `unready` was set.
    fn has_lost_time(&self, now: Time) -> bool {
        self.was_paused(self.held_at.or(self.t0).unwrap_or(now), now)
    }

    /// If drainit sends SIGKILL now: the time from which the core no longer waits for the end of
    /// the process.
    fn survivor_at(&self, now: Time) -> Time {
        let held = self.unready.then_some(self.window);
        match self.deadline.map(|deadline| deadline.since(now)).or(held) {
            Some(left) => now + wait_after_kill(left),
            None => now + Duration::from_secs(5),
        }
    }

    /// Shortens the waits for the ends of killed processes, because the deadline is only `left`
    /// away.
    fn fit_survivors(&mut self, now: Time, left: Duration) {
        let latest = now + wait_after_kill(left);
        for at in self.at.iter_mut().filter_map(|seen| seen.survives_at.as_mut()) {
            *at = latest.min(*at);
        }
    }

    pub(crate) fn event(&mut self, now: Time, event: Event) {
        let is_over = |id: ProcessId| {
            let seen = &self.at[id.index()];
            let is_due = seen.was_serving && !seen.gone && self.of(id).drain.is_some();
            !seen.draining && (!is_due || seen.drained || seen.not_drained)
        };
        self.are_drains_over =
            self.unready && self.deadline.is_some() && self.slots.all().all(is_over);
        if let Event::Exited { process, .. } | Event::GroupGone(process) = event
            && self.deadline.is_some_and(|deadline| deadline.since(now) <= self.window / 4)
        {
            // In the last quarter of the window, drainit may skip the `post_stop` hook: the stops
            // of the dependencies may need all of this time.
            self.owes_post_stop.remove(&self.slots.process(process));
        }
        self.holds_no_dead_sockets();
        self.has_begun |= event == Event::Start && self.deadline.is_none();
        self.before = None;
        self.repeated = None;
        match event {
            Event::Signal(signal) if self.scenario.spec.stop_signals.contains(&signal) => {
                let is_again = self.last_signal.is_some_and(|last| {
                    now.since(last) < Duration::from_millis(5) && self.deadline.is_some()
                });
                self.last_signal = Some(now);
                let is_further = signal == Signal::TERM && self.stop_signals > 0;
                self.stop_signals += u32::from(!is_again && !is_further);
            }
            Event::ShutdownRequested if self.deadline.is_none() => {
                self.last_signal = Some(now);
                self.stop_signals += 1;
            }
            Event::SpawnFailed { exit_code, .. } if self.deadline.is_none() => {
                self.last_end = Some((End::Code(exit_code), false));
            }
            Event::Exited { process, end, remains } => {
                if self.deadline.is_none() {
                    let codes = &self.of(process).success_codes;
                    let is_success = matches!(end, End::Code(code) if codes.contains(&code));
                    self.last_end = Some((end, is_success));
                }
                self.count_ends += 1;
                if self.at[process.index()].asked.is_none() || self.at[process.index()].stops_early
                {
                    self.planned.remove(&self.slots.process(process));
                }
                self.has_unasked_end |=
                    self.held_at.is_some() && self.at[process.index()].asked.is_none();
                self.ended[self.slots.process(process)] = true;
                // holds: S840
                if end.signal() != Some(Signal::KILL) && !remains {
                    self.at[process.index()].killed_in_shutdown = false;
                }
                self.at[process.index()].serves = false;
                self.at[process.index()].gone = true;
                self.at[process.index()].behind = false;
                self.at[process.index()].on_its_way = true;
            }
            Event::Spawned(process) => {
                self.at[process.index()].gone = false;
                self.was_started[self.slots.process(process)] = true;
            }
            Event::Requested { process, request } => {
                let key = (self.slots.process(process), request);
                if !self.asked_for.insert(key) {
                    self.repeated = Some(key);
                }
            }
            Event::FileSeen { process, watch } => {
                self.changed.entry((process, watch)).or_default();
            }
            // If the process has started since the change, the start has read the new content, and
            // has already removed the entry.
            Event::FileQuiet { process, watch, is_new } => {
                if let Entry::Occupied(mut seen) = self.changed.entry((process, watch)) {
                    *seen.get_mut() |= is_new;
                    if !seen.get() {
                        seen.remove();
                    }
                }
            }
            Event::Condition { process, check, holds: true }
                if self.checks.get(&process) == Some(&check) =>
            {
                self.admitted.insert(process);
            }
            Event::HookEnded { hook, success } => {
                self.hooks.remove(&hook);
                if let (Some(process), Stage::PreStart, true) = (hook.process, hook.stage, success)
                {
                    self.prepared.insert(process);
                    self.has_run.insert(process);
                }
            }
            Event::OrphansGone(process) => {
                let seen = &mut self.at[process.index()];
                let was_gone = seen.orphans_gone.replace(true) == Some(true);
                // The report may be that of an earlier instance, whose group is gone.
                self.owes_rest = !was_gone && seen.survives_at.is_none() && seen.gone;
            }
            Event::Swept { any: true } => {
                self.killed |= self.sweeping == Some(Signal::KILL);
            }
            Event::Ready(process) => self.was_ready[self.slots.process(process)] = true,
            Event::LivenessProbed { process, is_alive } => {
                if let Some((failures, retries)) = &mut self.at[process.index()].probe_failures {
                    *failures = if is_alive { 0 } else { *failures + 1 };
                    let has_failed = *failures >= *retries;
                    self.failed_check = Some(process).filter(|_| has_failed);
                }
            }
            Event::Unhealthy(process) => {
                self.at[process.index()].probe_failures = None;
                self.failed_check = Some(process);
            }
            Event::TimeoutExtended { process, by } => self.extend(now, process, by),
            Event::DrainAnswered { process, accepted } => {
                self.at[process.index()].accepted = Some(accepted)
            }
            Event::Counted => self.counted_until = None,
            Event::ListensOnNothing(process) => {
                self.at[process.index()].listens_on_nothing = true;
            }
            Event::NothingToDrain(process) => self.at[process.index()].not_live = true,
            Event::DrainSample { process, load } => {
                self.at[process.index()].last_active = load.active
            }
            _ => {}
        }
    }

    /// Grants a process the time that it asks for. In a shutdown, the process gets only the time
    /// that the later stops and hooks do not need before the deadline.
    fn extend(&mut self, now: Time, process: ProcessId, by: Duration) {
        let index = process.index();
        if let Some(ready_by) = self.at[index].ready_by.filter(|at| now < *at) {
            self.at[index].ready_by = Some(ready_by.max(now + by));
        }
        // An event that comes exactly at a limit is handled before the limit takes effect.
        if let Some(complete_by) = self.at[index].complete_by.filter(|at| now <= self.seen_at(*at))
        {
            self.at[index].complete_by = Some(complete_by.max(now + by));
        }
        let later = match self.has_reloaded {
            true => Duration::ZERO,
            false => self.kept_after(process),
        };
        // drainit stops these processes with SIGKILL, so they cannot ask for more time.
        let is_killed =
            self.at[index].group_killed || self.at[index].pending || self.at[index].doomed;
        let is_in_time = |at: Time| now < at || self.was_paused(at, now) && now <= self.seen_at(at);
        if let Some((asked, limit)) = self.at[index].asked
            && is_in_time(asked + limit)
            && !is_killed
        {
            let spare = |deadline: Time| deadline.since(now).saturating_sub(later);
            let granted = by.min(self.deadline.map_or(Duration::MAX, spare));
            let longer = (now + granted).since(asked);
            self.at[index].extended |= longer > limit;
            self.at[index].asked = Some((asked, limit.max(longer)));
        }
    }

    /// The time before the deadline that the container's `post_stop` hook needs.
    fn needed_at_the_end(&self) -> Duration {
        let spec = &self.scenario.spec;
        hook_need(spec.hooks.post_stop).saturating_sub(spec.after_deadline())
    }

    /// The largest sum of weights on a path from a process through its dependencies.
    fn path_from(
        &self,
        slot: ProcessId,
        weight: impl Fn(ProcessId, &ProcessSpec) -> Duration,
    ) -> Duration {
        sums_below(&self.scenario.spec, weight)[self.slots.process(slot)]
    }

    fn of(&self, slot: ProcessId) -> &ProcessSpec {
        self.slots.of(slot)
    }

    fn is_current(&self, slot: ProcessId) -> bool {
        self.roles[slot.index()] == Role::Current
    }

    /// The slots of a process, without free (retired) slots.
    fn slots_of(&self, process: usize) -> impl Iterator<Item = ProcessId> {
        let slots = self.slots.all().filter(move |id| self.slots.process(*id) == process);
        slots.filter(|id| self.roles[id.index()] != Role::Retired)
    }

    /// Whether the process of this slot is being replaced, so that it has two slots.
    fn is_replaced(&self, slot: ProcessId) -> bool {
        self.slots_of(self.slots.process(slot)).count() > 1
    }

    /// Checks that a replacement may begin: the process has only one slot, and the new slot is
    /// free.
    fn adopt(&mut self, slot: ProcessId, of: ProcessId, is_newer: bool, procs: &[Proc]) {
        self.hold(!self.unready, "a replacement in a shutdown");
        self.retire(procs);
        let is_added = of == slot;
        if is_added {
            let is_new = |reload: &Reloading| reload.plan.contains(&Placed::New(slot));
            self.hold(self.reload.as_ref().is_some_and(is_new), "an unknown process is added");
        } else {
            self.hold(self.is_current(of), "an instance that was replaced is replaced again");
            self.hold(!self.is_replaced(of), "two replacements of a process at a time");
            // holds: C330, C656
            self.hold(self.at[of.index()].serves, "an overlap while nothing serves");
        }
        let is_free = self.roles.get(slot.index()).is_none_or(|role| *role == Role::Retired);
        self.hold(is_free, "a new instance in a slot that is in use");
        self.hold(slot.index() < 3 * self.slots.processes(), "free slots are not used again");
        let proc = procs.get(slot.index()).copied().unwrap_or_default();
        self.hold(!proc.alive && !proc.group, "a slot is reused while its process is alive");
        if self.broken().is_some() {
            return;
        }
        let is_changed = |reload: &Reloading| reload.plan.contains(&Placed::Changed(of));
        let is_step = is_newer && !is_added;
        let may_step = self.reload.as_ref().is_some_and(is_changed);
        self.hold(!is_step || may_step, "an unchanged process gets another definition");
        self.slots.adopt(slot, of, is_newer);
        // holds: C330
        let overlaps = is_added || self.of(slot).update.overlaps();
        self.hold(overlaps, "an overlap without such an `update`");
        if slot.index() == self.roles.len() {
            self.add_slot();
        }
        self.begin_anew(slot);
        self.roles[slot.index()] = if is_added { Role::Reserved } else { Role::New { old: of } };
        if is_step {
            self.step(slot);
        }
    }

    /// Forgets all instances that this slot has had.
    fn begin_anew(&mut self, slot: ProcessId) {
        let place = slot.index();
        self.is_over(slot);
        self.has_run.remove(&slot);
        self.forget(slot);
        self.redefined.remove(&slot);
        self.at[place].serves = false;
        self.at[place].gone = false;
        self.at[place].released = false;
        self.at[place].started_as = 0;
        self.at[place].probe_failures = None;
        self.at[place].ready_by = None;
        self.at[place].complete_by = None;
    }

    fn add_slot(&mut self) {
        self.roles.push(Role::Retired);
        self.at.push(Seen::default());
    }

    /// Checks the beginning of a replacement. If the two instances overlap, nothing happens to the
    /// running instance yet. Otherwise the process keeps its slot.
    fn replacing(&mut self, new: ProcessId, old: ProcessId, overlaps: bool, procs: &[Proc]) {
        if !overlaps {
            self.hold(new == old, "another slot without an overlap");
            self.retire(procs);
            let Some(index) = self.slots.in_config(old) else {
                return self.fail("a process is replaced that the config does not have");
            };
            self.step(old);
            self.redefined.insert(old);
            self.at[old.index()].alone = true;
            self.at[old.index()].behind = false;
            self.at[old.index()].follows = false;
            // If a request has stopped the process, it may stay down, and the step of the reload is
            // over at once.
            let is_down = !procs[old.index()].alive && !procs[old.index()].group;
            let autostart = self.slots.definition(index).autostart;
            let was_started = self.at[old.index()].started_as > 0;
            if is_down && (self.at[old.index()].by_request || !autostart || !was_started) {
                self.stepped(old);
            }
            return;
        }
        self.hold(self.roles[new.index()] == Role::New { old }, "a replacement in another slot");
        let (new_spec, old_spec) = (self.of(new), self.of(old));
        let takes_over =
            new_spec.update != Update::HotRestart || new_spec.base_id == old_spec.base_id;
        self.hold(takes_over, "an Envoy beside another from which it cannot take over");
        for place in [new.index(), old.index()] {
            self.at[place].alone = false;
            self.at[place].follows = false;
        }
        self.at[old.index()].on_its_way = false;
    }

    /// Records a new config. If `is_taken` is false, the core has refused it.
    pub(crate) fn reload(&mut self, config: &NewConfig, plan: &[Placed], is_taken: bool) {
        if !is_taken {
            return;
        }
        self.hold(self.reload.is_none(), "two reloads at a time");
        self.hold(!self.unready, "a reload in a shutdown");
        let changed = plan.iter().zip(&config.processes);
        let changed = changed.filter(|(placed, _)| !matches!(placed, Placed::Same(_)));
        let left = changed.map(|(_, (process, _))| *process).collect();
        let plan = plan.to_vec();
        self.slots.reload(config, &plan);
        let added = config.processes.iter().zip(&config.spec.processes).zip(&plan);
        for ((process, of), _) in added.filter(|(_, placed)| matches!(placed, Placed::New(_))) {
            self.down[process.0] = !of.autostart;
        }
        self.reload = Some(Reloading { plan, left, ..Reloading::default() });
        self.has_reloaded = true;
        self.window = config.spec.window;
    }

    /// Checks that the step of the reload for this process may begin: all its dependencies match
    /// the new config already.
    fn step(&mut self, slot: ProcessId) {
        self.holds_one_step();
        let process = self.slots.process(slot);
        let Some(index) = self.slots.index_of(process) else {
            return self.fail("a step of a process that the config does not have");
        };
        let Some(reload) = &mut self.reload else { return };
        reload.begun.insert(process);
        let left = reload.left.clone();
        let mut needs = self.slots.definition(index).dependencies.iter();
        let is_due = needs.all(|(on, _)| !left.contains(&on.index()));
        self.hold(is_due, "a process is replaced before its dependencies");
        // The step may also start dependencies of the process, even if a request had stopped them.
        let mut below = vec![index];
        while let Some(index) = below.pop() {
            for (on, _) in &self.slots.definition(index).dependencies {
                self.down[on.index()] = false;
                below.extend(self.slots.index_of(on.index()));
            }
        }
    }

    /// The slots of the processes that a reload has yet to add.
    fn reserved(&self) -> impl Iterator<Item = ProcessId> {
        self.slots.all().filter(|slot| self.roles[slot.index()] == Role::Reserved)
    }

    /// Checks that the previous step of the reload is over.
    fn holds_one_step(&mut self) {
        let Some(reload) = &self.reload else { return };
        let is_over =
            reload.begun.is_disjoint(&reload.left) && !self.roles.contains(&Role::Leaving);
        self.hold(is_over, "a step of a reload before the end of the last step");
    }

    /// Records that a process matches the new config.
    fn stepped(&mut self, slot: ProcessId) {
        let process = self.slots.process(slot);
        if let Some(reload) =
            self.reload.as_mut().filter(|_| self.roles[slot.index()] == Role::Current)
        {
            reload.left.remove(&process);
        }
    }

    /// Checks the removal of a process that is no longer in the config.
    fn removing(&mut self, slot: ProcessId, procs: &[Proc]) {
        self.hold(self.reload.is_some(), "a process is removed without a reload");
        self.reload.iter_mut().for_each(|reload| reload.has_removed = true);
        self.retire(procs);
        self.holds_one_step();
        let process = self.slots.process(slot);
        let plan = self.reload.as_ref().map(|reload| reload.plan.clone()).unwrap_or_default();
        let is_needed = self.slots.all().any(|id| {
            // A process with `Placed::Same` is not checked: only its dependencies in the new config
            // count, and the removed process is not among them.
            let stays = !matches!(self.roles[id.index()], Role::Leaving | Role::Retired)
                && !plan.contains(&Placed::Same(id));
            let mut needs = self.of(id).dependencies.iter();
            stays && needs.any(|(on, _)| on.index() == process)
        });
        self.hold(!is_needed, "a process is removed before its dependents");
        self.slots.remove(slot);
        // A later config may add another process with the same name. The request that stopped the
        // removed process does not concern the added process.
        self.down[process] = false;
        self.leave(slot);
    }

    /// Checks the answer to a reload.
    fn reloaded(&mut self, is_done: bool, procs: &[Proc]) {
        self.retire(procs);
        // The slots of processes that the reload has not added are free.
        for slot in self.reserved().collect::<Vec<_>>() {
            self.roles[slot.index()] = Role::Retired;
        }
        let Some(reload) = self.reload.take() else {
            return self.fail("an answer without a reload");
        };
        if is_done {
            self.hold(self.slots.are_new(), "a reload is done, but a process has not changed");
            let leaves = self.roles.contains(&Role::Leaving);
            self.hold(!leaves, "a reload is done, but an old instance lives");
            for process in &reload.followed {
                let is_replaced = self.slots_of(*process).count() > 1;
                let current = self.slots.current(*process).map(ProcessId::index);
                let moves = current.is_some_and(|it| self.at[it].follows || self.at[it].on_its_way);
                // holds: C477
                self.hold(!is_replaced && !moves, "a reload is done, but a follower is not");
            }
            for id in self.slots.all() {
                let has_followed = reload.followed.contains(&self.slots.process(id));
                let is_behind = self.is_current(id) && self.at[id.index()].behind && !has_followed;
                // If a dependency is `behind`, too, it is restarted after the reload, and this
                // process waits for that restart.
                let waits = self.may_stay_behind(id, procs)
                    || self.waits_to_follow(id, procs, |on| self.at[on].behind);
                // holds: C477
                self.hold(!is_behind || waits, "a reload is done, but a dependent does not follow");
            }
        }
        for process in reload.followed.iter().filter_map(|process| self.slots.current(*process)) {
            // A process that is alive at the end of the reload has survived SIGKILL, so the reload
            // does not start it again.
            self.at[process.index()].follows &= !procs[process.index()].alive;
        }
    }

    /// Checks that a new instance may take over from the old instance.
    fn took_over(&mut self, new: ProcessId, old: ProcessId, procs: &[Proc]) {
        self.hold(!self.unready, "a replacement in a shutdown");
        self.hold(
            self.roles[new.index()] == Role::New { old },
            "a slot that is not new takes over",
        );
        let is_left_out = self.of(new).conditional && self.reload.is_some();
        let is_ready = self.at[new.index()].serves || is_left_out;
        // holds: C332, C656
        self.hold(is_ready, "the old instance is stopped before the new instance is ready");
        self.slots.take_over(new);
        self.roles[new.index()] = Role::Current;
        self.leave(old);
        // The old epoch drains by itself from now on.
        let are_epochs = procs[old.index()].is_epoch && procs[new.index()].is_epoch;
        self.at[old.index()].taken_over = are_epochs;
        self.at[old.index()].not_drained |= are_epochs;
        self.changed.retain(|(of, _), _| *of != old);
        if self.at[new.index()].serves {
            self.met(new, StartCondition::Started, procs);
            self.met(new, StartCondition::Ready, procs);
        }
        self.stepped(new);
    }

    /// Records that drainit stops the old instance in this slot, even if other processes still need
    /// this instance. A drain may come before the stop.
    fn leave(&mut self, slot: ProcessId) {
        let place = slot.index();
        self.roles[place] = Role::Leaving;
        self.at[place].alone = true;
        self.at[place].by_request = false;
        self.at[place].behind = false;
        self.at[place].follows = false;
        self.at[place].on_its_way = false;
    }

    /// Frees the slots whose instances are gone for good.
    fn retire(&mut self, procs: &[Proc]) {
        for slot in self.slots.all() {
            let proc = procs[slot.index()];
            let has_hook = self.hooks.iter().any(|hook| hook.process == Some(slot));
            let is_gone = !proc.alive && !proc.group && !has_hook;
            if is_gone && self.roles[slot.index()] == Role::Leaving && !self.unready {
                self.roles[slot.index()] = Role::Retired;
                self.changed.retain(|(of, _), _| *of != slot);
            }
        }
    }

    /// Checks three conditions of a start. The slot was not replaced. With `update: stop-first`, no
    /// older instance lives. If a request restarts the process, no request is about to restart a
    /// dependency.
    fn holds_start(&mut self, slot: ProcessId, procs: &[Proc]) {
        let role = self.roles[slot.index()];
        let may_start = matches!(role, Role::Current | Role::New { .. });
        self.hold(may_start, "a start of an instance that was replaced");
        // The slot of a newer instance that will replace this instance does not count.
        let is_other =
            |id: ProcessId| id != slot && self.roles[id.index()] != Role::New { old: slot };
        let mut others = self.slots_of(self.slots.process(slot)).filter(|id| is_other(*id));
        let lives = others.any(|id| procs[id.index()].alive || procs[id.index()].group);
        let is_first = role == Role::Current && self.at[slot.index()].started_as == 0;
        drop(others);
        self.hold(!(is_first && lives), "an overlap in spite of `update: stop-first`");
        let moves = |&(on, condition): &(ProcessId, StartCondition)| {
            let Some(current) = self.slots.current(on.index()) else { return false };
            let needs_start =
                condition == StartCondition::Started && !self.slots.follows_any(slot, on.index());
            let Seen { serves, started_as, on_its_way, .. } = self.at[current.index()];
            let restart = self.restart_asked(current);
            restart.is_some_and(|starts| {
                !serves && (started_as <= starts || on_its_way && !needs_start)
            })
        };
        let mut needed = self.of(slot).dependencies.iter();
        let has_not_begun = |starts| self.at[slot.index()].started_as <= starts;
        let is_asked = self.restart_asked(slot).is_some_and(has_not_begun);
        // The check is made once for each start, because a request to restart the dependency may
        // come while `only_if` or the hook of this start runs.
        // While a new instance waits for the dependency, `restart` may start the old one again.
        let mut beside = self.slots_of(self.slots.process(slot));
        let is_old = beside.any(|id| self.roles[id.index()] == Role::New { old: slot });
        let is_judged = self.at[slot.index()].is_judged || is_old;
        let is_early = is_asked && !is_judged && needed.any(moves);
        drop(beside);
        self.at[slot.index()].is_judged = true;
        // holds: C198, C205
        self.hold(!is_early, "restarted before a dependency that is restarted, too");
    }

    /// The value of `starts` when a request came to restart this process. `None` if the process did
    /// not run when the request came, or if the request is already answered.
    fn restart_asked(&self, slot: ProcessId) -> Option<u32> {
        let key = (self.slots.process(slot), Request::Restart);
        let (starts, was_alive) = *self.began.get(&key)?;
        (was_alive && self.asked_for.contains(&key)).then_some(starts)
    }

    /// If the final count has shown open requests, the stop of the process waits. In a shutdown,
    /// the wait ends with the time of the drain. If the drain was over when the stop signal came,
    /// the wait takes as long as a drain, counted from the stop signal. The end of any process
    /// shortens the wait. The deadline may shorten it, too, if the drain began before the shutdown.
    fn holds_open(&self, now: Time, slot: ProcessId) {
        let place = slot.index();
        let Some(((since, longest), times)) = self.at[place].drain.zip(self.of(slot).drain) else {
            return;
        };
        // After a reload, the drain may have the times of another config, which are not known here.
        if self.held_at.is_some() && !self.scenario.reloads.is_empty() {
            return;
        }
        let is_held = self.held_at.is_some() && self.at[place].is_held;
        let held = self.t0.zip(self.deadline).filter(|_| is_held).map(|(t0, deadline)| {
            let kept = self.kept_after_drain(slot, deadline::kept_stop);
            (t0, times.time.min(deadline.since(t0).saturating_sub(kept)))
        });
        // holds: S506
        let (since, longest) = held.unwrap_or((since, longest));
        let is_shorter = self.at[place].drained_early
            || self.count_ends > self.at[place].ended_before_drain
            || self.stop_signals >= 2;
        let is_asked = self.cause.is_some_and(|cause| cause.is_asked());
        if self.at[place].was_quiet && self.unready && is_asked && !is_shorter {
            let is_open = self.at[place].last_active.is_some_and(|open| open > times.exit_at);
            // holds: S185
            self.hold(!is_open || now >= since + longest, "a stop while requests are in flight");
        }
    }

    /// Whether drainit must not ask any process to end yet, because it waits for the first count of
    /// the shutdown.
    fn awaits_count(&self, now: Time) -> bool {
        self.counted_until.is_some_and(|until| now < until) && self.stop_signals < 2
    }

    /// A process that was serving is drained before its stop, if any time is left for a drain.
    // holds: S23, S25, C239, C653
    fn holds_drained(&self, now: Time, slot: ProcessId) {
        let is_due = self.of(slot).drain.is_some() && self.at[slot.index()].was_serving;
        let is_drained = self.at[slot.index()].drained || self.at[slot.index()].not_drained;
        let is_hurried = self.stop_signals >= 2;
        let is_over = is_drained || is_hurried || self.at[slot.index()].handed_over;
        // holds: S220, C658
        self.hold(!is_due || is_over, "a stop without a drain");
        self.holds_open(now, slot);
    }

    /// The container is ready while every process serves, even while an old and a new instance
    /// overlap. The container is not ready while the new instance of a required process waits for
    /// the end of the old one.
    // holds: C96, C611
    fn holds_readiness(&mut self, machine: &Machine, procs: &[Proc]) {
        let Phase::Running(running) = machine.phase() else { return };
        self.was_good = running.was_ready();
        let currents =
            (0..self.slots.processes()).filter_map(|process| self.slots.current(process));
        let all_serve = currents.map(ProcessId::index).all(|current| {
            self.at[current].serves && !self.at[current].alone && !self.at[current].by_request
        });
        let mut added = self.reserved().filter(|slot| self.of(*slot).required);
        let has_removed = self.reload.as_ref().is_some_and(|reload| reload.has_removed);
        let lacks_process = has_removed && added.next().is_some();
        let is_ready = !running.was_ready() || running.is_ready(machine.state());
        self.hold(
            is_ready || !all_serve || lacks_process,
            "not ready although every process serves",
        );
        let lives = |slot: ProcessId| procs[slot.index()].alive;
        let mut waiting = self.redefined.iter().filter(|slot| self.of(**slot).required);
        let waits = waiting.any(|slot| lives(*slot));
        self.hold(
            !waits || !running.is_ready(machine.state()),
            "ready while a required process is down",
        );
        let is_early = lacks_process && running.is_ready(machine.state());
        self.hold(!is_early, "ready before a required process is added");
    }

    /// If no timer of the core is left, every reload and every request of an operator is answered.
    fn holds_answers(&self, machine: &Machine) {
        let is_open = self.reload.is_some() || !self.asked_for.is_empty();
        if !is_open || self.unready || machine.next_wakeup().is_some() {
            return;
        }
        let state = machine.state();
        let has_progress = self.slots.all().any(|slot| match state.life(slot) {
            Lifecycle::Waiting => self.of(slot).dependencies.iter().any(|(on, condition)| {
                // The slot may wait for a service to complete, which never happens: `drainit check`
                // refuses such a config.
                let current = self.slots.current(on.index());
                let is_service = current.is_some_and(|current| !self.of(current).oneshot);
                *condition == StartCondition::Completed && is_service
            }),
            Lifecycle::Ready { .. }
            | Lifecycle::Stopped { .. }
            | Lifecycle::Done
            | Lifecycle::Killed { .. }
            | Lifecycle::RestKilled { .. } => false,
            _ => true,
        });
        self.hold(has_progress, "no timer is left, but a request or a reload is not answered");
    }

    /// Checks the state after the core's actions for one event are done.
    pub(crate) fn step_over(&mut self, machine: &Machine, procs: &[Proc]) {
        // holds: S720
        self.hold(!self.owes_rest, "the rest of a group gets no signal when its orphans are gone");
        self.holds_liveness(machine);
        self.holds_no_forgotten_change(procs);
        self.holds_followers(procs);
        self.holds_new_instances(machine, procs);
        self.holds_pending(procs);
        self.holds_readiness(machine, procs);
        self.holds_answers(machine);
        self.holds_shutdown(machine, procs);
        for slot in self.slots.all().filter(|_| !self.unready) {
            // An old epoch may be stopping without a stop signal: it waits until the newer epoch
            // ends it.
            let is_stopping = matches!(machine.state().life(slot), Lifecycle::Stopping { .. });
            self.at[slot.index()].stops_early |= is_stopping;
        }
        let expired = machine.state().timers_at;
        let is_late = machine.next_wakeup().is_some_and(|wakeup| wakeup <= expired);
        self.hold(!is_late, "the next wake-up is not in the future");
    }

    pub(crate) fn action(&mut self, now: Time, action: &Action, procs: &[Proc]) {
        self.hold(self.exit.is_none(), "the core acts after the exit");
        self.holds_work(action);
        self.holds_timeouts(now, procs);
        match *action {
            Action::Adopt { slot, of, is_newer } => self.adopt(slot, of, is_newer, procs),
            Action::Redefine(slot) => {
                let plan = self.reload.as_ref().map(|reload| reload.plan.as_slice());
                let plan = plan.unwrap_or_default();
                if plan.contains(&Placed::Changed(slot)) {
                    let proc = procs[slot.index()];
                    self.hold(!proc.alive && !proc.group, "a running process is redefined");
                    self.begin_anew(slot);
                } else {
                    let is_same = plan.contains(&Placed::Same(slot));
                    self.hold(is_same, "a process has the wrong definition");
                }
                self.slots.redefine(slot);
            }
            Action::CheckCondition { process, check } => {
                // Only the answer to this check admits the start.
                self.admitted.remove(&process);
                self.checks.insert(process, check);
                self.holds_start(process, procs);
                self.at[process.index()].follows = false;
                self.at[process.index()].on_its_way = true;
            }
            Action::Spawn(process) => {
                let proc = procs[process.index()];
                self.hold(!proc.alive && !proc.group, "a start of a process that is alive");
                self.at[process.index()].gone = false;
                // holds: S4, C118, C660
                self.hold(!self.unready, "a start after the shutdown has begun");
                self.holds_start(process, procs);
                let is_down = self.down[self.slots.process(process)];
                // holds: C684, C686
                self.hold(!is_down, "a process starts by itself that only a request may start");
                // A restart does not wait for dependencies that only a newer config has.
                let is_new = matches!(self.roles[process.index()], Role::New { .. });
                let has_run = is_new || self.at[process.index()].started_as > 0;
                let is_again = self.has_reloaded && has_run;
                for (on, condition) in &self.of(process).dependencies {
                    self.hold(
                        is_again || self.is_reached(*on, *condition),
                        // holds: C159, C193, C194
                        "a start before its dependency",
                    );
                    let is_down = self.down[on.index()] && !is_again;
                    // holds: C571
                    self.hold(!is_down, "a start without its dependency");
                    let is_first = self.at[process.index()].started_as == 0
                        && !is_new
                        && !self.prepared.contains(&process);
                    let current = self.slots.current(on.index());
                    let is_stuck = current.is_some_and(|on| self.at[on.index()].stuck);
                    self.hold(
                        !(is_first && is_stuck && !is_again),
                        // holds: C571
                        "a start without a dependency that a restart has left down",
                    );
                }
                self.starts += 1;
                self.at[process.index()].started_as = self.starts;
                let other = self.other_epoch(now, process, procs);
                let other = other.filter(|_| self.of(process).update == Update::HotRestart);
                if let Some(other) = other {
                    let proc = procs[other.index()];
                    let is_spoilt = proc.newer_failed && self.is_current(process);
                    self.hold(!is_spoilt, "a start beside an epoch that cannot hand over");
                    let ends = proc.is_passed
                        || self.at[other.index()].signalled
                        || self.at[other.index()].group_killed
                        || self.at[other.index()].asked.is_some()
                            && !self.at[other.index()].handed_over;
                    self.hold(!ends, "a start beside an epoch that is about to end");
                    self.hold(!proc.aborts, "a start beside an epoch that Envoy aborts");
                }
                self.went_well.remove(&self.slots.process(process));
                if self.of(process).hooks.pre_start.is_none() {
                    self.changed.retain(|(of, _), _| *of != process);
                }
                let of = self.of(process);
                let is_admitted = !of.conditional || self.admitted.contains(&process);
                // holds: C481
                self.hold(is_admitted, "a start although `only_if` was not evaluated");
                let is_prepared = of.hooks.pre_start.is_none() || self.prepared.contains(&process);
                // holds: C481
                self.hold(is_prepared, "a start without its pre_start hook");
                self.forget(process);
                self.at[process.index()].pending = other.is_some();
            }
            Action::RunHook(hook @ HookId { process, stage }) => {
                // holds: S7
                self.hold(self.has_begun, "a hook before the start");
                let is_new = self.hooks.insert(hook);
                // holds: C657
                self.hold(is_new, "a hook starts that is running already");
                match (process, stage) {
                    (Some(process), Stage::PreStart) => {
                        self.holds_start(process, procs);
                        self.changed.retain(|(of, _), _| *of != process);
                        self.at[process.index()].follows = false;
                        self.at[process.index()].on_its_way = true;
                        self.at[process.index()].stops_early = false;
                    }
                    (Some(process), Stage::PreStop) => {
                        self.at[process.index()].serves = false;
                        let takes_over = !self.is_new(process) && !self.at[process.index()].pending;
                        self.hold(takes_over, "a `pre_stop` hook of a new instance");
                        self.holds_stop(now, process, procs);
                        self.stops_began |= self.are_drains_over;
                        self.at[process.index()].stops_early |= !self.unready;
                    }
                    (Some(process), Stage::PostStop) => {
                        self.owes_post_stop.remove(&self.slots.process(process));
                        self.is_over(process);
                        self.holds_last_hook(process, procs);
                        let mut others = self.slots_of(self.slots.process(process));
                        let continues = others.any(|id| {
                            let survives_at = self.at[id.index()].survives_at;
                            procs[id.index()].alive && survives_at.is_none_or(|at| now < at)
                        });
                        // After a reload, a new instance may run already when the old instance
                        // ends, and the hook of the old definition runs at that end.
                        let may_differ = self.has_reloaded;
                        self.hold(
                            !continues || may_differ,
                            // holds: C347, C359
                            "a `post_stop` hook of a process that continues",
                        );
                    }
                    (None, _) => {}
                }
                let is_late = stage == Stage::PreStart && self.unready;
                // holds: S5
                self.hold(!is_late, "a pre_start hook after the shutdown has begun");
                let is_last = hook == HookId { process: None, stage: Stage::PostStop };
                // holds: S107, S201, C657
                self.hold(!is_last || self.stop_signals < 3, "a last hook after a third signal");
            }
            Action::Stop { process, signal } => {
                self.is_over(process);
                self.holds_epochs(now, process, signal, procs);
                // An instance that has not taken over from the old instance is stopped before all
                // others.
                let is_new = self.is_new(process) || self.at[process.index()].pending;
                self.at[process.index()].stops_early |= is_new;
                let is_early = self.at[process.index()].stops_early;
                let serves = !self.at[process.index()].listens_on_nothing;
                let is_good = self.stays_ready.is_some() && serves;
                // holds: S19
                self.hold(!is_good || is_early, "a stop while `/readyz` is good");
                let at = &self.at[process.index()];
                let is_counted = self.of(process).drain.is_some_and(|drain| drain.closes)
                    && (at.was_serving || at.drained);
                // holds: S435
                self.hold(
                    is_counted || !self.awaits_count(now) || is_early,
                    "a stop before its count",
                );
                self.hold(procs[process.index()].alive, "a stop signal to a process that is gone");
                self.hold(!self.at[process.index()].signalled, "two stop signals to a process");
                self.at[process.index()].signalled = true;
                let was_noted = self.at[process.index()].asked.is_some();
                self.at[process.index()].serves = false;
                self.holds_drained(now, process);
                if !self.at[process.index()].stops_early {
                    self.holds_stop(now, process, procs);
                    self.stops_began |= self.are_drains_over;
                    self.at[process.index()].stops_early = !self.unready;
                }
                if !was_noted || self.at[process.index()].handed_over {
                    self.at[process.index()].asked = Some((now, Duration::MAX));
                }
                self.pass_stop_on(now, process, signal, procs);
            }
            Action::StopOrphans { process, signal } => {
                self.holds_rest(now, process, signal, procs);
                // holds: S720
                let is_first = self.at[process.index()].orphans_gone.is_none();
                self.hold(is_first, "two stop signals to the orphans of a group");
                self.at[process.index()].orphans_gone = Some(false);
            }
            Action::StopGroup { process, signal } => {
                self.holds_rest(now, process, signal, procs);
                let is_killed = signal == Signal::KILL;
                let is_next = self.at[process.index()].orphans_gone == Some(true);
                // holds: S720
                self.hold(is_next != is_killed, "a signal to a group before its orphans are gone");
                self.owes_rest = false;
            }
            Action::LookForExit(process) => {
                let proc = procs[process.index()];
                let seen = &self.at[process.index()];
                let is_due = proc.alive && seen.signalled || proc.group && seen.rest_signalled;
                self.hold(is_due, "a look at a process that was not asked to end");
            }
            Action::Kill(process) if procs[process.index()].group => {
                self.holds_asked(now, process, self.at[process.index()].rest_signalled, procs);
                if self.stop_signals < 3 && !self.has_lost_time(now) {
                    self.holds_no_early_kill(now, process, procs);
                }
                self.at[process.index()].killed_in_shutdown |= self.deadline.is_some();
                self.at[process.index()].survives_at = Some(self.survivor_at(now));
            }
            Action::Kill(process) => {
                let is_early = self.at[process.index()].stops_early;
                self.hold(self.deadline.is_some() || is_early, "a SIGKILL without a stop");
                let obeys = self.has_faultless_shutdown() && !is_early && !self.has_lost_time(now);
                self.hold(!obeys, "a SIGKILL although every process obeys");
                self.hold(procs[process.index()].alive, "a SIGKILL to a process that is gone");
                self.hold(!self.at[process.index()].group_killed, "two SIGKILLs to a process");
                self.holds_handover(now, process, procs);
                self.holds_asked(now, process, self.at[process.index()].signalled, procs);
                if self.stop_signals < 3 {
                    self.was_asked_in_time(now, process);
                    if !self.has_lost_time(now) {
                        self.holds_no_early_kill(now, process, procs);
                    }
                }
                self.at[process.index()].group_killed = true;
                self.at[process.index()].killed_in_shutdown |= self.deadline.is_some();
                self.at[process.index()].survives_at = Some(self.survivor_at(now));
            }
            Action::AbortHook(hook) => {
                self.hooks.remove(&hook);
                self.has_hung |= hook.stage == Stage::PostStop;
            }
            Action::WatchLiveness(process) => {
                self.hold(procs[process.index()].alive, "a liveness check of a gone process");
                // holds: C229, C242
                self.hold(!self.unready, "a liveness check in a shutdown");
                let retries = self.of(process).liveness_retries;
                self.at[process.index()].probe_failures = retries.map(|retries| (0, retries));
            }
            Action::StayReady => {
                self.hold(!self.unready, "`/readyz` is good again in a shutdown");
                let is_asked = self.cause.is_none_or(|cause| cause.is_asked());
                // holds: S20
                self.hold(is_asked, "`/readyz` stays good although the stop was not requested");
                self.unready = true;
                self.unready_since = Some(now);
                self.stays_ready = Some(now);
                self.ended_before = self.count_ends;
                self.plan(procs);
            }
            Action::AbortSpawn(process) => {
                self.aborted.insert(process);
            }
            Action::Unready => {
                if let Some(since) = self.stays_ready.take() {
                    self.holds_ready(now, since);
                } else {
                    self.hold(!self.unready, "`/readyz` turns 503 twice");
                    self.ended_before = self.count_ends;
                    self.unready_since = Some(now);
                    self.plan(procs);
                }
                self.unready = true;
            }
            Action::Sweep(signal) => {
                self.holds_leftovers(now, signal);
                self.sweeping = Some(signal);
            }
            Action::Drain { process, min, longest } => {
                self.at[process.index()].serves = false;
                for dependent in self.above(process).into_iter().filter(|_| self.unready) {
                    // holds: S23, C370
                    self.hold(
                        !self.at[dependent.index()].draining,
                        "a drain during the drain of a dependent",
                    );
                }
                let Some(((_, granted), times)) =
                    self.at[process.index()].drain.zip(self.of(process).drain)
                else {
                    return self.fail("a drain without a note");
                };
                self.hold(
                    min <= longest && longest == granted,
                    "the times of a drain and its note differ",
                );
                self.holds_drain(now, process, min, longest, procs);
                if !self.unready {
                    self.holds_stop(now, process, procs);
                    let is_full = longest == times.time || self.at[process.index()].unhealthy;
                    self.hold(is_full && min == times.min, "less than a full drain");
                }
                // A process that drains by itself may end at once, so drainit counts its
                // connections first.
                // holds: S435
                self.hold(times.closes || !self.awaits_count(now), "a drain before the count");
                // holds: C113
                self.hold(!self.at[process.index()].drained, "a drain begins again");
                self.at[process.index()].drained = true;
                self.at[process.index()].draining = true;
                self.at[process.index()].ended_before_drain =
                    if self.unready { self.ended_before } else { self.count_ends };
            }
            Action::ReleaseSockets(process) => {
                let is_over = self.unready || self.roles[process.index()] != Role::Current;
                // holds: C188
                self.hold(is_over, "the sockets of a process are closed before a shutdown");
                self.hold(!self.at[process.index()].released, "sockets are released twice");
                self.at[process.index()].released = true;
            }
            Action::CloseListeners(process) => {
                // holds: S15, S21
                self.hold(self.stays_ready.is_none(), "connections are refused while ready");
                self.hold(procs[process.index()].alive, "a count of a process that is gone");
                // Without a deadline, the closing may take 250 ms even if the window is shorter. A
                // reload does not change the limit of a closing under way.
                self.at[process.index()].closing =
                    (self.window / 4).max(Duration::from_millis(250));
                self.at[process.index()].ended_before_closing = self.count_ends;
                self.at[process.index()].draining = true;
                self.at[process.index()].recounted = self.stops_began || self.are_drains_over;
            }
            Action::EndDrain(process) => {
                self.at[process.index()].draining = false;
            }
            Action::Note(note) => self.note(now, note, procs),
            Action::Exit(code) => self.exits(now, code, procs),
            _ => {}
        }
    }

    /// Some notes tell of work, such as the answer to a client. The action for this work comes just
    /// before the note, and never without the note.
    fn holds_work(&mut self, action: &Action) {
        let work = self.work.take();
        let told = match *action {
            Action::Note(Note::Started(process))
                if self.of(process).readiness_timeout.is_none() =>
            {
                Some(Action::Serves(process))
            }
            Action::Note(Note::Ready { process, .. }) => Some(Action::Serves(process)),
            Action::Note(Note::Unhealthy(process)) => Some(Action::EndLiveness(process)),
            Action::Note(Note::AllReady) => Some(Action::TellReady),
            Action::Note(Note::ShutdownBegan { .. }) => {
                let is_limit = |work: &Action| matches!(work, Action::ShutdownBegins { .. });
                self.hold(work.as_ref().is_some_and(is_limit), "output holds up the shutdown");
                return;
            }
            Action::Note(Note::RequestDone { process, request }) => {
                Some(Action::Answer { process, request, outcome: Ok(()) })
            }
            Action::Note(Note::RequestFailed { process, request, why }) => {
                Some(Action::Answer { process, request, outcome: Err(why) })
            }
            Action::Note(Note::ReloadDone) => Some(Action::AnswerReload(Ok(()))),
            Action::Note(Note::ReloadFailed { why }) => Some(Action::AnswerReload(Err(why))),
            _ => None,
        };
        self.hold(work == told, "a note and its work differ");
        self.work = is_told(action).then(|| action.clone());
    }

    /// Records the processes for which the core keeps time.
    fn plan(&mut self, procs: &[Proc]) {
        let is_alive =
            |id: &ProcessId| procs[id.index()].alive && self.at[id.index()].survives_at.is_none();
        self.planned = self.slots.all().filter(is_alive).map(|id| self.slots.process(id)).collect();
    }

    /// The part of `time` that the core keeps for this process: all of it, or nothing if the process
    /// is down. Other waits, such as `unready_delay`, may then use this time.
    // holds: S81
    fn kept(&self, process: ProcessId, time: Duration) -> Duration {
        if self.planned.contains(&process.index()) { time } else { Duration::ZERO }
    }

    /// In a shutdown, a drain begins after `readiness_delay`, after the `pre_stop` hook of the
    /// container, and after the drains of the dependents.
    fn holds_drain(
        &self,
        now: Time,
        process: ProcessId,
        min: Duration,
        longest: Duration,
        procs: &[Proc],
    ) {
        if self.unready_since.is_none() {
            return;
        }
        let pre_stop = HookId { process: None, stage: Stage::PreStop };
        // holds: S12, C143, C615
        self.hold(!self.hooks.contains(&pre_stop), "a drain while the container's hook runs");
        for below in self.slots.all().filter(|id| self.above(*id).contains(&process)) {
            let is_early =
                self.at[below.index()].drain.is_none() || self.at[below.index()].drained_early;
            // holds: S23, C370, C658
            self.hold(is_early, "a drain after the drain of a dependency");
        }
        self.holds_drain_time(now, process, (min, longest), procs);
    }

    /// If the deadline and the container's `post_stop` hook allow it, leftovers have the longest
    /// `stop_grace_period` between SIGTERM and SIGKILL.
    // holds: S65
    fn holds_leftovers(&mut self, now: Time, signal: Signal) {
        let since = *self.swept_at.get_or_insert(now);
        let left = self.deadline.unwrap_or(now).since(since);
        // The definition of a retired slot does not count: its instance is gone for good.
        let in_use = self.slots.all().filter(|id| self.roles[id.index()] != Role::Retired);
        let all = in_use.filter(|id| !self.of(*id).left_out);
        let longest = all.map(|id| self.stop_limit(id)).max().unwrap_or_default();
        let hook = self.needed_at_the_end();
        let (least, over) = (longest.min(left.saturating_sub(hook)), longest.min(left));
        let (least, over) = (since + least, since + over);
        let is_asked = self.sweeping.is_some();
        match signal {
            Signal::KILL => {
                let is_due = !is_asked || now >= least || self.stop_signals >= 3;
                self.hold(is_due, "leftovers are killed too early");
            }
            _ => self.hold(now < over || !is_asked, "leftovers are killed too late"),
        }
    }

    /// A second stop signal ends drains and `pre_stop` hooks, and a third stop signal or the
    /// deadline kills all processes. As soon as nothing holds up the stop of a process, the stop
    /// begins.
    fn holds_shutdown(&mut self, machine: &Machine, procs: &[Proc]) {
        if let Phase::Draining(draining) = machine.phase()
            && draining.is_resting(machine.state())
        {
            self.rests_since.get_or_insert(machine.state().now);
        }
        self.holds_no_late_stop(machine, procs);
        if !self.unready || self.exit.is_some() {
            // holds: S9, C611
            self.hold(self.deadline.is_none() || self.exit.is_some(), "ready in a shutdown");
            return;
        }
        let runs = |stage| self.hooks.iter().any(|hook| hook.stage == stage);
        // holds: S5, C657
        self.hold(!runs(Stage::PreStart), "a `pre_start` hook runs in a shutdown");
        if self.stop_signals >= 2 && self.deadline.is_some() {
            // holds: S41, S106, S108
            self.hold(!self.at.iter().any(|seen| seen.draining), "a drain after a second signal");
            // holds: S106
            self.hold(!runs(Stage::PreStop), "a pre_stop hook after a second signal");
        }
        // An event that comes exactly at the deadline is handled before the deadline takes effect.
        let expired = machine.state().timers_at;
        let is_over = self.stop_signals >= 3 || self.deadline.is_some_and(|at| at <= expired);
        for id in
            self.slots.all().filter(|id| procs[id.index()].alive && self.at[id.index()].started)
        {
            let place = id.index();
            let is_killed = self.at[place].survives_at.is_some();
            // holds: S57, S62, S107
            self.hold(!is_over || is_killed, "no SIGKILL after the deadline or a third signal");
            let runs = |id, stage| self.hooks.contains(&HookId { process: Some(id), stage });
            let is_asked = self.at[place].asked.is_some()
                || is_killed
                || runs(id, Stage::PreStop)
                // The last dependent has taken long to stop, so the connections are counted again.
                || self.at[place].draining && self.at[place].drain_over
                || self.newer_epoch(expired, id, procs).is_some()
                // A newer epoch may be a member of this epoch's process group, so drainit waits for
                // the newer epoch first.
                || self.slots_of(self.slots.process(id)).any(|other| {
                    let is_starting = machine.state().life(other) == Lifecycle::Spawning;
                    procs[other.index()].group || is_starting
                });
            let mut above = self.above(id).into_iter();
            let waits = above.any(|id| {
                let proc = procs[id.index()];
                // If a process got SIGKILL before the shutdown, the core may notice up to 200 ms
                // late that the process has survived.
                let survives_at = self.at[id.index()].survives_at;
                let survives =
                    survives_at.is_some_and(|at| at + Duration::from_millis(200) <= expired);
                let is_alive = proc.alive || proc.group;
                let life = machine.state().life(id);
                is_alive && !survives || runs(id, Stage::PostStop) || life == Lifecycle::Spawning
            });
            // The promise is not checked after a reload: a process whose step has not begun may
            // still need a process that the reload removes.
            let is_stopping = matches!(machine.phase(), Phase::Stopping(_)) && !self.has_reloaded;
            let is_due = is_stopping && !waits;
            // holds: S53, S56, S64
            self.hold(!is_due || is_asked, "a stop waits without a reason");
        }
    }

    /// In a shutdown, drainit holds no listening socket for a process that was asked to end or is
    /// gone: a connection in this socket would never be accepted.
    // holds: C187
    fn holds_no_dead_sockets(&self) {
        for slot in self.slots.all() {
            let (index, process) = (slot.index(), self.of(slot));
            let is_over = self.unready && (self.at[index].asked.is_some() || self.at[index].gone);
            let is_held = process.listens && !self.at[index].released;
            self.hold(!(is_over && is_held), "connections wait for a process that is gone");
        }
    }

    /// While the container runs, drainit stops a oneshot that runs longer than its `timeout`, and
    /// then kills it if its stop takes too long.
    // holds: C154
    fn holds_timeouts(&self, now: Time, procs: &[Proc]) {
        for (place, seen) in self.at.iter().enumerate() {
            let Some(complete_by) = seen.complete_by else { continue };
            // If a request stops the oneshot, the stop waits for the dependents, so the oneshot may
            // run longer.
            if self.unready || !procs[place].alive || seen.by_request {
                continue;
            }
            let complete_by = self.seen_at(complete_by);
            let is_stopped = now <= complete_by || seen.stops_early;
            self.hold(is_stopped, "a oneshot runs longer than its timeout");
            let hook = self.of(ProcessId(place as u16)).hooks.pre_stop;
            let gone_by = match seen.asked {
                Some((asked, limit)) => asked + limit.min(FOREVER),
                None => complete_by + hook.map_or(Duration::ZERO, |hook| hook.limit),
            };
            // SIGKILL would not end an exit sooner.
            let gone_by = gone_by + if procs[place].exits { MOST_EXIT } else { Duration::ZERO };
            let is_killed = now <= self.seen_at(gone_by) || seen.group_killed;
            self.hold(is_killed, "a oneshot is not killed after its timeout");
        }
    }

    /// A failed liveness check begins the stop of the process at once, if the stop has not begun.
    // holds: C237
    fn holds_liveness(&mut self, machine: &Machine) {
        let Some(process) = self.failed_check.take() else { return };
        let seen = &self.at[process.index()];
        let is_ready = matches!(machine.state().life(process), Lifecycle::Ready { .. });
        let is_begun = match seen.unhealthy {
            true => !is_ready || seen.draining || seen.drain_over,
            false => seen.alone || seen.by_request || !seen.serves,
        };
        let is_over = self.unready || self.t0.is_some() || self.held_at.is_some();
        self.hold(is_begun || is_over, "a failed liveness check has no consequence");
    }

    /// drainit acts on a changed file as soon as the file is quiet and the process serves.
    /// Exceptions: a process that is being stopped or replaced, and a process that waits for a
    /// dependency that it follows.
    // holds: C301
    fn holds_no_forgotten_change(&self, procs: &[Proc]) {
        if self.unready || !self.asked_for.is_empty() || self.reload.is_some() {
            return;
        }
        // A process that survives SIGKILL makes a requested stop fail. `by_request` stays set even
        // then, because the stop continues for the other processes.
        let rests = |id: ProcessId| {
            let place = id.index();
            !self.at[place].by_request && !self.is_replaced(id) && !self.at[place].doomed
        };
        let waits = |id: ProcessId| {
            self.waits_to_follow(id, procs, |on| {
                let moves = self.at[on].on_its_way || self.at[on].alone || self.at[on].by_request;
                moves || self.is_to_restart(ProcessId(on as u16))
            })
        };
        let mut due = self.changed.iter().filter(|((id, _), is_quiet)| {
            **is_quiet && self.at[id.index()].serves && rests(*id) && !waits(*id)
        });
        self.hold(due.next().is_none(), "a change of a file is forgotten");
    }

    /// Whether a file has changed for which the slot has the action `restart`, and drainit has not
    /// yet restarted the slot because of this change.
    fn is_to_restart(&self, slot: ProcessId) -> bool {
        let watch = &self.of(slot).watch;
        let mut changes = self.changed.range((slot, 0)..=(slot, usize::MAX));
        changes.any(|((_, place), _)| watch.get(*place) == Some(&WatchAction::Restart))
    }

    /// Checks that drainit may now act on a changed file.
    fn changed(&mut self, process: ProcessId, watch: usize, action: WatchAction, procs: &[Proc]) {
        // holds: C303
        self.hold(!self.unready, "the action of a change after the shutdown has begun");
        let is_down = self.down[self.slots.process(process)];
        // holds: C303
        self.hold(!is_down, "a change starts a process that a request has stopped");
        self.hold(
            self.is_current(process),
            "the action of a change of an instance that was replaced",
        );
        let is_due = self.changed.remove(&(process, watch));
        // holds: C302
        self.hold(is_due.is_some(), "an action without a change to follow");
        self.hold(is_due != Some(false), "an action before the file is quiet");
        let followed = (0..self.slots.processes())
            .filter(|on| self.slots.follows_any(process, *on))
            .filter_map(|on| self.slots.current(on));
        let mut followed = followed.filter(|on| self.at[on.index()].serves);
        let is_first = !followed.any(|on| self.is_to_restart(on));
        // holds: C665
        self.hold(is_first, "an action before a dependency that the process follows");
        let proc = procs[process.index()];
        match action {
            WatchAction::Restart => {
                self.hold(
                    self.at[process.index()].serves || !proc.alive,
                    "a restart of a process that is starting",
                );
                let key = (self.slots.process(process), Request::Restart);
                let is_only = self.asked_for.insert(key);
                self.hold(is_only, "two restarts of a process at a time");
                self.began.insert(key, (self.starts, proc.alive));
                self.at[process.index()].alone = true;
            }
            WatchAction::Reload => self.hold(false, "a reload by the core"),
            WatchAction::Signal(_) => {
                self.hold(
                    proc.alive && self.at[process.index()].serves,
                    "a signal before the process is ready",
                );
            }
        }
    }

    /// Records that the last start counts no longer: the next start must evaluate `only_if` and run
    /// the `pre_start` hook again.
    fn is_over(&mut self, slot: ProcessId) {
        self.admitted.remove(&slot);
        self.prepared.remove(&slot);
    }

    /// Checks that no `post_stop` hook runs twice without a run of the process in between. One hook
    /// is enough for all instances with the same definition.
    fn holds_last_hook(&mut self, slot: ProcessId, procs: &[Proc]) {
        let process = self.slots.process(slot);
        let own: BTreeSet<_> =
            self.slots.all().filter(|id| self.slots.process(*id) == process).collect();
        // holds: C359
        self.hold(!self.has_run.is_disjoint(&own), "a second `post_stop` hook in a row");
        match self.has_reloaded {
            true => drop(self.has_run.remove(&slot)),
            false => self.has_run.retain(|id| {
                let proc = procs[id.index()];
                !own.contains(id) || proc.alive || proc.group
            }),
        }
    }

    /// Forgets the history of the slot's previous instance, because a new instance starts.
    fn forget(&mut self, process: ProcessId) {
        let seen = &mut self.at[process.index()];
        *seen = Seen {
            started_as: seen.started_as,
            killed_in_shutdown: seen.killed_in_shutdown,
            drained_early: seen.drained_early,
            was_quiet: seen.was_quiet,
            ended_before_drain: seen.ended_before_drain,
            probe_failures: seen.probe_failures,
            ready_by: seen.ready_by,
            serves: seen.serves,
            released: seen.released,
            gone: seen.gone,
            on_its_way: true,
            ..Seen::default()
        };
    }

    /// Records that a new instance has met a condition, so that its followers must be restarted.
    fn met(&mut self, process: ProcessId, met: StartCondition, procs: &[Proc]) {
        let place = process.index();
        if met != StartCondition::Started {
            self.at[place].on_its_way = false;
        }
        if !self.is_current(process) {
            return;
        }
        let on = self.slots.process(process);
        for slot in self.slots.all().filter(|slot| self.slots.follows(*slot, on, met)) {
            let place = slot.index();
            let is_early = self.at[place].stops_early
                || matches!(self.roles[place], Role::Leaving | Role::Retired);
            let runs = procs[place].alive && self.at[place].started;
            self.at[place].behind |= runs && !is_early;
        }
    }

    /// The other living epoch of the process. An epoch that survives SIGKILL counts as long as the
    /// core waits for its end.
    fn other_epoch(&self, now: Time, slot: ProcessId, procs: &[Proc]) -> Option<ProcessId> {
        let mut others = self.slots_of(self.slots.process(slot)).filter(|id| *id != slot);
        others.find(|id| {
            let survives = self.at[id.index()].survives_at.is_some_and(|at| at <= now);
            procs[id.index()].is_epoch && procs[id.index()].alive && !survives
        })
    }

    /// The other living epoch of the process, if that epoch is newer than this slot.
    fn newer_epoch(&self, now: Time, slot: ProcessId, procs: &[Proc]) -> Option<ProcessId> {
        let started = |slot: ProcessId| self.at[slot.index()].started_as;
        self.other_epoch(now, slot, procs).filter(|other| started(*other) > started(slot))
    }

    /// While a newer epoch lives, drainit sends no signal to an older epoch: the newer epoch would
    /// abort when the older epoch ends. If an epoch has not taken over, drainit stops it with
    /// SIGKILL, because SIGTERM would also end the older epoch.
    fn holds_epochs(&self, now: Time, slot: ProcessId, signal: Signal, procs: &[Proc]) {
        if !procs[slot.index()].is_epoch {
            return;
        }
        let newer = self.newer_epoch(now, slot, procs);
        self.hold(newer.is_none(), "an epoch is asked to end before a newer epoch ends");
        let is_killed = signal == Signal::KILL;
        let is_due = self.at[slot.index()].pending || procs[slot.index()].aborts;
        self.hold(is_killed == is_due, "the wrong signal to an epoch");
        let others: Vec<_> =
            self.slots_of(self.slots.process(slot)).filter(|id| *id != slot).collect();
        let is_old = self.is_taken_over(slot);
        let was_asked = others.iter().any(|other| self.at[other.index()].asked.is_some());
        let is_cut =
            self.unready && self.at.iter().any(|seen| seen.draining) && is_old && !was_asked;
        self.hold(!is_cut, "an old epoch is asked to end during a drain");
        // When an epoch that has taken over is asked to end, it asks the older epoch to end, too.
        let is_passed_on = |other: &ProcessId| {
            self.at[other.index()].asked.is_some() && !self.at[other.index()].pending
        };
        // An Envoy without a drain is possible only in a config that `drainit check` refuses.
        let is_drained = |id: &ProcessId| {
            self.at[id.index()].drain_over || is_passed_on(id) || self.of(*id).drain.is_none()
        };
        let is_asked =
            |id: &ProcessId| self.at[id.index()].by_request || self.at[id.index()].given_up;
        let is_stopped = self.unready || others.iter().any(is_asked);
        let is_left = is_old && is_stopped && self.of(slot).drain.is_some();
        let is_over = self.at[slot.index()].drain_over || others.iter().any(is_drained);
        let is_hurried = self.stop_signals >= 2;
        self.hold(
            !is_left || is_over || is_hurried,
            "an old epoch is stopped before its drain is over",
        );
    }

    /// Whether a newer epoch has taken over from this epoch. Since then this epoch drains by
    /// itself.
    fn is_taken_over(&self, slot: ProcessId) -> bool {
        self.roles[slot.index()] == Role::Leaving && self.at[slot.index()].taken_over
    }

    /// While a newer epoch lives, drainit kills an older epoch only after the time in which the
    /// newer epoch should have ended it (`handover`).
    fn holds_handover(&self, now: Time, slot: ProcessId, procs: &[Proc]) {
        let newer = self.other_epoch(now, slot, procs);
        let newer = newer.filter(|_| self.at[slot.index()].handed_over && self.stop_signals < 3);
        let limit = newer.and_then(|newer| self.of(newer).handover);
        let (Some(newer), Some(limit)) = (newer, limit) else { return };
        let is_asked =
            self.at[newer.index()].asked.is_some() || self.at[newer.index()].group_killed;
        let had_time = procs[newer.index()].started.is_some_and(|at| at + limit <= now);
        let is_over = self.deadline.is_some_and(|deadline| deadline <= now);
        self.hold(is_asked || had_time || is_over, "killed before a newer epoch could end it");
    }

    /// The rest of a group gets the right signal, and not while a newer epoch will end the rest.
    fn holds_rest(&mut self, now: Time, process: ProcessId, signal: Signal, procs: &[Proc]) {
        let is_newer_alive = self.other_epoch(now, process, procs).is_some();
        let is_left = self.at[process.index()].handed_over && is_newer_alive;
        self.hold(!is_left, "the rest of an epoch is stopped before a newer epoch");
        let (is_killed, is_pending) = (signal == Signal::KILL, self.at[process.index()].pending);
        self.hold(is_killed == is_pending, "the wrong signal to the rest of an epoch");
        self.at[process.index()].rest_signalled = true;
    }

    /// drainit kills a process only after it has asked the process to end. Exceptions: the
    /// deadline, a third stop signal, and an epoch that a newer epoch ends in place of drainit.
    fn holds_asked(&self, now: Time, slot: ProcessId, was_asked: bool, procs: &[Proc]) {
        let is_over = self.deadline.is_some_and(|deadline| deadline <= now);
        let mut others = self.slots_of(self.slots.process(slot));
        let is_left = others.any(|other| {
            let place = other.index();
            let survives = self.at[place].survives_at.is_some_and(|at| at <= now);
            let is_newer = self.at[place].started_as > self.at[slot.index()].started_as;
            // A newer epoch that was asked to end has asked this epoch to end, too. This still
            // holds if the newer epoch has ended, and only other members of its process group live.
            let lives = procs[place].alive || procs[place].group && self.at[place].signalled;
            is_newer && lives && !survives
        });
        let is_excused = is_over || self.stop_signals >= 3 || is_left;
        // holds: S55
        self.hold(was_asked || is_excused, "a SIGKILL without a request to end");
    }

    /// Records that an epoch which drainit asks to end also asks the older epoch to end.
    fn pass_stop_on(&mut self, now: Time, slot: ProcessId, signal: Signal, procs: &[Proc]) {
        let other = self.other_epoch(now, slot, procs).filter(|_| signal != Signal::KILL);
        let Some(other) = other.filter(|other| self.at[other.index()].handed_over) else { return };
        let limit = match self.deadline {
            Some(_) if self.has_reloaded => Duration::ZERO,
            Some(_) => self.share(other),
            None => self.stop_limit(other),
        };
        self.at[other.index()].asked = self.at[other.index()].asked.map(|(at, before)| {
            let left = (at + before.min(FOREVER)).since(now);
            (now, left.min(limit))
        });
    }

    /// If the old epoch ends before the new epoch has taken over, drainit stops the new epoch.
    fn holds_pending(&self, procs: &[Proc]) {
        for id in self.slots.all().filter(|id| self.at[id.index()].pending && self.is_new(*id)) {
            let Role::New { old } = self.roles[id.index()] else { continue };
            let place = id.index();
            let is_stopped = self.at[place].asked.is_some() || self.at[place].group_killed;
            let is_lost = procs[place].alive && !procs[old.index()].alive && !is_stopped;
            self.hold(!is_lost, "a new epoch runs on without the old epoch");
        }
    }

    /// As soon as a drain or a shutdown begins, drainit stops two kinds of new instances: an
    /// instance that would replace another (`start-first`), and an epoch that has not taken over
    /// yet.
    // holds: C336
    fn holds_new_instances(&self, machine: &Machine, procs: &[Proc]) {
        let is_draining = matches!(machine.phase(), Phase::Draining(_));
        for id in self.slots.all().filter(|_| is_draining) {
            let place = id.index();
            let is_new = self.is_new(id) && self.of(id).update == Update::StartFirst
                || self.at[place].pending;
            let hook = HookId { process: Some(id), stage: Stage::PreStop };
            let is_stopped = self.at[place].asked.is_some()
                || self.at[place].group_killed
                || self.hooks.contains(&hook) && !self.at[place].pending
                || !procs[place].alive
                || machine.state().life(id) == Lifecycle::Spawning;
            self.hold(!is_new || is_stopped, "a new instance runs on beside a drained one");
        }
    }

    /// A running process has been restarted after every new instance of a dependency that it
    /// follows, or will be restarted soon. If drainit has stopped a process for such a restart,
    /// drainit starts the process again.
    // holds: C198, C199, C200, C201, C240, C655
    fn holds_followers(&mut self, procs: &[Proc]) {
        self.retire(procs);
        for id in self.slots.all().filter(|id| !self.unready && self.is_current(*id)) {
            let place = id.index();
            let is_excused =
                self.may_stay_behind(id, procs) || self.reload.is_some() || self.at[place].doomed;
            self.hold(!self.at[place].behind || is_excused, "a dependent does not follow");
            let is_gone = !procs[place].alive && !procs[place].group;
            let hook = HookId { process: Some(id), stage: Stage::PostStop };
            let ends = self.at[place].by_request || self.hooks.contains(&hook);
            let is_left = self.at[place].follows && is_gone && !ends;
            // A second restart of the dependency may have begun meanwhile. A restart in a reload or by
            // request also waits for a dependency that the process does not follow.
            let request = (self.slots.process(id), Request::Restart);
            let is_asked = self.reload.is_some() || self.asked_for.contains(&request);
            let waits =
                self.waits_for_followed(id, procs) || is_asked && self.waits_for_restarted(id);
            let is_left = is_left && !waits;
            self.hold(!is_left, "a process that follows is not started again");
        }
    }

    /// Whether a process may now miss the restart that it needs to follow a dependency: something
    /// else stops or replaces it, or it waits for another process.
    fn may_stay_behind(&self, id: ProcessId, procs: &[Proc]) -> bool {
        let place = id.index();
        self.at[place].stops_early
            || self.at[place].by_request
            || self.at[place].draining
            || self.is_replaced(id)
            || self.waits_for_followed(id, procs)
    }

    /// Whether a dependency is being restarted to follow its own dependency.
    fn waits_for_restarted(&self, id: ProcessId) -> bool {
        let needed = self.of(id).dependencies.iter();
        let mut currents = needed.filter_map(|(on, _)| self.slots.current(on.index()));
        currents.any(|on| self.at[on.index()].follows || self.at[on.index()].on_its_way)
    }

    /// Whether a process that this process follows is about to start, to end or to be replaced.
    fn waits_for_followed(&self, id: ProcessId, procs: &[Proc]) -> bool {
        self.waits_to_follow(id, procs, |on| {
            let request = (self.slots.process(ProcessId(on as u16)), Request::Start);
            let is_asked = self.asked_for.contains(&request);
            let moves = self.at[on].on_its_way || self.at[on].alone || self.at[on].by_request;
            moves || is_asked || self.at[on].doomed
        })
    }

    /// Whether this process follows a process that is being replaced, or for which `waits` is true.
    /// It may follow that process directly or through other running processes.
    fn waits_to_follow(
        &self,
        slot: ProcessId,
        procs: &[Proc],
        waits: impl Fn(usize) -> bool,
    ) -> bool {
        let mut found = vec![self.slots.process(slot)];
        let mut next = 0;
        while let Some(process) = found.get(next).copied() {
            for on in 0..self.slots.processes() {
                let is_followed = self.slots.current(on).is_some()
                    && self.slots_of(process).any(|slot| self.slots.follows_any(slot, on));
                if is_followed && !found.contains(&on) {
                    let slots: Vec<_> = self.slots_of(on).map(ProcessId::index).collect();
                    if slots.len() > 1 || slots.iter().any(|slot| waits(*slot)) {
                        return true;
                    }
                    found.extend(slots.iter().any(|slot| procs[*slot].alive).then_some(on));
                }
            }
            next += 1;
        }
        false
    }

    fn is_new(&self, slot: ProcessId) -> bool {
        matches!(self.roles[slot.index()], Role::New { .. })
    }

    /// Checks that a process may now be stopped, or may begin the drain that precedes its stop.
    fn holds_stop(&self, now: Time, process: ProcessId, procs: &[Proc]) {
        let above = self.above(process);
        let is_back =
            self.roles[process.index()] == Role::Leaving && !self.at[process.index()].taken_over;
        if self.unready && (self.is_new(process) || is_back || self.at[process.index()].pending) {
            return;
        }
        if !self.unready {
            let is_alone = self.at[process.index()].alone;
            self.hold(is_alone || self.at[process.index()].by_request, "a stop without a reason");
            if is_alone {
                return;
            }
        } else {
            // holds: C112, C513
            self.hold(self.deadline.is_some(), "a stop during a held drain");
            self.holds_late_stop(now, process, procs);
        }
        for dependent in above {
            let proc = procs[dependent.index()];
            let is_gone = !proc.alive && !proc.group;
            let survives = self.at[dependent.index()].survives_at.is_some_and(|at| at <= now);
            // holds: S53, S58, S113, S200, S220, C159, C358
            self.hold(is_gone || survives, "a stop before the stop of a dependent");
        }
    }

    fn began(&mut self, process: ProcessId, request: Request, procs: &[Proc]) {
        self.hold(!self.unready, "a request begins in a shutdown");
        let base = self.slots.process(process);
        // holds: S820
        self.hold(self.repeated != Some((base, request)), "a request is carried out twice");
        let is_alive = self.slots_of(base).any(|slot| procs[slot.index()].alive);
        self.began.insert((base, request), (self.starts, is_alive));
        self.before = Some(self.at.iter().map(|seen| (seen.alone, seen.by_request)).collect());
        match request {
            Request::Stop => {
                for id in
                    self.above(process).into_iter().chain(self.slots_of(base)).collect::<Vec<_>>()
                {
                    if self.roles[id.index()] == Role::Leaving {
                        continue;
                    }
                    // If the process to be stopped has already ended, the request changes nothing
                    // for a dependent that is being restarted: that restart continues.
                    self.at[id.index()].alone &= !is_alive;
                    self.at[id.index()].by_request = true;
                }
            }
            Request::Start | Request::Restart => {
                let slots: Vec<_> = self.slots.all().collect();
                for below in slots {
                    let of = self.slots.process(below);
                    let is_needed = self.above(below).contains(&process);
                    self.down[of] &= of != base && !is_needed;
                }
                self.at[process.index()].alone |= request == Request::Restart;
            }
        }
    }

    fn answered(&mut self, process: ProcessId, request: Request) {
        let is_asked = self.asked_for.remove(&(self.slots.process(process), request));
        self.hold(is_asked, "an answer without a request");
    }

    fn done(&mut self, process: ProcessId, request: Request, procs: &[Proc]) {
        self.answered(process, request);
        let base = self.slots.process(process);
        let Some(&(starts, was_alive)) = self.began.get(&(base, request)) else {
            return self.fail("a request is done before it began");
        };
        let oneshot = self.of(process).oneshot;
        let Some(current) = self.slots.current(base) else {
            return self.fail("a request is done for a process that was removed");
        };
        let is_up = procs[current.index()].alive || oneshot;
        match request {
            Request::Stop => {
                let mut slots = self.slots_of(base);
                let lives = slots.any(|id| procs[id.index()].alive || procs[id.index()].group);
                // holds: C202
                self.hold(!lives, "a stop is done, but the process is alive");
                drop(slots);
                let mut above = self.above(current).into_iter();
                let lives = above.any(|id| procs[id.index()].alive || procs[id.index()].group);
                let is_needed = !self.went_well.contains(&base);
                self.hold(!(lives && is_needed), "a stop is done, but a dependent is alive");
                self.down[base] = was_alive;
            }
            Request::Start => self.hold(is_up, "a start is done, but the process is not alive"),
            Request::Restart => {
                self.hold(is_up, "a restart is done, but the process is not alive");
                self.hold(!self.at[current.index()].doomed, "restarted, but Envoy will abort it");
                self.hold(
                    self.at[current.index()].started_as > starts,
                    "restarted without a new instance",
                );
                let mut others = self.slots_of(base).filter(|id| *id != current);
                let lives = others.any(|id| procs[id.index()].alive || procs[id.index()].group);
                self.hold(!lives, "a restart is done, but the old instance lives");
            }
        }
    }

    fn failed(&mut self, process: ProcessId, request: Request, why: RequestError) {
        let is_first = self.repeated != Some((self.slots.process(process), request));
        self.answered(process, request);
        match why {
            RequestError::Unkillable(own)
                if own == process && request == Request::Restart && self.is_current(process) =>
            {
                let began = self.began.get(&(self.slots.process(process), request));
                let is_refused = self.before.is_some();
                self.at[process.index()].stuck |=
                    began.is_some_and(|(_, was_alive)| *was_alive) && !is_refused;
            }
            RequestError::Superseded(_) if self.is_current(process) => {
                self.at[process.index()].alone = false;
            }
            RequestError::Busy(_) | RequestError::Reloading | RequestError::Doomed { .. } => {
                // holds: S820
                self.hold(is_first, "a request is refused because of an equal request");
                // The request was refused at once, so it has changed nothing.
                if let Some(before) = self.before.take() {
                    for (seen, before) in self.at.iter_mut().zip(before) {
                        (seen.alone, seen.by_request) = before;
                    }
                }
            }
            _ => {}
        }
        let is_late = matches!(why, RequestError::ShuttingDown | RequestError::Drained);
        self.hold(!self.unready || is_late, "a request in a shutdown fails for another reason");
        // After T0, the shutdown is the reason, and not a drain that was requested before.
        let is_held = self.deadline.is_none();
        self.hold(why != RequestError::Drained || is_held, "refused for a drain in a shutdown");
        let is_over = !is_held || self.held_at.is_none();
        self.hold(why != RequestError::ShuttingDown || is_over, "refused for a stop in a drain");
    }

    /// The report lists each drain and each stop twice: at its process and as a step. Both entries
    /// begin at the same time, and the process ends within its step. No step lies outside of the
    /// shutdown.
    // holds: S149, S154, S161, S214
    pub(crate) fn holds_steps(&self, report: &Option<ShutdownReport>) {
        let Some(report) = report else { return self.fail("there is no report") };
        for process in &report.processes {
            let step = |kind: &str| {
                let steps = report.steps.iter().filter(|step| step.begins.is_some());
                steps
                    .filter(|step| step.process.as_ref() == Some(&process.name))
                    .find(|step| step.step == kind)
            };
            if let Some(drain) = &process.drain {
                let is_same = step("drain").is_some_and(|step| {
                    step.begins == Some(drain.begins) && step.ends == drain.ends
                });
                self.hold(is_same, "a drain of the report is not one of its steps");
            }
            let asked = process.stop.as_ref().and_then(|stop| stop.begins);
            if let (Some(asked), end) = (asked, &process.end) {
                let is_same = step("stop").is_some_and(|step| {
                    let ends = step.ends.unwrap_or(f64::MAX);
                    step.begins == Some(asked) && end.as_ref().is_none_or(|end| end.at <= ends)
                });
                self.hold(is_same, "a stop of the report is not one of its steps");
                let ends = process.stop.as_ref().and_then(|stop| stop.ends);
                // holds: S240
                let is_same = ends.is_none() || step("stop").is_some_and(|step| step.ends == ends);
                self.hold(is_same, "a stop of the report ends before its process group");
            }
        }
        for step in &report.steps {
            let (begins, ends) =
                (step.begins.unwrap_or_default(), step.ends.unwrap_or(report.took));
            self.hold(begins <= ends && ends <= report.took, "a step outside of the shutdown");
        }
        let phases = report.phases.iter();
        // holds: S151
        self.hold(phases.is_sorted_by_key(|phase| phase.begins), "the phases are not in order");
    }

    /// The report counts only the processes that were killed in the shutdown.
    // holds: S150
    pub(crate) fn holds_report(&self, killed: usize) {
        let really = self.at.iter().filter(|seen| seen.killed_in_shutdown).count();
        self.hold(killed == really, "the report counts the wrong number of kills");
    }

    fn note(&mut self, now: Time, note: Note, procs: &[Proc]) {
        match note {
            // The kernel kills these leftovers when PID 1 ends.
            Note::LeftoversRemain => self.killed = true,
            Note::Killed { process, after: Some(after), why } => {
                self.holds_named_limit(now, process, after, why);
            }
            Note::Stopped { process, end, killed, .. } => {
                let seen = &self.at[process.index()];
                let is_rest = procs[process.index()].group;
                let by_kill = end.signal() == Some(Signal::KILL) || is_rest;
                // holds: S840
                self.hold(killed == (seen.group_killed && by_kill), "killed, but by its own end");
            }
            Note::ShutdownBegan { cause, window, .. } => {
                let counts = self.scenario.spec.counts_stops;
                self.counted_until = counts.then(|| now + (window / 4).min(COUNTS));
                self.hold(self.deadline.is_none(), "two shutdowns");
                // holds: S2
                self.hold(window <= self.window, "a shutdown has more time than its window");
                let is_whole = window == self.window || self.held_at.is_some();
                // holds: S2
                self.hold(is_whole, "a shutdown has less time than its window");
                let is_left = cause == Cause::AllEnded && self.held_at.is_some();
                self.hold(
                    !is_left || self.has_unasked_end,
                    "a held drain ends, but no process ended",
                );
                if let Cause::Ended { process, .. } = cause {
                    let is_asked = self.at[process.index()].stops_early;
                    self.hold(!is_asked, "an end that was asked for begins the shutdown");
                    let is_current = self.is_current(process);
                    self.hold(is_current, "an end of an old instance begins the shutdown");
                }
                if let Some(held_at) = self.held_at {
                    let is_within = now < held_at + self.window + self.scenario.spec.reserve
                        && self.rests_since.is_none_or(|over| now < over + HOOK_TO_SIGNAL);
                    let left = (held_at + self.window).since(now).max(LEAST.min(self.window));
                    let counts = if is_within { left } else { self.window };
                    // holds: C114, C115
                    self.hold(window == counts, "the deadline does not count from the held drain");
                }
                // For a process that has already survived a SIGKILL, the core may wait until the
                // deadline.
                let mut earlier = procs.iter().zip(&self.at);
                let survives = |(proc, seen): (&Proc, &Seen)| {
                    (proc.alive || proc.group) && seen.survives_at.is_some()
                };
                self.has_hung |= earlier.any(survives);
                if let Some(process) = failed_start(cause) {
                    let spec = self.of(process);
                    let may_be_missing =
                        !spec.required && spec.on_exit.failure == ExitPolicy::Ignore;
                    // holds: C350
                    self.hold(!may_be_missing, "a process that may be missing begins the shutdown");
                }
                self.at.iter_mut().for_each(|seen| seen.is_held = !seen.draining);
                self.t0 = Some(now);
                self.deadline = Some(now + window);
                self.cause = Some(cause);
                self.fit_survivors(now, window);
            }
            Note::FileChanged { process, watch, action } => {
                self.changed(process, watch, action, procs);
            }
            Note::Replacing { process, old, overlaps } => {
                self.replacing(process, old, overlaps, procs)
            }
            Note::Adding(process) => {
                self.retire(procs);
                let is_due = self.roles[process.index()] == Role::Reserved;
                self.hold(is_due, "a process is added twice");
                self.slots.take_over(process);
                self.roles[process.index()] = Role::Current;
                self.step(process);
                if !self.of(process).autostart {
                    self.stepped(process);
                }
            }
            Note::Removing(process) => self.removing(process, procs),
            Note::ReloadDone => self.reloaded(true, procs),
            Note::ReloadFailed { .. } => self.reloaded(false, procs),
            Note::Skipped(process) => {
                self.at[process.index()].on_its_way = false;
                self.at[process.index()].stuck = false;
                self.was_skipped[self.slots.process(process)] = true;
                self.went_well.insert(self.slots.process(process));
                self.stepped(process);
            }
            Note::TakesOver { process, old } => self.took_over(process, old, procs),
            Note::RolledBack { process, old, .. } => {
                let is_new = self.roles[process.index()] == Role::New { old };
                // holds: C335
                self.hold(is_new, "an instance that serves is rolled back");
                self.leave(process);
            }
            Note::Ended { process, end, next } => {
                let of = self.of(process);
                let policy = match end {
                    End::Code(code) if of.success_codes.contains(&code) => of.on_exit.success,
                    End::Code(_) => of.on_exit.failure,
                    End::Signal(_) | End::OutOfMemory(_) => of.on_exit.signal,
                };
                // holds: C689, C690
                self.hold(is_consequence(policy, next), "an end does not follow `on_exit`");
                self.at[process.index()].given_up = !matches!(next, AfterEnd::Restart { .. });
                self.hold(self.is_current(process), "the end of an old instance has an effect");
            }
            Note::NotDrained(process) => {
                self.at[process.index()].not_drained = true;
                self.at[process.index()].drain_over = true;
            }
            Note::Follows { process, .. } => {
                self.retire(procs);
                let place = process.index();
                // holds: C209
                self.hold(!self.unready, "a process follows in a shutdown");
                // holds: C203
                self.hold(self.at[place].behind, "a process follows without a reason");
                self.hold(!self.at[place].stops_early, "a process follows that is being stopped");
                let waits = self.waits_to_follow(process, procs, |on| {
                    procs[on].alive && self.at[on].on_its_way
                });
                // holds: C204, C205
                self.hold(!waits, "a process follows before a dependency that it also follows");
                self.at[place].behind = false;
                self.at[place].alone = true;
                self.at[place].follows = true;
                self.at[place].on_its_way = true;
                let base = self.slots.process(process);
                let is_first =
                    self.reload.as_mut().is_none_or(|reload| reload.followed.insert(base));
                self.hold(is_first, "a process follows twice in a reload");
            }
            Note::Ready { process, .. } => {
                self.at[process.index()].serves = true;
                self.at[process.index()].was_serving = !self.unready;
                self.at[process.index()].on_its_way = false;
                self.at[process.index()].pending = false;
                self.stepped(process);
                self.met(process, StartCondition::Ready, procs);
            }
            Note::HandedOver { process, to, limit } => {
                let place = process.index();
                self.hold(self.roles[place] == Role::Leaving, "a current epoch is handed over");
                self.hold(self.is_current(to), "an epoch is handed over to a new instance");
                let is_renewed = self.at[place].handed_over;
                self.hold(is_renewed || self.at[place].asked.is_none(), "handed over after a stop");
                self.at[place].handed_over = true;
                self.at[place].stops_early |= !self.unready;
                self.at[place].asked = Some((now, limit));
            }
            Note::Doomed { process, .. } => {
                self.hold(procs[process.index()].aborts, "doomed, but Envoy does not abort it");
                self.at[process.index()].doomed = true;
            }
            Note::Completed { process, .. } => {
                self.went_well.insert(self.slots.process(process));
                self.stepped(process);
                self.met(process, StartCondition::Ready, procs);
                self.met(process, StartCondition::Completed, procs);
            }
            Note::Started(process) => {
                if self.unready {
                    self.planned.insert(self.slots.process(process));
                }
                self.met(process, StartCondition::Started, procs);
                let spec = self.of(process).clone();
                let is_ready = spec.readiness_timeout.is_none() && !spec.oneshot;
                self.at[process.index()].ready_by =
                    spec.readiness_timeout.map(|within| now + within);
                self.at[process.index()].complete_by = spec.timeout.map(|within| now + within);
                self.at[process.index()].serves = is_ready;
                // If drainit removes or stops a process before the answer to `Action::Spawn`, the
                // process counts as one that has never served a client.
                let leaves =
                    self.roles[process.index()] == Role::Leaving || self.aborted.remove(&process);
                self.at[process.index()].was_serving = is_ready && !self.unready && !leaves;
                self.at[process.index()].started = true;
                self.owes_post_stop.insert(self.slots.process(process));
                self.has_run.insert(process);
                if is_ready {
                    self.stepped(process);
                    self.met(process, StartCondition::Ready, procs);
                }
            }
            Note::TimeoutExtended { limit, .. } => {
                if let Some(deadline) = self.deadline {
                    // holds: C255
                    self.hold(now + limit <= deadline, "more time than the deadline leaves");
                }
            }
            Note::RequestBegan { process, request } => self.began(process, request, procs),
            Note::RequestDone { process, request } => self.done(process, request, procs),
            Note::RequestFailed { process, request, why } => self.failed(process, request, why),
            Note::Overdue { process, why: Failure::TimedOut { .. }, .. } => {
                let is_late = self.at[process.index()].complete_by.is_some_and(|at| at <= now);
                self.hold(is_late, "a oneshot times out before its `timeout`");
                self.at[process.index()].alone = true;
            }
            Note::Failed { process, why, next } => {
                let policy = self.of(process).on_exit.failure;
                // holds: C691
                self.hold(is_consequence(policy, next), "a failure does not follow `on_exit`");
                if why == Failure::Unhealthy {
                    self.hold(self.deadline.is_none() && !self.unready, "unhealthy in a shutdown");
                } else {
                    self.start_failed[self.slots.process(process)] = true;
                }
            }
            Note::Unhealthy(process) => {
                let failures = self.at[process.index()].probe_failures;
                let is_due = failures.is_none_or(|(so_far, retries)| so_far >= retries);
                // holds: C237
                self.hold(is_due, "a liveness check fails after too few failed probes");
                self.hold(self.deadline.is_none() && !self.unready, "unhealthy in a shutdown");
                self.hold(procs[process.index()].alive, "a gone process fails its liveness check");
                self.at[process.index()].serves = false;
                self.at[process.index()].alone = true;
                self.at[process.index()].unhealthy = true;
            }
            Note::Overdue { process, .. } => {
                let is_late = self.at[process.index()].ready_by.is_some_and(|at| at <= now);
                // holds: C219, C252
                self.hold(is_late, "a start fails before its readiness timeout");
                let is_live = self.at[process.index()].pending && procs[process.index()].is_live;
                // holds: C474
                self.hold(!is_live, "a start of an epoch fails that has taken over");
                self.at[process.index()].alone = true;
            }
            Note::EndedUndrained(process) => {
                self.hold(!procs[process.index()].alive, "a process counts as ended that is alive");
                self.hold(
                    self.at[process.index()].asked.is_none(),
                    "an end counts as undrained that was asked for",
                );
                self.hold(self.deadline.is_some(), "an end counts as undrained without a shutdown");
            }
            Note::Stopping { process, limit, signal } => {
                self.at[process.index()].asked.get_or_insert((now, limit)).1 = limit;
                self.at[process.index()].stops_early |= !self.unready;
                if signal != Signal::KILL {
                    self.holds_limit(now, process, limit, procs);
                }
            }
            Note::DrainBegan { process, longest, .. } => {
                self.at[process.index()].drain = Some((now, longest));
                self.at[process.index()].drained_early = !self.unready;
                if self.is_taken_over(process) {
                    // The old epoch drained by itself before drainit began this drain. The limit
                    // for the end of the old epoch counts from the end of this drain.
                    self.at[process.index()].drained_early = true;
                    self.at[process.index()].draining = true;
                    // The `pre_stop` hook of the old epoch may run longer than the drain, so the
                    // limit of the stop is not known yet.
                    if self.at[process.index()].handed_over {
                        self.at[process.index()].asked = Some((now, Duration::MAX));
                    }
                }
            }
            Note::DrainRequested => {
                self.held_at = Some(now);
                self.fit_survivors(now, self.window);
            }
            Note::DrainOver { process, why, .. } => {
                self.at[process.index()].drain_over = why != DrainEnd::ProcessGone;
                self.at[process.index()].was_quiet = why == DrainEnd::Quiet;
                let Some(((since, longest), times)) =
                    self.at[process.index()].drain.zip(self.of(process).drain)
                else {
                    return self.fail("a drain is over that has not begun");
                };
                let is_cut = matches!(
                    why,
                    DrainEnd::ProcessGone
                        | DrainEnd::Hurried
                        | DrainEnd::Deadline
                        | DrainEnd::NotLive
                );
                // holds: S15
                self.hold(self.stays_ready.is_none() || is_cut, "a drain is over while ready");
                let held = now.since(since) >= times.min.min(longest);
                match why {
                    DrainEnd::Quiet => {
                        // holds: S34
                        self.hold(held, "a drain is over as quiet before `min`");
                        let last = self.at[process.index()].last_active;
                        let is_low = last.is_some_and(|active| active <= times.exit_at);
                        // holds: S35, C384
                        self.hold(is_low, "a drain is over as quiet with too many connections");
                        self.hold(
                            self.at[process.index()].accepted == Some(true),
                            // holds: S39
                            "a drain is over as quiet that was not accepted",
                        );
                    }
                    // holds: S36, C367, C638
                    DrainEnd::Reported => {
                        self.hold(held, "a drain is over as reported before `min`")
                    }
                    // holds: S39, C367, C638
                    DrainEnd::NotAccepted => {
                        self.hold(held, "a drain is over as not accepted before `min`")
                    }
                    DrainEnd::TimeOver => self.hold(held, "a drain is over before `min`"),
                    DrainEnd::Deadline => self.holds_no_early_end(now, process, procs),
                    DrainEnd::ProcessGone => self.hold(
                        !procs[process.index()].alive,
                        "a drain is over as if the process was gone",
                    ),
                    DrainEnd::Hurried => self.hold(
                        self.stop_signals >= 2,
                        "a drain is cut short without a second signal",
                    ),
                    // holds: S231
                    DrainEnd::NotLive => {
                        self.hold(
                            self.at[process.index()].not_live,
                            "not live, but nobody said so",
                        );
                    }
                }
                let closing = self.at[process.index()].closing;
                // A drain may last longer than granted if other steps need less time than planned.
                let most = times.time.max(self.scenario.spec.unready_delay);
                let longest = longest.max(most);
                let over = self.seen_at(self.seen_at(since + longest) + closing);
                // If drainit was paused, a sample may have come too late, so drainit asks for one
                // more.
                let again = if self.was_paused(since, now) { closing } else { Duration::ZERO };
                // holds: S37, S45, C116
                self.hold(now <= self.seen_at(over + again), "a drain is longer than its bound");
            }
            _ => {}
        }
    }

    /// Whether SIGKILL has ended something in the shutdown, or was to end what still lives.
    fn has_killed(&self) -> bool {
        self.killed || self.at.iter().any(|seen| seen.killed_in_shutdown)
    }

    fn exits(&mut self, now: Time, code: u8, procs: &[Proc]) {
        self.exit = Some(code);
        let (Some(deadline), Some(cause)) = (self.deadline, self.cause) else {
            // holds: S1
            return self.fail("an exit without a reason");
        };
        self.hold(self.asked_for.is_empty(), "a request without an answer");
        self.hold(self.reload.is_none(), "a reload without an answer");
        // A process that got SIGKILL may have exited by itself, and late.
        let has_hung = self.killed || self.at.iter().any(|seen| seen.survives_at.is_some());
        let is_hurried = has_hung || self.stop_signals >= 2 || deadline <= now;
        if !is_hurried && !self.has_reloaded {
            let hooks = |place: &usize| self.scenario.spec.processes[*place].hooks.post_stop;
            let is_owed = self.owes_post_stop.iter().any(|place| hooks(place).is_some());
            // holds: C359
            self.hold(!is_owed, "a process has ended for good without its `post_stop` hook");
        }
        let spec = &self.scenario.spec;
        let reap = (spec.reserve / 2).clamp(Duration::from_millis(200), Duration::from_millis(500));
        let hard_end = deadline + reap;
        let in_time = hard_end + Duration::from_millis(200);
        let mut latest = self.seen_at(self.seen_at(hard_end) + Duration::from_millis(200));
        if latest > in_time || self.was_paused(deadline, now) {
            // drainit has noticed an event late, so it also kills the leftovers late.
            latest = self.seen_at(latest + Duration::from_millis(100));
        }
        // holds: S74, S218, S220, C81, C602, C604
        self.hold(now <= latest, "an exit later than the deadline allows");
        if procs.iter().any(|proc| proc.alive || proc.group) {
            // holds: S74
            self.hold(now >= hard_end, "an exit while a process is alive");
        }
        // holds: S112, S121
        self.hold(code == self.exit_code(cause), "the wrong exit code");
        // A process or hook that hung before the time of faults was over may use all of the time
        // until the deadline.
        if self.has_faultless_shutdown() && !has_hung && !self.has_hung {
            // A process that was asked to end during the time of faults may take until the
            // deadline. Its `post_stop` hook runs after its end, so the exit may come a moment
            // after the deadline.
            let moment = Duration::from_millis(10);
            self.hold(
                now <= self.seen_at(deadline + moment) + moment,
                "an exit after the deadline although all processes obey",
            );
        }
        if let Cause::Signal(_) | Cause::ShutdownRequested = cause {
            // holds: S120, S128, S129, C356
            self.hold(
                code == if self.has_killed() { 137 } else { 0 },
                "a code other than 0 or 137",
            );
        }
    }

    /// The exit code that the promises demand for this cause. If the end of a process is the cause,
    /// the code comes from the last end before the shutdown.
    fn exit_code(&self, cause: Cause) -> u8 {
        let Cause::Ended { process, before_ready, .. } = cause else {
            return cause.exit_code(self.has_killed());
        };
        let is_failure =
            before_ready || self.of(process).on_exit.success == ExitPolicy::FailureShutdown;
        match self.last_end {
            Some((_, true)) => u8::from(is_failure),
            Some((end, false)) => end.exit_code().max(1),
            None => cause.exit_code(self.has_killed()),
        }
    }

    /// Whether the shutdown began after the time of faults, so that every process obeys.
    fn has_faultless_shutdown(&self) -> bool {
        let from = self.scenario.faults_end.map(|after| self.start + after);
        self.t0.is_some_and(|t0| from.is_some_and(|from| from <= t0))
    }

    /// drainit sends SIGKILL to a process only after it has asked the process to stop, and has
    /// waited for the process's share of the time. Must not be called after a third stop signal.
    fn was_asked_in_time(&self, now: Time, process: ProcessId) {
        if self.has_reloaded || self.has_lost_time(now) {
            return;
        }
        let share = self.share(process);
        // A process that survives SIGKILL takes time from the other processes, so their shares are
        // not checked.
        let mut behaviours = self.scenario.behaviours.iter().chain(&self.scenario.variants);
        let is_obstructed = behaviours.any(|of| of.ends_after_kill.is_none());
        match self.at[process.index()].asked {
            Some((at, limit)) if self.at[process.index()].stops_early => {
                // A shutdown that began after the stop signal may have shortened the time of the
                // process.
                let from = self.held_at.or(self.t0).map_or(at, |from| from.max(at));
                let later = self.kept_after(process);
                // If the process was granted more time, it keeps the part that the later stops do
                // not need.
                let (left, later) = match self.at[process.index()].extended {
                    true => (self.window.saturating_sub(later), later),
                    false => (share, Duration::ZERO),
                };
                let is_over = self.deadline.is_some_and(|deadline| deadline <= now + later);
                let is_due = now >= at + limit || now >= from + left || is_over;
                // holds: S8, S55, C162
                self.hold(is_due || is_obstructed, "a SIGKILL before the limit");
            }
            Some((at, limit)) => {
                self.hold(now >= at + limit, "a SIGKILL before the limit");
                // holds: S63, S76, S78, S200, C149
                self.hold(is_obstructed || limit >= share, "less time to stop than its share");
            }
            None => {
                let is_due = share >= Duration::from_millis(1);
                // holds: S63
                self.hold(!is_due, "a SIGKILL without a stop signal");
            }
        }
    }

    /// The slots of all direct and indirect dependents of a slot's process.
    fn above(&self, slot: ProcessId) -> Vec<ProcessId> {
        let mut found = vec![slot];
        let mut next = 0;
        while let Some(id) = found.get(next).copied() {
            let process = self.slots.process(id);
            for other in self.slots.all() {
                let mut needs = self.of(other).dependencies.iter();
                let is_in_use = self.roles[other.index()] != Role::Retired;
                let is_above = is_in_use && needs.any(|(on, _)| on.index() == process);
                if is_above && !found.contains(&other) {
                    found.push(other);
                }
            }
            next += 1;
        }
        found.split_off(1)
    }

    fn is_reached(&self, on: ProcessId, condition: StartCondition) -> bool {
        let Some(current) = self.slots.current(on.index()) else { return true };
        let spec = self.of(current);
        let behaviours = [&self.scenario.behaviours, &self.scenario.variants];
        let may_be_left_out = self.scenario.starts.may_change_conditions()
            || behaviours.iter().any(|of| !of[on.index()].condition);
        let skipped = spec.conditional && may_be_left_out;
        let (started, ended) = (self.was_started[on.index()], self.ended[on.index()]);
        let OnExit { success, failure, signal } = spec.on_exit;
        let may_be_ignored = [success, failure, signal].contains(&ExitPolicy::Ignore);
        let is_missing =
            self.start_failed[on.index()] && spec.on_exit.failure == ExitPolicy::Ignore;
        skipped
            || self.was_skipped[on.index()]
            || is_missing
            || match condition {
                StartCondition::Started => started,
                StartCondition::Ready if spec.readiness_timeout.is_none() && !spec.oneshot => {
                    started
                }
                StartCondition::Ready => {
                    self.was_ready[on.index()] || ended && (spec.oneshot || may_be_ignored)
                }
                StartCondition::Completed => ended,
            }
    }
}

/// Whether drainit may do `next` after an end or a failure if `on_exit` has this policy.
fn is_consequence(policy: ExitPolicy, next: AfterEnd) -> bool {
    let stops = matches!(next, AfterEnd::Shutdown | AfterEnd::Exhausted);
    matches!(next, AfterEnd::Restart { .. }) || stops == (policy != ExitPolicy::Ignore)
}

/// The process whose failed start has begun the shutdown; `None` if the shutdown has another cause.
fn failed_start(cause: Cause) -> Option<ProcessId> {
    match cause {
        Cause::Failed { why: Failure::Unhealthy, .. } => None,
        Cause::Failed { process, .. } => Some(process),
        _ => None,
    }
}

/// How long the core waits for the end of a process after SIGKILL, if `left` is left until the
/// deadline.
fn wait_after_kill(left: Duration) -> Duration {
    (left / 8).max(Duration::from_millis(200)).min(left / 4)
}

/// The time that the budget plans for a hook; zero without a hook.
fn hook_need(wait: Option<HookWait>) -> Duration {
    wait.map_or(Duration::ZERO, |wait| wait.need)
}

/// Whether a note tells of this action.
pub(crate) fn is_told(action: &Action) -> bool {
    matches!(
        action,
        Action::Serves(_)
            | Action::EndLiveness(_)
            | Action::TellReady
            | Action::ShutdownBegins { .. }
            | Action::Answer { .. }
            | Action::AnswerReload(_)
    )
}
