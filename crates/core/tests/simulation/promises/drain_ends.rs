//! A drain lasts at least its `min`, and at most the time that the core granted. It ends as quiet
//! only if the process has accepted it and the last sample shows at most `exit_at` connections, and
//! for lack of time only if the later steps of its path keep the rest.
//!
//! No state. Checked when a drain is over.

use super::*;

#[derive(Clone, Debug, Default)]
pub(super) struct DrainEnds;

impl Promise for DrainEnds {
    fn on_action(&mut self, run: &History<'_>, action: &Action) {
        let Action::Note(Note::DrainOver { process, why, .. }) = *action else { return };
        let seen = &run[process];
        let Some(((since, longest), times)) = seen.drain.zip(run.of(process).drain) else {
            return run.fail("a drain is over that has not begun");
        };
        let held = run.now.since(since) >= seen.drain_min.min(longest);
        match why {
            DrainEnd::Quiet => {
                // holds: S34
                run.hold(held, "a drain is over as quiet before `min`");
                let is_low = seen.last_active.is_some_and(|active| active <= times.exit_at);
                // holds: S35, C384
                run.hold(is_low, "a drain is over as quiet with too many connections");
                let is_accepted = seen.accepted == Some(true);
                // holds: S39
                run.hold(is_accepted, "a drain is over as quiet that was not accepted");
            }
            // holds: S36, C367, C638
            DrainEnd::Reported => run.hold(held, "a drain is over as reported before `min`"),
            // holds: S39, C367, C638
            DrainEnd::NotAccepted => {
                run.hold(held, "a drain is over as not accepted before `min`");
            }
            DrainEnd::TimeOver => run.hold(held, "a drain is over before `min`"),
            DrainEnd::Deadline => holds_no_early_end(run, process),
            DrainEnd::ProcessGone => {
                run.hold(!run.is_alive(process), "a drain is over as if the process was gone");
            }
            DrainEnd::Hurried => {
                let is_hurried = run.stop_signals >= 2;
                run.hold(is_hurried, "a drain is cut short without a second signal");
            }
            // holds: S231
            DrainEnd::NotLive => run.hold(seen.not_live, "not live, but nobody said so"),
        }
        // A drain may last longer than granted if other steps need less time than planned.
        let spec = &run.scenario.spec;
        let longest = longest.max(times.longest(run.window)).max(spec.unready_delay);
        let over = run.seen_at(run.seen_at(since + longest) + seen.closing);
        // If drainit was paused, a sample may have come too late, so drainit asks for one more.
        let again = if run.was_paused(since) { seen.closing } else { Duration::ZERO };
        // holds: S37, S45, C116
        run.hold(run.now <= run.seen_at(over + again), "a drain is longer than its bound");
    }
}

// holds: S38, S862
fn holds_no_early_end(run: &History<'_>, slot: ProcessId) {
    let Some(deadline) = run.deadline().filter(|_| !run.has_reloaded) else { return };
    let seen = &run[slot];
    if !seen.closing.is_zero() && run.count_ends > seen.ended_before_closing {
        // Time that becomes free after the listeners are closed is of no use.
        return;
    }
    let kept = run.kept_after_drain_now(slot, kept_stop);
    run.hold(deadline <= run.now + kept, "a drain ends while time is left that nobody needs");
}
