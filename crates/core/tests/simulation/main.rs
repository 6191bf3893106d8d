//! A simulation plays the core against random processes, faults and timing, without sleeping.
//!
//! A seed determines a [`Scenario`]. [`run`] plays it in simulated time, and [`Checker`] compares
//! every step with the promises of `docs/reference/shutdown.md`. There are two modes:
//!
//! - *Safety* ([`Scenario::new`]): faults may happen at any time, and every promise holds at every
//!   step.
//! - *Liveness* ([`Scenario::live`]): after a random time the faults end and a stop signal comes.
//!   From then on the shutdown must end by itself, in order and in time. Only this mode finds a
//!   shutdown that never ends: in safety mode the next fault may end it.
//!
//! `tests` plays random graphs. `cases` plays fixed events and expects known actions. `longest`
//! checks the longest shutdowns of `timeline`.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr)]

mod answers;
mod cases;
mod count;
mod dialogue;
mod graphs;
mod longest;
mod many;
mod promises;
mod replacements;
pub(crate) mod scenario;
mod search;
mod slots;
mod tests;
mod watch;
mod world;

use std::sync::Arc;
use std::time::Duration;

use crate::promises::Checker;
use crate::scenario::Scenario;
use crate::world::{Next, Proc, World};
use drainit_core::action::Action;
use drainit_core::cause::{Cause, Failure};
use drainit_core::event::{Event, Load, Request, Unit};
use drainit_core::machine::Machine;
use drainit_core::note::{AfterEnd, DrainEnd, Note, RequestError, StopLimit, WhyUndrained};
use drainit_core::phase::Phase;
use drainit_core::slots::Placed;
use drainit_core::spec::{
    DrainOff, DrainSpec, HookId, HookWait, HookWaits, ProcessSpec, Spec, Stage,
};
use drainit_core::state::{Lifecycle, Role};
use drainit_core::types::{
    End, ExitPolicy, OnExit, ProcessId, Restart, RestartPolicy, Signal, StartCondition, Time,
    Update, WatchAction,
};
use drainit_journal::Journal;
use drainit_journal::messages::Names;

/// A time that is longer than any scenario.
const FOREVER: Duration = Duration::from_secs(3600);

/// The most events of a run. A run with more events loops forever.
const MOST_EVENTS: u64 = 1_000_000;

/// A promise that a run has broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Broken {
    pub(crate) seed: u64,
    /// The time from the start of the run to the breach.
    pub(crate) after: Duration,
    pub(crate) why: &'static str,
}

/// A step of a run.
#[derive(Debug)]
#[expect(dead_code, reason = "a test that fails shows their `Debug` form")]
pub(crate) enum Seen<'a> {
    Event(Event),
    Reload { plan: &'a [Placed], is_taken: bool },
    Action(&'a Action),
}

/// Redirects an event about a watched file to another slot of the process.
fn for_slot(event: Event, process: ProcessId) -> Event {
    match event {
        Event::FileSeen { watch, .. } => Event::FileSeen { process, watch },
        Event::FileQuiet { watch, is_new, .. } => Event::FileQuiet { process, watch, is_new },
        other => other,
    }
}

/// Plays one scenario to its end.
///
/// # Errors
/// The first promise that was broken.
pub(crate) fn run(scenario: &Scenario) -> Result<(), Broken> {
    watch(scenario, &mut |_, _| {})
}

/// Plays one scenario to its end, and passes every step to `seen`.
pub(crate) fn watch(
    scenario: &Scenario,
    seen: &mut dyn FnMut(Time, Seen<'_>),
) -> Result<(), Broken> {
    let mut world = World::new(scenario);
    let start = world.now;
    let mut machine = Machine::new(Arc::clone(&scenario.spec), start);
    let names = Names(scenario.spec.ids().map(|slot| slot.0.to_string()).collect());
    let mut journal = Journal::new(names, start);
    let mut checker = Checker::new(scenario, start);
    let broken = |now: Time, why| Broken { seed: scenario.seed, after: now.since(start), why };
    let mut first = vec![Event::Start];
    if scenario.stopped_before_start {
        first.extend(scenario.spec.stop_signals.first().copied().map(Event::Signal));
    }
    let mut events = 0;
    let exit_code = loop {
        events += 1;
        let next = first.pop().map(Next::Event).or_else(|| world.next(machine.next_wakeup()));
        let now = world.now;
        let (mut event, reload) = match next {
            Some(Next::Event(event)) => (event, None),
            Some(Next::Reload(config)) => (Event::Tick, Some(config)),
            Some(Next::Nothing) => continue,
            None => return Err(broken(now, "no event and no timer is left")),
        };
        if let Event::Exited { process, end, remains } = &mut event
            && machine.state().completes(*process, *end)
        {
            *remains = false;
            world.drop_group(*process);
        }
        if now.since(start) > FOREVER || events > MOST_EVENTS {
            return Err(broken(now, "the run never ends"));
        }
        if let Event::FileSeen { process: old, watch }
        | Event::FileQuiet { process: old, watch, .. } = event
        {
            // If a new instance is about to replace this instance, the new instance also watches
            // the file, and gets the event, too.
            let state = machine.state();
            let new = world.slots.all().find(|id| state.role(*id) == Role::New { old });
            let new = new.filter(|id| watch < state.process(*id).watch.len());
            first.extend(new.map(|process| for_slot(event, process)));
        }
        checker.event(now, event);
        let actions = match reload {
            Some(config) => {
                let plan = world.slots.plan(config, machine.state());
                let taken = machine.reload(now, config.spec.clone(), &plan);
                seen(now, Seen::Reload { plan: &plan, is_taken: taken.is_ok() });
                checker.reload(config, &plan, taken.is_ok());
                if taken.is_ok() {
                    world.slots.reload(config, &plan);
                }
                taken.unwrap_or_default()
            }
            None => {
                seen(now, Seen::Event(event));
                // An event that comes when a timer is due is handled before the timer, as in the
                // supervisor.
                match machine.next_wakeup() {
                    Some(due) if due <= now && event != Event::Tick => {
                        machine.handle_early(now, event)
                    }
                    _ => machine.handle(now, event),
                }
            }
        };
        journal.event(now, event, &machine);
        for action in actions {
            if let Action::Adopt { slot, of, is_newer } = action {
                world.adopt(slot, of, is_newer);
                let name = slot.0.to_string();
                journal.adopt(now, slot, name, (of != slot).then_some(of));
            }
            journal.action(now, &action);
            if let Action::Note(note) = &action {
                let _ = journal.note(now, note, machine.state(), None);
            }
            checker.action(now, &action, &world.procs);
            seen(now, Seen::Action(&action));
            if let Some(why) = checker.broken() {
                return Err(broken(now, why));
            }
            world.carry_out(&action);
        }
        checker.step_over(&machine, &world.procs);
        if let Some(exit_code) = checker.exit() {
            break exit_code;
        }
        if let Some(why) = checker.broken() {
            return Err(broken(now, why));
        }
    };
    let end = world.now;
    checker.holds_report(journal.killed());
    // The report is checked in one of eight runs only, which is enough and saves time.
    if scenario.seed.is_multiple_of(8) {
        let report =
            journal.data(end, exit_code, machine.state(), ProcessId::index, |_| String::new());
        checker.holds_steps(&report);
    }
    // After the exit, no event may cause an action.
    for event in [Event::Tick, Event::Signal(Signal::TERM), Event::Swept { any: true }] {
        if !machine.handle(end + Duration::from_secs(9), event).is_empty() {
            checker.fail("the core acts after the exit");
        }
    }
    match checker.broken() {
        Some(why) => Err(broken(end, why)),
        None => Ok(()),
    }
}
