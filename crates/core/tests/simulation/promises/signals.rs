//! A second stop signal ends drains and `pre_stop` hooks, and a third stop signal or the deadline
//! kills all processes. As soon as nothing holds up the stop of a process, the stop begins.
//!
//! No state. Checked in a shutdown after each step.

use super::*;

#[derive(Clone, Debug, Default)]
pub(super) struct Signals;

impl Promise for Signals {
    fn after_step(&mut self, run: &History<'_>, machine: &Machine) {
        if !run.is_unready() || run.exit.is_some() {
            return;
        }
        let runs = |stage| run.hooks.iter().any(|hook| hook.stage == stage);
        // holds: S5, C657
        run.hold(!runs(Stage::PreStart), "a `pre_start` hook runs in a shutdown");
        if run.stop_signals >= 2 && run.shutdown.is_some() {
            // holds: S41, S106, S108
            run.hold(!run.at.iter().any(|seen| seen.draining), "a drain after a second signal");
            // holds: S106
            run.hold(!runs(Stage::PreStop), "a pre_stop hook after a second signal");
        }
        // An event that comes exactly at the deadline is handled before the deadline takes effect.
        let expired = machine.state().timers_at;
        let is_over = run.stop_signals >= 3 || run.deadline().is_some_and(|at| at <= expired);
        // The promise is not checked after a reload: a process whose step has not begun may still
        // need a process that the reload removes.
        let is_stopping = matches!(machine.phase(), Phase::Stopping(_)) && !run.has_reloaded;
        for id in run.slots.all().filter(|id| run.is_alive(*id) && run[*id].started) {
            let is_killed = run[id].survives_at.is_some();
            // holds: S57, S62, S107
            // holds: S925
            let was_asked_late = run.stop_signals < 3
                && kills::has_slept_through_deadline(run)
                && run[id].asked.is_some_and(|(asked, _)| {
                    run.deadline().is_some_and(|at| asked >= run.seen_at(at))
                        && run.now <= run.seen_at(asked + LEAST_STOP)
                });
            let is_due = is_over && !was_asked_late;
            run.hold(!is_due || is_killed, "no SIGKILL after the deadline or a third signal");
            let waits = || run.above(id).into_iter().any(|above| holds_up(run, above, machine));
            let is_right = !is_stopping || is_killed || is_begun(run, id, machine) || waits();
            // holds: S53, S56, S64
            run.hold(is_right, "a stop waits without a reason");
        }
    }
}

/// Whether the stop of a process has begun, or waits for another instance of the process.
fn is_begun(run: &History<'_>, id: ProcessId, machine: &Machine) -> bool {
    run[id].asked.is_some()
        || run.runs_hook(id, Stage::PreStop)
        // The last dependent has taken long to stop, so the connections are counted again.
        || run[id].draining && run[id].drain_over
        || epochs::newer(run, id).is_some()
        // A newer epoch may be a member of this epoch's process group, so drainit waits for the
        // newer epoch first.
        || run.slots_of(run.slots.process(id)).any(|other| {
            let is_starting = machine.state().life(other) == Lifecycle::Spawning;
            run.proc(other).group || is_starting
        })
}

/// Whether a dependent holds up the stops of its dependencies.
fn holds_up(run: &History<'_>, id: ProcessId, machine: &Machine) -> bool {
    // If a process got SIGKILL before the shutdown, the core may notice up to 200 ms late that the
    // process has survived.
    let late = Duration::from_millis(200);
    let survives = run[id].survives_at.is_some_and(|at| at + late <= machine.state().timers_at);
    run.lives(id) && !survives
        || run.runs_hook(id, Stage::PostStop)
        || machine.state().life(id) == Lifecycle::Spawning
}
