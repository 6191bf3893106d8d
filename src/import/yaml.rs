//! Accessors for a YAML tree of unchecked shape.

use std::rc::Rc;

use crate::load::yaml::node::{Key, Kind, Node};

/// The entries of a mapping, in file order.
pub(super) type Entries<'a> = &'a [(Key, Rc<Node>)];

/// The entries of a mapping; empty for anything else.
pub(super) fn entries(node: &Node) -> Entries<'_> {
    if let Kind::Mapping(entries) = &node.kind { entries } else { &[] }
}

/// The items of a list; a single value counts as a list of one.
pub(super) fn items(node: &Node) -> Vec<&Node> {
    match &node.kind {
        Kind::Sequence(items) => items.iter().map(Rc::as_ref).collect(),
        Kind::Null => Vec::new(),
        _ => vec![node],
    }
}

pub(super) fn get<'a>(entries: Entries<'a>, key: &str) -> Option<&'a Rc<Node>> {
    entries.iter().find(|(name, _)| &*name.text == key).map(|(_, node)| node)
}

pub(super) fn scalar(node: &Node) -> Option<&str> {
    if let Kind::Scalar { text, .. } = &node.kind { Some(text) } else { None }
}
