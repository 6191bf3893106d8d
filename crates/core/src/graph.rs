//! The process graph: resolves `depends_on` to ids and finds the order.

use alloc::collections::{BTreeMap, BinaryHeap};
use core::cmp::Reverse;

use thiserror::Error;

use crate::prelude::*;
use crate::types::suggest::nearest;
use crate::types::{ProcessId, StartCondition};

/// The dependencies between processes. [`Graph::build`] rejects unknown names and cycles.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Graph {
    /// The dependencies of each process, with their conditions.
    pub dependencies: Vec<Vec<(ProcessId, StartCondition)>>,
    /// The dependents of each process, in ascending order.
    pub dependents: Vec<Vec<ProcessId>>,
    /// All processes, dependencies before dependents, otherwise in file order.
    pub order: Vec<ProcessId>,
}

/// A process and its dependencies.
#[derive(Clone, Debug)]
pub struct GraphNode<'a> {
    pub name: &'a str,
    /// `depends_on`: the name of each process, and its condition.
    pub needs: Vec<(&'a str, StartCondition)>,
}

/// A reason why there is no graph. `process` is an index into the list of processes, and
/// `dependency` is an index into the `depends_on` of the process.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum GraphError {
    #[error("process `{name}` depends on `{unknown}`, which does not exist")]
    Unknown {
        process: usize,
        dependency: usize,
        name: String,
        unknown: String,
        /// A similar name that exists; `None` if no name is similar enough, or after 20 errors.
        suggestion: Option<String>,
    },
    #[error("process `{name}` depends on itself")]
    Itself { process: usize, dependency: usize, name: String },
    #[error("circular dependency `{path}`")]
    Cycle {
        /// Among the processes of the cycle, this one comes first in the file.
        process: usize,
        dependency: usize,
        /// The whole cycle: `a -> b -> a`.
        path: String,
    },
    /// There are more processes than a [`ProcessId`] of 16 bits can number.
    #[error("more than {} processes", u16::MAX)]
    TooMany,
}

/// The largest number of cycles that are reported. The number is limited, because one edge can be
/// part of very many cycles.
const MAX_CYCLES: usize = 20;
/// The largest number of unknown names that get a suggestion. The number is limited, because each
/// such name is compared with every known name.
const MAX_SUGGESTIONS: usize = 20;

impl Graph {
    /// A graph of `count` processes without dependencies.
    pub fn edgeless(count: usize) -> Self {
        let ids = (0..count).filter_map(|index| u16::try_from(index).ok()).map(ProcessId);
        Self {
            dependencies: vec![Vec::new(); count],
            dependents: vec![Vec::new(); count],
            order: ids.collect(),
        }
    }

    /// Resolves `depends_on`. The function takes O((n + m) log n) for n processes and m
    /// dependencies, and uses no recursion.
    ///
    /// # Errors
    /// Returns all unknown names, all processes that depend on themselves, and at most 20 cycles;
    /// or only [`GraphError::TooMany`].
    pub fn build(processes: &[GraphNode<'_>]) -> Result<Self, Vec<GraphError>> {
        if processes.len() > usize::from(u16::MAX) {
            return Err(vec![GraphError::TooMany]);
        }
        let ids: BTreeMap<&str, ProcessId> =
            processes.iter().map(|process| process.name).zip(all_ids()).collect();
        let mut errors = Vec::new();
        let mut dependencies = Vec::with_capacity(processes.len());
        for (process, entry) in processes.iter().enumerate() {
            let mut resolved: Vec<(ProcessId, StartCondition)> =
                Vec::with_capacity(entry.needs.len());
            for (dependency, &(wanted, condition)) in entry.needs.iter().enumerate() {
                let name = || entry.name.to_owned();
                match ids.get(wanted) {
                    Some(id) if id.index() == process => {
                        errors.push(GraphError::Itself { process, dependency, name: name() });
                    }
                    Some(&id) => resolved.push((id, condition)),
                    None => errors.push(GraphError::Unknown {
                        process,
                        dependency,
                        name: name(),
                        unknown: wanted.to_owned(),
                        suggestion: (errors.len() < MAX_SUGGESTIONS)
                            .then(|| nearest(wanted, processes.iter().map(|p| p.name)))
                            .flatten()
                            .map(str::to_owned),
                    }),
                }
            }
            dependencies.push(resolved);
        }
        let wanted: Vec<_> = all_ids().take(processes.len()).collect();
        let graph = Self::sorted(dependencies, &wanted);
        if graph.order.len() < wanted.len() {
            errors.extend(graph.cycles(processes));
        }
        if errors.is_empty() { Ok(graph) } else { Err(errors) }
    }

    /// Sorts the processes in `wanted` by Kahn's algorithm: dependencies before dependents,
    /// otherwise in the order of `wanted`. The order lacks the processes of a cycle and all
    /// processes that depend on them.
    pub(crate) fn sorted(
        dependencies: Vec<Vec<(ProcessId, StartCondition)>>,
        wanted: &[ProcessId],
    ) -> Self {
        let count = dependencies.len();
        let mut dependents: Vec<Vec<ProcessId>> = vec![Vec::new(); count];
        for (id, needed) in all_ids().zip(&dependencies) {
            for (dependency, _) in needed {
                dependents[dependency.index()].push(id);
            }
        }
        let mut places = vec![0; count];
        for (id, place) in wanted.iter().zip(0_u16..) {
            places[id.index()] = place;
        }
        let mut waiting: Vec<usize> = dependencies.iter().map(Vec::len).collect();
        let is_free = |id: &&ProcessId| waiting[id.index()] == 0;
        let free = wanted.iter().filter(is_free).map(|id| Reverse(places[id.index()]));
        let mut free: BinaryHeap<_> = free.collect();
        let mut order = Vec::with_capacity(wanted.len());
        while let Some(Reverse(place)) = free.pop() {
            let id = wanted[usize::from(place)];
            order.push(id);
            for dependent in &dependents[id.index()] {
                let left = &mut waiting[dependent.index()];
                *left -= 1;
                if *left == 0 {
                    free.push(Reverse(places[dependent.index()]));
                }
            }
        }
        // Duplicates in `dependents` are removed only after the loop, because `waiting` counts a
        // dependency twice if it is listed twice.
        dependents.iter_mut().for_each(Vec::dedup);
        Self { dependencies, dependents, order }
    }

    /// Reports a cycle for each edge that leads a depth-first search back to its current path.
    /// Every cycle has at least one such edge.
    fn cycles(&self, processes: &[GraphNode<'_>]) -> Vec<GraphError> {
        #[derive(Clone, Copy, PartialEq)]
        enum NodeState {
            Not,
            /// The process is at this index of the path.
            OnPath(usize),
            Done,
        }
        let mut seen = vec![NodeState::Not; self.dependencies.len()];
        let mut errors = Vec::new();
        for start in 0..self.dependencies.len() {
            if seen[start] != NodeState::Not {
                continue;
            }
            // Each process of the path, and the index of its next dependency.
            let mut path = vec![(start, 0)];
            seen[start] = NodeState::OnPath(0);
            while let Some((process, next)) = path.last_mut() {
                let Some((dependency, _)) = self.dependencies[*process].get(*next) else {
                    seen[*process] = NodeState::Done;
                    path.pop();
                    continue;
                };
                *next += 1;
                let dependency = dependency.index();
                match seen[dependency] {
                    NodeState::Done => {}
                    NodeState::Not => {
                        seen[dependency] = NodeState::OnPath(path.len());
                        path.push((dependency, 0));
                    }
                    NodeState::OnPath(place) => {
                        let cycle: Vec<usize> =
                            path[place..].iter().map(|(process, _)| *process).collect();
                        errors.push(cycle_error(processes, &cycle));
                        if errors.len() == MAX_CYCLES {
                            return errors;
                        }
                    }
                }
            }
        }
        errors
    }
}

fn all_ids() -> impl Iterator<Item = ProcessId> {
    (0..=u16::MAX).map(ProcessId)
}

/// Makes the error for a cycle. The path in the error begins with the process that is first in the
/// file.
fn cycle_error(processes: &[GraphNode<'_>], cycle: &[usize]) -> GraphError {
    let first = (0..cycle.len()).min_by_key(|&place| cycle[place]).unwrap_or(0);
    let turned = || cycle.iter().cycle().skip(first).copied();
    let names: Vec<_> = turned().take(cycle.len() + 1).map(|p| processes[p].name).collect();
    let process = cycle[first];
    let on = names.get(1).copied().unwrap_or_default();
    let dependency = processes[process].needs.iter().position(|need| need.0 == on).unwrap_or(0);
    GraphError::Cycle { process, dependency, path: names.join(" -> ") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, Instant};

    /// The processes in a text, each with those that it needs: `a: b c, b, c`.
    fn processes(edges: &str) -> Vec<GraphNode<'_>> {
        let node = |edge| {
            let (name, needs) = str::split_once(edge, ": ").unwrap_or((edge, ""));
            let needs = needs.split_whitespace().map(|need| (need, StartCondition::Ready));
            GraphNode { name, needs: needs.collect() }
        };
        edges.split(", ").map(node).collect()
    }

    fn errors(edges: &str) -> Vec<String> {
        let errors = Graph::build(&processes(edges)).unwrap_err();
        errors.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn dependencies_come_first_otherwise_file_order_is_kept() {
        let graph = Graph::build(&processes("d: a c, b, c: a, a, e")).unwrap();
        let order: Vec<_> = graph.order.iter().map(|id| id.0).collect();
        assert_eq!(order, [1, 3, 2, 0, 4]);
        assert_eq!(graph.dependents[3], [ProcessId(0), ProcessId(2)]);
        assert_eq!(graph.dependencies[0].len(), 2);
    }

    #[test]
    fn a_dependency_listed_twice_counts_once() {
        let graph = Graph::build(&processes("a, b: a a")).unwrap();
        assert_eq!(graph.dependents[0], [ProcessId(1)]);
        assert_eq!(graph.order.len(), 2);
    }

    // holds: C192
    #[test]
    fn every_error_is_reported() {
        let expected = [
            "process `c` depends on itself",
            "process `c` depends on `x`, which does not exist",
            "circular dependency `a -> b -> c -> a`",
            "circular dependency `d -> e -> d`",
        ];
        assert_eq!(errors("a: b, b: c, c: a c x, d: e, e: d"), expected);
    }

    #[test]
    fn a_cycle_begins_with_the_process_that_is_first_in_the_file() {
        let errors = Graph::build(&processes("x: b, a: y b, b: a, y")).unwrap_err();
        let path = "a -> b -> a".to_owned();
        assert_eq!(errors, [GraphError::Cycle { process: 1, dependency: 1, path }]);
    }

    #[test]
    fn cycles_that_share_a_process_are_reported_separately() {
        let expected = ["circular dependency `a -> b -> a`", "circular dependency `a -> c -> a`"];
        assert_eq!(errors("a: b c, b: a, c: a"), expected);
    }

    #[test]
    fn only_the_first_unknown_names_get_a_suggestion() {
        let text = format!("engine, router: {}", "enigne ".repeat(MAX_SUGGESTIONS + 1));
        let errors = Graph::build(&processes(&text));
        let is_compared = |error: &GraphError| matches!(error, GraphError::Unknown { suggestion: Some(name), .. } if name == "engine");
        let compared: Vec<bool> = errors.unwrap_err().iter().map(is_compared).collect();
        assert_eq!(compared[..MAX_SUGGESTIONS], [true; MAX_SUGGESTIONS]);
        assert_eq!(compared[MAX_SUGGESTIONS..], [false]);
    }

    fn named(names: &[String]) -> Vec<GraphNode<'_>> {
        names.iter().map(|name| GraphNode { name, needs: Vec::new() }).collect()
    }

    #[test]
    fn more_processes_than_ids_are_an_error() {
        let most = usize::from(u16::MAX);
        let names: Vec<String> = (0..=most).map(|n| format!("p{n}")).collect();
        let nodes = named(&names);
        assert_eq!(Graph::build(&nodes[..most]).map(|graph| graph.order.len()).ok(), Some(most));
        assert!(matches!(Graph::build(&nodes).unwrap_err()[..], [GraphError::TooMany]));
    }

    #[test]
    fn long_chains_and_long_cycles_are_fast() {
        let names: Vec<String> = (0..5000).map(|n| format!("p{n}")).collect();
        let mut nodes = named(&names);
        for n in 1..5000 {
            nodes[n].needs.push((&names[n - 1], StartCondition::Ready));
        }
        let start = Instant::now();
        assert_eq!(Graph::build(&nodes).unwrap().order.len(), 5000);
        nodes[0].needs.push(("p4999", StartCondition::Ready));
        assert_eq!(Graph::build(&nodes).unwrap_err().len(), 1);
        assert!(start.elapsed() < Duration::from_secs(10));
    }

    #[test]
    fn the_number_of_reported_cycles_is_bounded() {
        let names: Vec<String> = (0..300).map(|n| format!("p{n}")).collect();
        let mut nodes = named(&names);
        for node in &mut nodes {
            let others = names.iter().filter(|name| *name != node.name);
            node.needs = others.map(|name| (name.as_str(), StartCondition::Ready)).collect();
        }
        assert_eq!(Graph::build(&nodes).unwrap_err().len(), MAX_CYCLES);
    }
}
