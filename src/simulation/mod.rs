//! Simulation: the core against random graphs, behaviour and timing, instead of sleeping.
//!
//! A seed determines a [`Scenario`]. [`run`] plays it in simulated time, and [`Checker`] compares
//! every step with the promises of `docs/shutdown.md`. There are two modes:
//!
//! - *Safety* ([`Scenario::new`]): faults may happen at any time, and every promise holds at every
//!   step.
//! - *Liveness* ([`Scenario::live`]): after a random time no more faults happen and a stop signal
//!   comes. From then on the shutdown ends by itself, in order and in time. In safety mode a later
//!   fault could hide that it would not.
//!
//! A failure prints its seed. To replay it with a trace of all actions:
//!
//! ```text
//! DRAINIT_SIM_SEED=42 cargo test --lib simulation::safety -- --nocapture
//! DRAINIT_SIM_SEED=42 cargo test --lib simulation::liveness -- --nocapture
//! ```
//!
//! `DRAINIT_SIM_RUNS=1000000 cargo test --release --lib sim` plays more than the default of 100,000
//! seeds for each mode. Single schedules with known actions are in `cases`.

mod cases;
mod invariants;
mod replacements;
pub(crate) mod scenario;
mod slots;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::rc::Rc;
use std::time::Duration;

use crate::config::{OnExit, Restart, RestartPolicy, StartCondition, Update, WatchAction};
use crate::core::action::Action;
use crate::core::cause::Cause;
use crate::core::event::{Event, Load, Request};
use crate::core::machine::Machine;
use crate::core::note::{DrainEnd, Note, RequestError};
use crate::core::slots::{Placed, Role, Source};
use crate::core::spec::{DrainSpec, HookId, HookWaits, ProcessSpec, Spec, Stage, Wait};
use crate::report::Report;
use crate::report::messages::Names;
use crate::report::startup::Startup;
use crate::types::{End, ProcessId, Signal, Time};

use crate::simulation::invariants::Checker;
use crate::simulation::scenario::{Behaviour, Scenario};
use crate::simulation::slots::Slots;

/// The pause between two samples once the drain can soon be over.
const SAMPLES: Duration = Duration::from_millis(50);
/// The pause before that.
const SELDOM: Duration = Duration::from_millis(700);
/// Samples become frequent this long before `min` is over.
const SOON: Duration = Duration::from_millis(300);
/// The time that an obedient process takes to end.
const OBEYS_WITHIN: Duration = Duration::from_millis(2);
/// The pause between two liveness probes.
const PROBES: Duration = Duration::from_millis(400);
/// An epoch of an Envoy aborts this long after an older one that it has not ended itself.
const ABORTS_AFTER: Duration = Duration::from_secs(12);
/// Longer than any scenario may take.
const FOREVER: Duration = Duration::from_secs(3600);

/// The simulated world of one run.
struct Sim<'a> {
    scenario: &'a Scenario,
    start: Time,
    now: Time,
    queue: BinaryHeap<Reverse<(Time, u64, Happening)>>,
    sequence: u64,
    /// By slot, as everything else about a process.
    procs: Vec<Proc>,
    slots: Slots,
    behaviours: Vec<Behaviour>,
    /// The number of replacements so far.
    replaced: usize,
    leftovers: usize,
    /// The next scans for leftover processes that miss them.
    missed_scans: u64,
    trace: Vec<(Time, Action)>,
    /// The end of each hook that runs.
    hook_ends: BTreeMap<HookId, EventKey>,
    /// Events that are not sent: the ends of hooks that were killed.
    dropped: BTreeSet<EventKey>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Happening {
    Deliver(EventKey),
    /// The same, for the current slot of its process.
    DeliverTo(EventKey),
    /// A new config.
    Reload(usize),
    /// The same, unless the process has been started again since.
    DeliverFrom {
        key: EventKey,
        process: u16,
        instance: u32,
    },
    /// `asked`: it is the answer to a signal of drainit.
    Dies {
        process: u16,
        instance: u32,
        end: u8,
        asked: bool,
    },
    GroupEnds {
        process: u16,
        instance: u32,
    },
    BecomesReady {
        process: u16,
        instance: u32,
    },
    Sample {
        process: u16,
    },
    LeftoversGone,
    Probed {
        process: u16,
        instance: u32,
        since: Time,
    },
    Extends {
        process: u16,
        instance: u32,
    },
    /// An epoch of an Envoy ends the older one.
    EndsOlder {
        process: u16,
        instance: u32,
    },
}

/// An index into the list of events: the queue needs an order, and [`Event`] has none.
type EventKey = usize;

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Proc {
    pub(crate) alive: bool,
    /// Other members of its process group are alive without it.
    group: bool,
    killed: bool,
    instance: u32,
    drained_at: Option<Time>,
    min_until: Option<Time>,
    sampling: bool,
    closed: bool,
    accepted: u64,
    /// An epoch of an Envoy that is hot-restarted.
    pub(crate) is_epoch: bool,
    /// The epoch that it was started beside, as an instance of a slot.
    older: Option<(ProcessId, u32)>,
    /// It has taken over from the older one.
    pub(crate) is_live: bool,
    /// It has ended the older one.
    has_ended_older: bool,
    /// A newer one has ended before it took over.
    pub(crate) was_failed_on: bool,
    /// A newer one was asked to end, and has passed that on.
    pub(crate) is_told: bool,
    pub(crate) started: Option<Time>,
}

/// Plays one scenario to its end.
fn run(scenario: &Scenario) -> Vec<(Time, Action)> {
    let start = Time(Duration::from_secs(1000));
    let mut sim = Sim {
        scenario,
        start,
        now: start,
        queue: BinaryHeap::new(),
        sequence: 0,
        procs: vec![Proc::default(); scenario.spec.processes.len()],
        slots: Slots::new(scenario),
        behaviours: scenario.behaviours.clone(),
        replaced: 0,
        leftovers: scenario.leftovers,
        missed_scans: scenario.missed_scans,
        trace: Vec::new(),
        hook_ends: BTreeMap::new(),
        dropped: BTreeSet::new(),
    };
    let mut events: Vec<Event> = Vec::new();
    let mut machine = Machine::new(Rc::clone(&scenario.spec), sim.now);
    for (place, (after, _)) in scenario.reloads.iter().enumerate() {
        sim.push(start + *after, Happening::Reload(place));
    }
    let names = Names((0..scenario.spec.processes.len()).map(|place| place.to_string()).collect());
    let mut report = Report::new(names.clone());
    let startup = Startup::new(names, start);
    let mut checker = Checker::new(scenario, sim.now);
    for &(after, signal) in &scenario.signals {
        sim.deliver(&mut events, start + after, Event::Signal(signal));
    }
    if let Some(after) = scenario.drain_requested {
        sim.deliver(&mut events, start + after, Event::DrainRequested);
    }
    let others = scenario.requests.iter().chain(&scenario.changes).chain(&scenario.noise);
    for &(after, event) in others {
        events.push(event);
        sim.push(start + after, Happening::DeliverTo(events.len() - 1));
    }
    let mut first = vec![Event::Start];
    if scenario.stopped_before_start {
        first.push(Event::Signal(Signal::TERM));
    }
    while !checker.exited() {
        let mut reload = None;
        let event = match first.pop() {
            Some(event) => event,
            None => {
                let wakeup = machine.next_wakeup();
                let queued = sim.queue.peek().map(|Reverse((at, ..))| *at);
                match (wakeup, queued) {
                    (Some(wakeup), queued) if queued.is_none_or(|at| wakeup < at) => {
                        sim.now = wakeup;
                        Event::Tick
                    }
                    (_, Some(at)) => {
                        sim.now = at;
                        let Reverse((_, _, happening)) = sim.queue.pop().unwrap();
                        if let Happening::Reload(place) = happening {
                            reload = Some(&scenario.reloads[place].1);
                            Event::Tick
                        } else {
                            match sim.happen(&events, happening) {
                                Some(event) => event,
                                None => continue,
                            }
                        }
                    }
                    (None, None) => checker.fail("no event and no timer is left"),
                    (Some(_), None) => unreachable!(),
                }
            }
        };
        if sim.now.since(start) > FOREVER {
            checker.fail("it never ends");
        }
        if let Event::Requested { process, request } = event
            && machine.may_request(process, request).is_err()
        {
            checker.refused(process, request);
            continue;
        }
        checker.event(sim.now, event);
        let actions = match reload {
            Some(config) => {
                let plan = sim.slots.plan(config, machine.state());
                let taken = machine.reload(sim.now, &config.spec, &plan);
                checker.reload(config, &plan, taken.is_ok());
                if taken.is_ok() {
                    sim.slots.reload(config, &plan);
                }
                taken.unwrap_or_default()
            }
            None => machine.handle(sim.now, event),
        };
        report.event(sim.now, event, machine.phase());
        for action in actions {
            if let Action::Adopt { slot, from } = action {
                sim.adopt(slot, from);
                report.adopt(slot, slot.0.to_string());
            }
            report.action(sim.now, &action);
            if let Action::Note(note) = &action {
                report.note(sim.now, note);
            }
            checker.action(sim.now, &action, &sim.procs);
            sim.carry_out(&mut events, &action);
            if let Action::Note(Note::ReloadFailed { .. }) = action {
                // What was not begun is in no config.
                let is_free = |slot: &ProcessId| machine.state().role(*slot) == Role::Retired;
                for slot in sim.slots.all().filter(is_free) {
                    sim.slots.remove(slot);
                }
            }
            sim.trace.push((sim.now, action));
        }
        checker.holds_followers(&sim.procs);
        checker.holds_new_ones(&sim.procs);
        checker.holds_pending(&sim.procs);
        checker.holds_readiness(&machine, &sim.procs);
        checker.holds_answers(&machine);
        checker.holds_shutdown(sim.now, &machine, &sim.procs);
        if let Some(wakeup) = machine.next_wakeup()
            && wakeup <= sim.now
        {
            checker.fail("the next wake-up is not in the future");
        }
    }
    checker.holds_report(report.killed());
    // A part of the runs is enough.
    if scenario.seed.is_multiple_of(8) {
        let spec = &machine.state().spec;
        let data = report.data(sim.now, 0, spec, &startup, |_| String::new());
        checker.holds_steps(&data);
    }
    // Later events have no effect.
    for event in [Event::Tick, Event::Signal(Signal::TERM), Event::Leftovers(3)] {
        assert!(machine.handle(sim.now + Duration::from_secs(9), event).is_empty());
    }
    sim.trace
}

impl Sim<'_> {
    fn push(&mut self, at: Time, happening: Happening) {
        self.sequence += 1;
        self.queue.push(Reverse((at, self.sequence, happening)));
    }

    fn deliver(&mut self, events: &mut Vec<Event>, at: Time, event: Event) {
        events.push(event);
        self.push(at, Happening::Deliver(events.len() - 1));
    }

    /// Sends an event about the drain of the running instance.
    fn deliver_of(&mut self, events: &mut Vec<Event>, at: Time, process: ProcessId, event: Event) {
        events.push(event);
        let (key, instance) = (events.len() - 1, self.procs[process.index()].instance);
        self.push(at, Happening::DeliverFrom { key, process: process.0, instance });
    }

    fn behaviour(&self, id: ProcessId) -> &Behaviour {
        &self.behaviours[id.index()]
    }

    fn spec(&self, id: ProcessId) -> &ProcessSpec {
        self.slots.of(id)
    }

    /// Prepares a slot for a new instance, which may behave in another way.
    fn adopt(&mut self, slot: ProcessId, from: Source) {
        self.slots.adopt(slot, from);
        self.replaced += 1;
        let process = self.slots.process(slot);
        let variants = [&self.scenario.behaviours, &self.scenario.variants];
        let behaviour = variants[self.replaced % 2][process].clone();
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

    /// The same event, for the current slot of its process, if it has one.
    fn to_current(&self, event: Event) -> Option<Event> {
        let slot = |process: ProcessId| self.slots.current(process.index());
        Some(match event {
            Event::Requested { process, request } => {
                Event::Requested { process: slot(process)?, request }
            }
            Event::FileChanged { process, watch } => {
                let process = slot(process)?;
                let is_watched = watch < self.spec(process).watch.len();
                return is_watched.then_some(Event::FileChanged { process, watch });
            }
            other => other,
        })
    }

    /// Whether the time of faults is over.
    fn obeys(&self) -> bool {
        self.scenario.faults_end.is_some_and(|after| self.start + after <= self.now)
    }

    /// The drawn time, or a short one after the time of faults.
    fn unless_obeying(&self, drawn: Option<Duration>) -> Option<Duration> {
        if self.obeys() { Some(OBEYS_WITHIN) } else { drawn }
    }

    /// The event that the event loop would send.
    fn happen(&mut self, events: &[Event], happening: Happening) -> Option<Event> {
        match happening {
            Happening::Deliver(key) => (!self.dropped.contains(&key)).then_some(events[key]),
            Happening::DeliverTo(key) => self.to_current(events[key]),
            Happening::Reload(_) => None,
            Happening::DeliverFrom { key, process, instance } => {
                (self.procs[usize::from(process)].instance == instance).then_some(events[key])
            }
            Happening::Dies { process, instance, end, asked } => {
                let oneshot = self.spec(ProcessId(process)).oneshot;
                let end = match (asked, self.obeys()) {
                    (false, true) if oneshot => 0,
                    (false, true) => return None,
                    _ => end,
                };
                let proc = &mut self.procs[usize::from(process)];
                if !proc.alive || proc.instance != instance {
                    return None;
                }
                proc.alive = false;
                proc.sampling = false;
                let end = match end {
                    0..=199 => End::Code(end),
                    _ => End::Signal(Signal::from_number(i32::from(end) - 200).unwrap()),
                };
                let id = ProcessId(process);
                self.epoch_ended(id);
                let remains = self.behaviour(id).group.is_some() && !self.procs[id.index()].killed;
                self.procs[id.index()].group = remains && !oneshot;
                Some(Event::Exited { process: id, end, remains })
            }
            Happening::GroupEnds { process, instance } => {
                let proc = &mut self.procs[usize::from(process)];
                let ends = proc.instance == instance && std::mem::take(&mut proc.group);
                ends.then_some(Event::GroupGone(ProcessId(process)))
            }
            Happening::BecomesReady { process, instance } => {
                let id = ProcessId(process);
                let proc = self.procs[id.index()];
                if !proc.alive || proc.instance != instance || !self.goes_live(id) {
                    return None;
                }
                Some(Event::Ready(id))
            }
            Happening::EndsOlder { process, instance } => {
                let proc = self.procs[usize::from(process)];
                if proc.alive && proc.instance == instance {
                    self.end_older(ProcessId(process));
                }
                None
            }
            Happening::Sample { process } => {
                let id = ProcessId(process);
                let load = self.load(id);
                if !self.procs[id.index()].sampling {
                    return None;
                }
                let until_min = self.procs[id.index()]
                    .min_until
                    .map(|min| min.since(self.now))
                    .unwrap_or_default();
                let pause = until_min.saturating_sub(SOON).clamp(SAMPLES, SELDOM);
                self.push(self.now + pause, Happening::Sample { process });
                Some(Event::DrainSample { process: id, load })
            }
            Happening::Probed { process, instance, since } => {
                let id = ProcessId(process);
                let proc = self.procs[id.index()];
                if !proc.alive || proc.instance != instance || proc.drained_at > Some(since) {
                    return None;
                }
                self.push(self.now + PROBES, Happening::Probed { process, instance, since });
                let hangs = self.behaviour(id).hangs_after.map(|after| since + after);
                let is_alive = self.obeys() || hangs.is_none_or(|at| self.now < at);
                Some(Event::LivenessProbed { process: id, is_alive })
            }
            Happening::Extends { process, instance } => {
                let id = ProcessId(process);
                let proc = self.procs[id.index()];
                let (_, by) = self.behaviour(id).extends?;
                (proc.alive && proc.instance == instance)
                    .then_some(Event::TimeoutExtended { process: id, by })
            }
            Happening::LeftoversGone => {
                self.leftovers = 0;
                Some(Event::Leftovers(0))
            }
        }
    }

    /// New connections come while the endpoint exists; open ones close during the drain.
    fn load(&mut self, id: ProcessId) -> Load {
        let behaviour = self.behaviour(id).clone();
        let proc = &mut self.procs[id.index()];
        let Some(drained_at) = proc.drained_at else { return Load::default() };
        if behaviour.stats_unknown {
            return Load::default();
        }
        let elapsed = self.now.since(drained_at);
        if elapsed < behaviour.endpoint_removed && !proc.closed {
            proc.accepted += 1;
        }
        // Two connections, of which one stays longer.
        let end = behaviour.connections_end;
        let active = u64::from(elapsed < end) + u64::from(elapsed < end / 2);
        Load { active: Some(active), total: Some(proc.accepted), ..Load::default() }
    }

    fn carry_out(&mut self, events: &mut Vec<Event>, action: &Action) {
        let now = self.now;
        match *action {
            Action::CheckCondition(process) => {
                let holds = self.behaviour(process).condition;
                self.deliver(events, now, Event::Condition { process, holds });
            }
            Action::Spawn(process) => self.spawn(events, process),
            Action::WatchLiveness(process) => {
                let instance = self.procs[process.index()].instance;
                let probed = Happening::Probed { process: process.0, instance, since: now };
                self.push(now + PROBES, probed);
            }
            // Only an epoch that has not taken over.
            Action::Stop { process, signal: Signal::KILL } => {
                self.procs[process.index()].killed = true;
                if let Some(after) = self.unless_obeying(self.behaviour(process).ends_after_kill) {
                    self.die(process, after, 200 + 9, true);
                }
            }
            Action::Stop { process, .. } => {
                self.extend(process);
                if let Some(older) = self.older(process) {
                    self.procs[older.index()].is_told = true;
                    self.end_older(process);
                }
                if let Some(after) = self.unless_obeying(self.behaviour(process).ends_after_term) {
                    self.die(process, after, 200 + 15, true);
                }
            }
            Action::StopGroup { process, .. } => {
                let after = self.behaviour(process).group.and_then(Result::ok);
                if let Some(after) = self.unless_obeying(after) {
                    self.end_group(process, after);
                }
            }
            Action::Kill(process) if self.procs[process.index()].group => {
                self.end_group(process, Duration::from_millis(1));
            }
            Action::Kill(process) => {
                self.procs[process.index()].killed = true;
                if let Some(after) = self.unless_obeying(self.behaviour(process).ends_after_kill) {
                    self.die(process, after, 200 + 9, true);
                }
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
                    self.deliver(events, now + after, Event::HookEnded { hook, success });
                    self.hook_ends.insert(hook, events.len() - 1);
                }
            }
            Action::Drain { process, min, .. } => {
                let is_seen = self.spec(process).drain.is_some_and(|drain| drain.closes);
                let proc = &mut self.procs[process.index()];
                proc.drained_at = Some(now);
                proc.min_until = Some(now + min);
                proc.sampling = is_seen;
                self.push(now + SAMPLES, Happening::Sample { process: process.0 });
                if let (false, Some(after)) = (is_seen, self.behaviour(process).reports_after) {
                    self.deliver_of(events, now + after, process, Event::Drained(process));
                }
                if let Some((after, accepted)) = self.behaviour(process).drain_answer {
                    let answer = Event::DrainAnswered { process, accepted };
                    self.deliver_of(events, now + after, process, answer);
                }
            }
            Action::CloseListeners(process) => {
                if let Some(after) = self.behaviour(process).close_answer {
                    self.procs[process.index()].closed = true;
                    let closed = Event::ListenersClosed(process);
                    self.deliver_of(events, now + after, process, closed);
                }
            }
            Action::EndDrain(process) => self.procs[process.index()].sampling = false,
            Action::Sweep(_) if self.missed_scans > 0 && self.leftovers > 0 => {
                self.missed_scans -= 1;
                self.deliver(events, now, Event::Tick);
            }
            Action::Sweep(signal) => {
                let found = self.leftovers;
                self.deliver(events, now, Event::Leftovers(found));
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
            Action::AbortHook(hook) => self.dropped.extend(self.hook_ends.remove(&hook)),
            Action::Note(Note::TakesOver { process, .. }) => self.slots.take_over(process),
            Action::Note(Note::Replacing { process, overlaps: false, .. }) => {
                self.slots.take_over(process);
            }
            Action::Note(Note::Removing(process)) => self.slots.remove(process),
            Action::Adopt { .. }
            | Action::Signal { .. }
            | Action::ReleaseSockets(_)
            | Action::StayReady
            | Action::FailHealthcheck(_)
            | Action::Unready
            | Action::Note(_)
            | Action::Exit(_) => {}
        }
    }

    fn spawn(&mut self, events: &mut Vec<Event>, process: ProcessId) {
        let behaviour = self.behaviour(process).clone();
        if let Some(exit_code) = behaviour.spawn_fails {
            self.deliver(events, self.now, Event::SpawnFailed { process, exit_code });
            return;
        }
        let is_epoch = self.spec(process).update == Update::HotRestart;
        let older = self.other_epoch(process).filter(|_| is_epoch);
        if older.is_some_and(|older| self.procs[older.index()].was_failed_on) {
            let refused = Event::SpawnFailed { process, exit_code: 126 };
            self.deliver(events, self.now, refused);
            return;
        }
        let older = older.map(|older| (older, self.procs[older.index()].instance));
        let proc = &mut self.procs[process.index()];
        assert!(!proc.alive && !proc.group, "{process:?} is started while it is alive");
        let instance = proc.instance + 1;
        let is_live = older.is_none();
        let started = Some(self.now);
        *proc =
            Proc { alive: true, instance, is_epoch, older, is_live, started, ..Proc::default() };
        self.deliver(events, self.now, Event::Spawned(process));
        if let Some(after) = behaviour.ready_after {
            self.push(self.now + after, Happening::BecomesReady { process: process.0, instance });
        }
        if let Some((after, code)) = behaviour.dies_after {
            self.die(process, after, code, false);
        }
        self.extend(process);
    }

    /// Another epoch of the same process that lives.
    fn other_epoch(&self, process: ProcessId) -> Option<ProcessId> {
        let is_other = |id: &ProcessId| {
            *id != process && self.slots.process(*id) == self.slots.process(process)
        };
        let mut others = self.slots.all().filter(is_other);
        others.find(|id| self.procs[id.index()].alive && self.procs[id.index()].is_epoch)
    }

    /// The epoch that this one was started beside, if it lives.
    fn older(&self, process: ProcessId) -> Option<ProcessId> {
        let (id, instance) = self.procs[process.index()].older?;
        let older = self.procs[id.index()];
        (older.alive && older.instance == instance).then_some(id)
    }

    /// A process becomes ready. Returns whether it can: an epoch needs the older one for it, which
    /// it ends some time later.
    fn goes_live(&mut self, process: ProcessId) -> bool {
        if self.procs[process.index()].is_live {
            return true;
        }
        let Some(older) = self.older(process) else { return false };
        let proc = &mut self.procs[process.index()];
        proc.is_live = true;
        let ends = Happening::EndsOlder { process: process.0, instance: proc.instance };
        let after = self.spec(older).handover.unwrap_or_default() / 2;
        self.push(self.now + after, ends);
        true
    }

    /// An epoch ends the older one: after its time, or because it is asked to end itself.
    fn end_older(&mut self, process: ProcessId) {
        let Some(older) = self.older(process) else { return };
        self.procs[process.index()].has_ended_older = true;
        if let Some(after) = self.unless_obeying(self.behaviour(older).ends_after_term) {
            self.die(older, after, 0, true);
        }
    }

    /// An epoch has ended. A newer one that has not ended it aborts, and an older one that has not
    /// been taken over from lets no other take over.
    fn epoch_ended(&mut self, process: ProcessId) {
        let ended = self.procs[process.index()];
        let older = self.older(process).filter(|_| !ended.is_live);
        if let Some(older) = older {
            self.procs[older.index()].was_failed_on = true;
        }
        let is_newer = |newer: &ProcessId| {
            let newer = self.procs[newer.index()];
            newer.older == Some((process, ended.instance)) && newer.alive
        };
        let newer = self.slots.all().find(is_newer);
        if let Some(newer) = newer.filter(|newer| !self.procs[newer.index()].has_ended_older) {
            self.die(newer, ABORTS_AFTER, 200 + 6, true);
        }
    }

    /// The process asks for more time.
    fn extend(&mut self, process: ProcessId) {
        let instance = self.procs[process.index()].instance;
        if let Some((after, _)) = self.behaviour(process).extends {
            self.push(self.now + after, Happening::Extends { process: process.0, instance });
        }
    }

    fn end_group(&mut self, process: ProcessId, after: Duration) {
        let instance = self.procs[process.index()].instance;
        self.push(self.now + after, Happening::GroupEnds { process: process.0, instance });
    }

    fn die(&mut self, process: ProcessId, after: Duration, end: u8, asked: bool) {
        let instance = self.procs[process.index()].instance;
        self.push(self.now + after, Happening::Dies { process: process.0, instance, end, asked });
    }
}

#[test]
fn safety_every_promise_holds_at_every_step() {
    if replay(Scenario::new) {
        return;
    }
    for seed in 0..runs() {
        run(&Scenario::new(seed));
    }
}

#[test]
fn liveness_without_further_faults_every_stop_ends_in_order_and_in_time() {
    if replay(Scenario::live) {
        return;
    }
    for seed in 0..runs() {
        run(&Scenario::live(seed));
    }
}

fn runs() -> u64 {
    std::env::var("DRAINIT_SIM_RUNS").ok().and_then(|runs| runs.parse().ok()).unwrap_or(100_000)
}

/// Replays `DRAINIT_SIM_SEED` if it is set, and prints its scenario and actions.
fn replay(scenario: impl Fn(u64) -> Scenario) -> bool {
    let Ok(seed) = std::env::var("DRAINIT_SIM_SEED") else { return false };
    let scenario = scenario(seed.parse().unwrap());
    eprintln!("{scenario:#?}");
    for (at, action) in run(&scenario) {
        eprintln!("{:>12.3} {action:?}", at.0.as_secs_f64() - 1000.0);
    }
    true
}

#[test]
fn the_same_events_give_the_same_actions() {
    for seed in 0..500 {
        assert_eq!(run(&Scenario::new(seed)), run(&Scenario::new(seed)), "seed {seed}");
    }
}
