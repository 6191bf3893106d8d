//! One stream of drainit's output: a bounded queue, and the thread that writes it.
//!
//! The thread exists because a `write` to a pipe that nobody reads blocks, and because the usual way around that is
//! closed: `O_NONBLOCK` would be shared with every process that has the same descriptor. So only this thread may
//! block; everybody else puts lines into the queue and goes on.
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

use crate::config::LogFormat;
use crate::logging::format::own_line;
use crate::logging::split::Stream;
use crate::os::signal::mask;

/// Up to this many bytes of processes' lines wait before [`StreamWriter::room`] makes the readers of their pipes wait, and up to
/// this many of drainit's own before they are dropped. The two are counted apart, so that a process that always has
/// more to say than the reader takes cannot keep drainit from saying anything.
pub(crate) const BOUND: usize = 256 * 1024;

/// Processes' lines that come without waiting for room (what a process left behind when it ended, or during a
/// shutdown whose output nobody reads) are dropped once this many bytes wait.
pub(crate) const LIMIT: usize = 1024 * 1024;

/// After this long without any progress nobody is waited for any more, once a shutdown has begun.
pub(crate) const PATIENCE: Duration = Duration::from_millis(500);

/// Buffers that grew beyond this are given back when for [`A_WHILE`] there was nothing to write: with a reader that is a little
/// too slow, there is nothing for a moment after each read.
const KEEP: usize = 4096;

/// See [`KEEP`].
const A_WHILE: Duration = Duration::from_secs(1);

/// Bytes are written in slices of whole lines that are no longer than this, if the lines allow. To a pipe such a write
/// is atomic (pipe(7), `PIPE_BUF`), so that lines stay whole beside those of processes that have the same descriptor;
/// and a slow reader is seen to make progress.
const SLICE: usize = 4096;

const STACK: usize = 64 * 1024;

/// Where there cannot be a thread (a limit on tasks), it is tried again after this long.
const WITHOUT_THREAD: Duration = Duration::from_millis(100);

/// What the descriptor is known by; it is never closed here unless this owns it.
pub(crate) type Sink = Box<dyn AsFd + Send + Sync>;

/// Whose lines they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// drainit's own.
    Own,
    /// A process's.
    Process,
}

/// The queue of one stream.
pub(crate) struct StreamWriter {
    stream: Stream,
    sink: Sink,
    json: Arc<AtomicBool>,
    state: Mutex<State>,
    /// Something is pending, or the lane is closing.
    work: Condvar,
    /// Nothing is pending or being written, or nothing ever will be.
    idle: Condvar,
    /// The queue was emptied, or waiting for it has become pointless.
    room: Notify,
    born: Instant,
    /// When the thread last got something to write, or written; in milliseconds after `born`.
    progress: AtomicU64,
}

#[derive(Default)]
struct State {
    pending: Vec<u8>,
    /// How many bytes of `pending` are of which source.
    own: usize,
    process: usize,
    /// Lines dropped since the last line that said so, and why if not for want of room.
    dropped: u64,
    failed: Option<Errno>,
    /// Lines dropped ever.
    lost: u64,
    started: bool,
    /// The thread has taken a buffer and is writing it.
    busy: bool,
    /// The thread waits for work.
    sleeping: bool,
    /// The descriptor is broken: everything is dropped from now on.
    dead: bool,
    /// A shutdown has begun.
    impatient: bool,
    /// The thread ends when nothing is pending.
    closing: bool,
}

impl State {
    fn drop_lines(&mut self, bytes: &[u8]) {
        let lines = memchr_iter(b'\n', bytes).count() as u64;
        self.dropped += lines;
        self.lost += lines;
    }

    fn is_flushed(&self) -> bool {
        self.dead || (self.pending.is_empty() && !self.busy)
    }
}

impl StreamWriter {
    pub(crate) fn new(stream: Stream, sink: Sink, json: Arc<AtomicBool>) -> Arc<Self> {
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
        })
    }

    /// Queues whole lines, or drops them; never blocks.
    pub(crate) fn push(self: &Arc<Self>, source: Source, lines: &[u8]) {
        let mut state = self.lock();
        let fits = match source {
            Source::Own => state.own == 0 || state.own + lines.len() <= BOUND,
            Source::Process => state.process < LIMIT,
        };
        if state.dead || !fits {
            state.drop_lines(lines);
        } else {
            state.pending.extend_from_slice(lines);
            match source {
                Source::Own => state.own += lines.len(),
                Source::Process => state.process += lines.len(),
            }
        }
        self.start(&mut state);
        let sleeping = mem::take(&mut state.sleeping);
        // Whoever is woken needs it at once.
        drop(state);
        if sleeping {
            self.work.notify_one();
        }
    }

    /// Resolves when a process's lines may be queued.
    pub(crate) async fn room(self: &Arc<Self>) {
        loop {
            let changed = self.room.notified();
            let patience = {
                let mut state = self.lock();
                if state.dead || state.process < BOUND {
                    return;
                }
                self.start(&mut state);
                let patience = state.impatient.then(|| PATIENCE.saturating_sub(self.quiet()));
                let at_most = (!state.started).then_some(WITHOUT_THREAD);
                patience.into_iter().chain(at_most).min()
            };
            match patience {
                None => changed.await,
                Some(Duration::ZERO) => return,
                Some(left) => _ = tokio::time::timeout(left, changed).await,
            }
        }
    }

    /// From now on [`StreamWriter::room`] waits for a reader only while that reader reads.
    pub(crate) fn stop_waiting(&self) {
        self.lock().impatient = true;
        self.room.notify_waiters();
    }

    /// Blocks until everything is written or cannot be, at most until `deadline`; tells which.
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

    /// What is to be seen of an end that has come because there can be no further task. No write blocks, as each is no longer
    /// than what a pipe with room has room for.
    fn write_without_thread(&self, state: &mut State, deadline: Instant) -> bool {
        let mut written = 0;
        while let rest @ [_, ..] = &state.pending[written..] {
            let left = deadline.saturating_duration_since(Instant::now());
            let mut room = [PollFd::new(self.sink.as_fd(), PollFlags::POLLOUT)];
            let has_room = poll(&mut room, PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX));
            match has_room.map(|ready| ready > 0) {
                Ok(true) => match write(&self.sink, &rest[..slice_of_lines(rest).min(SLICE)]) {
                    Ok(count) if count > 0 => written += count,
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

    /// How many bytes wait to be written.
    pub(crate) fn pending(&self) -> usize {
        self.lock().pending.len()
    }

    /// How many lines were dropped so far.
    #[cfg(test)]
    pub(crate) fn lost(&self) -> u64 {
        self.lock().lost
    }

    /// Lets the thread end when it has written what is pending.
    pub(crate) fn close(&self) {
        self.lock().closing = true;
        self.work.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts the thread at the first use. If there cannot be one (a limit on tasks), the next use tries again.
    fn start(self: &Arc<Self>, state: &mut State) {
        if state.started || state.dead {
            return;
        }
        let lane = Arc::clone(self);
        let thread = thread::Builder::new().name(self.stream.to_string()).stack_size(STACK);
        state.started = thread.spawn(move || lane.write_until_closed()).is_ok();
    }

    /// How long ago the thread made progress.
    fn quiet(&self) -> Duration {
        self.born.elapsed().saturating_sub(Duration::from_millis(self.progress.load(Relaxed)))
    }

    fn made_progress(&self) {
        let millis = u64::try_from(self.born.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.progress.store(millis, Relaxed);
    }

    /// The life of the thread.
    fn write_until_closed(&self) {
        mask::block_here();
        let mut buffer = Vec::new();
        while let Some(dropped) = self.take(&mut buffer) {
            let (written, mut result) = self.write(&buffer);
            if result.is_ok() && dropped > 0 {
                result = self.tell_of(dropped);
            }
            if let Err(errno) = result {
                let mut state = self.lock();
                state.drop_lines(&buffer[written..]);
                state.failed = Some(errno);
                if !is_passing(errno) {
                    return self.die(state);
                }
            }
        }
    }

    /// Waits until something is pending and puts it into `buffer`; `None` if the lane is closed. Tells how many lines were
    /// dropped since the last line about that: they came after what was pending, which left no room for them.
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
        self.made_progress();
        let dropped = state.dropped;
        drop(state);
        self.room.notify_waiters();
        Some(dropped)
    }

    fn wait_for_work<'a>(
        &self,
        state: MutexGuard<'a, State>,
        buffer: &mut Vec<u8>,
    ) -> MutexGuard<'a, State> {
        if buffer.capacity().max(state.pending.capacity()) <= KEEP {
            return self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        let waited = self.work.wait_timeout(state, A_WHILE);
        let (mut state, result) = waited.unwrap_or_else(PoisonError::into_inner);
        if result.timed_out() {
            give_back(buffer);
            give_back(&mut state.pending);
        }
        state
    }

    /// Writes the line that says that lines were dropped.
    fn tell_of(&self, dropped: u64) -> Result<(), Errno> {
        let stream = self.stream;
        let why = match self.lock().failed {
            None => format!("{stream} was not read"),
            Some(errno) => format!("{stream} could not be written: {}", errno.desc()),
        };
        let lines = if dropped == 1 { "1 line was" } else { &format!("{dropped} lines were") };
        let message = format!("{lines} dropped because {why}");
        let format = if self.json.load(Relaxed) { LogFormat::Json } else { LogFormat::Text };
        let line = own_line(format, stream, Level::WARN, SystemTime::now(), &message);
        self.write(&line).1?;
        let mut state = self.lock();
        state.dropped -= dropped;
        state.failed = None;
        Ok(())
    }

    /// Writes until all of it is written or writing fails; tells how much was written.
    fn write(&self, bytes: &[u8]) -> (usize, Result<(), Errno>) {
        let mut written = 0;
        while written < bytes.len() {
            let rest = &bytes[written..];
            match write(&self.sink, &rest[..slice_of_lines(rest)]) {
                Ok(0) => return (written, Err(Errno::EIO)),
                Ok(count) => {
                    written += count;
                    self.made_progress();
                }
                Err(Errno::EINTR) => {}
                // Somebody else has made the descriptor non-blocking, which is shared with us.
                Err(Errno::EAGAIN) => {
                    let mut wait = [PollFd::new(self.sink.as_fd(), PollFlags::POLLOUT)];
                    match poll(&mut wait, PollTimeout::NONE) {
                        Ok(_) | Err(Errno::EINTR) => {}
                        Err(errno) => return (written, Err(errno)),
                    }
                }
                Err(errno) => return (written, Err(errno)),
            }
        }
        (written, Ok(()))
    }

    /// Nothing can be written any more, and nobody need wait for it.
    fn die(&self, mut state: MutexGuard<'_, State>) {
        let pending = mem::take(&mut state.pending);
        state.drop_lines(&pending);
        state.dead = true;
        self.idle.notify_all();
        self.room.notify_waiters();
    }
}

/// How much of `bytes` is written at once: whole lines up to [`SLICE`], or one line if that is longer.
fn slice_of_lines(bytes: &[u8]) -> usize {
    if bytes.len() <= SLICE {
        return bytes.len();
    }
    let end = memrchr(b'\n', &bytes[..SLICE]).or_else(|| memchr::memchr(b'\n', bytes));
    end.map_or(bytes.len(), |at| at + 1)
}

/// Whether a later write may succeed although this one did not.
fn is_passing(errno: Errno) -> bool {
    matches!(errno, Errno::ENOSPC | Errno::EDQUOT | Errno::ENOBUFS | Errno::ENOMEM)
}

/// Something may have come at the last moment.
fn give_back(buffer: &mut Vec<u8>) {
    if buffer.is_empty() && buffer.capacity() > KEEP {
        *buffer = Vec::new();
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::io::{self, pipe};

    use super::*;

    /// Far more than anything here takes.
    const LONG: Duration = Duration::from_secs(20);

    #[test]
    fn readers_that_wait_without_a_thread_start_it() {
        let (reader, writer) = pipe().unwrap();
        let lane = StreamWriter::new(Stream::Stdout, Box::new(writer), Arc::default());
        let lines = "a line\n".repeat(BOUND / 7 + 1);
        // As if there could not be a thread when the lines came.
        lane.lock().pending.extend_from_slice(lines.as_bytes());
        lane.lock().process += lines.len();
        let reading = thread::spawn(move || io::read_to_string(reader).unwrap());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async { tokio::time::timeout(LONG, lane.room()).await }).unwrap();
        assert!(lane.flush(Instant::now() + LONG));
        lane.close();
        drop(lane);
        assert!(reading.join().unwrap() == lines);
    }

    #[test]
    fn only_large_and_empty_buffers_are_given_back() {
        let mut full = vec![b'x'; 2 * KEEP];
        give_back(&mut full);
        assert_eq!(full.len(), 2 * KEEP);
        full.clear();
        give_back(&mut full);
        assert_eq!(full.capacity(), 0);
        let mut small = Vec::with_capacity(KEEP);
        give_back(&mut small);
        assert!(small.capacity() >= KEEP);
    }
}
