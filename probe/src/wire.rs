//! Lines between the driver and its processes, over a Unix socket with an abstract name. Such a
//! socket needs no file, no permission and no descriptor that the init would have to pass on.

use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// Listens at an abstract name.
pub fn listen(name: &str) -> io::Result<UnixListener> {
    UnixListener::bind_addr(&SocketAddr::from_abstract_name(name)?)
}

/// The next connection, or `None` if none comes in time, or if `other` says something before.
pub fn accept(
    listener: &UnixListener,
    other: Option<BorrowedFd>,
    within: Duration,
) -> io::Result<Option<Lines>> {
    let first = first_readable(
        &[Some(listener.as_fd()), other].into_iter().flatten().collect::<Vec<_>>(),
        within,
    )?;
    if first != Some(0) {
        return Ok(None);
    }
    Ok(Some(Lines::new(listener.accept()?.0)))
}

/// The place of the first one of the descriptors that can be read within this time.
fn first_readable(fds: &[BorrowedFd], within: Duration) -> io::Result<Option<usize>> {
    let until = Instant::now() + within;
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let limit = if left.is_zero() { 0 } else { left.as_millis() + 1 };
        let mut polled: Vec<_> = fds.iter().map(|fd| PollFd::new(*fd, PollFlags::POLLIN)).collect();
        match poll(&mut polled, PollTimeout::try_from(limit).unwrap_or(PollTimeout::MAX)) {
            Ok(0) if left.is_zero() => return Ok(None),
            Ok(0) | Err(nix::Error::EINTR) => {}
            Ok(_) => return Ok(polled.iter().position(|fd| fd.any() == Some(true))),
            Err(error) => return Err(error.into()),
        }
    }
}

/// The reason why no line came.
#[derive(Debug, PartialEq)]
pub enum NoLine {
    /// The other side has ended.
    Ended,
    /// No line came in time.
    Late,
}

/// A connection that carries lines.
pub struct Lines {
    stream: UnixStream,
    read: Vec<u8>,
}

impl Lines {
    fn new(stream: UnixStream) -> Self {
        Self { stream, read: Vec::new() }
    }

    /// Connects to a name.
    pub fn connect(name: &str) -> io::Result<Self> {
        UnixStream::connect_addr(&SocketAddr::from_abstract_name(name)?).map(Self::new)
    }

    /// The connection itself, to poll.
    pub fn stream(&self) -> &UnixStream {
        &self.stream
    }

    /// Sends a line. Whether the other side still reads shows when its answer is read.
    pub fn send(&mut self, line: &str) {
        let _ = self.stream.write_all(format!("{line}\n").as_bytes());
    }

    /// The next line, which comes within this time.
    pub fn next(&mut self, within: Duration) -> Result<String, NoLine> {
        let until = Instant::now() + within;
        loop {
            if let Some(end) = self.read.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.read.drain(..=end).collect();
                return Ok(String::from_utf8_lossy(&line).trim_end().to_owned());
            }
            let left = until.saturating_duration_since(Instant::now());
            if first_readable(&[self.stream.as_fd()], left).ok().flatten().is_none() {
                return Err(NoLine::Late);
            }
            let mut block = [0; 4096];
            match self.stream.read(&mut block) {
                Ok(0) => return Err(NoLine::Ended),
                Ok(count) => self.read.extend(&block[..count]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return Err(NoLine::Ended),
            }
        }
    }
}
