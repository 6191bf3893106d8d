//! A running instance is replaced once at a time. A new instance with `update: start-first` starts
//! beside one that serves, and the old instance is stopped only when the new one is ready. As soon
//! as a drain or a shutdown begins, an instance that has not taken over is stopped.
//!
//! No state. Checked where a slot comes into use, takes over or is rolled back, and in a drain after
//! each step.

use super::*;

#[derive(Clone, Debug, Default)]
pub(super) struct Replacements;

impl Promise for Replacements {
    fn on_action(&mut self, run: &History<'_>, action: &Action) {
        match *action {
            Action::Adopt { slot, of, is_newer } => holds_adoption(run, slot, of, is_newer),
            Action::Note(Note::Replacing { process, old, overlaps: true }) => {
                let is_new = run.roles[process.index()] == Role::New { old };
                run.hold(is_new, "a replacement in another slot");
                let (new, old) = (run.of(process), run.of(old));
                let takes_over = new.update != Update::HotRestart || new.base_id == old.base_id;
                run.hold(takes_over, "an Envoy beside another from which it cannot take over");
            }
            Action::Note(Note::Replacing { process, old, overlaps: false }) => {
                run.hold(process == old, "another slot without an overlap");
            }
            Action::Note(Note::TakesOver { process, old }) => {
                run.hold(!run.is_unready(), "a replacement in a shutdown");
                let is_new = run.roles[process.index()] == Role::New { old };
                run.hold(is_new, "a slot that is not new takes over");
                let is_left_out = run.of(process).conditional && run.reload.is_some();
                let is_ready = run[process].serves || is_left_out;
                // holds: C332, C656
                run.hold(is_ready, "the old instance is stopped before the new instance is ready");
            }
            Action::Note(Note::RolledBack { process, old, .. }) => {
                let is_new = run.roles[process.index()] == Role::New { old };
                // holds: C335
                run.hold(is_new, "an instance that serves is rolled back");
            }
            _ => {}
        }
    }

    // holds: C336
    fn after_step(&mut self, run: &History<'_>, machine: &Machine) {
        let is_draining = matches!(machine.phase(), Phase::Draining(_));
        for id in run.slots.all().filter(|_| is_draining) {
            let seen = &run[id];
            let is_new = run.is_new(id) && run.of(id).update == Update::StartFirst || seen.pending;
            let is_stopped = seen.asked.is_some()
                || seen.group_killed
                || run.runs_hook(id, Stage::PreStop) && !seen.pending
                || !run.is_alive(id)
                || machine.state().life(id) == Lifecycle::Spawning;
            run.hold(!is_new || is_stopped, "a new instance runs on beside a drained one");
        }
    }
}

/// Checks that a replacement may begin: the process has only one slot, and the new slot is free.
fn holds_adoption(run: &History<'_>, slot: ProcessId, of: ProcessId, is_newer: bool) {
    run.hold(!run.is_unready(), "a replacement in a shutdown");
    let is_added = of == slot;
    if is_added {
        run.hold(run.plans(Placed::New(slot)), "an unknown process is added");
    } else {
        run.hold(run.is_current(of), "an instance that was replaced is replaced again");
        run.hold(!run.is_replaced(of), "two replacements of a process at a time");
        // holds: C330, C656
        run.hold(run[of].serves, "an overlap while nothing serves");
    }
    let is_free = run.roles.get(slot.index()).is_none_or(|role| *role == Role::Retired);
    run.hold(is_free, "a new instance in a slot that is in use");
    run.hold(slot.index() < 3 * run.slots.processes(), "free slots are not used again");
    run.hold(!run.lives(slot), "a slot is reused while its process is alive");
    let may_step = run.plans(Placed::Changed(of));
    run.hold(!is_newer || is_added || may_step, "an unchanged process gets another definition");
    // holds: C330
    let overlaps = is_added || run.slots.next(of, is_newer).update.overlaps();
    run.hold(overlaps, "an overlap without such an `update`");
}
