//! Called by another name: drainit as `tini` or as `dumb-init`.
//!
//! A symlink is all it takes to have drainit in their place, in images and scripts that nobody wants to touch: options,
//! environment variables, messages and exit codes are theirs. What their documentation says is the measure, and the
//! programs as Debian ships them; the tests run both side by side.

pub mod dumb_init;
pub mod getopt;
pub mod tini;

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::Path;

/// Runs as the program that `argv[0]` names. `None` where that is not one of theirs.
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

/// The text of `strerror(3)`, whatever C library is here.
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

/// An argument as it goes into a message.
fn shown(text: &OsStr) -> std::borrow::Cow<'_, str> {
    text.to_string_lossy()
}

/// The number at the beginning of a text, as C reads it: blanks, a sign, digits. With what follows; `None` where there is
/// no digit.
fn leading_number(text: &str) -> Option<(i64, &str)> {
    let text = text.trim_start_matches([' ', '\t', '\n', '\x0b', '\x0c', '\r']);
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
    let (number, rest) = text.split_at(text.len() - digits.len() + end);
    // What does not fit is far outside of every range that is asked for.
    let far = if number.starts_with('-') { i64::MIN } else { i64::MAX };
    (end > 0).then(|| (number.parse().unwrap_or(far), rest))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_c_reads_them() {
        assert_eq!(leading_number("15:3"), Some((15, ":3")));
        assert_eq!(leading_number(" \t+07x"), Some((7, "x")));
        assert_eq!(leading_number("-5"), Some((-5, "")));
        assert_eq!(leading_number("99999999999999999999"), Some((i64::MAX, "")));
        for text in ["", "x", "-", "+x", " "] {
            assert_eq!(leading_number(text), None, "{text}");
        }
    }

    #[test]
    fn other_names_are_nobodys() {
        let run = |name: &str| run(&[name.into()]);
        assert_eq!(run("drainit"), None);
        assert_eq!(run("/usr/bin/tinier"), None);
        assert_eq!(run(""), None);
        assert_eq!(super::run(&[]), None);
    }

    #[test]
    fn errors_read_like_the_systems() {
        let text = |number| describe(&io::Error::from_raw_os_error(number));
        assert_eq!(text(libc::ENOENT), "No such file or directory");
        assert_eq!(text(libc::EACCES), "Permission denied");
        assert_eq!(text(libc::ENOTTY), "Inappropriate ioctl for device");
    }
}
