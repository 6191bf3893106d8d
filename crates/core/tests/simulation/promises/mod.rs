//! The promises with which every step of a run is compared, one in each file.
//!
//! A promise looks at an event or an action before the [`History`] records it. It keeps what only
//! its own check needs, and reads everything else in the history. The promises repeat the limits of
//! the core on purpose ([`budget`]): they must not share a mistake with the core.
//!
//! A process "follows" a dependency if it is restarted because the dependency has a new instance
//! (`restart: true` in `depends_on`).

mod budget;
mod counts;
mod drain_ends;
mod drain_times;
mod drains;
mod epochs;
mod exit;
mod files;
mod followers;
mod groups;
mod held_drain;
mod history;
mod hooks;
mod kills;
mod late_stops;
mod leftovers;
mod limits;
mod liveness;
mod notes;
mod on_exit;
mod outside;
mod quiet;
mod readiness;
mod reload;
mod replacements;
mod report;
mod requests;
mod restarts;
mod shutdown;
mod signals;
mod sockets;
mod starts;
mod stops;
mod timeouts;
mod unready_delay;
mod wake_ups;

use std::collections::{BTreeMap, BTreeSet};

use self::budget::{LEAST_STOP, declared_stop, kept_stop, least_stop, needed};
use self::history::{History, Shutdown, SlotHistory};
pub(crate) use self::notes::is_told;
use crate::longest::sums_below;
use crate::scenario::NewConfig;
use crate::slots::Slots;
use crate::*;
use serde_json::Value;

/// A promise, with the state that only its check needs. It records a breach by [`History::hold`].
///
/// The history that it gets does not have the event or the action yet.
trait Promise {
    fn on_event(&mut self, _: &History<'_>, _: Event) {}
    fn on_action(&mut self, _: &History<'_>, _: &Action) {}
    /// Comes when the core's actions for one event are done.
    fn after_step(&mut self, _: &History<'_>, _: &Machine) {}
}

macro_rules! promises {
    ($($file:ident::$promise:ident),+) => {
        #[derive(Clone, Debug, Default)]
        struct Promises {
            $($file: $file::$promise),+
        }

        impl Promises {
            fn for_each(&mut self, mut look: impl FnMut(&mut dyn Promise)) {
                $(look(&mut self.$file);)+
            }
        }
    };
}

// If a step breaks several promises, the first of them is reported.
promises! {
    sockets::Sockets, notes::Notes, timeouts::Timeouts,
    starts::Starts, restarts::Restarts, replacements::Replacements, reload::Reloads,
    epochs::Epochs, unready_delay::UnreadyDelay, counts::Counts, groups::Groups,
    stops::Stops, late_stops::LateStops, hooks::Hooks, kills::Kills, limits::Limits,
    liveness::Liveness, leftovers::Leftovers, outside::Outside, quiet::Quiet,
    drains::Drains, drain_times::DrainTimes, drain_ends::DrainEnds,
    files::Files, followers::Followers, readiness::Readiness, requests::Requests,
    shutdown::Shutdowns, held_drain::HeldDrain, signals::Signals,
    on_exit::Consequences, exit::Exit, wake_ups::WakeUps
}

/// Compares a run with all promises.
#[derive(Clone, Debug)]
pub(crate) struct Checker<'a> {
    run: History<'a>,
    promises: Promises,
}

impl<'a> Checker<'a> {
    pub(crate) fn new(scenario: &'a Scenario, now: Time) -> Self {
        Self { run: History::new(scenario, now), promises: Promises::default() }
    }

    /// The exit code, if there was an exit.
    pub(crate) fn exit(&self) -> Option<u8> {
        self.run.exit
    }

    /// The first breach, if there is one. Later breaches have no meaning.
    pub(crate) fn broken(&self) -> Option<&'static str> {
        self.run.broken()
    }

    pub(crate) fn fail(&self, why: &'static str) {
        self.run.fail(why);
    }

    pub(crate) fn event(&mut self, now: Time, event: Event) {
        self.run.now = now;
        self.promises.for_each(|promise| promise.on_event(&self.run, event));
        self.run.record_event(event);
    }

    /// Records a new config. If `is_taken` is false, the core has refused it.
    pub(crate) fn reload(&mut self, config: &NewConfig, plan: &[Placed], is_taken: bool) {
        self.promises.quiet.on_reload();
        if is_taken {
            reload::holds_begin(&self.run);
            self.run.record_reload(config, plan);
        }
    }

    pub(crate) fn action(&mut self, now: Time, action: &Action, procs: &[Proc]) {
        self.run.look(now, procs);
        self.run.free_slots(action);
        self.promises.for_each(|promise| promise.on_action(&self.run, action));
        if self.broken().is_none() {
            self.run.record_action(action);
        }
    }

    /// Checks the state after the core's actions for one event are done.
    pub(crate) fn step_over(&mut self, machine: &Machine, procs: &[Proc]) {
        self.run.look(self.run.now, procs);
        self.run.retire();
        self.promises.for_each(|promise| promise.after_step(&self.run, machine));
        self.run.record_step(machine);
    }

    /// Checks the report at the end of a run.
    pub(crate) fn holds_steps(&self, report: &Option<Value>) {
        report::holds_steps(&self.run, report);
    }

    /// Checks the number of killed processes in the report.
    pub(crate) fn holds_report(&self, killed: usize) {
        report::holds_kills(&self.run, killed);
    }
}
