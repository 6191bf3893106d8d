//! Reads a file as text. The size of the file and the time for reading it are limited, even for
//! pipes and devices.

use std::cell::OnceCell;
use std::fs::{File, Metadata, OpenOptions};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use nix::fcntl::OFlag;
use nix::sys::stat::Mode;

use crate::language::expand::LONGEST;
use crate::language::span::Span;
use drainit_os::trusted_path::{ForeignName, Place, Revisions, after_lease};

/// The rules for reading a file, which depend on its use.
#[derive(Debug)]
pub struct FileLimits {
    /// The most bytes that the file may have; a multiple of 1 KiB.
    largest: u64,
    /// The help text of the error for a larger file.
    help: &'static str,
    /// Whether the path of the file comes from a config, and not from the command line. Such a file
    /// must not be a pipe, and no symbolic link in its path may belong to another user.
    is_of_config: bool,
    /// Whether the lines of the file may be secret, so that diagnostics must not show them.
    is_secret: bool,
}

impl FileLimits {
    pub(crate) fn is_of_config(&self) -> bool {
        self.is_of_config
    }
}

const PLAIN: FileLimits = FileLimits {
    largest: 4 * 1024 * 1024,
    help: "is this the right file?",
    is_of_config: false,
    is_secret: false,
};

/// The rules for a config. A config of 5,000 processes has about 1 MiB.
pub const CONFIG: FileLimits =
    FileLimits { help: "a config is far smaller: is this the right file?", ..PLAIN };

/// The rules for an `env_file` that drainit reads together with the config.
pub(crate) const ENV_FILE: FileLimits = FileLimits { is_secret: true, ..AT_START };

/// The rules for a file whose content becomes an argument of a process.
pub(crate) const ARGUMENT: FileLimits = FileLimits {
    largest: LONGEST as u64,
    help: "let the program read the file itself: no argument can be that long",
    ..AT_START
};

/// The rules for a file whose content becomes a variable of a process.
pub(crate) const VARIABLE: FileLimits =
    FileLimits { largest: LONGEST as u64, help: NO_VARIABLE, is_secret: true, ..AT_START };

pub(crate) const NO_VARIABLE: &str =
    "let the program read the file itself: no variable can be that long";

/// The rules for an `env_file` or a template that drainit reads whenever a process starts. A pipe
/// is refused, because drainit must not wait for the pipe's writer while other processes run.
pub(crate) const AT_START: FileLimits = FileLimits { is_of_config: true, ..PLAIN };

/// The rules for a Kubernetes manifest. Even the output of `helm template` for a large chart is
/// smaller than this limit.
pub const MANIFEST: FileLimits = FileLimits {
    largest: 16 * 1024 * 1024,
    help: "check it in parts, such as one namespace, or only the workload that runs drainit",
    ..PLAIN
};

/// The room that a buffer has beyond the length of the file, in bytes. With less room,
/// `read_to_end` reads the end of the file into a second buffer on the stack.
const ROOM: usize = 64;

/// How long drainit waits for data from a pipe that has a writer.
const PIPE_PATIENCE: Duration = Duration::from_secs(2);
/// The pause between two attempts to read from a pipe.
const PIPE_PAUSE: Duration = Duration::from_millis(5);

/// A file whose text is UTF-8 without NUL.
#[derive(Clone, Debug)]
pub struct Source {
    /// The path as the command line or the config has it.
    pub(crate) path: PathBuf,
    /// The text without a byte order mark.
    pub text: Rc<String>,
    /// The byte at which each line starts, computed on first use.
    lines: OnceCell<Vec<usize>>,
    /// Whether diagnostics must not show the lines of the file, because the lines may be secret.
    secret: bool,
    /// The file that the text comes from; `None` for a pipe, and for a text from memory.
    pub(crate) identity: Option<Identity>,
}

/// The reason why a file cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable {
    /// The reason, without the name of the file. In a message, the name comes first, and this
    /// reason follows.
    pub message: String,
    pub(crate) help: String,
    /// The line from 1, or 0 for the whole file.
    pub(crate) line: usize,
    /// Whether the file does not exist.
    pub(crate) is_missing: bool,
}

impl Unreadable {
    pub(super) fn new(message: impl Into<String>, help: impl Into<String>) -> Self {
        Self { message: message.into(), help: help.into(), line: 0, is_missing: false }
    }

    /// The help text of this error. If the error has no help text, calls `other` for one.
    pub(crate) fn help_or(self, other: impl FnOnce() -> String) -> String {
        if self.help.is_empty() { other() } else { self.help }
    }
}

impl Source {
    /// A file whose text is in memory.
    pub fn new(path: impl Into<PathBuf>, text: String) -> Self {
        Self {
            path: path.into(),
            text: Rc::new(text),
            lines: OnceCell::new(),
            secret: false,
            identity: None,
        }
    }

    /// An empty text in place of an unreadable file. With this text, a problem can name the file.
    pub fn unread(path: &Path) -> Self {
        Self::new(path, String::new())
    }

    /// Reads a config. If it is a pipe that has a writer, waits for the data, for at most two
    /// seconds.
    pub fn read(path: &Path) -> Result<Self, Unreadable> {
        Self::read_within(path, &CONFIG)
    }

    /// Reads a file by the rules in `limits`. May wait for a pipe like [`Self::read`], but not if
    /// the config names the file.
    pub fn read_within(path: &Path, limits: &FileLimits) -> Result<Self, Unreadable> {
        Self::read_in(path, limits, &Revisions::default())
    }

    /// Like [`Self::read_within`], but reads the file of one of these revisions.
    pub(crate) fn read_in(
        path: &Path,
        limits: &FileLimits,
        revisions: &Revisions,
    ) -> Result<Self, Unreadable> {
        let (bytes, identity) = bytes(path, limits, revisions)?;
        Ok(Self { secret: limits.is_secret, identity, ..Self::new(path, text(bytes)?) })
    }

    /// Reads a manifest, or a file for `drainit import`, from standard input. Has no time limit.
    pub fn read_stdin() -> Result<Self, Unreadable> {
        let mut out = Vec::new();
        let read = std::io::stdin().lock().take(MANIFEST.largest + 1).read_to_end(&mut out);
        read.map_err(|error| cannot_read(&error))?;
        if out.len() as u64 > MANIFEST.largest {
            return Err(too_large(&MANIFEST));
        }
        text(out).map(|text| Self::new("<stdin>", text))
    }

    /// The place of the byte `at` of the text. The place ends at the next `}` of the line, which
    /// may end a `${…}`. Without a `}`, the place ends at the end of the line.
    pub(crate) fn place(&self, file: usize, at: usize) -> Span {
        let lines = self.lines();
        let line = lines.partition_point(|start| *start <= at);
        let start = lines.get(line.saturating_sub(1)).copied().unwrap_or(0);
        let before = self.text.get(start..at).unwrap_or_default();
        let rest = self.text.get(at..).unwrap_or_default();
        let rest = rest.lines().next().unwrap_or_default();
        let marked = rest.find('}').map_or(rest, |end| &rest[..=end]);
        let (column, len) = (before.chars().count() + 1, marked.chars().count().max(1));
        Span::new(file, line, column, len)
    }

    /// Whether diagnostics must not show the lines of the file.
    pub(crate) fn is_secret(&self) -> bool {
        self.secret
    }

    /// The text of a line, without its line end. Lines count from 1. Returns `None` if there is no
    /// such line, or if diagnostics must not show the lines.
    pub fn line(&self, number: usize) -> Option<&str> {
        if self.secret {
            return None;
        }
        let start = *self.lines().get(number.checked_sub(1)?)?;
        let end = self.lines().get(number).copied().unwrap_or(self.text.len());
        self.text.get(start..end).map(|line| line.trim_end_matches(['\n', '\r']))
    }

    fn lines(&self) -> &[usize] {
        self.lines.get_or_init(|| line_starts(self.text.as_bytes()))
    }
}

/// The byte at which each line begins. As in YAML, `\n`, `\r\n` or a single `\r` ends a line.
fn line_starts(bytes: &[u8]) -> Vec<usize> {
    let mut starts = vec![0];
    for (index, byte) in bytes.iter().enumerate() {
        let ends = match byte {
            b'\n' => true,
            b'\r' => bytes.get(index + 1) != Some(&b'\n'),
            _ => false,
        };
        if ends {
            starts.push(index + 1);
        }
    }
    starts
}

/// Facts about a file that change if its content changes, or if another file takes its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    file: (u64, u64),
    size: u64,
    times: [(i64, i64); 2],
}

impl From<&Metadata> for Identity {
    fn from(of: &Metadata) -> Self {
        let times = [(of.mtime(), of.mtime_nsec()), (of.ctime(), of.ctime_nsec())];
        Self { file: (of.dev(), of.ino()), size: of.size(), times }
    }
}

fn bytes(
    path: &Path,
    limits: &FileLimits,
    revisions: &Revisions,
) -> Result<(Vec<u8>, Option<Identity>), Unreadable> {
    // Without O_NONBLOCK, opening a pipe without a writer would block for ever.
    let flags = OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
    let opened = if limits.is_of_config {
        Place::behind_in(path, revisions).and_then(|place| place.open(flags, Mode::empty()))
    } else {
        let in_revision = revisions.path(path);
        let path = in_revision.as_deref().unwrap_or(path);
        after_lease(|| OpenOptions::new().read(true).custom_flags(flags.bits()).open(path))
    };
    let mut file = opened.map_err(|error| cannot_open(&error))?;
    let metadata = file.metadata().map_err(|error| cannot_read(&error))?;
    let kind = metadata.file_type();
    if kind.is_dir() {
        return Err(Unreadable::new("is a directory", "name the file in it"));
    }
    if kind.is_fifo() && limits.is_of_config {
        return Err(Unreadable::new("is a pipe", "name a regular file"));
    }
    if !kind.is_file() && !kind.is_fifo() {
        return Err(Unreadable::new("is a device or a socket", "name a regular file"));
    }
    let largest = limits.largest;
    if metadata.len() > largest {
        return Err(too_large(limits));
    }
    // The buffer has room for the whole file. With less room, `read_to_end` would also read into a
    // buffer on the stack. A part of a secret would stay there, because nothing overwrites that
    // buffer.
    let mut out = Vec::with_capacity(usize::try_from(metadata.len()).unwrap_or_default() + ROOM);
    if kind.is_fifo() {
        read_pipe(&mut file, largest, &mut out)?;
    } else {
        file.take(largest + 1).read_to_end(&mut out).map_err(|error| cannot_read(&error))?;
    }
    // Pipes and files in /proc do not report their length, so the length is checked again here.
    if out.len() as u64 > largest {
        return Err(too_large(limits));
    }
    Ok((out, (!kind.is_fifo()).then(|| Identity::from(&metadata))))
}

fn too_large(limits: &FileLimits) -> Unreadable {
    let size = match limits.largest >> 20 {
        0 => format!("{} KiB", limits.largest >> 10),
        mib => format!("{mib} MiB"),
    };
    Unreadable::new(format!("is larger than {size}"), limits.help)
}

fn read_pipe(file: &mut File, largest: u64, out: &mut Vec<u8>) -> Result<(), Unreadable> {
    let mut buffer = [0; 8192];
    let mut waited = Duration::ZERO;
    while out.len() as u64 <= largest {
        match file.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => out.extend_from_slice(buffer.get(..count).unwrap_or_default()),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                if waited >= PIPE_PATIENCE {
                    return Err(Unreadable::new(
                        "is a pipe whose writer neither writes nor exits",
                        "name a regular file",
                    ));
                }
                std::thread::sleep(PIPE_PAUSE);
                waited += PIPE_PAUSE;
            }
            Err(error) => return Err(cannot_read(&error)),
        }
    }
    Ok(())
}

fn cannot_open(error: &std::io::Error) -> Unreadable {
    if let Some(link) = ForeignName::of(error) {
        return Unreadable::new(format!("cannot be opened: {}", link.why()), link.mend());
    }
    match error.kind() {
        ErrorKind::NotFound => {
            Unreadable { is_missing: true, ..Unreadable::new("does not exist", "") }
        }
        ErrorKind::PermissionDenied => Unreadable::new(
            "cannot be read by the user that runs drainit",
            "make the file readable, and its directories searchable, for that user",
        ),
        ErrorKind::ResourceBusy => {
            Unreadable::new(format!("cannot be opened: {error}"), "end that process")
        }
        // For a Unix socket and for some devices, open(2) fails with ENXIO.
        _ if error.raw_os_error() == Some(libc::ENXIO) => {
            Unreadable::new("is a device or a socket", "name a regular file")
        }
        _ => Unreadable::new(format!("cannot be opened: {error}"), "name a regular file"),
    }
}

fn cannot_read(error: &std::io::Error) -> Unreadable {
    Unreadable::new(format!("cannot be read: {error}"), "name a regular file")
}

pub fn text(bytes: Vec<u8>) -> Result<String, Unreadable> {
    let utf8 = "save it as UTF-8 without byte order mark";
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        return Err(Unreadable::new("is UTF-16", utf8));
    }
    if let Some(at) = memchr::memchr(0, &bytes) {
        return Err(binary(&bytes, at, "has a NUL byte", "it is binary: is this the right file?"));
    }
    let text = String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        binary(error.as_bytes(), at, "is not UTF-8", utf8)
    })?;
    Ok(match text.strip_prefix('\u{feff}') {
        Some(rest) => rest.to_owned(),
        None => text,
    })
}

fn binary(bytes: &[u8], at: usize, why: &str, help: &str) -> Unreadable {
    let line = line_starts(bytes.get(..at).unwrap_or_default()).len();
    Unreadable { line, ..Unreadable::new(format!("{why} at byte {at}"), help) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::temp_dir::TempDir;
    use std::time::Instant;

    // holds: C5
    #[test]
    fn files_that_cannot_be_a_config_are_refused_at_once() {
        let dir = TempDir::new();
        let _listener = std::os::unix::net::UnixListener::bind(dir.path("socket")).unwrap();
        let big = dir.write("big", b"");
        File::options().write(true).open(&big).unwrap().set_len(10 << 20).unwrap();
        for (path, message, line) in [
            (dir.path("none"), "does not exist", 0),
            (dir.root().to_owned(), "is a directory", 0),
            ("/dev/zero".into(), "is a device or a socket", 0),
            (dir.path("socket"), "is a device or a socket", 0),
            (dir.write("nul", b"a: b\r\nc: \0"), "has a NUL byte at byte 9", 2),
            (dir.write("latin", b"a: \xe4"), "is not UTF-8 at byte 3", 1),
            (dir.write("utf16", b"\xff\xfea\0"), "is UTF-16", 0),
            (big, "is larger than 4 MiB", 0),
        ] {
            let start = Instant::now();
            let error = Source::read(&path).unwrap_err();
            assert!(start.elapsed() < Duration::from_secs(5), "{path:?}: {:?}", start.elapsed());
            assert_eq!((&*error.message, error.line), (message, line), "{path:?}");
        }
        assert_eq!(*Source::read(&dir.write("bom", b"\xef\xbb\xbfa: b")).unwrap().text, "a: b");
    }

    #[test]
    fn pipes_are_read_and_a_pipe_without_a_writer_does_not_hang() {
        let dir = TempDir::new();
        let path = dir.path("pipe");
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert_eq!(*Source::read(&path).unwrap().text, "", "nobody writes");

        // The text is longer than the pipe's buffer, so the writer ends only after the reader has
        // started. The writer also opens the pipe for reading, so that this open does not block,
        // and the reader finds a writer.
        let text = "# a comment\n".repeat(20_000);
        let mut both = OpenOptions::new().read(true).write(true).open(&path).unwrap();
        let written = text.clone();
        let writer = std::thread::spawn(move || {
            std::io::Write::write_all(&mut both, written.as_bytes()).unwrap();
        });
        assert_eq!(*Source::read(&path).unwrap().text, text);
        writer.join().unwrap();
    }

    #[test]
    fn line_ends_are_those_of_yaml() {
        let source = Source::new("x", "a\nb\r\nc\rd".to_owned());
        let lines: Vec<_> = (0..=5).map(|n| source.line(n)).collect();
        assert_eq!(lines, [None, Some("a"), Some("b"), Some("c"), Some("d"), None]);
        let secret = Source { secret: true, ..Source::new("x", "a".to_owned()) };
        assert_eq!(secret.line(1), None);
    }
}
