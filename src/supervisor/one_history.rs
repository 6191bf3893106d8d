//! Plays random histories with the core, and tells each of them in every way that drainit has: the
//! status, its table, the metrics, the events of the log, and the report. All of them must say what
//! an independent record of the history says.
//!
//! A test that fails prints the seed. `DRAINIT_HISTORY_SEED=42` plays seed 42 alone.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;
use std::rc::Rc;
use std::time::Duration;

use serde_json::{Value, json};

use crate::cli::status::table;
use crate::control::metrics::render;
use crate::core::action::Action;
use crate::core::event::{Event, Load, Request, Unit};
use crate::core::machine::Machine;
use crate::core::note::{AfterEnd, DrainEnd, Note};
use crate::core::phase::Phase;
use crate::core::spec::{HookId, Source, Stage};
use crate::core::state::{Lifecycle, Role};
use crate::core::traffic::{Moment, Traffic};
use crate::journal::data::ShutdownReport;
use crate::journal::entry::Level;
use crate::journal::state::{ContainerPhase, ProcessState};
use crate::load::testing::load;
use crate::supervisor::slots::Definition;
use crate::supervisor::status::StatusBoard;
use crate::testing::random::Random;
use crate::types::{End, EndKind, ProcessId, Signal, Time, human, seconds as in_seconds};

const HISTORIES: u64 = 300;
/// After this many steps the container is stopped.
const STEPS: u64 = 120;
const GRACE_PERIOD: Duration = Duration::from_secs(40);
/// No history has more steps.
const MOST_STEPS: u64 = 5000;

/// The record of a slot.
#[derive(Clone, Debug, Default)]
struct Slot {
    name: String,
    pid: Option<i32>,
    last_pid: Option<i32>,
    /// The state of an instance that runs.
    state: Option<ProcessState>,
    /// The last state that the status has shown, and the time at which this state began.
    shown: Option<(ProcessState, Time)>,
    spawned: Time,
    first_start: Option<Time>,
    first_ready: Option<Time>,
    /// Whether drainit has sent SIGKILL to the instance.
    killed: bool,
    asked: Option<(Time, Signal)>,
    is_given_up: bool,
    /// Whether only SIGKILL ends the instance, once it was asked to end.
    is_deaf: bool,
    last_end: Option<End>,
    /// The end of the last instance, until the next one starts.
    end: Option<(Time, End)>,
    killed_in_shutdown: bool,
    /// The last note about the end of an instance.
    verdict: Option<Note>,
    warnings: Option<Rc<[String]>>,
    drain: Option<DrainRecord>,
}

/// The record of a process, over all of its instances.
#[derive(Clone, Debug, Default)]
struct Counts {
    restarts: u32,
    ends: [u64; 5],
    last_code: Option<u8>,
    drains: [u64; DrainEnd::ALL.len()],
    start: Option<Duration>,
    readiness_failures: Option<u64>,
    liveness_failures: u64,
    /// The slot of the last drain, unless the process has started again since.
    drained: Option<ProcessId>,
    /// The time at which the drain of each slot is over at the latest.
    drained_by: BTreeMap<ProcessId, Time>,
}

#[derive(Clone, Debug, Default)]
struct DrainRecord {
    began: Time,
    over: Option<(Time, DrainEnd)>,
    connections: Option<u64>,
    requests: Option<u64>,
    first: Option<Traffic>,
    last: Option<Traffic>,
    /// Whether the drain was over before a drain without a stop was requested.
    is_past: bool,
}

/// The history as an observer outside drainit would write it down.
#[derive(Default)]
struct Record {
    slots: BTreeMap<ProcessId, Slot>,
    of: BTreeMap<String, Counts>,
    current: BTreeMap<String, ProcessId>,
    began: Time,
    all_ready: Option<Time>,
    /// T0, the deadline, the cause and whether it is a drain without a stop.
    shutdown: Option<(Time, Time, String, bool)>,
    /// The begin of the grace period that the shutdown, or the drain without a stop, has.
    elapsed_from: Option<Time>,
    phases: Vec<(ContainerPhase, Duration)>,
    phase_since: (Option<ContainerPhase>, Time),
    orphans: u64,
    /// The ends that no event of the log has reported.
    unreported: Vec<(ProcessId, Option<i32>, u8, &'static str)>,
    /// The process whose start has failed in this step, and the exit code.
    failed_start: Option<(ProcessId, u8)>,
}

impl Record {
    fn counts(&mut self, slot: ProcessId) -> &mut Counts {
        let name = self.slots[&slot].name.clone();
        self.of.entry(name).or_default()
    }

    /// The last drain of a process.
    fn drain(&self, name: &str) -> Option<&DrainRecord> {
        self.slots[&self.of[name].drained?].drain.as_ref()
    }

    fn slot(&mut self, slot: ProcessId) -> &mut Slot {
        self.slots.get_mut(&slot).unwrap()
    }
}

/// A history that is being played.
struct Play {
    random: Random,
    board: Rc<StatusBoard>,
    now: Time,
    record: Record,
    next_pid: i32,
    /// The connections that the Envoys have accepted.
    served: u64,
    spawning: Vec<ProcessId>,
    hooks: Vec<HookId>,
    checks: Vec<(ProcessId, u32)>,
    /// The drains that run, and whether an Envoy has answered.
    drains: BTreeMap<ProcessId, bool>,
    closing: Vec<ProcessId>,
    groups: Vec<ProcessId>,
    sweeping: Option<bool>,
    at_once: VecDeque<Event>,
    exit: Option<u8>,
    /// The steps so far, for the message of a test that fails.
    story: String,
}

/// Draws a config with up to four processes of every kind.
fn config(random: &mut Random) -> String {
    let mut text = "shutdown: {grace_period: 40s}\nprocesses:\n".to_owned();
    for number in 0..1 + random.below(4) {
        let mut keys = vec!["command: [x]".to_owned()];
        let is_oneshot = random.one_in(5);
        if is_oneshot {
            keys.push("type: oneshot".to_owned());
        } else {
            if random.one_in(2) {
                keys.push("readiness: {tcp: '127.0.0.1:1', timeout: 5s}".to_owned());
            }
            if random.one_in(3) {
                keys.push("liveness: {tcp: '127.0.0.1:1', retries: 2}".to_owned());
            }
            let drains = [
                "",
                "drain: {exec: {command: [d], time: 6s}}",
                "drain: {envoy: {admin: 'unix:/run/admin', time: 6s, min: 1s}}",
                "drain: {envoy: {admin: 'unix:/run/admin', time: 6s, min: 1s, until: requests}}",
            ];
            keys.extend([drains[random.below(4) as usize]].map(str::to_owned));
            if random.one_in(2) {
                keys.push("update: start-first".to_owned());
            }
        }
        let restarts = ["", "restart: on-failure", "restart: always", "restart: always"];
        let restart = restarts[random.below(if is_oneshot { 2 } else { 4 }) as usize];
        keys.push(restart.to_owned());
        if !restart.is_empty() && random.one_in(2) {
            keys.push("restart_max: 1".to_owned());
        }
        keys.push(["", "on_exit: ignore", "on_exit: ignore"][random.below(3) as usize].to_owned());
        keys.push(["", "required: false"][random.below(2) as usize].to_owned());
        keys.push(["", "only_if: {path_exists: /x}"][usize::from(random.one_in(8))].to_owned());
        if random.one_in(4) {
            keys.push("hooks: {pre_stop: [h], post_stop: [h]}".to_owned());
        }
        if number > 0 {
            keys.push(["depends_on: []", "depends_on: [p0]"][random.below(2) as usize].to_owned());
        }
        keys.retain(|key| !key.is_empty());
        let _ = writeln!(text, "  p{number}: {{{}}}", keys.join(", "));
    }
    text
}

impl Play {
    fn new(seed: u64) -> Self {
        let mut random = Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
        for _ in 0..4 {
            random.below(2);
        }
        // Some of the configs have errors.
        let (text, loaded) = std::iter::repeat_with(|| config(&mut random))
            .find_map(|text| load(&[&text], &[]).ok().map(|loaded| (text, loaded)))
            .unwrap();
        let now = Time(Duration::from_secs(1000));
        let spec = Rc::new(loaded.config.spec(&loaded.graph));
        let count = loaded.config.processes.len();
        let definitions =
            Definition::of(&loaded.config, vec![Vec::new(); count], vec![Vec::new(); count]);
        let mut record = Record { began: now, phase_since: (None, now), ..Record::default() };
        for (slot, process) in (0..).map(ProcessId).zip(&loaded.config.processes) {
            let name = process.name.clone();
            record.current.insert(name.clone(), slot);
            record.of.insert(name.clone(), Counts::default());
            record.slots.insert(slot, Slot { name, ..Slot::default() });
        }
        let board = StatusBoard::new(definitions, Machine::new(spec, now));
        Self {
            random,
            board,
            now,
            record,
            next_pid: 100,
            served: 0,
            spawning: Vec::new(),
            hooks: Vec::new(),
            checks: Vec::new(),
            drains: BTreeMap::new(),
            closing: Vec::new(),
            groups: Vec::new(),
            sweeping: None,
            at_once: VecDeque::new(),
            exit: None,
            story: text,
        }
    }

    fn run(&mut self) {
        self.step(Event::Start);
        let mut steps = 0;
        while self.exit.is_none() {
            steps += 1;
            assert!(steps < MOST_STEPS, "the history does not end");
            let event = self.next(steps);
            self.step(event);
        }
        self.check_report();
    }

    /// Draws the next event, and the time at which it happens.
    fn next(&mut self, steps: u64) -> Event {
        let due = self.board.machine.borrow().next_wakeup();
        let pause = [0, 5, 300, 4000][self.random.below(4) as usize];
        let at = self.now + self.random.millis(1 + pause);
        let mut events = self.events();
        if steps == STEPS {
            events = vec![Event::Signal(Signal::TERM)];
        }
        match due {
            Some(due) if due <= at || events.is_empty() => {
                self.now = self.now.max(due);
                Event::Tick
            }
            _ => {
                self.now = at;
                let place = self.random.below(events.len() as u64) as usize;
                if events.is_empty() { Event::Signal(Signal::TERM) } else { events[place] }
            }
        }
    }

    /// All events that can come now. Those that come more often are listed more often.
    fn events(&mut self) -> Vec<Event> {
        let mut events = Vec::new();
        let machine = self.board.machine.borrow();
        let state = machine.state();
        let random = &mut self.random;
        for &process in &self.spawning {
            events.extend([Event::Spawned(process); 5]);
            if random.one_in(4) {
                events.push(Event::SpawnFailed { process, exit_code: 127 });
            }
        }
        for (&process, slot) in &self.record.slots {
            if slot.pid.is_none() {
                continue;
            }
            let life = state.life(process);
            let spec = state.process(process);
            let is_deaf = !slot.killed && slot.asked.is_some() && slot.is_deaf;
            let weight = match (slot.killed, slot.asked.is_some(), spec.oneshot) {
                (true, ..) => 5,
                (_, true, _) => 3,
                (.., true) => 2,
                _ => u64::from(random.one_in(8)),
            };
            for _ in 0..if is_deaf { 0 } else { weight } {
                let end = match random.below(5) {
                    _ if slot.killed => End::Signal(Signal::KILL),
                    0 => End::Code(7),
                    1 => End::Signal(Signal::TERM),
                    2 if random.one_in(3) => End::OutOfMemory(Duration::from_secs(1)),
                    _ => End::Code(0),
                };
                let remains = random.one_in(6) && !state.completes(process, end);
                events.push(Event::Exited { process, end, remains });
            }
            if random.one_in(20) {
                let by = random.millis(9000);
                events.push(Event::TimeoutExtended { process, by });
            }
            // The shutdown has ended the probes.
            if self.record.shutdown.is_some() {
                continue;
            }
            if matches!(life, Lifecycle::Starting { .. }) && spec.readiness_timeout.is_some() {
                events.extend([Event::Ready(process); 4]);
            }
            let is_current = state.role(process) == Role::Current;
            let is_ready = slot.state == Some(ProcessState::Ready) && is_current;
            if is_ready && spec.liveness_retries.is_some() {
                let is_alive = random.one_in(2);
                events.push(Event::LivenessProbed { process, is_alive });
            }
        }
        for (&process, &answered) in &self.drains {
            let counts = state.process(process).drain.is_some_and(|drain| drain.closes);
            let unit = if random.one_in(2) { Unit::Connections } else { Unit::Requests };
            let load = Load { unit, active: Some(random.below(4)), total: Some(9) };
            events.extend(match (counts, answered) {
                (true, true) => [Event::DrainSample { process, load }; 3],
                (true, false) => [Event::DrainAnswered { process, accepted: !random.one_in(4) }; 3],
                (false, _) if random.one_in(4) => {
                    [Event::DrainAnswered { process, accepted: false }; 3]
                }
                (false, _) => [Event::Drained(process); 3],
            });
        }
        events.extend(self.closing.iter().map(|process| Event::ListenersClosed(*process)));
        events.extend(self.groups.iter().map(|process| Event::GroupGone(*process)));
        for &hook in &self.hooks {
            events.extend([Event::HookEnded { hook, success: !random.one_in(5) }; 2]);
        }
        for &(process, check) in &self.checks {
            events.push(Event::Condition { process, check, holds: random.one_in(2) });
        }
        events.extend(
            self.sweeping.map(|swept| if swept { Event::NothingLeft } else { Event::Swept(0) }),
        );
        if random.one_in(4) {
            let current: Vec<_> = self.record.current.values().copied().collect();
            let process = current[random.below(current.len() as u64) as usize];
            let request = [Request::Restart, Request::Restart, Request::Stop, Request::Start];
            let request = request[random.below(4) as usize];
            if machine.may_request(process, request).is_ok() {
                events.extend([Event::Requested { process, request }; 3]);
            }
        }
        if random.one_in(60) {
            events.push(Event::Signal(Signal::TERM));
        }
        if random.one_in(100)
            && !matches!(machine.phase(), Phase::Stopping(_) | Phase::Finishing(_))
        {
            events.push(Event::DrainRequested);
        }
        events
    }

    /// Handles one event as the event loop does, and the events that follow at once.
    fn step(&mut self, event: Event) {
        self.at_once.push_back(event);
        while let Some(event) = self.at_once.pop_front() {
            let _ = writeln!(self.story, "{:?} {event:?}", self.now.0);
            self.happens(event);
            let mut machine = self.board.machine.borrow_mut();
            let is_due = machine.next_wakeup().is_some_and(|due| due <= self.now);
            let actions = match is_due && event != Event::Tick {
                true => machine.handle_early(self.now, event),
                false => machine.handle(self.now, event),
            };
            drop(machine);
            self.board.journal.borrow_mut().event(
                self.now,
                event,
                self.board.machine.borrow().phase(),
            );
            for action in actions {
                let _ = writeln!(self.story, "    {action:?}");
                self.board.journal.borrow_mut().action(self.now, &action);
                self.carry_out(action);
            }
            self.board.update(self.now, &self.board.machine.borrow());
        }
        self.check();
    }

    /// Tells the journal what the executor would tell it, and the record what has happened.
    fn happens(&mut self, event: Event) {
        let now = self.now;
        let board = Rc::clone(&self.board);
        let mut journal = board.journal.borrow_mut();
        let record = &mut self.record;
        record.failed_start = None;
        match event {
            Event::Spawned(process) => {
                self.next_pid += 1;
                self.spawning.retain(|one| *one != process);
                journal.spawned(process, self.next_pid, None);
                let has_shutdown = record.shutdown.is_some();
                let slot = record.slot(process);
                (slot.pid, slot.last_pid) = (Some(self.next_pid), Some(self.next_pid));
                (slot.spawned, slot.killed, slot.asked) = (now, false, None);
                slot.is_deaf = self.random.one_in(4);
                (slot.end, slot.verdict, slot.warnings) = (None, None, None);
                slot.first_start.get_or_insert(now);
                let spec = self.board.machine.borrow().state().process(process).clone();
                let is_ready = spec.readiness_timeout.is_none() && !spec.oneshot;
                // A start that could not be given up in time does not become ready.
                let serves = is_ready && !has_shutdown && !std::mem::take(&mut slot.is_given_up);
                slot.state =
                    Some(if serves { ProcessState::Ready } else { ProcessState::Starting });
                if is_ready {
                    slot.first_ready.get_or_insert(now);
                }
                if spec.readiness_timeout.is_some() {
                    let failed = self.random.below(3);
                    let counter = journal.readiness_failures(process);
                    counter.set(counter.get() + failed);
                    let counts = record.counts(process);
                    counts.readiness_failures =
                        Some(counts.readiness_failures.unwrap_or(0) + failed);
                }
                let counts = record.counts(process);
                (counts.start, counts.drained) = (None, None);
            }
            Event::SpawnFailed { process, exit_code } => {
                record.failed_start = Some((process, exit_code));
                self.spawning.retain(|one| *one != process);
                journal.of_mut(process).message = Some("no such file".to_owned());
                record.slot(process).last_pid = None;
            }
            Event::Ready(process) => {
                let slot = record.slot(process);
                slot.state = Some(ProcessState::Ready);
                if self.random.one_in(2) {
                    let warnings: Rc<[String]> = vec!["it cannot be drained".to_owned()].into();
                    journal.of_mut(process).drain_warnings = Some(Rc::clone(&warnings));
                    record.slot(process).warnings = Some(warnings);
                }
            }
            Event::Exited { process, end, remains } => {
                journal.reaped(process);
                self.drains.remove(&process);
                self.closing.retain(|one| *one != process);
                self.groups.extend(remains.then_some(process));
                let slot = record.slot(process);
                let pid = slot.pid.take().unwrap();
                (slot.state, slot.warnings, slot.last_end) = (None, None, Some(end));
                slot.end = Some((now, end));
                let (killed, code) = (slot.killed, end.exit_code());
                let kind = match end {
                    _ if killed => 3,
                    End::Code(0) => 0,
                    End::Code(_) => 1,
                    End::Signal(_) => 2,
                    End::OutOfMemory(_) => 4,
                };
                let reason = ["completed", "error", "signal", "killed", "oom_killed"][kind];
                record.unreported.push((process, Some(pid), code, reason));
                let counts = record.counts(process);
                counts.ends[kind] += 1;
                counts.last_code = Some(code);
            }
            Event::LivenessProbed { process, is_alive: false } => {
                record.counts(process).liveness_failures += 1;
            }
            Event::DrainAnswered { process, .. } => {
                self.drains.insert(process, true);
                self.counted(&mut journal, process, Moment::Start);
            }
            Event::DrainSample { process, .. } => {
                self.counted(&mut journal, process, Moment::Meanwhile);
            }
            Event::Drained(process) => drop(self.drains.remove(&process)),
            Event::ListenersClosed(process) => self.closing.retain(|one| *one != process),
            Event::GroupGone(process) => self.groups.retain(|one| *one != process),
            Event::HookEnded { hook, .. } => self.hooks.retain(|one| *one != hook),
            Event::Condition { process, check, .. } => {
                self.checks.retain(|one| *one != (process, check));
            }
            Event::Swept(_) => self.sweeping = Some(true),
            Event::NothingLeft => self.sweeping = None,
            Event::Tick if self.random.one_in(9) => {
                journal.orphans += 1;
                record.orphans += 1;
            }
            _ => {}
        }
    }

    /// Counts the traffic of an Envoy that drains, or fails to.
    fn counted(
        &mut self,
        journal: &mut crate::journal::Journal,
        process: ProcessId,
        moment: Moment,
    ) {
        if !self.board.machine.borrow().state().process(process).drain.is_some_and(|one| one.closes)
        {
            return;
        }
        let random = &mut self.random;
        self.served += random.below(5);
        let traffic = Traffic {
            connections: (!random.one_in(5)).then(|| random.below(9)),
            requests: (!random.one_in(5)).then(|| random.below(9)),
            accepted: Some(self.served),
            received: Some(2 * self.served + 9),
        };
        let is_known = !random.one_in(5);
        match is_known {
            true => journal.traffic(self.now, process, traffic, moment),
            false => journal.traffic_unknown(process),
        }
        if let Some(drain) = &mut self.record.slot(process).drain {
            drain.connections = traffic.connections.filter(|_| is_known);
            drain.requests = traffic.requests.filter(|_| is_known);
            if is_known {
                drain.first = drain.first.or(Some(traffic).filter(|_| moment == Moment::Start));
                drain.last = Some(traffic);
            }
        }
    }

    fn carry_out(&mut self, action: Action) {
        let record = &mut self.record;
        match action {
            Action::Adopt { slot, from: Source::Copy(from) } => {
                let slots = self.board.slots.borrow();
                let (definition, place) = (slots.of(from).clone(), slots.place(from));
                drop(slots);
                self.board.adopt(self.now, slot, definition, place, Some(from));
                let old = &record.slots[&from];
                let new = Slot {
                    name: old.name.clone(),
                    first_start: old.first_start,
                    first_ready: old.first_ready,
                    last_end: old.last_end,
                    ..Slot::default()
                };
                record.slots.insert(slot, new);
                self.groups.retain(|one| *one != slot);
            }
            Action::CheckCondition { process, check } => self.checks.push((process, check)),
            Action::Spawn(process) => self.spawning.push(process),
            Action::AbortSpawn(process) => {
                let is_late = self.random.one_in(2);
                record.slot(process).is_given_up = is_late;
                self.at_once.push_back(match is_late {
                    true => Event::Spawned(process),
                    false => Event::SpawnFailed { process, exit_code: 1 },
                });
            }
            Action::Stop { process, signal } => {
                let slot = record.slot(process);
                slot.killed |= signal == Signal::KILL;
                slot.asked.get_or_insert((self.now, signal));
                slot.state = Some(ProcessState::Stopping);
            }
            Action::Kill(process) => {
                let is_stop = record.shutdown.as_ref().is_some_and(|(.., held)| !held);
                let slot = record.slot(process);
                slot.killed |= slot.pid.is_some();
                slot.killed_in_shutdown |= is_stop;
                slot.state = slot.pid.map(|_| ProcessState::Stopping);
            }
            Action::RunHook(hook) => {
                self.hooks.push(hook);
                if let HookId { process: Some(process), stage: Stage::PreStop } = hook {
                    record.slot(process).state = Some(ProcessState::Stopping);
                }
            }
            Action::AbortHook(hook) => self.hooks.retain(|one| *one != hook),
            Action::Drain { process, .. } => drop(self.drains.insert(process, false)),
            Action::CloseListeners(process) => self.closing.push(process),
            Action::EndDrain(process) => drop(self.drains.remove(&process)),
            Action::Sweep(_) => self.sweeping = Some(false),
            Action::Exit(code) => self.exit = Some(code),
            Action::Note(note) => self.note(note),
            _ => {}
        }
    }

    /// Writes the line of a note, and checks what its event says.
    fn note(&mut self, note: Note) {
        let now = self.now;
        let entry = {
            let machine = self.board.machine.borrow();
            self.board.journal.borrow_mut().note(now, &note, machine.state(), None)
        };
        let event: Value = serde_json::from_str(&format!("{{{}}}", entry.event.members())).unwrap();
        if let Some(slot) = entry.instance {
            let slot = &self.record.slots[&slot];
            assert_eq!(event["name"], json!(slot.name), "the name in {event}");
            assert_eq!(event["pid"].as_i64(), slot.last_pid.map(i64::from), "the pid in {event}");
            assert!(entry.line().starts_with(&slot.name), "{}", entry.line());
        }
        let record = &mut self.record;
        // A restart whose command cannot be executed counts as an end with the code of a shell.
        if matches!(note, Note::Ended { .. })
            && let Some((process, code)) = record.failed_start.take()
        {
            let (slot, end) = (record.slot(process), End::Code(code));
            (slot.end, slot.last_end) = (Some((now, end)), Some(end));
            record.unreported.push((process, None, code, "error"));
            let counts = record.counts(process);
            counts.ends[EndKind::Error as usize] += 1;
            counts.last_code = Some(code);
        }
        let ends =
            matches!(note, Note::Ended { .. } | Note::Stopped { .. } | Note::Completed { .. });
        if ends {
            let of = entry.instance.unwrap();
            let place = record.unreported.iter().position(|one| one.0 == of);
            let (_, pid, code, reason) =
                record.unreported.remove(place.expect("nothing has ended"));
            let shown =
                (event["pid"].as_i64(), event["exit_code"].as_u64(), event["reason"].as_str());
            let code = Some(u64::from(code));
            assert_eq!(shown, (pid.map(i64::from), code, Some(reason)), "the end in {event}");
        }
        match note {
            Note::Ended { process, next, .. } | Note::Failed { process, next, .. } => {
                record.slot(process).verdict = Some(note);
                let restarts = matches!(next, AfterEnd::Restart { .. });
                record.counts(process).restarts += u32::from(restarts);
                assert_eq!(event["next"] == "restart", restarts, "{event}");
                let is_error =
                    matches!(next, AfterEnd::Shutdown | AfterEnd::Exhausted | AfterEnd::GivesUp);
                assert_eq!(entry.level == Level::Error, is_error, "{}", entry.line());
            }
            Note::Stopped { process, .. } => {
                record.slot(process).verdict = Some(note);
                let asked = record.slots[&process].asked.map(|(at, _)| in_seconds(now.since(at)));
                assert_eq!(event["seconds"].as_f64(), asked, "the time of the stop in {event}");
            }
            Note::Ready { process, .. } | Note::Completed { process, .. } => {
                let slot = record.slot(process);
                slot.first_ready.get_or_insert(now);
                let start = now.since(slot.spawned);
                record.counts(process).start = Some(start);
                let took = record.counts(process).start.map(in_seconds);
                assert_eq!(event["seconds"].as_f64(), took, "the time of the start in {event}");
            }
            // A process that is down may count as stopped or left out from then on.
            Note::RequestBegan { .. } | Note::Skipped(_) => {
                record.slots.values_mut().for_each(|slot| slot.verdict = None);
            }
            Note::AllReady => record.all_ready = record.all_ready.or(Some(now)),
            Note::TakesOver { process, .. } => {
                let name = record.slots[&process].name.clone();
                record.current.insert(name, process);
            }
            Note::DrainRequested => {
                record.elapsed_from = Some(now);
                record.shutdown = Some((now, now, "drain requested".to_owned(), true));
                for drain in record.slots.values_mut().filter_map(|slot| slot.drain.as_mut()) {
                    drain.is_past = drain.over.is_some();
                }
            }
            Note::ShutdownBegan { window, .. } => {
                let cause = event["cause"].as_str().unwrap().to_owned();
                // The grace period of the kubelet includes the hook that has requested the drain.
                let is_new = |since: &Time| now.since(*since) >= GRACE_PERIOD;
                record.elapsed_from = record.elapsed_from.filter(|at| !is_new(at)).or(Some(now));
                record.shutdown = Some((now, now + window, cause, false));
            }
            Note::DrainBegan { process, longest, .. } => {
                let drain = DrainRecord { began: now, ..DrainRecord::default() };
                record.slot(process).drain = Some(drain);
                let counts = record.counts(process);
                counts.drained = Some(process);
                counts.drained_by.insert(process, now + longest);
                record.slot(process).state = Some(ProcessState::Draining);
            }
            Note::OpenAgain { process, longest, .. } => {
                record.counts(process).drained_by.insert(process, now + longest);
                record.slot(process).state = Some(ProcessState::Draining);
            }
            Note::DrainOver { process, why, .. } => {
                let slot = record.slot(process);
                if slot.state == Some(ProcessState::Draining) {
                    slot.state = Some(ProcessState::Ready);
                }
                let counts = record.counts(process);
                counts.drains[why as usize] += 1;
                counts.drained_by.remove(&process);
                if let Some(drain) = &mut record.slot(process).drain {
                    drain.over = Some((now, why));
                    let took = in_seconds(now.since(drain.began));
                    assert_eq!(
                        event["seconds"].as_f64(),
                        Some(took),
                        "the time of the drain in {event}"
                    );
                }
            }
            _ => {}
        }
    }

    /// Checks that the status, the metrics and the table say what the record says.
    fn check(&mut self) {
        let now = self.now;
        let mut status = self.board.status(now);
        status.dropped_lines = vec![("/log/\"a\"".to_owned(), self.record.orphans)];
        assert_eq!(self.record.unreported, [], "an end is in no event of the log");
        let (phase, since) = self.record.phase_since;
        if let Some(phase) = phase {
            let lasted = now.since(since);
            match self.record.phases.iter_mut().find(|(known, _)| *known == phase) {
                Some((_, before)) => *before += lasted,
                None => self.record.phases.push((phase, lasted)),
            }
        }
        self.record.phase_since = (Some(status.phase), now);
        let is_stop = self.record.shutdown.as_ref().map(|(.., held)| !held);
        let expected = match (is_stop, self.record.all_ready) {
            (None, None) => [ContainerPhase::Starting, ContainerPhase::Starting],
            (None, Some(_)) => [ContainerPhase::Running, ContainerPhase::Running],
            (Some(false), _) => [ContainerPhase::Draining, ContainerPhase::Drained],
            (Some(true), _) => [ContainerPhase::Draining, ContainerPhase::Stopping],
        };
        assert!(expected.contains(&status.phase), "{:?} in place of {expected:?}", status.phase);
        let shown: Value = serde_json::from_str(&serde_json::to_string(&status).unwrap()).unwrap();
        self.check_status(&shown);
        let states: BTreeMap<_, _> =
            status.current().map(|one| (one.name.clone(), one.state)).collect();
        let expected = self.metrics(&shown, &states);
        let text = render(&status);
        let samples = text.lines().filter(|line| !line.starts_with('#'));
        let mut samples: BTreeMap<_, _> = samples
            .map(|line| line.rsplit_once(' ').unwrap())
            .map(|(name, value)| (name.to_owned(), value.parse::<f64>().unwrap()))
            .collect();
        for (name, counts) in &self.record.of {
            let left = samples.remove(&format!("drainit_drain_left_seconds{{process=\"{name}\"}}"));
            assert_eq!(
                left.is_some(),
                self.record.drain(name).is_some(),
                "the time left for the drain of {name}"
            );
            let until = counts.drained_by.values().map(|until| until.since(now).as_secs_f64());
            let most = until.fold(0.0, f64::max);
            assert!(
                left.is_none_or(|left| left <= most),
                "{left:?} s left for the drain of {name}, not {most}"
            );
        }
        for (name, value) in &expected {
            assert_eq!(samples.remove(name), Some(*value), "{name}");
        }
        assert!(samples.is_empty(), "not in the record: {samples:?}");
        self.check_table(&shown);
    }

    /// The samples that the metrics must have.
    fn metrics(
        &self,
        shown: &Value,
        states: &BTreeMap<String, ProcessState>,
    ) -> BTreeMap<String, f64> {
        let record = &self.record;
        let (now, version) = (self.now, env!("CARGO_PKG_VERSION"));
        let mut all = BTreeMap::new();
        let mut add = |name: String, value: f64| {
            all.insert(format!("drainit_{name}"), value);
        };
        let truth = |holds: bool| f64::from(u8::from(holds));
        let arch = std::env::consts::ARCH;
        add(format!("build_info{{version=\"{version}\",arch=\"{arch}\"}}"), 1.0);
        add("ready".to_owned(), truth(shown["ready"] == true));
        let stop = record.shutdown.as_ref().filter(|(.., is_held)| !is_held);
        add("shutting_down".to_owned(), truth(stop.is_some()));
        if let Some((_, deadline, ..)) = stop {
            add("shutdown_deadline_seconds".to_owned(), deadline.since(now).as_secs_f64());
        }
        for phase in ContainerPhase::ALL {
            let name = phase.name();
            add(format!("phase{{phase=\"{name}\"}}"), truth(shown["phase"] == name));
            let lasted = record.phases.iter().find(|(known, _)| *known == phase);
            let lasted = lasted.map(|(_, lasted)| lasted.as_secs_f64());
            if let Some(lasted) = lasted.or((shown["phase"] == name).then_some(0.0)) {
                add(format!("phase_seconds{{phase=\"{name}\"}}"), lasted);
            }
        }
        let orphans = record.orphans as f64;
        add("reaped_orphans_total".to_owned(), orphans);
        // The supervisor counts dropped lines apart from the history.
        add("dropped_log_lines_total{stream=\"/log/\\\"a\\\"\"}".to_owned(), orphans);
        let machine = self.board.machine.borrow();
        for (name, current) in &record.current {
            let (slot, counts) = (&record.slots[current], &record.of[name]);
            let spec = machine.state().process(*current);
            let mut add = |metric: &str, labels: &str, value: f64| {
                add(format!("{metric}{{process=\"{name}\"{labels}}}"), value);
            };
            let instances =
                record.slots.values().filter(|one| &one.name == name && one.pid.is_some());
            add("process_instances", "", instances.count() as f64);
            add("process_up", "", truth(slot.pid.is_some()));
            for state in ProcessState::ALL {
                let label = format!(",state=\"{}\"", state.name());
                add("process_state", &label, truth(states[name] == state));
            }
            add("process_restarts_total", "", f64::from(counts.restarts));
            for (reason, ends) in EndKind::ALL.iter().zip(counts.ends) {
                add("process_ends_total", &format!(",reason=\"{}\"", reason.name()), ends as f64);
            }
            if let Some(code) = counts.last_code {
                add("process_last_exit_code", "", f64::from(code));
            }
            if let Some(failures) = counts.readiness_failures {
                add("process_probe_failures_total", ",probe=\"readiness\"", failures as f64);
            }
            if spec.liveness_retries.is_some() {
                let failures = counts.liveness_failures as f64;
                add("process_probe_failures_total", ",probe=\"liveness\"", failures);
            }
            if let Some(start) = counts.start {
                add("process_start_duration_seconds", "", start.as_secs_f64());
            }
            if let Some(warnings) = &slot.warnings {
                add("process_drain_warnings", "", warnings.len() as f64);
            }
            for (why, drains) in DrainEnd::ALL.iter().zip(counts.drains) {
                if spec.drain.is_some() {
                    add(
                        "process_drains_total",
                        &format!(",reason=\"{}\"", why.name()),
                        drains as f64,
                    );
                }
            }
            if let Some(drain) = record.drain(name) {
                if let Some(connections) = drain.connections {
                    add("drain_connections_active", "", connections as f64);
                }
                if let Some(requests) = drain.requests {
                    add("drain_requests_active", "", requests as f64);
                }
                let end = drain.over.map_or(now, |(at, _)| at);
                add("drain_duration_seconds", "", end.since(drain.began).as_secs_f64());
            }
        }
        all
    }

    fn check_status(&mut self, shown: &Value) {
        let now = self.now;
        let since = |from: Time| in_seconds(now.since(from));
        let record = &mut self.record;
        assert_eq!(shown["uptime_seconds"].as_f64(), Some(since(record.began)));
        let startup = record.all_ready.map(|at| in_seconds(at.since(record.began)));
        assert_eq!(shown["startup"]["seconds"].as_f64(), startup, "the time of the start");
        let shutdown = &shown["shutdown"];
        let known = record.shutdown.as_ref();
        assert_eq!(shutdown["elapsed_seconds"].as_f64(), record.elapsed_from.map(since));
        assert_eq!(shutdown["cause"].as_str(), known.map(|(_, _, cause, _)| cause.as_str()));
        if let Some((_, deadline, ..)) = known.filter(|(.., is_held)| !is_held) {
            let left = in_seconds(deadline.since(now));
            assert_eq!(shutdown["deadline_in_seconds"].as_f64(), Some(left), "the deadline");
        }
        let machine = self.board.machine.borrow();
        let mut rows: Vec<_> = shown["processes"].as_array().unwrap().iter().collect();
        let expected: Vec<_> = record
            .slots
            .iter_mut()
            .filter(|(id, _)| machine.state().role(**id) != Role::Retired)
            .collect();
        assert_eq!(rows.len(), expected.len(), "{shown}");
        for (id, slot) in expected {
            let role = machine.state().role(*id);
            let place = rows.iter().position(|row| {
                let part = (row["replaces"] == true, row["replaced"] == true);
                row["name"] == slot.name
                    && part == (matches!(role, Role::New { .. }), role == Role::Leaving)
            });
            let row = rows.remove(place.unwrap_or_else(|| panic!("no row of {slot:?}")));
            let name = &slot.name;
            assert_eq!(row["pid"].as_i64(), slot.pid.map(i64::from), "the pid of {name}");
            let state =
                ProcessState::ALL.into_iter().find(|one| row["state"] == one.name()).unwrap();
            let is_up = [ProcessState::Starting, ProcessState::Ready, ProcessState::Draining]
                .contains(&state);
            match slot.state {
                Some(known) if slot.pid.is_some() => {
                    assert_eq!(state, known, "the state of {name}")
                }
                _ => assert!(!is_up, "{name} does not run, and is {state:?}"),
            }
            if let Some(Note::Ended { next, .. } | Note::Failed { next, .. }) = slot.verdict
                && matches!(next, AfterEnd::GivesUp | AfterEnd::StaysDown)
                && machine.state().life(*id) == Lifecycle::Done
            {
                assert_eq!(state, ProcessState::Failed, "{name} has failed");
            }
            let restarts = json!(record.of[name].restarts);
            let is_current = role == Role::Current;
            let failures = json!(record.of[name].liveness_failures);
            assert!(!is_current || row["probe_failures"] == failures, "{failures} probes in {row}");
            assert!(
                !is_current || row["restarts"] == restarts,
                "the restarts of {name}: {restarts} in {row}"
            );
            assert_eq!(row["ready"], state == ProcessState::Ready, "whether {name} is ready");
            if slot.shown.is_none_or(|(shown, _)| shown != state) {
                slot.shown = Some((state, now));
            }
            let began = slot.shown.unwrap().1;
            assert_eq!(
                row["since_seconds"].as_f64(),
                Some(since(began)),
                "the age of the state of {name}"
            );
            let after = |at: Option<Time>| at.map(|at| in_seconds(at.since(record.began)));
            assert_eq!(
                row["started_after_seconds"].as_f64(),
                after(slot.first_start),
                "{name}: first start"
            );
            assert_eq!(
                row["ready_after_seconds"].as_f64(),
                after(slot.first_ready),
                "{name}: first ready"
            );
            let last = slot.last_end.map(|end| end.to_string());
            assert_eq!(row["last_exit"].as_str(), last.as_deref(), "the last end of {name}");
            let warnings = slot.warnings.as_ref().map_or(Value::Null, |all| json!(**all));
            assert_eq!(row["warnings"], warnings, "the warnings of {name}");
            let (is_last, runs) = (record.of[name].drained == Some(*id), slot.pid.is_some());
            let is_held = record.shutdown.as_ref().is_some_and(|(.., is_held)| *is_held);
            let is_told = |one: &&DrainRecord| is_last && (runs || is_held && !one.is_past);
            let drain = slot.drain.as_ref().filter(is_told);
            let of = |key: &str| row["drain"][key].as_u64();
            assert_eq!(row["drain"].is_object(), drain.is_some(), "whether {name} has a drain");
            // A process that has ended has no connections any more.
            let drain = drain.filter(|_| runs);
            assert_eq!(
                of("connections"),
                drain.and_then(|drain| drain.connections),
                "{name}: connections"
            );
            assert_eq!(of("requests"), drain.and_then(|drain| drain.requests), "{name}: requests");
        }
    }

    /// Checks that the table has the values of the status.
    fn check_table(&self, shown: &Value) {
        let text = table(shown);
        let mut lines = text.lines();
        let head = lines.next().unwrap();
        assert!(head.starts_with(shown["phase"].as_str().unwrap()), "{head}");
        let is_ready = head.contains(", ready,");
        assert!(shown["shutdown"].is_object() || is_ready == (shown["ready"] == true), "{head}");
        let processes = shown["processes"].as_array().unwrap();
        for (key, word) in [("connections", " connection"), ("requests", " request")] {
            let counts: Vec<_> =
                processes.iter().filter_map(|one| one["drain"][key].as_u64()).collect();
            let sum: u64 = counts.iter().sum();
            let shown = head.contains(&format!(", {sum}{word}"));
            assert_eq!(shown, !counts.is_empty(), "the {key} in {head}");
        }
        let mut lines = lines.skip_while(|line| !line.starts_with("NAME"));
        let columns = "NAME STATE PID SINCE RESTARTS CPU MEMORY NOTE";
        let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(words(lines.next().unwrap()), columns);
        for (process, line) in processes.iter().zip(lines.by_ref()) {
            let text = words(line);
            let mut cells = text.split(' ');
            let mut cell = || cells.next().unwrap().to_owned();
            assert_eq!(process["name"], cell(), "{line}");
            let is_drained = process["state"] == "ready" && process["drain"]["over"].is_string();
            let state = if is_drained { &json!("drained") } else { &process["state"] };
            assert_eq!(*state, cell(), "{line}");
            let pid = process["pid"].as_i64().map_or("-".to_owned(), |pid| pid.to_string());
            assert_eq!(cell(), pid, "{line}");
            let (age, unit) = seconds(&cell());
            let since = process["since_seconds"].as_f64().unwrap();
            assert!((age..age + unit).contains(&since), "{since} s in {line}");
            assert_eq!(cell(), process["restarts"].to_string(), "{line}");
            let is_news = process["last_exit_asked"] != true;
            for text in ["message", "last_exit"].iter().take(1 + usize::from(is_news)) {
                let text = process[text].as_str().unwrap_or_default();
                assert!(line.contains(text), "{text} is not in {line}");
            }
        }
        assert_eq!(lines.next(), None, "{text}");
    }

    /// Checks that the report says what the record says.
    fn check_report(&self) {
        let (board, record, now) = (&self.board, &self.record, self.now);
        let (machine, journal) = (board.machine.borrow(), board.journal.borrow());
        let exit = self.exit.unwrap();
        let stamp = |at: Time| format!("{:?}", at.0);
        let report = journal.data(now, exit, machine.state(), ProcessId::index, stamp).unwrap();
        let text = journal.text(now, exit);
        let (t0, deadline, cause, _) = record.shutdown.clone().unwrap();
        assert_eq!((report.exit_code, &report.cause.text), (exit, &cause), "{text}");
        assert_eq!((report.started.clone(), report.t0.clone()), (stamp(record.began), stamp(t0)));
        let span = |from: Time, to: Time| {
            if to >= from { in_seconds(to.since(from)) } else { -in_seconds(from.since(to)) }
        };
        assert_eq!((report.took, report.deadline), (span(t0, now), span(t0, deadline)), "{text}");
        let ready = record.all_ready.map(|at| span(record.began, at));
        assert_eq!(report.start.ready, ready, "the time of the start");
        let killed = record.slots.values().filter(|slot| slot.killed_in_shutdown).count();
        assert_eq!(report.killed, killed, "the killed processes in {text}");
        assert_eq!(text.contains("\n  killed: "), killed > 0, "{text}");
        let ShutdownReport { processes, phases, steps, warnings, .. } = &report;
        let (took, window) = (human(now.since(t0)), human(deadline.since(t0)));
        let head = format!("stopped in {took} of {window}, exit code {exit}: {cause}");
        assert_eq!(text.lines().next(), Some(head.as_str()), "{text}");
        for (kind, count) in [
            ("drain", report.processes.iter().filter(|one| one.drain.is_some()).count()),
            ("stop", report.processes.iter().filter(|one| one.stop.is_some()).count()),
        ] {
            let begin = format!("  {kind} ");
            let is_step =
                |line: &&str| line.starts_with(&begin) && !warnings.contains(&line[2..].to_owned());
            let lines = text.lines().filter(is_step).count();
            assert_eq!(lines, count, "the lines of each {kind} in {text}");
        }
        let spans = phases.iter().map(|phase| (phase.begins, phase.ends));
        let steps = steps.iter().filter_map(|step| Some((step.begins?, step.ends?)));
        for (begins, ends) in spans.chain(steps) {
            assert!(begins <= ends && ends <= report.took, "{begins} to {ends} in {text}");
        }
        assert!(warnings.iter().all(|line| text.contains(line)), "{warnings:?} in {text}");
        let state = machine.state();
        let in_use = record.slots.iter().filter(|(id, _)| state.role(**id) != Role::Retired);
        let in_use: Vec<_> = in_use.collect();
        assert_eq!(processes.len(), in_use.len(), "{text}");
        for (process, (id, slot)) in processes.iter().zip(in_use) {
            let (name, counts) = (&slot.name, &record.of[&slot.name]);
            assert_eq!(&process.name, name);
            let is_current = record.current[name] == *id;
            assert!(
                !is_current || process.restarts == counts.restarts,
                "the restarts of {name} in the report"
            );
            let after = |at: Option<Time>| at.map(|at| span(record.began, at));
            assert_eq!(process.started, after(slot.first_start), "{name}: first start");
            assert_eq!(process.ready, after(slot.first_ready), "{name}: first ready");
            let shown = process.end.as_ref().map(|end| (end.at, end.code, end.signal.clone()));
            let end = slot.end.map(|(at, end)| {
                let code = if let End::Code(code) = end { Some(code) } else { None };
                (span(t0, at), code, end.signal().map(|signal| signal.to_string()))
            });
            assert_eq!(shown, end, "the end of {name} in the report");
            if let Some(stop) = &process.stop {
                assert_eq!(stop.killed, slot.killed_in_shutdown, "whether {name} was killed");
                let asked = slot.asked.map(|(at, signal)| (span(t0, at), signal.to_string()));
                assert_eq!(stop.begins.zip(stop.signal.clone()), asked, "the stop of {name}");
            }
            if let (Some(shown), Some(drain)) = (&process.drain, &slot.drain) {
                let over = drain.over.map(|(at, why)| (span(t0, at), why.name()));
                let shown_over = shown.ends.zip(shown.why.as_deref());
                assert_eq!(
                    (shown.begins, shown_over),
                    (span(t0, drain.began), over),
                    "the drain of {name}"
                );
                let first = drain.first.unwrap_or_default();
                let last = drain.last.unwrap_or_default();
                let more = |from: Option<u64>, to: Option<u64>| Some(to?.saturating_sub(from?));
                let answered = |one: Traffic| more(one.requests, one.received);
                let counted = first.connections.or(last.connections).is_some();
                let connections = counted.then(|| {
                    (first.connections, last.connections, more(first.accepted, last.accepted))
                });
                let requests = last.requests.filter(|_| counted);
                let requests = requests.map(|cut| (more(answered(first), answered(last)), cut));
                let of = shown.connections.map(|one| (one.start, one.end, one.new));
                assert_eq!(of, connections, "the connections of {name} in {text}");
                let of = shown.requests.map(|one| (one.completed, one.cut));
                assert_eq!(of, requests, "the requests of {name} in {text}");
            }
        }
    }
}

/// Reads an age such as `2m5s`: its seconds, and those of its last unit.
fn seconds(age: &str) -> (f64, f64) {
    let (mut all, mut number, mut last) = (0.0, 0.0, 0.0);
    for letter in age.chars() {
        let unit = match letter {
            's' => 1.0,
            'm' => 60.0,
            'h' => 3600.0,
            'd' => 86_400.0,
            digit => {
                number = number * 10.0 + f64::from(digit.to_digit(10).unwrap());
                continue;
            }
        };
        all += number * unit;
        (number, last) = (0.0, unit);
    }
    (all, last)
}

// holds: C98, C104, S158, S159, S160
#[test]
fn status_metrics_table_events_and_report_tell_the_same_history() {
    let only = std::env::var("DRAINIT_HISTORY_SEED").ok().map(|seed| seed.parse::<u64>().unwrap());
    for seed in only.map_or(0..HISTORIES, |seed| seed..seed + 1) {
        let mut play = Play::new(seed);
        let run = std::panic::AssertUnwindSafe(|| play.run());
        if let Err(why) = std::panic::catch_unwind(run) {
            eprintln!("{}\nseed {seed}: DRAINIT_HISTORY_SEED={seed} plays it again", play.story);
            std::panic::resume_unwind(why);
        }
    }
}
