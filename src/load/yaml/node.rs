//! The tree that a YAML file becomes: text as it was written, and for everything its place.
//!
//! Nothing is a number or a boolean here: `no`, `0777` and `1.10` stay what the author wrote, and each reader decides.

use std::rc::Rc;

/// A place in one of the files of a load.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Span {
    file: u32,
    line: u32,
    column: u32,
    len: u32,
}

impl Span {
    /// A place in a file. No file is so large that a figure would not fit, and of everything in it the place is kept.
    pub(crate) fn new(file: usize, line: usize, column: usize, len: usize) -> Self {
        let small = |figure: usize| u32::try_from(figure).unwrap_or(u32::MAX);
        Self { file: small(file), line: small(line), column: small(column), len: small(len) }
    }

    /// A whole file.
    pub(crate) fn whole(file: usize) -> Self {
        Self::new(file, 0, 0, 0)
    }

    /// Which file, in the order in which they were given.
    pub(crate) fn file(self) -> usize {
        self.file as usize
    }

    /// From 1; 0 means the whole file.
    pub(crate) fn line(self) -> usize {
        self.line as usize
    }

    /// In characters, from 1.
    pub(crate) fn column(self) -> usize {
        self.column as usize
    }

    /// In characters.
    pub(crate) fn len(self) -> usize {
        self.len as usize
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
    /// `!reset`: the key goes away; in `environment`, the variable.
    Reset,
    /// `!override`: the value replaces what it would be merged with.
    Override,
}

impl Tag {
    /// As it is written.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Reset => "!reset",
            Self::Override => "!override",
        }
    }
}

/// A value.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) span: Span,
    pub(crate) kind: Kind,
    pub(crate) tag: Option<Tag>,
    // An `Extent`, but not as one: its padding would make the node a size class larger.
    has_reset: bool,
    depth: u16,
    size: u32,
}

/// What is known of a value and everything in it, with every alias put in. Aliases share one node, so a small file can be a
/// huge tree.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Extent {
    /// How many values it is.
    pub(crate) size: u32,
    /// How deep it is.
    pub(crate) depth: u16,
    /// Whether some of it is to go away.
    pub(crate) has_reset: bool,
}

impl Extent {
    /// A value without any in it.
    pub(crate) const ONE: Self = Self { size: 1, depth: 1, has_reset: false };

    /// Adds a value in it.
    pub(crate) fn add(&mut self, inner: Self) {
        self.size = self.size.saturating_add(inner.size);
        self.depth = self.depth.max(inner.depth.saturating_add(1));
        self.has_reset |= inner.has_reset;
    }
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

    /// A node whose extent, but for its own tag, is known.
    pub(crate) fn measured(span: Span, kind: Kind, tag: Option<Tag>, extent: Extent) -> Self {
        let Extent { size, depth, has_reset } = extent;
        Self { span, kind, tag, has_reset: has_reset || tag == Some(Tag::Reset), depth, size }
    }

    /// What is known of it and everything in it.
    pub(crate) fn extent(&self) -> Extent {
        Extent { size: self.size, depth: self.depth, has_reset: self.has_reset }
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
