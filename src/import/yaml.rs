//! Accessors for a YAML tree of unchecked shape.

use std::rc::Rc;

use crate::load::yaml::node::{Key, Kind, Node};

/// The entries of a mapping, in file order.
pub(super) type Entries<'a> = &'a [(Key, Rc<Node>)];

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
