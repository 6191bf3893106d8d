//! Warns of a server that is stopped at once. Load balancers need a second or more to remove its
//! endpoint, so the server loses the requests that still arrive after the stop signal.

use std::time::Duration;

use crate::check::known_programs::is_store;
use crate::check::{drain_off, running};
use crate::graph::Graph;
use crate::keys::{Address, Config, Probe, Process, ProcessKind};
use crate::known::{Kind, Known, find};
use crate::language::diagnostics::problems::Problems;
use crate::language::diagnostics::rule::Rule;
use crate::language::environment::Environment;
use crate::language::places::Places;
use crate::plan::Plan;
use crate::types::suggest::list;
use crate::types::{ProcessId, human};

/// The time for which requests still arrive after the stop signal, behind most load balancers.
const ARRIVE: Duration = Duration::from_secs(5);

/// The meaning of `drain: connections` for a server whose protocol nobody knows.
const ASSUMES: &str = "; `connections` waits for answers, as those of HTTP: for sessions, add \
                       `until: connections`, and for publishers `until: read`";

/// Warns of each process that listens, if nothing takes its traffic away, and names each drain that
/// is off. `is_held_back` says whether a `preStop` hook of the pod delays the stop signal. Returns
/// true if the pod or the config says how the traffic leaves, or if there was a warning.
pub(crate) fn check(
    problems: &mut Problems,
    config: &Config,
    graph: &Graph,
    places: &Places,
    environment: &Environment,
    is_held_back: bool,
) -> bool {
    let is_written = |path: &str| places.find(path).is_some();
    let is_warned = drain_off::check(problems, config, places, environment);
    let has_hook = config.hooks.pre_stop.is_some();
    let is_delay_written = is_written("shutdown.readiness_delay");
    let is_silent = is_delay_written && config.shutdown.readiness_delay.is_zero();
    if is_held_back || is_delay_written && !is_silent || has_hook {
        return true;
    }
    let mut silent = Vec::new();
    let is_answered = |process: &Process| process.drained().is_some() || has_pre_stop(process);
    let mut is_said = is_warned || config.processes.iter().any(|process| is_answered(process));
    // For each process: whether a process with a drain or a `pre_stop` hook depends on it, directly
    // or indirectly. If so, drainit stops the process only after this dependent has ended. A store
    // on which any process depends has no other clients, either.
    let mut is_behind = vec![false; config.processes.len()];
    for id in graph.order.iter().rev() {
        let index = id.index();
        let process = &config.processes[index];
        // If the drain of a process is off, one finding is enough for all that stand behind it.
        let is_fine = is_behind[index] || is_answered(process) || process.drain_off.is_some();
        for (dependency, _) in &graph.dependencies[index] {
            let dependency = ProcessId::index(*dependency);
            is_behind[dependency] |= is_fine || is_store(&config.processes[dependency]);
        }
    }
    let mut delay = None;
    for (index, process, place) in running(config, places) {
        let known = find(&process.command).filter(|_| process.kind == ProcessKind::Service);
        // A script with the name of a worker serves nobody either.
        let known = known.filter(|it| it.kind == it.program.kind || it.program.kind.is_server());
        let kind = known.as_ref().map(|known| known.kind);
        let key = listens(process);
        if (key.is_none() && kind != Some(Kind::Maybe))
            || is_behind[index]
            || is_answered(process)
            || process.drain_off.is_some()
            || places.is_further_copy(index)
        {
            continue;
        }
        if is_silent {
            silent.extend(key.map(|_| process.name.as_str()));
            continue;
        }
        let delay = *delay.get_or_insert_with(|| fitting_delay(config, graph));
        let (excluded, longer) =
            (", which excludes `unready_delay`", " and a longer `grace_period`");
        let otherwise = if is_written("shutdown.unready_delay") { excluded } else { "" };
        let room = if delay < ARRIVE { longer } else { "" };
        // `readiness_delay` does not help a program that cuts requests at its stop.
        let delay = format!(
            ", or for all servers `shutdown: {{readiness_delay: {}}}`{otherwise}{room}",
            human(delay.max(Duration::from_secs(1)))
        );
        let delay = if kind == Some(Kind::Drained) { "" } else { &delay };
        // If another signal is better, its advice already has this change.
        let is_best = |known: &&Known| known.advice(process.stop_signal, "").is_none();
        let more = known.as_ref().filter(is_best).and_then(Known::more);
        let more = more.map(|more| format!("; {more}")).unwrap_or_default();
        let line = format!("write `drain: connections` for it{delay}");
        let name = &process.name;
        if let Some(key) = key {
            is_said = true;
            let message = format!(
                "`{name}` is stopped at once, and loses the requests that arrive before its endpoint \
                 is removed: it has no `drain`"
            );
            let none = "`readiness_delay: 0s` if no requests arrive from outside";
            let assumes = if known.is_none() && is_any_tcp(process) { ASSUMES } else { "" };
            let help = format!("{line}; {none}{more}{assumes}");
            problems.warning(Rule::UndrainedServer, place.at(key), message).help(help);
        } else if let Some(known) = known {
            let message = format!("`{name}`: {} {}", known.name, known.program.at_term);
            let problem = problems.note(Rule::UndrainedServer, place.at("command"), message);
            problem.help(format!("if requests arrive from outside, {line}"));
        }
    }
    if let Some(first) = silent.first() {
        let (names, is) = match silent.len() {
            1 => (format!("`{first}`"), "is"),
            2..=3 => (list(silent.iter().copied()), "are"),
            more => (format!("`{first}` and {} more", more - 1), "are"),
        };
        let message = format!(
            "`readiness_delay` is 0: {names} {is} stopped at once, and nothing warns of the requests \
             that arrive before the endpoint is removed"
        );
        let help = "that is right for a server that drains itself, or if no requests arrive from \
                    outside; otherwise remove it";
        problems.note(Rule::NoDelay, places.at("shutdown.readiness_delay"), message).help(help);
    }
    is_said || is_silent
}

/// Whether the keys of a process do not show what it speaks over TCP.
fn is_any_tcp(process: &Process) -> bool {
    let probe = process.readiness.as_ref().map(|readiness| &readiness.probe);
    !matches!(probe, Some(Probe::Http(_) | Probe::Envoy(_) | Probe::Grpc(_)))
}

/// Whether a hook delays the stop signal of the process.
fn has_pre_stop(process: &Process) -> bool {
    process.hooks.pre_stop.is_some() && !process.is_left_out()
}

/// The longest delay in whole seconds, up to [`ARRIVE`], that shortens no other wait.
fn fitting_delay(config: &Config, graph: &Graph) -> Duration {
    let fits = |delay: &Duration| {
        let mut config = config.clone();
        config.shutdown.readiness_delay = *delay;
        let plan = Plan::with(&config, graph, false);
        plan.cuts(&plan.after_signal, true).next().is_none()
    };
    (1..=ARRIVE.as_secs()).rev().map(Duration::from_secs).find(fits).unwrap_or_default()
}

/// The key that shows that a process serves TCP connections.
pub fn listens(process: &Process) -> Option<&'static str> {
    let is_tcp = |address: &Address| matches!(address, Address::Tcp(_));
    match process.readiness.as_ref().map(|readiness| &readiness.probe) {
        _ if process.kind == ProcessKind::Oneshot => None,
        Some(Probe::Tcp(_) | Probe::Http(_) | Probe::Envoy(_)) => Some("readiness"),
        Some(Probe::Grpc(target)) if is_tcp(&target.address) => Some("readiness"),
        _ if process.listen.iter().any(|it| is_tcp(&it.address)) => Some("listen"),
        _ => find(&process.command).is_some_and(|it| it.kind.is_server()).then_some("command"),
    }
}
