//! The tree of a YAML file, with the place of every node.
//!
//! A scalar stays text: `no`, `0777` and `1.10` keep their characters. The code that reads a value
//! decides how to interpret its text.

use std::rc::Rc;

use crate::language::span::Span;

#[derive(Clone, Debug)]
pub struct NodeKey {
    pub text: Rc<str>,
    pub span: Span,
    /// Whether the key was an item of a list that became a mapping when two files were merged.
    /// Unlike a key, an item may contain variables.
    pub is_item: bool,
}

/// Compose's tags, which say how the value of a later file changes the value of an earlier file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tag {
    /// `!reset` removes the key. In `environment`, the process then does not get the variable.
    Reset,
    /// `!override` replaces the earlier value; without the tag, the two values would be merged.
    Override,
}

impl Tag {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Reset => "!reset",
            Self::Override => "!override",
        }
    }
}

#[derive(Debug)]
pub struct Node {
    pub span: Span,
    pub kind: Kind,
    pub(crate) tag: Option<Tag>,
    pub(crate) extent: Extent,
}

/// The size of a node with everything in it, as if each alias were a copy of its node. In memory,
/// the aliases share one node, so a small file can stand for a huge tree.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Extent {
    /// The number of values.
    pub(crate) size: u32,
    pub(crate) depth: u16,
}

impl Extent {
    /// A single value.
    pub(crate) const ONE: Self = Self { size: 1, depth: 1 };

    /// Adds the extent of a child.
    pub(crate) fn add(&mut self, inner: Self) {
        self.size = self.size.saturating_add(inner.size);
        self.depth = self.depth.max(inner.depth.saturating_add(1));
    }
}

#[derive(Clone, Debug)]
pub enum Kind {
    /// Empty, `null` or `~`.
    Null,
    /// A single value, with its text as in the file.
    Scalar {
        text: String,
        quoted: bool,
    },
    Sequence(Vec<Rc<Node>>),
    /// The entries are in file order, and no key occurs twice.
    Mapping(Vec<(NodeKey, Rc<Node>)>),
}

impl Node {
    /// Makes a node, and computes its size from the nodes in it.
    pub(crate) fn new(span: Span, kind: Kind) -> Self {
        let mut extent = Extent::ONE;
        match &kind {
            Kind::Null | Kind::Scalar { .. } => {}
            Kind::Sequence(items) => items.iter().for_each(|item| extent.add(item.extent)),
            Kind::Mapping(entries) => {
                entries.iter().for_each(|(_, node)| extent.add(node.extent));
            }
        }
        Self { span, kind, tag: None, extent }
    }

    pub(crate) fn is_reset(&self) -> bool {
        self.tag == Some(Tag::Reset)
    }

    /// Whether this value counts as if its key were missing, because the value is empty or has a
    /// `!reset`.
    pub(crate) fn is_absent(&self) -> bool {
        self.is_reset() || matches!(self.kind, Kind::Null)
    }

    /// The text of a scalar; `None` for anything else.
    pub fn scalar(&self) -> Option<&str> {
        if let Kind::Scalar { text, .. } = &self.kind { Some(text) } else { None }
    }

    /// The entries of a mapping; empty for anything else.
    pub fn entries(&self) -> &[(NodeKey, Rc<Self>)] {
        if let Kind::Mapping(entries) = &self.kind { entries } else { &[] }
    }

    /// The items of a list; empty for anything else.
    pub fn items(&self) -> &[Rc<Self>] {
        if let Kind::Sequence(items) = &self.kind { items } else { &[] }
    }

    /// The values of a mapping, or the items of a list; empty for anything else.
    pub fn inner(&self) -> impl Iterator<Item = &Self> {
        let values = self.entries().iter().map(|(_, value)| value);
        values.chain(self.items()).map(Rc::as_ref)
    }

    pub(crate) fn is_empty_list(&self) -> bool {
        matches!(&self.kind, Kind::Sequence(items) if items.is_empty())
    }

    /// The value of a key of a mapping, or the item of a list at an index. `None` if the value is
    /// missing or counts as missing.
    fn step(&self, key: &str) -> Option<&Rc<Self>> {
        let of_key = self.entries().iter().find(|(name, _)| &*name.text == key);
        let value = match of_key {
            Some((_, value)) => value,
            None => self.items().get(key.parse::<usize>().ok()?)?,
        };
        (!value.is_absent()).then_some(value)
    }

    /// The value at a path of keys such as `drain.envoy.min`.
    pub(crate) fn find(&self, path: &str) -> Option<&Self> {
        path.split('.').try_fold(self, |node, key| node.step(key).map(Rc::as_ref))
    }

    /// The place of the value at a path of keys, or else of the nearest value above it. `None` if
    /// even the first key of the path has no value.
    pub(crate) fn at(&self, path: &str) -> Option<Span> {
        let (mut node, mut found) = (self, None);
        for key in path.split('.') {
            let Some(next) = node.step(key) else { break };
            (node, found) = (next, Some(next.span));
        }
        found
    }

    /// The words for the kind of the value in a message.
    pub fn kind_name(&self) -> &'static str {
        match self.kind {
            Kind::Null => "empty",
            Kind::Scalar { .. } => "a single value",
            Kind::Sequence(_) => "a list",
            Kind::Mapping(_) => "a mapping",
        }
    }
}

/// The value at a path of keys; `None` if the value is missing, is empty, or has a `!reset`.
pub fn get<'n>(node: &'n Node, path: &[&str]) -> Option<&'n Rc<Node>> {
    let (first, rest) = path.split_first()?;
    rest.iter().try_fold(node.step(first)?, |node, key| node.step(key))
}
