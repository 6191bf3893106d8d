//! The keys of a config, as tables: one for each mapping, beside the code that reads it. The reader
//! refuses every key that is not in its table, and `drainit schema` is made of the same tables.

use crate::load::values::Invalid;
use crate::types::Signal;

/// The keys of one mapping.
pub(crate) struct Keys {
    /// Keys that exclude each other.
    pub(crate) exclusive: &'static [Key],
    pub(crate) others: &'static [Key],
}

impl Keys {
    pub(crate) const fn new(keys: &'static [Key]) -> Self {
        Self { exclusive: &[], others: keys }
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &'static Key> + use<> {
        self.exclusive.iter().chain(self.others)
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &'static str> + use<> {
        self.all().map(|key| key.name)
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.all().any(|key| key.name == name)
    }
}

/// A row of a table.
pub(crate) struct Key {
    pub(crate) name: &'static str,
    #[cfg(feature = "tools")]
    pub(crate) shape: Shape,
    /// One or two sentences, which an editor shows beside the key.
    #[cfg(feature = "tools")]
    pub(crate) meaning: &'static str,
}

impl Key {
    /// Only the schema needs the shape and the meaning.
    #[cfg_attr(not(feature = "tools"), allow(unused_variables))]
    pub(crate) const fn new(name: &'static str, shape: Shape, meaning: &'static str) -> Self {
        Self {
            name,
            #[cfg(feature = "tools")]
            shape,
            #[cfg(feature = "tools")]
            meaning,
        }
    }
}

/// The form of a value, as far as it can be judged without the rest of the config. Every single
/// value may also be text with a `${VAR}`.
#[cfg_attr(not(feature = "tools"), allow(dead_code))]
pub(crate) enum Shape {
    /// Any single value.
    Text,
    /// A single value that is not empty.
    Path,
    Duration,
    /// A duration longer than 0.
    PositiveDuration,
    /// A whole number from 0 up.
    Count,
    Bool,
    /// `true` only.
    True,
    /// A signal that the parser takes.
    Signal(fn(&str) -> Result<Signal, Invalid>),
    /// `HOST:PORT`
    HostPort,
    /// `http://HOST:PORT/PATH` or `unix:/SOCKET:/PATH`
    Url,
    /// One of the words of a value's parser.
    Word(&'static dyn Words),
    /// Text that matches a regular expression, in what ECMA-262 and Rust's `regex` have in common.
    Pattern(&'static str),
    /// A number, or text that matches such a regular expression.
    Number(&'static str),
    List(&'static Shape),
    /// A mapping of any names.
    Map(&'static Shape),
    /// A mapping of process names. Those that begin with `x-` are left alone.
    Processes(&'static Shape),
    Table(&'static Keys),
    /// Any of several shapes.
    Either(&'static [Shape]),
    /// A table that contains itself, or has many places, with its name in the schema.
    Named(&'static str, &'static Keys),
}

/// The words that a value can be, with their meaning for the reader.
pub(crate) trait Words: Sync {
    #[cfg_attr(not(feature = "tools"), allow(dead_code))]
    fn words(&self) -> Vec<&'static str>;
}

impl<T: Sync> Words for &[(&'static str, T)] {
    fn words(&self) -> Vec<&'static str> {
        self.iter().map(|(word, _)| *word).collect()
    }
}
