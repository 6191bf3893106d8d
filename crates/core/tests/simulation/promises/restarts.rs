//! Only an instance starts that was not replaced. With `update: stop-first`, no older instance lives
//! then. If a request restarts a process, a dependency that is restarted, too, comes first.
//!
//! State: the starts that are already judged. Checked when a start begins.

use super::*;

#[derive(Clone, Debug, Default)]
pub(super) struct Restarts {
    /// Slots whose start under way was checked. A start reaches the check up to four times: for
    /// `only_if`, for leftovers of earlier instances, for the `pre_start` hook, and for the spawn. A
    /// request to restart the dependency may come between two of these steps.
    judged: BTreeSet<ProcessId>,
}

impl Promise for Restarts {
    fn on_action(&mut self, run: &History<'_>, action: &Action) {
        match *action {
            Action::CheckCondition { process, .. }
            | Action::EndLeftovers { process, .. }
            | Action::RunHook(HookId { process: Some(process), stage: Stage::PreStart }) => {
                self.holds_start(run, process);
            }
            Action::Spawn(process) => {
                self.holds_start(run, process);
                self.judged.remove(&process);
            }
            _ => {
                run.begins_anew(action).map(|slot| self.judged.remove(&slot));
            }
        }
    }
}

impl Restarts {
    fn holds_start(&mut self, run: &History<'_>, slot: ProcessId) {
        let role = run.roles[slot.index()];
        let may_start = matches!(role, Role::Current | Role::New { .. });
        run.hold(may_start, "a start of an instance that was replaced");
        // The slot of a newer instance that will replace this instance does not count.
        let is_newer = |id: &ProcessId| run.roles[id.index()] == Role::New { old: slot };
        let lives = run.beside(slot).any(|id| !is_newer(&id) && run.lives(id));
        let is_first = role == Role::Current && run[slot].started_as == 0;
        run.hold(!(is_first && lives), "an overlap in spite of `update: stop-first`");
        let moves = |&(on, condition): &(ProcessId, StartCondition)| {
            let Some(current) = run.slots.current(on.index()) else { return false };
            let needs_start =
                condition == StartCondition::Started && !run.slots.follows_any(slot, on.index());
            let SlotHistory { serves, started_as, on_its_way, .. } = run[current];
            run.restart_asked(current).is_some_and(|starts| {
                !serves && (started_as <= starts || on_its_way && !needs_start)
            })
        };
        let is_asked = run.restart_asked(slot).is_some_and(|starts| run[slot].started_as <= starts);
        // While a new instance waits for the dependency, `restart` may start the old one again.
        let is_old = run.beside(slot).any(|id| is_newer(&id));
        let is_judged = !self.judged.insert(slot) || is_old;
        let is_early = is_asked && !is_judged && run.of(slot).dependencies.iter().any(moves);
        // holds: C198, C205
        run.hold(!is_early, "restarted before a dependency that is restarted, too");
    }
}
