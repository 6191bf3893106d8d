//! Finds the place of a value in the merged tree by the path of its keys, for checks that need the
//! whole config.

use std::rc::Rc;

use crate::config::{Config, Process};
use crate::load::span::Span;
use crate::load::yaml::node::Node;

#[derive(Default)]
pub(crate) struct Places {
    root: Option<Rc<Node>>,
    /// The entry of each process, in the order of [`Config::processes`].
    pub(crate) processes: Vec<Entry>,
}

impl Places {
    pub(crate) fn new(root: &Rc<Node>) -> Self {
        Self { root: Some(Rc::clone(root)), processes: Vec::new() }
    }

    /// The value at a path such as `shutdown.grace_period`.
    pub(crate) fn find(&self, path: &str) -> Option<&Node> {
        self.root.as_ref()?.find(path)
    }

    /// The place of the value at a path, or of the nearest value above it.
    pub(crate) fn at(&self, path: &str) -> Span {
        self.root.as_ref().map_or(Span::whole(0), |root| root.at(path).unwrap_or(root.span))
    }
}

impl Places {
    /// The processes that are not left out, each with its index and its entry.
    pub(crate) fn running<'a>(
        &'a self,
        config: &'a Config,
    ) -> impl Iterator<Item = (usize, &'a Process, &'a Entry)> {
        let processes = config.processes.iter().zip(&self.processes).enumerate();
        let processes = processes.map(|(index, (process, entry))| (index, process, entry));
        processes.filter(|(_, process, _)| !process.is_left_out())
    }

    /// Whether this process is a copy, by `scale`, of the process before it.
    pub(crate) fn is_further_copy(&self, index: usize) -> bool {
        let before = index.checked_sub(1).map(|before| &self.processes[before]);
        before.is_some_and(|before| before.is_same(&self.processes[index]))
    }
}

/// The entry of `processes` that a process was read from. All copies by `scale` share one entry.
#[derive(Clone)]
pub(crate) struct Entry {
    /// The place of the entry's name.
    pub(crate) name: Span,
    pub(crate) node: Rc<Node>,
}

impl Entry {
    /// Whether both are the same entry, so that their processes are copies by `scale`.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.name == other.name
    }

    /// The value at a path such as `drain.envoy.min` or `render.0.to`.
    pub(crate) fn find(&self, path: &str) -> Option<&Node> {
        self.node.find(path)
    }

    /// The place of the value at a path, or of the nearest value above it, or of the name.
    pub(crate) fn at(&self, path: &str) -> Span {
        self.node.at(path).unwrap_or(self.name)
    }

    /// The place of a name in `depends_on`.
    pub(crate) fn dependency(&self, name: &str) -> Span {
        let Some(node) = self.find("depends_on") else { return self.name };
        // The file may have the name of the entry with `scale`, without the number of a copy.
        let entry = name.rsplit_once('-').map_or(name, |(entry, _)| entry);
        let is = |text: &str| text == name || text == entry;
        let key = node.entries().iter().find(|(key, _)| is(&key.text)).map(|(key, _)| key.span);
        let item = || node.items().iter().find(|item| item.scalar().is_some_and(is));
        key.or_else(|| Some(item()?.span)).unwrap_or(node.span)
    }
}
