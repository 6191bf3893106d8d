//! Writes the event of each note to the file of `logging.events`.

use std::rc::Rc;
use std::time::{Duration, SystemTime};

use crate::core::note::Note;
use crate::logging::Flushed;
use crate::logging::event_file::EventFile;
use crate::logging::format::stamp;
use crate::os::Pid;
use crate::report::events;
use crate::report::messages::Names;
use crate::types::ProcessId;

/// The file, and what an event has beyond its note.
pub(crate) struct EventLog {
    file: Rc<EventFile>,
    names: Names,
    /// The PID of the last instance of each process, which its end still names.
    pids: Vec<Option<Pid>>,
}

impl EventLog {
    pub(crate) fn new(file: Rc<EventFile>, names: Names) -> Self {
        let pids = vec![None; names.0.len()];
        Self { file, names, pids }
    }

    /// Names a slot.
    pub(crate) fn adopt(&mut self, slot: ProcessId, name: String) {
        self.names.set(slot, name);
        self.pids.resize(self.names.0.len(), None);
        self.pids[slot.index()] = None;
    }

    /// A start has failed: what follows is of no instance.
    pub(crate) fn start_failed(&mut self, process: ProcessId) {
        self.pids[process.index()] = None;
    }

    /// Writes an event. `pid` is that of a process that has one now.
    pub(crate) fn note(&mut self, note: &Note, pid: impl FnOnce(ProcessId) -> Option<Pid>) {
        let process = match *note {
            Note::Started(process) => {
                self.pids[process.index()] = pid(process);
                Some(process)
            }
            Note::Completed { process, .. } => Some(process),
            _ => note.instance(),
        };
        let time = stamp(SystemTime::now());
        let event = events::event(&time, note, &self.names);
        let pid = process.and_then(|process| self.pids[process.index()]);
        self.file.push(&events::Event { pid, ..event }.line());
    }

    /// Writes the event of a reload that has changed nothing.
    pub(crate) fn reload_failed(&self, why: &str) {
        let time = stamp(SystemTime::now());
        self.file.push(&events::reload_failed(&time, why).line());
    }

    /// Writes the last event and waits for the file, at most for `within`.
    pub(crate) fn exit(&self, code: u8, took: Option<Duration>, within: Duration) {
        let time = stamp(SystemTime::now());
        self.file.push(&events::exit(&time, code, took).line());
        if self.file.flush(within) == Flushed::No || self.file.dropped() > 0 {
            let dropped = self.file.dropped();
            tracing::warn!(
                "logging.events: {dropped} events were dropped, and more may be missing: nobody \
                 reads the file fast enough, or it cannot be written"
            );
        }
    }
}
