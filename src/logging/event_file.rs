//! The file of `logging.events`: one line for each event, written by a thread of its own.
//!
//! A disk that hangs, or a pipe that nobody reads, blocks only that thread. Events that do not fit
//! into its queue are dropped and counted.

use std::fs::{self, File, FileType};
use std::io;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::PollTimeout;

use crate::logging::Flushed;
use crate::logging::file::LogFile;
use crate::logging::format::stamp;
use crate::logging::writer::{Sink, Source, StreamWriter};
use crate::os::inherited;
use crate::types::Stream;

/// An open file for events.
pub struct EventFile {
    writer: Arc<StreamWriter>,
}

impl EventFile {
    /// Opens the file. A regular file is appended to, created if it does not exist, and made anew
    /// when it was moved or removed.
    ///
    /// A FIFO needs no reader yet, and may lose its reader: what is written waits in it.
    /// `/dev/stdout` and `/dev/fd/N` are what drainit was started with.
    ///
    /// # Errors
    /// If the kernel refuses to open it, or if it is a symbolic link that names no descriptor.
    pub fn open(path: &Path) -> io::Result<Self> {
        let found = fs::symlink_metadata(path).map(|found| found.file_type());
        let is = |kind: fn(&fs::FileType) -> bool| found.as_ref().is_ok_and(kind);
        let file: Box<dyn Sink> = if is(FileType::is_fifo) || is(FileType::is_char_device) {
            let flags = OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
            let mut options = File::options();
            // A FIFO can be opened without a reader if it is opened for reading, too.
            options.read(true).write(true).custom_flags(flags.bits());
            Box::new(EventSink(options.open(path)?))
        } else if inherited::is_descriptor(path) {
            let opened = inherited::open(path)?;
            if opened.metadata()?.is_file() {
                Box::new(EventSink(LogFile::inherited(path, opened)?))
            } else {
                Box::new(EventSink(opened))
            }
        } else {
            Box::new(EventSink(LogFile::open(path)?))
        };
        Ok(Self { writer: StreamWriter::new(Stream::Stdout, file, Arc::default()) })
    }

    /// Queues a whole line; drops and counts it if too many wait. Never blocks.
    pub fn push(&self, line: &[u8]) {
        self.writer.push(Source::Own, line);
    }

    /// The number of dropped events.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.writer.lost()
    }

    /// Blocks until everything queued is written, at most for `within`.
    pub fn flush(&self, within: Duration) -> Flushed {
        match self.writer.flush(Instant::now() + within) {
            true => Flushed::Yes,
            false => Flushed::No,
        }
    }
}

impl Drop for EventFile {
    fn drop(&mut self) {
        self.writer.close();
    }
}

/// Reports dropped events as an event.
struct EventSink<S>(S);

impl<S: Sink> Sink for EventSink<S> {
    fn write(&self, bytes: &[u8]) -> nix::Result<usize> {
        self.0.write(bytes)
    }

    fn wait_for_room(&self, within: PollTimeout) -> nix::Result<bool> {
        self.0.wait_for_room(within)
    }

    fn may_recover(&self, errno: Errno) -> bool {
        self.0.may_recover(errno)
    }

    fn dropped_line(&self, lines: u64) -> Option<Vec<u8>> {
        let time = stamp(SystemTime::now());
        let line = format!("{{\"time\":\"{time}\",\"event\":\"dropped\",\"count\":{lines}}}\n");
        Some(line.into_bytes())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::io::{BufRead, BufReader, Write};
    use std::os::fd::AsRawFd;
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::path::PathBuf;

    use nix::sys::stat::Mode;
    use nix::unistd::mkfifo;

    use super::*;
    use crate::testing::temp_dir::TempDir;

    /// Far more than anything here takes.
    const LONG: Duration = Duration::from_secs(20);

    #[test]
    fn events_are_appended() {
        let dir = TempDir::new();
        let path = dir.path("events");
        for line in ["{\"a\":1}\n", "{\"b\":2}\n"] {
            let file = EventFile::open(&path).unwrap();
            file.push(line.as_bytes());
            assert_eq!((file.flush(LONG), file.dropped()), (Flushed::Yes, 0));
        }
        assert_eq!(fs::read_to_string(&path).unwrap(), "{\"a\":1}\n{\"b\":2}\n");
    }

    #[test]
    fn a_descriptor_of_a_plain_file_is_shared() {
        let dir = TempDir::new();
        let path = dir.path("out");
        // As a shell opens it for `>`.
        let mut shell = File::create(&path).unwrap();
        let events = EventFile::open(Path::new(&format!("/dev/fd/{}", shell.as_raw_fd()))).unwrap();
        let mut expected = String::new();
        for _ in 0..3 {
            shell.write_all(b"a line\n").unwrap();
            events.push(b"{}\n");
            assert_eq!(events.flush(LONG), Flushed::Yes);
            expected += "a line\n{}\n";
        }
        assert_eq!(fs::read_to_string(&path).unwrap(), expected);
    }

    #[test]
    fn a_file_below_dev_is_one_like_any_other() {
        let dir = PathBuf::from(format!("/dev/shm/drainit-events-{}", std::process::id()));
        if fs::create_dir(&dir).is_err() {
            return; // There is no /dev/shm.
        }
        let path = dir.join("events");
        let file = EventFile::open(&path).unwrap();
        let write = || {
            file.push(b"{}\n");
            assert_eq!(file.flush(LONG), Flushed::Yes);
        };
        write();
        let mode = fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        fs::rename(&path, dir.join("moved")).unwrap();
        write();
        let anew = fs::read_to_string(&path);
        let link = dir.join("link");
        symlink(&path, &link).unwrap();
        let followed = EventFile::open(&link).is_ok();
        fs::remove_dir_all(&dir).unwrap();
        assert_eq!((mode & !0o640, anew.unwrap().as_str(), followed), (0, "{}\n", false));
        assert!(EventFile::open(Path::new("/dev/null")).is_ok());
    }

    #[test]
    fn a_fifo_waits_for_its_reader_and_its_losses_are_counted_in_it() {
        let dir = TempDir::new();
        let path = dir.path("fifo");
        mkfifo(&path, Mode::S_IRWXU).unwrap();
        let file = EventFile::open(&path).unwrap();
        let line = [[b'x'; 999].as_slice(), b"\n"].concat();
        for _ in 0..2000 {
            file.push(&line);
        }
        let dropped = file.dropped();
        assert!((1000..2000).contains(&dropped), "{dropped}");
        assert_eq!(file.flush(Duration::from_millis(20)), Flushed::No);
        let mut lines = BufReader::new(File::open(&path).unwrap()).lines();
        let mut counted = 0;
        while counted < dropped {
            let line = lines.next().unwrap().unwrap();
            if let Ok(event) = serde_json::from_str::<serde_json::Value>(&line) {
                assert_eq!(event["event"], "dropped");
                counted += event["count"].as_u64().unwrap();
            }
        }
        assert_eq!(counted, dropped);
    }

    #[test]
    fn what_cannot_be_opened_is_an_error() {
        let dir = TempDir::new();
        assert!(EventFile::open(&dir.path("none/events")).is_err());
        assert!(EventFile::open(dir.root()).is_err());
    }
}
