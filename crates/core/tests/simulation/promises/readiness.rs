//! The container is ready while every process serves, even while an old and a new instance overlap.
//! It is not ready while the new instance of a required process waits for the end of the old one,
//! before a required process is added, or in a shutdown.
//!
//! State: the processes that get a new definition. Checked after each step.

use super::*;

#[derive(Clone, Debug, Default)]
pub(super) struct Readiness {
    /// Slots that get a new definition once their instance is gone.
    redefined: BTreeSet<ProcessId>,
}

impl Promise for Readiness {
    fn on_action(&mut self, run: &History<'_>, action: &Action) {
        run.begins_anew(action).map(|slot| self.redefined.remove(&slot));
        if let Action::Note(Note::Replacing { old, overlaps: false, .. }) = *action {
            self.redefined.insert(old);
        }
    }

    // holds: C96, C611
    fn after_step(&mut self, run: &History<'_>, machine: &Machine) {
        if let Phase::Running(running) = machine.phase() {
            let mut currents =
                (0..run.slots.processes()).filter_map(|process| run.slots.current(process));
            let all_serve =
                currents.all(|id| run[id].serves && !run[id].alone && !run[id].by_request);
            let has_removed = run.reload.as_ref().is_some_and(|reload| reload.has_removed);
            let lacks_process = has_removed && run.reserved().any(|slot| run.of(slot).required);
            let (was_ready, is_ready) = (running.was_ready(), running.is_ready(machine.state()));
            let is_right = is_ready || !was_ready || !all_serve || lacks_process;
            run.hold(is_right, "not ready although every process serves");
            let is_waiting = |slot: &ProcessId| run.of(*slot).required && run.is_alive(*slot);
            let waits = self.redefined.iter().any(is_waiting);
            run.hold(!waits || !is_ready, "ready while a required process is down");
            run.hold(!(lacks_process && is_ready), "ready before a required process is added");
        }
        let is_right = run.is_unready() || run.shutdown.is_none() || run.exit.is_some();
        // holds: S9, C611
        run.hold(is_right, "ready in a shutdown");
    }
}
