//! The process graph: names turned into ids, who waits for whom, and the order.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

use thiserror::Error;

use crate::config::{Process, StartCondition};
use crate::types::ProcessId;
use crate::types::suggest::nearest;

/// Who waits for whom. Made by [`Graph::build`], so it has no unknown names and no cycles.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Graph {
    /// For each process, what it needs before it starts.
    pub dependencies: Vec<Vec<(ProcessId, StartCondition)>>,
    /// For each process, who needs it; ascending.
    pub dependents: Vec<Vec<ProcessId>>,
    /// Every process, dependencies before dependents; otherwise in file order.
    pub order: Vec<ProcessId>,
}

/// Why processes make no graph. `process` and `dependency` are places in the list of processes and in its
/// `depends_on`.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum GraphError {
    /// A dependency that is no process.
    #[error("process `{name}` depends on `{unknown}`, which does not exist")]
    Unknown {
        /// Whose dependency it is.
        process: usize,
        /// Which of them.
        dependency: usize,
        /// The name of the process.
        name: String,
        /// The name that is not known.
        unknown: String,
        /// What was probably meant.
        suggestion: Option<String>,
    },
    /// A process that waits for itself.
    #[error("process `{name}` depends on itself")]
    Itself {
        /// Which process.
        process: usize,
        /// Which of its dependencies.
        dependency: usize,
        /// Its name.
        name: String,
    },
    /// Processes that wait for each other in a circle.
    #[error("circular dependency `{path}`")]
    Cycle {
        /// The first of the circle in file order.
        process: usize,
        /// Which of its dependencies leads on.
        dependency: usize,
        /// The whole circle: `a -> b -> a`.
        path: String,
    },
    /// More than ids can number.
    #[error("more than {} processes", u16::MAX)]
    TooMany,
}

/// How many circles are told; one edge can be part of very many.
const MOST_CYCLES: usize = 20;
/// How many unknown names are compared with the known ones, which takes time for each.
const MOST_SUGGESTIONS: usize = 20;

impl Graph {
    /// So many processes that do not wait for each other.
    #[must_use]
    pub fn edgeless(count: usize) -> Self {
        let ids = (0..count).filter_map(|index| u16::try_from(index).ok()).map(ProcessId);
        Self {
            dependencies: vec![Vec::new(); count],
            dependents: vec![Vec::new(); count],
            order: ids.collect(),
        }
    }

    /// Turns `depends_on` into a graph. Linear in processes and dependencies, but for the order among independent
    /// processes, and without recursion.
    ///
    /// # Errors
    /// Every unknown name, every process that needs itself, and the circles.
    pub fn build(processes: &[Process]) -> Result<Self, Vec<GraphError>> {
        if processes.len() > usize::from(u16::MAX) {
            return Err(vec![GraphError::TooMany]);
        }
        let ids: HashMap<&str, ProcessId> =
            processes.iter().map(|process| process.name.as_str()).zip(all_ids()).collect();
        let mut errors = Vec::new();
        let mut dependencies = Vec::with_capacity(processes.len());
        for (process, entry) in processes.iter().enumerate() {
            let mut resolved: Vec<(ProcessId, StartCondition)> =
                Vec::with_capacity(entry.depends_on.len());
            for (dependency, wanted) in entry.depends_on.iter().enumerate() {
                let name = || entry.name.clone();
                match ids.get(wanted.process.as_str()) {
                    Some(id) if id.index() == process => {
                        errors.push(GraphError::Itself { process, dependency, name: name() });
                    }
                    Some(&id) => resolved.push((id, wanted.condition)),
                    None => errors.push(GraphError::Unknown {
                        process,
                        dependency,
                        name: name(),
                        unknown: wanted.process.clone(),
                        suggestion: (errors.len() < MOST_SUGGESTIONS)
                            .then(|| {
                                nearest(&wanted.process, processes.iter().map(|p| p.name.as_str()))
                            })
                            .flatten()
                            .map(str::to_owned),
                    }),
                }
            }
            dependencies.push(resolved);
        }
        let (graph, is_complete) = Self::sorted(dependencies);
        if !is_complete {
            errors.extend(graph.cycles(processes));
        }
        if errors.is_empty() { Ok(graph) } else { Err(errors) }
    }

    /// Kahn's algorithm; the second value tells whether every process found its place.
    fn sorted(dependencies: Vec<Vec<(ProcessId, StartCondition)>>) -> (Self, bool) {
        let count = dependencies.len();
        let mut dependents: Vec<Vec<ProcessId>> = vec![Vec::new(); count];
        for (id, needed) in all_ids().zip(&dependencies) {
            for (dependency, _) in needed {
                dependents[dependency.index()].push(id);
            }
        }
        let mut waiting: Vec<usize> = dependencies.iter().map(Vec::len).collect();
        let free = all_ids().zip(&waiting).filter(|(_, waiting)| **waiting == 0);
        let mut free: BinaryHeap<_> = free.map(|(id, _)| Reverse(id)).collect();
        let mut order = Vec::with_capacity(count);
        while let Some(Reverse(id)) = free.pop() {
            order.push(id);
            for dependent in &dependents[id.index()] {
                let left = &mut waiting[dependent.index()];
                *left -= 1;
                if *left == 0 {
                    free.push(Reverse(*dependent));
                }
            }
        }
        // Only now: above, a dependency that is named twice counts twice on both sides.
        dependents.iter_mut().for_each(Vec::dedup);
        let is_complete = order.len() == count;
        (Self { dependencies, dependents, order }, is_complete)
    }

    /// The circles, found as the edges that lead a depth-first search back onto its own path. Every circle has at least
    /// one such edge.
    fn cycles(&self, processes: &[Process]) -> Vec<GraphError> {
        #[derive(Clone, Copy, PartialEq)]
        enum Seen {
            Not,
            /// On the path, at this place.
            OnPath(usize),
            Done,
        }
        let mut seen = vec![Seen::Not; self.dependencies.len()];
        let mut errors = Vec::new();
        for start in 0..self.dependencies.len() {
            if seen[start] != Seen::Not {
                continue;
            }
            // Each process of the path, and which of its dependencies comes next.
            let mut path = vec![(start, 0)];
            seen[start] = Seen::OnPath(0);
            while let Some((process, next)) = path.last_mut() {
                let Some((dependency, _)) = self.dependencies[*process].get(*next) else {
                    seen[*process] = Seen::Done;
                    path.pop();
                    continue;
                };
                *next += 1;
                let dependency = dependency.index();
                match seen[dependency] {
                    Seen::Done => {}
                    Seen::Not => {
                        seen[dependency] = Seen::OnPath(path.len());
                        path.push((dependency, 0));
                    }
                    Seen::OnPath(place) => {
                        let circle: Vec<usize> =
                            path[place..].iter().map(|(process, _)| *process).collect();
                        errors.push(cycle(processes, &circle));
                        if errors.len() == MOST_CYCLES {
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

/// Words a circle, beginning with what is first in the file.
fn cycle(processes: &[Process], circle: &[usize]) -> GraphError {
    let first = (0..circle.len()).min_by_key(|&place| circle[place]).unwrap_or(0);
    let turned = || circle.iter().cycle().skip(first).copied();
    let names: Vec<_> =
        turned().take(circle.len() + 1).map(|p| processes[p].name.as_str()).collect();
    let process = circle[first];
    let on = names.get(1).copied().unwrap_or_default();
    let dependency =
        processes[process].depends_on.iter().position(|d| d.process == on).unwrap_or(0);
    GraphError::Cycle { process, dependency, path: names.join(" -> ") }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::config::Dependency;
    use crate::load::testing::process;
    use std::time::{Duration, Instant};

    fn processes(edges: &[(&str, &[&str])]) -> Vec<Process> {
        let with = |(name, needs): &(&str, &[&str])| {
            let need = |n: &&str| Dependency {
                process: (*n).to_owned(),
                condition: StartCondition::Ready,
            };
            Process { depends_on: needs.iter().map(need).collect(), ..process(name) }
        };
        edges.iter().map(with).collect()
    }

    fn errors(edges: &[(&str, &[&str])]) -> Vec<String> {
        let errors = Graph::build(&processes(edges)).unwrap_err();
        errors.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn dependencies_come_first_and_else_file_order_holds() {
        let graph = Graph::build(&processes(&[
            ("d", &["a", "c"]),
            ("b", &[]),
            ("c", &["a"]),
            ("a", &[]),
            ("e", &[]),
        ]));
        let graph = graph.unwrap();
        let order: Vec<_> = graph.order.iter().map(|id| id.0).collect();
        assert_eq!(order, [1, 3, 2, 0, 4]);
        assert_eq!(graph.dependents[3], [ProcessId(0), ProcessId(2)]);
        assert_eq!(graph.dependencies[0].len(), 2);
    }

    #[test]
    fn a_name_given_twice_is_one_dependent() {
        let graph = Graph::build(&processes(&[("a", &[]), ("b", &["a", "a"])])).unwrap();
        assert_eq!(graph.dependents[0], [ProcessId(1)]);
        assert_eq!(graph.order.len(), 2);
    }

    #[test]
    fn every_fault_is_told() {
        let faults = errors(&[
            ("a", &["b"]),
            ("b", &["c"]),
            ("c", &["a", "c", "x"]),
            ("d", &["e"]),
            ("e", &["d"]),
        ]);
        assert_eq!(
            faults,
            [
                "process `c` depends on itself",
                "process `c` depends on `x`, which does not exist",
                "circular dependency `a -> b -> c -> a`",
                "circular dependency `d -> e -> d`",
            ]
        );
    }

    #[test]
    fn a_circle_begins_with_what_is_first_in_the_file_and_points_at_its_edge() {
        let list = processes(&[("x", &["b"]), ("a", &["y", "b"]), ("b", &["a"]), ("y", &[])]);
        let errors = Graph::build(&list).unwrap_err();
        assert_eq!(
            errors,
            [GraphError::Cycle { process: 1, dependency: 1, path: "a -> b -> a".to_owned() }]
        );
    }

    #[test]
    fn circles_that_share_a_process_are_told_one_by_one() {
        let faults = errors(&[("a", &["b", "c"]), ("b", &["a"]), ("c", &["a"])]);
        assert_eq!(
            faults,
            ["circular dependency `a -> b -> a`", "circular dependency `a -> c -> a`"]
        );
    }

    #[test]
    fn an_unknown_name_is_compared_with_the_known_ones() {
        let errors =
            Graph::build(&processes(&[("policy-engine", &[]), ("router", &["policy-enigne"])]))
                .unwrap_err();
        let GraphError::Unknown { suggestion, .. } = &errors[0] else { unreachable!() };
        assert_eq!(suggestion.as_deref(), Some("policy-engine"));
    }

    #[test]
    fn long_chains_and_long_circles_are_quick() {
        let names: Vec<String> = (0..5000).map(|n| format!("p{n}")).collect();
        let mut list: Vec<Process> = names.iter().map(|name| process(name)).collect();
        for n in 1..5000 {
            let need =
                Dependency { process: names[n - 1].clone(), condition: StartCondition::Ready };
            list[n].depends_on.push(need);
        }
        let start = Instant::now();
        assert_eq!(Graph::build(&list).unwrap().order.len(), 5000);
        list[0]
            .depends_on
            .push(Dependency { process: "p4999".to_owned(), condition: StartCondition::Ready });
        assert_eq!(Graph::build(&list).unwrap_err().len(), 1);
        assert!(start.elapsed() < Duration::from_secs(1));
    }

    #[test]
    fn every_process_can_need_every_other_before_it() {
        let names: Vec<String> = (0..300).map(|n| format!("p{n}")).collect();
        let mut list: Vec<Process> = names.iter().map(|name| process(name)).collect();
        for (n, entry) in list.iter_mut().enumerate() {
            let need = |name: &String| Dependency {
                process: name.clone(),
                condition: StartCondition::Ready,
            };
            entry.depends_on = names.iter().filter(|name| **name != names[n]).map(need).collect();
        }
        assert_eq!(Graph::build(&list).unwrap_err().len(), MOST_CYCLES);
    }
}
