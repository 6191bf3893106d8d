//! The tree of a YAML file, with the place of every node.
//!
//! Scalars stay text: `no`, `0777` and `1.10` are kept as written, and each reader decides.

use std::rc::Rc;

use crate::load::span::Span;

#[derive(Clone, Debug)]
pub(crate) struct Key {
    pub(crate) text: Rc<str>,
    pub(crate) span: Span,
}

/// Compose's tags for overlays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tag {
    /// `!reset`: removes the key; in `environment`, the variable.
    Reset,
    /// `!override`: replaces the value instead of merging.
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
pub(crate) struct Node {
    pub(crate) span: Span,
    pub(crate) kind: Kind,
    pub(crate) tag: Option<Tag>,
    // The fields of an `Extent`, whose padding would make the node a size class larger.
    has_reset: bool,
    depth: u16,
    size: u32,
}

/// The size of a subtree with every alias expanded. Aliases share one node, so a small file can be
/// a huge tree.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Extent {
    /// In values.
    pub(crate) size: u32,
    pub(crate) depth: u16,
    /// Whether a value in it has the tag `!reset`.
    pub(crate) has_reset: bool,
}

impl Extent {
    /// A single value.
    pub(crate) const ONE: Self = Self { size: 1, depth: 1, has_reset: false };

    /// Adds a child.
    pub(crate) fn add(&mut self, inner: Self) {
        self.size = self.size.saturating_add(inner.size);
        self.depth = self.depth.max(inner.depth.saturating_add(1));
        self.has_reset |= inner.has_reset;
    }
}

#[derive(Clone, Debug)]
pub(crate) enum Kind {
    /// Empty, `null` or `~`.
    Null,
    /// Verbatim.
    Scalar {
        text: String,
        quoted: bool,
    },
    Sequence(Vec<Rc<Node>>),
    /// In file order; keys are unique.
    Mapping(Vec<(Key, Rc<Node>)>),
}

impl Node {
    /// Makes a node of others, and computes its extent.
    pub(crate) fn new(span: Span, kind: Kind) -> Self {
        let mut extent = Extent::ONE;
        match &kind {
            Kind::Null | Kind::Scalar { .. } => {}
            Kind::Sequence(items) => items.iter().for_each(|item| extent.add(item.extent())),
            Kind::Mapping(entries) => {
                entries.iter().for_each(|(_, node)| extent.add(node.extent()));
            }
        }
        Self::measured(span, kind, None, extent)
    }

    /// Makes a node whose extent, except for its own tag, is known.
    pub(crate) fn measured(span: Span, kind: Kind, tag: Option<Tag>, extent: Extent) -> Self {
        let Extent { size, depth, has_reset } = extent;
        Self { span, kind, tag, has_reset: has_reset || tag == Some(Tag::Reset), depth, size }
    }

    pub(crate) fn extent(&self) -> Extent {
        Extent { size: self.size, depth: self.depth, has_reset: self.has_reset }
    }

    /// The text of a scalar.
    pub(crate) fn scalar(&self) -> Option<&str> {
        if let Kind::Scalar { text, .. } = &self.kind { Some(text) } else { None }
    }

    /// The entries of a mapping; empty for anything else.
    pub(crate) fn entries(&self) -> &[(Key, Rc<Self>)] {
        if let Kind::Mapping(entries) = &self.kind { entries } else { &[] }
    }

    /// For messages.
    pub(crate) fn kind_name(&self) -> &'static str {
        match self.kind {
            Kind::Null => "empty",
            Kind::Scalar { .. } => "a single value",
            Kind::Sequence(_) => "a list",
            Kind::Mapping(_) => "a mapping",
        }
    }
}

/// The value at a path of keys, unless it is empty.
pub(crate) fn get<'n>(node: &'n Node, path: &[&str]) -> Option<&'n Rc<Node>> {
    let (name, rest) = path.split_first()?;
    let (_, value) = node.entries().iter().find(|(key, _)| &*key.text == *name)?;
    match rest {
        [] => (!matches!(value.kind, Kind::Null)).then_some(value),
        rest => get(value, rest),
    }
}
