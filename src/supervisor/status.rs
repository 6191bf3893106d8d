//! The data of `/status`: the state of the machine, and facts about processes that the core lacks.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use crate::config::{Config, Process};
use crate::control::measures::Measures;
use crate::control::status::{
    ChainLink, ContainerPhase, Part, ProcessState, ProcessStatus, ShutdownStatus, StartupStatus,
    Status,
};
use crate::core::cause::Cause;
use crate::core::event::Event;
use crate::core::machine::Machine;
use crate::core::note::{AfterEnd, Note, RequestError, StartFailure};
use crate::core::phase;
use crate::core::slots::Role;
use crate::core::spec::Spec;
use crate::core::state::{Lifecycle, State};
use crate::os::{Pid, private_socket};
use crate::report::messages;
use crate::report::messages::Names;
use crate::report::startup::Startup;
use crate::supervisor::meter::Meter;
use crate::supervisor::readiness::probe::LastFailure;
use crate::supervisor::requests::Requests;
use crate::supervisor::slots::Slots;
use crate::types::{End, ProcessId, Time, harmless};

/// Shared between the event loop, which writes, and the control endpoints, which read. No borrow is
/// held over an await.
pub(crate) struct StatusBoard {
    pub(crate) machine: RefCell<Machine>,
    pub(crate) meter: RefCell<Meter>,
    pub(crate) slots: RefCell<Slots>,
    names: RefCell<Names>,
    pub(crate) requests: Requests,
    began: Time,
    pid_namespace: Option<u64>,
    startup: RefCell<Startup>,
    facts: RefCell<Vec<ProcessFacts>>,
    /// Processes with a note since the last update.
    noted: RefCell<Vec<ProcessId>>,
    /// The shutdown, also after the exit of the machine, while the last lines are written.
    shutdown: Cell<Option<phase::Shutdown>>,
}

#[derive(Clone, Debug)]
struct ProcessFacts {
    pid: Option<Pid>,
    /// drainit has sent it KILL, because somebody asked for it.
    is_killed: bool,
    epoch: Option<u32>,
    state: ProcessState,
    since: Time,
    skipped: bool,
    draining: bool,
    end: Option<End>,
    /// As `end`, but kept when it is started again.
    last_end: Option<End>,
    message: Option<String>,
    /// `restart_max` is reached, or it has failed its liveness check: the process stays down,
    /// whatever its last exit code.
    gave_up: bool,
    /// Why it is stopped before it was ready: better than how it ends then.
    failed_start: Option<String>,
    /// Why it is not ready yet, or its `STATUS=`.
    failure: LastFailure,
    /// Why its last liveness probe failed.
    unhealthy: LastFailure,
}

impl ProcessFacts {
    /// Of a process that is not started yet.
    fn new(now: Time) -> Self {
        Self {
            pid: None,
            is_killed: false,
            epoch: None,
            state: ProcessState::Waiting,
            since: now,
            skipped: false,
            draining: false,
            end: None,
            last_end: None,
            message: None,
            gave_up: false,
            failed_start: None,
            failure: LastFailure::default(),
            unhealthy: LastFailure::default(),
        }
    }
}

impl StatusBoard {
    pub(crate) fn new(config: &Config, names: Names, machine: Machine) -> Rc<Self> {
        let began = machine.state().now;
        let facts = vec![ProcessFacts::new(began); names.0.len()];
        let startup = RefCell::new(Startup::new(names.clone(), began));
        let drains = machine.state().spec.processes.iter().map(|process| process.drain.is_some());
        let meter = RefCell::new(Meter::new(began, drains));
        let (machine, facts) = (RefCell::new(machine), RefCell::new(facts));
        let requests = Requests::default();
        let noted = RefCell::default();
        let pid_namespace = private_socket::namespace().ok();
        Rc::new(Self {
            machine,
            meter,
            slots: RefCell::new(Slots::new(config)),
            names: RefCell::new(names),
            requests,
            began,
            pid_namespace,
            startup,
            facts,
            noted,
            shutdown: Cell::default(),
        })
    }

    /// Prepares a slot for a new instance of the process of another one.
    pub(crate) fn adopt_copy(&self, now: Time, slot: ProcessId, from: ProcessId) {
        self.slots.borrow_mut().copy(slot, from);
        self.adopt(now, slot, Some(from));
    }

    /// Prepares a slot for an instance of the process at this place of a new config. Returns
    /// whether the process is new.
    pub(crate) fn adopt_definition(
        &self,
        now: Time,
        slot: ProcessId,
        definition: Rc<Process>,
        place: usize,
    ) -> bool {
        let others: Vec<_> = {
            let machine = self.machine.borrow();
            let state = machine.state();
            let known = self.slots.borrow().len();
            let in_use = |id: &ProcessId| *id != slot && state.role(*id) != Role::Retired;
            state.spec.ids().filter(|id| id.index() < known).filter(in_use).collect()
        };
        let from = self.slots.borrow_mut().define(slot, definition, place, &others);
        if from.is_none() {
            let identity = self.slots.borrow().identity(slot);
            self.meter.borrow_mut().forget(identity);
        }
        self.adopt(now, slot, from);
        from.is_none()
    }

    fn adopt(&self, now: Time, slot: ProcessId, from: Option<ProcessId>) {
        let slots = self.slots.borrow();
        let definition = slots.definition(slot);
        self.names.borrow_mut().set(slot, definition.name.clone());
        self.startup.borrow_mut().adopt(slot, &definition.name, from);
        let (identity, drains) = (slots.identity(slot), definition.drain.is_some());
        self.meter.borrow_mut().adopt(slot, identity, drains);
        let mut facts = self.facts.borrow_mut();
        let last_end = from.and_then(|from| facts.get(from.index())?.last_end);
        let fact = ProcessFacts { last_end, ..ProcessFacts::new(now) };
        match facts.get_mut(slot.index()) {
            Some(known) => *known = fact,
            None => facts.push(fact),
        }
    }

    /// The slots in file order, those of one process together and the current one first.
    fn rows(&self, state: &State) -> Vec<(ProcessId, Part)> {
        let slots = self.slots.borrow();
        let all = (0..slots.len()).filter_map(|slot| u16::try_from(slot).ok()).map(ProcessId);
        let mut rows: Vec<_> = all
            .filter_map(|slot| {
                let part = match state.role(slot) {
                    Role::Current => Part::Current,
                    Role::New { .. } => Part::New,
                    Role::Leaving => Part::Old,
                    Role::Retired => return None,
                };
                Some((slots.place(slot), part as u8, slot, part))
            })
            .collect();
        rows.sort_unstable_by_key(|(place, part, slot, _)| (*place, *part, *slot));
        rows.into_iter().map(|(.., slot, part)| (slot, part)).collect()
    }

    /// The current slot of the process whose slot this is or was.
    pub(crate) fn current(&self, identity: ProcessId) -> Option<ProcessId> {
        let rows = self.rows(self.machine.borrow().state());
        let slots = self.slots.borrow();
        let mut current = rows.into_iter().filter(|(_, part)| *part == Part::Current);
        current.find(|(slot, _)| slots.identity(*slot) == identity).map(|(slot, _)| slot)
    }

    /// The instances of the process of this name, without one that was replaced; the current one first.
    pub(crate) fn watching(&self, name: &str) -> Vec<ProcessId> {
        let rows = self.rows(self.machine.borrow().state());
        let names = self.names.borrow();
        let of_name =
            |(slot, part): &(ProcessId, Part)| *part != Part::Old && names.of(*slot) == name;
        rows.into_iter().filter(of_name).map(|(slot, _)| slot).collect()
    }

    /// The process of this name.
    pub(crate) fn process(&self, name: &str) -> Option<ProcessId> {
        let rows = self.rows(self.machine.borrow().state());
        let names = self.names.borrow();
        let mut current = rows.into_iter().filter(|(_, part)| *part == Part::Current);
        current.find(|(slot, _)| names.of(*slot) == name).map(|(slot, _)| slot)
    }

    /// Says that there is no process of this name.
    pub(crate) fn unknown(&self, name: &str) -> String {
        let rows = self.rows(self.machine.borrow().state());
        let names = self.names.borrow();
        let current = rows.iter().filter(|(_, part)| *part == Part::Current);
        let known: Vec<_> = current.map(|(slot, _)| names.of(*slot)).collect();
        format!("there is no process {}; there are {}", harmless(name), known.join(", "))
    }

    /// Why a request failed, with the reason that the core does not know.
    pub(crate) fn failure(&self, why: RequestError) -> String {
        let text = messages::request_error(why, &self.names.borrow());
        let facts = self.facts.borrow();
        let reason = match why {
            RequestError::SpawnFailed(process) => facts[process.index()].message.clone(),
            RequestError::NotReady { process, .. } => {
                facts[process.index()].failure.borrow().clone()
            }
            _ => None,
        };
        match reason {
            Some(reason) => format!("{text}: {reason}"),
            None => text,
        }
    }

    pub(crate) fn set_pid(&self, process: ProcessId, pid: Option<Pid>) {
        let fact = &mut self.facts.borrow_mut()[process.index()];
        fact.pid = pid;
        fact.is_killed = false;
    }

    /// Notes that drainit has sent KILL to a process on request.
    pub(crate) fn set_killed(&self, process: ProcessId) {
        self.facts.borrow_mut()[process.index()].is_killed = true;
    }

    /// Whether a process that is not reaped yet was killed on request.
    pub(crate) fn is_killed(&self, process: ProcessId) -> bool {
        self.facts.borrow()[process.index()].is_killed
    }

    pub(crate) fn set_epoch(&self, process: ProcessId, epoch: Option<u32>) {
        self.facts.borrow_mut()[process.index()].epoch = epoch;
    }

    /// The pid of a process that is not reaped yet.
    pub(crate) fn pid(&self, process: ProcessId) -> Option<Pid> {
        self.facts.borrow().get(process.index())?.pid
    }

    pub(crate) fn set_failure(&self, process: ProcessId, failure: LastFailure) {
        self.facts.borrow_mut()[process.index()].failure = failure;
    }

    pub(crate) fn set_unhealthy(&self, process: ProcessId, unhealthy: LastFailure) {
        self.facts.borrow_mut()[process.index()].unhealthy = unhealthy;
    }

    pub(crate) fn set_message(&self, process: ProcessId, message: Option<String>) {
        self.facts.borrow_mut()[process.index()].message = message;
    }

    /// Takes an event before the machine does.
    pub(crate) fn event(&self, now: Time, event: Event) {
        self.startup.borrow_mut().event(now, event);
    }

    /// Runs a function with the measured start.
    pub(crate) fn with_startup<T>(&self, with: impl FnOnce(&Startup, &Spec) -> T) -> T {
        with(&self.startup.borrow(), &self.machine.borrow().state().spec)
    }

    /// Takes the facts from a note that the state of the machine lacks.
    pub(crate) fn note(&self, now: Time, note: &Note) {
        self.startup.borrow_mut().note(now, note, &self.machine.borrow().state().spec);
        self.requests.note(note, &self.names.borrow(), |why| self.failure(why));
        self.meter.borrow_mut().note(now, note);
        let mut facts = self.facts.borrow_mut();
        let process = match *note {
            Note::Skipped(process) => {
                facts[process.index()].skipped = true;
                process
            }
            Note::Started(process) => {
                facts[process.index()].end = None;
                facts[process.index()].skipped = false;
                facts[process.index()].gave_up = false;
                facts[process.index()].failed_start = None;
                process
            }
            Note::NotReady { process, after } => {
                let why = StartFailure::NotReady { after };
                facts[process.index()].failed_start = Some(messages::start_failure(why));
                process
            }
            Note::TimedOut { process, after } => {
                let why = StartFailure::TimedOut { after };
                facts[process.index()].failed_start = Some(messages::start_failure(why));
                process
            }
            Note::Unhealthy { process, next } => {
                let gave_up = matches!(next, Some(AfterEnd::StaysDown | AfterEnd::GivesUp));
                facts[process.index()].gave_up = gave_up;
                if next.is_some() {
                    // Better than the signal that it was stopped by.
                    facts[process.index()].message = Some("failed its liveness check".to_owned());
                }
                process
            }
            Note::StartFailed { process, why, next } => {
                let fact = &mut facts[process.index()];
                fact.gave_up = matches!(next, AfterEnd::StaysDown | AfterEnd::GivesUp);
                // That of a failed spawn is better.
                if why != StartFailure::Spawn {
                    fact.message = Some(messages::start_failure(why));
                }
                process
            }
            Note::Ended { process, end, .. } | Note::Stopped { process, end, .. } => {
                let gave_up = matches!(*note, Note::Ended { next: AfterEnd::GivesUp, .. });
                facts[process.index()].gave_up = gave_up;
                facts[process.index()].end = Some(end);
                facts[process.index()].last_end = Some(end);
                let why = facts[process.index()].failed_start.take();
                facts[process.index()].message = Some(why.unwrap_or_else(|| end.to_string()));
                process
            }
            Note::DrainBegan { process, .. } | Note::OpenAgain { process, .. } => {
                facts[process.index()].draining = true;
                process
            }
            Note::DrainOver { process, .. } => {
                facts[process.index()].draining = false;
                process
            }
            _ => return,
        };
        self.noted.borrow_mut().push(process);
    }

    /// Keeps since when each process is in its state. Checks only the processes that the last step
    /// of the machine changed.
    pub(crate) fn update(&self, now: Time, machine: &Machine) {
        let world = machine.state();
        self.meter.borrow_mut().phase(now, phase(machine).0);
        if let Some(shutdown) = machine.phase().shutdown() {
            self.shutdown.set(Some(*shutdown));
        }
        let mut facts = self.facts.borrow_mut();
        for id in self.noted.borrow_mut().drain(..).chain(world.touched.iter().copied()) {
            let fact = &mut facts[id.index()];
            let is_success = |end| world.process(id).is_success(end) || world.is_answer(id, end);
            let state = state(world.life(id), fact, fact.end.is_some_and(is_success));
            if state != fact.state {
                fact.state = state;
                fact.since = now;
            }
        }
    }

    /// Everything that was counted, except what the output knows.
    pub(crate) fn measures(&self, now: Time) -> Measures {
        let machine = self.machine.borrow();
        let world = machine.state();
        let rows = self.rows(world);
        let current = rows.iter().filter(|(_, part)| *part == Part::Current);
        let current: Vec<_> = current.map(|(slot, _)| *slot).collect();
        let mut measures = self.meter.borrow().measures(now, &current);
        let slots = self.slots.borrow();
        let others: Vec<_> = rows.iter().filter(|(_, part)| *part != Part::Current).collect();
        for (id, process) in current.into_iter().zip(&mut measures.processes) {
            let has_liveness = world.process(id).liveness_retries.is_some();
            let failures = has_liveness.then(|| world.probe_failures[id.index()].total);
            process.liveness_failures = failures;
            process.is_replaced =
                others.iter().any(|(slot, _)| slots.identity(*slot) == process.process);
            let own = rows.iter().filter(|(slot, _)| slots.identity(*slot) == process.process);
            let until = own.filter_map(|(slot, _)| world.drained_by(*slot)).max();
            if let Some(last) = process.drain.as_mut().and_then(|drain| drain.last.as_mut()) {
                last.left = until.map_or(Duration::ZERO, |until| until.since(now));
            }
        }
        measures
    }

    pub(crate) fn status(&self, now: Time) -> Status {
        let machine = self.machine.borrow();
        let world = machine.state();
        let (phase, ready) = phase(&machine);
        let facts = self.facts.borrow();
        let startup = self.startup.borrow();
        let (names, slots) = (self.names.borrow(), self.slots.borrow());
        let rows = self.rows(world).into_iter().map(|(slot, part)| {
            let moments = startup.of(slot);
            let fact = &facts[slot.index()];
            ProcessStatus {
                slot,
                identity: slots.identity(slot),
                name: names.of(slot).to_owned(),
                part,
                copy_of: slots.definition(slot).copy_of.as_ref().map(|copy| copy.process.clone()),
                state: fact.state,
                pid: fact.pid,
                epoch: fact.epoch,
                ready: fact.state == ProcessState::Ready,
                last_exit: fact.last_end.map(|end| end.to_string()),
                drain: None,
                restarts: world.restarts[slot.index()].total,
                probe_failures: world.probe_failures[slot.index()].total,
                since: now.since(fact.since),
                is_missed: part == Part::Current
                    && (machine.waits_for(slot)
                        || world.process(slot).required && !fact.state.is_settled()),
                message: match fact.state {
                    ProcessState::Starting | ProcessState::Draining => {
                        fact.failure.borrow().clone()
                    }
                    ProcessState::Ready | ProcessState::Stopping if fact.pid.is_some() => {
                        let why = fact.unhealthy.borrow().clone();
                        why.or_else(|| fact.failure.borrow().clone())
                            .or_else(|| fact.message.clone())
                    }
                    _ => fact.message.clone(),
                },
                started: moments.started.map(|at| at.since(self.began)),
                first_ready: moments.ready.map(|at| at.since(self.began)),
            }
        });
        let processes = rows.collect();
        let shutdown = self.shutdown.get().map(|shutdown| {
            let is_held = shutdown.cause == Cause::DrainRequested;
            // A stop that comes later has a grace period of its own.
            let has_deadline = !is_held || phase != ContainerPhase::Drained;
            ShutdownStatus {
                cause: messages::why(shutdown.cause, &names),
                elapsed: now.since(shutdown.t0),
                deadline_in: has_deadline.then(|| shutdown.deadline.since(now)),
                is_held,
            }
        });
        let startup = startup.took().map(|took| StartupStatus {
            took,
            chain: startup
                .chain()
                .iter()
                .map(|link| ChainLink { name: startup.name(*link).to_owned(), takes: link.takes })
                .collect(),
        });
        Status {
            version: env!("CARGO_PKG_VERSION"),
            pid: std::process::id(),
            pid_namespace: self.pid_namespace,
            phase,
            ready,
            uptime: now.since(self.began),
            startup,
            processes,
            shutdown,
        }
    }
}

/// The phase of the container, and whether it is ready.
fn phase(machine: &Machine) -> (ContainerPhase, bool) {
    match machine.phase() {
        phase::Phase::Running(running) if running.was_ready() => {
            (ContainerPhase::Running, running.is_ready(machine.state()))
        }
        phase::Phase::Running(_) => (ContainerPhase::Starting, false),
        phase::Phase::Draining(draining) if draining.is_resting(machine.state()) => {
            (ContainerPhase::Drained, draining.stays_ready())
        }
        phase::Phase::Draining(draining) => (ContainerPhase::Draining, draining.stays_ready()),
        phase::Phase::Stopping(_) | phase::Phase::Finishing(_) | phase::Phase::Done => {
            (ContainerPhase::Stopping, false)
        }
    }
}

fn state(life: Lifecycle, fact: &ProcessFacts, succeeded: bool) -> ProcessState {
    match life {
        Lifecycle::Waiting
        | Lifecycle::Checking
        | Lifecycle::PreStart { .. }
        | Lifecycle::Spawning => ProcessState::Waiting,
        Lifecycle::Starting { .. } => ProcessState::Starting,
        Lifecycle::Ready { .. } if fact.draining => ProcessState::Draining,
        Lifecycle::Ready { .. } => ProcessState::Ready,
        Lifecycle::Backoff { .. } => ProcessState::Restarting,
        Lifecycle::PreStop { .. } | Lifecycle::Stopping { .. } | Lifecycle::Killed { .. } => {
            ProcessState::Stopping
        }
        Lifecycle::Remains { restart: Some(_), .. }
        | Lifecycle::RestKilled { restart: Some(_), .. } => ProcessState::Restarting,
        Lifecycle::Remains { .. } | Lifecycle::RestKilled { .. } => ProcessState::Stopping,
        Lifecycle::Stopped { failed: true } => ProcessState::Failed,
        Lifecycle::Stopped { failed: false } => ProcessState::Stopped,
        Lifecycle::PostStop { .. } | Lifecycle::Done if fact.skipped => ProcessState::Skipped,
        // Its `post_stop` hook is a part of the stop.
        Lifecycle::PostStop { .. } if fact.state == ProcessState::Stopping => {
            ProcessState::Stopping
        }
        Lifecycle::PostStop { .. } | Lifecycle::Done => match (fact.end, fact.state) {
            _ if fact.gave_up => ProcessState::Failed,
            // By hand, before the shutdown began.
            (_, ProcessState::Stopped) => ProcessState::Stopped,
            (None, _) => ProcessState::Done,
            _ if succeeded => ProcessState::Done,
            // Ended by the signal that asked it to.
            (_, ProcessState::Stopping | ProcessState::Done) => ProcessState::Done,
            _ => ProcessState::Failed,
        },
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::core::action::Action;
    use crate::load::testing::load;
    use crate::types::Signal;

    /// The board of a container with the process `a`.
    fn board(config: &str, now: Time) -> Rc<StatusBoard> {
        let loaded = load(&[config], &[]).unwrap();
        let spec = Rc::new(Spec::new(&loaded.config, &loaded.graph));
        let names = Names(vec!["a".to_owned()]);
        StatusBoard::new(&loaded.config, names, Machine::new(spec, now))
    }

    #[test]
    fn no_phase_of_a_shutdown_is_ready() {
        let (now, process) = (Time(Duration::from_secs(1000)), ProcessId(0));
        let drained = "drain: {exec: {command: [b], time: 9s, min: 0s}}";
        let board = board(&format!("processes: {{a: {{command: [a], {drained}}}}}"), now);
        let mut seen = Vec::new();
        for event in [
            Event::Start,
            Event::Spawned(process),
            Event::DrainRequested,
            Event::Drained(process),
            Event::Signal(Signal::TERM),
            Event::Exited { process, end: End::Code(0), remains: false },
            Event::Leftovers(0),
        ] {
            board.machine.borrow_mut().handle(now, event);
            board.update(now, &board.machine.borrow());
            let status = board.status(now);
            seen.push((status.phase, status.ready));
        }
        use ContainerPhase::{Drained, Draining, Running, Starting, Stopping};
        let stopping = (Stopping, false);
        let all = [(Starting, false), (Running, true), (Draining, false), (Drained, false)];
        assert_eq!(seen, [&all[..], &[stopping; 3]].concat());
    }

    #[test]
    fn a_shutdown_is_shown_until_drainit_has_ended() {
        let (now, a) = (Time(Duration::from_secs(1000)), ProcessId(0));
        let board = board("processes: {a: {command: [a]}}", now);
        let handle = |event| {
            let actions = board.machine.borrow_mut().handle(now, event);
            board.update(now, &board.machine.borrow());
            actions
        };
        handle(Event::Start);
        handle(Event::Spawned(a));
        assert!(board.status(now).shutdown.is_none());
        handle(Event::Signal(Signal::TERM));
        handle(Event::Exited { process: a, end: End::Code(0), remains: false });
        assert!(board.status(now).shutdown.is_some());
        let actions = handle(Event::Leftovers(0));
        assert!(matches!(actions.last(), Some(Action::Exit(0))), "{actions:?}");
        assert!(board.status(now).shutdown.is_some());
    }
}
