//! A drainit that runs. Whatever becomes of the test, it and what it started do not outlive it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::Pid;
use testkit::event::{Event, now};

use super::files::TempDir;
use super::record::{Line, Record, Recorder, Stream};
use super::{LONG, PATIENCE, ms};

/// See the module.
#[derive(Debug)]
pub(crate) struct Running {
    /// drainit, or the `unshare` above it.
    child: Child,
    recorder: Arc<Recorder>,
    dir: TempDir,
    is_init: bool,
    drainit: PathBuf,
    /// As this namespace sees it, once it is known.
    pid: Option<Pid>,
}

impl Running {
    pub(crate) fn new(
        child: Child,
        recorder: Arc<Recorder>,
        dir: TempDir,
        is_init: bool,
        drainit: PathBuf,
    ) -> Self {
        let id = Id::Pid(Pid::from_raw(child.id().cast_signed()));
        let waiting = Arc::clone(&recorder);
        let mut running = Self { child, recorder, dir, is_init, drainit, pid: None };
        // Not reaped here, so that the pid cannot become somebody else's before it is forgotten.
        thread::spawn(move || {
            let _ = waitid(id, WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT);
            let at = now();
            waiting.update(|record| record.ended = Some((at, Default::default())));
        });
        running.pid = running.find_pid();
        running
    }

    /// drainit's pid, as the test sees it.
    pub(crate) fn pid(&self) -> Pid {
        self.pid.unwrap_or_else(|| panic!("drainit has not begun:\n{}", self.record()))
    }

    /// A path in the directory of the test.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Makes a file in the directory of the test, for a child that awaits it.
    pub(crate) fn touch(&self, name: &str) {
        self.dir.write(name, "");
    }

    /// What is known so far.
    pub(crate) fn record(&self) -> Record {
        self.recorder.snapshot()
    }

    /// Sends drainit itself a signal; tells when.
    #[track_caller]
    pub(crate) fn signal(&self, signal: Signal) -> Duration {
        let at = now();
        kill(self.pid(), signal).unwrap();
        at
    }

    /// As [`Self::signal`], long enough after the one before to be another one.
    #[track_caller]
    pub(crate) fn signal_again(&self, signal: Signal) -> Duration {
        thread::sleep(PATIENCE);
        self.signal(signal)
    }

    /// Waits for a line that matches, on any stream.
    #[track_caller]
    pub(crate) fn wait_for_line(&self, pattern: &str) -> Line {
        self.wait(&format!("line `{pattern}`"), LONG, |record| record.line(pattern).cloned())
    }

    /// Waits for an event of a helper process that begins so.
    #[track_caller]
    pub(crate) fn wait_for_event(&self, name: &str, what: &str) -> Event {
        let find = |record: &Record| record.event(name, what).cloned();
        self.wait(&format!("event `{name} {what}`"), LONG, find)
    }

    /// Waits until every one of these processes has its signal handlers and what it listens on.
    #[track_caller]
    pub(crate) fn wait_for_start(&self, names: &[&str]) {
        for name in names {
            self.wait_for_event(name, "handling");
        }
    }

    /// Waits for anything in the record.
    #[track_caller]
    pub(crate) fn wait<T>(
        &self,
        what: &str,
        within: Duration,
        find: impl Fn(&Record) -> Option<T>,
    ) -> T {
        match self.recorder.wait(within, find) {
            Ok(found) => found,
            Err(record) => panic!("no {what} within {within:?}:\n{record}"),
        }
    }

    /// Waits for something that only looking can tell; tells when it was seen.
    #[track_caller]
    pub(crate) fn wait_until(&self, what: &str, is_so: impl Fn() -> bool) -> Duration {
        let until = Instant::now() + LONG;
        while !is_so() {
            assert!(Instant::now() < until, "not {what} within {LONG:?}:\n{}", self.record());
            thread::sleep(ms(1));
        }
        now()
    }

    /// How many children of drainit are in this state of proc(5): `Z` is ended and not reaped, `T` stopped.
    pub(crate) fn children_in_state(&self, state: char) -> usize {
        let pid = self.pid();
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
        let children = children.unwrap_or_default();
        let is_in_state = |pid: &&str| {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with(state))
        };
        children.split_whitespace().filter(is_in_state).count()
    }

    /// Waits for the end of drainit, and of all that it has written.
    #[track_caller]
    pub(crate) fn wait_exit(mut self, within: Duration) -> Ended {
        self.wait("end", within, |record| record.ended.map(drop));
        let status = self.child.wait().unwrap();
        self.recorder.update(|record| {
            if let Some((_, unknown)) = &mut record.ended {
                *unknown = status;
            }
        });
        // Complete, unless somebody who is left holds the pipe.
        let record = match self.recorder.wait::<()>(LONG, |_| None) {
            Ok(()) => self.record(),
            Err(record) => record,
        };
        let code = status.code().unwrap_or(-1);
        Ended { code, record, dir: std::mem::replace(&mut self.dir, TempDir::new()) }
    }

    /// The process that execs drainit, once it has.
    fn find_pid(&self) -> Option<Pid> {
        let top = self.child.id();
        let until = Instant::now() + LONG;
        while Instant::now() < until && self.recorder.lock().ended.is_none() {
            let children = format!("/proc/{top}/task/{top}/children");
            let children = fs::read_to_string(children).unwrap_or_default();
            let candidate =
                if self.is_init { children.trim().parse().ok() } else { Some(top.cast_signed()) };
            if let Some(pid) = candidate
                && fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| exe == self.drainit)
            {
                return Some(Pid::from_raw(pid));
            }
            thread::sleep(Duration::from_micros(200));
        }
        None
    }
}

/// Whether this pid is a helper that was started with the event log of this directory, and lives.
fn is_helper_of(dir: &TempDir, pid: i32) -> bool {
    let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    let log = dir.join("events").display().to_string();
    String::from_utf8_lossy(&environment).contains(&log)
}

impl Drop for Running {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            if let Some(pid) = self.pid {
                // As PID 1 it takes its whole namespace along, and `unshare` ends with it.
                let _ = kill(pid, Signal::SIGKILL);
            } else {
                let _ = self.child.kill();
            }
            let _ = self.child.wait();
        }
        for event in self.record().events {
            // In a namespace of its own its pids are others, and nothing is left.
            if !self.is_init && is_helper_of(&self.dir, event.pid) {
                let _ = kill(Pid::from_raw(event.pid), Signal::SIGKILL);
            }
        }
    }
}

/// A drainit that has ended.
#[derive(Debug)]
pub(crate) struct Ended {
    /// Its exit code.
    pub(crate) code: i32,
    /// All that happened.
    pub(crate) record: Record,
    dir: TempDir,
}

impl Ended {
    /// Fails unless drainit has ended with this code.
    #[track_caller]
    pub(crate) fn assert_code(&self, code: i32) -> &Self {
        assert_eq!(self.code, code, "exit code:\n{}", self.record);
        self
    }

    /// Fails unless there is a line that matches, on any stream.
    #[track_caller]
    pub(crate) fn assert_line(&self, pattern: &str) -> &Self {
        assert!(self.record.line(pattern).is_some(), "no line `{pattern}`:\n{}", self.record);
        self
    }

    /// Fails if there is a line that matches.
    #[track_caller]
    pub(crate) fn assert_no_line(&self, pattern: &str) -> &Self {
        assert!(self.record.line(pattern).is_none(), "a line `{pattern}`:\n{}", self.record);
        self
    }

    /// The first event of this process that begins so.
    #[track_caller]
    pub(crate) fn event(&self, name: &str, what: &str) -> &Event {
        let event = self.record.event(name, what);
        event.unwrap_or_else(|| panic!("no event `{name} {what}`:\n{}", self.record))
    }

    /// Fails if this process has such an event.
    #[track_caller]
    pub(crate) fn assert_no_event(&self, name: &str, what: &str) -> &Self {
        let event = self.record.event(name, what);
        assert!(event.is_none(), "an event `{name} {what}`:\n{}", self.record);
        self
    }

    /// Fails unless these events happened one after the other: `"NAME WHAT"`, the first that begins so.
    #[track_caller]
    pub(crate) fn assert_order(&self, events: &[&str]) -> &Self {
        let times: Vec<Duration> = events
            .iter()
            .map(|event| event.split_once(' ').unwrap())
            .map(|(name, what)| self.event(name, what).at)
            .collect();
        assert!(times.is_sorted(), "not in this order: {events:?}\n{}", self.record);
        self
    }

    /// Fails unless these processes were told to end one after the other, each when those before it did not exist any more.
    #[track_caller]
    pub(crate) fn assert_stopped_in_order(&self, names: &[&str]) -> &Self {
        for (place, name) in names.iter().enumerate() {
            let told = self.event(name, "got SIGTERM alive:");
            let alive: Vec<_> =
                told.what.trim_start_matches("got SIGTERM alive:").split('+').collect();
            for before in &names[..place] {
                assert!(
                    !alive.contains(before),
                    "{before} was alive when {name} was told:\n{}",
                    self.record
                );
            }
        }
        self
    }

    /// When drainit ended.
    #[track_caller]
    pub(crate) fn at(&self) -> Duration {
        self.record.ended.unwrap().0
    }

    /// From a moment to the end of drainit.
    #[track_caller]
    pub(crate) fn since(&self, moment: Duration) -> Duration {
        self.at().saturating_sub(moment)
    }

    /// Fails unless drainit has ended within this range after a moment.
    #[track_caller]
    pub(crate) fn assert_took(&self, since: Duration, range: std::ops::Range<Duration>) -> &Self {
        let took = self.since(since);
        assert!(range.contains(&took), "took {took:?}, and not {range:?}:\n{}", self.record);
        self
    }

    /// All that was written to one stream.
    pub(crate) fn text(&self, stream: Stream) -> String {
        self.record.text(stream)
    }

    /// The lines of a process on one stream, without its prefix.
    pub(crate) fn lines_of(&self, stream: Stream, prefix: &str) -> Vec<String> {
        let prefix = format!("[{prefix}] ");
        let lines = self.record.lines.iter().filter(|line| line.stream == stream);
        lines.filter_map(|line| line.text.strip_prefix(&prefix)).map(str::to_owned).collect()
    }

    /// What a helper has written with `report=`.
    #[track_caller]
    pub(crate) fn report(&self, name: &str) -> serde_json::Value {
        let text = fs::read_to_string(self.dir.join(name));
        let text =
            text.unwrap_or_else(|error| panic!("no report {name}: {error}\n{}", self.record));
        serde_json::from_str(&text).unwrap()
    }

    /// Fails if a helper process still runs. Only where drainit was no PID 1: their pids mean nothing elsewhere.
    #[track_caller]
    pub(crate) fn assert_nothing_left(&self) -> &Self {
        for event in &self.record.events {
            let left = is_helper_of(&self.dir, event.pid);
            assert!(!left, "{} is left:\n{}", event.name, self.record);
        }
        self
    }

    /// A path in the directory of the test.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Fails if this path is there.
    #[track_caller]
    pub(crate) fn assert_gone(&self, name: &str) -> &Self {
        let path: &Path = &self.dir.join(name);
        assert!(fs::symlink_metadata(path).is_err(), "{name} is there:\n{}", self.record);
        self
    }
}
