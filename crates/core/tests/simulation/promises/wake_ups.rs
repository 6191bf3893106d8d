//! After each step, the core asks to be woken at a time in the future, or not at all: drainit never
//! spins.
//!
//! No state. Checked after each step.

use super::*;

#[derive(Clone, Debug, Default)]
pub(super) struct WakeUps;

impl Promise for WakeUps {
    fn after_step(&mut self, run: &History<'_>, machine: &Machine) {
        let expired = machine.state().timers_at;
        let is_late = machine.next_wakeup().is_some_and(|wakeup| wakeup <= expired);
        run.hold(!is_late, "the next wake-up is not in the future");
    }
}
