//! In a process group that outlives its process, the orphans are asked to end first, once. The other
//! members get the signal as soon as the orphans are gone. drainit looks whether a process is
//! exiting only if it has asked it to end.
//!
//! State: whether the rest of a group has to get the signal in this step. Checked at signals to
//! groups, and after each step.

use super::*;

#[derive(Clone, Debug, Default)]
pub(super) struct Groups {
    owes_rest: bool,
}

impl Promise for Groups {
    fn on_event(&mut self, run: &History<'_>, event: Event) {
        if let Event::OrphansGone(process) = event {
            let seen = &run[process];
            // The report may be that of an earlier instance, whose group is gone.
            self.owes_rest =
                seen.orphans_gone != Some(true) && seen.survives_at.is_none() && seen.gone;
        }
    }

    // holds: S720
    fn on_action(&mut self, run: &History<'_>, action: &Action) {
        match *action {
            Action::StopOrphans { process, .. } => {
                let is_first = run[process].orphans_gone.is_none();
                run.hold(is_first, "two stop signals to the orphans of a group");
            }
            Action::StopGroup { process, signal } => {
                let is_next = run[process].orphans_gone == Some(true);
                let is_killed = signal == Signal::KILL;
                run.hold(is_next != is_killed, "a signal to a group before its orphans are gone");
                self.owes_rest = false;
            }
            Action::LookForExit(process) => {
                let (proc, seen) = (run.proc(process), &run[process]);
                let is_due = proc.alive && seen.signalled || proc.group && seen.rest_signalled;
                run.hold(is_due, "a look at a process that was not asked to end");
            }
            _ => {}
        }
    }

    // holds: S720
    fn after_step(&mut self, run: &History<'_>, _: &Machine) {
        run.hold(!self.owes_rest, "the rest of a group gets no signal when its orphans are gone");
    }
}
