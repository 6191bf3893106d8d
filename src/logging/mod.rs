//! drainit's stdout and stderr. A slow or dead reader never blocks drainit.
//!
//! Each stream has its own queue and thread ([`StreamWriter`]), started at the first line. Lines of
//! processes wait for room. A process whose output is not read blocks in its own `write`, as it
//! would without drainit, and no line is lost. drainit's own lines never wait. If there is no room,
//! drainit's own lines are dropped and counted, and a later line reports their number.

pub mod capture;
pub(crate) mod colour;
#[cfg(test)]
#[allow(clippy::cast_possible_truncation)]
mod conservation;
pub mod file;
pub mod format;
pub mod last_lines;
pub mod split;
pub mod subscriber;
pub mod writer;

use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use tokio::time::sleep;

use crate::keys::LogFormat;
use crate::logging::file::OpenLogFile;
use crate::logging::writer::{LineOrigin, StreamWriter};
use crate::types::Stream;

/// The longest time for which [`Output::flush_patiently`] blocks its thread without a pause.
const FLUSH_SLICE: Duration = Duration::from_millis(20);
/// The pause after each [`FLUSH_SLICE`], in which the other tasks of the thread run.
const FLUSH_PAUSE: Duration = Duration::from_millis(1);

/// drainit's stdout and stderr. Threads share this value.
pub struct Output {
    stdout: Arc<StreamWriter>,
    stderr: Arc<StreamWriter>,
    json: Arc<AtomicBool>,
    /// Whether the writers belong to other [`Output`]s, as after [`Output::split`]. If so, the drop
    /// of this value does not close the writers.
    is_shared: bool,
    /// Whether stderr is a terminal that shows colour.
    in_colour: bool,
}

impl Output {
    /// Writes to descriptors 1 and 2. Never changes their flags, which are shared with other
    /// processes.
    pub fn stdio() -> Arc<Self> {
        let mut output = Self::new(io::stdout(), io::stderr());
        if let Some(output) = Arc::get_mut(&mut output) {
            output.in_colour = colour::is_shown(Stream::Stderr);
        }
        output
    }

    /// Writes to any two descriptors. Drops `stdout` and `stderr` after everything was written.
    pub fn new<O, E>(stdout: O, stderr: E) -> Arc<Self>
    where
        O: AsFd + Send + Sync + 'static,
        E: AsFd + Send + Sync + 'static,
    {
        let json = Arc::new(AtomicBool::new(false));
        Arc::new(Self {
            stdout: StreamWriter::new(Stream::Stdout, Box::new(stdout), Arc::clone(&json)),
            stderr: StreamWriter::new(Stream::Stderr, Box::new(stderr), Arc::clone(&json)),
            json,
            is_shared: false,
            in_colour: false,
        })
    }

    /// Writes both streams to one file.
    pub(crate) fn file(file: OpenLogFile) -> Arc<Self> {
        let json = Arc::new(AtomicBool::new(false));
        let writer = StreamWriter::new(Stream::Stdout, Box::new(file), Arc::clone(&json));
        let (stdout, stderr) = (Arc::clone(&writer), writer);
        Arc::new(Self { stdout, stderr, json, is_shared: false, in_colour: false })
    }

    /// Writes to the stdout of the first argument, and to the stderr of the second argument.
    pub(crate) fn split(stdout: &Self, stderr: &Self) -> Arc<Self> {
        let json = Arc::clone(&stdout.json);
        let (stdout, stderr) = (Arc::clone(&stdout.stdout), Arc::clone(&stderr.stderr));
        Arc::new(Self { stdout, stderr, json, is_shared: true, in_colour: false })
    }

    /// Whether a stream of this value and a stream of `other` have the same writer.
    pub(crate) fn shares_with(&self, other: &Self) -> bool {
        let own = [&self.stdout, &self.stderr];
        own.iter().any(|one| Arc::ptr_eq(one, &other.stdout) || Arc::ptr_eq(one, &other.stderr))
    }

    /// The format of drainit's own lines; text until it is set.
    pub fn format(&self) -> LogFormat {
        if self.json.load(Relaxed) { LogFormat::Json } else { LogFormat::Text }
    }

    /// Sets the format of drainit's own lines.
    pub fn set_format(&self, format: LogFormat) {
        self.json.store(format == LogFormat::Json, Relaxed);
    }

    /// Queues whole, formatted lines of drainit itself. If too many of drainit's own lines are
    /// waiting, drops and counts the new lines. Never blocks.
    pub fn push(&self, stream: Stream, lines: &[u8]) {
        if self.in_colour {
            let painted = colour::labels(&String::from_utf8_lossy(lines));
            self.writer(stream).push(LineOrigin::Own, painted.as_bytes());
        } else {
            self.writer(stream).push(LineOrigin::Own, lines);
        }
    }

    /// Queues whole, formatted lines of a process. Never blocks. The caller awaits [`Output::room`]
    /// first. If 1 MiB of lines waits nevertheless, drops and counts the new lines.
    pub fn push_process(&self, stream: Stream, lines: &[u8]) {
        self.writer(stream).push(LineOrigin::Process, lines);
    }

    /// Resolves when less than 256 KiB of lines of processes are waiting, or the descriptor is
    /// broken.
    pub async fn room(&self, stream: Stream) {
        self.writer(stream).room().await;
    }

    /// Whether [`Output::room`] would resolve at once.
    pub(crate) fn has_room(&self, stream: Stream) -> bool {
        self.writer(stream).has_room()
    }

    /// Called when a shutdown begins. From then on, [`Output::room`] also resolves if nothing could
    /// be written for `patience`. Otherwise a process that waits at a full pipe could not end.
    /// Lines that do not fit are dropped and counted.
    pub fn stop_waiting(&self, patience: Duration) {
        self.stdout.stop_waiting(patience);
        self.stderr.stop_waiting(patience);
    }

    /// Blocks until everything queued is written or the descriptor is broken, at most for `within`.
    /// Returns `false` if `within` was too short. drainit can exit even if a thread still hangs in
    /// `write`, because no thread outlives `_exit`.
    pub fn flush(&self, within: Duration) -> bool {
        let deadline = Instant::now() + within;
        let stdout = self.stdout.flush(deadline);
        let stderr = self.stderr.flush(deadline);
        stdout && stderr
    }

    /// Like [`Output::flush`], but gives up when the reader has made no progress for `patience`, or
    /// after `longest`. Blocks the thread for at most [`FLUSH_SLICE`] at a time, so that other
    /// tasks of the thread run in between.
    pub async fn flush_patiently(&self, patience: Duration, longest: Duration) -> bool {
        let began = Instant::now();
        loop {
            let flushed = self.flush(FLUSH_SLICE.min(longest.saturating_sub(began.elapsed())));
            let took = began.elapsed();
            let quiet = took.min(self.stdout.quiet()).min(self.stderr.quiet());
            if flushed || quiet >= patience || took >= longest {
                return flushed;
            }
            sleep(FLUSH_PAUSE).await;
        }
    }

    /// The number of lines for stdout that drainit has not written: dropped lines that no report
    /// has counted yet, and queued lines.
    pub(crate) fn unwritten(&self) -> u64 {
        self.stdout.unwritten()
    }

    /// The write error that made drainit drop lines, if drainit has not reported it yet.
    pub(crate) fn write_error(&self) -> Option<Errno> {
        self.stdout.write_error()
    }

    /// The number of dropped lines.
    pub fn dropped(&self, stream: Stream) -> u64 {
        self.writer(stream).lost()
    }

    /// Ends the threads after everything queued was written. Nothing may be queued afterwards.
    pub(crate) fn close(&self) {
        self.stdout.close();
        self.stderr.close();
    }

    fn writer(&self, stream: Stream) -> &Arc<StreamWriter> {
        match stream {
            Stream::Stdout => &self.stdout,
            Stream::Stderr => &self.stderr,
        }
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        if !self.is_shared {
            self.close();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{PipeReader, Read, pipe};
    use std::thread;

    use super::*;
    use crate::testing::block_on;

    fn output() -> (Arc<Output>, PipeReader, PipeReader) {
        let (stdout, stdout_end) = pipe().unwrap();
        let (stderr, stderr_end) = pipe().unwrap();
        (Output::new(stdout_end, stderr_end), stdout, stderr)
    }

    #[test]
    fn without_a_reader_own_lines_have_room_and_a_shutdown_does_not_wait() {
        let (output, _stdout, _stderr) = output();
        let both = [Stream::Stdout, Stream::Stderr];
        for stream in both {
            let push = || output.push_process(stream, "a line\n".repeat(100_000).as_bytes());
            push();
            // The thread takes these lines, and waits for a reader.
            while !output.has_room(stream) {
                thread::yield_now();
            }
            push();
            assert!(!output.has_room(stream));
            output.push(stream, b"[drainit] still here\n");
            assert_eq!(output.dropped(stream), 0);
        }
        output.stop_waiting(Duration::ZERO);
        assert_eq!(both.map(|stream| output.has_room(stream)), [true, true]);
    }

    #[test]
    fn patient_flush_waits_for_slow_reader_and_runs_other_tasks() {
        for stream in [Stream::Stdout, Stream::Stderr] {
            let (output, stdout, stderr) = output();
            // The text is far more than a pipe holds. With the slow reader, the thread of the
            // output needs about a second for one buffer.
            output.push_process(stream, &b"a line\n".repeat(30_000));
            let (mut slow, _other) = match stream {
                Stream::Stdout => (stdout, stderr),
                Stream::Stderr => (stderr, stdout),
            };
            let reader = thread::spawn(move || {
                let (mut page, mut read) = ([0; 4096], 0);
                while let count @ 1.. = slow.read(&mut page).unwrap() {
                    read += count;
                    thread::sleep(Duration::from_millis(20));
                }
                read
            });
            let served = std::cell::Cell::new(0);
            let patience = Duration::from_millis(400);
            let flushed = block_on(async {
                let others = async {
                    loop {
                        tokio::time::sleep(FLUSH_PAUSE).await;
                        served.set(served.get() + 1);
                    }
                };
                tokio::select! {
                    flushed = output.flush_patiently(patience, Duration::from_secs(20)) => flushed,
                    () = others => unreachable!(),
                }
            });
            assert!(flushed, "{stream:?}");
            assert!(served.get() >= 5, "{}", served.get());
            drop(output);
            assert_eq!(reader.join().unwrap(), 210_000);
        }
    }
}
