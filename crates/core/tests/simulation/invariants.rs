//! Compares every step of a run with the promises. Limits are repeated here on purpose: the checker
//! must not share a mistake with the core.

use std::cell::Cell;
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use crate::scenario::NewConfig;
use crate::slots::Slots;
use crate::*;
use drainit_core::cause::Failure;
use drainit_core::note::AfterEnd;
use drainit_core::phase::Phase;
use drainit_core::slots::Role;
use drainit_core::state::Lifecycle;

/// What a stop has at least after a held drain.
const LEAST: Duration = Duration::from_secs(1);

/// The history of a run, as far as promises refer to it.
#[derive(Clone, Debug)]
pub(crate) struct Checker<'a> {
    scenario: &'a Scenario,
    slots: Slots,
    /// By slot.
    at: Vec<Seen>,
    roles: Vec<Role>,
    /// The time from T0 to the deadline, by the newest config.
    window: Duration,
    /// A new config was taken, and is not answered yet.
    reload: Option<Reloading>,
    /// A new config was taken: processes of several may stop together, and a few promises about the
    /// length of waits are checked for one config only.
    has_reloaded: bool,
    /// The number of starts of all slots, and that of the last start of each.
    starts: u32,
    /// Their starts were aborted before they were answered.
    aborted: BTreeSet<ProcessId>,
    /// The first promise that did not hold.
    broken: Cell<Option<&'static str>>,
    /// The shutdown has begun: no process may be started any more.
    unready: bool,
    /// Since then.
    unready_since: Option<Time>,
    /// `/readyz` was 200 before.
    was_good: bool,
    /// `/readyz` stays good, since then.
    stays_ready: Option<Time>,
    /// The same, with the number of processes that have ended.
    ended_before: usize,
    /// The number of processes that have ended so far.
    count_ends: usize,
    /// The start came before the shutdown.
    has_begun: bool,
    start: Time,
    t0: Option<Time>,
    /// A process has ended unasked since a `POST /drain`.
    has_lost_one: bool,
    /// Processes that have run since their last `post_stop` hook.
    owes_post_stop: BTreeSet<usize>,
    /// The last end, or start that has failed, and whether that is a success; once the shutdown has
    /// begun, the last before that.
    last_end: Option<(End, bool)>,
    /// Slots whose `only_if` holds since they were last asked to end, or over for good.
    admitted: BTreeSet<ProcessId>,
    /// The same of their `pre_start` hook.
    prepared: BTreeSet<ProcessId>,
    /// Slots whose `pre_start` hook or instance has run since the last `post_stop` hook.
    has_run: BTreeSet<ProcessId>,
    deadline: Option<Time>,
    cause: Option<Cause>,
    stop_signals: u32,
    last_signal: Option<Time>,
    exit: Option<u8>,
    killed: bool,
    has_hung: bool,
    sweeping: Option<Signal>,
    /// When leftover processes were first asked to end.
    swept_at: Option<Time>,
    /// By process, whatever the slot: an instance was started, was ready, has ended.
    was_started: Vec<bool>,
    was_skipped: Vec<bool>,
    was_ready: Vec<bool>,
    ended: Vec<bool>,
    /// A process that serves has failed its liveness check in this step.
    failed_check: Option<ProcessId>,
    /// Processes whose first start has failed, and the container goes on.
    start_failed: Vec<bool>,
    /// When a drain was requested.
    held_at: Option<Time>,
    /// Hooks that run.
    hooks: BTreeSet<HookId>,
    /// Requests that are not answered yet. Equal ones share an answer.
    asked_for: BTreeSet<(usize, Request)>,
    /// The number of starts at the last of equal requests, and whether the process was alive before
    /// the first.
    began: BTreeMap<(usize, Request), (u32, bool)>,
    /// Slots that start once the instance that they replace is gone.
    successors: BTreeSet<ProcessId>,
    /// Processes that have completed or are left out, and are not started again since.
    went_well: BTreeSet<usize>,
    /// Watched files that were seen to change, which neither an action nor a start has followed, and
    /// whether they are quiet.
    changed: BTreeMap<(ProcessId, usize), bool>,
    /// Processes without `autostart`, and those that a request has stopped while they ran, until one
    /// asks to start them.
    down: Vec<bool>,
    /// `alone` and `by_request` before the request that has come in this step.
    before: Option<Vec<(bool, bool)>>,
}

/// What was seen of a slot.
#[derive(Clone, Debug, Default)]
struct Seen {
    started_as: u32,
    /// It became ready, and was not asked to end since.
    was_serving: bool,
    /// There was no time for its drain.
    not_drained: bool,
    asked: Option<(Time, Duration)>,
    /// It has got more time to end than it had.
    extended: bool,
    group_killed: bool,
    killed_in_shutdown: bool,
    /// From then on a killed process counts as one that survives KILL.
    survives_at: Option<Time>,
    drain: Option<(Time, Duration)>,
    /// Its drain began before the shutdown.
    drained_early: bool,
    draining: bool,
    drained: bool,
    /// Its drain is over, and not because it has ended; or there was no time for it.
    drain_over: bool,
    /// It was over because nothing was open.
    was_quiet: bool,
    /// It has said that it was never live.
    not_live: bool,
    /// The number of processes that had ended when the drain began.
    ended_before_drain: usize,
    last_active: Option<u64>,
    accepted: Option<bool>,
    /// Failed liveness probes in a row, and how many it takes; `None` after a failure at once.
    probe_failures: Option<(u32, u32)>,
    /// When the start of a process may fail.
    ready_by: Option<Time>,
    /// When a oneshot must have completed.
    complete_by: Option<Time>,
    /// They are ready, and nothing stops them.
    serves: bool,
    /// Slots that a restart was to stop, and has failed because they survive KILL, until they are
    /// started again or left out.
    stuck: bool,
    /// Processes that stop without their dependents: for a restart, or because their start or their
    /// liveness check has failed.
    alone: bool,
    /// Processes that a request stops after their dependents.
    by_request: bool,
    /// Processes that have failed their liveness check, so that they are drained only for `min`.
    unhealthy: bool,
    /// Processes whose stop has begun before the shutdown.
    stops_early: bool,
    /// drainit holds no sockets for them any more.
    released: bool,
    /// They are gone, and not started again.
    gone: bool,
    /// Epochs of an Envoy that have not taken over from the older one beside them.
    pending: bool,
    /// Epochs that a newer one ends.
    handed_over: bool,
    /// Epochs that a newer one has taken over from.
    taken_over: bool,
    /// They have ended, and are not started again.
    given_up: bool,
    /// Epochs that Envoy aborts, because the older one has ended before they have ended it.
    doomed: bool,
    /// They were sent their stop signal.
    signalled: bool,
    /// The rest of their process group was sent it.
    rest_signalled: bool,
    /// `Note::Started` was given for the instance.
    started: bool,
    /// A new instance of a dependency that they follow has met its condition since their start.
    behind: bool,
    /// They have begun to follow, and are not started again yet.
    follows: bool,
    /// From the begin of a start, or from an end, until the instance is ready or complete.
    on_its_way: bool,
}

/// A new config that is not answered yet.
#[derive(Clone, Debug, Default)]
struct Reloading {
    plan: Vec<Placed>,
    /// Processes that are not yet as the new config has them.
    left: BTreeSet<usize>,
    /// Processes whose step has begun.
    begun: BTreeSet<usize>,
    has_removed: bool,
    /// The last step is the end of this one.
    removing: Option<ProcessId>,
    /// Processes that have followed meanwhile.
    followed: BTreeSet<usize>,
}

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
            broken: Cell::new(None),
            unready: false,
            unready_since: None,
            was_good: false,
            stays_ready: None,
            ended_before: 0,
            count_ends: 0,
            has_begun: false,
            start: now,
            t0: None,
            has_lost_one: false,
            owes_post_stop: BTreeSet::new(),
            last_end: None,
            admitted: BTreeSet::new(),
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
            hooks: BTreeSet::new(),
            asked_for: BTreeSet::new(),
            began: BTreeMap::new(),
            successors: BTreeSet::new(),
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

    /// The first promise that did not hold, if any. What comes after it has no meaning.
    pub(crate) fn broken(&self) -> Option<&'static str> {
        self.broken.get()
    }

    pub(crate) fn fail(&self, why: &'static str) {
        self.broken.set(self.broken.get().or(Some(why)));
    }

    fn hold(&self, holds: bool, why: &'static str) {
        if !holds {
            self.fail(why);
        }
    }

    /// When drainit sees what is due at this time.
    fn seen_at(&self, at: Time) -> Time {
        self.start + self.scenario.seen_at(at.since(self.start))
    }

    /// Whether drainit did not run for a part of this time.
    fn was_paused(&self, from: Time, now: Time) -> bool {
        let from = from.since(self.start);
        let is_within =
            |(begin, end): &(Duration, Duration)| from < *end && self.start + *begin < now;
        self.scenario.pauses.iter().any(is_within)
    }

    /// The same of the shutdown, whose time was not drainit's own then.
    fn has_lost_time(&self, now: Time) -> bool {
        self.was_paused(self.held_at.or(self.t0).unwrap_or(now), now)
    }

    /// When the core stops waiting for a process that is killed now.
    fn survivor_at(&self, now: Time) -> Time {
        let held = self.unready.then_some(self.scenario.spec.window);
        match self.deadline.map(|deadline| deadline.since(now)).or(held) {
            Some(left) => now + wait_after_kill(left),
            None => now + Duration::from_secs(5),
        }
    }

    /// There is less time for what survives KILL, too.
    fn fit_survivors(&mut self, now: Time, left: Duration) {
        let latest = now + wait_after_kill(left);
        for at in self.at.iter_mut().filter_map(|seen| seen.survives_at.as_mut()) {
            *at = latest.min(*at);
        }
    }

    pub(crate) fn event(&mut self, now: Time, event: Event) {
        if let Event::Exited { process, .. } | Event::GroupGone(process) = event
            && self.deadline.is_some_and(|deadline| deadline.since(now) <= self.window / 4)
        {
            // All that is left may be for the stops of its dependencies.
            self.owes_post_stop.remove(&self.slots.process(process));
        }
        self.holds_no_dead_sockets();
        self.has_begun |= event == Event::Start && self.deadline.is_none();
        self.before = None;
        match event {
            Event::Signal(signal) if self.scenario.spec.stop_signals.contains(&signal) => {
                let is_again = self.last_signal.is_some_and(|last| {
                    now.since(last) < Duration::from_millis(5) && self.deadline.is_some()
                });
                self.last_signal = Some(now);
                let is_further = signal == Signal::TERM && self.stop_signals > 0;
                self.stop_signals += u32::from(!is_again && !is_further);
            }
            Event::SpawnFailed { exit_code, .. } if self.deadline.is_none() => {
                self.last_end = Some((End::Code(exit_code), false));
            }
            Event::Exited { process, end, .. } => {
                if self.deadline.is_none() {
                    let codes = &self.of(process).success_codes;
                    let is_success = matches!(end, End::Code(code) if codes.contains(&code));
                    self.last_end = Some((end, is_success));
                }
                self.count_ends += 1;
                self.has_lost_one |=
                    self.held_at.is_some() && self.at[process.index()].asked.is_none();
                self.ended[self.slots.process(process)] = true;
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
                if let (false, Some(began)) = (self.asked_for.insert(key), self.began.get_mut(&key))
                {
                    began.0 = self.starts;
                }
            }
            Event::FileSeen { process, watch } => {
                self.changed.entry((process, watch)).or_default();
            }
            // A start that has begun since it was seen to change serves what it holds.
            Event::FileQuiet { process, watch, is_new } => {
                if let Entry::Occupied(mut seen) = self.changed.entry((process, watch)) {
                    *seen.get_mut() |= is_new;
                    if !seen.get() {
                        seen.remove();
                    }
                }
            }
            Event::Condition { process, holds: true } => {
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
            Event::Leftovers(found) if found > 0 => {
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
            Event::NothingToDrain(process) => self.at[process.index()].not_live = true,
            Event::DrainSample { process, load } => {
                self.at[process.index()].last_active = load.active
            }
            _ => {}
        }
    }

    /// Notes that a process may take longer: as long as it asks for, but not beyond what the
    /// processes and hooks that come after it need before the deadline.
    fn extend(&mut self, now: Time, process: ProcessId, by: Duration) {
        let index = process.index();
        if let Some(ready_by) = self.at[index].ready_by.filter(|at| now < *at) {
            self.at[index].ready_by = Some(ready_by.max(now + by));
        }
        // An event at the limit comes before it.
        if let Some(complete_by) = self.at[index].complete_by.filter(|at| now <= self.seen_at(*at))
        {
            self.at[index].complete_by = Some(complete_by.max(now + by));
        }
        let later = match self.has_reloaded {
            true => Duration::ZERO,
            false => self.needed_after(process),
        };
        // A process that was stopped by SIGKILL cannot ask for more time.
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

    /// The need of the hook after the end of a process, and of the longest path below it.
    fn needed_after(&self, slot: ProcessId) -> Duration {
        let of = &self.scenario.spec.processes[self.slots.process(slot)];
        self.path_from(slot, stop_need) - hook_need(of.hooks.pre_stop) - of.stop.need
    }

    /// The need of all slots in turn, whatever the order: more than any path of several configs
    /// has. What a reload had no time to begin counts, too, as it does in the core's budget, which
    /// is that of the new config.
    fn needed_by_all(&self) -> Duration {
        let in_use = self.slots.all().filter(|id| self.roles[id.index()] != Role::Retired);
        in_use.map(|id| self.of(id)).chain(self.slots.missing()).map(stop_need).sum()
    }

    /// The time that the stops of a process and of the longest path below it keep.
    fn least_from(&self, slot: ProcessId) -> Duration {
        self.path_from(slot, least_stop)
    }

    /// The need of the same stops, without hooks.
    fn needed_from(&self, slot: ProcessId) -> Duration {
        self.path_from(slot, |process| process.stop.need)
    }

    /// The longest path from a process through what it depends on.
    fn path_from(&self, slot: ProcessId, weight: impl Fn(&ProcessSpec) -> Duration) -> Duration {
        let spec = &self.scenario.spec;
        let mut below = vec![Duration::ZERO; spec.processes.len()];
        for id in &spec.order {
            let of = &spec.processes[id.index()];
            let deepest = of.dependencies.iter().map(|(on, _)| below[on.index()]).max();
            below[id.index()] = deepest.unwrap_or_default() + weight(of);
        }
        below[self.slots.process(slot)]
    }

    fn of(&self, slot: ProcessId) -> &ProcessSpec {
        self.slots.of(slot)
    }

    fn is_current(&self, slot: ProcessId) -> bool {
        self.roles[slot.index()] == Role::Current
    }

    /// The slots of a process that are not over.
    fn slots_of(&self, process: usize) -> impl Iterator<Item = ProcessId> {
        let slots = self.slots.all().filter(move |id| self.slots.process(*id) == process);
        slots.filter(|id| self.roles[id.index()] != Role::Retired)
    }

    /// Whether the process of this slot has two.
    fn is_replaced(&self, slot: ProcessId) -> bool {
        self.slots_of(self.slots.process(slot)).count() > 1
    }

    /// A replacement begins: there is none yet of the process, and a free slot is used.
    fn adopt(&mut self, slot: ProcessId, from: Source, procs: &[Proc]) {
        self.hold(!self.unready, "a replacement in a shutdown");
        self.retire(procs);
        let role = match from {
            Source::Copy(old) => {
                self.hold(self.is_current(old), "what was replaced is replaced");
                self.hold(!self.is_replaced(old), "two replacements at a time");
                // holds: C330
                self.hold(self.of(old).update.overlaps(), "an overlap that was not asked for");
                // holds: C330, C656
                self.hold(self.at[old.index()].serves, "nothing serves beside the new one");
                Role::New { old }
            }
            Source::Config(ConfigIndex(index)) => {
                let placed = self.reload.as_ref().map(|reload| reload.plan[index]);
                match placed {
                    Some(Placed::Changed(old)) => Role::New { old },
                    Some(Placed::New) => Role::Current,
                    _ => return self.fail("a definition that is not new"),
                }
            }
        };
        let is_free = self.roles.get(slot.index()).is_none_or(|role| *role == Role::Retired);
        self.hold(is_free, "a slot is taken that is in use");
        self.hold(slot.index() < 3 * self.slots.processes(), "slots are not used again");
        let proc = procs.get(slot.index()).copied().unwrap_or_default();
        self.hold(!proc.alive && !proc.group, "a slot is reused while its process is alive");
        if self.broken().is_some() {
            return;
        }
        self.slots.adopt(slot, from);
        if slot.index() == self.roles.len() {
            self.add_slot();
        }
        let place = slot.index();
        self.is_over(slot);
        self.has_run.remove(&slot);
        self.forget(slot);
        self.successors.remove(&slot);
        self.roles[place] = role;
        self.at[place].serves = false;
        self.at[place].gone = false;
        self.at[place].released = false;
        self.at[place].started_as = 0;
        self.at[place].probe_failures = None;
        self.at[place].ready_by = None;
        self.at[place].complete_by = None;
        if let Source::Config(_) = from {
            self.step(slot);
        }
    }

    fn add_slot(&mut self) {
        self.roles.push(Role::Retired);
        self.at.push(Seen::default());
    }

    /// A new instance is about to replace a running one. In an overlap nothing happens to the
    /// running instance for now.
    fn replacing(&mut self, new: ProcessId, old: ProcessId, overlaps: bool, procs: &[Proc]) {
        self.hold(self.roles[new.index()] == Role::New { old }, "a replacement by another slot");
        if !overlaps {
            self.slots.take_over(new);
            self.roles[new.index()] = Role::Current;
            self.successors.insert(new);
            // It may stay down.
            if self.at[old.index()].by_request {
                self.at[new.index()].by_request = true;
                self.stepped(new);
            }
            let was_down = !procs[old.index()].alive && !procs[old.index()].group;
            if was_down && (!self.of(new).autostart || self.at[old.index()].started_as == 0) {
                self.stepped(new);
            }
            self.leave(old);
            return;
        }
        let (new_spec, old_spec) = (self.of(new), self.of(old));
        let takes_over =
            new_spec.update != Update::HotRestart || new_spec.base_id == old_spec.base_id;
        self.hold(takes_over, "an Envoy beside one that it cannot take over from");
        for place in [new.index(), old.index()] {
            self.at[place].alone = false;
            self.at[place].follows = false;
        }
        self.at[old.index()].on_its_way = false;
    }

    /// A new config has come. `is_taken`: it was not refused.
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
        for ((process, of), _) in added.filter(|(_, placed)| **placed == Placed::New) {
            self.down[process.0] = !of.autostart;
        }
        self.reload = Some(Reloading { plan, left, ..Reloading::default() });
        self.has_reloaded = true;
        self.window = config.spec.window;
    }

    /// A process of a new config begins: all that it needs is as that config has it.
    fn step(&mut self, slot: ProcessId) {
        self.holds_one_step();
        let process = self.slots.process(slot);
        let Some(reload) = &mut self.reload else { return };
        reload.begun.insert(process);
        reload.removing = None;
        let left = reload.left.clone();
        let mut needs = self.of(slot).dependencies.iter();
        let is_due = needs.all(|(on, _)| !left.contains(&on.index()));
        self.hold(is_due, "replaced before what it needs");
        // Its dependencies are started, too, unless it was stopped by hand itself.
        let others: Vec<_> = self.slots.all().filter(|id| *id != slot).collect();
        for other in others {
            if self.above(other).contains(&slot) {
                self.down[self.slots.process(other)] = false;
            }
        }
    }

    /// A step of a reload begins when the one before it is over.
    fn holds_one_step(&mut self) {
        let Some(reload) = &self.reload else { return };
        let is_over =
            reload.begun.is_disjoint(&reload.left) && !self.roles.contains(&Role::Leaving);
        self.hold(is_over, "a step of a reload before the end of the one before it");
    }

    /// A process is as the new config has it.
    fn stepped(&mut self, slot: ProcessId) {
        let process = self.slots.process(slot);
        if let Some(reload) =
            self.reload.as_mut().filter(|_| self.roles[slot.index()] == Role::Current)
        {
            reload.left.remove(&process);
        }
    }

    /// A process is no longer in the config.
    fn removing(&mut self, slot: ProcessId, procs: &[Proc]) {
        self.hold(self.reload.is_some(), "a process is removed without a reload");
        self.retire(procs);
        self.holds_one_step();
        if let Some(reload) = &mut self.reload {
            (reload.has_removed, reload.removing) = (true, Some(slot));
        }
        let process = self.slots.process(slot);
        let plan = self.reload.as_ref().map(|reload| reload.plan.clone()).unwrap_or_default();
        let is_needed = self.slots.all().any(|id| {
            // One that is not replaced does not need it in the new config.
            let stays = !matches!(self.roles[id.index()], Role::Leaving | Role::Retired)
                && !plan.contains(&Placed::Same(id));
            let mut needs = self.of(id).dependencies.iter();
            stays && needs.any(|(on, _)| on.index() == process)
        });
        self.hold(!is_needed, "a process is removed before what needs it");
        self.slots.remove(slot);
        // One of the same name that a later config adds is another process.
        self.down[process] = false;
        self.leave(slot);
    }

    /// The reload is answered.
    fn reloaded(&mut self, is_done: bool, procs: &[Proc]) {
        self.retire(procs);
        let Some(reload) = self.reload.take() else { return self.fail("an answer to no reload") };
        if is_done {
            self.hold(self.slots.are_new(), "reloaded, and not as the new config has it");
            let leaves = self.roles.contains(&Role::Leaving);
            self.hold(!leaves, "reloaded, and an old instance lives");
            for process in &reload.followed {
                let is_replaced = self.slots_of(*process).count() > 1;
                let current = self.slots.current(*process).map(ProcessId::index);
                let moves = current.is_some_and(|it| self.at[it].follows || self.at[it].on_its_way);
                // holds: C477
                self.hold(!is_replaced && !moves, "reloaded, and what follows is not replaced");
            }
            for id in self.slots.all() {
                let has_followed = reload.followed.contains(&self.slots.process(id));
                let is_behind = self.is_current(id) && self.at[id.index()].behind && !has_followed;
                // Its dependency may follow once more, as soon as the reload is over.
                let waits = self.may_stay_behind(id, procs)
                    || self.waits_to_follow(id, procs, |on| self.at[on].behind);
                // holds: C477
                self.hold(!is_behind || waits, "reloaded, and a dependent does not follow");
            }
        }
        for process in reload.followed.iter().filter_map(|process| self.slots.current(*process)) {
            // One that survives KILL stays down after that.
            self.at[process.index()].follows &= !procs[process.index()].alive;
        }
    }

    /// A new instance takes over.
    fn took_over(&mut self, new: ProcessId, old: ProcessId, procs: &[Proc]) {
        self.hold(!self.unready, "a replacement in a shutdown");
        self.hold(self.roles[new.index()] == Role::New { old }, "another slot takes over");
        let is_left_out = self.of(new).conditional && self.reload.is_some();
        let is_ready = self.at[new.index()].serves || is_left_out;
        // holds: C332, C656
        self.hold(is_ready, "the old one ends before the new one is ready");
        self.slots.take_over(new);
        self.roles[new.index()] = Role::Current;
        self.leave(old);
        // It drains by itself from then on.
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

    /// A slot is drained and stopped from now on, whatever needs its process.
    fn leave(&mut self, slot: ProcessId) {
        self.successors.remove(&slot);
        let place = slot.index();
        self.roles[place] = Role::Leaving;
        self.at[place].alone = true;
        self.at[place].by_request = false;
        self.at[place].behind = false;
        self.at[place].follows = false;
        self.at[place].on_its_way = false;
    }

    /// Slots that are over are free from now on.
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

    /// Only a slot that is not on its way down is started.
    fn holds_start(&mut self, slot: ProcessId, procs: &[Proc]) {
        let role = self.roles[slot.index()];
        let may_start = matches!(role, Role::Current | Role::New { .. });
        self.hold(may_start, "a start of what was replaced");
        // One that is about to replace this one may live beside it.
        let is_other =
            |id: ProcessId| id != slot && self.roles[id.index()] != Role::New { old: slot };
        let mut others = self.slots_of(self.slots.process(slot)).filter(|id| is_other(*id));
        let lives = others.any(|id| procs[id.index()].alive || procs[id.index()].group);
        let is_first = role == Role::Current && self.at[slot.index()].started_as == 0;
        drop(others);
        self.hold(!(is_first && lives), "started first without having been asked to");
    }

    /// In a shutdown, what a count after the drain finds open is waited for while the time of the
    /// drain lasts. An end shortens that time, and so may the deadline, where the drain began before
    /// the shutdown.
    fn holds_open(&self, now: Time, slot: ProcessId) {
        let place = slot.index();
        let Some(((since, longest), times)) = self.at[place].drain.zip(self.of(slot).drain) else {
            return;
        };
        let is_shorter = self.at[place].drained_early
            || self.held_at.is_some()
            || self.count_ends > self.at[place].ended_before_drain
            || self.stop_signals >= 2;
        let is_asked = self.cause.is_some_and(|cause| cause.is_asked());
        if self.at[place].was_quiet && self.unready && is_asked && !is_shorter {
            let is_open = self.at[place].last_active.is_some_and(|open| open > times.exit_at);
            // holds: S185
            self.hold(!is_open || now >= since + longest, "a stop while requests are in flight");
        }
    }

    /// A process that serves is drained before it is asked to end, unless there is no time for it.
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

    /// The container is ready while every process serves, also while one is replaced, and not while
    /// the end of one is waited for.
    // holds: C96, C611
    fn holds_readiness(&mut self, machine: &Machine, procs: &[Proc]) {
        let Phase::Running(running) = machine.phase() else { return };
        self.was_good = running.was_ready();
        let currents =
            (0..self.slots.processes()).filter_map(|process| self.slots.current(process));
        let all_serve = currents.map(ProcessId::index).all(|current| {
            self.at[current].serves && !self.at[current].alone && !self.at[current].by_request
        });
        let has_removed = self.reload.as_ref().is_some_and(|reload| reload.has_removed);
        let adds = has_removed && self.slots.to_be_added().any(|of| of.required);
        let removing = self.reload.as_ref().and_then(|reload| reload.removing);
        let serves =
            |slot: ProcessId| matches!(machine.state().life(slot), Lifecycle::Ready { .. });
        let lacks_one = adds && !removing.is_some_and(serves);
        let is_ready = !running.was_ready() || running.is_ready(machine.state());
        self.hold(is_ready || !all_serve || lacks_one, "not ready although every process serves");
        let lives = |slot: ProcessId| procs[slot.index()].alive;
        let mut waiting = self.successors.iter().filter(|slot| self.of(**slot).required);
        let waits = waiting.any(|slot| self.slots_of(self.slots.process(*slot)).any(lives));
        self.hold(!waits || !running.is_ready(machine.state()), "ready although nothing serves");
        let is_early = lacks_one && running.is_ready(machine.state());
        self.hold(!is_early, "ready although a process that is added has not begun");
    }

    /// A reload or a request ends, at the latest when nothing goes on any more.
    fn holds_answers(&self, machine: &Machine) {
        let is_open = self.reload.is_some() || !self.asked_for.is_empty();
        if !is_open || self.unready || machine.next_wakeup().is_some() {
            return;
        }
        let state = machine.state();
        let goes_on = self.slots.all().any(|slot| match state.life(slot) {
            Lifecycle::Waiting => self.of(slot).dependencies.iter().any(|(on, condition)| {
                // A service never completes: an error in a config.
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
        self.hold(goes_on, "nothing goes on, and a request or a reload is not answered");
    }

    /// All actions of a step are carried out.
    pub(crate) fn step_over(&mut self, machine: &Machine, procs: &[Proc]) {
        self.holds_liveness();
        self.holds_no_forgotten_change(procs);
        self.holds_followers(procs);
        self.holds_new_ones(machine, procs);
        self.holds_pending(procs);
        self.holds_readiness(machine, procs);
        self.holds_answers(machine);
        self.holds_shutdown(machine, procs);
        for slot in self.slots.all().filter(|_| !self.unready) {
            // An old epoch whose stop has begun may wait for the end of a newer one.
            let is_stopping = matches!(machine.state().life(slot), Lifecycle::Stopping { .. });
            self.at[slot.index()].stops_early |= is_stopping;
        }
        let expired = machine.state().timers_at;
        let is_late = machine.next_wakeup().is_some_and(|wakeup| wakeup <= expired);
        self.hold(!is_late, "the next wake-up is not in the future");
    }

    pub(crate) fn action(&mut self, now: Time, action: &Action, procs: &[Proc]) {
        self.hold(self.exit.is_none(), "something is done after the exit");
        self.holds_timeouts(now, procs);
        match *action {
            Action::Adopt { slot, from } => self.adopt(slot, from, procs),
            Action::Redefine { slot, config } => {
                let placed = self.reload.as_ref().map(|reload| reload.plan[config.0]);
                self.hold(placed == Some(Placed::Same(slot)), "a process has the wrong definition");
                self.slots.redefine(slot, config);
            }
            Action::CheckCondition(process) => {
                self.holds_start(process, procs);
                self.at[process.index()].follows = false;
                self.at[process.index()].on_its_way = true;
            }
            Action::Spawn(process) => {
                let proc = procs[process.index()];
                self.hold(!proc.alive && !proc.group, "a start of what is alive");
                self.at[process.index()].gone = false;
                // holds: S4, C118, C660
                self.hold(!self.unready, "a start after the shutdown has begun");
                self.holds_start(process, procs);
                let is_down = self.down[self.slots.process(process)];
                // holds: C684, C686
                self.hold(!is_down, "a start that only a request may ask for");
                // A restart does not look at what a new config has added.
                let is_new = matches!(self.roles[process.index()], Role::New { .. });
                let has_run = is_new || self.at[process.index()].started_as > 0;
                let is_again = self.has_reloaded && has_run;
                for (on, condition) in &self.of(process).dependencies {
                    self.hold(
                        is_again || self.is_reached(*on, *condition),
                        // holds: C159, C193, C194
                        "a start before what it depends on",
                    );
                    let is_down = self.down[on.index()] && !is_again;
                    // holds: C571
                    self.hold(!is_down, "a start without what it depends on");
                    let is_first = self.at[process.index()].started_as == 0
                        && !is_new
                        && !self.prepared.contains(&process);
                    let current = self.slots.current(on.index());
                    let is_stuck = current.is_some_and(|on| self.at[on.index()].stuck);
                    self.hold(
                        !(is_first && is_stuck && !is_again),
                        // holds: C571
                        "a start that needs what a restart has left down",
                    );
                }
                self.starts += 1;
                self.at[process.index()].started_as = self.starts;
                let other = self.other_epoch(now, process, procs);
                let other = other.filter(|_| self.of(process).update == Update::HotRestart);
                if let Some(other) = other {
                    let proc = procs[other.index()];
                    let is_spoilt = proc.newer_failed && self.is_current(process);
                    self.hold(!is_spoilt, "a start beside an epoch that lets no other take over");
                    let ends = proc.is_passed
                        || self.at[other.index()].signalled
                        || self.at[other.index()].group_killed
                        || self.at[other.index()].asked.is_some()
                            && !self.at[other.index()].handed_over;
                    self.hold(!ends, "a start beside an epoch that is about to end");
                    self.hold(!proc.aborts, "a start beside an epoch that Envoy aborts");
                }
                self.successors.remove(&process);
                self.went_well.remove(&self.slots.process(process));
                if self.of(process).hooks.pre_start.is_none() {
                    self.changed.retain(|(of, _), _| *of != process);
                }
                let of = self.of(process);
                let is_admitted = !of.conditional || self.admitted.contains(&process);
                // holds: C481
                self.hold(is_admitted, "a start although only_if was not asked");
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
                self.hold(is_new, "a hook that runs already");
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
                        self.hold(takes_over, "a pre_stop hook of one that has not taken over");
                        self.holds_stop(now, process, procs);
                        self.at[process.index()].stops_early |= !self.unready;
                    }
                    (Some(process), Stage::PostStop) => {
                        self.owes_post_stop.remove(&self.slots.process(process));
                        self.is_over(process);
                        self.holds_last_hook(process, procs);
                        let mut others = self.slots_of(self.slots.process(process));
                        let goes_on = others.any(|id| {
                            let survives_at = self.at[id.index()].survives_at;
                            procs[id.index()].alive && survives_at.is_none_or(|at| now < at)
                        });
                        // The hook of the old definition runs at its end.
                        let may_differ = self.has_reloaded;
                        self.hold(
                            !goes_on || may_differ,
                            // holds: C347, C359
                            "a post_stop hook of a process that goes on",
                        );
                    }
                    (None, _) => {}
                }
                let is_late = stage == Stage::PreStart && self.unready;
                // holds: S5
                self.hold(!is_late, "a pre_start hook after the shutdown has begun");
                let is_last = hook == HookId { process: None, stage: Stage::PostStop };
                // holds: S107, S201, C657
                self.hold(!is_last || self.stop_signals < 3, "a hook after a third signal");
            }
            Action::Stop { process, signal } => {
                self.is_over(process);
                self.holds_epochs(now, process, signal, procs);
                // A new instance is stopped first of all.
                let is_new = self.is_new(process) || self.at[process.index()].pending;
                self.at[process.index()].stops_early |= is_new;
                let is_early = self.at[process.index()].stops_early;
                // holds: S19
                self.hold(self.stays_ready.is_none() || is_early, "a stop while it is ready");
                self.hold(procs[process.index()].alive, "a stop for what is gone");
                self.hold(!self.at[process.index()].signalled, "asked to stop twice");
                self.at[process.index()].signalled = true;
                let was_noted = self.at[process.index()].asked.is_some();
                self.at[process.index()].serves = false;
                self.holds_drained(now, process);
                if !self.at[process.index()].stops_early {
                    self.holds_stop(now, process, procs);
                    self.at[process.index()].stops_early = !self.unready;
                }
                if !was_noted || self.at[process.index()].handed_over {
                    self.at[process.index()].asked = Some((now, Duration::MAX));
                }
                self.pass_on(now, process, signal, procs);
            }
            Action::StopGroup { process, signal } => {
                let is_newer_alive = self.other_epoch(now, process, procs).is_some();
                let is_left = self.at[process.index()].handed_over && is_newer_alive;
                self.hold(!is_left, "the rest of an epoch is asked before a newer one ends");
                let is_killed = signal == Signal::KILL;
                let is_pending = self.at[process.index()].pending;
                self.hold(is_killed == is_pending, "TERM to the rest of an epoch, or KILL");
                self.at[process.index()].rest_signalled = true;
            }
            Action::Kill(process) if procs[process.index()].group => {
                self.holds_asked(now, process, self.at[process.index()].rest_signalled, procs);
                self.at[process.index()].killed_in_shutdown |= self.deadline.is_some();
                self.killed |= self.deadline.is_some();
                self.at[process.index()].survives_at = Some(self.survivor_at(now));
            }
            Action::Kill(process) => {
                let is_early = self.at[process.index()].stops_early;
                self.hold(self.deadline.is_some() || is_early, "a KILL without a stop");
                let obeys = self.has_faultless_shutdown() && !is_early && !self.has_lost_time(now);
                self.hold(!obeys, "a KILL although every process obeys");
                self.hold(procs[process.index()].alive, "a KILL for what is gone");
                self.hold(!self.at[process.index()].group_killed, "killed twice");
                self.holds_handover(now, process, procs);
                self.holds_asked(now, process, self.at[process.index()].signalled, procs);
                if self.stop_signals < 3 {
                    self.was_asked_in_time(now, process);
                }
                self.at[process.index()].group_killed = true;
                self.at[process.index()].killed_in_shutdown |= self.deadline.is_some();
                self.at[process.index()].survives_at = Some(self.survivor_at(now));
                self.killed |= self.deadline.is_some();
            }
            Action::AbortHook(hook) => {
                self.hooks.remove(&hook);
                self.has_hung |= hook.stage == Stage::PostStop;
            }
            Action::WatchLiveness(process) => {
                self.hold(procs[process.index()].alive, "a liveness check of what is gone");
                // holds: C229, C242
                self.hold(!self.unready, "a liveness check in a shutdown");
                let retries = self.of(process).liveness_retries;
                self.at[process.index()].probe_failures = retries.map(|retries| (0, retries));
            }
            Action::StayReady => {
                self.hold(!self.unready, "ready again in a shutdown");
                let is_asked = self.cause.is_none_or(|cause| cause.is_asked());
                // holds: S20
                self.hold(is_asked, "ready although the stop was not asked for");
                self.unready = true;
                self.unready_since = Some(now);
                self.stays_ready = Some(now);
                self.ended_before = self.count_ends;
            }
            Action::AbortSpawn(process) => {
                self.aborted.insert(process);
            }
            Action::Unready => {
                if let Some(since) = self.stays_ready.take() {
                    self.holds_ready(now, since);
                } else {
                    self.hold(!self.unready, "unready twice");
                    self.ended_before = self.count_ends;
                    self.unready_since = Some(now);
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
                    self.hold(!self.at[dependent.index()].draining, "drained while a dependent is");
                }
                let Some(((_, granted), times)) =
                    self.at[process.index()].drain.zip(self.of(process).drain)
                else {
                    return self.fail("a drain without a note");
                };
                self.hold(min <= longest && longest == granted, "a drain of another length");
                self.holds_drain(now, process, min, longest, procs);
                if !self.unready {
                    self.holds_stop(now, process, procs);
                    let is_full = longest == times.time || self.at[process.index()].unhealthy;
                    self.hold(is_full && min == times.min, "less than a full drain");
                }
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
                self.hold(self.stays_ready.is_none(), "refuses connections while it is ready");
                self.hold(procs[process.index()].alive, "a poll of a process that is gone");
                self.at[process.index()].draining = true;
            }
            Action::EndDrain(process) => {
                self.at[process.index()].draining = false;
            }
            Action::Note(note) => self.note(now, note, procs),
            Action::Exit(code) => self.exits(now, code, procs),
            _ => {}
        }
    }

    /// A drain of a shutdown begins after the delay and the hook of the container, after those of
    /// its dependents, and with the time that it has where that fits.
    fn holds_drain(
        &self,
        now: Time,
        process: ProcessId,
        min: Duration,
        longest: Duration,
        procs: &[Proc],
    ) {
        let Some(since) = self.unready_since else { return };
        let pre_stop = HookId { process: None, stage: Stage::PreStop };
        // holds: S12, C143, C615
        self.hold(!self.hooks.contains(&pre_stop), "a drain while the container's hook runs");
        for below in self.slots.all().filter(|id| self.above(*id).contains(&process)) {
            let is_early =
                self.at[below.index()].drain.is_none() || self.at[below.index()].drained_early;
            // holds: S23, C370, C658
            self.hold(is_early, "drained after what it depends on");
        }
        let spec = &self.scenario.spec;
        let Some(times) = self.of(process).drain else { return };
        let is_asked = self.cause.is_none_or(|cause| cause.is_asked());
        let wish = if is_asked { times.time } else { times.min.max(Duration::from_secs(1)) };
        let most = wish.max(spec.unready_delay);
        // holds: S37, S79, S111
        self.hold(longest <= most, "a drain longer than its time");
        if self.has_reloaded {
            return;
        }
        let stops = self.longest_path(|id| stop_need(&spec.processes[id.index()]));
        let drains = self.longest_path(|id| {
            spec.processes[id.index()].drain.map_or(Duration::ZERO, |drain| drain.min)
        });
        let deadline = self.deadline.or(self.held_at.map(|at| at + spec.window));
        let left = deadline.map_or(spec.window, |deadline| deadline.since(now));
        // holds: S79
        self.hold(min >= times.min || drains + stops > left, "less than its min although it fits");
        let is_full = longest >= times.time || !is_asked || times.time + drains + stops > left;
        let has_ended = self.count_ends > self.ended_before;
        // holds: S79
        self.hold(is_full || has_ended, "less than its time although all fits");
        let before = spec.readiness_delay.max(hook_need(spec.hooks.pre_stop));
        let is_delayed = now >= since + spec.readiness_delay || !self.was_good;
        let window = self.held_at.map_or(spec.window, |_| left);
        let fits = before + drains + stops <= window;
        let is_empty = procs.iter().all(|proc| !proc.alive && !proc.group);
        // holds: S10, S12, S75, C83, C111, C112, C605
        self.hold(is_delayed || !fits || is_empty, "a drain before the delay is over");
    }

    /// Leftover processes have 2 s between TERM and KILL, where the deadline leaves so much.
    // holds: S65
    fn holds_leftovers(&mut self, now: Time, signal: Signal) {
        let since = *self.swept_at.get_or_insert(now);
        let over = (since + Duration::from_secs(2)).min(self.deadline.unwrap_or(now).max(since));
        let is_asked = self.sweeping.is_some();
        match signal {
            Signal::KILL => {
                let is_due = !is_asked || now >= over || self.stop_signals >= 3;
                self.hold(is_due, "leftover processes are killed too early");
            }
            _ => self.hold(now < over || !is_asked, "leftover processes are killed too late"),
        }
    }

    /// All that a stop signal and the deadline end has ended, and no stop waits for nothing.
    fn holds_shutdown(&self, machine: &Machine, procs: &[Proc]) {
        if !self.unready || self.exit.is_some() {
            // holds: S9, C611
            self.hold(self.deadline.is_none() || self.exit.is_some(), "ready in a shutdown");
            return;
        }
        let runs = |stage| self.hooks.iter().any(|hook| hook.stage == stage);
        // holds: S5, C657
        self.hold(!runs(Stage::PreStart), "a pre_start hook goes on in a shutdown");
        if self.stop_signals >= 2 && self.deadline.is_some() {
            // holds: S41, S106, S108
            self.hold(!self.at.iter().any(|seen| seen.draining), "a drain after a second signal");
            // holds: S106
            self.hold(!runs(Stage::PreStop), "a pre_stop hook after a second signal");
        }
        // An event at the deadline comes before it.
        let expired = machine.state().timers_at;
        let is_over = self.stop_signals >= 3 || self.deadline.is_some_and(|at| at <= expired);
        for id in
            self.slots.all().filter(|id| procs[id.index()].alive && self.at[id.index()].started)
        {
            let place = id.index();
            let is_killed = self.at[place].survives_at.is_some();
            // holds: S57, S62, S107
            self.hold(!is_over || is_killed, "it lives on after the deadline or a third signal");
            let runs = |id, stage| self.hooks.contains(&HookId { process: Some(id), stage });
            let is_asked = self.at[place].asked.is_some()
                || is_killed
                || runs(id, Stage::PreStop)
                || self.newer_epoch(expired, id, procs).is_some()
                // A newer epoch may be one of its process group.
                || self.slots_of(self.slots.process(id)).any(|other| {
                    let is_starting = machine.state().life(other) == Lifecycle::Spawning;
                    procs[other.index()].group || is_starting
                });
            let mut above = self.above(id).into_iter();
            let waits = above.any(|id| {
                let proc = procs[id.index()];
                // A moment later if it was killed before the shutdown.
                let survives_at = self.at[id.index()].survives_at;
                let survives =
                    survives_at.is_some_and(|at| at + Duration::from_millis(200) <= expired);
                let is_alive = proc.alive || proc.group;
                let life = machine.state().life(id);
                is_alive && !survives || runs(id, Stage::PostStop) || life == Lifecycle::Spawning
            });
            // A removed process may still be needed by a step that has not begun.
            let is_stopping = matches!(machine.phase(), Phase::Stopping(_)) && !self.has_reloaded;
            let is_due = is_stopping && !waits;
            // holds: S53, S56, S64
            self.hold(!is_due || is_asked, "a stop waits for nothing");
        }
    }

    /// `/readyz` turns 503 now, and not before its delay is over, where that fits.
    // holds: C84
    fn holds_ready(&self, now: Time, since: Time) {
        let spec = &self.scenario.spec;
        let stops = self.longest_path(|id| stop_need(&spec.processes[id.index()]));
        let drains = self.longest_path(|id| {
            spec.processes[id.index()].drain.map_or(Duration::ZERO, |drain| drain.min)
        });
        let fits = spec.unready_delay + drains + stops <= spec.window;
        let has_ended = self.count_ends > self.ended_before;
        // Nothing else may hold up the stop.
        let is_cut = self.stop_signals >= 2 || self.at.iter().any(|seen| seen.not_live);
        let is_due = now >= since + spec.unready_delay || self.has_reloaded;
        // holds: S13
        self.hold(is_due || !fits || has_ended || is_cut, "unready before its delay is over");
    }

    /// No connection waits for a process that was asked to end or is gone in a shutdown.
    // holds: C187
    fn holds_no_dead_sockets(&self) {
        for slot in self.slots.all() {
            let (index, process) = (slot.index(), self.of(slot));
            let is_over = self.unready && (self.at[index].asked.is_some() || self.at[index].gone);
            let is_held = process.listens && !self.at[index].released;
            self.hold(!(is_over && is_held), "connections wait for a process that is gone");
        }
    }

    /// A oneshot never runs longer than its `timeout` and its stop, while the container runs.
    // holds: C154
    fn holds_timeouts(&self, now: Time, procs: &[Proc]) {
        for (place, seen) in self.at.iter().enumerate() {
            let Some(complete_by) = seen.complete_by else { continue };
            // A request stops it after its dependents.
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
            let is_killed = now <= self.seen_at(gone_by) || seen.group_killed;
            self.hold(is_killed, "a oneshot is not killed after its timeout");
        }
    }

    /// A failed liveness check stops the process at once, unless it is on its way down.
    // holds: C237
    fn holds_liveness(&mut self) {
        let Some(process) = self.failed_check.take() else { return };
        let place = process.index();
        let is_down = self.at[place].alone || self.at[place].by_request || !self.at[place].serves;
        let is_over = self.unready || self.t0.is_some() || self.held_at.is_some();
        self.hold(is_down || is_over, "a failed liveness check has no consequence");
    }

    /// A change of a watched file is followed as soon as it is quiet, unless its process does not
    /// serve, is on its way somewhere, or waits for what it follows.
    // holds: C301
    fn holds_no_forgotten_change(&self, procs: &[Proc]) {
        if self.unready || !self.asked_for.is_empty() || self.reload.is_some() {
            return;
        }
        // A stop that has failed because something survives KILL goes on.
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
        self.hold(due.next().is_none(), "a change is forgotten");
    }

    /// Whether a watched file was seen to change that a slot is restarted for.
    fn is_to_restart(&self, slot: ProcessId) -> bool {
        let watch = &self.of(slot).watch;
        let mut changes = self.changed.range((slot, 0)..=(slot, usize::MAX));
        changes.any(|((_, place), _)| watch.get(*place) == Some(&WatchAction::Restart))
    }

    /// The action of a change begins.
    fn changed(&mut self, process: ProcessId, watch: usize, action: WatchAction, procs: &[Proc]) {
        // holds: C303
        self.hold(!self.unready, "the action of a change after the shutdown has begun");
        let is_down = self.down[self.slots.process(process)];
        // holds: C303
        self.hold(!is_down, "a change starts what was stopped by hand");
        self.hold(self.is_current(process), "a change of what was replaced");
        let is_due = self.changed.remove(&(process, watch));
        // holds: C302
        self.hold(is_due.is_some(), "the action of no change, or of one that a start has served");
        self.hold(is_due != Some(false), "the action of a change that is not over");
        let followed = (0..self.slots.processes())
            .filter(|on| self.slots.follows_any(process, *on))
            .filter_map(|on| self.slots.current(on));
        let mut followed = followed.filter(|on| self.at[on.index()].serves);
        let is_first = !followed.any(|on| self.is_to_restart(on));
        // holds: C665
        self.hold(is_first, "a change before what its process follows");
        let proc = procs[process.index()];
        match action {
            WatchAction::Restart => {
                self.hold(self.at[process.index()].serves || !proc.alive, "a restart of a start");
                let key = (self.slots.process(process), Request::Restart);
                let is_only = self.asked_for.insert(key);
                self.hold(is_only, "two replacements at a time");
                self.began.insert(key, (self.starts, proc.alive));
                self.at[process.index()].alone = true;
            }
            WatchAction::Reload => self.hold(false, "a reload by the core"),
            WatchAction::Signal(_) => {
                self.hold(
                    proc.alive && self.at[process.index()].serves,
                    "a signal before it is ready",
                );
            }
        }
    }

    /// The next start begins anew: `only_if` and the `pre_start` hook come first.
    fn is_over(&mut self, slot: ProcessId) {
        self.admitted.remove(&slot);
        self.prepared.remove(&slot);
    }

    /// The `post_stop` hook is for what has run since the last one, and is gone, in all slots with
    /// the same definition.
    fn holds_last_hook(&mut self, slot: ProcessId, procs: &[Proc]) {
        let process = self.slots.process(slot);
        let own: BTreeSet<_> =
            self.slots.all().filter(|id| self.slots.process(*id) == process).collect();
        // holds: C359
        self.hold(!self.has_run.is_disjoint(&own), "a post_stop hook twice");
        match self.has_reloaded {
            true => drop(self.has_run.remove(&slot)),
            false => self.has_run.retain(|id| {
                let proc = procs[id.index()];
                !own.contains(id) || proc.alive || proc.group
            }),
        }
    }

    /// A process has a new instance.
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

    /// A new instance has met a condition.
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

    /// The other epoch of the process, if it lives and has not survived SIGKILL.
    fn other_epoch(&self, now: Time, slot: ProcessId, procs: &[Proc]) -> Option<ProcessId> {
        let mut others = self.slots_of(self.slots.process(slot)).filter(|id| *id != slot);
        others.find(|id| {
            let survives = self.at[id.index()].survives_at.is_some_and(|at| at <= now);
            procs[id.index()].is_epoch && procs[id.index()].alive && !survives
        })
    }

    /// The same, if it is the newer one.
    fn newer_epoch(&self, now: Time, slot: ProcessId, procs: &[Proc]) -> Option<ProcessId> {
        let started = |slot: ProcessId| self.at[slot.index()].started_as;
        self.other_epoch(now, slot, procs).filter(|other| started(*other) > started(slot))
    }

    /// An epoch of an Envoy may get a signal now: none that is older than another one, which would
    /// abort; and only KILL, which it cannot pass on, before it has taken over.
    fn holds_epochs(&self, now: Time, slot: ProcessId, signal: Signal, procs: &[Proc]) {
        if !procs[slot.index()].is_epoch {
            return;
        }
        let newer = self.newer_epoch(now, slot, procs);
        self.hold(newer.is_none(), "asked before a newer epoch ends");
        let is_killed = signal == Signal::KILL;
        let is_due = self.at[slot.index()].pending || procs[slot.index()].aborts;
        self.hold(is_killed == is_due, "TERM to an epoch, or KILL, in its turn");
        let others: Vec<_> =
            self.slots_of(self.slots.process(slot)).filter(|id| *id != slot).collect();
        let is_old = self.is_taken_over(slot);
        let was_told = others.iter().any(|other| self.at[other.index()].asked.is_some());
        let is_cut =
            self.unready && self.at.iter().any(|seen| seen.draining) && is_old && !was_told;
        self.hold(!is_cut, "an old epoch is asked while a drain goes on");
        // One that has taken over, and was asked to end, has passed that on.
        let is_passed_on = |other: &ProcessId| {
            self.at[other.index()].asked.is_some() && !self.at[other.index()].pending
        };
        // An Envoy has a drain, which `drainit check` demands.
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
            "an old epoch is asked before its drain is over",
        );
    }

    /// Whether a newer epoch has taken over from this one, which drains by itself since.
    fn is_taken_over(&self, slot: ProcessId) -> bool {
        self.roles[slot.index()] == Role::Leaving && self.at[slot.index()].taken_over
    }

    /// An epoch is killed beside a newer one only when that had its time to end it.
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

    /// Nothing is killed that was not asked to end, but by the deadline or a third signal, and but an
    /// epoch beside a newer one, which ends it in place of drainit.
    fn holds_asked(&self, now: Time, slot: ProcessId, was_asked: bool, procs: &[Proc]) {
        let is_over = self.deadline.is_some_and(|deadline| deadline <= now);
        let mut others = self.slots_of(self.slots.process(slot));
        let is_left = others.any(|other| {
            let place = other.index();
            let survives = self.at[place].survives_at.is_some_and(|at| at <= now);
            let is_newer = self.at[place].started_as > self.at[slot.index()].started_as;
            // One that was asked has passed that on.
            let lives = procs[place].alive || procs[place].group && self.at[place].signalled;
            is_newer && lives && !survives
        });
        let is_excused = is_over || self.stop_signals >= 3 || is_left;
        // holds: S55
        self.hold(was_asked || is_excused, "killed, and nobody has asked it to end");
    }

    /// An epoch that is asked to end ends the older one with it.
    fn pass_on(&mut self, now: Time, slot: ProcessId, signal: Signal, procs: &[Proc]) {
        let other = self.other_epoch(now, slot, procs).filter(|_| signal != Signal::KILL);
        let Some(other) = other.filter(|other| self.at[other.index()].handed_over) else { return };
        let limit = match self.deadline {
            Some(_) if self.has_reloaded => Duration::ZERO,
            Some(_) => self.share(other),
            None => self.of(other).stop.limit,
        };
        self.at[other.index()].asked = self.at[other.index()].asked.map(|(at, before)| {
            let left = (at + before.min(FOREVER)).since(now);
            (now, left.min(limit))
        });
    }

    /// A new epoch does not go on without the old one, from which it could not take over.
    fn holds_pending(&self, procs: &[Proc]) {
        for id in self.slots.all().filter(|id| self.at[id.index()].pending && self.is_new(*id)) {
            let Role::New { old } = self.roles[id.index()] else { continue };
            let place = id.index();
            let is_stopped = self.at[place].asked.is_some() || self.at[place].group_killed;
            let is_lost = procs[place].alive && !procs[old.index()].alive && !is_stopped;
            self.hold(!is_lost, "a new epoch goes on without the old one");
        }
    }

    /// Since the begin of a drain or a shutdown, no new instance accepts connections beside the one
    /// that is drained, and no epoch of an Envoy is about to.
    // holds: C336
    fn holds_new_ones(&self, machine: &Machine, procs: &[Proc]) {
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
            self.hold(!is_new || is_stopped, "a new instance goes on beside one that is drained");
        }
    }

    /// A process that runs has followed every new instance of its dependencies, unless it is about
    /// to follow; and a process that was stopped to follow is started again.
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
            self.hold(!is_left, "a process that follows is not started again");
        }
    }

    /// Whether a process is stopped anyway, or waits for another one that is on its way.
    fn may_stay_behind(&self, id: ProcessId, procs: &[Proc]) -> bool {
        let place = id.index();
        self.at[place].stops_early
            || self.at[place].by_request
            || self.at[place].draining
            || self.is_replaced(id)
            || self.waits_to_follow(id, procs, |on| {
                let request = (self.slots.process(ProcessId(on as u16)), Request::Start);
                let is_asked = self.asked_for.contains(&request);
                let moves = self.at[on].on_its_way || self.at[on].alone || self.at[on].by_request;
                moves || is_asked || self.at[on].doomed
            })
    }

    /// Whether a process that this one follows, itself or through others that run, is on its way or
    /// is replaced.
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

    /// A process may be stopped, or drained for that, now.
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
            self.hold(self.deadline.is_some(), "a stop while the drain is held");
            // holds: S24
            self.hold(!self.at.iter().any(|seen| seen.draining), "a stop while a drain goes on");
        }
        for dependent in above {
            let proc = procs[dependent.index()];
            let is_gone = !proc.alive && !proc.group;
            let survives = self.at[dependent.index()].survives_at.is_some_and(|at| at <= now);
            // holds: S53, S58, S113, S200, S220, C159, C358
            self.hold(is_gone || survives, "stopped before a dependent");
        }
    }

    fn began(&mut self, process: ProcessId, request: Request, procs: &[Proc]) {
        self.hold(!self.unready, "a request begins after the shutdown has begun");
        let base = self.slots.process(process);
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
                    // The stop of what is gone may be nothing, and end no restart above it.
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

    /// A request is refused without an answer that equal ones share.
    pub(crate) fn refused(&self, process: ProcessId, request: Request) {
        let is_equal = self.asked_for.contains(&(self.slots.process(process), request));
        self.hold(is_equal && request == Request::Restart, "refused, and nothing is under way");
    }

    fn answered(&mut self, process: ProcessId, request: Request) {
        let is_asked = self.asked_for.remove(&(self.slots.process(process), request));
        self.hold(is_asked, "an answer to no request");
    }

    fn done(&mut self, process: ProcessId, request: Request, procs: &[Proc]) {
        self.answered(process, request);
        let base = self.slots.process(process);
        let Some(&(starts, was_alive)) = self.began.get(&(base, request)) else {
            return self.fail("done before it began");
        };
        let oneshot = self.of(process).oneshot;
        let Some(current) = self.slots.current(base) else {
            return self.fail("done, and removed");
        };
        let is_up = procs[current.index()].alive || oneshot;
        match request {
            Request::Stop => {
                let mut slots = self.slots_of(base);
                let lives = slots.any(|id| procs[id.index()].alive || procs[id.index()].group);
                // holds: C202
                self.hold(!lives, "stopped, and alive");
                drop(slots);
                let mut above = self.above(current).into_iter();
                let lives = above.any(|id| procs[id.index()].alive || procs[id.index()].group);
                let is_needed = !self.went_well.contains(&base);
                self.hold(!(lives && is_needed), "stopped, and what needs it is alive");
                self.down[base] = was_alive;
            }
            Request::Start => self.hold(is_up, "started, and not alive"),
            Request::Restart => {
                self.hold(is_up, "restarted, and not alive");
                self.hold(!self.at[current.index()].doomed, "restarted, and Envoy aborts it");
                self.hold(
                    self.at[current.index()].started_as > starts,
                    "restarted, and it is the old one",
                );
                let mut others = self.slots_of(base).filter(|id| *id != current);
                let lives = others.any(|id| procs[id.index()].alive || procs[id.index()].group);
                self.hold(!lives, "restarted, and the old one lives");
            }
        }
    }

    fn failed(&mut self, process: ProcessId, request: Request, why: RequestError) {
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
            RequestError::Busy(_) | RequestError::Reloading | RequestError::EpochDoomed { .. } => {
                // It was refused at once.
                if let Some(before) = self.before.take() {
                    for (seen, before) in self.at.iter_mut().zip(before) {
                        (seen.alone, seen.by_request) = before;
                    }
                }
            }
            _ => {}
        }
        let is_late = matches!(why, RequestError::ShuttingDown | RequestError::Drained);
        self.hold(!self.unready || is_late, "another reason than the shutdown");
    }

    /// Each drain and each stop of the report is a step that ends where it ends, and no step is
    /// outside of the shutdown.
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
                self.hold(is_same, "a drain is a step of the report");
            }
            let asked = process.stop.as_ref().and_then(|stop| stop.begins);
            if let (Some(asked), end) = (asked, &process.end) {
                let is_same = step("stop").is_some_and(|step| {
                    let ends = step.ends.unwrap_or(f64::MAX);
                    step.begins == Some(asked) && end.as_ref().is_none_or(|end| end.at <= ends)
                });
                self.hold(is_same, "a stop is a step of the report");
            }
        }
        for step in &report.steps {
            let (begins, ends) =
                (step.begins.unwrap_or_default(), step.ends.unwrap_or(report.took));
            self.hold(begins <= ends && ends <= report.took, "a step within the shutdown");
        }
        let phases = report.phases.iter();
        // holds: S151
        self.hold(phases.is_sorted_by_key(|phase| phase.begins), "the phases follow each other");
    }

    /// The report counts the processes that were killed in the shutdown, not those killed before.
    // holds: S150
    pub(crate) fn holds_report(&self, killed: usize) {
        let really = self.at.iter().filter(|seen| seen.killed_in_shutdown).count();
        self.hold(killed == really, "the report counts other kills than there were");
    }

    fn note(&mut self, now: Time, note: Note, procs: &[Proc]) {
        match note {
            Note::ShutdownBegan { cause, window } => {
                self.hold(self.deadline.is_none(), "two shutdowns");
                // holds: S2
                self.hold(window <= self.window, "more time than there is");
                let is_whole = window == self.window || self.held_at.is_some();
                // holds: S2
                self.hold(is_whole, "less time than there is");
                let is_left = cause == Cause::AllEnded && self.held_at.is_some();
                self.hold(!is_left || self.has_lost_one, "a held drain ends although nothing has");
                if let Cause::Ended { process, .. } = cause {
                    let is_asked = self.at[process.index()].stops_early;
                    self.hold(!is_asked, "an end that was asked for is a reason to stop");
                    let is_current = self.is_current(process);
                    self.hold(is_current, "the end of what was replaced is a reason to stop");
                }
                if let Some(held_at) = self.held_at {
                    let is_within = now < held_at + self.window + self.scenario.spec.reserve;
                    let left = (held_at + self.window).since(now).max(LEAST.min(self.window));
                    let counts = if is_within { left } else { self.window };
                    // holds: C114, C115
                    self.hold(window == counts, "the time does not count from the held drain");
                }
                // The core waits until the deadline for a process that survives the KILL of an
                // earlier stop.
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
                    self.hold(!may_be_missing, "the end for a process that may be missing");
                }
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
            Note::Adding(process) if !self.of(process).autostart => self.stepped(process),
            Note::Adding(_) => {}
            Note::Removing(process) => self.removing(process, procs),
            Note::ReloadDone => self.reloaded(true, procs),
            Note::ReloadFailed { .. } => self.reloaded(false, procs),
            Note::Skipped(process) => {
                self.at[process.index()].on_its_way = false;
                self.at[process.index()].stuck = false;
                self.was_skipped[self.slots.process(process)] = true;
                self.went_well.insert(self.slots.process(process));
                self.successors.remove(&process);
                self.stepped(process);
            }
            Note::TakesOver { process, old } => self.took_over(process, old, procs),
            Note::RolledBack { process, old, .. } => {
                let is_new = self.roles[process.index()] == Role::New { old };
                // holds: C335
                self.hold(is_new, "what serves is taken back");
                self.leave(process);
            }
            Note::Ended { process, end, next } => {
                let of = self.of(process);
                let policy = match end {
                    End::Code(code) if of.success_codes.contains(&code) => of.on_exit.success,
                    End::Code(_) => of.on_exit.failure,
                    End::Signal(_) | End::OutOfMemory => of.on_exit.signal,
                };
                // holds: C689, C690
                self.hold(is_consequence(policy, next), "an end has another consequence");
                self.at[process.index()].given_up = !matches!(next, AfterEnd::Restart { .. });
                self.hold(self.is_current(process), "the end of what was replaced has an effect");
            }
            Note::NotDrained(process) => {
                self.at[process.index()].not_drained = true;
                self.at[process.index()].drain_over = true;
            }
            Note::Follows { process, .. } => {
                self.retire(procs);
                let place = process.index();
                // holds: C209
                self.hold(!self.unready, "a restart in a shutdown");
                // holds: C203
                self.hold(self.at[place].behind, "a restart without a reason");
                self.hold(!self.at[place].stops_early, "a restart of what is stopped");
                let waits = self.waits_to_follow(process, procs, |on| {
                    procs[on].alive && self.at[on].on_its_way
                });
                // holds: C204, C205
                self.hold(!waits, "restarted before what it follows");
                self.at[place].behind = false;
                self.at[place].alone = true;
                self.at[place].follows = true;
                self.at[place].on_its_way = true;
                let base = self.slots.process(process);
                let is_first =
                    self.reload.as_mut().is_none_or(|reload| reload.followed.insert(base));
                self.hold(is_first, "followed twice in a reload");
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
                self.hold(self.roles[place] == Role::Leaving, "what serves is handed over");
                self.hold(self.is_current(to), "handed over to what has not taken over");
                let is_renewed = self.at[place].handed_over;
                self.hold(
                    is_renewed || self.at[place].asked.is_none(),
                    "handed over, and asked to end",
                );
                self.at[place].handed_over = true;
                self.at[place].stops_early |= !self.unready;
                self.at[place].asked = Some((now, limit));
            }
            Note::EpochDoomed { process, .. } => {
                self.hold(procs[process.index()].aborts, "Envoy does not abort it");
                self.at[process.index()].doomed = true;
            }
            Note::Completed { process, .. } => {
                self.went_well.insert(self.slots.process(process));
                self.stepped(process);
                self.met(process, StartCondition::Ready, procs);
                self.met(process, StartCondition::Completed, procs);
            }
            Note::Started(process) => {
                self.met(process, StartCondition::Started, procs);
                let spec = self.of(process).clone();
                let is_ready = spec.readiness_timeout.is_none() && !spec.oneshot;
                self.at[process.index()].ready_by =
                    spec.readiness_timeout.map(|within| now + within);
                self.at[process.index()].complete_by = spec.timeout.map(|within| now + within);
                self.at[process.index()].serves = is_ready;
                // A process that is removed or stopped while it is spawned has served nobody.
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
                self.hold(is_late, "timed out before its limit");
                self.at[process.index()].alone = true;
            }
            Note::Failed { process, why, next } => {
                let policy = self.of(process).on_exit.failure;
                // holds: C691
                self.hold(is_consequence(policy, next), "a failure has another consequence");
                if why == Failure::Unhealthy {
                    self.hold(self.deadline.is_none() && !self.unready, "unhealthy in a shutdown");
                } else {
                    self.start_failed[self.slots.process(process)] = true;
                }
            }
            Note::Unhealthy(process) => {
                self.failed_check.take_if(|failed| *failed == process);
                let failures = self.at[process.index()].probe_failures;
                let is_due = failures.is_none_or(|(so_far, retries)| so_far >= retries);
                // holds: C237
                self.hold(is_due, "unhealthy after too few failures");
                self.hold(self.deadline.is_none() && !self.unready, "unhealthy in a shutdown");
                self.hold(procs[process.index()].alive, "unhealthy, and gone");
                self.at[process.index()].serves = false;
                self.at[process.index()].alone = true;
                self.at[process.index()].unhealthy = true;
            }
            Note::Overdue { process, .. } => {
                let is_late = self.at[process.index()].ready_by.is_some_and(|at| at <= now);
                // holds: C219, C252
                self.hold(is_late, "not ready before its limit");
                let is_live = self.at[process.index()].pending && procs[process.index()].is_live;
                // holds: C474
                self.hold(!is_live, "an epoch that has taken over is given up");
                self.at[process.index()].alone = true;
            }
            Note::EndedUndrained(process) => {
                self.hold(!procs[process.index()].alive, "ended, and alive");
                self.hold(self.at[process.index()].asked.is_none(), "by itself, and asked to");
                self.hold(self.deadline.is_some(), "undrained, and nothing stops");
            }
            Note::Stopping { process, limit, signal } => {
                self.at[process.index()].asked.get_or_insert((now, limit)).1 = limit;
                self.at[process.index()].stops_early |= !self.unready;
                match self.deadline {
                    _ if signal == Signal::KILL => {}
                    Some(deadline) => {
                        let (stop, left) = (self.of(process).stop, deadline.since(now));
                        self.hold(limit <= left, "a limit beyond the deadline");
                        // holds: S77
                        self.hold(limit <= stop.limit, "more time to stop than it has");
                        // Two epochs need time for the hand-over, too.
                        let is_handed_over = self.at.iter().any(|seen| seen.handed_over);
                        let needed = match self.has_reloaded {
                            true => self.needed_by_all(),
                            false => self.needed_after(process),
                        };
                        let fits = !is_handed_over && needed + stop.limit <= left;
                        let is_cut = limit < stop.limit;
                        // holds: S75, S81
                        self.hold(!fits || !is_cut, "less time to stop although all fits");
                        if !self.has_reloaded && !is_handed_over {
                            let least = least_stop(self.of(process));
                            let fits = self.least_from(process) <= left;
                            // holds: S80
                            self.hold(!fits || limit >= least, "less to stop than each one keeps");
                            let share = fraction(stop.need, self.needed_from(process));
                            let fair = left.mul_f64(share).min(least);
                            let is_fair = limit + Duration::from_millis(1) >= fair;
                            // holds: S80
                            self.hold(is_fair, "the time of a stop is kept for hooks");
                        }
                    }
                    None if self.unready || self.at[process.index()].handed_over => {}
                    None => {
                        let full = self.of(process).stop.limit;
                        self.hold(limit == full, "less than the full time without a deadline");
                    }
                }
            }
            Note::DrainBegan { process, longest, .. } => {
                self.at[process.index()].drain = Some((now, longest));
                self.at[process.index()].drained_early = !self.unready;
                if self.is_taken_over(process) {
                    // It drains by itself, and did so before. Its time to end begins after that.
                    self.at[process.index()].drained_early = true;
                    self.at[process.index()].draining = true;
                    // Its `pre_stop` hook may run until later.
                    if self.at[process.index()].handed_over {
                        self.at[process.index()].asked = Some((now, Duration::MAX));
                    }
                }
            }
            Note::DrainRequested => {
                self.held_at = Some(now);
                self.fit_survivors(now, self.scenario.spec.window);
            }
            Note::DrainOver { process, why, .. } => {
                self.at[process.index()].drain_over = why != DrainEnd::ProcessGone;
                self.at[process.index()].was_quiet = why == DrainEnd::Quiet;
                let Some(((since, longest), times)) =
                    self.at[process.index()].drain.zip(self.of(process).drain)
                else {
                    return self.fail("over without a begin");
                };
                let is_cut = matches!(
                    why,
                    DrainEnd::ProcessGone
                        | DrainEnd::Hurried
                        | DrainEnd::Deadline
                        | DrainEnd::NotLive
                );
                // holds: S15
                self.hold(self.stays_ready.is_none() || is_cut, "over while it is ready");
                let held = now.since(since) >= times.min.min(longest);
                match why {
                    DrainEnd::Quiet => {
                        // holds: S34
                        self.hold(held, "quiet before min");
                        let last = self.at[process.index()].last_active;
                        let is_low = last.is_some_and(|active| active <= times.exit_at);
                        // holds: S35, C384
                        self.hold(is_low, "quiet with more connections than allowed");
                        self.hold(
                            self.at[process.index()].accepted == Some(true),
                            // holds: S39
                            "quiet though it was never told",
                        );
                    }
                    // holds: S36, C367, C638
                    DrainEnd::Reported => self.hold(held, "over before min, whatever it reports"),
                    // holds: S39, S50, C367, C638
                    DrainEnd::NotAccepted => self.hold(held, "min was not held"),
                    DrainEnd::TimeOver => self.hold(held, "over before min"),
                    DrainEnd::Deadline => {}
                    DrainEnd::ProcessGone => {
                        self.hold(!procs[process.index()].alive, "gone, and alive")
                    }
                    DrainEnd::Hurried => self.hold(self.stop_signals >= 2, "hurried by nobody"),
                    // holds: S231
                    DrainEnd::NotLive => {
                        self.hold(self.at[process.index()].not_live, "not live, says nobody");
                    }
                }
                let closing = Duration::from_millis(250);
                let over = self.seen_at(self.seen_at(since + longest) + closing);
                // Statistics that were seen late are asked for once more.
                let again = if self.was_paused(since, now) { closing } else { Duration::ZERO };
                // holds: S37, S45, C116
                self.hold(now <= self.seen_at(over + again), "a drain longer than its bound");
            }
            _ => {}
        }
    }

    fn exits(&mut self, now: Time, code: u8, procs: &[Proc]) {
        self.exit = Some(code);
        let (Some(deadline), Some(cause)) = (self.deadline, self.cause) else {
            // holds: S1
            return self.fail("an exit without a reason");
        };
        self.hold(self.asked_for.is_empty(), "a request without an answer");
        self.hold(self.reload.is_none(), "a reload without an answer");
        let is_hurried = self.killed || self.stop_signals >= 2 || deadline <= now;
        if !is_hurried && !self.has_reloaded {
            let hooks = |place: &usize| self.scenario.spec.processes[*place].hooks.post_stop;
            let is_owed = self.owes_post_stop.iter().any(|place| hooks(place).is_some());
            // holds: C359
            self.hold(!is_owed, "a process has ended for good without its post_stop hook");
        }
        let spec = &self.scenario.spec;
        let reap = (spec.reserve / 2).clamp(Duration::from_millis(200), Duration::from_millis(500));
        let hard_end = deadline + reap;
        let in_time = hard_end + Duration::from_millis(200);
        let mut latest = self.seen_at(self.seen_at(hard_end) + Duration::from_millis(200));
        if latest > in_time {
            // Processes that are seen late are killed and swept later.
            latest = self.seen_at(latest + Duration::from_millis(100));
        }
        // holds: S74, S218, S220, C81, C602, C604
        self.hold(now <= latest, "later than the deadline allows");
        if procs.iter().any(|proc| proc.alive || proc.group) {
            // holds: S74
            self.hold(now >= hard_end, "an exit with a process alive");
        }
        // holds: S112, S121
        self.hold(code == self.exit_code(cause), "the wrong exit code");
        // A process that hung before may use the time until the deadline.
        if self.has_faultless_shutdown() && !self.killed && !self.has_hung {
            // One that was asked before the faults ended may end with the deadline, and its hook
            // after it.
            let moment = Duration::from_millis(10);
            self.hold(
                now <= self.seen_at(deadline + moment) + moment,
                "later than the deadline, though all obey",
            );
        }
        if let Cause::Signal(_) = cause {
            // holds: S120, S128, S129, C356
            self.hold(code == if self.killed { 137 } else { 0 }, "asked to stop: 0 or 137");
        }
    }

    /// The exit code after this cause; that of an end by what was seen of it.
    fn exit_code(&self, cause: Cause) -> u8 {
        let Cause::Ended { process, before_ready, .. } = cause else {
            return cause.exit_code(self.killed);
        };
        let is_failure =
            before_ready || self.of(process).on_exit.success == ExitPolicy::FailureShutdown;
        match self.last_end {
            Some((_, true)) => u8::from(is_failure),
            Some((end, false)) => end.exit_code().max(1),
            None => cause.exit_code(self.killed),
        }
    }

    /// Whether no fault has begun since the begin of the shutdown.
    fn has_faultless_shutdown(&self) -> bool {
        let from = self.scenario.faults_end.map(|after| self.start + after);
        self.t0.is_some_and(|t0| from.is_some_and(|from| from <= t0))
    }

    /// Before a KILL the process was asked to stop and had its share of the time, except after a
    /// third signal.
    fn was_asked_in_time(&self, now: Time, process: ProcessId) {
        if self.has_reloaded || self.has_lost_time(now) {
            return;
        }
        let share = self.share(process);
        // A process that survives KILL takes time from the others, but not all of it.
        let mut behaviours = self.scenario.behaviours.iter().chain(&self.scenario.variants);
        let is_obstructed = behaviours.any(|of| of.ends_after_kill.is_none());
        match self.at[process.index()].asked {
            Some((at, limit)) if self.at[process.index()].stops_early => {
                // The shutdown has cut its time since.
                let from = self.held_at.or(self.t0).map_or(at, |from| from.max(at));
                let later = self.needed_after(process);
                // Nor is time that it was granted lost, as far as the deadline has room for it.
                let left = match self.at[process.index()].extended {
                    true => self.scenario.spec.window.saturating_sub(later),
                    false => share,
                };
                let is_over = self.deadline.is_some_and(|deadline| deadline <= now);
                let is_due = now >= at + limit || now >= from + left || is_over;
                // holds: S8, S55, C162
                self.hold(is_due || is_obstructed, "a KILL before its limit");
            }
            Some((at, limit)) => {
                self.hold(now >= at + limit, "a KILL before its limit");
                // holds: S63, S76, S78, S200, C149
                self.hold(is_obstructed || limit >= share, "less time to stop than its share");
            }
            None => {
                let is_due = share >= Duration::from_millis(1);
                // holds: S63
                self.hold(!is_due, "a KILL without having been asked to stop");
            }
        }
    }

    /// The shortest time of a process between its stop signal and KILL: its part of the time that
    /// the drains leave for the stops, in proportion to the needs along its longest path.
    fn share(&self, process: ProcessId) -> Duration {
        let spec = &self.scenario.spec;
        let need = |id: ProcessId| stop_need(&spec.processes[id.index()]);
        let least = |id: ProcessId| least_stop(&spec.processes[id.index()]);
        let min = |id: ProcessId| {
            spec.processes[id.index()].drain.map_or(Duration::ZERO, |drain| drain.min)
        };
        let all = self.longest_path(need);
        let before_drains =
            spec.readiness_delay.max(hook_need(spec.hooks.pre_stop)) + spec.unready_delay;
        let total = before_drains + self.longest_path(min) + all;
        // A held drain may have used up the rest.
        let window = spec.window.min(self.held_at.map_or(spec.window, |_| LEAST));
        let left = window
            .mul_f64(fraction(all, total))
            .min(self.longest_path(least).min(window / 4))
            .min(all);
        // A part of it is for closing listeners and counting connections once more.
        let left = left / 2;
        let process = ProcessId(self.slots.process(process) as u16);
        let path = self.path_through(process, need);
        let stop = spec.processes[process.index()].stop;
        // A part of it is for the effect of each KILL.
        let moments = Duration::from_millis(3 * self.slots.count() as u64);
        let least = least_stop(&spec.processes[process.index()]);
        left.mul_f64(fraction(stop.need, path)).min(least).saturating_sub(moments)
    }

    /// The longest path of dependencies.
    fn longest_path(&self, weight: impl Fn(ProcessId) -> Duration) -> Duration {
        let ids = self.scenario.spec.ids();
        ids.map(|id| self.path_through(id, &weight)).max().unwrap_or_default()
    }

    /// The longest path through this process.
    fn path_through(&self, process: ProcessId, weight: impl Fn(ProcessId) -> Duration) -> Duration {
        let spec = &self.scenario.spec;
        let count = spec.processes.len();
        let (mut above, mut below) = (vec![Duration::ZERO; count], vec![Duration::ZERO; count]);
        for id in &spec.order {
            let needs = spec.processes[id.index()].dependencies.iter();
            below[id.index()] =
                needs.map(|(on, _)| below[on.index()] + weight(*on)).max().unwrap_or_default();
        }
        for id in spec.order.iter().rev() {
            let users = spec.processes[id.index()].dependents.iter();
            above[id.index()] =
                users.map(|by| above[by.index()] + weight(*by)).max().unwrap_or_default();
        }
        above[process.index()] + weight(process) + below[process.index()]
    }

    /// The slots of all processes that need this one.
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

/// Whether an end, or a failure, of which `on_exit` says this may have this consequence.
fn is_consequence(policy: ExitPolicy, next: AfterEnd) -> bool {
    let stops = matches!(next, AfterEnd::Shutdown | AfterEnd::Exhausted);
    matches!(next, AfterEnd::Restart { .. }) || stops == (policy != ExitPolicy::Ignore)
}

/// The process whose start has failed, if that ends the container.
fn failed_start(cause: Cause) -> Option<ProcessId> {
    match cause {
        Cause::Failed { why: Failure::Unhealthy, .. } => None,
        Cause::Failed { process, .. } => Some(process),
        _ => None,
    }
}

/// The wait for the end of a killed process, with so much time left to the deadline.
fn wait_after_kill(left: Duration) -> Duration {
    Duration::from_millis(200).min(left / 4)
}

/// The need of a hook; none without it.
fn hook_need(wait: Option<Wait>) -> Duration {
    wait.map_or(Duration::ZERO, |wait| wait.need)
}

/// The need of a stop with its hooks.
fn stop_need(of: &ProcessSpec) -> Duration {
    hook_need(of.hooks.pre_stop) + of.stop.need + hook_need(of.hooks.post_stop)
}

/// The time that a stop keeps, whatever comes before it.
fn least_stop(process: &ProcessSpec) -> Duration {
    process.stop.need.min(Duration::from_secs(1))
}

fn fraction(part: Duration, whole: Duration) -> f64 {
    if whole.is_zero() { 0.0 } else { part.as_secs_f64() / whole.as_secs_f64() }
}
