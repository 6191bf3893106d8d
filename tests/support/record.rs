//! Records a run: the lines of output, the events of the children and the end of drainit, on one
//! clock.

use std::fmt;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::ExitStatus;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use regex_lite::Regex;
use testkit::event::{Event, now};

/// The stream to which a line was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stream {
    Stdout,
    Stderr,
}

#[derive(Clone, Debug)]
pub(crate) struct Line {
    /// The time at which the line was read.
    pub(crate) at: Duration,
    pub(crate) stream: Stream,
    /// The text without its newline.
    pub(crate) text: String,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Record {
    pub(crate) lines: Vec<Line>,
    pub(crate) events: Vec<Event>,
    /// The time at which drainit was started.
    pub(crate) started: Duration,
    /// The time at which drainit ended, and its exit status.
    pub(crate) ended: Option<(Duration, ExitStatus)>,
    /// The number of streams that are still open.
    open: usize,
    /// The number of bytes of the event log that have been read.
    offset: usize,
}

impl Record {
    /// Returns the first line that matches.
    pub(crate) fn line(&self, pattern: &str) -> Option<&Line> {
        let pattern = Regex::new(pattern).unwrap();
        self.lines.iter().find(|line| pattern.is_match(&line.text))
    }

    /// Counts the lines that contain this text.
    pub(crate) fn lines_with(&self, text: &str) -> usize {
        self.lines.iter().filter(|line| line.text.contains(text)).count()
    }

    /// Counts the events of this process that begin with `what`.
    pub(crate) fn count(&self, name: &str, what: &str) -> usize {
        let is_one = |event: &&Event| event.name == name && event.what.starts_with(what);
        self.events.iter().filter(is_one).count()
    }

    /// Returns the first event of this process that begins with `what`.
    pub(crate) fn event(&self, name: &str, what: &str) -> Option<&Event> {
        self.events.iter().find(|event| event.name == name && event.what.starts_with(what))
    }

    /// Returns all text of one stream.
    pub(crate) fn text(&self, stream: Stream) -> String {
        let lines = self.lines.iter().filter(|line| line.stream == stream);
        lines.map(|line| format!("{}\n", line.text)).collect()
    }

    /// Checks whether the record is complete.
    fn is_complete(&self) -> bool {
        self.ended.is_some() && self.open == 0
    }
}

/// Shows the whole record in chronological order, for the message of a failed test.
impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut all: Vec<(Duration, String)> = Vec::new();
        for line in &self.lines {
            let stream = if line.stream == Stream::Stdout { "out" } else { "err" };
            all.push((line.at, format!("{stream} | {}", line.text)));
        }
        for event in &self.events {
            all.push((event.at, format!("    * {} {}", event.name, event.what)));
        }
        if let Some((at, status)) = self.ended {
            all.push((at, format!("    = {status}")));
        }
        all.sort_by_key(|(at, _)| *at);
        for (at, text) in all {
            let at = at.saturating_sub(self.started).as_secs_f64() * 1e3;
            let text: String = text.chars().take(300).collect();
            writeln!(f, "{at:9.1} ms {text}")?;
        }
        Ok(())
    }
}

/// A record that grows. Every change wakes the threads that wait for a change.
#[derive(Debug)]
pub(crate) struct Recorder {
    record: Mutex<Record>,
    grew: Condvar,
    event_log: PathBuf,
}

impl Recorder {
    /// Creates an empty event log and follows it.
    pub(crate) fn new(event_log: PathBuf) -> Arc<Self> {
        fs::write(&event_log, "").unwrap();
        let recorder = Arc::new(Self { record: Mutex::default(), grew: Condvar::new(), event_log });
        recorder.follow_events();
        recorder
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Record> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the record.
    pub(crate) fn update(&self, change: impl FnOnce(&mut Record)) {
        change(&mut self.lock());
        self.grew.notify_all();
    }

    /// Reads a stream to its end in a separate thread.
    pub(crate) fn collect(self: &Arc<Self>, stream: Stream, from: impl Read + Send + 'static) {
        let recorder = Arc::clone(self);
        self.update(|record| record.open += 1);
        thread::spawn(move || {
            let mut from = BufReader::new(from);
            let mut bytes = Vec::new();
            while from.read_until(b'\n', &mut bytes).is_ok_and(|count| count > 0) {
                let at = now();
                let text = String::from_utf8_lossy(&bytes);
                let text = text.strip_suffix('\n').unwrap_or(&text).to_owned();
                recorder.update(|record| record.lines.push(Line { at, stream, text }));
                bytes.clear();
            }
            recorder.update(|record| record.open -= 1);
        });
    }

    /// Waits until `find` returns a value. Returns the record as `Err` at the timeout, or once the
    /// record is complete.
    pub(crate) fn wait<T>(
        &self,
        within: Duration,
        find: impl Fn(&Record) -> Option<T>,
    ) -> Result<T, Record> {
        let until = Instant::now() + within;
        let mut record = self.lock();
        loop {
            self.read_events(&mut record);
            if let Some(found) = find(&record) {
                return Ok(found);
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() || record.is_complete() {
                return Err(record.clone());
            }
            record = self.grew.wait_timeout(record, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    pub(crate) fn snapshot(&self) -> Record {
        let mut record = self.lock();
        self.read_events(&mut record);
        record.clone()
    }

    fn read_events(&self, record: &mut Record) {
        let log = fs::read_to_string(&self.event_log).unwrap_or_default();
        let new = log.get(record.offset..).unwrap_or_default();
        let whole = new.rfind('\n').map_or(0, |at| at + 1);
        record.events.extend(new[..whole].lines().filter_map(Event::parse));
        record.offset += whole;
    }

    /// Starts a thread that wakes the waiting threads whenever the event log has grown. The thread
    /// ends when the log is removed.
    fn follow_events(self: &Arc<Self>) {
        let inotify = Inotify::init(InitFlags::IN_CLOEXEC).unwrap();
        let flags = AddWatchFlags::IN_MODIFY | AddWatchFlags::IN_ATTRIB;
        inotify.add_watch(&self.event_log, flags).unwrap();
        let recorder = Arc::clone(self);
        thread::spawn(move || {
            while inotify.read_events().is_ok() && recorder.event_log.exists() {
                // `update` takes the lock of the record, so that a thread between its check of the
                // record and its wait does not miss the wake-up.
                recorder.update(|_| {});
            }
        });
    }
}
