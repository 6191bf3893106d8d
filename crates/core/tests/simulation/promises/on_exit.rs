//! After the end or the failure of a process, drainit does what its `on_exit` says, unless `restart`
//! starts it again. The end of an old instance has no effect.
//!
//! No state. Checked when a process has ended or failed.

use super::*;

#[derive(Clone, Debug, Default)]
pub(super) struct Consequences;

impl Promise for Consequences {
    fn on_action(&mut self, run: &History<'_>, action: &Action) {
        match *action {
            Action::Note(Note::Ended { process, end, next }) => {
                let of = run.of(process);
                let policy = match end {
                    End::Code(code) if of.success_codes.contains(&code) => of.on_exit.success,
                    End::Code(_) => of.on_exit.failure,
                    End::Signal(_) | End::OutOfMemory(_) => of.on_exit.signal,
                };
                // holds: C689, C690
                run.hold(is_consequence(policy, next), "an end does not follow `on_exit`");
                run.hold(run.is_current(process), "the end of an old instance has an effect");
            }
            Action::Note(Note::Failed { process, next, .. }) => {
                let policy = run.of(process).on_exit.failure;
                // holds: C691
                run.hold(is_consequence(policy, next), "a failure does not follow `on_exit`");
            }
            _ => {}
        }
    }
}

/// Whether drainit may do `next` after an end or a failure if `on_exit` has this policy.
fn is_consequence(policy: ExitPolicy, next: AfterEnd) -> bool {
    let stops = matches!(next, AfterEnd::Shutdown | AfterEnd::Exhausted);
    matches!(next, AfterEnd::Restart { .. }) || stops == (policy != ExitPolicy::Ignore)
}
