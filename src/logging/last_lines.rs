//! Keeps the last lines of a process for the message about its failure.

use std::borrow::Cow;
use std::collections::VecDeque;

use memchr::memrchr_iter;

use crate::language::mask::{PREFIX, masked};
use crate::types::ChildText;

pub(crate) const LAST_LINES: usize = 20;

/// The number of bytes that are kept of a line. The mask needs the last of these bytes, and then
/// shows the first 500 characters.
pub(crate) const LAST_LINE_LENGTH: usize = 500 + PREFIX;

/// The last lines, each shortened. The buffers of old lines are reused.
#[derive(Clone, Debug, Default)]
pub(crate) struct LastLines(VecDeque<Vec<u8>>);

/// The position at which the last [`LAST_LINES`] lines of `bytes` begin.
pub(crate) fn start_of_last_lines(bytes: &[u8]) -> usize {
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

    /// The lines, without the values that drainit has given to processes.
    pub(crate) fn texts(&self) -> Vec<String> {
        let shown = |line: &Vec<u8>| masked(&ChildText::new(text(line).as_bytes())).into_string();
        self.0.iter().map(shown).collect()
    }
}

/// A line without `\r` at its end, and with bytes that are not UTF-8 replaced.
pub(crate) fn text(line: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(line.strip_suffix(b"\r").unwrap_or(line))
}
