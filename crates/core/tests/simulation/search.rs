//! Plays every order of events in small worlds: a breadth-first search over all possible events.
//!
//! A state consists of the core, the world around it and the history of the [`Checker`]. From each
//! state the search plays every event that is possible there: answers to actions, ends, signals,
//! requests, and the next timer. Every promise must hold at every step. From every state a stop
//! signal must lead to an exit, whether the processes obey or have to be killed.
//!
//! Two abstractions keep the search finite. Time passes only with timers: events between two timers
//! happen at the time of the first timer, in every order. Each kind of fault and request happens at
//! most as often as its [`Limits`] allow. Two states are the same if their `Debug` forms are equal
//! after every time in them was made relative to the present.

use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};
use std::fmt::Write;
use std::hash::{DefaultHasher, Hash, Hasher};

use crate::cases::{MS, drain_in, ended, exited, gateway, of_processes, service};
use crate::count::on_all_cores;
use crate::scenario::{Odds, Rng, StartOdds};
use crate::slots::Slots;
use crate::tests::number;
use crate::world::{ABORTS_AFTER, MARGIN, other_epoch};
use crate::*;

/// How often each kind of event may still happen in the world.
#[derive(Clone, Copy, Debug, Default)]
struct Limits {
    stop_signals: u8,
    /// Requests of an operator to start, stop or restart a process.
    requests: u8,
    drain_requests: u8,
    /// Faults: a process ends by itself, a start fails, or a hook fails.
    faults: u8,
    /// Processes that leave other members of their process group behind.
    rests: u8,
    /// Processes, or other members of their groups, that survive SIGKILL until the next timer.
    survivors: u8,
}

/// The features that the processes of a world can have: readiness probes, hooks, drains, policies
/// that restart a process after its end so that the container continues, new instances that start
/// before the old ones are stopped, and Envoys with `hot-restart`.
const FEATURES: [&str; 6] = ["probes", "hooks", "drains", "restarts", "overlaps", "epochs"];

#[derive(Clone, Debug)]
struct World<'a> {
    now: Time,
    machine: Machine,
    checker: Checker<'a>,
    slots: Slots,
    procs: Vec<Proc>,
    /// Answers that the supervisor owes the core. The core gets them before all other events.
    at_once: VecDeque<Answer>,
    hooks: BTreeSet<HookId>,
    asked: BTreeSet<(Asked, ProcessId)>,
    /// For each epoch whose older epoch has ended too early: when Envoy aborts it.
    aborts_at: BTreeMap<ProcessId, Time>,
    /// Processes that survive SIGKILL. They may end at any time, or never.
    survivors: BTreeSet<ProcessId>,
    left: Limits,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    Start,
    Spawn(ProcessId),
    Exit(ProcessId),
    Sweep,
}

/// Something that the core waits for, and that a process may still do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Asked {
    BeReady,
    /// The epoch answers the last probe, which comes when its time to become ready is over.
    BeLive,
    End,
    Drain,
    AnswerDrain,
    Close,
    Orphans,
}

/// A broken promise, and the events from the start to the breach.
#[derive(Debug)]
struct Breach {
    why: &'static str,
    path: Vec<Event>,
}

impl<'a> World<'a> {
    fn new(scenario: &'a Scenario, left: Limits) -> Self {
        let now = Time(Duration::from_secs(1000));
        Self {
            now,
            machine: Machine::new(Arc::clone(&scenario.spec), now),
            checker: Checker::new(scenario, now),
            slots: Slots::new(scenario),
            procs: vec![Proc::default(); scenario.spec.processes.len()],
            at_once: [Answer::Start].into(),
            hooks: BTreeSet::new(),
            asked: BTreeSet::new(),
            aborts_at: BTreeMap::new(),
            survivors: BTreeSet::new(),
            left,
        }
    }

    /// Everything that can happen now.
    fn possible(&self) -> Vec<Event> {
        let may_fail = self.left.faults > 0;
        match self.at_once.front() {
            Some(Answer::Start) => return vec![Event::Start],
            Some(Answer::Sweep) => return vec![Event::NothingLeft],
            // The process is exiting, or not. If it is, it may also hang there.
            Some(Answer::Exit(process)) => {
                return [(false, false), (false, true), (true, false)]
                    .map(|(exits, ignores)| Event::ExitSeen { process: *process, exits, ignores })
                    .into();
            }
            Some(Answer::Spawn(process)) if self.is_refused(*process) => {
                return vec![Event::SpawnFailed { process: *process, exit_code: 126 }];
            }
            Some(Answer::Spawn(process)) => {
                let failed = Event::SpawnFailed { process: *process, exit_code: 127 };
                let failed = may_fail.then_some(failed);
                return [Event::Spawned(*process)].into_iter().chain(failed).collect();
            }
            None => {}
        }
        let mut events = Vec::new();
        if self.left.stop_signals > 0 {
            events.push(Event::Signal(Signal::INT));
        }
        if self.left.drain_requests > 0 {
            events.push(Event::DrainRequested);
        }
        if self.left.requests > 0 {
            let processes = (0..self.slots.processes()).filter_map(|of| self.slots.current(of));
            for process in processes {
                let requests = [Request::Stop, Request::Start, Request::Restart].into_iter();
                events.extend(requests.map(|request| Event::Requested { process, request }));
            }
        }
        for slot in self.slots.all().filter(|slot| self.procs[slot.index()].alive) {
            let is_asked = self.may_end(slot);
            if is_asked || self.slots.of(slot).oneshot || may_fail {
                events.push(exited(slot));
            }
            if may_fail && !is_asked {
                events.push(ended(slot, End::Code(7)));
            }
            if self.left.rests > 0 && !self.slots.of(slot).oneshot && (is_asked || may_fail) {
                let end = End::Code(0);
                events.push(Event::Exited { process: slot, end, remains: true });
            }
        }
        let rests = self.slots.all().filter(|slot| self.procs[slot.index()].group);
        events.extend(rests.map(Event::GroupGone));
        for &hook in &self.hooks {
            events.push(Event::HookEnded { hook, success: true });
            if may_fail {
                events.push(Event::HookEnded { hook, success: false });
            }
        }
        for &(asked, process) in &self.asked {
            match asked {
                Asked::BeReady if !self.can_be_ready(process) => {}
                Asked::BeReady => events.push(Event::Ready(process)),
                Asked::BeLive => events.push(Event::NotLive(process)),
                Asked::End => {}
                Asked::AnswerDrain => {
                    events.push(Event::DrainAnswered { process, accepted: true });
                }
                Asked::Drain => events.extend([0, 1].map(|active| {
                    let load =
                        Load { active: Some(active), total: Some(active), ..Load::default() };
                    Event::DrainSample { process, load }
                })),
                Asked::Close => events.push(Event::ListenersClosed(process)),
                Asked::Orphans => events.push(Event::OrphansGone(process)),
            }
        }
        let mut must_end = self.slots.all().filter(|slot| self.must_end(*slot));
        let survive = usize::from(self.left.survivors);
        let may_pass =
            must_end.all(|slot| self.is_killed(slot)) && self.killed().count() <= survive;
        if self.next_time().is_some() && may_pass {
            events.push(Event::Tick);
        }
        events
    }

    /// Whether a process must end before the next timer: it got SIGKILL and is not among the
    /// survivors, or Envoy aborts it.
    fn must_end(&self, slot: ProcessId) -> bool {
        let aborts = self.aborts_at.get(&slot).is_some_and(|at| *at <= self.now);
        self.is_killed(slot) || self.procs[slot.index()].alive && aborts
    }

    /// Whether a process, or another member of its group, has got SIGKILL and still lives. It has to
    /// end before the next timer.
    fn is_killed(&self, slot: ProcessId) -> bool {
        let proc = &self.procs[slot.index()];
        (proc.alive || proc.group) && proc.killed && !self.survivors.contains(&slot)
    }

    fn killed(&self) -> impl Iterator<Item = ProcessId> {
        self.slots.all().filter(|slot| self.is_killed(*slot))
    }

    /// Whether a process may end now: drainit has asked it to end, a newer epoch ends it, or it
    /// must end before the next timer.
    fn may_end(&self, slot: ProcessId) -> bool {
        let newer = self.newer(slot).filter(|newer| self.ends_older_at(*newer) <= Some(self.now));
        let is_ended = newer.is_some_and(|newer| self.procs[newer.index()].is_live);
        is_ended || self.must_end(slot) || self.asked.contains(&(Asked::End, slot))
    }

    /// The time to which a tick advances the clock: the time of the core's next timer, or the time
    /// at which an epoch ends the older epoch or aborts.
    fn next_time(&self) -> Option<Time> {
        let ends = self.slots.all().filter_map(|slot| self.ends_older_at(slot));
        let own = ends.chain(self.aborts_at.values().copied()).filter(|at| *at > self.now);
        own.chain(self.machine.next_wakeup()).min()
    }

    /// The earliest time at which an epoch may end the older epoch beside which it was started.
    fn ends_older_at(&self, slot: ProcessId) -> Option<Time> {
        let proc = &self.procs[slot.index()];
        let ends_older_after = self.slots.of(slot).handover?.saturating_sub(MARGIN);
        proc.started.filter(|_| proc.alive && proc.older.is_some()).map(|at| at + ends_older_after)
    }

    /// The living epoch that was started beside this epoch.
    fn newer(&self, slot: ProcessId) -> Option<ProcessId> {
        let is_newer = |newer: &ProcessId| {
            let newer = &self.procs[newer.index()];
            newer.alive && newer.older.is_some_and(|(older, _)| older == slot)
        };
        self.slots.all().find(is_newer)
    }

    /// Whether a process can become ready. A new epoch needs the answer of the older epoch.
    fn can_be_ready(&self, slot: ProcessId) -> bool {
        let proc = &self.procs[slot.index()];
        let answers = |(older, _): (ProcessId, u32)| !self.procs[older.index()].killed;
        proc.is_live || !proc.killed && proc.older.is_some_and(answers)
    }

    /// The other living epoch of the process.
    fn other_epoch(&self, slot: ProcessId) -> Option<ProcessId> {
        other_epoch(&self.slots, &self.procs, slot)
    }

    /// Whether a start fails: after one new epoch has failed, the living epoch lets no other epoch
    /// take over.
    fn is_refused(&self, slot: ProcessId) -> bool {
        self.other_epoch(slot).is_some_and(|other| self.procs[other.index()].newer_failed)
    }

    /// Starts a process. If another epoch of the process runs, the new epoch starts beside that
    /// epoch.
    fn starts(&mut self, slot: ProcessId) {
        let older = self.other_epoch(slot);
        let is_epoch = self.slots.of(slot).update == Update::HotRestart;
        let proc = &mut self.procs[slot.index()];
        *proc = Proc::default();
        (proc.alive, proc.is_epoch, proc.is_live) = (true, is_epoch, older.is_none());
        proc.older = older.map(|older| (older, 0));
        proc.started = is_epoch.then_some(self.now);
    }

    /// Ends a process. A newer epoch aborts if it did not end this epoch itself. If this epoch had
    /// not taken over, the older epoch lets no other epoch take over.
    fn ends(&mut self, slot: ProcessId) {
        let newer = self.newer(slot);
        self.procs[slot.index()].alive = false;
        let ended = self.procs[slot.index()];
        self.aborts_at.remove(&slot);
        if let Some((older, _)) = ended.older.filter(|_| !ended.is_live) {
            self.procs[older.index()].newer_failed = true;
        }
        let Some(newer) = newer else { return };
        let at = self.ends_older_at(newer);
        let proc = &mut self.procs[newer.index()];
        proc.older = None;
        let is_ended = proc.has_ended_older || proc.is_live && at <= Some(self.now);
        if !is_ended {
            proc.aborts = proc.is_live || !ended.killed;
            self.aborts_at.insert(newer, self.now + ABORTS_AFTER);
        }
    }

    /// From now on, the core waits for this.
    fn asks(&mut self, what: Asked, process: ProcessId) {
        self.asked.insert((what, process));
    }

    fn answers(&mut self, what: Asked, process: ProcessId) {
        self.asked.remove(&(what, process));
    }

    /// Plays one event. A tick moves the time to the next timer.
    fn step(&mut self, event: Event) {
        self.at_once.pop_front();
        match event {
            Event::Tick => {
                let survive: Vec<_> = self.killed().collect();
                self.left.survivors -= survive.len() as u8;
                self.survivors.extend(survive);
                self.now = self.next_time().unwrap();
            }
            Event::Signal(_) => self.left.stop_signals -= 1,
            Event::DrainRequested => self.left.drain_requests -= 1,
            Event::Requested { .. } => self.left.requests -= 1,
            Event::Spawned(process) => {
                self.starts(process);
                if self.slots.of(process).readiness_timeout.is_some() {
                    self.asks(Asked::BeReady, process);
                }
            }
            Event::SpawnFailed { process, .. } => {
                self.left.faults -= u8::from(!self.is_refused(process));
            }
            Event::Exited { process, end, remains } => {
                let is_asked = self.may_end(process);
                self.survivors.remove(&process);
                self.ends(process);
                self.procs[process.index()].group = remains;
                self.left.rests -= u8::from(remains);
                let is_complete = self.slots.of(process).oneshot && end == End::Code(0);
                self.left.faults -= u8::from(!is_asked && !is_complete);
                self.asked.retain(|(_, of)| *of != process);
            }
            Event::HookEnded { hook, success } => {
                self.hooks.remove(&hook);
                self.left.faults -= u8::from(!success);
            }
            Event::GroupGone(process) => {
                self.survivors.remove(&process);
                let proc = &mut self.procs[process.index()];
                (proc.group, proc.killed) = (false, false);
                self.answers(Asked::Orphans, process);
            }
            Event::OrphansGone(process) => self.answers(Asked::Orphans, process),
            Event::Ready(process) => {
                self.procs[process.index()].is_live = true;
                self.answers(Asked::BeReady, process);
                self.answers(Asked::BeLive, process);
            }
            Event::NotLive(process) => self.answers(Asked::BeLive, process),
            Event::ExitSeen { process, exits, .. } => self.procs[process.index()].exits = exits,
            Event::DrainAnswered { process, .. } => self.answers(Asked::AnswerDrain, process),
            Event::ListenersClosed(process) => self.answers(Asked::Close, process),
            _ => {}
        }
        self.checker.event(self.now, event);
        for action in self.machine.handle(self.now, event) {
            if let Action::Adopt { slot, of, is_newer } = action {
                self.slots.adopt(slot, of, is_newer);
                self.procs.resize(self.slots.count(), Proc::default());
                self.procs[slot.index()] = Proc::default();
            }
            self.checker.action(self.now, &action, &self.procs);
            if self.checker.broken().is_some() {
                return;
            }
            self.carry_out(&action);
        }
        self.checker.step_over(&self.machine, &self.procs);
        self.machine.begin_step(self.now);
    }

    fn carry_out(&mut self, action: &Action) {
        match *action {
            Action::Spawn(process) => self.at_once.push_back(Answer::Spawn(process)),
            Action::Sweep(_) => self.at_once.push_back(Answer::Sweep),
            Action::LookForExit(process) => self.at_once.push_back(Answer::Exit(process)),
            Action::ProbeOnce(process) => self.asks(Asked::BeLive, process),
            Action::Stop { process, signal } if signal != Signal::KILL => {
                if self.procs[process.index()].aborts {
                    return;
                }
                self.asks(Asked::End, process);
                if let Some((older, _)) = self.procs[process.index()].older {
                    self.procs[process.index()].has_ended_older = true;
                    self.procs[older.index()].is_passed = true;
                    self.asks(Asked::End, older);
                }
            }
            Action::StopOrphans { process, .. } => self.asks(Asked::Orphans, process),
            Action::Kill(process) if self.procs[process.index()].group => {
                self.procs[process.index()].killed = true;
            }
            Action::Stop { process, .. } | Action::Kill(process) => {
                self.procs[process.index()].killed = true;
                self.asks(Asked::End, process);
            }
            Action::RunHook(hook) => {
                self.hooks.insert(hook);
            }
            Action::AbortHook(hook) => {
                self.hooks.remove(&hook);
            }
            Action::Drain { process, .. } => {
                let answers = [Asked::Drain, Asked::AnswerDrain];
                self.asked.extend(answers.map(|asked| (asked, process)));
            }
            Action::EndDrain(process) => self.asked.retain(|(asked, of)| {
                let is_over = matches!(asked, Asked::Drain | Asked::AnswerDrain | Asked::Close);
                !is_over || *of != process
            }),
            Action::CloseListeners(process) => self.asks(Asked::Close, process),
            Action::Note(Note::TakesOver { process, .. })
            | Action::Note(Note::Replacing { process, overlaps: false, .. }) => {
                self.slots.take_over(process);
            }
            _ => {}
        }
    }

    /// Whether a shutdown has begun. A drain without a stop is not a shutdown.
    fn has_been_asked(&self) -> bool {
        let shutdown = self.machine.shutdown();
        shutdown.is_some_and(|shutdown| shutdown.cause != Cause::DrainRequested)
    }

    fn is_over(&self) -> bool {
        self.checker.exit().is_some()
    }

    /// Plays a stop signal, and then only events that must happen. If `obeys` is true, processes
    /// end when they are asked to; otherwise only SIGKILL ends them. Returns the first breach as an
    /// error.
    fn stops(mut self, obeys: bool) -> Result<(), Breach> {
        let mut path = Vec::new();
        self.left = Limits { stop_signals: 1, ..Limits::default() };
        let mut is_asked = self.has_been_asked();
        for _ in 0..200 {
            let possible = self.possible();
            let answer = !self.at_once.is_empty();
            let end = |event: &Event| match event {
                Event::Exited { process, .. } | Event::GroupGone(process) => {
                    obeys || self.must_end(*process)
                }
                Event::HookEnded { .. } | Event::DrainAnswered { .. } => obeys,
                _ => false,
            };
            let next = match possible.iter().find(|event| answer || is_asked && end(event)) {
                Some(event) => *event,
                None if !is_asked => {
                    is_asked = true;
                    Event::Signal(Signal::TERM)
                }
                None if possible.contains(&Event::Tick) => Event::Tick,
                None => {
                    return Err(Breach {
                        why: "nothing is left that can happen after a stop signal",
                        path,
                    });
                }
            };
            path.push(next);
            self.step(next);
            if let Some(why) = self.checker.broken() {
                return Err(Breach { why, path });
            }
            if self.is_over() {
                return Ok(());
            }
        }
        Err(Breach { why: "a stop does not end", path })
    }

    /// A hash of the state. Two states have the same hash if they differ only in the time at which
    /// they are reached.
    fn digest(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        relative(&format!("{self:?}"), self.now).hash(&mut hasher);
        hasher.finish()
    }
}

/// Replaces every time in a text with its distance from the present: `Time(1003s)` at 1000 s
/// becomes `+3000`.
fn relative(text: &str, now: Time) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("Time(") {
        let (time, after) = after.split_once("s)").unwrap();
        out.push_str(before);
        match time.parse::<f64>() {
            // A time of a day or more means never. Below a day, an `f64` is exact to the
            // millisecond.
            Ok(time) if time < 86_400.0 => {
                let millis = (time - now.0.as_secs_f64()) * 1000.0;
                write!(out, "{:+}", millis.round()).unwrap();
            }
            _ => out.push_str("never"),
        }
        rest = after;
    }
    out.push_str(rest);
    out
}

/// Searches the states of one graph, and returns the number of states that it has visited.
fn search(scenario: &Scenario, left: Limits, most: usize) -> Result<usize, Breach> {
    let first = World::new(scenario, left);
    let mut known = HashSet::from([first.digest()]);
    let mut reached_by: Vec<(usize, Option<Event>)> = vec![(0, None)];
    let mut next = VecDeque::from([(0, first)]);
    let breach = |last: Breach, mut place: usize, reached_by: &[(usize, Option<Event>)]| {
        let mut path = VecDeque::from(last.path);
        while let (before, Some(event)) = reached_by[place] {
            path.push_front(event);
            place = before;
        }
        Breach { why: last.why, path: path.into() }
    };
    while let Some((place, world)) = next.pop_front() {
        for obeys in [true, false] {
            if let Err(last) = world.clone().stops(obeys) {
                return Err(breach(last, place, &reached_by));
            }
        }
        for event in world.possible() {
            let mut after = world.clone();
            after.step(event);
            if let Some(why) = after.checker.broken() {
                return Err(breach(Breach { why, path: vec![event] }, place, &reached_by));
            }
            if !after.is_over() && known.len() < most && known.insert(after.digest()) {
                reached_by.push((place, Some(event)));
                next.push_back((reached_by.len() - 1, after));
            }
        }
    }
    Ok(known.len())
}

/// All graphs of `count` processes. Each process may depend on each earlier process, under any
/// condition.
fn graphs(count: usize) -> impl Iterator<Item = Vec<(usize, usize, StartCondition)>> {
    let pairs: Vec<_> = (0..count).flat_map(|by| (0..by).map(move |on| (by, on))).collect();
    (0..4_usize.pow(pairs.len() as u32)).map(move |code| {
        let edge = |(place, &(by, on)): (usize, &(usize, usize))| {
            let condition = match code >> (2 * place) & 3 {
                0 => return None,
                1 => StartCondition::Started,
                2 => StartCondition::Ready,
                _ => StartCondition::Completed,
            };
            Some((by, on, condition))
        };
        pairs.iter().enumerate().filter_map(edge).collect()
    })
}

/// The config of a graph. A process whose dependents wait for `completed` is a oneshot; all others
/// are services.
fn spec(count: usize, edges: &[(usize, usize, StartCondition)], features: &[&str]) -> Spec {
    let has = |feature| features.contains(&feature);
    let second = HookWait::new(Some(MS(1000)));
    let drain = DrainSpec { time: Some(MS(4000)), min: MS(1000), ..*drain_in(&mut gateway()) };
    let mut process = service();
    process.stop = Some(second.limit);
    if has("hooks") {
        process.hooks =
            HookWaits { pre_start: Some(second), pre_stop: Some(second), post_stop: Some(second) };
    }
    if has("restarts") {
        process.restart = Restart { policy: RestartPolicy::Always, delay: MS(500), max: Some(1) };
        process.on_exit = OnExit::IGNORE;
    }
    if has("overlaps") {
        process.update = Update::StartFirst;
    }
    if has("epochs") {
        process.update = Update::HotRestart;
        process.handover = Some(MARGIN + Duration::from_secs(3));
    }
    let mut spec = of_processes(vec![process; count]);
    for &(by, on, condition) in edges {
        spec.processes[by].dependencies.push((ProcessId(on as u16), condition));
        spec.processes[on].oneshot |= condition == StartCondition::Completed;
    }
    for process in spec.processes.iter_mut().filter(|process| !process.oneshot) {
        process.readiness_timeout = has("probes").then_some(Duration::from_secs(2));
        process.drain = has("drains").then_some(drain);
    }
    spec.link();
    spec
}

/// A scenario without faults, because the search itself plays the faults. `survive` says whether
/// processes can survive SIGKILL.
fn scenario(spec: Spec, survive: bool) -> Scenario {
    let rng = &mut Rng::new(0);
    let odds = Odds::new(rng);
    let mut scenario = Scenario::around(0, Arc::new(spec), rng, &odds);
    scenario.pauses.clear();
    scenario.starts = StartOdds::NONE;
    for behaviour in scenario.behaviours.iter_mut().chain(&mut scenario.variants) {
        behaviour.condition = true;
        behaviour.ends_after_kill = (!survive).then_some(Duration::ZERO);
    }
    scenario
}

/// Searches all graphs of a world. `most` limits the number of visited states of all graphs
/// together, but each graph gets at least 30 states.
fn search_world((line, count, features, left): &WorldLine<'_>, most: usize) {
    let of_each = (most / 4_usize.pow((count * (count - 1) / 2) as u32)).max(30);
    let (mut states, mut is_whole) = (0, true);
    for edges in graphs(*count) {
        let scenario = scenario(spec(*count, &edges, features), left.survivors > 0);
        match search(&scenario, *left, of_each) {
            Ok(found) => {
                assert!(found >= 30, "{line}: {edges:?} has only {found} states");
                states += found;
                is_whole &= found < of_each;
            }
            Err(Breach { why, path }) => panic!("{why}: {edges:?}, {line}, after {path:?}"),
        }
    }
    eprintln!("{line}: {states} states, all: {is_whole}");
}

const LEFT: Limits =
    Limits { stop_signals: 1, requests: 0, drain_requests: 0, faults: 1, rests: 0, survivors: 0 };

/// The worlds of `make search`, one on each line: the number of processes, their features, and the
/// limits that differ from [`LEFT`].
const WORLDS: &str = "
1 probes restarts hooks requests=2 faults=2 rests=2
1 probes drains overlaps requests=1 rests=2
1 hooks drains stop_signals=3 requests=1
1 probes restarts requests=1 faults=2
1 probes drains overlaps requests=1
1 epochs probes drains restarts requests=2 faults=2
1 epochs probes hooks restarts requests=1 faults=2
1 epochs probes requests=3 faults=2
1 probes hooks drains restarts overlaps requests=1
2 epochs probes requests=1
2 stop_signals=3 requests=1 drain_requests=1 faults=2
2 stop_signals=2 requests=1 drain_requests=1 rests=1
2 restarts requests=1 rests=1
2 overlaps requests=1 rests=1
2 probes stop_signals=2 requests=1
2 hooks stop_signals=2 requests=1
2 drains requests=1
2 drains stop_signals=2 drain_requests=1
2 restarts requests=1 faults=2
2 overlaps probes requests=1
2 overlaps drains requests=1 faults=0
3 stop_signals=2
3 requests=1 faults=0
3 requests=1 drain_requests=1
3 overlaps probes requests=1 faults=0
3 probes
3 hooks
3 hooks requests=1 faults=0
3 drains
3 epochs probes requests=1 faults=0
3 restarts
3 overlaps requests=1
1 probes restarts hooks requests=2 rests=1 survivors=1
1 epochs probes restarts requests=2 survivors=1
2 restarts requests=2 survivors=1
2 overlaps requests=1 survivors=1
3 probes requests=1 faults=0 survivors=1
2 epochs probes requests=2 survivors=1
2 restarts requests=1 rests=1 survivors=2
2 hooks requests=1 survivors=1
3 restarts requests=1 survivors=1
";

/// Worlds that are too large for a complete search.
const LARGE_WORLDS: &str = "
2 hooks drains overlaps requests=1 faults=0
2 epochs probes hooks drains requests=1 faults=0
3 drains requests=1 faults=0
3 drains drain_requests=1 faults=0
3 hooks drains faults=0
3 drains overlaps requests=1 faults=0
3 hooks drains overlaps requests=1 faults=0
";

/// A world: its line, the number of its processes, their features, and its limits.
type WorldLine<'a> = (&'a str, usize, Vec<&'a str>, Limits);

fn worlds(lines: &str) -> Vec<WorldLine<'_>> {
    let world = |line| {
        let mut words = str::split_whitespace(line);
        let (count, mut left) = (words.next().unwrap().parse().unwrap(), LEFT);
        let (limits, features): (Vec<_>, Vec<_>) = words.partition(|word| word.contains('='));
        assert!(features.iter().all(|feature| FEATURES.contains(feature)), "{line}");
        for (name, number) in limits.iter().filter_map(|limit| limit.split_once('=')) {
            let limit = match name {
                "stop_signals" => &mut left.stop_signals,
                "requests" => &mut left.requests,
                "drain_requests" => &mut left.drain_requests,
                "faults" => &mut left.faults,
                "rests" => &mut left.rests,
                "survivors" => &mut left.survivors,
                _ => panic!("no limit {name}"),
            };
            *limit = number.parse().unwrap();
        }
        (line, count, features, left)
    };
    lines.trim().lines().map(world).collect()
}

/// The search of a large world visits at most this many states.
const MOST_OF_LARGE: usize = 2_000_000;

#[test]
fn no_interleaving_of_a_small_world_breaks_a_promise() {
    // This test visits only states that are a few events away from the start. `make search` visits
    // more.
    let most = number("DRAINIT_SEARCH_STATES").unwrap_or(600) as usize;
    on_all_cores(&worlds(WORLDS), |world| search_world(world, most));
    on_all_cores(&worlds(LARGE_WORLDS), |world| search_world(world, most.min(MOST_OF_LARGE)));
}
