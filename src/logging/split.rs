//! Splits the output of a process into lines and formats each line. The lines do not depend on the
//! size of the reads. This module does no I/O.

use std::borrow::Cow;

use memchr::memchr;

use crate::types::{Stream, escape_json};

/// The longest line, in bytes. A longer line is split, so that drainit never buffers an endless
/// line.
pub const LONGEST_LINE: usize = 64 * 1024;

/// Splits a stream of bytes into lines, and keeps an incomplete line.
#[derive(Debug, Default)]
pub struct Splitter {
    partial: Vec<u8>,
}

impl Splitter {
    /// Calls `each` with every line that `bytes` completes, without the newline but with any `\r`.
    pub fn feed(&mut self, mut bytes: &[u8], mut each: impl FnMut(&[u8])) {
        while let Some(end) = memchr(b'\n', bytes) {
            let (line, rest) = (&bytes[..end], &bytes[end + 1..]);
            if self.partial.is_empty() {
                let last = take_pieces(line, &mut each);
                each(last);
            } else {
                self.partial.extend_from_slice(line);
                let last = take_pieces(&self.partial, &mut each);
                each(last);
                self.partial.clear();
            }
            bytes = rest;
        }
        self.partial.extend_from_slice(bytes);
        if self.partial.len() > LONGEST_LINE {
            let left = take_pieces(&self.partial, &mut each).len();
            self.partial.drain(..self.partial.len() - left);
        }
    }

    /// Ends the stream. If the last line has no newline, calls `each` with this line.
    pub fn finish(&mut self, mut each: impl FnMut(&[u8])) {
        if !self.partial.is_empty() {
            each(&self.partial);
            self.partial.clear();
        }
    }

    /// The incomplete line; empty if there is none.
    pub fn partial(&self) -> &[u8] {
        &self.partial
    }
}

/// If a line is too long, calls `each` with its pieces except the last. Returns the last piece.
fn take_pieces<'a>(mut line: &'a [u8], each: &mut impl FnMut(&[u8])) -> &'a [u8] {
    while line.len() > LONGEST_LINE {
        // Cuts between UTF-8 characters, which have at most three continuation bytes (10xxxxxx).
        let cut = (LONGEST_LINE - 3..=LONGEST_LINE).rfind(|&at| line[at] & 0xC0 != 0x80);
        let (piece, rest) = line.split_at(cut.unwrap_or(LONGEST_LINE));
        each(piece);
        line = rest;
    }
    line
}

/// The form of the lines of one stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LineForm {
    /// The line is not changed.
    Plain,
    /// The line gets this prefix.
    Prefix(Vec<u8>),
    /// The line becomes a JSON object, with these bytes between the values of `time` and `message`.
    Json(Vec<u8>),
}

impl LineForm {
    /// `[prefix] line`
    pub fn prefix(prefix: &str) -> Self {
        Self::Prefix(format!("[{prefix}] ").into_bytes())
    }

    /// `{"time":…,"process":…,"stream":…,"message":…}`
    pub fn json(process: &str, stream: Stream) -> Self {
        let mut middle = b"\",\"process\":".to_vec();
        write_json_string(process, &mut middle);
        middle.extend_from_slice(format!(",\"stream\":\"{stream}\",\"message\":").as_bytes());
        Self::Json(middle)
    }

    /// Appends `line` in this form, and a newline. Only JSON uses `time`, which must not need
    /// escaping.
    pub fn write(&self, time: &str, line: &[u8], out: &mut Vec<u8>) {
        match self {
            Self::Plain => out.extend_from_slice(line),
            Self::Prefix(prefix) => {
                // Reserves room for the whole line at once.
                out.reserve(prefix.len() + line.len() + 1);
                // Pushes single bytes, because one call of musl's `memcpy` takes as long as pushing
                // a few dozen bytes.
                for byte in prefix {
                    out.push(*byte);
                }
                out.extend_from_slice(line);
            }
            Self::Json(middle) => {
                out.extend_from_slice(b"{\"time\":\"");
                out.extend_from_slice(time.as_bytes());
                out.extend_from_slice(middle);
                write_json_string(&String::from_utf8_lossy(line), out);
                out.push(b'}');
            }
        }
        out.push(b'\n');
    }
}

/// Appends `text` as a JSON string with its quotes.
pub(crate) fn write_json_string(text: &str, out: &mut Vec<u8>) {
    let start = out.len();
    // Writing a string to memory cannot fail.
    let _ = serde_json::to_writer(&mut *out, text);
    let json = str::from_utf8(&out[start..]).unwrap_or_default();
    if let Cow::Owned(escaped) = escape_json(json) {
        out.truncate(start);
        out.extend_from_slice(escaped.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(form: &LineForm, line: &[u8]) -> String {
        let mut out = Vec::new();
        form.write("2026-11-20T07:04:12.123Z", line, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn lines_are_written_in_every_form() {
        assert_eq!(written(&LineForm::Plain, b"x"), "x\n");
        assert_eq!(written(&LineForm::prefix("rtr"), b""), "[rtr] \n");
        let json = written(&LineForm::json("a\"b", Stream::Stderr), b"tab\t\xff\"\r\xc2\x9b\x7f");
        assert_eq!(
            json,
            "{\"time\":\"2026-11-20T07:04:12.123Z\",\"process\":\"a\\\"b\",\"stream\":\"stderr\",\
             \"message\":\"tab\\t\u{FFFD}\\\"\\r\\u009b\\u007f\"}\n"
        );
    }
}
