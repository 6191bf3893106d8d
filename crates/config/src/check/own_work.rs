//! Names the processes that may fetch their own work, as from a queue. Beside a drain, they get
//! their stop signal only when the drain is over or their stop has to begin, and take more work
//! until then.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::check::inner_broker::Brokers;
use crate::check::known_programs::is_store;
use crate::check::{inner_broker, undrained};
use crate::core::budget::{Budget, MIN_CLOSING};
use crate::core::spec::Spec;
use crate::graph::Graph;
use crate::keys::{Config, Process};
use crate::known::{self, Kind, short};
use crate::language::diagnostics::problems::Problems;
use crate::language::diagnostics::rule::Rule;
use crate::language::places::Places;
use crate::types::suggest::shortened;
use crate::types::{ProcessId, Signal, human};

/// A service, and the time from the stop signal to the latest beginning of its stop.
pub type Beside = (ProcessId, Duration);

const NO_KEY: &str = "no key that shows a socket for clients";

/// The name and the longest drain of the process that drains longest, and the processes beside this
/// drain whose keys show no port and no socket. `None` if there are no such processes.
fn find<'c>(config: &'c Config, spec: &Spec) -> Option<(&'c str, Duration, Vec<Beside>)> {
    let (drained, mut beside) = beside_drains(spec)?;
    beside.retain(|(id, _)| !shows_socket(&config.processes[id.index()]));
    let time = Budget::of(spec).longest_drain(spec, drained);
    (!beside.is_empty()).then_some((&config.processes[drained.index()].name, time, beside))
}

/// The process with the longest drain, and the services that may take work beside this drain:
/// services without a drain, without dependents and without sockets from drainit, whose stops begin
/// so late that a drain of their own fits before. `None` if no process is drained.
pub fn beside_drains(spec: &Spec) -> Option<(ProcessId, Vec<Beside>)> {
    let budget = Budget::of(spec);
    let time = |id: &ProcessId| budget.longest_drain(spec, *id);
    let longest = spec.ids().max_by_key(time).filter(|id| !time(id).is_zero())?;
    let is_beside = |id: &ProcessId| {
        let of = spec.of(*id);
        let serves = of.is_drained() || of.listens || !of.dependents.is_empty();
        !(serves || of.oneshot || of.left_out)
    };
    let begins = |id: ProcessId| spec.window.saturating_sub(budget.stops[id.index()].declared);
    let beside = spec.ids().filter(is_beside).map(|id| (id, begins(id)));
    Some((longest, beside.filter(|(_, begins)| !own_drain(*begins).is_zero()).collect()))
}

fn shows_socket(process: &Process) -> bool {
    is_store(process) || undrained::listens(process).is_some() || process.shows_listener()
}

/// Says that the work of some processes continues during a drain, and how to end it sooner, in a
/// line for each stop signal and each time at which the stops begin. `beside` has the stop signal,
/// this time and the name of each process, `why` says why they may fetch their own work, and the
/// drain of `drained` lasts up to `time`.
pub fn lines<'a>(
    why: &str,
    beside: impl IntoIterator<Item = (Signal, Duration, &'a str)>,
    drained: &str,
    time: Duration,
) -> Vec<String> {
    let mut by_stop: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for (signal, begins, name) in beside {
        by_stop.entry((signal, begins)).or_default().push(name);
    }
    let line = |((signal, begins), names): ((Signal, Duration), Vec<&str>)| {
        let (names, remedy) = (shortened(&names), remedy(signal, begins));
        let during = during(drained, time.min(begins));
        format!("{names}: no dependents, and {why}; after a stop signal, {during}; {remedy}")
    };
    by_stop.into_iter().map(line).collect()
}

fn during(drained: &str, time: Duration) -> String {
    format!("the work continues during the drain of {drained}, for up to {}", human(time))
}

/// The longest drain of a process that shortens no stop, in whole seconds. The drain leaves the
/// time of a last count of the connections of others.
fn own_drain(begins: Duration) -> Duration {
    Duration::from_secs(begins.saturating_sub(MIN_CLOSING).as_secs())
}

/// Says which drain gives a process its stop signal at once, and shortens no other drain.
fn remedy(signal: Signal, begins: Duration) -> String {
    let (short, time) = (short(signal), human(own_drain(begins)));
    format!(
        "if the work comes from a queue outside of the container, write `drain: {{signal: {{signal: {short}, time: \
         {time}}}}}`, so that {signal} comes at once"
    )
}

/// The lines for `drainit plan`.
pub fn in_plan(config: &Config, graph: &Graph) -> Vec<String> {
    let found = find(config, &config.spec(graph));
    let Some((drained, time, beside)) = found else { return Vec::new() };
    let process = |id: ProcessId| &config.processes[id.index()];
    let of = |(id, begins)| (process(id).stop_signal, begins, &*process(id).name);
    lines(NO_KEY, beside.into_iter().map(of), drained, time)
}

/// Adds a note about each process that may fetch its own work beside a drain.
pub(crate) fn check(problems: &mut Problems, config: &Config, graph: &Graph, places: &Places) {
    let Some((drained, time, beside)) = find(config, &config.spec(graph)) else { return };
    let drained = format!("`{drained}`");
    let brokers = Brokers::of(config, &config.spec(graph));
    for (id, begins) in beside.into_iter().filter(|(id, _)| !places.is_further_copy(id.index())) {
        let process = &config.processes[id.index()];
        let known = known::find(&process.command).filter(|it| it.kind == Kind::Worker);
        let inside = brokers.beside(config, id, known.as_ref());
        // For a known worker, `inner_broker` has said more.
        if known.is_some() && inside.is_some() {
            continue;
        }
        let message = format!(
            "`{}` has no dependents, and {NO_KEY}: after a stop signal, {}",
            process.name,
            during(&drained, time.min(begins))
        );
        let place = places.processes[id.index()].at("command");
        let inside = inside.map_or_else(String::new, |(broker, _)| {
            inner_broker::of_unknown(&process.name, broker)
        });
        let help = remedy(process.stop_signal, begins) + &inside;
        problems.note(Rule::WorkOfItsOwn, place, message).help(help);
    }
}
