//! The last lines of a process, kept for the message that says that it failed.

use std::borrow::Cow;
use std::collections::VecDeque;

use memchr::memrchr_iter;

use crate::types::harmless;

/// How many are kept.
pub(crate) const LAST_LINES: usize = 20;

/// Of each at most this many bytes are kept.
pub(crate) const LAST_LINE_LENGTH: usize = 500;

/// The last lines, each shortened; the buffers are used again and again.
#[derive(Clone, Debug, Default)]
pub(crate) struct LastLines(VecDeque<Vec<u8>>);

/// Where the last lines begin in what was read at once: what is before that will not be kept.
pub(crate) fn begin_of_last(bytes: &[u8]) -> usize {
    memrchr_iter(b'\n', bytes).nth(LAST_LINES).map_or(0, |end| end + 1)
}

impl LastLines {
    pub(crate) fn push(&mut self, line: &[u8]) {
        let mut kept = match self.0.len() {
            LAST_LINES.. => self.0.pop_front().unwrap_or_default(),
            _ => Vec::new(),
        };
        kept.clear();
        kept.extend_from_slice(&line[..line.len().min(LAST_LINE_LENGTH)]);
        self.0.push_back(kept);
    }

    pub(crate) fn texts(&self) -> Vec<String> {
        self.0.iter().map(|line| harmless(&text(line)).into_owned()).collect()
    }
}

/// A line as people read it.
pub(crate) fn text(line: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(line.strip_suffix(b"\r").unwrap_or(line))
}
