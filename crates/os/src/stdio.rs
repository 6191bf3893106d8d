//! Writes to drainit's own standard streams without ever waiting for their reader.

use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use drainit_core::types::Stream;

/// The longest text that a writable pipe takes without blocking (`PIPE_BUF`).
const AT_ONCE: usize = 4096;

/// Writes at most [`AT_ONCE`] bytes of the text with one call, so that lines of other processes do
/// not interrupt the text. Drops the text if the write would block.
pub fn say(stream: Stream, text: &str) {
    let text = &text.as_bytes()[..text.len().min(AT_ONCE)];
    // Errors are ignored. `println` would panic if nobody reads the stream.
    let _ = match stream {
        Stream::Stdout if has_room(io::stdout().as_fd()) => {
            let mut out = io::stdout().lock();
            out.write_all(text).and_then(|()| out.flush())
        }
        Stream::Stderr if has_room(io::stderr().as_fd()) => io::stderr().write_all(text),
        _ => Ok(()),
    };
}

/// Whether a write of at most `PIPE_BUF` bytes would succeed without blocking: poll(2) reports a
/// pipe as writable only with that much room.
fn has_room(descriptor: BorrowedFd<'_>) -> bool {
    let mut wanted = [PollFd::new(descriptor, PollFlags::POLLOUT)];
    match poll(&mut wanted, PollTimeout::ZERO) {
        Ok(_) => wanted[0].revents().is_some_and(|events| events.contains(PollFlags::POLLOUT)),
        Err(_) => false,
    }
}
