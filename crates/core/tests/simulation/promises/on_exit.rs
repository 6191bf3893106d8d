//! After the end or the failure of a process, drainit does what its `on_exit` says, unless `restart`
//! starts it again. The end of an old instance has no effect. A oneshot is complete if its exit code
//! is one of its `success_codes`, and only then.
//!
//! State: the last event. Checked when a process has ended or failed, and when a oneshot is complete.

use super::*;

#[derive(Clone, Debug, Default)]
pub(super) struct Consequences {
    last: Option<Event>,
}

impl Promise for Consequences {
    fn on_event(&mut self, _: &History<'_>, event: Event) {
        self.last = Some(event);
    }

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
                let fails = !of.oneshot || !is_success(of, end);
                run.hold(fails, "a oneshot that has succeeded is not complete");
                run.hold(run.is_current(process), "the end of an old instance has an effect");
            }
            Action::Note(Note::Completed { process, .. }) => {
                let of = run.of(process);
                let succeeds = match self.last {
                    Some(Event::Exited { process: id, end, .. }) => {
                        id == process && is_success(of, end)
                    }
                    _ => false,
                };
                run.hold(succeeds && of.oneshot, "a process that has failed is complete");
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

fn is_success(of: &ProcessSpec, end: End) -> bool {
    matches!(end, End::Code(code) if of.success_codes.contains(&code))
}

/// Whether drainit may do `next` after an end or a failure if `on_exit` has this policy.
fn is_consequence(policy: ExitPolicy, next: AfterEnd) -> bool {
    let stops = matches!(next, AfterEnd::Shutdown | AfterEnd::Exhausted);
    matches!(next, AfterEnd::Restart { .. }) || stops == (policy != ExitPolicy::Ignore)
}
