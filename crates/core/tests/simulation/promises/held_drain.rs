//! After a drain without a stop (`POST /drain`), the container stops only for a reason. If the stop
//! signal comes during the drain or shortly after it, the drain may be that of a `preStop` hook, so
//! the grace period counts from the request to drain. Otherwise the stop gets its whole window.
//!
//! State: when the drain was over, and whether a process has ended since the request. Checked when
//! the shutdown begins.

use super::*;

/// If a stop signal comes within this time after a requested drain, the drain may be that of a
/// `preStop` hook, and the grace period counts from the request.
const HOOK_TO_SIGNAL: Duration = Duration::from_secs(5);

#[derive(Clone, Debug, Default)]
pub(super) struct HeldDrain {
    rests_since: Option<Time>,
    /// Whether a process has ended after the request without being asked to.
    has_unasked_end: bool,
}

impl Promise for HeldDrain {
    fn on_event(&mut self, run: &History<'_>, event: Event) {
        if let Event::Exited { process, .. } = event {
            self.has_unasked_end |= run.held_at.is_some() && run[process].asked.is_none();
        }
    }

    fn on_action(&mut self, run: &History<'_>, action: &Action) {
        let Action::Note(Note::ShutdownBegan { cause, window, .. }) = *action else { return };
        let Some(held_at) = run.held_at else { return };
        let is_left = cause == Cause::AllEnded && !self.has_unasked_end;
        run.hold(!is_left, "a held drain ends, but no process ended");
        let is_within = run.now < held_at + run.window + run.scenario.spec.reserve
            && self.rests_since.is_none_or(|over| run.now < over + HOOK_TO_SIGNAL);
        let left = (held_at + run.window).since(run.now).max(budget::LEAST.min(run.window));
        let counts = if is_within { left } else { run.window };
        // holds: C114, C115
        run.hold(window == counts, "the deadline does not count from the held drain");
    }

    fn after_step(&mut self, _: &History<'_>, machine: &Machine) {
        if let Phase::Draining(draining) = machine.phase()
            && draining.is_resting(machine.state())
        {
            self.rests_since.get_or_insert(machine.state().now);
        }
    }
}
