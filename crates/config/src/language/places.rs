//! Finds where a value stands in the merged files, by its keys, such as `shutdown.grace_period`.
//! The checks of the whole config need this search, because the values that they check have no
//! places.

use std::rc::Rc;

use crate::language::span::Span;
use crate::language::yaml::node::Node;

#[derive(Default)]
pub(crate) struct Places {
    root: Option<Rc<Node>>,
    /// For each process of the config, in the same order: the entry from which it was read.
    pub(crate) processes: Vec<EntryPlace>,
}

impl Places {
    pub(crate) fn new(root: &Rc<Node>) -> Self {
        Self { root: Some(Rc::clone(root)), processes: Vec::new() }
    }

    /// The value at a path of keys such as `shutdown.grace_period`.
    pub(crate) fn find(&self, path: &str) -> Option<&Node> {
        self.root.as_ref()?.find(path)
    }

    /// The place of the value at a path of keys. If there is no such value, the place of the
    /// nearest value above it.
    pub(crate) fn at(&self, path: &str) -> Span {
        self.root.as_ref().map_or(Span::whole(0), |root| root.at(path).unwrap_or(root.span))
    }

    /// Whether this process and the process before it are copies from one entry with `scale`.
    pub(crate) fn is_further_copy(&self, index: usize) -> bool {
        let before = index.checked_sub(1).map(|before| &self.processes[before]);
        before.is_some_and(|before| before.is_same(&self.processes[index]))
    }
}

/// The entry of `processes` from which a process was read. All copies from an entry with `scale`
/// have the same place.
#[derive(Clone)]
pub(crate) struct EntryPlace {
    /// The place of the entry's name.
    pub(crate) name: Span,
    pub(crate) node: Rc<Node>,
}

impl EntryPlace {
    /// Whether both are the same entry. If so, their processes are copies from an entry with
    /// `scale`.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.name == other.name
    }

    /// The value at a path of keys such as `drain.envoy.min` or `render.0.to`.
    pub(crate) fn find(&self, path: &str) -> Option<&Node> {
        self.node.find(path)
    }

    /// The place of the value at a path of keys. If there is no such value, the place of the
    /// nearest value above it, or of the entry's name.
    pub(crate) fn at(&self, path: &str) -> Span {
        self.node.at(path).unwrap_or(self.name)
    }

    /// The place where `depends_on` lists the process with this name.
    pub(crate) fn dependency(&self, name: &str) -> Span {
        let Some(node) = self.find("depends_on") else { return self.name };
        // In the file, `depends_on` may name the entry with `scale`, without the number of a copy.
        let entry = name.rsplit_once('-').map_or(name, |(entry, _)| entry);
        let is = |text: &str| text == name || text == entry;
        let key = node.entries().iter().find(|(key, _)| is(&key.text)).map(|(key, _)| key.span);
        let item = || node.items().iter().find(|item| item.scalar().is_some_and(is));
        key.or_else(|| Some(item()?.span)).unwrap_or(node.span)
    }
}
