//! Parses options like `getopt(3)` and `getopt_long(3)`, with their messages.
//!
//! The first argument that is no option ends them, as in POSIX and musl. glibc accepts options
//! after it by default, which would take those of the command.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use crate::compat::shown;

pub(super) struct Known {
    pub(super) short: u8,
    pub(super) long: Option<&'static str>,
    pub(super) takes: bool,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Given<'a> {
    pub(super) short: u8,
    pub(super) argument: Option<&'a OsStr>,
}

pub(super) struct Options<'a> {
    known: &'a [Known],
    rest: &'a [OsString],
    /// The rest of a bundle such as `-vc`.
    bundle: &'a [u8],
    /// A `--` has ended the options.
    is_ended: bool,
}

impl<'a> Options<'a> {
    pub(super) fn new(known: &'a [Known], args: &'a [OsString]) -> Self {
        Self { known, rest: args, bundle: &[], is_ended: false }
    }

    /// The arguments after the options.
    pub(super) fn rest(&self) -> &'a [OsString] {
        self.rest
    }

    /// Whether a `--` has ended the options.
    pub(super) fn is_ended(&self) -> bool {
        self.is_ended
    }

    /// The next option; `None` after the last one.
    ///
    /// # Errors
    /// With the message, without the name of the program.
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
            let has_long = self.known.iter().any(|known| known.long.is_some());
            if let Some(long) = argument.strip_prefix(b"--")
                && has_long
            {
                return self.long(long).map(Some);
            }
            self.bundle = &argument[1..];
        }
        self.short().map(Some)
    }

    fn short(&mut self) -> Result<Given<'a>, String> {
        let (short, after) = (self.bundle[0], &self.bundle[1..]);
        let letter = char::from(short);
        let known = self.known.iter().find(|known| known.short == short);
        let known = known.ok_or_else(|| format!("invalid option -- '{letter}'"))?;
        self.bundle = if known.takes { &[] } else { after };
        let attached = Some(after).filter(|after| !after.is_empty());
        self.given(known, attached)
            .ok_or_else(|| format!("option requires an argument -- '{letter}'"))
    }

    /// Parses `--name`, `--name=value`, or an unambiguous prefix of a name.
    fn long(&mut self, text: &'a [u8]) -> Result<Given<'a>, String> {
        let mut parts = text.splitn(2, |byte| *byte == b'=');
        let (name, value) = (parts.next().unwrap_or_default(), parts.next());
        let long = |known: &Known| known.long.unwrap_or_default();
        let candidates: Vec<_> =
            self.known.iter().filter(|known| long(known).as_bytes().starts_with(name)).collect();
        let exact = candidates.iter().find(|known| long(known).as_bytes() == name);
        let text = shown(OsStr::from_bytes(text));
        let known = match (exact, candidates.as_slice()) {
            (Some(known), _) | (None, [known]) => *known,
            (None, []) => return Err(format!("unrecognized option '--{text}'")),
            (None, several) => {
                let names: Vec<_> =
                    several.iter().map(|known| format!("'--{}'", long(known))).collect();
                let names = names.join(" ");
                return Err(format!("option '--{text}' is ambiguous; possibilities: {names}"));
            }
        };
        let full = long(known);
        if !known.takes && value.is_some() {
            return Err(format!("option '--{full}' doesn't allow an argument"));
        }
        self.given(known, value).ok_or_else(|| format!("option '--{full}' requires an argument"))
    }

    /// The option with the argument that it takes: the attached one, or the next word. `None` where
    /// there is neither.
    fn given(&mut self, known: &Known, attached: Option<&'a [u8]>) -> Option<Given<'a>> {
        let argument = match attached {
            _ if !known.takes => None,
            Some(attached) => Some(OsStr::from_bytes(attached)),
            None => {
                let (next, rest) = self.rest.split_first()?;
                self.rest = rest;
                Some(next.as_os_str())
            }
        };
        Some(Given { short: known.short, argument })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    const KNOWN: [Known; 4] = [
        Known { short: b'c', long: Some("single-child"), takes: false },
        Known { short: b'r', long: Some("rewrite"), takes: true },
        Known { short: b'v', long: Some("verbose"), takes: false },
        Known { short: b'V', long: Some("version"), takes: false },
    ];

    /// Each option as `c` or `r=ARGUMENT`, and the rest; or the message.
    fn read(known: &[Known], args: &[&str]) -> Result<(String, Vec<String>), String> {
        let args: Vec<OsString> = args.iter().map(Into::into).collect();
        let mut options = Options::new(known, &args);
        let mut given = Vec::new();
        while let Some(one) = options.next()? {
            let letter = char::from(one.short);
            given.push(match one.argument {
                Some(argument) => format!("{letter}={}", shown(argument)),
                None => letter.to_string(),
            });
        }
        let rest = options.rest().iter().map(|arg| shown(arg).into_owned()).collect();
        Ok((given.join(" "), rest))
    }

    #[track_caller]
    fn reads(args: &[&str], given: &str, rest: &[&str]) {
        let rest = rest.iter().map(|arg| (*arg).to_owned()).collect();
        assert_eq!(read(&KNOWN, args), Ok((given.to_owned(), rest)), "{args:?}");
    }

    #[test]
    fn options_end_where_the_command_begins() {
        reads(&[], "", &[]);
        reads(&["-c", "-v", "sh", "-c"], "c v", &["sh", "-c"]);
        reads(&["-cv", "--", "-c"], "c v", &["-c"]);
        reads(&["--", "--", "x"], "", &["--", "x"]);
        reads(&["-", "-c"], "", &["-", "-c"]);
        reads(&["", "-c"], "", &["", "-c"]);
    }

    #[test]
    fn arguments_of_options() {
        reads(&["-r", "15:3", "x"], "r=15:3", &["x"]);
        reads(&["-vr15:3", "x"], "v r=15:3", &["x"]);
        reads(&["-r", "--", "x"], "r=--", &["x"]);
        reads(&["--rewrite=15:3", "--rew", "1:2", "--rewrite=", "x"], "r=15:3 r=1:2 r=", &["x"]);
        reads(&["--single-child", "--verb", "--vers"], "c v V", &[]);
    }
}
