//! Tests the log line that says how long the start took.

use std::time::Duration;

use crate::core::note::Note;
use crate::report::testing::Noted;
use crate::types::{ProcessId, Time};

struct Start(Noted);

impl Start {
    fn new(config: &str) -> Self {
        Self(Noted::load(config, Time(Duration::from_secs(10))))
    }

    /// Makes a note about a process, at a time in milliseconds since the start.
    fn note(&mut self, millis: u64, name: &str, note: impl Fn(ProcessId) -> Note) {
        let id = self.0.names.0.iter().position(|known| known == name).unwrap_or_default();
        let now = Time(Duration::from_millis(10_000 + millis));
        let id = ProcessId(u16::try_from(id).unwrap());
        self.0.note(now, &note(id));
    }

    fn line(&mut self, millis: u64) -> String {
        self.0.note(Time(Duration::from_millis(10_000 + millis)), &Note::AllReady).line()
    }
}

// holds: S162, S168
#[test]
fn start_line_names_slowest_process() {
    let mut start = Start::new(
        "processes: {migrate: {command: [a], type: oneshot}, logger: {command: [a]}, router: {command: [a], readiness: \
         {unix: /run/c.sock}, depends_on: {migrate: {condition: completed}}}}",
    );
    for name in ["migrate", "logger"] {
        start.note(5, name, Note::Started);
    }
    let after = Duration::from_millis;
    start.note(400, "migrate", |process| Note::Completed { process, after: after(400) });
    start.note(400, "router", Note::Started);
    start.note(1700, "router", |process| Note::Ready { process, after: after(1300) });
    assert_eq!(start.line(1700), "everything is ready after 1.7s; router took longest: 1.3s");
    let mut start = Start::new("processes: {logger: {command: [a]}}");
    start.note(5, "logger", Note::Started);
    assert_eq!(start.line(5), "everything is ready after 5ms");
}
