//! One stream of drainit's output: a bounded queue, and the thread that writes the queued lines.
//!
//! The thread is needed because a `write` to a full pipe blocks, and because `O_NONBLOCK` would
//! apply to every process that shares the open file. Only this thread may block; all other threads
//! only queue lines.
//!
//! ```text
//! push ──▶ pending ──swap──▶ buffer of the thread ──write──▶ descriptor
//! ```

use std::mem;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use memchr::{memchr_iter, memrchr};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::write;
use tokio::sync::Notify;
use tracing::Level;

use crate::keys::LogFormat;
use crate::logging::format::own_line;
use crate::os::errno;
use crate::os::on_thread::locked;
use crate::os::signal::mask;
use crate::types::{Stream, counted};

/// The limit of the queued bytes. The limit applies separately to the lines of processes and to
/// drainit's own lines, so that a process that writes a lot cannot silence drainit. At the limit,
/// [`StreamWriter::room`] makes the tasks that read from processes wait, and drainit's own lines
/// are dropped.
pub(crate) const BOUND: usize = 256 * 1024;

/// If this many bytes of processes are queued, further lines of processes are dropped. Only lines
/// that do not wait for room reach this limit. A process that has a `log` readiness writes such
/// lines until it is ready. During a shutdown, every process does so if nobody reads the output.
pub(crate) const LIMIT: usize = 1024 * 1024;

/// A buffer of at most this size, in bytes, is kept when it is empty. A larger buffer is freed
/// after [`IDLE`], and not at once. If the reader is only a little too slow, the queue is empty for
/// a moment after each read, and needs a large buffer again soon.
const KEEP: usize = 4096;

/// The time without lines after which a buffer larger than [`KEEP`] is freed.
const IDLE: Duration = Duration::from_secs(1);

/// Bytes are written in slices of whole lines. A slice has at most this length, unless a single
/// line is longer. A write of at most this length to a pipe is atomic (pipe(7), `PIPE_BUF`), so
/// lines stay whole even if processes write to the same pipe. Short slices also make the progress
/// of a slow reader visible.
const SLICE: usize = 4096;

const STACK: usize = 64 * 1024;

/// The pause before another attempt to start the thread. A start may fail at the pids limit.
const THREAD_RETRY: Duration = Duration::from_millis(100);

/// The destination of the lines.
pub(crate) trait Sink: Send + Sync {
    /// Writes as write(2) does.
    fn write(&self, bytes: &[u8]) -> nix::Result<usize>;

    /// Waits at most `within` until a write is possible. Returns whether a write is possible now.
    fn wait_for_room(&self, within: PollTimeout) -> nix::Result<bool>;

    /// Whether a later write may succeed after this error.
    fn may_recover(&self, errno: Errno) -> bool {
        is_transient(errno)
    }

    /// Whether the sink holds something that only writes need, such as an open file.
    fn holds(&self) -> bool {
        false
    }

    /// Drops what the sink holds ([`Self::holds`]). Called when nothing was written for a while,
    /// and when the thread ends because the writer is closed.
    fn let_go(&self) {}

    /// Reports dropped lines in the sink's own way, and returns `true`. `why` is `None` if the
    /// lines were dropped for lack of room. A sink without its own way returns `false`: the writer
    /// then reports the dropped lines in a line of the output.
    fn report_dropped(&self, _lines: u64, _why: Option<Errno>) -> bool {
        false
    }

    /// Whether the sink reports, at the end, how many lines were not written. The count is
    /// optional, because it takes a third of the instructions that drainit needs for a line.
    fn counts(&self) -> bool {
        false
    }
}

/// A descriptor as a sink.
impl<D: AsFd + Send + Sync> Sink for D {
    fn write(&self, bytes: &[u8]) -> nix::Result<usize> {
        write(self, bytes)
    }

    fn wait_for_room(&self, within: PollTimeout) -> nix::Result<bool> {
        poll(&mut [PollFd::new(self.as_fd(), PollFlags::POLLOUT)], within).map(|ready| ready > 0)
    }
}

/// The origin of lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LineOrigin {
    Own,
    Process,
}

/// The queue of one stream.
pub(crate) struct StreamWriter {
    stream: Stream,
    sink: Box<dyn Sink>,
    json: Arc<AtomicBool>,
    state: Mutex<QueueState>,
    /// Notified when something is pending, or the writer is closing.
    work: Condvar,
    /// Notified when all queued lines are written, or when the descriptor is broken.
    idle: Condvar,
    /// Notified when the queue was emptied, or when tasks no longer need to wait for room.
    room: Notify,
    born: Instant,
    /// The time at which the thread last took or wrote bytes, in milliseconds after `born`.
    progress: AtomicU64,
    /// The number of lines that the thread has taken and not written yet, if the sink counts lines.
    taken: AtomicU64,
}

#[derive(Default)]
struct QueueState {
    pending: Vec<u8>,
    /// The number of bytes of drainit's own lines in `pending`.
    own: usize,
    process: usize,
    /// The number of lines dropped since the last report.
    dropped: u64,
    failed: Option<Errno>,
    /// The number of all dropped lines.
    lost: u64,
    started: bool,
    /// Whether the thread is writing a buffer that it has taken.
    busy: bool,
    /// Whether the thread waits for work.
    sleeping: bool,
    /// Whether the descriptor is broken. If it is, all lines are dropped.
    dead: bool,
    /// The time without progress after which [`StreamWriter::room`] stops waiting; `None` before a
    /// shutdown.
    patience: Option<Duration>,
    /// Whether the thread ends when nothing is pending.
    closing: bool,
}

impl QueueState {
    fn drop_lines(&mut self, bytes: &[u8]) {
        let lines = count_lines(bytes);
        self.dropped += lines;
        self.lost += lines;
    }

    fn is_flushed(&self) -> bool {
        self.dead || (self.pending.is_empty() && !self.busy)
    }
}

impl StreamWriter {
    pub(crate) fn new(stream: Stream, sink: Box<dyn Sink>, json: Arc<AtomicBool>) -> Arc<Self> {
        Arc::new(Self {
            stream,
            sink,
            json,
            state: Mutex::default(),
            work: Condvar::new(),
            idle: Condvar::new(),
            room: Notify::new(),
            born: Instant::now(),
            progress: AtomicU64::new(0),
            taken: AtomicU64::new(0),
        })
    }

    /// Queues whole lines, or drops them. Never blocks.
    pub(crate) fn push(self: &Arc<Self>, source: LineOrigin, lines: &[u8]) {
        let mut state = self.lock();
        let fits = match source {
            LineOrigin::Own => state.own == 0 || state.own + lines.len() <= BOUND,
            LineOrigin::Process => state.process < LIMIT,
        };
        if state.dead || !fits {
            state.drop_lines(lines);
        } else {
            state.pending.extend_from_slice(lines);
            match source {
                LineOrigin::Own => state.own += lines.len(),
                LineOrigin::Process => state.process += lines.len(),
            }
        }
        self.start(&mut state);
        let sleeping = mem::take(&mut state.sleeping);
        // The lock is released first, because the thread that is woken needs it immediately.
        drop(state);
        if sleeping {
            self.work.notify_one();
        }
    }

    /// Whether lines of a process may be queued now.
    pub(crate) fn has_room(&self) -> bool {
        let state = self.lock();
        let is_late = state.patience.is_some_and(|patience| self.quiet() >= patience);
        state.dead || state.process < BOUND || is_late
    }

    /// Resolves when lines of a process may be queued.
    pub(crate) async fn room(self: &Arc<Self>) {
        loop {
            let changed = self.room.notified();
            let patience = {
                let mut state = self.lock();
                if state.dead || state.process < BOUND {
                    return;
                }
                self.start(&mut state);
                let left = |patience: Duration| patience.saturating_sub(self.quiet());
                let patience = state.patience.map(left);
                let at_most = (!state.started).then_some(THREAD_RETRY);
                patience.into_iter().chain(at_most).min()
            };
            match patience {
                None => changed.await,
                Some(Duration::ZERO) => return,
                Some(left) => _ = tokio::time::timeout(left, changed).await,
            }
        }
    }

    /// Makes [`StreamWriter::room`] wait at most `patience` for progress of the reader.
    pub(crate) fn stop_waiting(&self, patience: Duration) {
        self.lock().patience = Some(patience);
        self.room.notify_waiters();
    }

    /// Blocks until everything is written or the descriptor is broken, at most until `deadline`.
    /// Returns `false` if the deadline came first.
    pub(crate) fn flush(self: &Arc<Self>, deadline: Instant) -> bool {
        let mut state = self.lock();
        if !state.pending.is_empty() {
            self.start(&mut state);
            if !state.started && !state.dead {
                return self.write_without_thread(&mut state, deadline);
            }
        }
        let left = deadline.saturating_duration_since(Instant::now());
        let (state, _) = self
            .idle
            .wait_timeout_while(state, left, |state| !state.is_flushed())
            .unwrap_or_else(PoisonError::into_inner);
        state.is_flushed()
    }

    /// Writes the queued lines during a flush if no thread can be started. A write cannot block: a
    /// slice is at most as long as the room that poll(2) guarantees in a writable pipe.
    fn write_without_thread(&self, state: &mut QueueState, deadline: Instant) -> bool {
        let mut written = 0;
        while let rest @ [_, ..] = &state.pending[written..] {
            let left = deadline.saturating_duration_since(Instant::now());
            let within = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
            match self.sink.wait_for_room(within) {
                Ok(true) => match self.sink.write(&rest[..slice_of_lines(rest).min(SLICE)]) {
                    Ok(count) if count > 0 => {
                        written += count;
                        self.made_progress();
                    }
                    Err(Errno::EINTR | Errno::EAGAIN) if !left.is_zero() => {}
                    Ok(_) | Err(_) => break,
                },
                Err(Errno::EINTR) if !left.is_zero() => {}
                Ok(false) | Err(_) => break,
            }
        }
        state.pending.drain(..written);
        (state.own, state.process) = (state.pending.len(), 0);
        state.is_flushed()
    }

    /// The number of lines that were dropped since the last report, plus the number of lines that
    /// are not written yet.
    pub(crate) fn unwritten(&self) -> u64 {
        let state = self.lock();
        state.dropped + count_lines(&state.pending) + self.taken.load(Relaxed)
    }

    /// The write error that made the writer drop lines, if drainit has not reported it yet.
    pub(crate) fn write_error(&self) -> Option<Errno> {
        self.lock().failed
    }

    /// The number of all dropped lines.
    pub(crate) fn lost(&self) -> u64 {
        self.lock().lost
    }

    /// Ends the thread after everything pending was written.
    pub(crate) fn close(&self) {
        self.lock().closing = true;
        self.work.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, QueueState> {
        locked(&self.state)
    }

    /// Starts the thread at the first use. If that fails, as at the pids limit, the next use tries
    /// again.
    fn start(self: &Arc<Self>, state: &mut QueueState) {
        if state.started || state.dead {
            return;
        }
        let writer = Arc::clone(self);
        let thread = thread::Builder::new().name(self.stream.to_string()).stack_size(STACK);
        let started = thread.spawn(move || writer.write_until_closed());
        // If lines are dropped for lack of a thread, the report gives the error of the start as the
        // reason.
        state.failed = started.as_ref().err().map(errno);
        state.started = started.is_ok();
    }

    /// The time since the last progress of the thread.
    pub(crate) fn quiet(&self) -> Duration {
        self.born.elapsed().saturating_sub(Duration::from_millis(self.progress.load(Relaxed)))
    }

    fn made_progress(&self) {
        let millis = u64::try_from(self.born.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.progress.store(millis, Relaxed);
    }

    /// The work of the thread: writes lines until the writer is closed, or until the descriptor is
    /// broken.
    fn write_until_closed(&self) {
        mask::block_here();
        let mut buffer = Vec::new();
        while let Some(dropped) = self.take(&mut buffer) {
            let (written, mut result) = self.write(&buffer);
            if result.is_ok() && dropped > 0 {
                result = self.report_dropped(dropped);
            }
            if let Err(errno) = result {
                let mut state = self.lock();
                state.drop_lines(&buffer[written..]);
                self.taken.store(0, Relaxed);
                state.failed = Some(errno);
                if !self.sink.may_recover(errno) {
                    return self.die(state);
                }
            }
        }
        // The writer may live longer than its thread, so the sink drops what it holds.
        self.sink.let_go();
    }

    /// Waits until something is pending, and takes it into `buffer`; `None` if the writer is
    /// closed. Returns the number of lines that were dropped since the last report. The report
    /// about these lines follows the pending lines.
    fn take(&self, buffer: &mut Vec<u8>) -> Option<u64> {
        buffer.clear();
        let mut state = self.lock();
        state.busy = false;
        if state.pending.is_empty() {
            self.idle.notify_all();
        }
        while state.pending.is_empty() {
            if state.closing {
                return None;
            }
            state.sleeping = true;
            state = self.wait_for_work(state, buffer);
        }
        mem::swap(&mut state.pending, buffer);
        (state.own, state.process) = (0, 0);
        state.busy = true;
        if self.sink.counts() {
            self.taken.store(count_lines(buffer), Relaxed);
        }
        self.made_progress();
        let dropped = state.dropped;
        drop(state);
        self.room.notify_waiters();
        Some(dropped)
    }

    fn wait_for_work<'a>(
        &'a self,
        state: MutexGuard<'a, QueueState>,
        buffer: &mut Vec<u8>,
    ) -> MutexGuard<'a, QueueState> {
        let is_small = buffer.capacity().max(state.pending.capacity()) <= KEEP;
        if is_small && !self.sink.holds() {
            return self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        let waited = self.work.wait_timeout(state, IDLE);
        let (mut state, result) = waited.unwrap_or_else(PoisonError::into_inner);
        if result.timed_out() {
            free(buffer);
            free(&mut state.pending);
            // Closing a file may take time, so the lock is not held.
            drop(state);
            self.sink.let_go();
            state = self.lock();
        }
        state
    }

    /// Writes the line about dropped lines.
    fn report_dropped(&self, dropped: u64) -> Result<(), Errno> {
        let failed = self.lock().failed;
        if self.sink.report_dropped(dropped, failed) {
            self.count_reported(dropped);
            return Ok(());
        }
        let line = self.log_line(dropped, failed);
        self.write(&line).1?;
        self.count_reported(dropped);
        Ok(())
    }

    fn log_line(&self, dropped: u64, failed: Option<Errno>) -> Vec<u8> {
        let stream = self.stream;
        let why = match failed {
            None => format!("{stream} was not read"),
            Some(errno) => format!("{stream} could not be written: {}", errno.desc()),
        };
        let lines = counted(dropped, "line was", "lines were");
        let message = format!("{lines} dropped because {why}");
        let format = if self.json.load(Relaxed) { LogFormat::Json } else { LogFormat::Text };
        own_line(format, stream, Level::WARN, SystemTime::now(), &message)
    }

    fn count_reported(&self, dropped: u64) {
        let mut state = self.lock();
        state.dropped -= dropped;
        state.failed = None;
    }

    /// Writes until everything is written or a write fails. Also returns the number of bytes
    /// written.
    fn write(&self, bytes: &[u8]) -> (usize, Result<(), Errno>) {
        let mut written = 0;
        while written < bytes.len() {
            let rest = &bytes[written..];
            match self.sink.write(&rest[..slice_of_lines(rest)]) {
                Ok(0) => return (written, Err(Errno::EIO)),
                Ok(count) => {
                    written += count;
                    let taken = self.taken.load(Relaxed);
                    if taken > 0 {
                        let left = taken.saturating_sub(count_lines(&rest[..count]));
                        self.taken.store(left, Relaxed);
                    }
                    self.made_progress();
                }
                Err(Errno::EINTR) => {}
                // Another process has set O_NONBLOCK on the shared descriptor.
                Err(Errno::EAGAIN) => match self.sink.wait_for_room(PollTimeout::NONE) {
                    Ok(_) | Err(Errno::EINTR) => {}
                    Err(errno) => return (written, Err(errno)),
                },
                Err(errno) => return (written, Err(errno)),
            }
        }
        (written, Ok(()))
    }

    /// Marks the descriptor as broken, drops the queued lines, and wakes all waiting tasks and
    /// threads.
    fn die(&self, mut state: MutexGuard<'_, QueueState>) {
        let pending = mem::take(&mut state.pending);
        state.drop_lines(&pending);
        state.dead = true;
        self.idle.notify_all();
        self.room.notify_waiters();
    }
}

fn count_lines(bytes: &[u8]) -> u64 {
    memchr_iter(b'\n', bytes).count() as u64
}

/// The length of the next write: whole lines up to [`SLICE`], or one longer line.
fn slice_of_lines(bytes: &[u8]) -> usize {
    if bytes.len() <= SLICE {
        return bytes.len();
    }
    let end = memrchr(b'\n', &bytes[..SLICE]).or_else(|| memchr::memchr(b'\n', bytes));
    end.map_or(bytes.len(), |at| at + 1)
}

/// Whether a later write may succeed after this error.
fn is_transient(errno: Errno) -> bool {
    matches!(errno, Errno::ENOSPC | Errno::EDQUOT | Errno::ENOBUFS | Errno::ENOMEM)
}

/// Frees a large buffer if it is empty.
fn free(buffer: &mut Vec<u8>) {
    if buffer.is_empty() && buffer.capacity() > KEEP {
        *buffer = Vec::new();
    }
}

#[cfg(test)]
mod tests {
    use std::io::{self, PipeReader, pipe};

    use super::*;
    use crate::testing::block_on;

    /// Far longer than anything in these tests takes.
    const LONG: Duration = Duration::from_secs(20);

    /// A writer with a full queue of these lines, as if no thread could be started when they came.
    fn full() -> (PipeReader, Arc<StreamWriter>, String) {
        let (reader, writer) = pipe().unwrap();
        let queue = StreamWriter::new(Stream::Stdout, Box::new(writer), Arc::default());
        let lines = "a line\n".repeat(BOUND / 7 + 1);
        queue.lock().pending.extend_from_slice(lines.as_bytes());
        queue.lock().process += lines.len();
        (reader, queue, lines)
    }

    #[test]
    fn waiting_for_room_starts_a_missing_thread() {
        let (reader, queue, lines) = full();
        let reading = thread::spawn(move || io::read_to_string(reader).unwrap());
        block_on(queue.room());
        assert!(queue.flush(Instant::now() + LONG));
        queue.close();
        drop(queue);
        assert!(reading.join().unwrap() == lines);
    }

    #[test]
    fn without_a_thread_a_flush_writes_what_is_read_until_the_deadline() {
        let (reader, queue, lines) = full();
        let flush = |within| queue.write_without_thread(&mut queue.lock(), Instant::now() + within);
        assert!(!flush(Duration::from_millis(20)));
        assert!((1..BOUND as u64 / 7).contains(&queue.unwritten()));
        let reading = thread::spawn(move || io::read_to_string(reader).unwrap());
        assert!(flush(LONG));
        assert!(queue.has_room());
        drop(queue);
        assert!(reading.join().unwrap() == lines);
    }

    #[test]
    fn a_pipe_that_nobody_reads_any_more_gets_no_second_write() {
        let queue = StreamWriter::new(Stream::Stdout, Box::new(pipe().unwrap().1), Arc::default());
        queue.push(LineOrigin::Process, b"lost\n");
        assert!(queue.flush(Instant::now() + LONG));
        assert!(queue.lock().dead);
    }

    #[test]
    fn lines_dropped_during_a_report_are_reported_later() {
        let (reader, writer) = pipe().unwrap();
        let queue = StreamWriter::new(Stream::Stdout, Box::new(writer), Arc::default());
        queue.lock().drop_lines(b"dropped\n");
        // These are the steps of `write_until_closed`, but more lines are dropped after the number
        // is read and before it is reported.
        let dropped = queue.lock().dropped;
        queue.lock().drop_lines(b"dropped meanwhile\n");
        queue.report_dropped(dropped).unwrap();
        assert_eq!(dropped + queue.unwritten(), queue.lost());
        drop(reader);
    }

    #[test]
    fn only_large_and_empty_buffers_are_freed() {
        let mut full = vec![b'x'; 2 * KEEP];
        free(&mut full);
        assert_eq!(full.len(), 2 * KEEP);
        full.clear();
        free(&mut full);
        assert_eq!(full.capacity(), 0);
        let mut small = Vec::with_capacity(KEEP);
        free(&mut small);
        assert!(small.capacity() >= KEEP);
    }
}
