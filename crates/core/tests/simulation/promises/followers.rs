//! A running process with `restart: true` is restarted after every new instance of the dependency,
//! once for all dependencies that get a new instance together, and not in a shutdown. If drainit
//! has stopped a process for such a restart, it starts the process again.
//!
//! State: `behind` and `follows` of [`SlotHistory`]. Checked when a process follows, and after each
//! step.

use super::*;

#[derive(Clone, Debug, Default)]
pub(super) struct Followers;

impl Promise for Followers {
    fn on_action(&mut self, run: &History<'_>, action: &Action) {
        let Action::Note(Note::Follows { process, .. }) = *action else { return };
        let seen = &run[process];
        // holds: C209
        run.hold(!run.is_unready(), "a process follows in a shutdown");
        // holds: C203
        run.hold(seen.behind, "a process follows without a reason");
        run.hold(!seen.stops_early, "a process follows that is being stopped");
        let waits = run.waits_to_follow(process, |on| run.is_alive(on) && run[on].on_its_way);
        // holds: C204, C205
        run.hold(!waits, "a process follows before a dependency that it also follows");
        let base = run.slots.process(process);
        let is_first = run.reload.as_ref().is_none_or(|reload| !reload.followed.contains(&base));
        run.hold(is_first, "a process follows twice in a reload");
    }

    // holds: C198, C199, C200, C201, C240, C655
    fn after_step(&mut self, run: &History<'_>, _: &Machine) {
        for id in run.slots.all().filter(|id| !run.is_unready() && run.is_current(*id)) {
            let seen = &run[id];
            let is_excused = run.reload.is_some() || seen.doomed || may_stay_behind(run, id);
            run.hold(!seen.behind || is_excused, "a dependent does not follow");
            let ends = seen.by_request || run.runs_hook(id, Stage::PostStop);
            let is_left = seen.follows && !run.lives(id) && !ends;
            // A second restart of the dependency may have begun meanwhile. A restart in a reload or
            // by request also waits for a dependency that the process does not follow.
            let request = (run.slots.process(id), Request::Restart);
            let is_asked = run.reload.is_some() || run.asked_for.contains(&request);
            let is_left = is_left
                && !(waits_for_followed(run, id) || is_asked && waits_for_restarted(run, id));
            run.hold(!is_left, "a process that follows is not started again");
        }
    }
}

/// Whether a process may now miss the restart that it needs to follow a dependency: something else
/// stops or replaces it, or it waits for another process.
pub(super) fn may_stay_behind(run: &History<'_>, id: ProcessId) -> bool {
    let seen = &run[id];
    seen.stops_early
        || seen.by_request
        || seen.draining
        || run.is_replaced(id)
        || waits_for_followed(run, id)
}

/// Whether a dependency is being restarted to follow its own dependency.
fn waits_for_restarted(run: &History<'_>, id: ProcessId) -> bool {
    let needed = run.of(id).dependencies.iter();
    let mut currents = needed.filter_map(|(on, _)| run.slots.current(on.index()));
    currents.any(|on| run[on].follows || run[on].on_its_way)
}

/// Whether a process that this process follows is about to start, to end or to be replaced.
fn waits_for_followed(run: &History<'_>, id: ProcessId) -> bool {
    run.waits_to_follow(id, |on| {
        let is_asked = run.asked_for.contains(&(run.slots.process(on), Request::Start));
        let SlotHistory { on_its_way, alone, by_request, doomed, .. } = run[on];
        on_its_way || alone || by_request || is_asked || doomed
    })
}
