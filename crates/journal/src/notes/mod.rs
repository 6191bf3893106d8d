//! The notes of the core. For each note, one function records what has happened, and returns what
//! the log says about it. There is a file for each family of notes. Only the steps of the shutdown
//! are recorded elsewhere, in [`Steps::note`](crate::steps::Steps::note).

mod drains;
mod ends;
mod leftovers;
mod replacements;
mod requests;
mod shutdown;
mod starts;
mod stops;

use crate::Journal;
use crate::entry::Entry;
use crate::messages::DrainOver;
use crate::prelude::*;
use drainit_core::note::Note;
use drainit_core::state::State;
use drainit_core::types::{ProcessId, Time};

impl Journal {
    /// Records a note of the core, and returns its text and its event. Every note has both. `state`
    /// and `detail` have the same meaning as in [`Journal::note`].
    pub(crate) fn take(
        &mut self,
        now: Time,
        note: &Note,
        state: &State,
        detail: Option<&str>,
    ) -> Entry {
        let entry = match *note {
            Note::Skipped(process) => self.on_skipped(process),
            Note::Started(process) => self.on_started(now, process, state),
            Note::Ready { process, after } => self.on_ready(now, process, after),
            Note::AllReady => self.on_all_ready(now),
            Note::Overdue { process, why, after } => self.on_overdue(process, why, after, detail),
            Note::TimeoutExtended { process, limit } => self.on_timeout_extended(process, limit),
            Note::HookTimedOut(hook) => self.on_hook_timed_out(hook),

            Note::Completed { process, end, after } => {
                self.on_completed(now, process, end, after, detail)
            }
            Note::Ended { process, end, next } => self.on_ended(now, process, end, next, detail),
            Note::Failed { process, why, next } => self.on_failed(process, why, next),
            Note::ProbeFailed { process, failures, retries } => {
                self.on_probe_failed(process, failures, retries)
            }
            Note::Unhealthy(process) => self.on_unhealthy(process),

            Note::RequestBegan { process, request } => self.on_request_began(process, request),
            Note::FileChanged { process, action, .. } => {
                self.on_file_changed(process, action, detail)
            }
            Note::RequestDone { process, request } => self.on_request_done(process, request),
            Note::RequestFailed { process, request, why } => {
                self.on_request_failed(process, request, why, detail)
            }
            Note::Follows { process, on } => self.on_follows(process, on),

            Note::Replacing { process, overlaps, old } => self.on_replacing(process, old, overlaps),
            Note::TakesOver { process, .. } => self.on_takes_over(process),
            Note::HandedOver { process, limit, .. } => self.on_handed_over(process, limit),
            Note::Doomed { process, within } => self.on_doomed(process, within),
            Note::RolledBack { process, why, .. } => self.on_rolled_back(process, why),
            Note::Adding(process) => self.on_adding(process),
            Note::Removing(process) => self.on_removing(process),
            Note::ReloadDone => self.on_reload_done(),
            Note::ReloadFailed { why } => self.on_reload_failed(why),

            Note::DrainRequested => self.on_drain_requested(),
            Note::ShutdownBegan { cause, window, drained_for } => {
                self.on_shutdown_began(now, cause, window, drained_for)
            }
            Note::Delayed(delay) => self.on_delayed(delay),
            Note::Hurried(hurry) => self.on_hurried(hurry),
            Note::DeadlinePassed { late } => self.on_deadline_passed(late),
            Note::LeftoversRemain => self.on_leftovers_remain(),

            Note::DrainBegan { process, longest, min, counted } => {
                self.on_drain_began(now, process, longest, min, counted)
            }
            Note::StillDraining { process, load, left } => {
                self.on_still_draining(process, load, left)
            }
            Note::DrainOver { process, why, took, time, unused, last } => {
                self.on_drain_over(now, process, DrainOver { why, took, time, unused, last })
            }
            Note::OpenAgain { process, load, longest } => {
                self.on_open_again(process, load, longest)
            }
            Note::NotDrained { process, why } => self.on_not_drained(process, why),
            Note::EndedUndrained(process) => self.on_ended_undrained(process),

            Note::Stopping { process, signal, limit } => {
                self.on_stopping(now, process, signal, limit)
            }
            Note::Killed { process, after, why } => {
                self.on_killed(now, process, after, why, detail)
            }
            Note::Stopped { process, end, took, killed, handed_over } => {
                self.on_stopped(now, process, end, took, killed, handed_over)
            }
            Note::GroupRemains(process) => self.on_group_remains(process),
            Note::GroupGone { process, took } => self.on_group_gone(now, process, took),
            Note::Unkillable(process) => self.on_unkillable(process),

            Note::LeftoversFound { process, signal, limit } => {
                self.on_leftovers_found(process, signal, limit, detail)
            }
            Note::LeftoversKilled { process, after } => self.on_leftovers_killed(process, after),
            Note::LeftoversGone { process, took } => self.on_leftovers_gone(process, took),
            Note::LeftoversIgnored { process, are_known } => {
                self.on_leftovers_ignored(process, are_known)
            }
        };
        self.steps.note(now, note);
        entry
    }

    /// Begins the entry of a note about a process.
    fn about(&self, process: ProcessId, event: &'static str, text: impl Into<String>) -> Entry {
        let mut entry = Entry::new(event, text);
        entry.event.process = Some(self.names.of(process).to_owned());
        entry
    }

    /// Begins the entry of a note about one instance of a process.
    fn about_instance(
        &self,
        process: ProcessId,
        event: &'static str,
        text: impl Into<String>,
    ) -> Entry {
        let mut entry = self.about(process, event, text);
        entry.instance = Some(process);
        entry
    }
}
