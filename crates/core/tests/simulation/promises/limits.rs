//! The time from a stop signal to SIGKILL is all the time that the process has, less what later
//! steps keep in a shutdown, and at least an equal share of the time left. It ends before the
//! deadline.
//!
//! No state. Checked when a process is asked to end.

use super::*;

#[derive(Clone, Debug, Default)]
pub(super) struct Limits;

impl Promise for Limits {
    fn on_action(&mut self, run: &History<'_>, action: &Action) {
        match *action {
            Action::Note(Note::Stopping { process, limit, signal }) if signal != Signal::KILL => {
                holds_limit(run, process, limit);
            }
            _ => {}
        }
    }
}

fn holds_limit(run: &History<'_>, slot: ProcessId, limit: Duration) {
    let full = run.stop_limit(slot);
    let Some(deadline) = run.deadline() else {
        let is_full = limit == full || run.is_unready() || run[slot].handed_over;
        return run.hold(is_full, "less than the full time without a deadline");
    };
    if kills::has_slept_through_deadline(run) && run.now >= run.seen_at(deadline) {
        // holds: S925
        return run.hold(limit <= full.min(LEAST_STOP), "too long a limit after the deadline");
    }
    let left = deadline.since(run.now);
    run.hold(limit <= left, "a limit beyond the deadline");
    // holds: S77, S862
    run.hold(limit <= full, "more time to stop than the process has");
    // The promise is not checked if a newer epoch ends an older one, because both ends together
    // need more time.
    if run.has_reloaded || run.at.iter().any(|seen| seen.handed_over) {
        return;
    }
    let free = left.saturating_sub(run.kept_after_now(slot));
    // holds: S75, S78, S81, S862
    run.hold(limit >= full.min(free), "less time to stop although nobody needs the time");
    let share = least_stop(run.of(slot)).min(left / run.steps_from(slot));
    // holds: S76, S80
    run.hold(limit + Duration::from_millis(1) >= share, "a stop has less than its share");
}
