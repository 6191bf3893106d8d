//! A start fails only after its readiness timeout. While the container runs, drainit stops a oneshot
//! that runs longer than its `timeout`, not earlier, and then kills it if its stop takes too long. A
//! process that asks for more time gets it, but in a shutdown no more than the deadline leaves.
//!
//! State: when the timeouts of each running instance are over. Checked at each action.

use super::*;

/// An exit that an operator asked for gets this time after the limit of its stop.
const MOST_EXIT: Duration = Duration::from_secs(5);

#[derive(Clone, Debug, Default)]
pub(super) struct Timeouts {
    ready_by: BTreeMap<ProcessId, Time>,
    /// For oneshots.
    complete_by: BTreeMap<ProcessId, Time>,
}

impl Promise for Timeouts {
    fn on_event(&mut self, run: &History<'_>, event: Event) {
        let Event::TimeoutExtended { process, by } = event else { return };
        if let Some(at) = self.ready_by.get_mut(&process).filter(|at| run.now < **at) {
            *at = (*at).max(run.now + by);
        }
        // An event that comes exactly at a limit is handled before the limit takes effect.
        let complete_by = self.complete_by.get_mut(&process);
        if let Some(at) = complete_by.filter(|at| run.now <= run.seen_at(**at)) {
            *at = (*at).max(run.now + by);
        }
    }

    // holds: C154
    fn on_action(&mut self, run: &History<'_>, action: &Action) {
        for (&process, &complete_by) in &self.complete_by {
            let seen = &run[process];
            // If a request stops the oneshot, the stop waits for the dependents, so the oneshot may
            // run longer.
            if run.is_unready() || !run.is_alive(process) || seen.by_request {
                continue;
            }
            let complete_by = run.seen_at(complete_by);
            let is_stopped = run.now <= complete_by || seen.stops_early;
            run.hold(is_stopped, "a oneshot runs longer than its timeout");
            let hook = run.of(process).hooks.pre_stop;
            let gone_by = match seen.asked {
                Some((asked, limit)) => asked + limit.min(FOREVER),
                None => complete_by + hook.map_or(Duration::ZERO, |hook| hook.limit),
            };
            // SIGKILL would not end an exit sooner.
            let exits = if run.proc(process).exits { MOST_EXIT } else { Duration::ZERO };
            let is_killed = run.now <= run.seen_at(gone_by + exits) || seen.group_killed;
            run.hold(is_killed, "a oneshot is not killed after its timeout");
        }
        let is_over = |at: Option<&Time>| at.is_some_and(|at| *at <= run.now);
        match *action {
            Action::Spawn(process) => {
                self.ready_by.remove(&process);
                self.complete_by.remove(&process);
            }
            Action::Note(Note::Started(process)) => {
                let of = run.of(process);
                self.ready_by
                    .extend(of.readiness_timeout.map(|within| (process, run.now + within)));
                self.complete_by.extend(of.timeout.map(|within| (process, run.now + within)));
            }
            Action::Note(Note::Overdue { process, why: Failure::TimedOut { .. }, .. }) => {
                let is_late = is_over(self.complete_by.get(&process));
                run.hold(is_late, "a oneshot times out before its `timeout`");
            }
            Action::Note(Note::Overdue { process, .. }) => {
                let is_late = is_over(self.ready_by.get(&process));
                // holds: C219, C252
                run.hold(is_late, "a start fails before its readiness timeout");
            }
            Action::Note(Note::TimeoutExtended { limit, .. }) => {
                let is_left = run.deadline().is_none_or(|deadline| run.now + limit <= deadline);
                // holds: C255
                run.hold(is_left, "more time than the deadline leaves");
            }
            _ => {}
        }
    }
}
