//! drainit as `tini` or `dumb-init`, if it is called by one of these names.
//!
//! With a symlink, drainit replaces these programs in images and scripts that are otherwise
//! unchanged. The options, environment variables, messages and exit codes are those of these
//! programs, as in their documentation and in Debian's packages. The tests compare drainit with
//! these packages.

pub mod dumb_init;
pub mod getopt;
pub mod tini;

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::Path;

use crate::os::stdio::say;
use crate::types::Stream;

/// Runs as the program that `argv[0]` names; `None` for any other name.
pub(crate) fn run(args: &[OsString]) -> Option<u8> {
    let (called, args) = args.split_first()?;
    let name = Path::new(called).file_name()?.to_str()?;
    match name {
        "tini" | "tini-static" | "docker-init" => {
            Some(crate::compat::tini::run(called, name, args))
        }
        "dumb-init" => Some(crate::compat::dumb_init::run(called, args)),
        _ => None,
    }
}

/// A text that is printed in place of running the command, and the exit code.
#[derive(Debug)]
pub(crate) struct PrintedAnswer {
    stream: Stream,
    text: String,
    code: u8,
}

impl PrintedAnswer {
    fn give(&self) -> u8 {
        say(self.stream, &self.text);
        self.code
    }
}

/// The text that glibc's `strerror(3)` has for the error, even if drainit uses another C library.
fn describe(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(libc::ENOTTY) => "Inappropriate ioctl for device".to_owned(),
        Some(libc::E2BIG) => "Argument list too long".to_owned(),
        Some(number) => {
            let text = error.to_string();
            text.strip_suffix(&format!(" (os error {number})")).unwrap_or(&text).to_owned()
        }
        None => error.to_string(),
    }
}

/// Converts an argument for a message.
fn to_text(text: &OsStr) -> std::borrow::Cow<'_, str> {
    text.to_string_lossy()
}

/// Parses the number at the start of a text as C does: blanks, a sign, digits. Returns the number
/// and the rest; `None` if there is no digit.
fn leading_number(text: &str) -> Option<(i64, &str)> {
    let text = text.trim_start_matches([' ', '\t', '\n', '\x0b', '\x0c', '\r']);
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
    let (number, rest) = text.split_at(text.len() - digits.len() + end);
    // A number that does not fit into an `i64` is outside every accepted range.
    let far = if number.starts_with('-') { i64::MIN } else { i64::MAX };
    (end > 0).then(|| (number.parse().unwrap_or(far), rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leading_numbers_follow_c_rules() {
        assert_eq!(leading_number("15:3"), Some((15, ":3")));
        assert_eq!(leading_number(" \t+07x"), Some((7, "x")));
        assert_eq!(leading_number("-5"), Some((-5, "")));
        assert_eq!(leading_number("99999999999999999999"), Some((i64::MAX, "")));
        for text in ["", "x", "-", "+x", " "] {
            assert_eq!(leading_number(text), None, "{text}");
        }
    }

    #[test]
    fn unknown_names_are_refused() {
        let run = |name: &str| run(&[name.into()]);
        assert_eq!(run("drainit"), None);
        assert_eq!(run("/usr/bin/tinier"), None);
        assert_eq!(run(""), None);
        assert_eq!(super::run(&[]), None);
    }
}
