//! In a shutdown that was requested, `/readyz` stays good until the end of `unready_delay`, and
//! meanwhile nothing that serves is stopped and no connection is refused. If the window is too
//! short, the delay leaves a second for each later stop.
//!
//! State: [`History::stays_ready`]. Checked when `/readyz` turns, and at stops and drains before.

use super::*;

#[derive(Clone, Debug, Default)]
pub(super) struct UnreadyDelay;

impl Promise for UnreadyDelay {
    fn on_action(&mut self, run: &History<'_>, action: &Action) {
        match *action {
            Action::StayReady => {
                run.hold(!run.is_unready(), "`/readyz` is good again in a shutdown");
                let is_asked = run.is_asked();
                // holds: S20
                run.hold(is_asked, "`/readyz` stays good although the stop was not requested");
            }
            Action::Unready => match run.unready_since {
                Some(since) if run.stays_ready => holds_delay(run, since),
                since => run.hold(since.is_none(), "`/readyz` turns 503 twice"),
            },
            Action::Stop { process, .. } => {
                let is_early = run[process].stops_early || run.has_not_taken_over(process);
                let is_good = run.stays_ready && !run[process].listens_on_nothing;
                // holds: S19
                run.hold(!is_good || is_early, "a stop while `/readyz` is good");
            }
            Action::CloseListeners(process) => {
                // holds: S15, S21
                run.hold(!run.stays_ready, "connections are refused while ready");
                run.hold(run.is_alive(process), "a count of a process that is gone");
            }
            Action::Note(Note::DrainOver { why, .. }) => {
                use DrainEnd::{Deadline, Hurried, NotLive, ProcessGone};
                let is_cut = matches!(why, ProcessGone | Hurried | Deadline | NotLive);
                // holds: S15
                run.hold(!run.stays_ready || is_cut, "a drain is over while ready");
            }
            _ => {}
        }
    }
}

// holds: C84
fn holds_delay(run: &History<'_>, since: Time) {
    if run.has_reloaded {
        return;
    }
    let spec = &run.scenario.spec;
    let (delay, window) = (spec.unready_delay, spec.window);
    let drained = spec.ids().filter(|id| spec.processes[id.index()].drain.is_some());
    let after = drained.map(|id| run.kept_after_drain(id, least_stop)).max();
    let least = delay.min(window.saturating_sub(after.unwrap_or_default()));
    let has_ended = run.count_ends > run.ended_before;
    // A second stop signal ends the wait. If an Envoy reports that it was never live, this may also
    // end the wait.
    let is_cut = run.stop_signals >= 2 || run.at.iter().any(|seen| seen.not_live);
    // holds: S13
    run.hold(run.now >= since + least || has_ended || is_cut, "not ready before the delay is over");
    let is_short = run.now <= run.seen_at(since + window.min(delay));
    // holds: S21
    run.hold(is_short, "`unready_delay` is longer than it says");
}
