//! Some notes tell of work, such as the answer to a client. The action for this work comes just
//! before the note, and never without the note. Nobody reads of an answer that was not given, and no
//! output holds up the shutdown.
//!
//! State: the last action, if its note has to follow at once. Checked at each action.

use super::*;

#[derive(Clone, Debug, Default)]
pub(super) struct Notes {
    work: Option<Action>,
}

impl Promise for Notes {
    fn on_action(&mut self, run: &History<'_>, action: &Action) {
        let work = self.work.take();
        let told = match *action {
            Action::Note(Note::Started(process)) if run.of(process).readiness_timeout.is_none() => {
                Some(Action::Serves(process))
            }
            Action::Note(Note::Ready { process, .. }) => Some(Action::Serves(process)),
            Action::Note(Note::Unhealthy(process)) => Some(Action::EndLiveness(process)),
            Action::Note(Note::AllReady) => Some(Action::TellReady),
            Action::Note(Note::ShutdownBegan { .. }) => {
                let is_limit = |work: &Action| matches!(work, Action::ShutdownBegins { .. });
                run.hold(work.as_ref().is_some_and(is_limit), "output holds up the shutdown");
                return;
            }
            Action::Note(Note::RequestDone { process, request }) => {
                Some(Action::Answer { process, request, outcome: Ok(()) })
            }
            Action::Note(Note::RequestFailed { process, request, why }) => {
                Some(Action::Answer { process, request, outcome: Err(why) })
            }
            Action::Note(Note::ReloadDone) => Some(Action::AnswerReload(Ok(()))),
            Action::Note(Note::ReloadFailed { why }) => Some(Action::AnswerReload(Err(why))),
            _ => None,
        };
        run.hold(work == told, "a note and its work differ");
        self.work = is_told(action).then(|| action.clone());
    }
}

/// Whether a note tells of this action.
pub(crate) fn is_told(action: &Action) -> bool {
    matches!(
        action,
        Action::Serves(_)
            | Action::EndLiveness(_)
            | Action::TellReady
            | Action::ShutdownBegins { .. }
            | Action::Answer { .. }
            | Action::AnswerReload(_)
    )
}
