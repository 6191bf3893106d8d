//! Names the processes that may fetch their own work, as from a queue. Beside a drain, they get
//! their stop signal only when the drain is over, and take more work until then.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::check::known_programs::known_of;
use crate::check::undrained;
use crate::core::budget::{Ahead, Budget};
use crate::core::spec::Spec;
use crate::graph::Graph;
use crate::keys::{Config, Process};
use crate::known::Kind;
use crate::language::diagnostics::problems::Problems;
use crate::language::places::Places;
use crate::types::suggest::shortened;
use crate::types::{ProcessId, Signal, human};

const NO_KEY: &str = "no key that shows a socket for clients";

/// The process with the longest drain, and the processes beside this drain whose keys show no port
/// and no socket. `None` if there are no such processes.
fn find(config: &Config, spec: &Spec) -> Option<(ProcessId, Vec<ProcessId>)> {
    let (drained, mut beside) = beside_drains(spec)?;
    beside.retain(|id| !shows_socket(&config.processes[id.index()]));
    (!beside.is_empty()).then_some((drained, beside))
}

/// The process with the longest drain, and the services that may take work until this drain is over:
/// services without a drain, without dependents and without sockets from drainit, whose stops begin
/// only after the drain. `None` if no process is drained.
pub fn beside_drains(spec: &Spec) -> Option<(ProcessId, Vec<ProcessId>)> {
    let time = |id: &ProcessId| spec.of(*id).drain.map(|drain| drain.time);
    let longest = spec.ids().max_by_key(time)?;
    let time = time(&longest).filter(|time| !time.is_zero())?;
    let budget = Budget::new(spec, spec.window, |_| Ahead::Drain);
    let is_beside = |id: &ProcessId| {
        let of = spec.of(*id);
        let serves = of.drain.is_some() || of.listens || !of.dependents.is_empty();
        let begins = spec.window.saturating_sub(budget.latest_stop(*id));
        !(serves || of.oneshot || of.left_out) && begins >= time
    };
    Some((longest, spec.ids().filter(is_beside).collect()))
}

fn shows_socket(process: &Process) -> bool {
    let is_store = known_of(process).is_some_and(|it| it.program.kind == Kind::Store);
    is_store || undrained::listens(process).is_some() || process.shows_listener()
}

/// Says that the work of some processes continues until a drain is over, and how to end it sooner, in
/// a line for each stop signal. `beside` has the stop signal and the name of each process, `why`
/// says why they may fetch their own work, and the drain of `drained` lasts up to `time`. `window` is
/// the time from the stop signal to the deadline.
pub fn lines<'a>(
    why: &str,
    beside: impl IntoIterator<Item = (Signal, &'a str)>,
    drained: &str,
    [time, window]: [Duration; 2],
) -> Vec<String> {
    let mut by_signal: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for (signal, name) in beside {
        by_signal.entry(signal).or_default().push(name);
    }
    let line = |(signal, names): (Signal, Vec<&str>)| {
        let (names, remedy) = (shortened(&names), remedy(signal, window));
        let until = until(drained, time);
        format!("{names}: no dependents, and {why}; after a stop signal, {until}; {remedy}")
    };
    by_signal.into_iter().map(line).collect()
}

fn until(drained: &str, time: Duration) -> String {
    format!("the work continues until the drain of {drained} is over, up to {} later", human(time))
}

/// Says which drain gives a process its stop signal at once, and shortens no other drain. The drain
/// leaves a second to the stop, and the time of a last count of the connections of others.
fn remedy(signal: Signal, window: Duration) -> String {
    let time = window.saturating_sub(Duration::from_millis(1250)).as_secs().max(1);
    let (name, time) = (signal.to_string(), human(Duration::from_secs(time)));
    let short = name.trim_start_matches("SIG");
    format!(
        "if the work comes from a queue, write `drain: {{signal: {{signal: {short}, time: \
         {time}}}}}`, so that {name} comes at once"
    )
}

/// The lines for `drainit plan`.
pub fn in_plan(config: &Config, graph: &Graph) -> Vec<String> {
    let spec = config.spec(graph);
    let Some((drained, beside)) = find(config, &spec) else { return Vec::new() };
    let process = |id: ProcessId| &config.processes[id.index()];
    let time = spec.processes[drained.index()].drain.map(|drain| drain.time).unwrap_or_default();
    let beside =
        beside.into_iter().map(process).map(|process| (process.stop_signal, &*process.name));
    lines(NO_KEY, beside, &process(drained).name, [time, spec.window])
}

/// Adds a note about each process that may fetch its own work beside a drain.
pub(crate) fn check(problems: &mut Problems, config: &Config, graph: &Graph, places: &Places) {
    let spec = config.spec(graph);
    let Some((drained, beside)) = find(config, &spec) else { return };
    let Some(drain) = spec.processes[drained.index()].drain else { return };
    let until = until(&format!("`{}`", config.processes[drained.index()].name), drain.time);
    for id in beside.into_iter().filter(|id| !places.is_further_copy(id.index())) {
        let process = &config.processes[id.index()];
        let message = format!(
            "`{}` has no dependents, and {NO_KEY}: after a stop signal, {until}",
            process.name
        );
        let place = places.processes[id.index()].at("command");
        problems.note(place, message).help(remedy(process.stop_signal, spec.window));
    }
}
