//! Writes `/dev/termination-log`, which `kubectl describe pod` shows.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt;

use crate::types::harmless_lines;

/// Kubernetes creates this file; drainit never does.
const PATH: &str = "/dev/termination-log";
/// Kubernetes shows no more bytes.
const MAX: usize = 4096;

/// Writes the text if the file exists.
pub(crate) fn write(text: &str) {
    let text = harmless_lines(text);
    let mut end = text.len().min(MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    // Where a container has a pipe there, opening it must not delay the exit.
    let opened =
        OpenOptions::new().write(true).truncate(true).custom_flags(libc::O_NONBLOCK).open(PATH);
    if let Ok(mut file) = opened
        && let Err(error) = file.write_all(&text.as_bytes()[..end])
    {
        tracing::debug!("{PATH}: {error}");
    }
}
