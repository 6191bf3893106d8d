//! Tests the log line that says how long the start took.

use std::time::Duration;

use crate::core::note::Note;
use crate::report::testing::Noted;
use crate::types::{End, ProcessId, Time};

// holds: S162, S168, S926
#[test]
fn start_line_names_slowest_process() {
    let began = Time(Duration::from_secs(10));
    let after = Duration::from_millis;
    let config = "processes: {migrate: {command: [a], type: oneshot}, logger: {command: [a]}, router: {command: [a], \
         readiness: {unix: /run/c.sock}, depends_on: {migrate: {condition: completed}}}}";
    let mut start = Noted::load(config, began);
    let [migrate, logger, router] = [0, 1, 2].map(ProcessId);
    for (millis, note) in [
        (5, Note::Started(migrate)),
        (5, Note::Started(logger)),
        (400, Note::Completed { process: migrate, end: End::Code(0), after: after(400) }),
        (400, Note::Started(router)),
        (1700, Note::Ready { process: router, after: after(1300) }),
    ] {
        start.note(began + after(millis), &note);
    }
    let line = start.note(began + after(1700), &Note::AllReady).line();
    assert_eq!(
        line,
        "everything is ready after 1.7s; router took longest: 1.3s; started, but not probed: logger"
    );
    let mut start = Noted::load("processes: {logger: {command: [a]}}", began);
    start.note(began + after(5), &Note::Started(ProcessId(0)));
    let line = start.note(began + after(5), &Note::AllReady).line();
    assert_eq!(line, "everything is ready after 5ms; started, but not probed: logger");
}
