//! Epochs are the Envoys of a chain of hot restarts. At most two of them live. While a newer epoch
//! lives, the older one gets no signal and no early SIGKILL, and it drains in full. An epoch that
//! has not taken over, or that Envoy aborts, is ended by SIGKILL.
//!
//! State: the flags `pending`, `handed_over`, `taken_over` and `doomed` of [`SlotHistory`]. Checked
//! at starts, stops and kills, and after each step.

use super::*;

#[derive(Clone, Debug, Default)]
pub(super) struct Epochs;

impl Promise for Epochs {
    fn on_action(&mut self, run: &History<'_>, action: &Action) {
        match *action {
            Action::Spawn(process) if run.of(process).update == Update::HotRestart => {
                run.other_epoch(process).into_iter().for_each(|other| {
                    holds_start_beside(run, process, other);
                });
            }
            Action::Stop { process, signal } if run.proc(process).is_epoch => {
                holds_stop(run, process, signal);
            }
            Action::StopOrphans { process, signal } | Action::StopGroup { process, signal } => {
                let is_left = run[process].handed_over && run.other_epoch(process).is_some();
                run.hold(!is_left, "the rest of an epoch is stopped before a newer epoch");
                let is_killed = signal == Signal::KILL;
                let is_right = is_killed == run[process].pending;
                run.hold(is_right, "the wrong signal to the rest of an epoch");
            }
            Action::Kill(process) if !run.proc(process).group => holds_handover(run, process),
            Action::Note(Note::HandedOver { process, to, .. }) => {
                let is_leaving = run.roles[process.index()] == Role::Leaving;
                run.hold(is_leaving, "a current epoch is handed over");
                run.hold(run.is_current(to), "an epoch is handed over to a new instance");
                let is_renewed = run[process].handed_over;
                run.hold(is_renewed || run[process].asked.is_none(), "handed over after a stop");
            }
            Action::Note(Note::Doomed { process, .. }) => {
                run.hold(run.proc(process).aborts, "doomed, but Envoy does not abort it");
            }
            Action::Note(Note::Overdue { process, why, .. })
                if !matches!(why, Failure::TimedOut { .. }) =>
            {
                let is_live = run[process].pending && run.proc(process).is_live;
                // holds: C474
                run.hold(!is_live, "a start of an epoch fails that has taken over");
            }
            _ => {}
        }
    }

    /// If the old epoch ends before the new epoch has taken over, drainit stops the new epoch.
    fn after_step(&mut self, run: &History<'_>, _: &Machine) {
        for id in run.slots.all().filter(|id| run[*id].pending) {
            let Role::New { old } = run.roles[id.index()] else { continue };
            let is_stopped = run[id].asked.is_some() || run[id].group_killed;
            let is_lost = run.is_alive(id) && !run.is_alive(old) && !is_stopped;
            run.hold(!is_lost, "a new epoch runs on without the old epoch");
        }
    }
}

fn holds_start_beside(run: &History<'_>, slot: ProcessId, other: ProcessId) {
    let (proc, seen) = (run.proc(other), &run[other]);
    let is_spoilt = proc.newer_failed && run.is_current(slot);
    run.hold(!is_spoilt, "a start beside an epoch that cannot hand over");
    let ends = proc.is_passed
        || seen.signalled
        || seen.group_killed
        || seen.asked.is_some() && !seen.handed_over;
    run.hold(!ends, "a start beside an epoch that is about to end");
    run.hold(!proc.aborts, "a start beside an epoch that Envoy aborts");
}

/// The other living epoch of the process, if that epoch is newer than this slot.
pub(super) fn newer(run: &History<'_>, slot: ProcessId) -> Option<ProcessId> {
    run.other_epoch(slot).filter(|other| run[*other].started_as > run[slot].started_as)
}

/// While a newer epoch lives, drainit sends no signal to an older epoch: the newer epoch would
/// abort when the older epoch ends. If an epoch has not taken over, drainit stops it with SIGKILL,
/// because SIGTERM would also end the older epoch.
fn holds_stop(run: &History<'_>, slot: ProcessId, signal: Signal) {
    run.hold(newer(run, slot).is_none(), "an epoch is asked to end before a newer epoch ends");
    let is_due = run[slot].pending || run.proc(slot).aborts;
    run.hold((signal == Signal::KILL) == is_due, "the wrong signal to an epoch");
    let others: Vec<_> = run.beside(slot).collect();
    let is_old = run.is_taken_over(slot);
    let was_asked = others.iter().any(|other| run[*other].asked.is_some());
    let is_cut =
        run.is_unready() && run.at.iter().any(|seen| seen.draining) && is_old && !was_asked;
    run.hold(!is_cut, "an old epoch is asked to end during a drain");
    // When an epoch that has taken over is asked to end, it asks the older epoch to end, too. An
    // Envoy without a drain is possible only in a config that `drainit check` refuses.
    let is_drained = |id: &ProcessId| {
        let is_passed_on = run[*id].asked.is_some() && !run[*id].pending;
        run[*id].drain_over || is_passed_on || run.of(*id).drain.is_none()
    };
    let is_asked = |id: &ProcessId| run[*id].by_request || run[*id].given_up;
    let is_stopped = run.is_unready() || others.iter().any(is_asked);
    let is_left = is_old && is_stopped && run.of(slot).drain.is_some();
    let is_over = run[slot].drain_over || others.iter().any(is_drained);
    let is_hurried = run.stop_signals >= 2;
    run.hold(!is_left || is_over || is_hurried, "an old epoch is stopped before its drain is over");
}

/// While a newer epoch lives, drainit kills an older epoch only after the time in which the newer
/// epoch should have ended it (`handover`).
fn holds_handover(run: &History<'_>, slot: ProcessId) {
    let newer = run.other_epoch(slot);
    let newer = newer.filter(|_| run[slot].handed_over && run.stop_signals < 3);
    let limit = newer.and_then(|newer| run.of(newer).handover);
    let (Some(newer), Some(limit)) = (newer, limit) else { return };
    let is_asked = run[newer].asked.is_some() || run[newer].group_killed;
    let had_time = run.proc(newer).started.is_some_and(|at| at + limit <= run.now);
    let is_over = is_asked || had_time || run.is_past_deadline();
    run.hold(is_over, "killed before a newer epoch could end it");
}
