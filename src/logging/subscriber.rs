//! Writes `tracing` events as drainit's own lines to stderr.
//!
//! drainit does not use the formatter of `tracing-subscriber`, which blocks the caller, and panics
//! if it cannot write.

use std::fmt::{self, Write};
use std::sync::Arc;
use std::time::SystemTime;

use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

use crate::keys::LogFormat;
use crate::language::written::as_written;
use crate::logging::Output;
use crate::logging::format::{add_members, own_line};
use crate::types::Stream;

/// The environment variable that sets the level: `error`, `warn`, `info` (the default) or `debug`.
pub const LEVEL_VARIABLE: &str = "DRAINIT_LOG_LEVEL";

/// The name of an event's field that holds further members for a line in JSON.
const MEMBERS: &str = "members";

/// Sends all events of this level and above to `output`, from every thread. Only the first call has
/// an effect.
pub fn install(output: Arc<Output>, level: Level) {
    let _ = tracing::subscriber::set_global_default(OwnLines::new(output, level));
}

/// Reads the value of [`LEVEL_VARIABLE`]. Unset or empty means `info`.
///
/// # Errors
/// Returns a message with the value and the valid values.
pub fn level(value: Option<&str>) -> Result<Level, String> {
    match value.unwrap_or_default() {
        "error" => Ok(Level::ERROR),
        "warn" => Ok(Level::WARN),
        "" | "info" => Ok(Level::INFO),
        "debug" => Ok(Level::DEBUG),
        other => Err(format!("{LEVEL_VARIABLE}: {other:?} is not one of error, warn, info, debug")),
    }
}

/// The subscriber, which ignores spans.
pub struct OwnLines {
    output: Arc<Output>,
    level: Level,
}

impl OwnLines {
    /// Sends events of this level and above to `output`.
    pub fn new(output: Arc<Output>, level: Level) -> Self {
        Self { output, level }
    }
}

impl Subscriber for OwnLines {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        // The lines of other crates would show what peers write, such as the frames of HTTP/2.
        let is_own = metadata.target().starts_with("drainit");
        is_own && metadata.is_event() && *metadata.level() <= self.level
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(self.level.into())
    }

    fn event(&self, event: &Event<'_>) {
        let mut message = LogMessage::default();
        event.record(&mut message);
        message.text.push_str(&message.fields);
        let format = self.output.format();
        let mut line = own_line(
            format,
            Stream::Stderr,
            *event.metadata().level(),
            SystemTime::now(),
            &as_written(&message.text),
        );
        if let Some(members) = message.members.filter(|_| format == LogFormat::Json) {
            add_members(&mut line, &members);
        }
        self.output.push(Stream::Stderr, &line);
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// The message of an event, and its other fields as ` key=value`.
#[derive(Default)]
struct LogMessage {
    text: String,
    fields: String,
    /// The field [`MEMBERS`], if the event has it.
    members: Option<String>,
}

impl Visit for LogMessage {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            self.text.push_str(value);
        } else if field.name() == MEMBERS {
            self.members = Some(value.to_owned());
        } else {
            self.record_debug(field, &value);
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Fails only if the `fmt` of the value fails.
        let _ = if field.name() == "message" {
            write!(self.text, "{value:?}")
        } else {
            write!(self.fields, " {}={value:?}", field.name())
        };
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, pipe};

    use tracing::{debug, error, info, warn};

    use super::*;

    fn traced(level: Level, format: LogFormat, events: impl FnOnce()) -> String {
        let (_stdout, stdout_end) = pipe().unwrap();
        let (mut stderr, stderr_end) = pipe().unwrap();
        let output = Output::new(stdout_end, stderr_end);
        output.set_format(format);
        tracing::subscriber::with_default(OwnLines::new(output, level), events);
        let mut text = String::new();
        stderr.read_to_string(&mut text).unwrap();
        text
    }

    /// The lines without prefix and time.
    fn messages(text: &str) -> Vec<&str> {
        text.lines()
            .map(|line| line.strip_prefix("[drainit] ").unwrap().split_once(' ').unwrap().1)
            .collect()
    }

    // holds: C138, C140, C471
    #[test]
    fn events_from_the_level_on_are_written_as_lines_with_members_only_in_json() {
        let events = || {
            debug!("d");
            info!(members = "\"event\":\"ready\",\"name\":\"a\"", "a: ready {{}}");
            info!("two\nlines");
            warn!("{} of {}", 1, 2);
            error!(code = 7, name = "x", "it failed");
        };
        let error = "error: it failed code=7 name=\"x\"";
        let all = ["debug: d", "a: ready {}", "two", "lines", "warning: 1 of 2", error];
        for (level, first) in [(Level::DEBUG, 0), (Level::INFO, 1), (Level::ERROR, 5)] {
            let text = traced(level, LogFormat::Text, events);
            assert_eq!(messages(&text), all[first..], "{level}");
        }
        let text = traced(Level::INFO, LogFormat::Json, events);
        let json: serde_json::Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
        assert_eq!((&json["event"], &json["name"]), (&"ready".into(), &"a".into()));
    }

    #[test]
    fn level_is_parsed() {
        assert_eq!(level(None), Ok(Level::INFO));
        assert_eq!(level(Some("")), Ok(Level::INFO));
        assert_eq!(level(Some("debug")), Ok(Level::DEBUG));
        assert!(level(Some("loud")).unwrap_err().contains("\"loud\""));
    }
}
