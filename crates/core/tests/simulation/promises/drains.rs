//! A process that was serving is drained before its stop, once, if any time is left for a drain. In
//! a shutdown, its drain begins after the container's `pre_stop` hook and after the drains of its
//! dependents have ended. The stop then waits for requests that are still open. If its drain is off,
//! one note before the stop says so.
//!
//! State: `drain`, `drained` and `was_serving` of [`SlotHistory`]. Checked at drains and stops.

use super::*;

#[derive(Clone, Debug, Default)]
pub(super) struct Drains;

impl Promise for Drains {
    fn on_action(&mut self, run: &History<'_>, action: &Action) {
        match *action {
            Action::Drain { process, min, longest } => holds_drain(run, process, min, longest),
            Action::Stop { process, .. } => {
                let seen = &run[process];
                let is_due = run.of(process).drain.is_some() && seen.was_serving;
                let is_drained = seen.drained || seen.not_drained;
                let is_over = is_drained || run.stop_signals >= 2 || seen.handed_over;
                // holds: S23, S25, S220, C239, C653, C658
                run.hold(!is_due || is_over, "a stop without a drain");
                let is_off = run.of(process).drain_off.is_some() && seen.was_serving;
                // holds: S920, S922
                run.hold(
                    !is_off || seen.told_off || is_over,
                    "a stop without a note of the drain that is off",
                );
                holds_open(run, process);
            }
            Action::Note(Note::NotDrained { process, why }) if why != WhyUndrained::NoTime => {
                let seen = &run[process];
                let is_off = run.of(process).drain_off.map(WhyUndrained::from) == Some(why);
                run.hold(is_off, "a note that the drain is off, though it is on");
                let is_due = run.is_alive(process) && seen.asked.is_none() && !seen.handed_over;
                run.hold(is_due, "a note of a drain that would not be due");
                run.hold(!seen.told_off && !seen.drained, "a second note that the drain is off");
            }
            Action::Note(Note::EndedUndrained(process)) => {
                run.hold(!run.is_alive(process), "a process counts as ended that is alive");
                let was_asked = run[process].asked.is_some();
                run.hold(!was_asked, "an end counts as undrained that was asked for");
                run.hold(run.shutdown.is_some(), "an end counts as undrained without a shutdown");
            }
            _ => {}
        }
    }
}

fn holds_drain(run: &History<'_>, process: ProcessId, min: Duration, longest: Duration) {
    for dependent in run.above(process).into_iter().filter(|_| run.is_unready()) {
        // holds: S23, C370
        run.hold(!run[dependent].draining, "a drain during the drain of a dependent");
    }
    let Some(((_, granted), times)) = run[process].drain.zip(run.of(process).drain) else {
        return run.fail("a drain without a note");
    };
    run.hold(min <= longest && longest == granted, "the times of a drain and its note differ");
    if run.is_unready() {
        let runs_hook = run.runs_hook(None, Stage::PreStop);
        // holds: S12, C143, C615
        run.hold(!runs_hook, "a drain while the container's hook runs");
        for below in run.slots.all().filter(|id| run.above(*id).contains(&process)) {
            let is_early = run[below].drain.is_none() || run[below].drained_early;
            // holds: S23, C370, C658
            run.hold(is_early, "a drain after the drain of a dependency");
        }
    } else {
        let is_full = longest == times.longest(run.window) || run[process].unhealthy;
        run.hold(is_full && min == times.min, "less than a full drain");
    }
    // holds: C113
    run.hold(!run[process].drained, "a drain begins again");
}

/// If the final count has shown open requests, the stop of the process waits. In a shutdown, the
/// wait ends with the time of the drain. If the drain was over when the stop signal came, the wait
/// takes as long as a drain, counted from the stop signal. The end of any process shortens the wait.
/// The deadline may shorten it, too, if the drain began before the shutdown.
fn holds_open(run: &History<'_>, slot: ProcessId) {
    let seen = &run[slot];
    let Some(((since, longest), times)) = seen.drain.zip(run.of(slot).drain) else { return };
    // After a reload, the drain may have the times of another config, which are not known here.
    if run.held_at.is_some() && !run.scenario.reloads.is_empty() {
        return;
    }
    let held = run.shutdown.filter(|_| run.held_at.is_some() && seen.is_held).map(|shutdown| {
        let left = shutdown.deadline.since(shutdown.t0);
        let kept = run.kept_after_drain(slot, kept_stop);
        (shutdown.t0, times.longest(left).min(left.saturating_sub(kept)))
    });
    // holds: S506
    let (since, longest) = held.unwrap_or((since, longest));
    let is_shorter =
        seen.drained_early || run.count_ends > seen.ended_before_drain || run.stop_signals >= 2;
    let is_asked = run.shutdown.is_some() && run.is_asked();
    if seen.was_quiet && run.is_unready() && is_asked && !is_shorter {
        let is_open = seen.last_active.is_some_and(|open| open > times.exit_at);
        // holds: S185
        run.hold(!is_open || run.now >= since + longest, "a stop while requests are in flight");
    }
}
