//! The tables of keys of a config. Each mapping of the config has a table. `#[derive(Table)]` makes
//! the table from the struct that holds the values of the mapping. The reader, the overlays,
//! `drainit schema` and the pages in docs/config/ use these tables.

use std::fmt;

use crate::keys::reader::{Fields, Reader};
use crate::language::invalid::Invalid;
use crate::language::yaml::node::{Kind, Node};
use crate::types::Signal;

pub(crate) use drainit_derive::Table;

/// The table of the mapping that is the whole config.
pub fn root() -> &'static Keys {
    <crate::keys::Config as Table>::KEYS
}

/// The keys of one mapping.
pub struct Keys {
    /// The name of the struct or enum that declares the keys.
    pub name: &'static str,
    pub own: &'static [Key],
    /// Further keys of the same mapping, which other structs or enums declare.
    pub flat: &'static [&'static Keys],
    /// The key that gets the value if the config has a single value or a list in place of the
    /// mapping (the short form). `None` if the mapping has no short form.
    pub short: Option<&'static str>,
}

impl Keys {
    /// All keys of the mapping: first the keys of `flat` that exclude each other, then `own`, then
    /// the other keys of `flat`.
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

/// One key: a row of a table.
pub struct Key {
    pub name: &'static str,
    /// Whether the key is one of those that exclude each other.
    pub exclusive: bool,
    pub(crate) merge: Merge,
    /// The keys of the value, if the value is a mapping whose keys are known.
    pub(crate) keys: Option<&'static Keys>,
    pub shape: Shape,
    /// The explanation of the key: the doc comment of its field, as Markdown in one line.
    pub meaning: &'static str,
    pub default: Option<&'static str>,
}

impl Key {
    /// Makes a key. Its `keys` come from `shape`.
    pub const fn new(
        name: &'static str,
        shape: Shape,
        meaning: &'static str,
        default: Option<&'static str>,
        merge: Merge,
        exclusive: bool,
    ) -> Self {
        Self { name, exclusive, merge, keys: shape.keys(), shape, meaning, default }
    }
}

/// How the value of a later file is merged over the value of an earlier file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Merge {
    /// Mappings are merged key by key, and a list is appended to the earlier list. A single value
    /// replaces the earlier value.
    ByKind,
    Replace,
    /// A mapping whose keys are any names. It is merged key by key.
    Entries,
    /// A list of names, or a mapping whose keys are names and whose values have known keys. A list
    /// is merged as a mapping.
    Names,
    /// A list of `NAME=VALUE`, or a mapping of names to values. A list is merged as a mapping.
    Pairs,
    /// A list, or a single value in place of a list. If the items are mappings, the text names one
    /// of their keys. A later item replaces an earlier item that has the same value of this key.
    OneOrMore(&'static str),
}

/// The form of a value. It does not include rules that depend on other parts of the config. Every
/// single value may also be text with a `${VAR}`.
pub enum Shape {
    /// Any single value.
    Text,
    /// A single value that must not be empty. The text is a noun for the value.
    Filled(&'static str),
    Duration,
    /// A duration longer than 0.
    PositiveDuration,
    /// A whole number from 0 up.
    Count,
    Bool,
    /// Only the value `true`.
    True,
    /// A signal. The function parses it, and refuses signals that are not allowed here.
    Signal(fn(&str) -> Result<Signal, Invalid>),
    /// `HOST:PORT`
    HostPort,
    /// `http://HOST:PORT/PATH` or `unix:/SOCKET:/PATH`
    Url,
    /// One of these words.
    Word(&'static [&'static str]),
    /// Text that matches a regular expression. The first text is a noun for the value. The second
    /// is the expression, in syntax that ECMA-262 and Rust's `regex` share.
    Pattern(&'static str, &'static str),
    /// Like `Pattern`, but the value may also be a number.
    Number(&'static str, &'static str),
    List(&'static Shape),
    /// A mapping whose keys are any names.
    Map(&'static Shape),
    /// A mapping whose keys are process names. Keys that begin with `x-` are ignored.
    Processes(&'static Shape),
    Table(&'static Keys),
    /// A value that has one of several shapes.
    Either(&'static [Shape]),
    /// A table that several keys use. The schema has the table only once, under this name.
    Named(&'static str, &'static Keys),
}

impl Shape {
    /// The known keys of a mapping with this shape. With `Processes`, the keys of each process. With
    /// `Either`, the keys of the last shape that has known keys.
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

/// How a value is read from the YAML tree. `read` reports each problem with its place.
pub(crate) trait Form {
    type Out;
    const SHAPE: Shape;

    /// Returns `None` after an error, or if the value counts as absent, such as a drain whose
    /// `time` is 0.
    fn read(reader: &mut Reader<'_>, at: &At<'_>, node: &Node) -> Option<Self::Out>;
}

/// A single value.
pub(crate) trait Leaf: Form {
    fn parse(text: &str) -> Result<Self::Out, Invalid>;

    /// Parses a default, which the key's declaration gives as text.
    #[allow(clippy::panic, reason = "every default is read by tests")]
    fn from_default(text: &'static str) -> Self::Out {
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
        // Read every item, and only then return the first error, so that the errors of all items
        // are reported.
        let read: Vec<_> = items.iter().map(|item| F::read(reader, at, item)).collect();
        read.into_iter().collect()
    }
}

/// A value, or a list of such values.
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

/// A mapping, or a single value that is converted to the type of the mapping.
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

/// A value that is not read together with its mapping. The caller reads the value later, if the
/// condition in the same mapping holds.
pub(crate) struct Later<F>(F);

impl<F: Form> Form for Later<F> {
    type Out = ();
    const SHAPE: Shape = F::SHAPE;

    fn read(_: &mut Reader<'_>, _: &At<'_>, _: &Node) -> Option<()> {
        Some(())
    }
}

/// Where a value is in the config: its key, and the place of the mapping that has the key.
#[derive(Clone, Copy)]
pub(crate) struct At<'a> {
    above: Option<&'a At<'a>>,
    pub(crate) key: &'a str,
}

impl<'a> At<'a> {
    /// The place of the whole config, which is in no mapping.
    pub(crate) const ROOT: At<'static> = At { above: None, key: "" };

    pub(crate) fn inner(&'a self, key: &'a str) -> Self {
        Self { above: Some(self), key }
    }
}

/// Writes the place as text such as `processes.router.drain`. The text of the whole config is
/// empty.
impl fmt::Display for At<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.above {
            Some(above) if !above.key.is_empty() => write!(f, "{above}.{}", self.key),
            _ => f.write_str(self.key),
        }
    }
}
