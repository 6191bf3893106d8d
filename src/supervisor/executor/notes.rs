//! Writes the log line of a note and adds it to the report.

use crate::config::Watch;
use crate::core::action::Action;
use crate::core::event::Event;
use crate::core::note::{AfterEnd, Note, RequestError};
use crate::os::service_manager;
use crate::report::messages;
use crate::report::messages::Level;
use crate::supervisor::executor::Executor;
use crate::supervisor::file_watch::shown;
use crate::types::Time;

impl Executor {
    /// Adds an event that the machine has handled to the report.
    pub(crate) fn handled(&mut self, now: Time, event: Event) {
        if let (Event::SpawnFailed { process, .. }, Some(events)) = (event, &mut self.events) {
            events.start_failed(process);
        }
        let machine = self.status_board.machine.borrow();
        self.report.borrow_mut().event(now, event, machine.phase());
    }

    /// Adds an action to the report.
    pub(crate) fn carries_out(&self, now: Time, action: &Action) {
        self.report.borrow_mut().action(now, action);
    }

    /// Adds the reason why a process is not ready, and the last lines of a process that failed.
    pub(crate) fn note(&mut self, now: Time, note: &Note) {
        let instance = note.instance().and_then(|process| self.instance_name(process));
        // An instance keeps its name when the other one is gone, but does not leave it to the next.
        if let Some(process) = note.instance()
            && (instance.is_some() || matches!(note, Note::Started(_)))
        {
            self.report.borrow_mut().name_instance(process, instance.clone());
        }
        self.report.borrow_mut().note(now, note);
        if let Some(events) = &mut self.events {
            events.note(note, |process| self.instances[process.index()].pid);
        }
        let (level, mut line) = messages::line_of(note, &self.names, instance.as_deref());
        let failed = match *note {
            Note::Started(process) if self.process(process).readiness.is_none() => {
                self.verify(process);
                None
            }
            Note::Ready { process, .. } => {
                self.epoch_took_over(process);
                self.verify(process);
                None
            }
            Note::ShutdownBegan { .. } => {
                self.output.stop_waiting();
                self.files.stop_waiting();
                None
            }
            Note::FileChanged { process, watch, action } => {
                if let Some(Watch { path, .. }) = self.process(process).watch.get(watch) {
                    let name = self.names.of(process);
                    line = messages::file_changed(name, &shown(path), action);
                }
                None
            }
            Note::Replacing { process, old, overlaps: false }
                if self.instances[old.index()].pid.is_none() =>
            {
                line = messages::changed_while_down(self.names.of(process));
                None
            }
            Note::AllReady => {
                service_manager::ready();
                line = self.status_board.with_startup(|startup, _| startup.line());
                None
            }
            Note::NotReady { process, .. } => {
                if let Some(reason) = self.instances[process.index()].last_failure.borrow().as_ref()
                {
                    line = format!("{line}: {reason}");
                }
                Some(process)
            }
            Note::ProbeFailed { process, .. } | Note::Unhealthy { process, next: None } => {
                let current = &mut self.instances[process.index()];
                if let Some(reason) = current.unhealthy.borrow().as_ref() {
                    line = format!("{line}: {reason}");
                }
                if matches!(note, Note::Unhealthy { .. }) {
                    current.liveness = None;
                }
                None
            }
            Note::Ended { process, next: AfterEnd::Shutdown | AfterEnd::Exhausted, .. }
            | Note::TimedOut { process, .. } => Some(process),
            Note::RequestFailed { why: RequestError::Ended { process, .. }, .. } => Some(process),
            _ => None,
        };
        if let Some(log) = failed.and_then(|process| self.instances[process.index()].log.as_ref()) {
            log.pump();
            let last = log.last_lines();
            if !last.is_empty() {
                line = format!("{line}; its last lines:\n  {}", last.join("\n  "));
            }
        }
        let line = self.epoch_line(note).unwrap_or(line);
        match level {
            Level::Error => tracing::error!("{line}"),
            Level::Warning => tracing::warn!("{line}"),
            Level::Info => tracing::info!("{line}"),
        }
    }
}
