//! Writes the log line of each [`Note`] of the core, with the details that only the supervisor
//! knows.

use crate::core::cause::Failure;
use crate::core::note::{AfterEnd, Note, RequestError};
use crate::journal::entry::Level;
use crate::keys::{LogFormat, LogMode, Watch};
use crate::known;
use crate::supervisor::executor::Executor;
use crate::supervisor::tasks::file_watch::path_to_text;
use crate::types::{ProcessId, Time};

/// The remedy for a failed restart that ends the container.
const SLOW_RESTART: &str = "set `required: false` and `on_exit: ignore` if the container can run \
                            without it, or a longer `readiness.timeout`";

impl Executor {
    /// The details that only the supervisor knows, for the log line of a note. Keeps some of these
    /// details for the status.
    fn detail(&mut self, note: &Note) -> Option<String> {
        match *note {
            Note::FileChanged { process, watch, .. } => {
                let process = self.process(process);
                process.watch.get(watch).map(|Watch { path, .. }| path_to_text(path))
            }
            Note::Overdue { process, why, .. } => {
                let is_start = matches!(why, Failure::NotReady { .. });
                let is_missed = is_start && self.failure_ends_container(process);
                let remedy = is_missed.then(|| SLOW_RESTART.to_owned());
                join([remedy, self.keep_last_lines(process)])
            }
            Note::LeftoversFound { process, .. } => self.leftovers_found(process),
            Note::Completed { process, .. } => self.in_background(process),
            Note::Killed { process, .. } if self.instance(process).pid.is_none() => {
                self.groups.members(process)
            }
            Note::Killed { process, after: Some(_), .. } => {
                let process = self.process(process);
                let known = known::find(&process.command)?;
                known.why_alive(process.stop_signal)
            }
            Note::Ended { process, end, next } => {
                let spec = self.processes.machine().state().process(process);
                let is_success = spec.is_success(end);
                let may_hide = is_success && !spec.oneshot;
                let left = may_hide.then(|| self.in_background(process)).flatten();
                if let Some(left) = &left {
                    let why = format!("{end}; {left}");
                    self.processes.history(process).end.coming_why = Some(why.into());
                }
                let is_last = matches!(next, AfterEnd::Shutdown | AfterEnd::Exhausted);
                let lines =
                    if is_last || !is_success { self.keep_last_lines(process) } else { None };
                // If the lines went to the container's output, the log already has them right above
                // this line.
                let is_elsewhere = matches!(self.process(process).log.mode, LogMode::File(_));
                join([left, lines.filter(|_| is_last && is_elsewhere)])
            }
            Note::RequestFailed { why: RequestError::Ended { process, .. }, .. } => {
                self.keep_last_lines(process)
            }
            _ => None,
        }
    }

    /// Keeps the last lines of an instance that failed, and returns them as text.
    fn keep_last_lines(&mut self, process: ProcessId) -> Option<String> {
        let log = self.instance(process).log.as_ref()?;
        // After a failure, no line has to match the pattern of the readiness any more, and matching
        // takes long.
        log.forget_pattern();
        log.pump();
        let last = log.last_lines();
        let lines = (!last.is_empty()).then(|| format!("its last lines:\n  {}", last.join("\n  ")));
        self.processes.journal.tally(process).last_lines = last.into();
        lines
    }

    /// Adds a note to the journal, and writes its line.
    pub(crate) fn write(&mut self, now: Time, note: &Note) {
        let detail = self.detail(note);
        let entry = self.processes.note(now, note, detail.as_deref());
        let is_json = self.logs.output.format() == LogFormat::Json;
        let members = is_json.then(|| entry.event.members());
        let line = entry.line();
        match entry.level {
            Level::Error => tracing::error!(members, "{line}"),
            Level::Warning => tracing::warn!(members, "{line}"),
            Level::Info => tracing::info!(members, "{line}"),
        }
    }

    /// Whether the process was restarted, and its failure ends the container.
    fn failure_ends_container(&self, process: ProcessId) -> bool {
        let state = self.processes.machine().state();
        state[process].restarts.count > 0 && !state.process(process).may_be_missing()
    }
}

fn join(parts: [Option<String>; 2]) -> Option<String> {
    parts.into_iter().flatten().reduce(|before, after| format!("{before}; {after}"))
}
