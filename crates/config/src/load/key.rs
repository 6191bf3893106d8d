//! The tables of keys of a config, one table for each mapping. `#[derive(Table)]` makes a table
//! from the struct that holds the values. The reader, the overlays, `drainit schema` and the pages
//! in docs/config/ use these tables.

use std::fmt;

use crate::load::read::reader::{Fields, Reader};
use crate::load::values::Invalid;
use crate::load::yaml::node::{Kind, Node};
use crate::types::Signal;

pub(crate) use drainit_derive::Table;

/// The keys of a config.
pub fn root() -> &'static Keys {
    <crate::config::Config as Table>::KEYS
}

/// The keys of one mapping.
pub struct Keys {
    /// The name of the struct or enum that declares the keys.
    pub name: &'static str,
    pub own: &'static [Key],
    /// Further keys of the same mapping.
    pub flat: &'static [&'static Keys],
    /// The key that gets the value if the value is not a mapping; `None` if the value must be a
    /// mapping.
    pub short: Option<&'static str>,
}

impl Keys {
    /// All keys of the mapping. Keys that exclude each other come first.
    pub fn all(&self) -> impl Iterator<Item = &'static Key> + use<> {
        let is_choice = |keys: &Keys| keys.own.first().is_some_and(|key| key.exclusive);
        let flat = move |choice| {
            let keys = self.flat.iter().filter(move |keys| is_choice(keys) == choice);
            keys.flat_map(|keys| keys.own)
        };
        flat(true).chain(self.own).chain(flat(false))
    }

    /// The keys that exclude each other.
    pub fn exclusive(&self) -> impl Iterator<Item = &'static Key> + use<> {
        self.all().filter(|key| key.exclusive)
    }

    pub fn names(&self) -> impl Iterator<Item = &'static str> + use<> {
        self.all().map(|key| key.name)
    }

    pub fn has(&self, name: &str) -> bool {
        self.all().any(|key| key.name == name)
    }
}

/// A row of a table.
pub struct Key {
    pub name: &'static str,
    /// Whether this key and the other keys with this mark exclude each other.
    pub exclusive: bool,
    pub(crate) merge: Merge,
    /// The keys of the value, if that is a mapping with known keys.
    pub(crate) keys: Option<&'static Keys>,
    #[cfg(feature = "schema")]
    pub shape: Shape,
    /// The doc comment of the key's field: Markdown, in one line.
    #[cfg(feature = "schema")]
    pub meaning: &'static str,
    #[cfg(feature = "schema")]
    pub default: Option<&'static str>,
}

impl Key {
    /// Drops the meaning and the default unless the schema and the reference need them.
    #[cfg_attr(not(feature = "schema"), allow(unused_variables))]
    pub const fn new(
        name: &'static str,
        shape: Shape,
        meaning: &'static str,
        default: Option<&'static str>,
        merge: Merge,
        exclusive: bool,
    ) -> Self {
        Self {
            name,
            exclusive,
            merge,
            keys: shape.keys(),
            #[cfg(feature = "schema")]
            shape,
            #[cfg(feature = "schema")]
            meaning,
            #[cfg(feature = "schema")]
            default,
        }
    }
}

/// How an overlay changes a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Merge {
    /// Mappings are merged key by key, lists are appended, and a single value replaces the earlier
    /// value.
    ByKind,
    Replace,
    /// A mapping whose keys are any names.
    Entries,
    /// A list of names, or a mapping with these keys.
    Names,
    /// A list of `NAME=VALUE`, or a mapping.
    Pairs,
    /// A list or a single value. A mapping in the list replaces the earlier mapping with the same
    /// value of this key.
    OneOrMore(&'static str),
}

/// The form of a value, without rules that depend on the rest of the config. Every single value may
/// also be text with a `${VAR}`.
pub enum Shape {
    /// Any single value.
    Text,
    /// A single value that is not empty, with the noun for the value.
    Filled(&'static str),
    Duration,
    /// A duration longer than 0.
    PositiveDuration,
    /// A whole number from 0 up.
    Count,
    Bool,
    /// The value `true` and no other.
    True,
    /// A signal that this parser accepts.
    Signal(fn(&str) -> Result<Signal, Invalid>),
    /// `HOST:PORT`
    HostPort,
    /// `http://HOST:PORT/PATH` or `unix:/SOCKET:/PATH`
    Url,
    /// One of these words.
    Word(&'static [&'static str]),
    /// Text that matches a regular expression: the noun for the text, and the expression, in syntax
    /// that ECMA-262 and Rust's `regex` share.
    Pattern(&'static str, &'static str),
    /// Like `Pattern`, but the value may also be a number.
    Number(&'static str, &'static str),
    List(&'static Shape),
    /// A mapping whose keys are any names.
    Map(&'static Shape),
    /// A mapping whose keys are process names. Keys that begin with `x-` are ignored.
    Processes(&'static Shape),
    Table(&'static Keys),
    /// Any of several shapes.
    Either(&'static [Shape]),
    /// A table that several keys use, with its name in the schema.
    Named(&'static str, &'static Keys),
}

impl Shape {
    /// The keys of the mapping that a value of this shape is or contains.
    const fn keys(&self) -> Option<&'static Keys> {
        match self {
            Self::Table(keys) | Self::Named(_, keys) => Some(keys),
            Self::Processes(of) => of.keys(),
            Self::Either(shapes) => {
                let mut at = shapes.len();
                while at > 0 {
                    at -= 1;
                    if let Some(keys) = shapes[at].keys() {
                        return Some(keys);
                    }
                }
                None
            }
            _ => None,
        }
    }
}

/// How a value is read. `read` reports each problem with its place.
pub(crate) trait Form {
    type Out;
    const SHAPE: Shape;

    /// Returns `None` after an error, and if the value counts as absent.
    fn read(reader: &mut Reader<'_>, at: &At<'_>, node: &Node) -> Option<Self::Out>;
}

/// A single value.
pub(crate) trait Leaf: Form {
    fn parse(text: &str) -> Result<Self::Out, Invalid>;

    /// Parses the default of a key.
    #[allow(clippy::panic, reason = "every default is read by tests")]
    fn given(text: &'static str) -> Self::Out {
        match Self::parse(text) {
            Ok(value) => value,
            Err(bad) => panic!("the default {text}: {}", bad.why),
        }
    }
}

/// A mapping with known keys.
pub(crate) trait Table: Sized {
    const KEYS: &'static Keys;

    fn read_keys(reader: &mut Reader<'_>, fields: &Fields<'_>) -> Option<Self>;
}

/// A list of values.
pub(crate) struct List<F>(F);

impl<F: Form> Form for List<F> {
    type Out = Vec<F::Out>;
    const SHAPE: Shape = Shape::List(&F::SHAPE);

    fn read(reader: &mut Reader<'_>, at: &At<'_>, node: &Node) -> Option<Self::Out> {
        let items = reader.items(node, at.key)?;
        // Reads all items first, so that an error in one item does not hide an error in another.
        let read: Vec<_> = items.iter().map(|item| F::read(reader, at, item)).collect();
        read.into_iter().collect()
    }
}

/// A value, or a list of them.
pub(crate) struct OneOrMore<F>(F);

impl<F: Form> Form for OneOrMore<F> {
    type Out = Vec<F::Out>;
    const SHAPE: Shape = Shape::Either(&[F::SHAPE, Shape::List(&F::SHAPE)]);

    fn read(reader: &mut Reader<'_>, at: &At<'_>, node: &Node) -> Option<Self::Out> {
        match node.kind {
            Kind::Sequence(_) => List::<F>::read(reader, at, node),
            _ => Some(vec![F::read(reader, at, node)?]),
        }
    }
}

/// A mapping, or a single value that converts to the same type.
pub(crate) struct Either<S, M>(S, M);

impl<S: Form<Out: Into<M::Out>>, M: Form> Form for Either<S, M> {
    type Out = M::Out;
    const SHAPE: Shape = Shape::Either(&[S::SHAPE, M::SHAPE]);

    fn read(reader: &mut Reader<'_>, at: &At<'_>, node: &Node) -> Option<Self::Out> {
        match node.kind {
            Kind::Mapping(_) => M::read(reader, at, node),
            _ => S::read(reader, at, node).map(Into::into),
        }
    }
}

/// A value that the caller reads later, if a condition beside the value holds.
pub(crate) struct Later<F>(F);

impl<F: Form> Form for Later<F> {
    type Out = ();
    const SHAPE: Shape = F::SHAPE;

    fn read(_: &mut Reader<'_>, _: &At<'_>, _: &Node) -> Option<()> {
        Some(())
    }
}

/// The place of a value in the config: its key, and the place of the mapping around it.
#[derive(Clone, Copy)]
pub(crate) struct At<'a> {
    above: Option<&'a At<'a>>,
    pub(crate) key: &'a str,
}

impl<'a> At<'a> {
    /// The whole config.
    pub(crate) const ROOT: At<'static> = At { above: None, key: "" };

    pub(crate) fn inner(&'a self, key: &'a str) -> Self {
        Self { above: Some(self), key }
    }
}

/// Writes the place as `processes.router.drain`, and the whole config as an empty text.
impl fmt::Display for At<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.above {
            Some(above) if !above.key.is_empty() => write!(f, "{above}.{}", self.key),
            _ => f.write_str(self.key),
        }
    }
}
