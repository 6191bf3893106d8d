//! drainit sends SIGKILL to a process once, and only after it has asked the process to end and its
//! time is over, at the deadline, or after a third stop signal. No process gets SIGKILL while time
//! is left that nobody needs. The line in the log names what ended the time of the stop.
//!
//! State: `asked`, `signalled` and `group_killed` of [`SlotHistory`]. Checked at each SIGKILL.

use super::*;

/// drainit notices a deadline this late only if it could not run.
const PAUSED: Duration = Duration::from_millis(100);

#[derive(Clone, Debug, Default)]
pub(super) struct Kills;

impl Promise for Kills {
    fn on_action(&mut self, run: &History<'_>, action: &Action) {
        match *action {
            Action::Kill(process) => holds_kill(run, process),
            Action::Note(Note::Killed { process, after: Some(after), why }) => {
                let is_true = is_limit(run, process, after, why) || run.has_reloaded;
                // holds: S768
                run.hold(is_true, "a SIGKILL for another reason than it says");
            }
            Action::Note(Note::Stopped { process, end, killed, .. }) => {
                let by_kill = end.signal() == Some(Signal::KILL) || run.proc(process).group;
                let is_killed = run[process].group_killed && by_kill;
                // holds: S840
                run.hold(killed == is_killed, "killed, but by its own end");
            }
            _ => {}
        }
    }
}

fn holds_kill(run: &History<'_>, process: ProcessId) {
    let (seen, is_rest) = (&run[process], run.proc(process).group);
    let was_asked = if is_rest { seen.rest_signalled } else { seen.signalled };
    if !is_rest {
        let is_early = seen.stops_early;
        run.hold(run.shutdown.is_some() || is_early, "a SIGKILL without a stop");
        let obeys = run.has_faultless_shutdown() && !is_early && !run.has_lost_time();
        run.hold(!obeys, "a SIGKILL although every process obeys");
        run.hold(run.is_alive(process), "a SIGKILL to a process that is gone");
        run.hold(!seen.group_killed, "two SIGKILLs to a process");
    }
    holds_asked(run, process, was_asked);
    holds_asked_after_pause(run, process);
    if run.stop_signals < 3 && !run.has_lost_time() {
        if !is_rest && !run.has_reloaded {
            holds_asked_in_time(run, process);
        }
        holds_no_early_kill(run, process);
    }
}

/// drainit kills a process only after it has asked the process to end. Exceptions: the deadline, a
/// third stop signal, and an epoch that a newer epoch ends in place of drainit.
fn holds_asked(run: &History<'_>, slot: ProcessId, was_asked: bool) {
    let is_left = run.beside(slot).any(|other| {
        let is_newer = run[other].started_as > run[slot].started_as;
        // A newer epoch that was asked to end has asked this epoch to end, too. This still holds if
        // the newer epoch has ended, and only other members of its process group live.
        let proc = run.proc(other);
        let lives = proc.alive || proc.group && run[other].signalled;
        is_newer && lives && !run.survives(other)
    });
    let is_family = run.beside(slot).next().is_some();
    let is_due = run.is_past_deadline() && (!has_slept_through_deadline(run) || is_family);
    let is_excused = is_due || run.stop_signals >= 3 || is_left;
    // holds: S55, S63, S925
    run.hold(was_asked || is_excused, "a SIGKILL without a request to end");
}

/// Whether drainit could not run when the deadline came.
pub(super) fn has_slept_through_deadline(run: &History<'_>) -> bool {
    run.deadline().is_some_and(|deadline| run.seen_at(deadline) >= deadline + PAUSED)
}

/// If drainit could not run when the deadline came, a process that was asked to end only after this
/// pause gets a second.
fn holds_asked_after_pause(run: &History<'_>, slot: ProcessId) {
    let (Some((asked, _)), Some(deadline)) = (run[slot].asked, run.deadline()) else { return };
    let is_late = has_slept_through_deadline(run) && asked >= run.seen_at(deadline);
    if !is_late
        || run.stop_signals >= 3
        || run.proc(slot).group
        || run.beside(slot).next().is_some()
    {
        return;
    }
    let least = run.stop_limit(slot).min(LEAST_STOP);
    // holds: S925
    run.hold(run.now >= asked + least, "less than a second after a pause beyond the deadline");
}

/// drainit sends SIGKILL to a process only after it has waited for the process's share of the time.
fn holds_asked_in_time(run: &History<'_>, process: ProcessId) {
    let share = run.share(process);
    // A process that survives SIGKILL takes time from the other processes, so their shares are not
    // checked.
    let mut behaviours = run.scenario.behaviours.iter().chain(&run.scenario.variants);
    let is_obstructed = behaviours.any(|of| of.ends_after_kill.is_none());
    let seen = &run[process];
    match seen.asked {
        Some((at, limit)) if seen.stops_early => {
            // A shutdown that began after the stop signal may have shortened the time of the
            // process.
            let from = run.held_at.or(run.t0()).map_or(at, |from| from.max(at));
            let later = run.kept_after(process);
            // If the process was granted more time, it keeps the part that the later stops do not
            // need.
            let (left, later) = match seen.extended {
                true => (run.window.saturating_sub(later), later),
                false => (share, Duration::ZERO),
            };
            let is_over = run.deadline().is_some_and(|deadline| deadline <= run.now + later);
            let is_due = run.now >= at + limit
                || run.now >= from + left
                || run.now >= at + share && is_in_vain(run, process)
                || is_over;
            // holds: S8, S55, C162
            run.hold(is_due || is_obstructed, "a SIGKILL before the limit");
        }
        Some((at, limit)) => {
            let is_due = run.now >= at + limit.min(share) && is_in_vain(run, process);
            run.hold(run.now >= at + limit || is_due, "a SIGKILL before the limit");
            // holds: S63, S76, S78, S200, C149
            run.hold(is_obstructed || limit >= share, "less time to stop than its share");
        }
        None => {
            // holds: S63
            run.hold(share < Duration::from_millis(1), "a SIGKILL without a stop signal");
        }
    }
}

// holds: S862
fn holds_no_early_kill(run: &History<'_>, slot: ProcessId) {
    let (Some((asked, _)), Some(deadline)) = (run[slot].asked, run.deadline()) else { return };
    let is_family =
        run[slot].pending || run.at.iter().any(|seen| seen.handed_over || seen.taken_over);
    if run.has_reloaded || run.is_replacing() || is_family {
        return;
    }
    let own = run.of_config(slot).stop;
    // In a shutdown that somebody asked for, only the deadline limits a stop without a declared
    // time, even if the stop began before.
    // holds: S840
    let is_limited = (own.is_some() || !run.is_asked()) && !run.proc(slot).exits;
    let from = run.t0().map_or(asked, |t0| asked.max(t0));
    let left = deadline.since(from);
    let is_short = left < run.kept_after(slot) + LEAST_STOP;
    let short = own.unwrap_or(budget::MOST_KEPT).min(left / run.steps_from(slot));
    let is_over = is_limited && run.now >= asked + run.stop_limit(slot)
        || deadline <= run.now + run.kept_after_now(slot)
        || is_short && run.now >= from + short;
    let is_in_vain = is_in_vain(run, slot) && run.now >= asked + run.share(slot);
    run.hold(is_over || is_in_vain, "a SIGKILL while time is left that nobody needs");
}

/// Whether the process declares no time, and drainit has seen that it ignores its stop signal.
fn is_in_vain(run: &History<'_>, slot: ProcessId) -> bool {
    run[slot].ignores && run.of_config(slot).stop.is_none()
}

/// Whether this limit has ended the time of the stop.
fn is_limit(run: &History<'_>, slot: ProcessId, after: Duration, why: StopLimit) -> bool {
    let is_over = run.is_past_deadline();
    let of = run.of(slot);
    match why {
        StopLimit::Own { is_declared } => {
            is_declared == of.stop.is_some() && after >= run.stop_limit(slot)
        }
        StopLimit::Kept { by, time, is_declared } => {
            let is_below = by.is_some_and(|by| run.above(by).contains(&slot));
            let of_container = run.scenario.spec.hooks.post_stop.filter(|_| by.is_none());
            let hook = if by == Some(slot) { of.hooks.post_stop } else { of_container };
            let left = run.deadline().map_or(run.window, |deadline| deadline.since(run.now));
            let is_kept = (is_below || hook.is_some()) && time <= left + LEAST_STOP;
            is_declared == of.stop.is_some() && is_kept && !is_over
        }
        // holds: S891
        StopLimit::Ignored => run[slot].ignores && of.stop.is_none() && !is_over,
        StopLimit::Deadline { is_declared } => is_declared == of.stop.is_some() && is_over,
        StopLimit::Other => !is_over || run.stop_signals >= 3,
    }
}
