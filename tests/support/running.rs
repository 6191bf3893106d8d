//! Controls a running drainit. drainit and the processes that it started never outlive the test.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::Pid;
use regex_lite::Regex;
use serde_json::Value;
use testkit::event::{Event, now};

use super::record::{Line, Record, Recorder, Stream};
use super::temp_dir::TempDir;
use super::{LONG, PATIENCE, PATIENT, ms};

#[derive(Debug)]
pub(crate) struct Running {
    /// The process of drainit, or of the `unshare` above it.
    child: Child,
    recorder: Arc<Recorder>,
    dir: TempDir,
    is_init: bool,
    drainit: PathBuf,
    /// The PID of drainit in this namespace, once it is known.
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
        // The thread does not reap the process, so that no other process gets the PID while `child`
        // still uses it.
        thread::spawn(move || {
            let _ = waitid(id, WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT);
            let at = now();
            waiting.update(|record| record.ended = Some((at, Default::default())));
        });
        running.pid = running.find_pid();
        running
    }

    /// Returns the PID of drainit in the namespace of the test.
    pub(crate) fn pid(&self) -> Pid {
        self.pid.unwrap_or_else(|| panic!("drainit has not begun:\n{}", self.record()))
    }

    /// Returns a path in the directory of the test.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path(name)
    }

    /// Creates a file in the directory of the test, for a child that waits for it.
    pub(crate) fn touch(&self, name: &str) {
        self.dir.write(name, "");
    }

    /// Writes a file into the directory of the test.
    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        self.dir.write(name, content);
    }

    /// Replaces the config. In the new one, `DIR` and `CHILD` are replaced, too.
    pub(crate) fn write_config(&self, config: &str) {
        self.write("drainit.yaml", self.fill(config));
    }

    /// Replaces a text in the config, as [`Self::write_config`] does.
    #[track_caller]
    pub(crate) fn edit(&self, from: &str, to: &str) {
        let text = fs::read_to_string(self.path("drainit.yaml")).unwrap();
        assert!(text.contains(from), "{text}");
        self.write_config(&text.replace(from, to));
    }

    /// Returns a snapshot of the record.
    pub(crate) fn record(&self) -> Record {
        self.recorder.snapshot()
    }

    /// Sends a signal to drainit and returns the time.
    #[track_caller]
    pub(crate) fn signal(&self, signal: Signal) -> Duration {
        let at = now();
        kill(self.pid(), signal).unwrap();
        at
    }

    /// Like [`Self::signal`], but so late that drainit does not merge it with the last signal.
    #[track_caller]
    pub(crate) fn signal_again(&self, signal: Signal) -> Duration {
        thread::sleep(PATIENCE);
        self.signal(signal)
    }

    /// Runs a command of drainit in its container, as `docker exec` does, and waits for its end.
    pub(crate) fn exec(&self, args: &[&str]) -> Said {
        Said::of(self.exec_as(None, args).output().unwrap())
    }

    /// Prepares a command of drainit in its container, as this user or as root. The command runs in
    /// the PID and mount namespaces of drainit, with `DRAINIT_CONFIG` set.
    pub(crate) fn exec_as(&self, user: Option<u32>, args: &[&str]) -> Command {
        let pid = self.pid().to_string();
        let mut command = Command::new("nsenter");
        command.args(["--target", &pid, "--pid", "--mount"]);
        if let Some(user) = user {
            command.args(["--setuid", &user.to_string(), "--setgid", &user.to_string()]);
        }
        command.arg("--").arg(&self.drainit).args(args).env_clear().stdin(Stdio::null());
        command.env("DRAINIT_CONFIG", self.path("drainit.yaml"));
        command
    }

    /// Waits for a line that matches, on any stream.
    #[track_caller]
    pub(crate) fn wait_for_line(&self, pattern: &str) -> Line {
        self.wait(&format!("line `{pattern}`"), PATIENT, |record| record.line(pattern).cloned())
    }

    /// Waits until a child has recorded an event that begins with `what`.
    #[track_caller]
    pub(crate) fn wait_for_event(&self, name: &str, what: &str) -> Event {
        let find = |record: &Record| record.event(name, what).cloned();
        self.wait(&format!("event `{name} {what}`"), PATIENT, find)
    }

    /// Waits until a child has recorded this number of events that begin with `what`.
    #[track_caller]
    pub(crate) fn wait_for_events(&self, name: &str, what: &str, times: usize) {
        let enough = |record: &Record| (record.count(name, what) >= times).then_some(());
        self.wait(&format!("{times} events `{name} {what}`"), PATIENT, enough);
    }

    /// Waits until this number of lines contain the text.
    #[track_caller]
    pub(crate) fn wait_for_lines(&self, text: &str, times: usize) {
        let enough = |record: &Record| (record.lines_with(text) >= times).then_some(());
        self.wait(&format!("{times} lines `{text}`"), PATIENT, enough);
    }

    /// Returns what `drainit status --format json` says of these processes, or of all.
    #[track_caller]
    pub(crate) fn status(&self, names: &[&str]) -> Value {
        // Other tests may run a drainit that is not PID 1, too.
        let namespace = fs::metadata(format!("/proc/{}/ns/pid", self.pid())).unwrap().ino();
        let socket = format!("--socket=@drainit/{namespace}/{}", self.pid());
        let socket: &[&str] = if self.is_init { &[] } else { &[&socket] };
        let said = self.exec(&[&["status", "--format", "json"], socket, names].concat());
        assert_eq!(said.code, 0, "{said:?}");
        serde_json::from_str(&said.stdout).unwrap()
    }

    /// Returns the entries of these processes, or of all, in [`Self::status`].
    #[track_caller]
    pub(crate) fn processes(&self, names: &[&str]) -> Vec<Value> {
        self.status(names)["processes"].as_array().unwrap().clone()
    }

    /// Returns the state and the pid of a process.
    #[track_caller]
    pub(crate) fn state(&self, name: &str) -> (String, Option<i64>) {
        let process = &self.processes(&[name])[0];
        (process["state"].as_str().unwrap().to_owned(), process["pid"].as_i64())
    }

    /// Returns a memory size of drainit, such as `VmRSS`, in kB from `/proc/PID/status`.
    pub(crate) fn kilobytes(&self, name: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.trim_matches([':', '\t', ' ', 'k', 'B']).parse().unwrap()
    }

    /// Waits until these children have installed their signal handlers, and until drainit has
    /// logged that they started. If the log has no line about the start (JSON, `exec`, a child of
    /// another name), waits for [`PATIENCE`] instead.
    #[track_caller]
    pub(crate) fn wait_for_start(&self, names: &[&str]) {
        for name in names {
            self.wait_for_event(name, "handling");
        }
        let started = |record: &Record, name| record.line(&format!("Z {name}: started")).is_some();
        let all = |record: &Record| names.iter().all(|name| started(record, name)).then_some(());
        let _ = self.recorder.wait(PATIENCE, all);
    }

    /// Waits until `find` returns a value from the record.
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

    /// Like [`Self::wait`], but without a panic at the timeout or the end of drainit.
    pub(crate) fn try_wait(
        &self,
        within: Duration,
        find: impl Fn(&Record) -> Option<()>,
    ) -> Result<(), Record> {
        self.recorder.wait(within, find)
    }

    /// Replaces `DIR` and `CHILD` as [`Rig::fill`](super::rig::Rig::fill) does.
    pub(crate) fn fill(&self, text: &str) -> String {
        super::rig::filled(text, &self.dir, &super::child())
    }

    /// Polls until a condition holds, and returns the time at which it held.
    #[track_caller]
    pub(crate) fn wait_until(&self, what: &str, is_so: impl Fn() -> bool) -> Duration {
        let until = Instant::now() + PATIENT;
        while !is_so() {
            assert!(Instant::now() < until, "not {what} within {PATIENT:?}:\n{}", self.record());
            thread::sleep(ms(1));
        }
        now()
    }

    /// Returns the PIDs of drainit's children in the namespace of the test.
    pub(crate) fn children(&self) -> Vec<Pid> {
        let pid = self.pid();
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
        let children = children.unwrap_or_default();
        children.split_whitespace().map(|pid| Pid::from_raw(pid.parse().unwrap())).collect()
    }

    /// Counts drainit's children in this state of proc(5), such as `Z` for zombies or `T` for
    /// stopped processes. A zombie that has other threads cannot be reaped yet, and does not count.
    pub(crate) fn children_in_state(&self, state: char) -> usize {
        let is_in_state = |pid: &&Pid| {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            let Some((_, fields)) = stat.rsplit_once(") ") else { return false };
            let threads = fields.split(' ').nth(17).and_then(|count| count.parse().ok());
            fields.starts_with(state)
                && (state != 'Z' || threads.is_some_and(|count: u32| count < 2))
        };
        self.children().iter().filter(is_in_state).count()
    }

    /// Sends SIGTERM, and waits for the end.
    #[track_caller]
    pub(crate) fn stop(self) -> Ended {
        self.stop_within(LONG)
    }

    /// Like [`Self::stop`], with another limit for the end.
    #[track_caller]
    pub(crate) fn stop_within(self, within: Duration) -> Ended {
        let asked = self.signal(Signal::SIGTERM);
        Ended { asked, ..self.wait_exit(within) }
    }

    /// Waits until drainit has ended and all of its output has been read.
    #[track_caller]
    pub(crate) fn wait_exit(mut self, within: Duration) -> Ended {
        self.wait("end", within, |record| record.ended.map(drop));
        let status = self.child.wait().unwrap();
        self.recorder.update(|record| {
            if let Some((_, unknown)) = &mut record.ended {
                *unknown = status;
            }
        });
        // Wait for the rest of the output, but not forever: a leftover process may keep the pipe
        // open.
        let record = match self.recorder.wait::<()>(LONG, |_| None) {
            Ok(()) => self.record(),
            Err(record) => record,
        };
        let code = status.code().unwrap_or(-1);
        Ended::of(code, record, std::mem::replace(&mut self.dir, TempDir::for_everybody()))
    }

    /// Waits until drainit runs, and returns its PID. Returns `None` if drainit has ended, or at
    /// the timeout.
    fn find_pid(&self) -> Option<Pid> {
        let until = Instant::now() + PATIENT;
        while Instant::now() < until && self.recorder.lock().ended.is_none() {
            // A wrapper may stay above drainit, like the `unshare` of a namespace.
            let mut pid = self.child.id().cast_signed();
            loop {
                let exe = fs::read_link(format!("/proc/{pid}/exe"));
                if exe.is_ok_and(|exe| exe == self.drainit) {
                    return Some(Pid::from_raw(pid));
                }
                let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
                match children.unwrap_or_default().trim().parse() {
                    Ok(child) => pid = child,
                    Err(_) => break,
                }
            }
            thread::sleep(Duration::from_micros(200));
        }
        None
    }
}

/// Checks whether this PID is a living child that was started with the event log of this directory.
fn is_helper_of(dir: &TempDir, pid: i32) -> bool {
    let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    let log = dir.path("events").display().to_string();
    String::from_utf8_lossy(&environment).contains(&log)
}

impl Drop for Running {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            if let Some(pid) = self.pid {
                // When PID 1 is killed, the kernel kills its namespace, and `unshare` ends as well.
                let _ = kill(pid, Signal::SIGKILL);
            } else {
                let _ = self.child.kill();
            }
            let _ = self.child.wait();
        }
        for event in self.record().events {
            // In a separate PID namespace the PIDs differ, and no process is left.
            if !self.is_init && is_helper_of(&self.dir, event.pid) {
                let _ = kill(Pid::from_raw(event.pid), Signal::SIGKILL);
            }
        }
        // A debug build of drainit checks its own rules. If drainit has broken one, the test fails.
        let record = self.record();
        let is_broken = record.line("drainit itself has failed").is_some();
        assert!(!is_broken || thread::panicking(), "{record}");
    }
}

/// The result of a command.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Said {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Said {
    pub(crate) fn of(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        let code = output.status.code().unwrap_or(-1);
        Self { code, stdout: text(output.stdout), stderr: text(output.stderr) }
    }

    /// Asserts that the command ended with this code, and that stdout or stderr contains the text.
    #[track_caller]
    pub(crate) fn assert(&self, code: i32, says: &str) -> &Self {
        assert_eq!(self.code, code, "{self:?}");
        assert!(self.stdout.contains(says) || self.stderr.contains(says), "no {says:?}: {self:?}");
        self
    }
}

/// A drainit that has ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: i32,
    /// The complete record of the run.
    pub(crate) record: Record,
    /// The time at which [`Running::stop`] sent SIGTERM. If the test did not call `stop`, the time
    /// of the start.
    pub(crate) asked: Duration,
    dir: TempDir,
}

impl Ended {
    /// The result of another program that ran in the directory of a test.
    pub(crate) fn of(code: i32, record: Record, dir: TempDir) -> Self {
        Self { code, asked: record.started, record, dir }
    }

    /// Asserts that drainit ended with this code.
    #[track_caller]
    pub(crate) fn assert_code(&self, code: i32) -> &Self {
        assert_eq!(self.code, code, "exit code:\n{}", self.record);
        self
    }

    /// Asserts that a line on any stream matches.
    #[track_caller]
    pub(crate) fn assert_line(&self, pattern: &str) -> &Self {
        assert!(self.record.line(pattern).is_some(), "no line `{pattern}`:\n{}", self.record);
        self
    }

    /// Asserts that no line matches.
    #[track_caller]
    pub(crate) fn assert_no_line(&self, pattern: &str) -> &Self {
        assert!(self.record.line(pattern).is_none(), "a line `{pattern}`:\n{}", self.record);
        self
    }

    /// Asserts that lines that match these patterns come in this order.
    #[track_caller]
    pub(crate) fn assert_lines_in_order(&self, patterns: &[&str]) -> &Self {
        let mut lines = self.record.lines.iter();
        for pattern in patterns {
            let regex = Regex::new(pattern).unwrap();
            let is_there = lines.any(|line| regex.is_match(&line.text));
            assert!(is_there, "no `{pattern}` at this place:\n{}", self.record);
        }
        self
    }

    /// Returns the first event of this process that begins with `what`.
    #[track_caller]
    pub(crate) fn event(&self, name: &str, what: &str) -> &Event {
        let event = self.record.event(name, what);
        event.unwrap_or_else(|| panic!("no event `{name} {what}`:\n{}", self.record))
    }

    #[track_caller]
    pub(crate) fn assert_no_event(&self, name: &str, what: &str) -> &Self {
        let event = self.record.event(name, what);
        assert!(event.is_none(), "an event `{name} {what}`:\n{}", self.record);
        self
    }

    /// Asserts that these events happened in this order. A text `"NAME WHAT"` means the first event
    /// that begins with this text.
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

    /// Asserts that these processes were asked to stop in this order, each after all previous
    /// processes had ended.
    #[track_caller]
    pub(crate) fn assert_stopped_in_order(&self, names: &[&str]) -> &Self {
        for (place, name) in names.iter().enumerate() {
            let stop = self.event(name, "got SIGTERM alive:");
            let alive: Vec<_> =
                stop.what.trim_start_matches("got SIGTERM alive:").split('+').collect();
            for before in &names[..place] {
                assert!(
                    !alive.contains(before),
                    "{before} was alive when {name} was asked to stop:\n{}",
                    self.record
                );
            }
        }
        self
    }

    /// Returns the time at which drainit ended.
    #[track_caller]
    pub(crate) fn at(&self) -> Duration {
        self.record.ended.unwrap().0
    }

    /// Returns the time from a moment to the end of drainit.
    #[track_caller]
    pub(crate) fn since(&self, moment: Duration) -> Duration {
        self.at().saturating_sub(moment)
    }

    /// Asserts that drainit ended within this range after a moment.
    #[track_caller]
    pub(crate) fn assert_took(&self, since: Duration, range: std::ops::Range<Duration>) -> &Self {
        let took = self.since(since);
        assert!(range.contains(&took), "took {took:?}, and not {range:?}:\n{}", self.record);
        self
    }

    /// Asserts that drainit ended within this range after [`Running::stop`] sent SIGTERM.
    #[track_caller]
    pub(crate) fn assert_stopped_within(&self, range: std::ops::Range<Duration>) -> &Self {
        self.assert_took(self.asked, range)
    }

    /// Returns all text that was written to one stream.
    pub(crate) fn text(&self, stream: Stream) -> String {
        self.record.text(stream)
    }

    /// Returns the lines of a process on one stream, without their prefix.
    pub(crate) fn lines_of(&self, stream: Stream, prefix: &str) -> Vec<String> {
        let prefix = format!("[{prefix}] ");
        let lines = self.record.lines.iter().filter(|line| line.stream == stream);
        lines.filter_map(|line| line.text.strip_prefix(&prefix)).map(str::to_owned).collect()
    }

    /// Returns the report that a child wrote with `report=`.
    #[track_caller]
    pub(crate) fn report(&self, name: &str) -> Value {
        let text = fs::read_to_string(self.dir.path(name));
        let text =
            text.unwrap_or_else(|error| panic!("no report {name}: {error}\n{}", self.record));
        serde_json::from_str(&text).unwrap()
    }

    /// Asserts that no child is still running. drainit must not have been PID 1: the recorded PIDs
    /// are valid only in the namespace of the test.
    #[track_caller]
    pub(crate) fn assert_nothing_left(&self) -> &Self {
        for event in &self.record.events {
            let left = is_helper_of(&self.dir, event.pid);
            assert!(!left, "{} is left:\n{}", event.name, self.record);
        }
        self
    }

    /// Returns a path in the directory of the test.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path(name)
    }

    /// Asserts that this path does not exist.
    #[track_caller]
    pub(crate) fn assert_gone(&self, name: &str) -> &Self {
        let path: &Path = &self.dir.path(name);
        assert!(fs::symlink_metadata(path).is_err(), "{name} is there:\n{}", self.record);
        self
    }
}
