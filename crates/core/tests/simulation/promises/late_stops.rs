//! A stop begins during the drains only if no drain needs the process, and if its declared time, or
//! that of a later step, would not fit later. As soon as a stop that no drain needs would no longer
//! fit, it begins.
//!
//! No state. Checked where a stop begins in a shutdown, and during the drains after each step.

use super::*;

#[derive(Clone, Debug, Default)]
pub(super) struct LateStops;

impl Promise for LateStops {
    fn on_action(&mut self, run: &History<'_>, action: &Action) {
        let Some(slot) = stops::begins(run, action) else { return };
        let needs_drain = |id: ProcessId| is_open(run, id, run.is_alive(id) && !run[id].gone);
        let is_hurried = run.stop_signals >= 2;
        if !run.is_unready() || is_hurried || !run.slots.all().any(needs_drain) {
            return;
        }
        let is_needed = needs_drain(slot) || run.above(slot).into_iter().any(needs_drain);
        // holds: S24
        run.hold(!is_needed, "a stop during a drain that needs the process");
        if run.has_reloaded {
            return;
        }
        // holds: S769
        run.hold(!run.runs_hook(None, Stage::PreStop), "a stop while the container's hook runs");
        let needs = run.path_from(slot, |_, of| kept_stop(of)) + run.needed_at_the_end();
        let is_late = run.deadline().is_some_and(|deadline| deadline <= run.now + needs);
        // holds: S860
        run.hold(is_late, "a stop before the drains are over");
        let serves = !run[slot].listens_on_nothing;
        // holds: S861
        run.hold(!serves || !run.is_delaying(), "a stop of a server during the delay");
    }

    // holds: S860
    fn after_step(&mut self, run: &History<'_>, machine: &Machine) {
        let Phase::Draining(draining) = machine.phase() else { return };
        let (Some(deadline), Some(since)) = (run.deadline(), run.unready_since) else { return };
        let is_waiting =
            draining.counts() || run.runs_hook(None, Stage::PreStop) || run.has_reloaded;
        if is_waiting || run.is_replacing() {
            return;
        }
        let now = machine.state().timers_at;
        for id in run.slots.all().filter(|id| run.is_alive(*id)) {
            let seen = &run[id];
            let is_asked = seen.asked.is_some() || seen.survives_at.is_some();
            let is_needed = run.above(id).into_iter().any(|above| {
                let life = machine.state().life(above);
                run.lives(above) || run[above].is_in_drain() || !life.releases_dependencies()
            });
            let is_begun = is_asked || run.runs_hook(id, Stage::PreStop);
            if !seen.started || is_open(run, id, true) || is_begun || is_needed {
                continue;
            }
            // A stop that is under way passes beside this one.
            let declared = run.path_from(id, |id, of| {
                if run.is_stopping(id) { Duration::ZERO } else { declared_stop(of) }
            });
            let is_late = deadline < now + declared;
            let spec = &run.scenario.spec;
            let served = since + spec.readiness_delay.max(spec.unready_delay);
            let may_serve = !seen.listens_on_nothing && now <= served;
            run.hold(!is_late || may_serve, "a stop that no drain needs waits too long");
        }
    }
}

/// Whether a process is being drained, or still has to be drained if it `runs`.
fn is_open(run: &History<'_>, id: ProcessId, runs: bool) -> bool {
    let seen = &run[id];
    let is_due = seen.was_serving && runs && run.of(id).drain.is_some();
    seen.is_in_drain() || is_due && !seen.drained && !seen.not_drained
}
