//! Checks of the whole config: whether the waits fit into the grace period, and whether the order
//! makes sense.
//!
//! Only [`Timeline::walk`] knows the order of a shutdown's steps.

pub(crate) mod held_sockets;
pub(crate) mod hot_restart;
pub(crate) mod image;
pub(crate) mod own_address;
pub(crate) mod shared_addresses;
pub(crate) mod unique;

use std::path::Path;
use std::time::Duration;

use crate::config::{Config, ControlSocket, DrainMethod, OnlyIf, ProcessKind};
use crate::core::spec::Spec;
use crate::graph::Graph;
use crate::load::diagnostics::problems::Problems;
use crate::load::read::places::{Places, ProcessPlaces};
use crate::plan::timeline::{Oneshots, StepKind, Timeline};
use crate::types::suggest::list;
use crate::types::{ProcessId, human};

/// Checks times and order; cuts each default `min` until it fits.
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
    signals_that_stop(problems, config, places);
    reload_signal(problems, config, places);
    drain_by_hand(problems, config, places);
    drain_of_itself(problems, config, places);
    unready_without_drain(problems, config, places);
    own_address::check(problems, config, places);
    held_sockets::check(problems, config, places);
    hot_restart::check(problems, config, places);
}

/// Warns of a time that has to pass during the drains where there is none.
fn unready_without_drain(problems: &mut Problems, config: &Config, places: &Places) {
    let is_drained = config.processes.iter().any(|process| process.drain.is_some());
    let delay = config.shutdown.unready_delay;
    if let Some(span) = places.unready_delay.filter(|_| !delay.is_zero() && !is_drained) {
        let message =
            "`unready_delay` has no effect: no process has a `drain`, so the stop begins at once";
        problems.warning(span, message).help(
            "add a `drain` to the process that serves, or write `readiness_delay`, after which the stop begins",
        );
    }
}

/// Warns where `drainit drain` would be refused, and where `drain_over_tcp` has no effect.
fn drain_by_hand(problems: &mut Problems, config: &Config, places: &Places) {
    let control = &config.control;
    let is_drained = config.processes.iter().any(|process| process.drain.is_some());
    match (control.listen, places.listen, places.drain_over_tcp) {
        (Some(_), Some(listen), None) if control.socket == ControlSocket::Off && is_drained => {
            let message = "`drainit drain` and `POST /drain` will be refused: with `socket: off` there is only TCP, \
                           where anyone who reaches the port, also by a proxy or port-forward, could drain the \
                           container";
            problems.warning(listen, message).help(
                "remove `socket: off`: only drainit's own user and root can use the socket; or write \
                 `drain_over_tcp: false` to keep it refused, `true` to allow it from loopback addresses",
            );
        }
        (None, _, Some(span)) if control.drain_over_tcp => {
            let problem = problems.warning(span, "`drain_over_tcp` has no effect without `listen`");
            problem.help(
                "add `listen: 127.0.0.1:9902`, or remove it: the socket takes the drain anyway",
            );
        }
        (Some(listen), _, Some(span))
            if control.drain_over_tcp
                && !listen.ip().is_loopback()
                && !listen.ip().is_unspecified() =>
        {
            let message = format!(
                "`drain_over_tcp` has no effect: it allows loopback addresses, and none of them reaches {listen}"
            );
            problems.warning(span, message).help(format!(
                "write `listen: 0.0.0.0:{0}` or `listen: 127.0.0.1:{0}`",
                listen.port()
            ));
        }
        _ => {}
    }
}

/// Warns of a `drainit drain` for which the drain itself waits.
fn drain_of_itself(problems: &mut Problems, config: &Config, places: &Places) {
    let hook = config.hooks.pre_stop.as_ref().map(|hook| &hook.command).zip(places.hooks);
    let drains = config.processes.iter().zip(&places.processes);
    let drains = drains.filter_map(|(process, place)| match &process.drain.as_ref()?.method {
        DrainMethod::Exec(command) => Some((command, place.drain?)),
        _ => None,
    });
    for (command, span) in hook.into_iter().chain(drains) {
        let mut words = command.iter().map(String::as_str);
        let program = words.next().and_then(|program| Path::new(program).file_name());
        if program.is_some_and(|name| name == "drainit")
            && words.next() == Some("drain")
            && words.all(|word| word != "--no-wait")
        {
            let message =
                "`drainit drain` waits until everything is drained, which waits for this command";
            problems.warning(span, message).help(
                "remove it: a stop drains by itself; `drainit drain` is for the `preStop` of the container runtime",
            );
        }
    }
}

/// Warns of signals in `forward_signals` that stop the container instead.
fn signals_that_stop(problems: &mut Problems, config: &Config, places: &Places) {
    for (process, place) in config.processes.iter().zip(&places.processes) {
        for (signal, span) in process.forward_signals.iter().zip(&place.forward_signals) {
            if config.shutdown.signals.contains(signal) {
                let name = &process.name;
                let message =
                    format!("{signal} is not forwarded to `{name}`: it stops the container");
                let help = "remove it from `forward_signals`, or from `shutdown.signals`";
                problems.warning(*span, message).help(help);
            }
        }
    }
}

/// Refuses a `reload_signal` that has another meaning already.
fn reload_signal(problems: &mut Problems, config: &Config, places: &Places) {
    let (Some(signal), Some(span)) = (config.reload_signal, places.reload_signal) else { return };
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

/// Checks each explicit `min` by itself, where a circle of dependencies leaves no order.
pub(crate) fn each_min(problems: &mut Problems, config: &Config, places: &Places) {
    minima(problems, config, &Graph::edgeless(config.processes.len()), places);
}

/// The critical path of a shutdown whose steps take the time given by `of`; dependents first.
fn longest(
    config: &Config,
    graph: &Graph,
    of: impl Fn(StepKind, Option<ProcessId>) -> Option<Duration>,
) -> Vec<(StepKind, Option<ProcessId>, Duration)> {
    let walk =
        Timeline::walk(&Spec::new(config, graph), &Oneshots::LikeServices, |what, process, _| {
            of(what, process)
        });
    walk.critical_steps().map(|step| (step.kind, step.process, step.takes)).collect()
}

/// `router drain time`
fn term(config: &Config, what: StepKind, process: Option<ProcessId>) -> String {
    let key = match what {
        StepKind::ReadinessDelay => "readiness_delay",
        StepKind::Drain => "drain time",
        StepKind::Stop => "stop_grace_period",
        StepKind::PreStop => "pre_stop timeout",
        StepKind::PostStop => "post_stop timeout",
        StepKind::Close | StepKind::Count | StepKind::Leftovers => what.name(),
    };
    match process.and_then(|id| config.processes.get(id.index())) {
        Some(process) => format!("{} {key}", process.name),
        None => key.to_owned(),
    }
}

fn written_minima(config: &Config, places: &Places) -> Vec<Duration> {
    let min = |(process, place): (&crate::config::Process, &ProcessPlaces)| match (
        &process.drain,
        place.min,
    ) {
        (Some(drain), Some(_)) => drain.min,
        _ => Duration::ZERO,
    };
    config.processes.iter().zip(&places.processes).map(min).collect()
}

/// Refuses explicit `min`s that do not fit. Returns whether they fit.
fn minima(problems: &mut Problems, config: &Config, graph: &Graph, places: &Places) -> bool {
    let written = written_minima(config, places);
    if written.iter().all(Duration::is_zero) {
        return true;
    }
    let path = longest(config, graph, |what, process| match (what, process) {
        (StepKind::ReadinessDelay, _) => Some(config.shutdown.readiness_delay),
        (StepKind::Drain, Some(id)) => written.get(id.index()).copied(),
        _ => None,
    });
    let sum = path.iter().fold(Duration::ZERO, |sum, (.., takes)| sum.saturating_add(*takes));
    let drains = path.iter().filter_map(|(_, process, takes)| Some(((*process)?, takes)));
    let largest = drains.max_by_key(|(_, takes)| **takes);
    let Some(span) = largest.and_then(|(id, _)| places.processes[id.index()].min) else {
        return true;
    };
    if sum <= config.shutdown.window() {
        return true;
    }
    let terms = path.iter().map(|&(what, process, takes)| match process {
        Some(id) => (format!("{} min", config.processes[id.index()].name), takes),
        None => (term(config, what, None), takes),
    });
    let sum_text = sum_of(terms);
    let message =
        format!("`min` does not fit into the shutdown: {sum_text}, and {}", window(config));
    problems
        .error(span, message)
        .help("make `min` shorter, or `shutdown.grace_period` (and the pod's) longer");
    false
}

/// For each process, the largest sum of `of` along a path of its dependencies, itself included.
fn below(graph: &Graph, of: &[Duration]) -> Vec<Duration> {
    let mut sums = vec![Duration::ZERO; of.len()];
    for id in &graph.order {
        let below = graph.dependencies[id.index()].iter().map(|(on, _)| sums[on.index()]).max();
        sums[id.index()] = of[id.index()].saturating_add(below.unwrap_or_default());
    }
    sums
}

/// Cuts each default `min` to the time that the explicit ones leave, dependents first.
fn shrink_default_minima(
    problems: &mut Problems,
    config: &mut Config,
    graph: &Graph,
    places: &Places,
) {
    let room = config.shutdown.window().saturating_sub(config.shutdown.readiness_delay);
    let of = written_minima(config, places);
    let below = below(graph, &of);
    let mut above = vec![Duration::ZERO; of.len()];
    for id in graph.order.iter().rev() {
        let index = id.index();
        let process = &mut config.processes[index];
        let mut taken = above[index];
        // One that is left out takes no time.
        let is_left_out = process.only_if == Some(OnlyIf::Never);
        if let Some(drain) = process.drain.as_mut().filter(|_| !is_left_out) {
            // `below` includes this process, whose explicit `min` is 0 here.
            let left = room.saturating_sub(above[index]).saturating_sub(below[index]);
            if let (None, Some(span), true) =
                (places.processes[index].min, places.processes[index].drain, drain.min > left)
            {
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

/// Warns where the declared waits take longer than the shutdown may.
fn declared_waits(problems: &mut Problems, config: &Config, graph: &Graph, places: &Places) {
    // Most fit even one after the other, so that no path has to be computed.
    let waits = places.processes.iter().flat_map(|place| &place.waits).chain(&places.waits);
    let all = waits.fold(Duration::ZERO, |sum, wait| sum.saturating_add(wait.duration));
    if all <= config.shutdown.window() {
        return;
    }
    let path = longest(config, graph, |what, process| Some(places.wait(what, process)?.duration));
    let sum = path.iter().fold(Duration::ZERO, |sum, (.., takes)| sum.saturating_add(*takes));
    if sum <= config.shutdown.window() {
        return;
    }
    let waits = path.iter().filter_map(|&(what, process, _)| places.wait(what, process));
    // `max_by_key` returns the last maximum, which in reverse is the first.
    let largest = waits.rev().max_by_key(|wait| wait.duration);
    let span = largest.map_or(places.grace_period, |wait| wait.span);
    let sum =
        sum_of(path.iter().map(|&(what, process, takes)| (term(config, what, process), takes)));
    let message =
        format!("the declared waits do not fit into the shutdown: {sum}, and {}", window(config));
    problems.warning(span, message).help(
        "shorten one, or make `shutdown.grace_period` (and the pod's) longer: drainit cuts them short, as \
         `drainit plan` shows",
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

/// Warns where no dependency orders a drained process before others, so that all stop at once. An
/// empty `depends_on` says that it needs none of them.
fn drains_without_order(problems: &mut Problems, config: &Config, graph: &Graph, places: &Places) {
    let mut checked = 0;
    for (index, process) in config.processes.iter().enumerate() {
        let place = &places.processes[index];
        let (Some(_), Some(span), None) = (&process.drain, place.drain, place.parts.depends_on)
        else {
            continue;
        };
        // Of copies, the first stands for all.
        let is_further_copy = process.copy_of.as_ref().is_some_and(|copy| copy.index > 1);
        if is_further_copy || checked == 50 {
            continue;
        }
        checked += 1; // each walks the whole graph
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
        let others = others.filter(|(other, waits)| {
            !**waits && other.kind == ProcessKind::Service && other.key() != process.key()
        });
        let others: Vec<_> = others.map(|(other, _)| other.name.as_str()).collect();
        if others.is_empty() {
            continue;
        }
        let named = match others.len() {
            1..=3 => list(others.iter().copied()),
            more => format!("{} and {} more", list(others.iter().take(2).copied()), more - 2),
        };
        let message = format!(
            "`{}` is drained, but has no `depends_on`: other processes are stopped at the same time",
            process.key()
        );
        let problem = problems.warning(span, message);
        problem.help(format!(
            "write `depends_on` with the processes that its last requests need, `[]` for none; the others are {named}"
        ));
    }
}
