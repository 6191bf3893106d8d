//! drainit asks a process to end once, and only after its dependents have ended. Exceptions are a
//! restart, a failed start and a failed liveness check of the process. During a drain without a
//! stop, nothing is stopped.
//!
//! No state. Checked where a stop begins, with a drain, a `pre_stop` hook or the stop signal.

use super::*;

#[derive(Clone, Debug, Default)]
pub(super) struct Stops;

impl Promise for Stops {
    fn on_action(&mut self, run: &History<'_>, action: &Action) {
        if let Action::Stop { process, .. } = *action {
            run.hold(run.is_alive(process), "a stop signal to a process that is gone");
            run.hold(!run[process].signalled, "two stop signals to a process");
        }
        let Some(process) = begins(run, action) else { return };
        if !run.is_unready() {
            let is_alone = run[process].alone;
            run.hold(is_alone || run[process].by_request, "a stop without a reason");
            if is_alone {
                return;
            }
        } else {
            // holds: C112, C513
            run.hold(run.shutdown.is_some(), "a stop during a held drain");
        }
        // After a pause beyond the deadline, drainit asks all that remain, in no order.
        let slept = kills::has_slept_through_deadline(run);
        if slept && run.deadline().is_some_and(|at| run.now >= run.seen_at(at)) {
            return;
        }
        for dependent in run.above(process) {
            let is_gone = !run.lives(dependent) || run.survives(dependent);
            // holds: S53, S58, S113, S200, S220, C159, C358
            run.hold(is_gone, "a stop before the stop of a dependent");
        }
    }
}

/// The process whose stop begins with this action. A stop that has begun before the shutdown does
/// not count, and in a shutdown neither does that of an instance to which another has not handed
/// over, or from which another has taken over.
pub(super) fn begins(run: &History<'_>, action: &Action) -> Option<ProcessId> {
    let process = match *action {
        Action::RunHook(HookId { process: Some(process), stage: Stage::PreStop }) => process,
        Action::Drain { process, .. } if !run.is_unready() => process,
        Action::Stop { process, .. }
            if !run[process].stops_early && !run.has_not_taken_over(process) =>
        {
            process
        }
        _ => return None,
    };
    let is_back = run.roles[process.index()] == Role::Leaving && !run[process].taken_over;
    let is_beside = run.has_not_taken_over(process) || is_back;
    Some(process).filter(|_| !run.is_unready() || !is_beside)
}
