//! A journal for tests that make the notes themselves. The state that the journal gets with each
//! note never changes.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::time::Duration;

use crate::core::cause::Cause;
use crate::core::note::Note;
use crate::core::state::State;
use crate::journal::Journal;
use crate::journal::entry::Entry;
use crate::journal::messages::Names;
use crate::load::testing::load;
use crate::types::{End, ProcessId, Signal, Time};

pub(super) struct Noted {
    pub(super) journal: Journal,
    pub(super) state: State,
}

impl Noted {
    /// A journal for these processes.
    pub(super) fn of(names: &[&str]) -> Self {
        let all: Vec<_> = names.iter().map(|name| format!("{name}: {{command: [a]}}")).collect();
        Self::load(&format!("processes: {{{}}}", all.join(", ")), Time::default())
    }

    /// A journal that began at this time, for the processes of a config.
    #[track_caller]
    pub(super) fn load(config: &str, began: Time) -> Self {
        let loaded = load(&[config], &[]).unwrap();
        let names = loaded.config.processes.iter().map(|process| process.name.clone()).collect();
        let state = State::new(Arc::new(loaded.config.spec(&loaded.graph)), began);
        Self { journal: Journal::new(Names(names), began), state }
    }

    pub(super) fn note(&mut self, now: Time, note: &Note) -> Entry {
        self.journal.note(now, note, &self.state, None)
    }

    pub(super) fn shutdown_began(&mut self, now: Time, cause: Cause, window: Duration) {
        self.note(now, &Note::ShutdownBegan { cause, window, drained_for: None });
    }

    /// Sends SIGTERM to a process.
    pub(super) fn stopping(&mut self, now: Time, process: ProcessId, limit: Duration) {
        self.note(now, &Note::Stopping { process, signal: Signal::TERM, limit });
    }

    pub(super) fn stopped(&mut self, now: Time, process: ProcessId, end: End, millis: u64) {
        let took = Some(Duration::from_millis(millis));
        self.note(now, &Note::Stopped { process, end, took, killed: false, handed_over: false });
    }
}

impl Deref for Noted {
    type Target = Journal;

    fn deref(&self) -> &Journal {
        &self.journal
    }
}

impl DerefMut for Noted {
    fn deref_mut(&mut self) -> &mut Journal {
        &mut self.journal
    }
}
