//! The tree that a YAML file becomes: text as it was written, and for everything its place.
//!
//! Nothing is a number or a boolean here: `no`, `0777` and `1.10` stay what the author wrote, and each reader decides.

use std::rc::Rc;

/// A place in one of the files of a load.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Span {
    /// Which file, in the order in which they were given.
    pub(crate) file: usize,
    /// From 1; 0 means the whole file.
    pub(crate) line: usize,
    /// In characters, from 1.
    pub(crate) column: usize,
    /// In characters.
    pub(crate) len: usize,
}

impl Span {
    /// A whole file.
    pub(crate) fn whole(file: usize) -> Self {
        Self { file, line: 0, column: 0, len: 0 }
    }
}

/// The key of a mapping.
#[derive(Clone, Debug)]
pub(crate) struct Key {
    pub(crate) text: Rc<str>,
    pub(crate) span: Span,
}

/// What the tags of Compose ask an overlay to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tag {
    /// `!reset`: the key goes away.
    Reset,
    /// `!override`: the value replaces what it would be merged with.
    Override,
}

/// A value.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) span: Span,
    pub(crate) kind: Kind,
    pub(crate) tag: Option<Tag>,
    /// How many values it is with every alias put in. Aliases share one node, so a small file can be a huge tree.
    pub(crate) size: usize,
    /// How deep it is with every alias put in; 1 for a scalar.
    pub(crate) depth: usize,
}

/// The four kinds of value.
#[derive(Clone, Debug)]
pub(crate) enum Kind {
    /// Nothing was written, or `null` or `~`.
    Null,
    /// Text, verbatim.
    Scalar { text: String, quoted: bool },
    /// A list.
    Sequence(Vec<Rc<Node>>),
    /// Keys and values in file order; no key twice.
    Mapping(Vec<(Key, Rc<Node>)>),
}

impl Node {
    /// A node that is made from others, at the place of one of them.
    pub(crate) fn new(span: Span, kind: Kind) -> Self {
        let (size, depth) = match &kind {
            Kind::Null | Kind::Scalar { .. } => (1, 1),
            Kind::Sequence(items) => measure(items.iter()),
            Kind::Mapping(entries) => measure(entries.iter().map(|(_, node)| node)),
        };
        Self { span, kind, tag: None, size, depth }
    }

    /// What it is, for messages.
    pub(crate) fn kind_name(&self) -> &'static str {
        match self.kind {
            Kind::Null => "nothing",
            Kind::Scalar { .. } => "a single value",
            Kind::Sequence(_) => "a list",
            Kind::Mapping(_) => "a mapping",
        }
    }
}

/// Size and depth of a collection.
fn measure<'a>(items: impl Iterator<Item = &'a Rc<Node>>) -> (usize, usize) {
    let start = (1_usize, 1_usize);
    items.fold(start, |(size, depth), item| {
        (size.saturating_add(item.size), depth.max(item.depth.saturating_add(1)))
    })
}
