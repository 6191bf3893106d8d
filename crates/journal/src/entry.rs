//! A note of drainit-core as a line of the log, and as a [`LogEvent`] for programs. The module
//! [`notes`](crate::notes) has the wording.

use crate::event::{Field, LogEvent};
use crate::messages::{Names, request_error};
use crate::prelude::*;
use drainit_core::event::{Load, Unit};
use drainit_core::note::{AfterEnd, RequestError};
use drainit_core::types::{End, EndKind, ProcessId, Reason, human};

/// The severity of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    Error,
    Warning,
    Info,
}

/// The text and the data of a note, before the supervisor writes them.
#[derive(Clone, Debug)]
pub struct Entry {
    pub level: Level,
    /// The instance, if the note is about a single instance of its process.
    pub instance: Option<ProcessId>,
    /// The label of this instance, if the process has another instance at the same time.
    pub(super) beside: Option<String>,
    /// The sentence. Unless `is_whole` is set, it does not name the process.
    text: String,
    pub event: LogEvent,
    /// Whether the text already names the process or the instance.
    is_whole: bool,
    /// Whether the report of the shutdown gets the line, too.
    pub(super) is_remark: bool,
}

impl Entry {
    pub(super) fn new(event: &'static str, text: impl Into<String>) -> Self {
        let event = LogEvent { event, ..LogEvent::default() };
        let (text, level) = (text.into(), Level::Info);
        Self { level, instance: None, beside: None, text, event, is_whole: false, is_remark: false }
    }

    pub(super) fn at(self, level: Level) -> Self {
        Self { level, ..self }
    }

    /// Adds fields to the event.
    pub(super) fn with(mut self, fields: impl IntoIterator<Item = Field>) -> Self {
        self.event.fields.extend(fields);
        self
    }

    pub(super) fn end(self, end: End, killed: bool) -> Self {
        let reason = EndKind::of(end, killed).name();
        self.with([Field::ExitCode(end.exit_code()), Field::Reason(reason)])
            .with(end.signal().map(Field::Signal))
    }

    pub(super) fn open(self, load: Load) -> Self {
        match load.unit {
            Unit::Connections => self.with(load.active.map(Field::Connections)),
            Unit::Requests => self
                .with(load.active.map(Field::Requests))
                .with((load.unsure > 0).then_some(Field::Unsure(load.unsure))),
        }
    }

    /// Adds the consequence of an end or a failure. `last` completes the sentence for
    /// [`AfterEnd::Shutdown`].
    pub(super) fn then(self, next: AfterEnd, last: &str) -> Self {
        let what = &self.text;
        let (level, name, text) = match next {
            AfterEnd::Restart { delay, attempt } => (
                Level::Warning,
                "restart",
                format!("{what}; restart {attempt} in {}", human(delay)),
            ),
            AfterEnd::Nothing => (Level::Info, "stays_down", format!("{what} (on_exit: ignore)")),
            AfterEnd::StaysDown => {
                (Level::Warning, "stays_down", format!("{what} (on_exit: ignore), and stays down"))
            }
            AfterEnd::GivesUp => (
                Level::Error,
                "stays_down",
                format!("{what}, and restart_max is reached: it stays down"),
            ),
            AfterEnd::Shutdown => (Level::Error, "shutdown", format!("{what}{last}")),
            AfterEnd::Exhausted => {
                (Level::Error, "shutdown", format!("{what}, and restart_max is reached"))
            }
        };
        let entry = Self { level, text, ..self }.with([Field::Next(name)]);
        match next {
            AfterEnd::Restart { delay, attempt } => {
                entry.with([Field::Attempt(attempt), Field::MinSeconds(delay)])
            }
            _ => entry,
        }
    }

    /// Marks a text that already names the process or the instance.
    pub(super) fn whole(self) -> Self {
        Self { is_whole: true, ..self }
    }

    /// Adds a remedy, if this kind of end has one.
    pub(super) fn mend(mut self, end: End) -> Self {
        if matches!(end, End::OutOfMemory(_)) {
            self.level = self.level.min(Level::Warning);
            self.text += "; raise the container's memory limit, or let its processes use less";
        }
        self
    }

    /// Adds the reason, if it is known.
    pub(super) fn because(mut self, reason: Option<&Reason>) -> Self {
        if let Some(reason) = reason {
            self.text += &format!(": {}", reason.full());
        }
        self
    }

    /// Adds a detail from the supervisor. With a detail, the line is at least a warning.
    pub(super) fn and(mut self, detail: Option<&str>) -> Self {
        if let Some(detail) = detail {
            self.level = self.level.min(Level::Warning);
            self.text += &format!("; {detail}");
        }
        self
    }

    /// Adds why a request failed. The level is an error if a process stays down, or stays alive
    /// although it must end.
    pub(super) fn fails(self, why: RequestError, names: &Names) -> Self {
        use RequestError::{Ended, Failed, Unkillable};
        let is_error = matches!(why, Failed { .. } | Ended { .. } | Unkillable(_));
        let level = if is_error { Level::Error } else { Level::Warning };
        let cause = request_error(why, names);
        self.because(Some(&cause.as_str().into())).at(level).with([Field::Cause(cause)])
    }

    /// Adds the line to the report of the shutdown, if `is_remark`.
    pub(super) fn remark_if(self, is_remark: bool) -> Self {
        Self { is_remark, ..self }
    }

    /// The line in the log.
    pub fn line(&self) -> String {
        let text = &self.text;
        match (self.event.process.as_ref().filter(|_| !self.is_whole), &self.beside) {
            (None, _) => text.clone(),
            (Some(name), Some(instance)) => format!("{name} ({instance}): {text}"),
            (Some(name), None) => format!("{name}: {text}"),
        }
    }
}
