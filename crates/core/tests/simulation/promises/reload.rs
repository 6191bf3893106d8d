//! A reload brings one process after the other to the new config: dependencies before dependents,
//! and no process is removed before its dependents. It is done when every process matches the new
//! config, no old instance lives, and every follower of a replaced process is restarted.
//!
//! State: [`History::reload`]. Checked at the begin and the end of each step.

use super::*;

#[derive(Clone, Debug, Default)]
pub(super) struct Reloads;

impl Promise for Reloads {
    fn on_action(&mut self, run: &History<'_>, action: &Action) {
        match *action {
            Action::Adopt { slot, of, is_newer: true } if slot != of => holds_step(run, of),
            Action::Redefine(slot) if run.plans(Placed::Changed(slot)) => {
                run.hold(!run.lives(slot), "a running process is redefined");
            }
            Action::Redefine(slot) => {
                run.hold(run.plans(Placed::Same(slot)), "a process has the wrong definition");
            }
            Action::Note(Note::Replacing { old, overlaps: false, .. }) => holds_step(run, old),
            Action::Note(Note::Adding(process)) => {
                let is_due = run.roles[process.index()] == Role::Reserved;
                run.hold(is_due, "a process is added twice");
                holds_step(run, process);
            }
            Action::Note(Note::Removing(process)) => holds_removal(run, process),
            Action::Note(Note::ReloadDone) => holds_done(run),
            Action::Note(Note::ReloadFailed { .. }) => {
                run.hold(run.reload.is_some(), "an answer without a reload")
            }
            _ => {}
        }
    }
}

pub(super) fn holds_begin(run: &History<'_>) {
    run.hold(run.reload.is_none(), "two reloads at a time");
    run.hold(!run.is_unready(), "a reload in a shutdown");
}

/// Checks that the previous step of the reload is over.
fn holds_one_step(run: &History<'_>) {
    let Some(reload) = &run.reload else { return };
    let is_over = reload.begun.is_disjoint(&reload.left) && !run.roles.contains(&Role::Leaving);
    run.hold(is_over, "a step of a reload before the end of the last step");
}

/// Checks that the step of the reload for this process may begin: all its dependencies match the
/// new config already.
fn holds_step(run: &History<'_>, slot: ProcessId) {
    holds_one_step(run);
    let Some(index) = run.slots.in_config(slot) else {
        return run.fail("a step of a process that the config does not have");
    };
    let Some(reload) = &run.reload else { return };
    let mut needs = run.slots.definition(index).dependencies.iter();
    let is_due = needs.all(|(on, _)| !reload.left.contains(&on.index()));
    run.hold(is_due, "a process is replaced before its dependencies");
}

/// Checks the removal of a process that is no longer in the config.
fn holds_removal(run: &History<'_>, slot: ProcessId) {
    run.hold(run.reload.is_some(), "a process is removed without a reload");
    holds_one_step(run);
    let process = run.slots.process(slot);
    let is_needed = run.slots.all().any(|id| {
        // A process with `Placed::Same` is not checked: only its dependencies in the new config
        // count, and the removed process is not among them.
        let stays = !matches!(run.roles[id.index()], Role::Leaving | Role::Retired)
            && !run.plans(Placed::Same(id));
        stays && run.of(id).dependencies.iter().any(|(on, _)| on.index() == process)
    });
    run.hold(!is_needed, "a process is removed before its dependents");
}

fn holds_done(run: &History<'_>) {
    let Some(reload) = &run.reload else { return run.fail("an answer without a reload") };
    run.hold(run.slots.are_new(), "a reload is done, but a process has not changed");
    let leaves = run.roles.contains(&Role::Leaving);
    run.hold(!leaves, "a reload is done, but an old instance lives");
    for process in &reload.followed {
        let is_replaced = run.slots_of(*process).count() > 1;
        let current = run.slots.current(*process);
        let moves = current.is_some_and(|it| run[it].follows || run[it].on_its_way);
        // holds: C477
        run.hold(!is_replaced && !moves, "a reload is done, but a follower is not");
    }
    for id in run.slots.all() {
        let has_followed = reload.followed.contains(&run.slots.process(id));
        let is_behind = run.is_current(id) && run[id].behind && !has_followed;
        // If a dependency is `behind`, too, it is restarted after the reload, and this process
        // waits for that restart.
        let waits =
            followers::may_stay_behind(run, id) || run.waits_to_follow(id, |on| run[on].behind);
        // holds: C477
        run.hold(!is_behind || waits, "a reload is done, but a dependent does not follow");
    }
}
