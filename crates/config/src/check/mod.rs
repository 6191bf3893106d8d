//! Checks that need the whole config, such as whether the steps of the shutdown fit into its time,
//! and whether the order of the processes makes sense.

pub mod bootstrap;
pub(crate) mod drain_off;
pub(crate) mod held_sockets;
pub(crate) mod hot_restart;
pub mod image;
pub(crate) mod inner_broker;
pub(crate) mod known_programs;
pub mod own_address;
pub mod own_work;
pub(crate) mod shared_addresses;
pub(crate) mod shell_child;
pub mod undrained;
pub(crate) mod unique;

use std::cell::LazyCell;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use crate::core::budget::Budget;
use crate::core::spec::HookWait;
use crate::graph::Graph;
use crate::keys::{Address, Config, ListenSocket, Process, ProcessKind};
use crate::language::diagnostics::problems::Problems;
use crate::language::diagnostics::rule::Rule;
use crate::language::places::{EntryPlace, Places};
use crate::language::span::Span;
use crate::plan::Plan;
use crate::plan::timeline::{ShutdownStep, StepKind, Timeline};
use crate::types::suggest::{first_of, list};
use crate::types::{ProcessId, human};

/// Runs the checks of this file, and those of hot restarts and of held sockets. With `with_times`,
/// also checks the times, and shortens each default `min` that does not fit into the shutdown.
pub(crate) fn check(
    problems: &mut Problems,
    config: &mut Config,
    graph: &Graph,
    places: &Places,
    with_times: bool,
) {
    if with_times {
        shrink_default_minima(problems, config, graph, places);
        times(problems, config, graph, places, true);
        longer_than_the_window(problems, config, places);
    }
    drains_without_order(problems, config, graph, places);
    only_unix(problems, config, places);
    autostart(problems, config, places);
    reload_signal(problems, config, places);
    held_sockets::check(problems, config, places);
    hot_restart::check(problems, config, places);
}

/// The processes that can start in this environment, each with its index and its entry.
fn running<'a>(
    config: &'a Config,
    places: &'a Places,
) -> impl Iterator<Item = (usize, &'a Process, &'a EntryPlace)> {
    let processes = config.processes.iter().zip(&places.processes).enumerate();
    let processes = processes.map(|(index, (process, entry))| (index, &**process, entry));
    processes.filter(|(_, process, _)| !process.is_left_out())
}

/// Warns of a drain that counts connections, if the process gets only Unix sockets from drainit.
fn only_unix(problems: &mut Problems, config: &Config, places: &Places) {
    for (_, process, place) in running(config, places) {
        let Some(drain) = process.drained() else { continue };
        let is_unix = |socket: &ListenSocket| matches!(socket.address, Address::Unix(_));
        let counts = drain.method.counting().is_some_and(|it| it.ports.is_empty());
        if counts && !process.listen.is_empty() && process.listen.iter().all(is_unix) {
            let message = format!(
                "the drain of `{}` counts TCP connections, but its `listen` has only Unix sockets",
                process.name
            );
            let span = place_of_drain(process, place, "ports");
            let help = "drain the server in front of it, or write the TCP ports on which it \
                        listens itself as `ports`";
            problems.warning(Rule::DrainCountsNothing, span, message).help(help);
        }
    }
}

/// Warns if no process starts by itself. Refuses a process that starts by itself but depends on a process with `autostart: false`.
fn autostart(problems: &mut Problems, config: &Config, places: &Places) {
    let by_request: Vec<_> = config.processes.iter().filter(|it| !it.autostart).collect();
    if !by_request.is_empty() && by_request.len() == config.processes.len() {
        let message = "nothing starts by itself: every process has `autostart: false`";
        problems
            .warning(Rule::NothingStarts, places.at("processes"), message)
            .help("remove it from the processes that nobody starts with `drainit start`");
    }
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
                .error(Rule::DependencyNeverMet, span, message)
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
        problems.error(Rule::SignalTaken, span, message).help(help);
    }
    let mut processes = config.processes.iter();
    if let Some(process) = processes.find(|process| process.forward_signals.contains(&signal)) {
        let name = &process.name;
        let message = format!("`reload_signal` is {signal}, which is forwarded to `{name}`");
        let help = "write another signal, or remove it from `forward_signals`";
        problems.error(Rule::SignalTaken, span, message).help(help);
    }
}

/// For a config whose dependencies give no valid order: checks whether each explicit `min` alone
/// fits into the shutdown.
pub(crate) fn each_min(problems: &mut Problems, config: &Config, places: &Places) {
    times(problems, config, &Graph::edgeless(config.processes.len()), places, false);
}

/// The `min` of each process if the config sets it. Zero if the `min` is a default, or if the
/// process is not drained.
fn written_minima(config: &Config) -> Vec<Duration> {
    let written = |process: &Arc<Process>| match process.drained() {
        Some(drain) if drain.method.times().min.is_some() => drain.min,
        _ => Duration::ZERO,
    };
    config.processes.iter().map(written).collect()
}

/// The place of a key in the mapping of a process's drain.
fn place_of_drain(process: &Process, place: &EntryPlace, key: &str) -> Span {
    let method = process.drain.as_ref().map_or("", |drain| drain.method.key());
    place.at(&format!("drain.{method}.{key}"))
}

/// Compares the waits of the config with the longest shutdown. Refuses a `min` that is longer than
/// the time that the drain gets. With `with_waits`, also warns if any wait gets less time than the
/// config sets for it.
fn times(
    problems: &mut Problems,
    config: &Config,
    graph: &Graph,
    places: &Places,
    with_waits: bool,
) {
    let written = written_minima(config);
    // A config with errors is refused anyway, so warnings about its waits do not matter.
    let with_waits = with_waits && !problems.has_errors();
    if !with_waits && written.iter().all(Duration::is_zero) {
        return;
    }
    let plan = Plan::with(config, graph, problems.is_check());
    let min = |step: &ShutdownStep| match (step.kind, step.process) {
        (StepKind::Drain, Some(id)) => written.get(id.index()).copied().unwrap_or_default(),
        _ => Duration::ZERO,
    };
    // A `min` counts from the end of the readiness delay.
    let from = |timeline: &Timeline| {
        let delays = timeline.steps.iter().filter(|it| it.kind == StepKind::ReadinessDelay);
        delays.filter_map(|it| it.ends).max().unwrap_or_default()
    };
    // The text says how long a step takes, and how long it should take.
    let gets = |step: &ShutdownStep, wish: Duration| {
        format!("{} gets {} of {}", plan.label(step), human(step.takes()), human(wish))
    };
    let why = |timeline: &Timeline| {
        let path = timeline.critical_steps();
        let path = path.map(|step| format!("{} {}", plan.label(step), human(step.takes())));
        let path = first_of(&path.collect::<Vec<_>>(), MOST_NAMED, " + ");
        format!("the longest shutdown is {path}, and {WINDOW} is {}", human(plan.window()))
    };
    for (timeline, _) in plan.timelines() {
        let from = from(timeline);
        let is_cut = |step: &&ShutdownStep| (step.begins + step.takes()).since(from) < min(step);
        if let Some(step) = timeline.steps.iter().find(is_cut) {
            let (gets, why) = (gets(step, min(step)), why(timeline));
            let message = format!("`min` does not fit into the shutdown: {gets}; {why}");
            problems
                .error(Rule::MinDoesNotFit, place_of_step(config, places, step, "min"), message)
                .help("make `min` shorter, or `shutdown.grace_period` (and the pod's) longer");
            return;
        }
    }
    // A drain that takes the rest of the time does not make the waits too long.
    let written = without_rest(config).filter(|_| with_waits);
    let again = written.as_ref().map(|config| Plan::with(config, graph, problems.is_check()));
    let plan = again.as_ref().unwrap_or(&plan);
    let is_rest = |step: &ShutdownStep| {
        let process = step.process.map(|id| &config.processes[id.index()]);
        step.kind == StepKind::Drain && process.is_some_and(|it| takes_the_rest(it, plan.window()))
    };
    for (timeline, asked) in plan.timelines().filter(|_| with_waits) {
        let cuts: Vec<_> = plan.cuts(timeline, asked).filter(|(step, _)| !is_rest(step)).collect();
        // `max_by_key` returns the last of several equally long waits. The order is reversed, so
        // that the first is reported.
        let Some((longest, _)) = cuts.iter().rev().max_by_key(|(_, wish)| wish) else { continue };
        let gets: Vec<_> = cuts.iter().map(|(step, wish)| gets(step, *wish)).collect();
        let (gets, why) = (first_of(&gets, MOST_NAMED, ", "), why(timeline));
        let message = format!("the declared waits do not fit into the shutdown: {gets}; {why}");
        problems
            .warning(Rule::WaitsDoNotFit, place_of_step(config, places, longest, "time"), message)
            .help(
                "shorten one of them, or make `shutdown.grace_period` (and the pod's) longer: \
             otherwise drainit cuts them short, as `drainit plan` shows",
            );
        break;
    }
    if let Some((step, gets, by, kept)) = plan.squeezed().filter(|_| with_waits) {
        let (stop, gets) = (plan.label(step), human(gets));
        let message = format!(
            "`{stop}` gets only {gets}, because `{by}` and the steps after it keep {}",
            human(kept)
        );
        problems
            .warning(Rule::StopSqueezed, place_of_step(config, places, step, "time"), message)
            .help(
                "write its `stop_grace_period`, make that of the dependency shorter, or make \
             `shutdown.grace_period` (and the pod's) longer",
            );
    }
}

/// Notes each drain with a `time` that is longer than the window. The drain then takes what the
/// deadline leaves, which may be meant.
fn longer_than_the_window(problems: &mut Problems, config: &Config, places: &Places) {
    let window = config.shutdown.window();
    if !problems.is_check() {
        return;
    }
    for (index, process, place) in running(config, places) {
        let time = process.drain.as_ref().and_then(|drain| drain.time);
        let Some(time) = time.filter(|time| *time > window) else { continue };
        if places.is_further_copy(index) {
            continue;
        }
        let (name, time, window) = (&process.name, human(time), human(window));
        let message = format!(
            "the drain of `{name}` gets what the deadline leaves, and not its `time` of {time}: \
             {WINDOW} is {window}"
        );
        let help = "if that is meant, remove `time`; otherwise make `shutdown.grace_period` (and \
                    the pod's) longer";
        problems
            .note(Rule::TimeBeyondWindow, place_of_drain(process, place, "time"), message)
            .help(help);
    }
}

/// Whether a process has a drain that takes what the deadline leaves: its `time` is not written, or
/// as long as this window.
pub(crate) fn takes_the_rest(process: &Process, window: Duration) -> bool {
    process.drain.as_ref().is_some_and(|drain| drain.time.is_none_or(|time| time >= window))
}

/// The config in which each drain that takes the rest of the time lasts for its `min`. `None` if no
/// other drain could be cut by such a drain.
pub(crate) fn without_rest(config: &Config) -> Option<Config> {
    let window = config.shutdown.window();
    let takes_the_rest = |process: &Arc<Process>| takes_the_rest(process, window);
    let drained = || config.processes.iter().filter(|process| process.drain.is_some());
    let has_both = drained().any(takes_the_rest) && !drained().all(takes_the_rest);
    has_both.then(|| {
        let mut config = config.clone();
        for process in config.processes.iter_mut().filter(|process| takes_the_rest(process)) {
            if let Some(drain) = &mut Arc::make_mut(process).drain {
                drain.time = Some(drain.min);
            }
        }
        config
    })
}

/// The place of the key that sets the time of a step. `of_drain` names this key for a drain: `time`
/// or `min`.
fn place_of_step(config: &Config, places: &Places, step: &ShutdownStep, of_drain: &str) -> Span {
    let key = match step.kind {
        StepKind::PreStop => "hooks.pre_stop.timeout",
        StepKind::PostStop => "hooks.post_stop.timeout",
        StepKind::Stop => "stop_grace_period",
        _ => "shutdown.readiness_delay",
    };
    match step.process.map(ProcessId::index) {
        Some(id) if step.kind == StepKind::Drain => {
            place_of_drain(&config.processes[id], &places.processes[id], of_drain)
        }
        Some(id) => places.processes[id].at(key),
        None => places.at(key),
    }
}

/// Shortens each default `min` that does not fit into the shutdown. The `min`s of all drains pass at
/// the same time.
pub(crate) fn shrink_default_minima(
    problems: &mut Problems,
    config: &mut Config,
    graph: &Graph,
    places: &Places,
) {
    let mut spec = config.spec(graph);
    let drains = spec.processes.iter_mut().filter_map(|it| it.drain.as_mut());
    drains.for_each(|it| it.min = Duration::ZERO);
    let before = HookWait::need_of(spec.hooks.pre_stop).max(spec.readiness_delay);
    let others = Budget::of(&spec).all.least.saturating_add(before);
    let room = spec.window.saturating_sub(others);
    for (process, place) in config.processes.iter_mut().zip(&places.processes) {
        let process = Arc::make_mut(process);
        let span = place_of_drain(process, place, "min");
        // A process that never starts is not drained, and takes no time.
        let is_left_out = process.is_left_out();
        let Some(drain) = process.drain.as_mut().filter(|_| !is_left_out) else { continue };
        if drain.method.times().min.is_none() && drain.min > room {
            let (from, to) = (human(drain.min), human(room));
            let message = format!(
                "`min` of `{}` is cut from {from} to {to} to fit into the shutdown",
                process.name
            );
            let problem = problems.warning(Rule::MinCut, span, message);
            problem.help(format!("write an explicit `min`, or a longer `shutdown.grace_period`: {WINDOW} is available"));
            drain.min = room;
        }
    }
}

/// The most steps that a message names, so that it stays readable in a config of many processes.
const MOST_NAMED: usize = 10;

const WINDOW: &str = "`grace_period` minus `reserve`";

/// In the longest shutdown, the first process whose stop begins while this process is drained, and
/// the time from the stop signal to the beginning of the stop.
fn stopped_beside(plan: &Plan<'_>, drained: ProcessId) -> Option<(ProcessId, Duration)> {
    let steps = &plan.after_signal.steps;
    let is_drain =
        |step: &&ShutdownStep| step.kind == StepKind::Drain && step.process == Some(drained);
    let over = steps.iter().find(is_drain)?.ends?;
    let stops = steps.iter().filter(|step| step.kind == StepKind::Stop && step.begins < over);
    let first = stops.min_by_key(|step| step.begins)?;
    Some((first.process?, first.begins.0))
}

/// Warns of a drained process without a `depends_on`, because the other processes would stop while
/// this process drains. A process with an empty `depends_on` gets no warning, because the empty
/// list says that the process does not need the others.
fn drains_without_order(problems: &mut Problems, config: &Config, graph: &Graph, places: &Places) {
    let (mut checked, mut plan) = (0, None);
    let spec = LazyCell::new(|| config.spec(graph));
    for (index, process, place) in running(config, places) {
        // An empty list says that the process needs no other process.
        let is_listed = place.find("depends_on").is_some();
        let is_meant = process.drained().is_some() && !(is_listed && process.depends_on.is_empty());
        if !is_meant || places.is_further_copy(index) || checked == 50 {
            continue;
        }
        let span = place_of_drain(process, place, "");
        checked += 1; // at most 50, because each search goes through the whole graph
        let id = ProcessId(u16::try_from(index).unwrap_or_default());
        let waits = BTreeSet::from_iter(spec.above(id).into_iter().chain([id]));
        let others = config.processes.iter().zip(&places.processes).zip(spec.ids());
        let others = others.filter(|((other, of_other), id)| {
            !waits.contains(id) && other.kind == ProcessKind::Service && !of_other.is_same(place)
        });
        let others: Vec<_> = others.map(|((other, _), _)| other.name.as_str()).collect();
        let Some(first) = others.first() else { continue };
        let named = match others.len() {
            1..=3 => list(others.iter().copied()),
            more => format!("{} and {} more", list(others.iter().take(2).copied()), more - 2),
        };
        let name = &process.name;
        let plan = plan.get_or_insert_with(|| Plan::with(config, graph, false));
        let beside = stopped_beside(plan, id).filter(|(id, _)| !waits.contains(id));
        let beside = beside.map(|(id, begins)| {
            let other = &*config.processes[id.index()].name;
            let at = match begins {
                Duration::ZERO => "at the stop signal".to_owned(),
                begins => format!("{} after the stop signal", human(begins)),
            };
            (other, format!("`{other}` is stopped {at}, while `{name}` may still drain"))
        });
        if is_listed {
            if let Some((other, message)) = beside {
                let help = format!("if `{name}` needs it, write `{other}` into its `depends_on`");
                problems.note(Rule::DrainWithoutOrder, span, message).help(help);
            }
            continue;
        }
        let together = || "other processes are stopped at the same time".to_owned();
        let beside = beside.map_or_else(together, |(_, message)| message);
        let message = format!("`{name}` is drained, but has no `depends_on`: {beside}");
        let problem = problems.warning(Rule::DrainWithoutOrder, span, message);
        problem.help(format!(
            "name what its last requests need, such as `depends_on: [{first}]`, or write `depends_on: []` if they need nothing; the other processes are {named}"
        ));
    }
}
