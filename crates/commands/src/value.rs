//! A value of an option, which `check --pod` may not know.

use crate::language::invalid::Invalid;

/// The text of a value that is not known. No argument and no variable of a process contains a NUL.
pub const UNKNOWN: &str = "\0";

/// A value that was read, or that is not known: a manifest may take a variable from elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value<T> {
    Known(T),
    Unknown,
}

impl<T> Value<T> {
    /// Reads a text.
    ///
    /// # Errors
    /// Says why the text is wrong.
    pub fn read(text: &str, read: impl Fn(&str) -> Result<T, Invalid>) -> Result<Self, Invalid> {
        match text.contains(UNKNOWN) {
            true => Ok(Self::Unknown),
            false => read(text).map(Self::Known),
        }
    }

    pub fn known(self) -> Option<T> {
        match self {
            Self::Known(value) => Some(value),
            Self::Unknown => None,
        }
    }
}
