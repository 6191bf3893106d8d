//! Accessors for a YAML tree of unchecked shape.

use crate::load::yaml::node::{Kind, Node, get};

/// The items of a list; a single value counts as a list of one.
pub(super) fn items(node: &Node) -> Vec<&Node> {
    match &node.kind {
        Kind::Sequence(items) => items.iter().map(AsRef::as_ref).collect(),
        Kind::Null => Vec::new(),
        _ => vec![node],
    }
}

/// The single values among the items of a list.
pub(super) fn texts(node: &Node) -> impl Iterator<Item = &str> {
    items(node).into_iter().filter_map(Node::scalar)
}

/// The single value of a key.
pub(super) fn text<'n>(node: &'n Node, key: &str) -> Option<&'n str> {
    get(node, &[key])?.scalar()
}
