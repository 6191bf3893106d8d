//! Log files of processes. drainit appends to a log file, and makes the file again if somebody has
//! moved or removed it. A full disk never blocks a process.
//!
//! Each file has a queue and a thread of its own, like stdout and stderr. Before each write, the
//! thread checks whether the path still leads to the open file. The thread closes a file after a
//! second without a line. Therefore log rotation needs no signal, and a removed file takes no room
//! on the disk.

use std::collections::BTreeMap;
use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use memchr::memrchr;
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::PollTimeout;
use nix::sys::stat::{Mode, SFlag, stat};
use nix::unistd::write;

use crate::keys::LogFormat;
use crate::logging::Output;
use crate::logging::writer::Sink;
use crate::os::on_thread::locked;
use crate::os::trusted_path::Place;
use crate::types::{counted, harmless};

/// Read and write for drainit's user, read for drainit's group.
const MODE: Mode = Mode::from_bits_truncate(0o640);

/// The longest time for which [`LogFiles::keep`] blocks its thread, which is the thread of the
/// event loop.
const MOMENT: Duration = Duration::from_millis(20);

/// The device and the inode.
type FileId = (u64, u64);

/// The log files that are in use, by their paths.
#[derive(Default)]
pub(crate) struct LogFiles(BTreeMap<PathBuf, Arc<Output>>);

impl LogFiles {
    /// The queue of a file that was added before.
    pub(crate) fn get(&self, path: &Path) -> Option<&Arc<Output>> {
        self.0.get(path)
    }

    /// Adds a file, unless a file with the same path is in use. Returns the queue of the path.
    pub(crate) fn add(&mut self, file: OpenLogFile, format: LogFormat) -> Arc<Output> {
        let path = file.path.clone();
        let output = self.0.entry(path).or_insert_with(|| {
            let output = Output::file(file);
            output.set_format(format);
            output
        });
        Arc::clone(output)
    }

    /// Like [`Output::stop_waiting`], for all files.
    pub(crate) fn stop_waiting(&self, patience: Duration) {
        self.0.values().for_each(|output| output.stop_waiting(patience));
    }

    /// Drops the files that are not wanted, and ends the thread of each. The caller must queue
    /// nothing more for these files. A file that does not take its last lines within [`MOMENT`]
    /// stays until the next call.
    pub(crate) fn keep(&mut self, is_wanted: impl Fn(&Path, &Arc<Output>) -> bool) {
        let deadline = Instant::now() + MOMENT;
        self.0.retain(|path, output| {
            if is_wanted(path, output) || !output.flush(left_until(deadline)) {
                return true;
            }
            report_unwritten(path, output);
            output.close();
            false
        });
    }

    /// Writes all queued lines, for at most `within` in total, and reports the lines that could not
    /// be written.
    pub(crate) fn finish(&self, within: Duration) {
        let deadline = Instant::now() + within;
        for (path, output) in &self.0 {
            let _ = output.flush(left_until(deadline));
            report_unwritten(path, output);
        }
    }
}

fn left_until(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(Instant::now())
}

fn report_unwritten(path: &Path, output: &Output) {
    let lines = output.unwritten();
    if lines > 0 {
        tracing::warn!("{}", dropped(path, lines, output.write_error()));
    }
}

pub(crate) struct OpenLogFile {
    path: PathBuf,
    current: Mutex<Current>,
}

struct Current {
    /// The open file; `None` before the first line, and after one second without a line.
    file: Option<File>,
    id: FileId,
    /// If only a part of the last line was written: the number of these bytes, and the length of the
    /// file after them.
    part: Option<(u64, u64)>,
    /// Whether a write has failed in the middle of a line, and the part of the line is still there.
    is_torn: bool,
    /// Whether drainit has already reported that the file cannot be written or reopened.
    is_reported: bool,
}

impl OpenLogFile {
    /// Opens the file to find errors, and closes it again. May wait for a file system.
    ///
    /// # Errors
    /// Fails if the file cannot be opened, or is not a regular file.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let mut current = Current::new(open(path)?);
        current.file = None;
        Ok(Self { path: path.to_owned(), current: Mutex::new(current) })
    }

    /// Opens the path if there is no open file, or if the path no longer leads to the open file. If
    /// the opening fails, an already open file keeps getting the lines. Returns whether the path
    /// leads to the open file.
    #[allow(clippy::disallowed_methods, reason = "runs on the thread of the output")]
    fn follow(&self, current: &mut Current) -> nix::Result<bool> {
        let found = std::fs::symlink_metadata(&self.path).map(|found| id(&found));
        if current.file.is_some() && found.is_ok_and(|found| found == current.id) {
            return Ok(true);
        }
        match open(&self.path) {
            Ok((file, id)) if id == current.id => current.file = Some(file),
            Ok(opened) => *current = Current::new(opened),
            Err(error) => {
                current.report(&self.path, "cannot be opened anew", &error.to_string());
                if current.file.is_none() {
                    return Err(error.raw_os_error().map_or(Errno::EINVAL, Errno::from_raw));
                }
                return Ok(false);
            }
        }
        Ok(true)
    }
}

impl Sink for OpenLogFile {
    fn write(&self, bytes: &[u8]) -> nix::Result<usize> {
        let mut current = locked(&self.current);
        let followed = self.follow(&mut current);
        let result = followed.and_then(|_| current.write(bytes));
        match result {
            // The write has succeeded, so drainit reports the next failure again.
            Ok(written) if followed == Ok(true) && written == bytes.len() => {
                current.is_reported = false;
            }
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => {
                current.take_back();
                let what = "cannot be written, and lines are dropped";
                current.report(&self.path, what, errno.desc());
            }
        }
        result
    }

    /// Always true: a regular file is always ready.
    fn wait_for_room(&self, _: PollTimeout) -> nix::Result<bool> {
        Ok(true)
    }

    /// Always true: the disk may get room again, or another file may appear at the path.
    fn may_recover(&self, _: Errno) -> bool {
        true
    }

    fn holds(&self) -> bool {
        locked(&self.current).file.is_some()
    }

    /// Closes the file. Otherwise, a file that was moved or removed would stay open until the next
    /// line.
    fn let_go(&self) {
        locked(&self.current).file = None;
    }

    fn counts(&self) -> bool {
        true
    }

    fn report_dropped(&self, lines: u64, why: Option<Errno>) -> bool {
        tracing::warn!("{}; it is written again", dropped(&self.path, lines, why));
        locked(&self.current).is_reported = false;
        true
    }
}

impl Current {
    fn new((file, id): (File, FileId)) -> Self {
        Self { file: Some(file), id, part: None, is_torn: false, is_reported: false }
    }

    fn write(&mut self, bytes: &[u8]) -> nix::Result<usize> {
        let Some(file) = &self.file else { return Err(Errno::EBADF) };
        if self.is_torn {
            write(file, b"\n")?;
            (self.is_torn, self.part) = (false, None);
        }
        let written = write(file, bytes)?;
        let line = memrchr(b'\n', &bytes[..written]).map_or(0, |newline| newline + 1);
        let before = self.part.take().filter(|_| line == 0).map_or(0, |(part, _)| part);
        if line < written {
            let length = file.metadata().map_or(0, |found| found.len());
            self.part = Some((before + (written - line) as u64, length));
        }
        Ok(written)
    }

    /// Removes the part of a line whose rest cannot be written, as on a full disk. If somebody else
    /// has written to the file since, the part stays, and gets a newline later.
    fn take_back(&mut self) {
        let Some((part, length)) = self.part else { return };
        let Some(file) = &self.file else { return };
        let is_last = file.metadata().is_ok_and(|found| found.len() == length);
        match is_last && part <= length && file.set_len(length - part).is_ok() {
            true => self.part = None,
            false => self.is_torn = true,
        }
    }

    /// Reports a lasting failure once.
    fn report(&mut self, path: &Path, what: &str, why: &str) {
        if !std::mem::replace(&mut self.is_reported, true) {
            tracing::warn!("the log file {} {what}: {why}", path_text(path));
        }
    }
}

/// Opens or creates a file to append to. Refuses a symbolic link at the path, because whoever may
/// write to the directory could lead drainit to any other file. Also refuses everything that could
/// make a write wait.
fn open(path: &Path) -> io::Result<(File, FileId)> {
    let flags = OFlag::O_WRONLY | OFlag::O_APPEND | OFlag::O_CREAT | OFlag::O_NONBLOCK;
    let refused = || Err(io::Error::new(io::ErrorKind::InvalidInput, why_refused(path)));
    let place = Place::of(path)?;
    // The path is a symbolic link, a FIFO without a reader, a socket, or a terminal.
    let of_refused = [Errno::ELOOP as i32, Errno::ENXIO as i32];
    let file = match place.open(flags | OFlag::O_NOCTTY, MODE) {
        Err(error) if error.raw_os_error().is_some_and(|it| of_refused.contains(&it)) => {
            return refused();
        }
        file => file?,
    };
    let found = file.metadata()?;
    if !found.is_file() {
        return refused();
    }
    Ok((file, id(&found)))
}

/// Names the kind of file to which the path leads. `/dev/stdout` leads to a pipe or a terminal.
fn why_refused(path: &Path) -> String {
    let found = stat(path).map_or(SFlag::S_IFREG, |it| SFlag::from_bits_truncate(it.st_mode));
    let kind = match found & SFlag::S_IFMT {
        SFlag::S_IFREG => {
            return "it is a symbolic link; write the path that it leads to".to_owned();
        }
        SFlag::S_IFIFO => "a pipe",
        SFlag::S_IFSOCK => "a socket",
        _ => "a terminal or another device",
    };
    format!(
        "it is not a regular file, but {kind}; without `log`, output goes to the container's own, \
         and with `log: {{mode: none}}` nowhere"
    )
}

fn id(found: &Metadata) -> FileId {
    (found.dev(), found.ino())
}

fn dropped(path: &Path, lines: u64, why: Option<Errno>) -> String {
    let lines = counted(lines, "line was", "lines were");
    let why = why.map_or("it could not be written in time", Errno::desc);
    format!("the log file {}: {lines} dropped: {why}", path_text(path))
}

fn path_text(path: &Path) -> String {
    harmless(&path.to_string_lossy()).into_owned()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write;
    use std::os::unix::fs::{FileExt, symlink};

    use nix::fcntl::{FcntlArg, SealFlag, fcntl};
    use nix::sys::memfd::{MFdFlags, memfd_create};

    use super::*;
    use crate::logging::subscriber::OwnLines;
    use crate::testing::temp_dir::TempDir;
    use crate::types::Stream;

    const LONG: Duration = Duration::from_secs(20);

    #[test]
    fn failed_reopening_keeps_open_file() {
        let dir = TempDir::new();
        let path = dir.root().join("app.log");
        let file = OpenLogFile::open(&path).unwrap();
        file.write(b"1\n").unwrap();
        let moved = dir.root().join("moved");
        fs::rename(&path, &moved).unwrap();
        symlink("/dev/null", &path).unwrap();
        let log = own_lines(|| {
            file.write(b"2\n").unwrap();
            file.write(b"3\n").unwrap();
        });
        assert_eq!(log.matches("cannot be opened anew").count(), 1, "{log}");
        assert_eq!(fs::read_to_string(&moved).unwrap(), "1\n2\n3\n");
        for (number, line) in ["4\n", "5\n"].into_iter().enumerate() {
            fs::rename(&path, dir.root().join(line.trim())).unwrap();
            if number > 0 {
                // This time, whoever moves the file also creates the next file.
                fs::write(&path, "").unwrap();
            }
            file.write(line.as_bytes()).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), line);
        }
    }

    // holds: C447
    #[test]
    fn idle_file_is_closed() {
        let dir = TempDir::new();
        let path = dir.root().join("app.log");
        let mut files = LogFiles::default();
        let output = files.add(OpenLogFile::open(&path).unwrap(), LogFormat::Text);
        let is_open = || {
            fs::read_dir("/proc/self/fd").unwrap().any(|fd| {
                let target = fd.and_then(|fd| fs::read_link(fd.path()));
                target.is_ok_and(|target| target.starts_with(&path))
            })
        };
        assert!(!is_open());
        let write = |line: &str| {
            output.push_process(Stream::Stdout, line.as_bytes());
            assert!(output.flush(LONG));
        };
        for lines in ["1\n", "1\n2\n"] {
            write(&lines[lines.len() - 2..]);
            let since = std::time::Instant::now();
            while is_open() {
                assert!(since.elapsed() < LONG, "still open");
                std::thread::sleep(Duration::from_millis(10));
            }
            assert_eq!(fs::read_to_string(&path).unwrap(), lines);
        }
        // The file is closed, and a directory has its name now, so the line cannot be written.
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        write("3\n");
        assert_eq!(output.unwritten(), 1);
        fs::remove_dir(&path).unwrap();
        write("4\n");
        assert_eq!(fs::read_to_string(&path).unwrap(), "4\n");
    }

    // holds: C443
    #[test]
    fn only_regular_files_are_opened() {
        let dir = TempDir::new();
        let error = |path: &Path| OpenLogFile::open(path).err().unwrap().to_string();
        let link = dir.root().join("link");
        symlink("/etc/passwd", &link).unwrap();
        assert!(error(&link).starts_with("it is a symbolic link"), "{}", error(&link));
        let fifo = dir.root().join("fifo");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let (socket, alias) = (dir.root().join("socket"), dir.root().join("to-fifo"));
        let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        symlink(&fifo, &alias).unwrap();
        let null = PathBuf::from("/dev/null");
        // As `/dev/stdout` and `/proc/1/fd/1`, a link to a pipe is named as a pipe.
        for (other, kind) in
            [(&fifo, "pipe"), (&alias, "pipe"), (&socket, "socket"), (&null, "terminal")]
        {
            let start = format!("it is not a regular file, but a {kind}");
            assert!(error(other).starts_with(&start), "{}", error(other));
        }
        assert!(error(&dir.root().join("no/such.log")).contains("No such file"));
    }

    #[test]
    fn line_cut_by_full_disk_is_terminated_if_not_removable() {
        let dir = TempDir::new();
        let path = dir.root().join("app.log");
        let file = OpenLogFile::open(&path).unwrap();
        file.write(b"whole\ncut").unwrap();
        // The rest of the line cannot be written, as on a full disk.
        let unwritable = File::open(&path).unwrap();
        let written = locked(&file.current).file.replace(unwritable);
        file.write(b" line\n").unwrap_err();
        locked(&file.current).file = written;
        file.let_go();
        file.write(b"next\n").unwrap();
        file.write(b"long ").unwrap();
        file.write(b"line\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "whole\ncut\nnext\nlong line\n");
    }

    // holds: C436
    #[test]
    fn line_cut_by_full_disk_is_removed_unless_another_program_has_written() {
        for (other, expected) in [("", "whole\n"), ("other", "whole\ncutother")] {
            // A file that cannot grow is like a file on a full disk.
            let file = File::from(memfd_create(c"log", MFdFlags::MFD_ALLOW_SEALING).unwrap());
            let copy = file.try_clone().unwrap();
            let log = opened(Path::new("/nonexistent/app.log"), file);
            log.write(b"whole\nc").unwrap();
            log.write(b"ut").unwrap();
            (&copy).write_all(other.as_bytes()).unwrap();
            fcntl(&copy, FcntlArg::F_ADD_SEALS(SealFlag::F_SEAL_GROW)).unwrap();
            log.write(b" line\n").unwrap_err();
            let mut left = vec![0; copy.metadata().unwrap().len() as usize];
            copy.read_exact_at(&mut left, 0).unwrap();
            assert_eq!(String::from_utf8(left).unwrap(), expected);
        }
    }

    /// Makes a log file from an open file that drainit would refuse: a pipe or a device.
    fn opened(path: &Path, file: File) -> OpenLogFile {
        let id = id(&file.metadata().unwrap());
        OpenLogFile { path: path.to_owned(), current: Mutex::new(Current::new((file, id))) }
    }

    fn piped(path: &Path, writer: io::PipeWriter) -> OpenLogFile {
        opened(path, std::os::fd::OwnedFd::from(writer).into())
    }

    /// Returns the lines that drainit logs while `meanwhile` runs.
    fn own_lines(meanwhile: impl FnOnce()) -> String {
        let (log, log_end) = io::pipe().unwrap();
        let null = File::options().write(true).open("/dev/null").unwrap();
        let own = OwnLines::new(Output::new(null, log_end), tracing::Level::INFO);
        tracing::subscriber::with_default(own, meanwhile);
        io::read_to_string(log).unwrap()
    }

    // holds: C580
    #[test]
    fn unwanted_file_stays_until_lines_are_written() {
        let (reader, writer) = io::pipe().unwrap();
        let path = PathBuf::from("/nonexistent/slow.log");
        let output = Output::file(piped(&path, writer));
        let mut files = LogFiles(BTreeMap::from([(path, Arc::clone(&output))]));
        let lines = "line\n".repeat(40_000);
        output.push_process(Stream::Stdout, lines.as_bytes());
        files.keep(|_, _| false);
        assert_eq!(files.0.len(), 1);
        let reading = std::thread::spawn(move || io::read_to_string(reader).unwrap());
        assert!(output.flush(LONG));
        files.keep(|_, _| false);
        assert!(files.0.is_empty());
        drop(output);
        assert!(reading.join().unwrap() == lines);
    }

    #[test]
    fn each_failure_is_reported_once() {
        let dir = TempDir::new();
        let full = || File::options().write(true).open("/dev/full").unwrap();
        let file = opened(Path::new("/dev/full"), full());
        let log = own_lines(|| {
            for fault in 0..2 {
                locked(&file.current).file = Some(full());
                for _ in 0..2 {
                    assert_eq!(file.write(b"lost\n"), Err(Errno::ENOSPC));
                }
                locked(&file.current).file =
                    Some(File::create(dir.path(&fault.to_string())).unwrap());
                file.write(b"kept\n").unwrap();
            }
        });
        assert_eq!(log.matches("cannot be written, and lines are dropped").count(), 2, "{log}");
    }

    #[test]
    fn lines_that_were_dropped_are_reported_when_the_file_is_given_up() {
        for gives_up in [
            |files: &mut LogFiles| files.keep(|_, _| false),
            |files: &mut LogFiles| files.finish(LONG),
        ] {
            let mut files = LogFiles::default();
            let paths = ["/dev/full", "/dev/../dev/full"];
            for path in paths.map(PathBuf::from) {
                let full = File::options().write(true).open(&path).unwrap();
                let output = files.add(opened(&path, full), LogFormat::Text);
                output.push_process(Stream::Stdout, b"lost\nlost\n");
                assert!(output.flush(LONG));
            }
            let log = own_lines(|| gives_up(&mut files));
            for path in paths {
                let line = format!("{path}: 2 lines were dropped: No space left");
                assert!(log.contains(&line), "{log}");
            }
        }
    }

    // holds: C449
    #[test]
    fn hanging_files_share_a_deadline() {
        let mut files = LogFiles::default();
        let mut readers = Vec::new();
        for number in 0..6 {
            // A write to this pipe hangs like a write to a file system that does not answer.
            let (reader, writer) = io::pipe().unwrap();
            readers.push(reader);
            let path = PathBuf::from(format!("/nonexistent/{number}.log"));
            files.0.insert(path.clone(), Output::file(piped(&path, writer)));
        }
        let lines = "line\n".repeat(40_000);
        for output in files.0.values() {
            output.push_process(Stream::Stdout, lines.as_bytes());
        }
        let began = Instant::now();
        files.finish(Duration::from_millis(400));
        assert!(began.elapsed() < Duration::from_millis(1500), "{:?}", began.elapsed());
        for output in files.0.values() {
            let unwritten = output.unwritten();
            assert!(unwritten > 20_000 && unwritten < 40_000, "{unwritten}");
        }
    }
}
