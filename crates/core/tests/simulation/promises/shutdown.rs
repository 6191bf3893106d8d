//! A shutdown begins once, with its whole window. It begins neither because of an end that was asked
//! for, nor because of an old instance, nor because of a process that may be missing.
//!
//! No state. Checked when the shutdown begins.

use super::*;

#[derive(Clone, Debug, Default)]
pub(super) struct Shutdowns;

impl Promise for Shutdowns {
    fn on_action(&mut self, run: &History<'_>, action: &Action) {
        let Action::Note(Note::ShutdownBegan { cause, window, .. }) = *action else { return };
        run.hold(run.shutdown.is_none(), "two shutdowns");
        // holds: S2
        run.hold(window <= run.window, "a shutdown has more time than its window");
        let is_whole = window == run.window || run.held_at.is_some();
        // holds: S2
        run.hold(is_whole, "a shutdown has less time than its window");
        match cause {
            Cause::Ended { process, .. } => {
                let is_asked = run[process].stops_early;
                run.hold(!is_asked, "an end that was asked for begins the shutdown");
                let is_current = run.is_current(process);
                run.hold(is_current, "an end of an old instance begins the shutdown");
            }
            Cause::Failed { process, why } if why != Failure::Unhealthy => {
                let spec = run.of(process);
                let is_missed = spec.required || spec.on_exit.failure != ExitPolicy::Ignore;
                // holds: C350
                run.hold(is_missed, "a process that may be missing begins the shutdown");
            }
            _ => {}
        }
    }
}
