//! After each step, the core asks to be woken at a time in the future, or not at all: drainit never
//! spins. The core does not ask too late, either: right before that time, nothing is due.
//!
//! No state. Checked after each step, and what is due only in one of [`RUNS`] runs, because the
//! check takes a copy of the core.

use super::*;

const RUNS: u64 = 8;

#[derive(Clone, Debug, Default)]
pub(super) struct WakeUps;

impl Promise for WakeUps {
    fn after_step(&mut self, run: &History<'_>, machine: &Machine) {
        let expired = machine.state().timers_at;
        let wakeup = machine.next_wakeup();
        let is_late = wakeup.is_some_and(|wakeup| wakeup <= expired);
        run.hold(!is_late, "the next wake-up is not in the future");
        if !is_late && run.scenario.seed % RUNS == 1 {
            // Without a wake-up, time alone causes no action.
            let next = wakeup.map_or(FOREVER, |wakeup| wakeup.since(expired));
            let before = expired + next.saturating_sub(Duration::from_nanos(1));
            let mut actions = machine.clone().handle(before, Event::Tick);
            // A count that becomes too old meanwhile is repeated at the next event only.
            actions.retain(|action| !matches!(action, Action::CloseListeners(_)));
            run.hold(actions.is_empty(), "an action was due before the wake-up");
        }
    }
}
