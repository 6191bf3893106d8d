//! Merges one file over another by Compose's rules. Mappings are merged key by key. A single value
//! replaces the earlier value. A list is appended to the earlier list, without duplicates. A
//! `command` replaces the earlier `command`.
//!
//! `!reset` removes a key that an earlier file has set. `!override` replaces a value that would
//! otherwise be merged. A `!reset` that has nothing to remove stays in the merged tree, so that the
//! reader can report an unknown key. A known key with such a `!reset` counts as absent. The
//! `!reset` of a variable of `environment` always stays, because the process must not get this
//! variable even if the container has it.

use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use crate::keys::key::{self, Keys, Merge};
use crate::language::span::Span;
use crate::language::yaml::node::{Kind, Node, NodeKey, Tag};

/// How the values at one place of a config are merged, as the tables of keys say.
#[derive(Clone, Copy)]
struct Spot {
    merge: Merge,
    /// The known keys of the mapping at this place. For a mapping of names, the known keys of its
    /// values.
    keys: Option<&'static Keys>,
    /// Whether the value is that of a variable of `environment`.
    is_variable: bool,
}

impl Spot {
    fn root() -> Self {
        Self { keys: Some(key::root()), ..Self::unknown() }
    }

    fn unknown() -> Self {
        Self { merge: Merge::ByKind, keys: None, is_variable: false }
    }

    /// The rules for the value of a key of this mapping.
    fn inner(self, name: &str) -> Self {
        match (self.merge, self.keys) {
            (Merge::Entries | Merge::Names, keys) => Self { keys, ..Self::unknown() },
            (Merge::Pairs, _) => Self { is_variable: true, ..Self::unknown() },
            (_, keys) => {
                let row = keys.and_then(|keys| keys.all().find(|key| key.name == name));
                row.map_or(Self::unknown(), |row| Self {
                    merge: row.merge,
                    keys: row.keys,
                    is_variable: false,
                })
            }
        }
    }
}

/// Merges the tree `over` over the tree `base`.
pub(crate) fn merge(base: &Rc<Node>, over: &Rc<Node>) -> Rc<Node> {
    merge_at(Spot::root(), base, over)
}

fn merge_at(spot: Spot, base: &Rc<Node>, over: &Rc<Node>) -> Rc<Node> {
    if over.tag == Some(Tag::Override) {
        return Rc::clone(over);
    }
    // An empty value in the later file changes nothing, except in `environment`. In `environment`,
    // an empty value makes the process get the container's value of the variable.
    if matches!(over.kind, Kind::Null) && !spot.is_variable {
        return Rc::clone(base);
    }
    if base.is_reset() {
        return Rc::clone(over);
    }
    let short = spot.keys.and_then(|keys| keys.short);
    let merged = match (spot.merge, short, &over.kind) {
        (Merge::Replace, ..) => None,
        (Merge::Names, ..) => {
            by_kind(spot, &to_mapping(base, entry_of_name), &to_mapping(over, entry_of_name))
        }
        (Merge::Pairs, ..) => {
            by_kind(spot, &to_mapping(base, entry_of_pair), &to_mapping(over, entry_of_pair))
        }
        (Merge::OneOrMore(_), ..) => by_kind(spot, &to_list(base), &to_list(over)),
        (_, Some(key), Kind::Mapping(_)) => by_kind(spot, &to_full_form(base, key), over),
        (_, Some(_), _) => None,
        (Merge::ByKind | Merge::Entries, None, _) => by_kind(spot, base, over),
    };
    merged.unwrap_or_else(|| Rc::clone(over))
}

/// Merges two mappings or two lists. Returns `None` for other values: the later value then replaces
/// the earlier value.
fn by_kind(spot: Spot, base: &Rc<Node>, over: &Rc<Node>) -> Option<Rc<Node>> {
    let kind = match (&base.kind, &over.kind) {
        (Kind::Mapping(base), Kind::Mapping(over)) => Kind::Mapping(mappings(spot, base, over)),
        (Kind::Sequence(base), Kind::Sequence(over)) => {
            Kind::Sequence(lists(spot.merge, base, over))
        }
        _ => return None,
    };
    Some(Rc::new(Node::new(over.span, kind)))
}

type Entries = [(NodeKey, Rc<Node>)];

fn mappings(spot: Spot, base: &Entries, over: &Entries) -> Vec<(NodeKey, Rc<Node>)> {
    let keys = spot.keys.filter(|_| spot.merge == Merge::ByKind);
    let exclusive: Vec<_> = keys.into_iter().flat_map(Keys::exclusive).collect();
    let is_exclusive = |key: &NodeKey| exclusive.iter().any(|row| row.name == &*key.text);
    let later: HashMap<&str, &Rc<Node>> =
        over.iter().map(|(key, node)| (&*key.text, node)).collect();
    let earlier: HashSet<&str> = base.iter().map(|(key, _)| &*key.text).collect();
    let switched =
        over.iter().any(|(key, node)| is_exclusive(key) && !matches!(node.kind, Kind::Null));
    let mut merged = Vec::with_capacity(base.len() + over.len());
    for (key, node) in base {
        match later.get(&*key.text) {
            Some(over) if over.is_reset() => {
                // If the earlier file also resets the key, there is nothing to remove, so this
                // `!reset` stays. In `environment`, a `!reset` always stays.
                if spot.merge == Merge::Pairs || node.is_reset() {
                    merged.push((key.clone(), Rc::clone(over)));
                }
            }
            Some(over) => {
                merged.push((key.clone(), merge_at(spot.inner(&key.text), node, over)));
            }
            None if switched && is_exclusive(key) => {}
            None => merged.push((key.clone(), Rc::clone(node))),
        }
    }
    merged.extend(over.iter().filter(|(key, _)| !earlier.contains(&*key.text)).cloned());
    merged
}

/// Merges two lists of single values, or of mappings with the key that `rule` names. Two items with
/// the same value, or with the same value of that key, count as one item.
fn lists(rule: Merge, base: &[Rc<Node>], over: &[Rc<Node>]) -> Vec<Rc<Node>> {
    let name = |item: &Rc<Node>| -> Option<Rc<str>> {
        let of_key = || match rule {
            Merge::OneOrMore(key) => item.find(key)?.scalar(),
            _ => None,
        };
        item.scalar().or_else(of_key).map(Rc::from)
    };
    let mut merged = base.to_vec();
    let mut places: HashMap<Rc<str>, usize> = HashMap::with_capacity(base.len());
    for (place, item) in base.iter().enumerate() {
        places.extend(name(item).map(|name| (name, place)));
    }
    for item in over {
        match name(item).and_then(|name| places.get(&name)) {
            // If both files list the same single value, the earlier item stays.
            Some(place) if merged[*place].scalar().is_some() && item.scalar().is_some() => {}
            Some(place) => merged[*place] = Rc::clone(item),
            None => merged.push(Rc::clone(item)),
        }
    }
    merged
}

/// Converts a list of names or of `NAME=VALUE` to a mapping. Leaves any other value unchanged: a
/// mapping, or a value that the reader then refuses.
fn to_mapping(node: &Rc<Node>, entry: fn(&str, Span) -> (NodeKey, Node)) -> Rc<Node> {
    let Kind::Sequence(items) = &node.kind else { return Rc::clone(node) };
    let mut entries: Vec<(NodeKey, Rc<Node>)> = Vec::with_capacity(items.len());
    let mut places = HashMap::new();
    for item in items {
        let Some(text) = item.scalar() else { return Rc::clone(node) };
        let (key, value) = entry(text, item.span);
        let place = *places.entry(Rc::clone(&key.text)).or_insert(entries.len());
        match entries.get_mut(place) {
            Some(earlier) => *earlier = (key, Rc::new(value)),
            None => entries.push((key, Rc::new(value))),
        }
    }
    Rc::new(Node::new(node.span, Kind::Mapping(entries)))
}

fn entry_of_name(text: &str, span: Span) -> (NodeKey, Node) {
    (NodeKey { text: text.into(), span, is_item: true }, Node::new(span, Kind::Null))
}

fn entry_of_pair(text: &str, span: Span) -> (NodeKey, Node) {
    let (name, kind) = match text.split_once('=') {
        Some((name, value)) => (name, Kind::Scalar { text: value.to_owned(), quoted: true }),
        None => (text, Kind::Null),
    };
    (NodeKey { text: name.into(), span, is_item: true }, Node::new(span, kind))
}

/// Converts a single value or a mapping to a list with this one item.
fn to_list(node: &Rc<Node>) -> Rc<Node> {
    match node.kind {
        Kind::Scalar { .. } | Kind::Mapping(_) => {
            Rc::new(Node::new(node.span, Kind::Sequence(vec![Rc::clone(node)])))
        }
        _ => Rc::clone(node),
    }
}

/// Converts the short form of a mapping to the full form. In the short form, the value of `key` is
/// written in place of the mapping.
fn to_full_form(node: &Rc<Node>, key: &str) -> Rc<Node> {
    match node.kind {
        Kind::Scalar { .. } | Kind::Sequence(_) => {
            let key = NodeKey { text: key.into(), span: node.span, is_item: false };
            Rc::new(Node::new(node.span, Kind::Mapping(vec![(key, Rc::clone(node))])))
        }
        _ => Rc::clone(node),
    }
}
