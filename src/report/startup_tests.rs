//! The critical chain of a start.

use std::time::Duration;

use crate::core::note::Note;
use crate::report::testing::Noted;
use crate::types::{ProcessId, Time};

struct Start(Noted);

impl Start {
    fn new(config: &str) -> Self {
        Self(Noted::load(config, Time(Duration::from_secs(10))))
    }

    /// Notes something about a process, at a time in milliseconds since the start.
    fn note(&mut self, millis: u64, name: &str, note: impl Fn(ProcessId) -> Note) {
        let id = self.0.names.0.iter().position(|known| known == name).unwrap_or_default();
        let now = Time(Duration::from_millis(10_000 + millis));
        let id = ProcessId(u16::try_from(id).unwrap());
        self.0.note(now, &note(id));
    }

    fn ready(&mut self, millis: u64, name: &str) {
        self.note(millis, name, |process| Note::Ready { process, after: Duration::ZERO });
    }

    fn line(&mut self, millis: u64) -> String {
        self.0.note(Time(Duration::from_millis(10_000 + millis)), &Note::AllReady).line()
    }
}

const GATEWAY: &str = "
processes:
  migrate: {command: [a], type: oneshot}
  executor: {command: [a], readiness: {unix: /run/a.sock}}
  engine:
    command: [a]
    depends_on: {executor: {condition: ready}, migrate: {condition: completed}}
    readiness: {unix: /run/b.sock}
  router: {command: [a], depends_on: [engine], readiness: {unix: /run/c.sock}}
  logger: {command: [a]}
";

// holds: S163, S164, S166, S168
#[test]
fn the_chain_follows_what_each_process_waited_for_longest() {
    for (migrated, chain) in [
        (400, "executor 1.1s → engine 400ms → router 1.7s"),
        (1300, "migrate 1.3s → engine 200ms → router 1.7s"),
    ] {
        let mut start = Start::new(GATEWAY);
        for name in ["migrate", "executor", "logger"] {
            start.note(5, name, Note::Started);
        }
        start.note(migrated, "migrate", |process| Note::Completed {
            process,
            after: Duration::ZERO,
        });
        start.ready(1100, "executor");
        start.note(migrated.max(1100), "engine", Note::Started);
        start.ready(1500, "engine");
        // Its `pre_start` hook took a second.
        start.note(2500, "router", Note::Started);
        start.ready(3200, "router");
        assert!(start.0.chain().is_empty(), "not everything is ready yet");
        assert_eq!(start.line(3200), format!("everything is ready after 3.2s: {chain}"));
        // A restart changes nothing.
        start.note(9000, "executor", Note::Started);
        start.ready(9500, "executor");
        assert_eq!(start.line(9500), format!("everything is ready after 3.2s: {chain}"));
    }
}

// holds: S165
#[test]
fn a_long_chain_shows_the_slowest() {
    let mut config = "processes: {p0: {command: [a], readiness: {unix: /s}}".to_owned();
    for number in 1..9 {
        config.push_str(&format!(
            ", p{number}: {{command: [a], readiness: {{unix: /s}}, depends_on: [p{}]}}",
            number - 1
        ));
    }
    let mut start = Start::new(&format!("{config}}}"));
    let mut now = 0;
    for (number, takes) in [10, 500, 20, 20, 30, 600, 20, 40, 700].into_iter().enumerate() {
        start.note(now, &format!("p{number}"), Note::Started);
        now += takes;
        start.ready(now, &format!("p{number}"));
    }
    assert_eq!(
        start.line(now),
        "everything is ready after 1.94s: … → p1 500ms → … → p4 30ms → p5 600ms → … → p7 40ms → p8 700ms"
    );
    assert_eq!(start.0.chain().len(), 9);
}
