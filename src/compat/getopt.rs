//! Parses options like `getopt(3)` and `getopt_long(3)`, with their messages.
//!
//! The first argument that is not an option ends the options, as in POSIX and musl. By default,
//! glibc also accepts options after other arguments. glibc would thus take options that are meant
//! for the command.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use crate::compat::to_text;

/// A long name, and the letter of the short option that it stands for.
pub(super) type LongName = (&'static str, char);

/// The letter of an option, and the argument of the option.
pub(super) type Given<'a> = (char, Option<&'a OsStr>);

pub(super) struct Getopt<'a> {
    /// The letters as for `getopt(3)`: a colon follows the letter of an option with an argument.
    letters: &'static str,
    long_names: &'static [LongName],
    rest: &'a [OsString],
    /// The unread letters of a bundle such as `-vc`.
    bundle: &'a [u8],
    /// Whether a `--` has ended the options.
    is_ended: bool,
}

impl<'a> Getopt<'a> {
    pub(super) fn new(
        letters: &'static str,
        long_names: &'static [LongName],
        args: &'a [OsString],
    ) -> Self {
        Self { letters, long_names, rest: args, bundle: &[], is_ended: false }
    }

    /// The arguments after the options.
    pub(super) fn rest(&self) -> &'a [OsString] {
        self.rest
    }

    /// Whether a `--` has ended the options.
    pub(super) fn is_ended(&self) -> bool {
        self.is_ended
    }

    /// The next option; `None` after the last option.
    ///
    /// # Errors
    /// Returns the message without the name of the program.
    pub(super) fn next(&mut self) -> Result<Option<Given<'a>>, String> {
        if self.bundle.is_empty() {
            let Some((argument, rest)) = self.rest.split_first() else { return Ok(None) };
            let argument = argument.as_bytes();
            if argument.len() < 2 || argument[0] != b'-' {
                return Ok(None);
            }
            self.rest = rest;
            if argument == b"--" {
                self.is_ended = true;
                return Ok(None);
            }
            if let Some(long) = argument.strip_prefix(b"--")
                && !self.long_names.is_empty()
            {
                return self.long(long).map(Some);
            }
            self.bundle = &argument[1..];
        }
        self.short().map(Some)
    }

    fn short(&mut self) -> Result<Given<'a>, String> {
        let (letter, after) = (char::from(self.bundle[0]), &self.bundle[1..]);
        if letter == ':' || !self.letters.contains(letter) {
            return Err(format!("invalid option -- '{letter}'"));
        }
        self.bundle = if self.takes_argument(letter) { &[] } else { after };
        let attached = Some(after).filter(|after| !after.is_empty());
        self.with_argument(letter, attached)
            .ok_or_else(|| format!("option requires an argument -- '{letter}'"))
    }

    /// Parses `--name`, `--name=value`, or an unambiguous prefix of a name.
    fn long(&mut self, text: &'a [u8]) -> Result<Given<'a>, String> {
        let mut parts = text.splitn(2, |byte| *byte == b'=');
        let (name, value) = (parts.next().unwrap_or_default(), parts.next());
        let candidates: Vec<_> =
            self.long_names.iter().filter(|(long, _)| long.as_bytes().starts_with(name)).collect();
        let exact = candidates.iter().find(|(long, _)| long.as_bytes() == name);
        let text = to_text(OsStr::from_bytes(text));
        let (long, letter) = match (exact, candidates.as_slice()) {
            (Some(found), _) | (None, [found]) => **found,
            (None, []) => return Err(format!("unrecognized option '--{text}'")),
            (None, several) => {
                let names: Vec<_> = several.iter().map(|(long, _)| format!("'--{long}'")).collect();
                let names = names.join(" ");
                return Err(format!("option '--{text}' is ambiguous; possibilities: {names}"));
            }
        };
        if !self.takes_argument(letter) && value.is_some() {
            return Err(format!("option '--{long}' doesn't allow an argument"));
        }
        self.with_argument(letter, value)
            .ok_or_else(|| format!("option '--{long}' requires an argument"))
    }

    fn takes_argument(&self, letter: char) -> bool {
        self.letters.split_once(letter).is_some_and(|(_, after)| after.starts_with(':'))
    }

    /// The option, with its argument if it takes one. The argument is attached to the option, or is
    /// the next word. `None` if the argument is missing.
    fn with_argument(&mut self, letter: char, attached: Option<&'a [u8]>) -> Option<Given<'a>> {
        if !self.takes_argument(letter) {
            return Some((letter, None));
        }
        if let Some(attached) = attached {
            return Some((letter, Some(OsStr::from_bytes(attached))));
        }
        let (next, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some((letter, Some(next)))
    }
}
