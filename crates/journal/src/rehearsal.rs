//! Rehearses a reload or restarts on a clone of the core's machine. In the rehearsal, an `only_if` holds unless
//! its process is left out, every start succeeds at once, every process ends as soon as it is asked
//! to, and every drain takes all of its time.

use alloc::collections::{BTreeMap, VecDeque};

use crate::messages::Names;
use crate::prelude::*;
use drainit_core::action::Action;
use drainit_core::event::{Event, Request};
use drainit_core::machine::Machine;
use drainit_core::note::{Note, RequestError};
use drainit_core::phase::Phase;
use drainit_core::slots::Placed;
use drainit_core::spec::{HookId, Spec, Stage};
use drainit_core::state::{Lifecycle, Role};
use drainit_core::types::{End, ProcessId, Time};

/// A reload, or restarts, played on a clone of the machine.
#[derive(Debug)]
pub struct Rehearsal {
    machine: Machine,
    now: Time,
    /// The slots whose state has changed, so that the machine may wait for an event of them.
    due: VecDeque<ProcessId>,
    /// The name of the process in each slot.
    pub names: Names,
    /// The steps, in the order in which they begin.
    pub steps: Vec<Step>,
    /// The process of the latest request; `None` if the rehearsal is one of a reload.
    restarts: Option<String>,
    /// The outcome of the reload or of the last request, if every start and every stop succeeds.
    pub outcome: Option<Result<(), RequestError>>,
}

/// A step of a reload, with one process.
#[derive(Debug, Default)]
pub struct Step {
    /// The name of the process.
    pub process: String,
    /// `None` if the process stays down.
    pub moved: Option<Move>,
    /// The dependency for which the process restarts (`restart: true`).
    pub follows: Option<String>,
    /// Whether the `only_if` of the process does not hold.
    pub is_skipped: bool,
}

impl Step {
    pub fn of(process: &str) -> Self {
        Self { process: process.to_owned(), ..Self::default() }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Move {
    Stopped,
    Started,
    /// The process was stopped, then started.
    Restarted,
    /// A new instance was started beside the running one.
    Overlapped,
}

impl Rehearsal {
    /// Rehearses the reload of `machine` to the config `new`. `placed` is the argument of
    /// [`Machine::reload`]; `names` has the name of each slot, including the slots of new processes.
    pub fn of(machine: Machine, new: Spec, placed: &[Placed], names: Names) -> Self {
        let mut play = Self::new(machine, names);
        let begun = play.machine.reload(play.now, new, placed);
        play.outcome = begun.as_ref().err().map(|why| Err(*why));
        play.carry_out(begun.unwrap_or_default());
        while play.outcome.is_none() && play.plays_on() {}
        play
    }

    fn new(machine: Machine, names: Names) -> Self {
        let now = machine.state().now;
        let due = machine.state().spec.ids().collect();
        Self { machine, now, due, names, steps: Vec::new(), restarts: None, outcome: None }
    }

    /// Requests a restart of the process in its current slot.
    fn restart(&mut self, name: &str) {
        let state = self.machine.state();
        let mut slots = state.spec.ids().filter(|slot| state.is_current(*slot));
        if let Some(process) = slots.find(|slot| self.names.of(*slot) == name) {
            (self.outcome, self.restarts) = (None, Some(name.to_owned()));
            self.handle(Event::Requested { process, request: Request::Restart });
        }
    }

    /// Handles the next event. Returns false if there is none.
    fn plays_on(&mut self) -> bool {
        let event = self.next_event();
        event.map(|event| self.handle(event)).is_some()
    }

    fn handle(&mut self, event: Event) {
        let actions = self.machine.handle(self.now, event);
        self.carry_out(actions);
    }

    /// The next event for the machine. If the machine waits for no event of a process, lets the time
    /// pass until the next timer is due. `None` if there is no timer.
    fn next_event(&mut self) -> Option<Event> {
        while let Some(slot) = self.due.pop_front() {
            if let event @ Some(_) = self.event(slot) {
                return event;
            }
        }
        self.now = self.machine.next_wakeup()?.max(self.now);
        Some(Event::Tick)
    }

    /// The event for which the machine waits in the state of this process.
    fn event(&self, process: ProcessId) -> Option<Event> {
        let state = self.machine.state();
        let spec = state.process(process);
        let ended = |code| Event::Exited { process, end: End::Code(code), remains: false };
        let hook_ended = |stage| {
            let hook = HookId { process: Some(process), stage };
            Event::HookEnded { hook, success: true }
        };
        Some(match state.life(process) {
            life if life.survives_kill() => return None,
            Lifecycle::Checking { check } => {
                Event::Condition { process, check, holds: !spec.left_out }
            }
            Lifecycle::Clearing { .. } => Event::Leftovers { process, any: false },
            Lifecycle::PreStart { .. } => hook_ended(Stage::PreStart),
            Lifecycle::Spawning => Event::Spawned(process),
            Lifecycle::Starting { .. } if spec.oneshot => ended(*spec.success_codes.first()?),
            Lifecycle::Starting { .. } => Event::Ready(process),
            Lifecycle::PreStop { .. } => hook_ended(Stage::PreStop),
            Lifecycle::Stopping { .. } | Lifecycle::Killed { .. } => ended(0),
            Lifecycle::Remains { .. } | Lifecycle::RestKilled { .. } => Event::GroupGone(process),
            Lifecycle::PostStop { .. } => hook_ended(Stage::PostStop),
            _ => return None,
        })
    }

    fn carry_out(&mut self, actions: Vec<Action>) {
        for action in actions {
            self.record(&action);
        }
        let state = self.machine.state();
        // A newer Envoy ends an instance without `Action::Stop`, and needs time for that.
        let ends = |slot: &&ProcessId| matches!(state.life(**slot), Lifecycle::Stopping { .. });
        self.due.extend(state.step.touched.iter().filter(|slot| !ends(slot)));
    }

    fn record(&mut self, action: &Action) {
        match *action {
            Action::Adopt { slot, of, .. } => self.names.set(slot, self.names.of(of).to_owned()),
            Action::Spawn(process) => {
                let role = self.machine.state().role(process);
                let step = self.step(process);
                step.moved = Some(match (role, step.moved) {
                    (Role::New { .. }, _) => Move::Overlapped,
                    (_, Some(Move::Stopped)) => Move::Restarted,
                    _ => Move::Started,
                });
            }
            Action::Stop { process, .. } => {
                self.due.push_back(process);
                self.step(process).moved.get_or_insert(Move::Stopped);
            }
            Action::LookForExit(process) => self.due.push_back(process),
            Action::Note(Note::Follows { process, on }) => {
                let step = Step::of(self.names.of(process));
                self.steps.push(Step { follows: Some(self.names.of(on).to_owned()), ..step });
            }
            Action::Note(Note::Skipped(process)) => self.step(process).is_skipped = true,
            Action::Note(
                Note::Adding(process)
                | Note::Removing(process)
                | Note::Replacing { old: process, .. },
            ) => drop(self.step(process)),
            Action::AnswerReload(outcome) if self.restarts.is_none() => {
                self.outcome = Some(outcome);
            }
            // The machine may have open requests of other operators.
            Action::Answer { process, request: Request::Restart, outcome }
                if self.restarts.as_deref() == Some(self.names.of(process)) =>
            {
                self.outcome = Some(outcome);
            }
            _ => {}
        }
    }

    /// The last step of the process to which the slot belongs.
    fn step(&mut self, slot: ProcessId) -> &mut Step {
        let name = self.names.of(slot);
        let known = self.steps.iter().rposition(|step| step.process == name);
        let place = known.unwrap_or(self.steps.len());
        if known.is_none() {
            self.steps.push(Step::of(name));
        }
        &mut self.steps[place]
    }
}

/// The processes that follow restarts of other processes (`restart: true`), each with the process
/// that it follows. If `in_turn` is set, each restart begins when the one before is done, and none
/// begins after a failure. `machine` is a clone of the running machine.
pub fn followers(
    machine: Machine,
    names: Names,
    restarted: &[String],
    in_turn: bool,
) -> BTreeMap<String, String> {
    let mut play = Rehearsal::new(machine, names);
    for name in restarted {
        play.restart(name);
        while in_turn && play.outcome.is_none() && play.plays_on() {}
        if in_turn && !matches!(play.outcome, Some(Ok(()))) {
            break;
        }
    }
    while matches!(play.machine.phase(), Phase::Running(_)) && play.plays_on() {}
    let mut followers = BTreeMap::new();
    for Step { process, follows, .. } in play.steps {
        // Other processes may follow each other at the same time, for another reason.
        if let Some(on) = follows
            && (restarted.contains(&on) || followers.contains_key(&on))
            && !restarted.contains(&process)
        {
            followers.entry(process).or_insert(on);
        }
    }
    followers
}
