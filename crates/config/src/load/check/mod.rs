//! Checks that need the whole config: whether the steps of the shutdown fit into its time, and
//! whether the order of the processes makes sense.

pub(crate) mod held_sockets;
pub(crate) mod hot_restart;
pub mod image;
pub mod own_address;
pub(crate) mod shared_addresses;
pub(crate) mod undrained;
pub(crate) mod unique;

use std::sync::Arc;
use std::time::Duration;

use crate::config::{Config, Process, ProcessKind};
use crate::graph::Graph;
use crate::load::diagnostics::problems::Problems;
use crate::load::places::{Entry, Places};
use crate::load::span::Span;
use crate::plan::timeline::StepKind;
use crate::types::suggest::list;
use crate::types::{ProcessId, human};

/// Checks times and order. If the default `min` of a drain does not fit into the shutdown, shortens
/// this `min`.
pub(crate) fn check(
    problems: &mut Problems,
    config: &mut Config,
    graph: &Graph,
    places: &Places,
    with_times: bool,
) {
    if with_times && minima(problems, config, graph, places) {
        shrink_default_minima(problems, config, graph, places);
    }
    if with_times {
        declared_waits(problems, config, graph, places);
    }
    drains_without_order(problems, config, graph, places);
    autostart(problems, config, places);
    reload_signal(problems, config, places);
    held_sockets::check(problems, config, places);
    hot_restart::check(problems, config, places);
}

/// Refuses a process that starts by itself but depends on a process with `autostart: false`.
fn autostart(problems: &mut Problems, config: &Config, places: &Places) {
    let by_request: Vec<_> = config.processes.iter().filter(|it| !it.autostart).collect();
    for (index, process) in config.processes.iter().enumerate() {
        if !process.autostart || places.is_further_copy(index) {
            continue;
        }
        let is_held = |name: &str| by_request.iter().any(|it| it.name == name);
        for on in process.depends_on.iter().filter(|on| is_held(&on.process)) {
            let (name, on) = (&process.name, &on.process);
            let message = format!(
                "`{name}` starts by itself, but needs `{on}`, which has `autostart: false`"
            );
            let span = places.processes[index].dependency(on);
            problems
                .error(span, message)
                .help("write `autostart: false` here too, or remove it there");
        }
    }
}

/// Refuses a `reload_signal` that is also a stop signal, or that is also forwarded to a process.
fn reload_signal(problems: &mut Problems, config: &Config, places: &Places) {
    let Some(signal) = config.reload_signal else { return };
    let span = places.at("reload_signal");
    if config.shutdown.signals.contains(&signal) {
        let message = format!("`reload_signal` is {signal}, which stops the container");
        let help = "write another signal such as `HUP`, or remove it from `shutdown.signals`";
        problems.error(span, message).help(help);
    }
    let mut processes = config.processes.iter();
    if let Some(process) = processes.find(|process| process.forward_signals.contains(&signal)) {
        let name = &process.name;
        let message = format!("`reload_signal` is {signal}, which is forwarded to `{name}`");
        let help = "write another signal, or remove it from `forward_signals`";
        problems.error(span, message).help(help);
    }
}

/// Checks a config whose dependencies give no valid order. It checks only whether each explicit
/// `min` alone fits into the shutdown.
pub(crate) fn each_min(problems: &mut Problems, config: &Config, places: &Places) {
    minima(problems, config, &Graph::edgeless(config.processes.len()), places);
}

/// A step of the shutdown with the time that it takes. The process is `None` for a step of the
/// container.
type Wait = (StepKind, Option<ProcessId>, Duration);

/// The steps that follow one another in the longest shutdown, if each step takes the time that `of`
/// returns for it.
fn longest_waits(
    graph: &Graph,
    of: impl Fn(StepKind, Option<ProcessId>) -> Option<Duration>,
) -> Vec<Wait> {
    let wait = |kind, process| Some((kind, process, of(kind, process)?));
    let mut waits: Vec<_> = wait(StepKind::PreStop, None).into_iter().collect();
    let delay = wait(StepKind::ReadinessDelay, None);
    if delay.map(|delay| delay.2) >= waits.first().map(|hook| hook.2) {
        waits = delay.into_iter().collect();
    }
    let stop = [StepKind::PreStop, StepKind::Stop, StepKind::PostStop];
    for kinds in [&[StepKind::Drain][..], &stop] {
        let own = |id| kinds.iter().filter_map(move |kind| wait(*kind, Some(id)));
        let ids = (0..).map(ProcessId).take(graph.order.len());
        let sums: Vec<_> = ids.clone().map(|id| own(id).map(|wait| wait.2).sum()).collect();
        let sums = below(graph, &sums);
        let heaviest = |a: ProcessId, b: ProcessId| {
            if sums[b.index()] > sums[a.index()] { b } else { a }
        };
        let next = |id: &ProcessId| {
            let needed = graph.dependencies[id.index()].iter();
            needed.map(|(on, _)| *on).reduce(heaviest)
        };
        waits.extend(std::iter::successors(ids.reduce(heaviest), next).flat_map(own));
    }
    waits.extend(wait(StepKind::PostStop, None));
    waits.retain(|(.., takes)| !takes.is_zero());
    waits
}

/// Adds up the steps of the longest shutdown, if each step takes the time that `of` returns for it.
/// If the sum exceeds the window, returns the place of the longest step, and the sum as text.
/// `of_drain` names the key that gives the time of a drain: `time` or `min`.
fn too_long(
    config: &Config,
    graph: &Graph,
    places: &Places,
    of_drain: &str,
    of: impl Fn(StepKind, Option<ProcessId>) -> Option<Duration>,
) -> Option<(Span, String)> {
    let path = longest_waits(graph, of);
    let sum = path.iter().fold(Duration::ZERO, |sum, (.., takes)| sum.saturating_add(*takes));
    if sum <= config.shutdown.window() {
        return None;
    }
    let key = |kind: StepKind| match (kind, of_drain) {
        (StepKind::ReadinessDelay, _) => ("readiness_delay", "shutdown.readiness_delay"),
        (StepKind::Drain, "min") => ("min", ""),
        (StepKind::Drain, _) => ("drain time", ""),
        (StepKind::Stop, _) => ("stop_grace_period", "stop_grace_period"),
        (StepKind::PreStop, _) => ("pre_stop timeout", "hooks.pre_stop.timeout"),
        (StepKind::PostStop, _) => ("post_stop timeout", "hooks.post_stop.timeout"),
        (StepKind::Close | StepKind::Count | StepKind::Leftovers, _) => (kind.name(), ""),
    };
    // The first of several equally long steps is reported. `max_by_key` returns the last, so the
    // order is reversed.
    let is_meant = |(kind, ..): &&Wait| of_drain != "min" || *kind == StepKind::Drain;
    let (kind, process, _) = path.iter().rev().filter(is_meant).max_by_key(|(.., takes)| takes)?;
    let span = match process.map(ProcessId::index) {
        Some(id) if *kind == StepKind::Drain => {
            place_of_drain(&config.processes[id], &places.processes[id], of_drain)
        }
        Some(id) => places.processes[id].at(key(*kind).1),
        None => places.at(key(*kind).1),
    };
    let terms = path.iter().map(|(kind, process, takes)| match process {
        Some(id) => {
            format!("{} {} {}", config.processes[id.index()].name, key(*kind).0, human(*takes))
        }
        None => format!("{} {}", key(*kind).0, human(*takes)),
    });
    let terms: Vec<_> = terms.collect();
    let sum = match terms.len() {
        1 => String::new(),
        _ => format!(" = {}", human(sum)),
    };
    let window = human(config.shutdown.window());
    Some((span, format!("{}{sum}, and {WINDOW} is {window}", terms.join(" + "))))
}

/// The `min` of each process if the config sets it. Zero if the `min` is a default, or if the
/// process is not drained.
fn written_minima(config: &Config) -> Vec<Duration> {
    let written = |process: &Arc<Process>| match &process.drain {
        Some(drain) if drain.method.times().min.is_some() && !process.is_left_out() => drain.min,
        _ => Duration::ZERO,
    };
    config.processes.iter().map(written).collect()
}

/// The place of a key in the mapping of a process's drain.
fn place_of_drain(process: &Process, place: &Entry, key: &str) -> Span {
    let method = process.drain.as_ref().map_or("", |drain| drain.method.key());
    place.at(&format!("drain.{method}.{key}"))
}

/// Refuses the `min`s that the config sets if they do not fit into the shutdown. Returns whether
/// they fit.
fn minima(problems: &mut Problems, config: &Config, graph: &Graph, places: &Places) -> bool {
    let written = written_minima(config);
    if written.iter().all(Duration::is_zero) {
        return true;
    }
    let too_long = too_long(config, graph, places, "min", |what, process| match (what, process) {
        (StepKind::ReadinessDelay, _) => Some(config.shutdown.readiness_delay),
        (StepKind::Drain, Some(id)) => written.get(id.index()).copied(),
        _ => None,
    });
    let Some((span, sum)) = too_long else { return true };
    problems
        .error(span, format!("`min` does not fit into the shutdown: {sum}"))
        .help("make `min` shorter, or `shutdown.grace_period` (and the pod's) longer");
    false
}

/// For each process: its own time in `of`, plus the largest sum of the times in `of` along a path
/// through its dependencies.
fn below(graph: &Graph, of: &[Duration]) -> Vec<Duration> {
    let mut sums = vec![Duration::ZERO; of.len()];
    for id in &graph.order {
        let below = graph.dependencies[id.index()].iter().map(|(on, _)| sums[on.index()]).max();
        sums[id.index()] = of[id.index()].saturating_add(below.unwrap_or_default());
    }
    sums
}

/// Shortens each default `min` to the time that the `min`s of other processes on the same path
/// leave free. Dependents are drained first, so their `min`s are shortened last.
fn shrink_default_minima(
    problems: &mut Problems,
    config: &mut Config,
    graph: &Graph,
    places: &Places,
) {
    let room = config.shutdown.window().saturating_sub(config.shutdown.readiness_delay);
    let of = written_minima(config);
    let below = below(graph, &of);
    let mut above = vec![Duration::ZERO; of.len()];
    for id in graph.order.iter().rev() {
        let index = id.index();
        let process = Arc::make_mut(&mut config.processes[index]);
        let mut taken = above[index];
        let span = place_of_drain(process, &places.processes[index], "min");
        // A process that never starts is not drained, and takes no time.
        let is_left_out = process.is_left_out();
        if let Some(drain) = process.drain.as_mut().filter(|_| !is_left_out) {
            // The sum in `below` includes this process, but only with the `min` that the config
            // sets: 0 if this `min` is a default.
            let left = room.saturating_sub(above[index]).saturating_sub(below[index]);
            if drain.method.times().min.is_none() && drain.min > left {
                let (from, to) = (human(drain.min), human(left));
                let message = format!(
                    "`min` of `{}` is cut from {from} to {to} to fit into the shutdown",
                    process.name
                );
                let problem = problems.warning(span, message);
                problem.help(format!("write an explicit `min`, or a longer `shutdown.grace_period`: {WINDOW} is available"));
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

/// The time that the config sets for a step of the shutdown; `None` if the config sets none.
fn declared(config: &Config, what: StepKind, process: Option<ProcessId>) -> Option<Duration> {
    let process = process.map(|id| &config.processes[id.index()]);
    if process.is_some_and(|process| process.is_left_out()) {
        return None;
    }
    let hooks = process.map_or(&config.hooks, |process| &process.hooks);
    match what {
        StepKind::ReadinessDelay => Some(config.shutdown.readiness_delay),
        StepKind::Drain => Some(process?.drain.as_ref()?.time),
        StepKind::Stop => process?.stop_grace_period,
        StepKind::PreStop => hooks.pre_stop.as_ref()?.timeout,
        StepKind::PostStop => hooks.post_stop.as_ref()?.timeout,
        StepKind::Close | StepKind::Count | StepKind::Leftovers => None,
    }
}

/// Warns if the times that the config sets for the steps add up to more than the window of the
/// shutdown.
fn declared_waits(problems: &mut Problems, config: &Config, graph: &Graph, places: &Places) {
    let of = |what, process| declared(config, what, process);
    if let Some((span, sum)) = too_long(config, graph, places, "time", of) {
        let message = format!("the declared waits do not fit into the shutdown: {sum}");
        problems.warning(span, message).help(
            "shorten one of them, or make `shutdown.grace_period` (and the pod's) longer: \
             otherwise drainit cuts them short, as `drainit plan` shows",
        );
    }
}

/// How much of the shutdown's window is left beside the times that the config sets for the steps.
fn time_left(config: &Config, graph: &Graph) -> Duration {
    let path = longest_waits(graph, |what, process| declared(config, what, process));
    let sum = path.iter().fold(Duration::ZERO, |sum, (.., takes)| sum.saturating_add(*takes));
    config.shutdown.window().saturating_sub(sum)
}

const WINDOW: &str = "`grace_period` minus `reserve`";

/// Warns of a drained process if no `depends_on` delays the stop of the other processes until it
/// has stopped: they would stop while it drains. A process with an empty `depends_on` gets no
/// warning, because the empty list says that the process does not need the others.
fn drains_without_order(problems: &mut Problems, config: &Config, graph: &Graph, places: &Places) {
    let mut checked = 0;
    for (index, process, place) in places.running(config) {
        let is_meant = process.drain.is_some() && place.find("depends_on").is_none();
        if !is_meant || places.is_further_copy(index) || checked == 50 {
            continue;
        }
        let span = place_of_drain(process, place, "");
        checked += 1; // at most 50, because each search goes through the whole graph
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
        let others = config.processes.iter().zip(&places.processes).zip(&waits);
        let others = others.filter(|((other, of_other), waits)| {
            !**waits && other.kind == ProcessKind::Service && !of_other.is_same(place)
        });
        let others: Vec<_> = others.map(|((other, _), _)| other.name.as_str()).collect();
        if others.is_empty() {
            continue;
        }
        let named = match others.len() {
            1..=3 => list(others.iter().copied()),
            more => format!("{} and {} more", list(others.iter().take(2).copied()), more - 2),
        };
        let message = format!(
            "`{}` is drained, but has no `depends_on`: other processes are stopped at the same time",
            process.name
        );
        let problem = problems.warning(span, message);
        problem.help(format!(
            "write `depends_on` with the processes that its last requests need, `[]` for none; the others are {named}"
        ));
    }
}
