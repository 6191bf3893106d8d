//! The results of the current step.

use crate::action::Action;
use crate::event::Request;
use crate::note::{Note, RequestError};
use crate::prelude::*;
use crate::spec::{HookId, Stage};
use crate::types::{ProcessId, StartCondition, Time};

#[derive(Clone, Debug, Default)]
pub struct Step {
    /// Processes whose lifecycle or role was set. A process can be in the list more than once.
    pub touched: Vec<ProcessId>,
    /// Processes whose `reached` has changed.
    pub arrived: Vec<ProcessId>,
    /// The conditions that new instances have met, even if earlier instances had met them.
    pub met: Vec<(ProcessId, StartCondition)>,
    actions: Vec<Action>,
}

impl Step {
    /// Forgets the results of the previous step.
    pub(crate) fn begin(&mut self) {
        self.touched.clear();
        self.arrived.clear();
        self.met.clear();
    }

    pub fn act(&mut self, action: Action) {
        self.actions.push(action);
    }

    pub(crate) fn take_actions(&mut self) -> Vec<Action> {
        core::mem::take(&mut self.actions)
    }

    pub fn note(&mut self, note: Note) {
        self.act(Action::Note(note));
    }

    /// Answers a request, and notes the outcome.
    pub(crate) fn answer(
        &mut self,
        process: ProcessId,
        request: Request,
        outcome: Result<(), RequestError>,
    ) {
        self.act(Action::Answer { process, request, outcome });
        self.note(match outcome {
            Ok(()) => Note::RequestDone { process, request },
            Err(why) => Note::RequestFailed { process, request, why },
        });
    }

    /// Answers a reload, and notes the outcome.
    pub(crate) fn answer_reload(&mut self, outcome: Result<(), RequestError>) {
        self.act(Action::AnswerReload(outcome));
        self.note(match outcome {
            Ok(()) => Note::ReloadDone,
            Err(why) => Note::ReloadFailed { why },
        });
    }

    /// Starts a hook whose limit is over at `until`, and returns this time.
    pub fn run_hook(&mut self, process: Option<ProcessId>, stage: Stage, until: Time) -> Time {
        self.act(Action::RunHook(HookId { process, stage }));
        until
    }

    /// Kills a hook that is no longer needed.
    pub fn abort_hook(&mut self, process: Option<ProcessId>, stage: Stage) {
        self.act(Action::AbortHook(HookId { process, stage }));
    }

    /// Kills a hook that has taken too long.
    pub fn time_out_hook(&mut self, process: Option<ProcessId>, stage: Stage) {
        self.abort_hook(process, stage);
        self.note(Note::HookTimedOut(HookId { process, stage }));
    }
}
