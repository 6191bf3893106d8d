//! What only the whole config can tell: whether the waits fit into the grace period, and whether the order makes sense.

use std::time::Duration;

use super::node::Span;
use super::report::Report;
use super::schema::{Config, ProcessKind};
use super::suggest::list;
use crate::graph::Graph;
use crate::vocab::{ProcessId, human};

/// Where things stand that can only be judged together.
pub(super) struct Places {
    /// `grace_period`, or what stands for it where it is not written.
    pub(super) grace_period: Span,
    /// Waits of the container as a whole.
    pub(super) waits: Vec<Wait>,
    /// In the order of the processes.
    pub(super) processes: Vec<ProcessPlaces>,
}

impl Places {
    pub(super) fn new(shutdown: Span) -> Self {
        Self { grace_period: shutdown, waits: Vec::new(), processes: Vec::new() }
    }
}

/// The same of one process.
pub(super) struct ProcessPlaces {
    pub(super) name: Span,
    pub(super) drain: Option<Span>,
    /// Where `min` is written; a `min` that is not gives way.
    pub(super) min: Option<Span>,
    pub(super) prefix: Option<Span>,
    /// In the order of `sockets`.
    pub(super) sockets: Vec<Span>,
    /// In the order of `depends_on`.
    pub(super) depends_on: Vec<Span>,
    /// In the order of `forward_signals`.
    pub(super) forward_signals: Vec<Span>,
    pub(super) waits: Vec<Wait>,
}

impl ProcessPlaces {
    pub(super) fn new(name: Span) -> Self {
        Self {
            name,
            drain: None,
            min: None,
            prefix: None,
            sockets: Vec::new(),
            depends_on: Vec::new(),
            forward_signals: Vec::new(),
            waits: Vec::new(),
        }
    }
}

/// A time that the shutdown is declared to take.
pub(super) struct Wait {
    pub(super) what: &'static str,
    pub(super) duration: Duration,
    pub(super) span: Span,
}

/// Checks times and order; shrinks a `min` that is not written until it fits.
pub(super) fn check(
    report: &mut Report,
    config: &mut Config,
    graph: &Graph,
    places: &Places,
    with_times: bool,
) {
    if with_times && minima(report, config, graph, places) {
        shrink_default_minima(report, config, graph, places);
    }
    if with_times {
        declared_waits(report, config, graph, places);
    }
    drains_without_order(report, config, graph, places);
    signals_that_stop(report, config, places);
}

/// Warns of signals that are to be passed on, and never are.
fn signals_that_stop(report: &mut Report, config: &Config, places: &Places) {
    for (process, place) in config.processes.iter().zip(&places.processes) {
        for (signal, span) in process.forward_signals.iter().zip(&place.forward_signals) {
            if config.shutdown.signals.contains(signal) {
                let name = &process.name;
                let message =
                    format!("{signal} is not passed on to `{name}`: it stops the container");
                let help = "take it out of `forward_signals`, or out of `shutdown.signals`";
                report.warning(*span, message).help(help);
            }
        }
    }
}

/// Without an order, each written `min` can still be held against the time that there is.
pub(super) fn each_min(report: &mut Report, config: &Config, places: &Places) {
    minima(report, config, &Graph::edgeless(config.processes.len()), places);
}

/// For each process, the longest sum of `of` along a path from it to what it depends on, and the next step on it.
fn longest(graph: &Graph, of: &[Duration]) -> Vec<(Duration, Option<ProcessId>)> {
    let mut sums = vec![(Duration::ZERO, None); of.len()];
    for id in &graph.order {
        let below =
            graph.dependencies[id.index()].iter().map(|(id, _)| (sums[id.index()].0, Some(*id)));
        // The first of equals, so that the message does not depend on chance.
        let below =
            below.reduce(|a, b| if b.0 > a.0 { b } else { a }).unwrap_or((Duration::ZERO, None));
        sums[id.index()] = (of[id.index()].saturating_add(below.0), below.1);
    }
    sums
}

/// The processes of the longest path of all, dependents first.
fn longest_path(graph: &Graph, of: &[Duration]) -> Vec<usize> {
    let sums = longest(graph, of);
    let top = sums.iter().enumerate().reduce(|a, b| if b.1.0 > a.1.0 { b } else { a });
    let mut path = Vec::new();
    let mut next = top.map(|(index, _)| index);
    while let Some(index) = next {
        path.push(index);
        next = sums[index].1.map(ProcessId::index);
    }
    path
}

fn written_minima(config: &Config, places: &Places) -> Vec<Duration> {
    let min = |(process, place): (&super::schema::Process, &ProcessPlaces)| match (
        &process.drain,
        place.min,
    ) {
        (Some(drain), Some(_)) => drain.min,
        _ => Duration::ZERO,
    };
    config.processes.iter().zip(&places.processes).map(min).collect()
}

/// Refuses written `min`s that cannot be kept. Whether they fit.
fn minima(report: &mut Report, config: &Config, graph: &Graph, places: &Places) -> bool {
    let of = written_minima(config, places);
    let path: Vec<_> =
        longest_path(graph, &of).into_iter().filter(|&index| !of[index].is_zero()).collect();
    let delay = config.shutdown.readiness_delay;
    let sum = path.iter().fold(delay, |sum, &index| sum.saturating_add(of[index]));
    let largest = path.iter().max_by_key(|&&index| of[index]);
    let Some(span) = largest.and_then(|&index| places.processes[index].min) else { return true };
    if sum <= config.shutdown.window() {
        return true;
    }
    let delay = (!delay.is_zero()).then(|| ("readiness_delay".to_owned(), delay));
    let minima =
        path.iter().map(|&index| (format!("{} min", config.processes[index].name), of[index]));
    let sum_text = sum_of(delay.into_iter().chain(minima));
    let message =
        format!("`min` does not fit into the shutdown: {sum_text}, and {}", window(config));
    report
        .error(span, message)
        .help("make `min` shorter, or `shutdown.grace_period` (the pod's, too) longer");
    false
}

/// Cuts each `min` that is only a default to what the written ones leave, dependents first.
fn shrink_default_minima(report: &mut Report, config: &mut Config, graph: &Graph, places: &Places) {
    let room = config.shutdown.window().saturating_sub(config.shutdown.readiness_delay);
    let of = written_minima(config, places);
    let below = longest(graph, &of);
    let mut above = vec![Duration::ZERO; of.len()];
    for id in graph.order.iter().rev() {
        let index = id.index();
        let process = &mut config.processes[index];
        let mut taken = above[index];
        if let Some(drain) = &mut process.drain {
            // What is below without this process itself, whose written `min` is 0 here.
            let left = room.saturating_sub(above[index]).saturating_sub(below[index].0);
            if let (None, Some(span), true) =
                (places.processes[index].min, places.processes[index].drain, drain.min > left)
            {
                let (from, to) = (human(drain.min), human(left));
                let message = format!(
                    "`min` of `{}` is cut from {from} to {to} to fit into the shutdown",
                    process.name
                );
                let problem = report.warning(span, message);
                problem.help(format!("write the `min` that is meant, or a longer `shutdown.grace_period`: {WINDOW} is what there is"));
                drain.min = left;
            }
            taken = taken.saturating_add(drain.min);
        }
        for (dependency, _) in &graph.dependencies[index] {
            let above = &mut above[dependency.index()];
            *above = (*above).max(taken);
        }
    }
}

/// Warns when everything that is declared to take time takes more than there is.
fn declared_waits(report: &mut Report, config: &Config, graph: &Graph, places: &Places) {
    let total = |waits: &[Wait]| {
        waits.iter().fold(Duration::ZERO, |sum, wait| sum.saturating_add(wait.duration))
    };
    let of: Vec<_> = places.processes.iter().map(|place| total(&place.waits)).collect();
    let path = longest_path(graph, &of);
    let sum = path.iter().fold(total(&places.waits), |sum, &index| sum.saturating_add(of[index]));
    if sum <= config.shutdown.window() {
        return;
    }
    let own = places.waits.iter().map(|wait| (wait.what.to_owned(), wait));
    let of_processes = path.iter().flat_map(|&index| {
        let name = &config.processes[index].name;
        places.processes[index]
            .waits
            .iter()
            .map(move |wait| (format!("{name} {}", wait.what), wait))
    });
    let waits: Vec<_> =
        own.chain(of_processes).filter(|(_, wait)| !wait.duration.is_zero()).collect();
    // The last maximum, which from behind is the first.
    let largest = waits.iter().rev().max_by_key(|(_, wait)| wait.duration);
    let span = largest.map_or(places.grace_period, |(_, wait)| wait.span);
    let sum = sum_of(waits.into_iter().map(|(what, wait)| (what, wait.duration)));
    let message =
        format!("the declared waits do not fit into the shutdown: {sum}, and {}", window(config));
    report.warning(span, message).help(
        "they are cut short when it comes to that; shorten one, or make `shutdown.grace_period` (the pod's, too) longer",
    );
}

const WINDOW: &str = "`grace_period` minus `reserve`";

fn window(config: &Config) -> String {
    format!("{WINDOW} is {}", human(config.shutdown.window()))
}

/// `a 5s + b 10s = 15s`
fn sum_of(terms: impl Iterator<Item = (String, Duration)>) -> String {
    const MOST: usize = 12;
    let terms: Vec<_> = terms.collect();
    let sum = terms.iter().fold(Duration::ZERO, |sum, (_, duration)| sum.saturating_add(*duration));
    let shown =
        terms.iter().take(MOST).map(|(what, duration)| format!("{what} {}", human(*duration)));
    let mut shown: Vec<_> = shown.collect();
    if terms.len() > MOST {
        shown.push(format!("{} more", terms.len() - MOST));
    }
    match terms.len() {
        1 => shown.concat(),
        _ => format!("{} = {}", shown.join(" + "), human(sum)),
    }
}

/// Warns where a drained process and others are stopped at the same time, because nothing says what comes first.
fn drains_without_order(report: &mut Report, config: &Config, graph: &Graph, places: &Places) {
    let mut looked_at = 0;
    for (index, process) in config.processes.iter().enumerate() {
        let (Some(_), Some(span)) = (&process.drain, places.processes[index].drain) else {
            continue;
        };
        if !graph.dependencies[index].is_empty() || looked_at == 50 {
            continue;
        }
        looked_at += 1; // each takes time for the whole graph
        let mut waits = vec![false; config.processes.len()];
        waits[index] = true;
        let mut todo = vec![index];
        while let Some(index) = todo.pop() {
            for dependent in &graph.dependents[index] {
                if !std::mem::replace(&mut waits[dependent.index()], true) {
                    todo.push(dependent.index());
                }
            }
        }
        let others = config.processes.iter().zip(&waits);
        let others = others.filter(|(other, waits)| !**waits && other.kind == ProcessKind::Service);
        let others: Vec<_> = others.map(|(other, _)| other.name.as_str()).collect();
        if others.is_empty() {
            continue;
        }
        let named = match others.len() {
            1..=3 => list(others.iter().copied()),
            more => format!("{} and {} more", list(others.iter().take(2).copied()), more - 2),
        };
        let message = format!(
            "`{}` is drained, but depends on nothing: others are stopped at the same time as it",
            process.name
        );
        let problem = report.warning(span, message);
        problem.help(format!(
            "name in its `depends_on` what its last requests need; the others are {named}"
        ));
    }
}
