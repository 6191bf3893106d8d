//! The simulated world: processes, hooks, clients and the kernel. They behave as the scenario says,
//! and the world answers the actions of the core with events.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque};

use crate::scenario::{Behaviour, NewConfig, Rng};
use crate::slots::Slots;
use crate::*;

/// The pause between two samples of a drain (counts of its connections) near the end of `min` and
/// after it.
const SAMPLES: Duration = Duration::from_millis(50);
/// The pause between two samples of a drain that cannot be over soon.
const SELDOM: Duration = Duration::from_millis(700);
/// The pause becomes short ([`SAMPLES`]) this long before the end of `min`.
const SOON: Duration = Duration::from_millis(300);
/// After the time of faults, a process ends this long after it was asked to end, and a hook this
/// long after its start.
const OBEYS_WITHIN: Duration = Duration::from_millis(2);
/// The pause between two liveness probes.
const PROBES: Duration = Duration::from_millis(400);
/// The pause between two probes of a new epoch that has not taken over.
const EPOCH_POLLS: Duration = Duration::from_millis(50);
/// The longest start, in milliseconds.
const LONGEST_START: u64 = 3000;
/// A new epoch ends the older epoch after `ProcessSpec::handover` minus this time.
pub(super) const MARGIN: Duration = Duration::from_secs(10);
/// If the older epoch ends too early, Envoy aborts the newer epoch after this time.
pub(super) const ABORTS_AFTER: Duration = Duration::from_secs(12);

/// The simulated world of one run.
pub(super) struct World<'a> {
    scenario: &'a Scenario,
    start: Time,
    pub(super) now: Time,
    queue: BinaryHeap<Reverse<(Time, u64, Happening)>>,
    sequence: u64,
    /// Events that follow from the actions of the last step without a delay. The core gets them
    /// before all other events.
    at_once: VecDeque<Event>,
    /// All events that were ever queued; an [`EventKey`] is an index into this list.
    events: Vec<Event>,
    /// The process in each slot. The number of the slot is the index here and in `behaviours`.
    pub(super) procs: Vec<Proc>,
    pub(super) slots: Slots,
    behaviours: Vec<Behaviour>,
    /// The number of replacements so far.
    replaced: usize,
    leftovers: usize,
    /// The processes of which an instance has left other processes outside of its process group.
    left_outside: BTreeSet<usize>,
    /// The slots whose start waits for these processes, each with the number of the last signal to
    /// them.
    clearing: BTreeMap<ProcessId, u64>,
    /// The number of coming scans that miss the leftovers: such a scan finds nothing, and no
    /// `Event::NothingLeft` follows.
    missed_scans: u64,
    /// The time at which the shutdown began.
    stopped_at: Option<Time>,
    /// For each running hook: the event that ends it.
    hook_ends: BTreeMap<HookId, EventKey>,
    /// Events that the core must not get: the ends of hooks that it has aborted.
    dropped: BTreeSet<EventKey>,
    /// Draws for each start whether a fault happens at this start.
    luck: Rng,
    /// Draws how long a start takes.
    slowness: Rng,
    /// Whether the world has queued a stop signal as the next event. From then on it starts no
    /// process and no `pre_start` hook.
    stop_is_pending: bool,
    /// The starts that the core has requested and that are not answered yet, each with its number.
    /// A start has no number (`None`) if it is skipped because a stop signal is pending.
    starting: BTreeMap<ProcessId, Option<u64>>,
    /// The number of starts so far.
    starts: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Happening {
    Deliver(EventKey),
    /// Sends the event to the slot that its process has at that time.
    DeliverTo(EventKey),
    /// Loads a new config.
    Reload(usize),
    /// Something happens to an instance, if the slot still has the instance with this number.
    To(ProcessId, u32, What),
    Sample(ProcessId),
    /// A start that takes a while is answered.
    Starts(ProcessId, u64),
    LeftoversGone,
    /// A search for the processes that the process of this slot has left outside of its process
    /// groups is over. They have got this signal.
    Searched(ProcessId, u64, Signal),
    /// These processes have ended.
    OutsideGone(ProcessId),
}

/// Something that happens to an instance of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum What {
    Deliver(EventKey),
    /// The process ends. `asked` says whether a signal or a rule of Envoy ends the process. After
    /// the time of faults, a service does not end unless it is `asked`. A oneshot that is not
    /// `asked` then ends with a success code.
    Dies {
        end: u8,
        asked: bool,
    },
    /// The process begins to exit with code 0.
    Exits,
    GroupEnds,
    /// The other members of the process group begin their exit.
    GroupExits,
    BecomesReady,
    /// The answer to the last probe of an epoch whose time to become ready is over.
    LastAnswer,
    Probed {
        since: Time,
    },
    Extends,
    /// An epoch of an Envoy ends the older epoch.
    EndsOlder,
}

/// The next event of a run.
pub(super) enum Next<'a> {
    Event(Event),
    Reload(&'a NewConfig),
    /// The core gets no event, because the happening no longer matters.
    Nothing,
}

/// An index into `World::events`. The queue holds the index, because [`Event`] has no order.
type EventKey = usize;

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Proc {
    pub(crate) alive: bool,
    /// Whether other members of the process group have outlived the process.
    pub(super) group: bool,
    pub(super) killed: bool,
    /// Whether the process is exiting by itself. SIGKILL has no effect any more.
    pub(crate) exits: bool,
    instance: u32,
    drained_at: Option<Time>,
    min_until: Option<Time>,
    sampling: bool,
    closed: bool,
    accepted: u64,
    /// Whether this is an Envoy with `hot-restart`.
    pub(crate) is_epoch: bool,
    /// The epoch beside which this epoch was started: its slot and instance.
    pub(super) older: Option<(ProcessId, u32)>,
    /// Whether this epoch is live: it has taken over, or was started without an older epoch.
    pub(crate) is_live: bool,
    /// Whether drainit has noticed that this epoch is live.
    is_seen: bool,
    /// Whether this epoch has ended the older one.
    pub(super) has_ended_older: bool,
    /// Whether Envoy will abort this epoch because the older epoch has ended too early. Until the
    /// abort, this epoch reacts only to SIGKILL.
    pub(crate) aborts: bool,
    /// Whether a newer epoch has ended before it took over from this epoch. After that, this epoch
    /// lets no other epoch take over.
    pub(crate) newer_failed: bool,
    /// Whether a newer epoch has asked this epoch to end, because drainit has asked the newer epoch
    /// to end.
    pub(crate) is_passed: bool,
    pub(crate) started: Option<Time>,
}

/// If this slot is for an Envoy with `hot-restart`: another living epoch of its process.
pub(super) fn other_epoch(slots: &Slots, procs: &[Proc], slot: ProcessId) -> Option<ProcessId> {
    let is_other = |other: &ProcessId| {
        let proc = &procs[other.index()];
        let is_alive = *other != slot && proc.alive && proc.is_epoch;
        is_alive && slots.process(*other) == slots.process(slot)
    };
    let is_epoch = slots.of(slot).update == Update::HotRestart;
    slots.all().find(is_other).filter(|_| is_epoch)
}

impl<'a> World<'a> {
    pub(super) fn new(scenario: &'a Scenario) -> Self {
        let start = Time(Duration::from_secs(1000));
        let mut world = Self {
            scenario,
            start,
            now: start,
            queue: BinaryHeap::new(),
            sequence: 0,
            at_once: VecDeque::new(),
            events: Vec::new(),
            procs: vec![Proc::default(); scenario.spec.processes.len()],
            slots: Slots::new(scenario),
            behaviours: scenario.behaviours.clone(),
            replaced: 0,
            leftovers: scenario.leftovers,
            left_outside: BTreeSet::new(),
            clearing: BTreeMap::new(),
            missed_scans: scenario.missed_scans,
            stopped_at: None,
            hook_ends: BTreeMap::new(),
            dropped: BTreeSet::new(),
            luck: Rng::new(scenario.seed ^ 0x10CC),
            slowness: Rng::new(scenario.seed ^ 0x510E),
            stop_is_pending: false,
            starting: BTreeMap::new(),
            starts: 0,
        };
        for (place, (after, _)) in scenario.reloads.iter().enumerate() {
            world.push(start + *after, Happening::Reload(place));
        }
        for &(after, signal) in &scenario.signals {
            world.deliver(start + after, Event::Signal(signal));
        }
        if let Some(after) = scenario.drain_requested {
            world.deliver(start + after, Event::DrainRequested);
        }
        let others = scenario.requests.iter().chain(&scenario.changes).chain(&scenario.noise);
        for &(after, event) in others {
            world.events.push(event);
            world.push(start + after, Happening::DeliverTo(world.events.len() - 1));
        }
        world
    }

    /// Takes the next event, or a tick if a timer of the core is due before that event. Returns
    /// `None` if nothing can happen any more.
    pub(super) fn next(&mut self, wakeup: Option<Time>) -> Option<Next<'a>> {
        if let Some(event) = self.at_once.pop_front() {
            return Some(Next::Event(event));
        }
        let queued = self.queue.peek().map(|Reverse((at, ..))| self.seen_at(*at));
        let wakeup = wakeup.map(|wakeup| self.seen_at(wakeup));
        if let Some(wakeup) = wakeup.filter(|wakeup| queued.is_none_or(|at| *wakeup < at)) {
            self.now = wakeup;
            return Some(Next::Event(Event::Tick));
        }
        let Reverse((at, _, happening)) = self.queue.pop()?;
        self.now = self.seen_at(at);
        Some(match happening {
            Happening::Reload(place) => Next::Reload(&self.scenario.reloads[place].1),
            other => self.happen(other).map_or(Next::Nothing, Next::Event),
        })
    }

    /// When drainit notices an event that happens at `at`: at once, or at the end of a pause. If
    /// `at` is in the past, `now` counts in its place: an event may be handled before a timer that
    /// was due earlier.
    fn seen_at(&self, at: Time) -> Time {
        let at = self.now.max(at);
        self.start + self.scenario.seen_at(at.since(self.start))
    }

    /// Ends the supervision of a completed oneshot's process group: its other members are leftovers
    /// from now on.
    pub(super) fn drop_group(&mut self, process: ProcessId) {
        self.procs[process.index()].group = false;
    }

    fn push(&mut self, at: Time, happening: Happening) {
        self.sequence += 1;
        self.queue.push(Reverse((at, self.sequence, happening)));
    }

    fn deliver(&mut self, at: Time, event: Event) {
        self.events.push(event);
        self.push(at, Happening::Deliver(self.events.len() - 1));
    }

    /// Lets something happen to the instance that the slot has now.
    fn push_to(&mut self, at: Time, process: ProcessId, what: What) {
        self.push(at, Happening::To(process, self.procs[process.index()].instance, what));
    }

    /// Delivers an event if the slot still has the same instance at that time.
    fn deliver_of(&mut self, at: Time, process: ProcessId, event: Event) {
        self.events.push(event);
        self.push_to(at, process, What::Deliver(self.events.len() - 1));
    }

    fn behaviour(&self, id: ProcessId) -> &Behaviour {
        &self.behaviours[id.index()]
    }

    fn spec(&self, id: ProcessId) -> &ProcessSpec {
        self.slots.of(id)
    }

    /// Prepares a slot for a new instance. Every second call takes the behaviour from
    /// `Scenario::variants`.
    pub(super) fn adopt(&mut self, slot: ProcessId, of: ProcessId, is_newer: bool) {
        self.slots.adopt(slot, of, is_newer);
        self.replaced += 1;
        let process = self.slots.process(slot);
        let variants = [&self.scenario.behaviours, &self.scenario.variants];
        let behaviour = variants[self.replaced % 2][process];
        let instance = self.procs.get(slot.index()).map_or(0, |proc| proc.instance);
        let proc = Proc { instance, ..Proc::default() };
        if slot.index() == self.procs.len() {
            self.procs.push(proc);
            self.behaviours.push(behaviour);
        } else {
            self.procs[slot.index()] = proc;
            self.behaviours[slot.index()] = behaviour;
        }
    }

    /// Redirects an event to the slot that its process has now. Returns `None` if the core must not
    /// get the event.
    fn to_current(&self, event: Event) -> Option<Event> {
        let slot = |process: ProcessId| self.slots.current(process.index());
        Some(match event {
            Event::Requested { process, request } => {
                Event::Requested { process: slot(process)?, request }
            }
            Event::FileSeen { process, watch } | Event::FileQuiet { process, watch, .. } => {
                let process = slot(process)?;
                let is_watched = watch < self.spec(process).watch.len();
                return is_watched.then_some(for_slot(event, process));
            }
            // A start gets exactly one answer. While the world still owes this answer, it sends no
            // false answer.
            Event::Spawned(process) | Event::SpawnFailed { process, .. } => {
                return (!self.starting.contains_key(&process)).then_some(event);
            }
            other => other,
        })
    }

    /// Whether a fault happens at this start, with a probability of 1 in `once_in`; never after the
    /// time of faults.
    fn fails(&mut self, once_in: u64) -> bool {
        !self.obeys() && self.luck.once_in(once_in)
    }

    /// Whether a start is skipped because a stop signal is pending. If it is skipped, the signal is
    /// the next event.
    fn is_left_out(&mut self) -> bool {
        if !self.stop_is_pending
            && let Some(signal) = self.scenario.spec.stop_signals.first().copied()
            && self.fails(self.scenario.starts.left_out)
        {
            self.at_once.push_back(Event::Signal(signal));
            self.stop_is_pending = true;
        }
        self.stop_is_pending
    }

    /// Whether the time of faults is over.
    fn obeys(&self) -> bool {
        self.scenario.faults_end.is_some_and(|after| self.start + after <= self.now)
    }

    /// Whether drainit can see that the process ignores its stop signal. Some of the
    /// processes that never end by the signal catch it and hang.
    pub(crate) fn ignores_stop(&self, process: ProcessId) -> bool {
        let never_ends = self.behaviour(process).ends_after_term.is_none() && !self.obeys();
        never_ends && self.procs[process.index()].alive && process.index().is_multiple_of(2)
    }

    /// Returns `drawn` while faults may happen, and [`OBEYS_WITHIN`] afterwards.
    fn unless_obeying(&self, drawn: Option<Duration>) -> Option<Duration> {
        if self.obeys() { Some(OBEYS_WITHIN) } else { drawn }
    }

    /// The event that the supervisor would send because of this happening; `None` if it would send
    /// none.
    fn happen(&mut self, happening: Happening) -> Option<Event> {
        match happening {
            Happening::Deliver(key) => (!self.dropped.contains(&key)).then_some(self.events[key]),
            Happening::DeliverTo(key) => self.to_current(self.events[key]),
            Happening::Reload(_) => None,
            Happening::To(process, instance, what) => {
                let is_same = self.procs[process.index()].instance == instance;
                if is_same { self.happen_to(process, what) } else { None }
            }
            Happening::Starts(process, number) => {
                let is_awaited = self.starting.get(&process) == Some(&Some(number));
                is_awaited.then(|| self.start(process))
            }
            Happening::Sample(process) => {
                let load = self.load(process);
                let proc = &self.procs[process.index()];
                if !proc.sampling {
                    return None;
                }
                let until_min = proc.min_until.map(|min| min.since(self.now)).unwrap_or_default();
                let pause = until_min.saturating_sub(SOON).clamp(SAMPLES, SELDOM);
                self.push(self.now + pause, Happening::Sample(process));
                Some(Event::DrainSample { process, load })
            }
            Happening::LeftoversGone => {
                self.leftovers = 0;
                Some(Event::NothingLeft)
            }
            Happening::Searched(slot, number, signal) => self.searched(slot, number, signal),
            Happening::OutsideGone(slot) => {
                self.left_outside.remove(&self.slots.process(slot));
                let is_awaited = self.clearing.remove(&slot).is_some();
                is_awaited.then_some(Event::Leftovers { process: slot, any: false })
            }
        }
    }

    /// The event that the supervisor would send because something happens to the instance in this
    /// slot.
    fn happen_to(&mut self, process: ProcessId, what: What) -> Option<Event> {
        let obeys = self.obeys();
        let proc = &mut self.procs[process.index()];
        match what {
            What::Deliver(key) => {
                let event = self.events[key];
                proc.is_seen |= matches!(event, Event::Ready(_));
                Some(event)
            }
            What::GroupEnds => std::mem::take(&mut proc.group).then_some(Event::GroupGone(process)),
            What::GroupExits => {
                proc.exits |= proc.group;
                None
            }
            _ if !proc.alive => None,
            What::Exits => {
                if !proc.killed {
                    proc.exits = true;
                    let after = self.behaviour(process).exits_for;
                    let after = self.unless_obeying(after).unwrap_or_default();
                    self.push_to(self.now + after, process, What::Dies { end: 0, asked: true });
                }
                None
            }
            // Only the end of the exit ends the process.
            What::Dies { end, .. } if proc.exits && end != 0 => None,
            What::Dies { end, asked } => {
                let end = match (asked, obeys) {
                    (false, true) if self.slots.of(process).oneshot => {
                        self.slots.of(process).success_codes.first().copied().unwrap_or_default()
                    }
                    (false, true) => return None,
                    _ => end,
                };
                (proc.alive, proc.sampling) = (false, false);
                let end = match end {
                    0..=199 => End::Code(end),
                    _ => Signal::from_number(i32::from(end) - 200)
                        .map_or(End::Code(end), End::Signal),
                };
                let remains = self.behaviour(process).group.is_some();
                if remains && self.procs[process.index()].killed {
                    // SIGKILL has ended the other members of the group, too.
                    self.push_to(self.now + Duration::from_millis(1), process, What::GroupEnds);
                }
                self.epoch_ended(process, remains);
                if self.behaviour(process).leaves.is_some() {
                    self.left_outside.insert(self.slots.process(process));
                }
                let proc = &mut self.procs[process.index()];
                (proc.group, proc.exits) = (remains, false);
                Some(Event::Exited { process, end, remains })
            }
            What::BecomesReady => {
                let is_alone = proc.older.is_none();
                if !self.goes_live(process) {
                    return None;
                }
                if is_alone {
                    return Some(Event::Ready(process));
                }
                // drainit notices at its next probe that the epoch has taken over.
                self.deliver_of(self.now + EPOCH_POLLS, process, Event::Ready(process));
                None
            }
            What::LastAnswer => {
                proc.is_seen |= proc.is_live;
                Some(if proc.is_live { Event::Ready(process) } else { Event::NotLive(process) })
            }
            What::EndsOlder => {
                self.end_older(process);
                None
            }
            What::Probed { since } => {
                if proc.drained_at > Some(since) {
                    return None;
                }
                self.push_to(self.now + PROBES, process, What::Probed { since });
                let hangs = self.behaviour(process).hangs_after.map(|after| since + after);
                let is_alive = obeys || hangs.is_none_or(|at| self.now < at);
                Some(Event::LivenessProbed { process, is_alive })
            }
            What::Extends => {
                let (_, by) = self.behaviour(process).extends?;
                Some(Event::TimeoutExtended { process, by })
            }
        }
    }

    /// Ends a search for the processes that a process has left outside of its process groups.
    fn searched(&mut self, slot: ProcessId, number: u64, signal: Signal) -> Option<Event> {
        if self.clearing.get(&slot) != Some(&number) {
            return None;
        }
        let process = slot;
        if !self.left_outside.contains(&self.slots.process(slot)) {
            self.clearing.remove(&slot);
            return Some(Event::Leftovers { process, any: false });
        }
        let Behaviour { leaves, ends_after_kill, .. } = *self.behaviour(slot);
        let after = match signal {
            Signal::KILL => ends_after_kill,
            _ => leaves.unwrap_or(Ok(OBEYS_WITHIN)).ok(),
        };
        if let Some(after) = self.unless_obeying(after) {
            self.push(self.now + after, Happening::OutsideGone(slot));
        }
        Some(Event::Leftovers { process, any: true })
    }

    /// Counts the traffic of a process. During the drain, clients open new connections until the
    /// endpoint is removed, and the open connections close after some time.
    fn load(&mut self, id: ProcessId) -> Load {
        let behaviour = *self.behaviour(id);
        let proc = &mut self.procs[id.index()];
        let Some(drained_at) = proc.drained_at else { return Load::default() };
        if behaviour.stats_unknown {
            return Load::default();
        }
        let elapsed = self.now.since(drained_at);
        if elapsed < behaviour.endpoint_removed && !proc.closed {
            proc.accepted += 1;
        }
        // At the beginning of the drain, two connections are open. One closes at
        // `connections_end`, the other after half of this time.
        let end = behaviour.connections_end;
        let mut active = u64::from(elapsed < end) + u64::from(elapsed < end / 2);
        // New requests come in two periods. The first period is some time after the drain. The
        // second follows a stop signal that comes long after the drain.
        let stopped = self.stopped_at.filter(|at| drained_at < *at).map(|at| self.now.since(at));
        let is_again = (end * 3 / 2..end * 2).contains(&elapsed);
        if self.scenario.open_again && (is_again || stopped.is_some_and(|since| since < end / 2)) {
            active += 3;
        }
        Load { active: Some(active), total: Some(proc.accepted), ..Load::default() }
    }

    pub(super) fn carry_out(&mut self, action: &Action) {
        let now = self.now;
        match *action {
            Action::CheckCondition { process, check } => {
                let changes = self.fails(self.scenario.starts.condition_changes);
                let holds = self.behaviour(process).condition ^ changes;
                let answer = Event::Condition { process, check, holds };
                match !self.obeys() && self.slowness.once_in(self.scenario.starts.slow) {
                    true => {
                        let after = self.slowness.millis(LONGEST_START);
                        self.deliver(now + after, answer);
                    }
                    false => self.at_once.push_back(answer),
                }
            }
            Action::Spawn(process) => self.spawn(process),
            Action::AbortSpawn(process) => self.abort_spawn(process),
            Action::WatchLiveness(process) => {
                self.push_to(now + PROBES, process, What::Probed { since: now });
            }
            Action::ProbeOnce(process) => {
                let instance = self.procs[process.index()].instance;
                let after = if instance.is_multiple_of(2) { 1000 } else { 1 };
                self.push_to(now + Duration::from_millis(after), process, What::LastAnswer);
            }
            // drainit stops an epoch with SIGKILL if the epoch has not taken over, or if Envoy will
            // abort it.
            Action::Stop { process, signal: Signal::KILL } => self.kill(process),
            Action::Stop { process, .. } if self.procs[process.index()].aborts => {}
            Action::Stop { process, .. } => {
                self.extend(process);
                if let Some(older) = self.older(process) {
                    self.procs[older.index()].is_passed = true;
                    self.end_older(process);
                }
                let Behaviour { ends_after_term, exits_for, .. } = *self.behaviour(process);
                match ends_after_term.filter(|_| exits_for.is_some() && !self.obeys()) {
                    Some(after) => self.push_to(now + after, process, What::Exits),
                    None => self.end(process, ends_after_term, 200 + 15),
                }
            }
            Action::LookForExit(process) => {
                let exits = self.procs[process.index()].exits;
                let ignores = !exits && self.ignores_stop(process);
                self.at_once.push_back(Event::ExitSeen { process, exits, ignores });
            }
            Action::StopOrphans { process, .. } => {
                let after = self.behaviour(process).group.and_then(Result::ok);
                let gone = Event::OrphansGone(process);
                match self.unless_obeying(after) {
                    // No member of the group is a child of drainit.
                    Some(after) if after.as_millis().is_multiple_of(3) => {
                        self.at_once.push_back(gone);
                    }
                    Some(after) => self.deliver_of(now + after / 2, process, gone),
                    None => {}
                }
            }
            Action::StopGroup { process, signal } if signal != Signal::KILL => {
                let after = self.behaviour(process).group.and_then(Result::ok);
                if self.behaviour(process).exits_for.is_some()
                    && let Some(after) = self.unless_obeying(after)
                {
                    self.push_to(self.now + after / 4, process, What::GroupExits);
                }
                self.end_group(process, after.map(|after| after / 2));
            }
            Action::StopGroup { process, .. } => {
                self.end_group(process, self.behaviour(process).ends_after_kill);
            }
            Action::Kill(process) if self.procs[process.index()].group => {
                self.end_group(process, self.behaviour(process).ends_after_kill);
            }
            Action::Kill(process) => self.kill(process),
            Action::RunHook(HookId { stage: Stage::PreStart, .. }) if self.stop_is_pending => {}
            Action::RunHook(HookId { process: Some(process), stage: Stage::PreStart })
                if self.fails(self.scenario.starts.values_missing) =>
            {
                self.at_once.push_back(Event::SpawnFailed { process, exit_code: 1 });
            }
            Action::RunHook(hook) => {
                let ends = match hook.process {
                    Some(process) => self.behaviour(process).hooks,
                    None => self.scenario.hooks,
                };
                let drawn = ends[hook.stage as usize];
                if let Some((after, success)) =
                    if self.obeys() { Some((OBEYS_WITHIN, true)) } else { drawn }
                {
                    self.deliver(now + after, Event::HookEnded { hook, success });
                    self.hook_ends.insert(hook, self.events.len() - 1);
                }
            }
            Action::Drain { process, min, .. } => {
                let is_seen = self.spec(process).drain.is_some_and(|drain| drain.closes);
                let proc = &mut self.procs[process.index()];
                proc.drained_at = Some(now);
                proc.min_until = Some(now + min);
                proc.sampling = is_seen;
                self.push(now + SAMPLES, Happening::Sample(process));
                if let (false, Some(after)) = (is_seen, self.behaviour(process).reports_after) {
                    self.deliver_of(now + after, process, Event::Drained(process));
                }
                if let (true, Some(after)) = (is_seen, self.behaviour(process).not_live) {
                    self.deliver_of(now + after, process, Event::NothingToDrain(process));
                }
                if let Some((after, accepted)) = self.behaviour(process).drain_answer {
                    let answer = Event::DrainAnswered { process, accepted };
                    self.deliver_of(now + after, process, answer);
                }
            }
            Action::CloseListeners(process) => {
                if let Some(after) = self.behaviour(process).close_answer {
                    self.procs[process.index()].closed = true;
                    let load = self.load(process);
                    self.deliver_of(now + after, process, Event::DrainSample { process, load });
                    let closed = Event::ListenersClosed(process);
                    self.deliver_of(now + after, process, closed);
                }
            }
            Action::EndDrain(process) => self.procs[process.index()].sampling = false,
            Action::Sweep(_) if self.missed_scans > 0 && self.leftovers > 0 => {
                self.missed_scans -= 1;
                self.at_once.push_back(Event::Swept { any: false });
            }
            Action::Sweep(signal) => {
                let found = self.leftovers;
                self.at_once.push_back(Event::Swept { any: found > 0 });
                if found == 0 {
                    self.at_once.push_back(Event::NothingLeft);
                }
                if found > 0 {
                    let after = if signal == Signal::KILL {
                        Some(Duration::from_millis(1))
                    } else {
                        self.unless_obeying(self.scenario.leftovers_end_after_term)
                    };
                    if let Some(after) = after {
                        self.push(now + after, Happening::LeftoversGone);
                    }
                }
            }
            Action::EndLeftovers { process, signal } => {
                self.sequence += 1;
                self.clearing.insert(process, self.sequence);
                let search = self.unless_obeying(self.behaviour(process).search);
                match search {
                    Some(Duration::ZERO) => {
                        let found = self.searched(process, self.sequence, signal);
                        self.at_once.extend(found);
                    }
                    Some(after) => {
                        let found = Happening::Searched(process, self.sequence, signal);
                        self.push(now + after, found);
                    }
                    None => {}
                }
            }
            Action::AbortHook(hook) => self.dropped.extend(self.hook_ends.remove(&hook)),
            Action::Note(Note::TakesOver { process, .. } | Note::Adding(process)) => {
                self.slots.take_over(process);
            }
            Action::Note(Note::Removing(process)) => self.slots.remove(process),
            Action::Redefine(slot) => self.slots.redefine(slot),
            Action::ShutdownBegins { .. } => {
                self.stopped_at = Some(now);
                let after = self.slowness.millis(500);
                let is_silent = |slot: &ProcessId| !self.slots.of(*slot).shows_listener;
                for slot in self.slots.all().filter(is_silent).collect::<Vec<_>>() {
                    self.deliver(self.now + after, Event::ListensOnNothing(slot));
                }
                self.deliver(self.now + after, Event::Counted);
            }
            Action::Adopt { .. }
            | Action::Signal { .. }
            | Action::ReleaseSockets(_)
            | Action::StayReady
            | Action::Unready
            | Action::Serves(_)
            | Action::EndLiveness(_)
            | Action::TellReady
            | Action::Answer { .. }
            | Action::AnswerReload(_)
            | Action::Note(_)
            | Action::Exit(_) => {}
        }
    }

    /// Begins a start. The answer comes at once, or after a while if the file system is slow.
    fn spawn(&mut self, process: ProcessId) {
        if self.is_left_out() {
            self.starting.insert(process, None);
            return;
        }
        self.starts += 1;
        let number = self.starts;
        self.starting.insert(process, Some(number));
        match !self.obeys() && self.slowness.once_in(self.scenario.starts.slow) {
            true => {
                let after = self.slowness.millis(LONGEST_START);
                self.push(self.now + after, Happening::Starts(process, number));
            }
            false => {
                let answer = self.start(process);
                self.at_once.push_back(answer);
            }
        }
    }

    /// Aborts a start that is under way. In half of all cases the abort comes too late, and the
    /// start gets its usual answer. If the start is skipped because a stop signal is pending, the
    /// abort never comes too late.
    fn abort_spawn(&mut self, process: ProcessId) {
        if !self.starting.contains_key(&process) {
            let answers = |event: &Event| matches!(event, Event::Spawned(id) | Event::SpawnFailed { process: id, .. } if *id == process);
            assert!(self.at_once.iter().any(answers), "a start is given up, but is not under way");
            return;
        }
        let is_fast =
            matches!(self.starting.get(&process), Some(Some(_))) && self.slowness.once_in(2);
        let answer = match is_fast {
            true => self.start(process),
            false => Event::SpawnFailed { process, exit_code: 126 },
        };
        self.starting.remove(&process);
        self.at_once.push_back(answer);
    }

    /// Starts a process, and returns the event that answers the start.
    fn start(&mut self, process: ProcessId) -> Event {
        self.starting.remove(&process);
        let behaviour = *self.behaviour(process);
        let has_run = self.procs[process.index()].instance > 0;
        if has_run && self.fails(self.scenario.starts.spawn_fails) {
            return Event::SpawnFailed { process, exit_code: 127 };
        }
        if let Some(exit_code) = behaviour.spawn_fails {
            return Event::SpawnFailed { process, exit_code };
        }
        let is_epoch = self.spec(process).update == Update::HotRestart;
        let older = other_epoch(&self.slots, &self.procs, process);
        if older.is_some_and(|older| self.procs[older.index()].newer_failed) {
            return Event::SpawnFailed { process, exit_code: 126 };
        }
        let older = older.map(|older| (older, self.procs[older.index()].instance));
        let proc = &mut self.procs[process.index()];
        let instance = proc.instance + 1;
        let is_live = older.is_none();
        let started = Some(self.now);
        *proc =
            Proc { alive: true, instance, is_epoch, older, is_live, started, ..Proc::default() };
        if let Some(after) = behaviour.ready_after {
            self.push_to(self.now + after, process, What::BecomesReady);
        }
        if let Some((after, code)) = behaviour.dies_after {
            self.push_to(self.now + after, process, What::Dies { end: code, asked: false });
        }
        self.extend(process);
        Event::Spawned(process)
    }

    /// The older epoch beside which this epoch was started, if the older epoch still lives.
    fn older(&self, process: ProcessId) -> Option<ProcessId> {
        let (id, instance) = self.procs[process.index()].older?;
        let older = self.procs[id.index()];
        (older.alive && older.instance == instance).then_some(id)
    }

    /// Makes a process ready if possible, and returns whether it is ready. A new epoch can take
    /// over only while the older epoch answers. Later the new epoch ends the older epoch.
    fn goes_live(&mut self, process: ProcessId) -> bool {
        if self.procs[process.index()].is_live {
            return true;
        }
        let Some(older) = self.older(process) else { return false };
        let answers = !self.procs[older.index()].killed;
        let proc = &mut self.procs[process.index()];
        if proc.killed || !answers {
            return false;
        }
        proc.is_live = true;
        let after = self.ends_older_after(process).max(2 * EPOCH_POLLS);
        self.push_to(self.now + after, process, What::EndsOlder);
        true
    }

    /// How long a live epoch waits before it ends the older epoch.
    fn ends_older_after(&self, newer: ProcessId) -> Duration {
        self.spec(newer).handover.unwrap_or_default().saturating_sub(MARGIN)
    }

    /// Lets this epoch end the older epoch. This epoch has waited long enough, or drainit has asked
    /// this epoch to end.
    fn end_older(&mut self, process: ProcessId) {
        let Some(older) = self.older(process) else { return };
        self.procs[process.index()].has_ended_older = true;
        self.end(older, self.behaviour(older).ends_after_term, 0);
    }

    /// Handles the end of an epoch. The newer epoch aborts if it has not ended this epoch itself.
    /// If `remains` is true, the newer epoch does not abort, because the ended process may have
    /// been a wrapper whose Envoy still lives in the process group. If drainit has not noticed that
    /// this epoch took over, no other epoch can take over from the older epoch.
    fn epoch_ended(&mut self, process: ProcessId, remains: bool) {
        let ended = self.procs[process.index()];
        let older = self.older(process).filter(|_| !ended.is_seen);
        if let Some(older) = older {
            self.procs[older.index()].newer_failed = true;
        }
        let is_newer = |newer: &ProcessId| {
            let newer = self.procs[newer.index()];
            newer.older == Some((process, ended.instance)) && newer.alive
        };
        let newer = self.slots.all().find(is_newer).filter(|_| !remains);
        // The newer epoch waits before it ends this epoch. The core counts this wait from the start
        // of the newer epoch, because it does not know when the newer epoch became live. After this
        // wait, the core assumes that a live newer epoch has ended this one.
        let is_ended = |newer: &ProcessId| {
            let proc = self.procs[newer.index()];
            let from = proc.started.map(|started| started + self.ends_older_after(*newer));
            proc.has_ended_older || proc.is_live && from.is_some_and(|from| from <= self.now)
        };
        if let Some(newer) = newer.filter(|newer| !is_ended(newer)) {
            // If this epoch was killed before it answered the newer epoch, the newer epoch waits
            // for the answer until Envoy's limit, and then ends. The newer epoch reacts to signals
            // while it waits, so `aborts` is false.
            self.procs[newer.index()].aborts = self.procs[newer.index()].is_live || !ended.killed;
            let aborts = What::Dies { end: 200 + 6, asked: true };
            self.push_to(self.now + ABORTS_AFTER, newer, aborts);
        }
    }

    /// A process asks for more time, if the scenario says so.
    fn extend(&mut self, process: ProcessId) {
        if let Some((after, _)) = self.behaviour(process).extends {
            self.push_to(self.now + after, process, What::Extends);
        }
    }

    fn end_group(&mut self, process: ProcessId, after: Option<Duration>) {
        if let Some(after) = self.unless_obeying(after) {
            self.push_to(self.now + after, process, What::GroupEnds);
        }
    }

    /// Lets a process end that was asked to: `after` some time, or never, or soon after the time of
    /// faults.
    fn end(&mut self, process: ProcessId, after: Option<Duration>, end: u8) {
        if let Some(after) = self.unless_obeying(after) {
            self.push_to(self.now + after, process, What::Dies { end, asked: true });
        }
    }

    fn kill(&mut self, process: ProcessId) {
        self.procs[process.index()].killed = true;
        self.end(process, self.behaviour(process).ends_after_kill, 200 + 9);
    }
}
