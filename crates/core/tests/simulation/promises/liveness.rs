//! A liveness check fails after `retries` failed probes in a row, and not in a shutdown. A failed
//! check begins the stop of the process at once, if the stop has not begun.
//!
//! State: the failed probes of each process, and the check that has failed in this step. Checked
//! when a check fails, and after each step.

use super::*;

#[derive(Clone, Debug, Default)]
pub(super) struct Liveness {
    /// The number of failed liveness probes in a row, and the number that fails the check. No entry
    /// without a check, or after `Event::Unhealthy`.
    failures: BTreeMap<ProcessId, (u32, u32)>,
    /// The process that has failed its liveness check in this step.
    failed: Option<ProcessId>,
}

impl Promise for Liveness {
    fn on_event(&mut self, _: &History<'_>, event: Event) {
        match event {
            Event::LivenessProbed { process, is_alive } => {
                if let Some((failures, retries)) = self.failures.get_mut(&process) {
                    *failures = if is_alive { 0 } else { *failures + 1 };
                    self.failed = Some(process).filter(|_| failures >= retries);
                }
            }
            Event::Unhealthy(process) => {
                self.failures.remove(&process);
                self.failed = Some(process);
            }
            _ => {}
        }
    }

    fn on_action(&mut self, run: &History<'_>, action: &Action) {
        match *action {
            Action::WatchLiveness(process) => {
                run.hold(run.is_alive(process), "a liveness check of a gone process");
                // holds: C229, C242
                run.hold(!run.is_unready(), "a liveness check in a shutdown");
                self.failures.remove(&process);
                let retries = run.of(process).liveness_retries;
                self.failures.extend(retries.map(|retries| (process, (0, retries))));
            }
            Action::Note(Note::Failed { why: Failure::Unhealthy, .. }) => {
                run.hold(run.shutdown.is_none() && !run.is_unready(), "unhealthy in a shutdown");
            }
            Action::Note(Note::Unhealthy(process)) => {
                let failures = self.failures.get(&process);
                let is_due = failures.is_none_or(|(so_far, retries)| so_far >= retries);
                // holds: C237
                run.hold(is_due, "a liveness check fails after too few failed probes");
                run.hold(run.shutdown.is_none() && !run.is_unready(), "unhealthy in a shutdown");
                run.hold(run.is_alive(process), "a gone process fails its liveness check");
            }
            _ => {}
        }
    }

    // holds: C237
    fn after_step(&mut self, run: &History<'_>, machine: &Machine) {
        let Some(process) = self.failed.take() else { return };
        let seen = &run[process];
        let is_ready = matches!(machine.state().life(process), Lifecycle::Ready { .. });
        let is_begun = match seen.unhealthy {
            true => !is_ready || seen.draining || seen.drain_over,
            false => seen.alone || seen.by_request || !seen.serves,
        };
        let is_over = run.is_unready() || run.shutdown.is_some() || run.held_at.is_some();
        run.hold(is_begun || is_over, "a failed liveness check has no consequence");
    }
}
