//! `/dev/termination-log`: what `kubectl describe pod` shows of the end.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt;

use crate::types::harmless_lines;

/// Kubernetes makes this file where a pod has one. drainit never creates it.
const PATH: &str = "/dev/termination-log";
/// Kubernetes shows no more.
const MAX: usize = 4096;

/// Writes the report where there is somebody to read it.
pub(crate) fn write(text: &str) {
    let text = harmless_lines(text);
    let mut end = text.len().min(MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    // Not blocking: whatever lies there in other containers, a pipe for one, must not hold up the end.
    let opened =
        OpenOptions::new().write(true).truncate(true).custom_flags(libc::O_NONBLOCK).open(PATH);
    if let Ok(mut file) = opened
        && let Err(error) = file.write_all(&text.as_bytes()[..end])
    {
        tracing::debug!("{PATH}: {error}");
    }
}
