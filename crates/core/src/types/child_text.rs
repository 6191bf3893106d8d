//! Text that a child or a peer wrote, and reasons that end with such text.
//!
//! A program that fails often prints its address and its password. Therefore a [`ChildText`] cannot
//! be shown: only a mask, which hides the values that drainit has given to processes, makes a
//! [`MaskedText`] from it. Even masked text is shown only in the log, in the report and over the
//! control socket, so a [`Reason`] also has words for everybody.

use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::String;
use core::fmt;

use crate::types::harmless;

/// Text that a child or a peer wrote. Bytes that are not UTF-8 are replaced. Neither `Display` nor
/// any other trait shows the text.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct ChildText(String);

impl ChildText {
    pub fn new(bytes: impl AsRef<[u8]>) -> Self {
        Self(String::from_utf8_lossy(bytes.as_ref()).into_owned())
    }

    /// The part that `select` finds in the text; `None` if it finds none.
    pub fn select(&self, select: impl FnOnce(&str) -> Option<String>) -> Option<Self> {
        select(&self.0).map(Self)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Applies a mask, and then makes the text a single line without control characters. The text
    /// is cut after `longest` characters. Only the mask of the config's crate calls this function.
    pub fn masked(&self, longest: usize, mask: impl FnOnce(&str) -> String) -> MaskedText {
        MaskedText(harmless(&mask(&self.0)).chars().take(longest).collect())
    }
}

impl fmt::Debug for ChildText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ChildText({} bytes)", self.0.len())
    }
}

/// A line of a child or a peer in which a mask has hidden the values.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MaskedText(String);

impl MaskedText {
    pub fn into_string(self) -> String {
        self.0
    }
}

impl fmt::Display for MaskedText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A reason for people, in two forms: the words for everybody, which drainit has chosen, and the
/// full text, which may contain what a child wrote.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reason {
    /// Empty if drainit has no words of its own.
    own: String,
    /// `None` if the full text is `own`.
    full: Option<String>,
}

impl From<String> for Reason {
    fn from(own: String) -> Self {
        Self { own, full: None }
    }
}

impl From<&str> for Reason {
    fn from(own: &str) -> Self {
        own.to_owned().into()
    }
}

impl Reason {
    /// The words for everybody, with what a child wrote behind them.
    pub fn saying(own: impl Into<String>, said: &MaskedText) -> Self {
        Self::from(own.into()).before(&Self::with_full("", said.0.clone()))
    }

    /// A reason whose full text says more than the words for everybody.
    pub fn with_full(own: impl Into<String>, full: impl Into<String>) -> Self {
        Self { own: own.into(), full: Some(full.into()) }
    }

    /// The words for everybody, such as the clients of a TCP port. `None` if there are none.
    pub fn own(&self) -> Option<&str> {
        (!self.own.is_empty()).then_some(&*self.own)
    }

    /// The text for the log, the report and the control socket.
    pub fn full(&self) -> &str {
        self.full.as_deref().unwrap_or(&self.own)
    }

    /// Puts `what` and a colon before both forms. If there are no words for everybody, these become
    /// `what`.
    #[must_use]
    pub fn behind(&self, what: &str) -> Self {
        let put = |text: &str| format!("{what}: {text}");
        let own = self.own().map_or_else(|| what.to_owned(), put);
        Self { own, full: self.full.as_deref().map(put) }
    }

    /// Puts a colon and `next` behind this reason, in each form.
    #[must_use]
    pub fn before(&self, next: &Self) -> Self {
        let own = [self.own(), next.own()]
            .into_iter()
            .flatten()
            .collect::<alloc::vec::Vec<_>>()
            .join(": ");
        let has_more = self.full.is_some() || next.full.is_some();
        let full = has_more.then(|| format!("{}: {}", self.full(), next.full()));
        Self { own, full }
    }

    /// Changes both forms in the same way.
    #[must_use]
    pub fn map(self, change: impl Fn(&str) -> String) -> Self {
        let own = match self.own.is_empty() {
            true => String::new(),
            false => change(&self.own),
        };
        Self { own, full: self.full.map(|full| change(&full)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn child_text_is_shown_only_after_a_mask_and_never_to_everybody() {
        let text = ChildText::new(b"no\nsecret \xff");
        assert_eq!(format!("{text:?}"), "ChildText(13 bytes)");
        let said = text.masked(7, str::to_ascii_uppercase);
        assert_eq!(said.to_string(), "NO␊SECR");
        let reason = Reason::saying("it failed", &said).map(|text| format!("a: {text}"));
        assert_eq!(reason.own(), Some("a: it failed"));
        assert_eq!(reason.full(), "a: it failed: NO␊SECR");
        let status = Reason::with_full("", "it says: x").map(|text| format!("a: {text}"));
        assert_eq!((status.own(), status.full()), (None, "a: it says: x"));
    }
}
