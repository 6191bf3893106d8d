//! The result of a row.

use std::io;

/// Why a row is not passed.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// The init does not do what the row asks for. The text says what it did.
    Fail(String),
    /// The row cannot be judged here. The text says why.
    Skip(String),
}

/// A row that holds, or why it does not.
pub type Outcome<T = ()> = Result<T, Verdict>;

/// The init does not do what the row asks for.
pub fn fail<T>(found: impl Into<String>) -> Outcome<T> {
    Err(Verdict::Fail(found.into()))
}

/// The row cannot be judged.
pub fn skip<T>(why: impl Into<String>) -> Outcome<T> {
    Err(Verdict::Skip(why.into()))
}

/// Fails unless the condition holds.
pub fn check(holds: bool, found: impl FnOnce() -> String) -> Outcome {
    if holds { Ok(()) } else { fail(found()) }
}

impl From<io::Error> for Verdict {
    fn from(error: io::Error) -> Self {
        Self::Skip(format!("the probe itself: {error}"))
    }
}

impl From<nix::Error> for Verdict {
    fn from(error: nix::Error) -> Self {
        io::Error::from(error).into()
    }
}
