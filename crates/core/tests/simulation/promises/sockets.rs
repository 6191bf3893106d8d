//! In a shutdown, drainit holds no listening socket for a process that was asked to end or is gone:
//! a connection in this socket would never be accepted. Before, drainit closes no socket of a
//! process that serves, and it closes each socket once.
//!
//! No state. Checked before each event, and where sockets are released.

use super::*;

#[derive(Clone, Debug, Default)]
pub(super) struct Sockets;

impl Promise for Sockets {
    // holds: C187
    fn on_event(&mut self, run: &History<'_>, _: Event) {
        for slot in run.slots.all().filter(|_| run.is_unready()) {
            let seen = &run[slot];
            let is_over = seen.asked.is_some() || seen.gone;
            let is_held = run.of(slot).listens && !seen.released;
            run.hold(!(is_over && is_held), "connections wait for a process that is gone");
        }
    }

    fn on_action(&mut self, run: &History<'_>, action: &Action) {
        let Action::ReleaseSockets(process) = *action else { return };
        let is_over = run.is_unready() || !run.is_current(process);
        // holds: C188
        run.hold(is_over, "the sockets of a process are closed before a shutdown");
        run.hold(!run[process].released, "sockets are released twice");
    }
}
