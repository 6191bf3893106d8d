//! A note of drainit-core as a line of the log, and as a [`LogEvent`] for programs. The module
//! `notes` has the wording.

mod notes;

use core::time::Duration;

use crate::event::LogEvent;
use crate::prelude::*;
use drainit_core::event::{Load, Unit};
use drainit_core::note::AfterEnd;
use drainit_core::types::{End, EndKind, ProcessId, Signal, human};

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
}

impl Entry {
    fn new(event: &'static str, text: impl Into<String>) -> Self {
        let event = LogEvent { event, ..LogEvent::default() };
        let (text, level) = (text.into(), Level::Info);
        Self { level, instance: None, beside: None, text, event, is_whole: false }
    }

    fn at(self, level: Level) -> Self {
        Self { level, ..self }
    }

    /// Adds fields to the event.
    fn with(mut self, fields: impl FnOnce(&mut LogEvent)) -> Self {
        fields(&mut self.event);
        self
    }

    fn seconds(self, seconds: Duration) -> Self {
        self.with(|event| event.seconds = Some(seconds))
    }

    fn at_most(self, limit: Duration) -> Self {
        self.with(|event| event.max_seconds = Some(limit))
    }

    fn signal(self, signal: Signal) -> Self {
        self.with(|event| event.signal = Some(signal.to_string()))
    }

    fn request(self, request: &'static str) -> Self {
        self.with(|event| event.request = Some(request))
    }

    fn cause(self, cause: String) -> Self {
        self.with(|event| event.cause = Some(cause))
    }

    fn end(self, end: End, killed: bool) -> Self {
        self.with(|event| {
            event.exit_code = Some(end.exit_code());
            event.signal = end.signal().map(|signal| signal.to_string());
            event.reason = Some(EndKind::of(end, killed).name());
        })
    }

    fn open(self, load: Load) -> Self {
        self.with(|event| match load.unit {
            Unit::Connections => event.connections = load.active,
            Unit::Requests => {
                event.requests = load.active;
                event.unsure = Some(load.unsure).filter(|unsure| *unsure > 0);
            }
        })
    }

    /// Adds the consequence of an end or a failure. `last` completes the sentence for
    /// [`AfterEnd::Shutdown`].
    fn then(self, next: AfterEnd, last: &str) -> Self {
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
        Self { level, text, ..self }.with(|event| {
            event.next = Some(name);
            if let AfterEnd::Restart { delay, attempt } = next {
                (event.attempt, event.min_seconds) = (Some(attempt), Some(delay));
            }
        })
    }

    /// Marks a text that already names the process or the instance.
    fn whole(self) -> Self {
        Self { is_whole: true, ..self }
    }

    /// Adds a remedy, if this kind of end has one.
    fn mend(mut self, end: End) -> Self {
        if matches!(end, End::OutOfMemory(_)) {
            self.level = self.level.min(Level::Warning);
            self.text += "; raise the container's memory limit, or let its processes use less";
        }
        self
    }

    /// Adds the reason, if it is known.
    fn because(mut self, reason: Option<&str>) -> Self {
        if let Some(reason) = reason {
            self.text += &format!(": {reason}");
        }
        self
    }

    /// Adds a detail from the supervisor. With a detail, the line is at least a warning.
    fn and(mut self, detail: Option<&str>) -> Self {
        if let Some(detail) = detail {
            self.level = self.level.min(Level::Warning);
            self.text += &format!("; {detail}");
        }
        self
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
