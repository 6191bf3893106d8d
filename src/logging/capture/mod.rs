//! Captures the output of one process through two pipes. The pipes are read only when there is room
//! for their lines.
//!
//! The output of a process with `mode: none` is dropped. Otherwise, drainit captures the output if
//! the log is in JSON, or if the process has a prefix, a log file or a `log` readiness. All other
//! processes write to drainit's own stdout and stderr.

#[cfg(test)]
mod tests;

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io::{self, PipeWriter, pipe};
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::SystemTime;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::stat::{Mode, fchmod};
use nix::unistd::{Gid, Uid, fchown, read};
use regex_lite::Regex;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::unix::pipe::Receiver;
use tokio::sync::{Notify, Semaphore};
use tokio::task::{spawn_local, yield_now};

use crate::keys::{LogFile, LogFormat, LogMode, Probe, Process, User};
use crate::logging::Output;
use crate::logging::format::stamp;
use crate::logging::last_lines::{LastLines, start_of_last_lines, text};
use crate::logging::split::{LineForm, Splitter};
use crate::types::Stream;

/// The size of one read: the default capacity of a pipe.
const CHUNK: usize = 64 * 1024;

/// The most bytes that one [`OutputCapture::pump`] reads from a pipe of unknown capacity.
const PUMP: usize = 64 * 1024;

/// After a read of at least this many bytes, the task waits for its turn, because processes that
/// write much must not block the event loop.
const LONG_READ: usize = 4096;

thread_local! {
    /// The buffers of one read. The buffers are empty between reads, so all pipes can share them.
    static SCRATCH: RefCell<Scratch> =
        RefCell::new(Scratch { chunk: vec![0; CHUNK], lines: Vec::new() });

    /// After a long read, lets only one task continue in each turn of the runtime.
    static TURN: Rc<Semaphore> = Rc::new(Semaphore::new(1));
}

struct Scratch {
    chunk: Vec<u8>,
    lines: Vec<u8>,
}

/// The forms of the lines on stdout and stderr, or `None` if drainit does not capture them.
pub fn forms(process: &Process, format: LogFormat) -> Option<[LineForm; 2]> {
    match (format, &process.log.mode) {
        (_, LogMode::None) => None,
        (LogFormat::Json, _) => Some(
            [Stream::Stdout, Stream::Stderr].map(|stream| LineForm::json(&process.name, stream)),
        ),
        (LogFormat::Text, LogMode::Prefix(prefix)) => {
            Some([LineForm::prefix(prefix), LineForm::prefix(prefix)])
        }
        (LogFormat::Text, LogMode::File(LogFile { prefix: Some(prefix), .. })) => {
            Some([LineForm::prefix(prefix), LineForm::prefix(prefix)])
        }
        (LogFormat::Text, LogMode::File(_)) => Some([LineForm::Plain, LineForm::Plain]),
        (LogFormat::Text, LogMode::Inherit) => {
            let probe = process.readiness.as_ref().map(|readiness| &readiness.probe);
            matches!(probe, Some(Probe::Log(_))).then_some([LineForm::Plain, LineForm::Plain])
        }
    }
}

/// The write ends of the pipes. The caller drops these ends after the process has started, because
/// a reader sees the end of a pipe only when all write ends are closed.
#[derive(Debug)]
pub struct WriteEnds {
    /// The write end for descriptor 1.
    pub stdout: PipeWriter,
    /// The write end for descriptor 2.
    pub stderr: PipeWriter,
}

/// The output of one instance of a process, or of a hook.
pub struct OutputCapture {
    output: Arc<Output>,
    sides: [Side; 2],
    last: RefCell<LastLines>,
    /// The pattern of the `log` readiness.
    pattern: Option<Regex>,
    /// Whether a line can still match the pattern.
    is_sought: Cell<bool>,
    matched: Cell<bool>,
    /// Notified when a line has matched, or a pipe has ended.
    changed: Notify,
}

/// One of the two pipes.
struct Side {
    stream: Stream,
    form: LineForm,
    /// The read end; `None` once all write ends are closed. The read end is closed then, although
    /// the capture is kept for a while.
    pipe: RefCell<Option<Receiver>>,
    splitter: RefCell<Splitter>,
}

impl OutputCapture {
    /// Makes the pipes, and reads them in a local task until all write ends are closed. Needs a
    /// tokio `LocalSet`. The first line that matches `pattern` resolves [`OutputCapture::matched`].
    /// The pipes belong to `user`.
    ///
    /// # Errors
    /// Fails if too many files are open, or if pipes use too much memory.
    pub fn open(
        output: Arc<Output>,
        forms: [LineForm; 2],
        user: Option<&User>,
        pattern: Option<Regex>,
    ) -> io::Result<(Rc<Self>, WriteEnds)> {
        let [stdout_form, stderr_form] = forms;
        let (out, stdout) = Side::open(Stream::Stdout, stdout_form, user)?;
        let (err, stderr) = Side::open(Stream::Stderr, stderr_form, user)?;
        let log = Rc::new(Self {
            output,
            sides: [out, err],
            last: RefCell::default(),
            is_sought: Cell::new(pattern.is_some()),
            pattern,
            matched: Cell::new(false),
            changed: Notify::new(),
        });
        let task = Rc::clone(&log);
        spawn_local(async move {
            let [out, err] = &task.sides;
            tokio::join!(task.forward_to_end(out), task.forward_to_end(err))
        });
        Ok((log, WriteEnds { stdout, stderr }))
    }

    /// Reads as much as the pipes can hold, but stops when the output has no room for the lines.
    /// Called when the process has ended or failed, so that its last lines precede the line about
    /// its end or failure. The local task reads the rest. Never blocks.
    pub fn pump(&self) {
        self.read_while(|side| self.takes(side));
    }

    /// Reads as much as the pipes can hold, but only while `has_time` holds, and queues the
    /// incomplete last line of each stream. Called when drainit exits. Lines without room are
    /// dropped and counted.
    pub fn finish(&self, has_time: impl Fn() -> bool) {
        self.read_while(|_| has_time());
        for side in &self.sides {
            self.queue_lines(side, None, &mut Vec::new());
        }
    }

    /// From now on, no line resolves [`OutputCapture::matched`].
    pub fn forget_pattern(&self) {
        self.is_sought.set(false);
    }

    /// Whether lines of this pipe may be read now. Until the readiness pattern has matched, drainit
    /// reads lines even without room for them, because a full output must not delay the readiness.
    /// Lines without room are dropped and counted.
    fn takes(&self, side: &Side) -> bool {
        self.is_sought.get() || self.output.has_room(side.stream)
    }

    fn read_while(&self, takes: impl Fn(&Side) -> bool) {
        for side in &self.sides {
            // A process that still runs may write faster than drainit reads, so drainit reads only
            // as much as the pipe can hold.
            let mut left = side.capacity().unwrap_or(PUMP);
            while left > 0 && takes(side) {
                // Calls read(2) directly: the runtime may not know yet that the pipe is readable,
                // and would then read nothing.
                match SCRATCH.with_borrow_mut(|Scratch { chunk, lines }| {
                    let pipe = side.pipe.borrow();
                    let count = read(pipe.as_ref().ok_or(Errno::EBADF)?, chunk)?;
                    drop(pipe);
                    self.take(side, &chunk[..count], lines);
                    Ok(count)
                }) {
                    Ok(count) => left = left.saturating_sub(count),
                    Err(Errno::EINTR) => {}
                    Err(_) => break,
                }
            }
        }
    }

    /// Resolves when both pipes have ended. The caller sets a time limit, because a grandchild in
    /// the background may keep the pipes open.
    pub async fn finished(&self) {
        self.wait_until(|| self.is_finished()).await;
    }

    /// Whether both pipes have ended.
    pub fn is_finished(&self) -> bool {
        self.sides.iter().all(Side::has_ended)
    }

    /// Whether a line has matched the pattern.
    pub fn has_matched(&self) -> bool {
        self.matched.get()
    }

    /// Whether the captured lines go to this output.
    pub(crate) fn writes_to(&self, output: &Arc<Output>) -> bool {
        self.output.shares_with(output)
    }

    /// Resolves when a line has matched the pattern.
    pub async fn matched(&self) {
        self.wait_until(|| self.has_matched()).await;
    }

    /// The last lines of both streams, each shortened, in the order in which drainit has read them.
    /// Lines without a newline are included. Bytes that are not UTF-8 are replaced.
    pub fn last_lines(&self) -> Vec<String> {
        let mut last = self.last.borrow().clone();
        for side in &self.sides {
            let splitter = side.splitter.borrow();
            if !splitter.partial().is_empty() {
                last.push(splitter.partial());
            }
        }
        last.texts()
    }

    /// Reads one pipe to its end. [`Self::pump`] may reach the end first.
    async fn forward_to_end(&self, side: &Side) {
        tokio::select! {
            biased;
            () = self.wait_until(|| side.has_ended()) => {}
            () = self.forward(side) => {}
        }
    }

    /// Reads one pipe whenever there is room for its lines.
    async fn forward(&self, side: &Side) {
        while !side.has_ended() {
            // Waits for room only when the pipe is readable. Without this order, many silent
            // processes would all get room, and could then all write at once.
            let readable = poll_fn(|context| match &*side.pipe.borrow() {
                Some(pipe) => pipe.poll_read_ready(context),
                None => Poll::Pending,
            })
            .await;
            if !self.takes(side) {
                self.output.room(side.stream).await;
            }
            // The task does not yield between the wait and the read, so there is still room.
            match readable.and(self.read(side).await) {
                Ok(Some(count)) if count >= LONG_READ => {
                    let turn = TURN.with(Rc::clone);
                    let turn = turn.acquire().await;
                    // The runtime continues this task only after a turn of the event loop.
                    yield_now().await;
                    drop(turn);
                }
                Ok(_) => {}
                Err(_) => self.take(side, &[], &mut Vec::new()),
            }
        }
    }

    /// Reads without waiting, and returns the number of bytes; `None` if [`Self::pump`] has emptied
    /// or closed the pipe.
    async fn read(&self, side: &Side) -> io::Result<Option<usize>> {
        poll_fn(|context| {
            SCRATCH.with_borrow_mut(|Scratch { chunk, lines }| {
                let mut buffer = ReadBuf::new(chunk);
                let mut pipe = side.pipe.borrow_mut();
                let Some(Poll::Ready(result)) =
                    pipe.as_mut().map(|pipe| Pin::new(pipe).poll_read(context, &mut buffer))
                else {
                    return Poll::Ready(Ok(None));
                };
                drop(pipe);
                result?;
                self.take(side, buffer.filled(), lines);
                Poll::Ready(Ok(Some(buffer.filled().len())))
            })
        })
        .await
    }

    /// Handles the bytes of a read. No bytes mean the end of the pipe.
    fn take(&self, side: &Side, bytes: &[u8], lines: &mut Vec<u8>) {
        if bytes.is_empty() {
            self.queue_lines(side, None, lines);
            side.pipe.take();
            self.changed.notify_waiters();
        } else {
            self.queue_lines(side, Some(bytes), lines);
        }
    }

    /// Queues the lines that `bytes` completes; without `bytes`, queues the incomplete line.
    fn queue_lines(&self, side: &Side, bytes: Option<&[u8]>, lines: &mut Vec<u8>) {
        let time = match side.form {
            LineForm::Json(_) => stamp(SystemTime::now()),
            LineForm::Plain | LineForm::Prefix(_) => String::new(),
        };
        let mut last = self.last.borrow_mut();
        let pattern = self.pattern.as_ref();
        let mut each = |line: &[u8], is_last: bool| {
            side.form.write(&time, line, lines);
            if is_last {
                last.push(line);
            }
            if self.is_sought.get() && pattern.is_some_and(|it| it.is_match(&text(line))) {
                self.is_sought.set(false);
                self.matched.set(true);
                self.changed.notify_waiters();
            }
            // The lines are queued whenever they fill a chunk, and not only after the whole read.
            // With a prefix for each line, the lines of a read can be many times larger than the
            // read.
            if lines.len() >= CHUNK {
                self.queue(side.stream, lines);
            }
        };
        let mut splitter = side.splitter.borrow_mut();
        match bytes {
            Some(bytes) => {
                let (first, rest) = bytes.split_at(start_of_last_lines(bytes));
                splitter.feed(first, |line| each(line, false));
                splitter.feed(rest, |line| each(line, true));
            }
            None => splitter.finish(|line| each(line, true)),
        }
        if !lines.is_empty() {
            self.queue(side.stream, lines);
        }
    }

    fn queue(&self, stream: Stream, lines: &mut Vec<u8>) {
        self.output.push_process(stream, lines);
        lines.clear();
    }

    async fn wait_until(&self, done: impl Fn() -> bool) {
        loop {
            let changed = self.changed.notified();
            if done() {
                return;
            }
            changed.await;
        }
    }
}

/// Lets a process open its output again by a path, as many programs open `/dev/stdout`. The user of
/// the process becomes the owner of the pipe. Everybody may write, because the process may become
/// another user, as with `gosu`. A foreign process can nevertheless not open the pipe: the only
/// path is in `/proc/PID/fd`, and needs the permission to inspect the process PID. Only the owner
/// may read, because a reader takes lines away.
pub(crate) fn give_to(user: Option<&User>, pipe: &PipeWriter) {
    // The result is ignored: the mode matters only to a process that becomes another user.
    let _ = fchmod(pipe, Mode::from_bits_truncate(0o622));
    if let Some(user) = user {
        // The result is ignored: without the privilege to change the owner, the process runs as
        // drainit's user, who already owns the pipe.
        let _ = fchown(pipe, Some(Uid::from_raw(user.uid)), Some(Gid::from_raw(user.gid)));
    }
}

impl Side {
    fn open(stream: Stream, form: LineForm, user: Option<&User>) -> io::Result<(Self, PipeWriter)> {
        let (read_end, write_end) = pipe()?;
        give_to(user, &write_end);
        let pipe = RefCell::new(Some(Receiver::from_owned_fd(OwnedFd::from(read_end))?));
        let splitter = RefCell::default();
        Ok((Self { stream, form, pipe, splitter }, write_end))
    }

    fn has_ended(&self) -> bool {
        self.pipe.borrow().is_none()
    }

    /// The bytes that the pipe can hold.
    fn capacity(&self) -> Option<usize> {
        let pipe = self.pipe.borrow();
        fcntl(pipe.as_ref()?, FcntlArg::F_GETPIPE_SZ).ok()?.try_into().ok()
    }
}
