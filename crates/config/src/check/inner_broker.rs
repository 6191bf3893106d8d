//! Warns of a worker that may end before a server, although both use the same broker in the
//! container. The server then accepts jobs that nobody runs, and that end with the broker.

use std::collections::BTreeSet;

use crate::check::{running, undrained};
use crate::core::spec::Spec;
use crate::graph::Graph;
use crate::keys::{Config, DrainMethod, Process, ProcessKind};
use crate::known::{Kind, Known, find};
use crate::language::diagnostics::problems::Problems;
use crate::language::diagnostics::rule::Rule;
use crate::language::places::Places;
use crate::types::ProcessId;
use crate::types::suggest::list;

const WAIT: &str = "a `hooks.pre_stop` that waits until the queue is empty, as in docs/workers.md";

/// The stores of the config that may hold a queue, each with all processes that depend on it.
pub(crate) struct Brokers(Vec<(ProcessId, Known, BTreeSet<ProcessId>)>);

impl Brokers {
    pub(crate) fn of(config: &Config, spec: &Spec) -> Self {
        let broker = |id: ProcessId| {
            let process = &config.processes[id.index()];
            let known = find(&process.command).filter(|it| it.kind == Kind::Store)?;
            let is_one = !process.is_left_out() && known.may_hold_jobs_of(None);
            is_one.then(|| (id, known, spec.above(id).into_iter().collect()))
        };
        Self(spec.ids().filter_map(broker).collect())
    }

    /// The first broker that this process uses, and that may hold the jobs of `known`, and the
    /// servers that use the same broker. `None` if no server does.
    pub(crate) fn beside<'c>(
        &self,
        config: &'c Config,
        id: ProcessId,
        known: Option<&Known>,
    ) -> Option<(&'c str, Vec<ProcessId>)> {
        self.0.iter().find_map(|(broker, store, users)| {
            let is_used = users.contains(&id) && store.may_hold_jobs_of(known);
            let is_other = |it: &ProcessId| *it != id && is_server(&config.processes[it.index()]);
            let servers = || users.iter().copied().filter(is_other).collect::<Vec<_>>();
            let servers = is_used.then(servers).filter(|servers| !servers.is_empty())?;
            Some((entry(&config.processes[broker.index()]), servers))
        })
    }

    /// The first broker that this worker uses, and the servers whose `depends_on` does not say that
    /// they use it. `None` if there are no such servers.
    fn unclear<'c>(
        &self,
        config: &'c Config,
        spec: &Spec,
        id: ProcessId,
        known: &Known,
    ) -> Option<(&'c str, Vec<ProcessId>)> {
        let is_used = |(_, store, users): &&(ProcessId, Known, BTreeSet<ProcessId>)| {
            users.contains(&id) && store.may_hold_jobs_of(Some(known))
        };
        let (broker, _, users) = self.0.iter().find(is_used)?;
        let servers = spec.ids().filter(|it| is_server(&config.processes[it.index()]));
        let servers: Vec<_> = servers.filter(|it| !users.contains(it)).collect();
        (!servers.is_empty()).then(|| (entry(&config.processes[broker.index()]), servers))
    }
}

/// Warns of each known worker that may end before a server that uses the same broker. A worker that
/// ends after all of them, but does not wait for an empty queue, gets a note.
pub(crate) fn check(problems: &mut Problems, config: &Config, graph: &Graph, places: &Places) {
    let spec = config.spec(graph);
    let brokers = Brokers::of(config, &spec);
    if brokers.0.is_empty() {
        return;
    }
    for (index, worker, place) in running(config, places) {
        let known = find(&worker.command).filter(|it| it.kind == Kind::Worker);
        let is_one = worker.kind == ProcessKind::Service && !places.is_further_copy(index);
        let Some(known) = known.filter(|_| is_one) else { continue };
        let id = ProcessId(u16::try_from(index).unwrap_or_default());
        let found = brokers.beside(config, id, Some(&known));
        let name = entry(worker);
        let Some((broker, mut servers)) = found else {
            if let Some((broker, servers)) = brokers.unclear(config, &spec, id, &known) {
                let servers = servers.into_iter().filter(|it| !places.is_further_copy(it.index()));
                let named = names(config, &closest(&spec, servers.collect()));
                let message = format!(
                    "`{name}` may end before {named}: jobs that then come into `{broker}` end with the \
                     container"
                );
                let help = format!(
                    "if {named} fills `{broker}`, name `{broker}` and `{name}` in its `depends_on`, and \
                     write for `{name}` {WAIT}"
                );
                problems.note(Rule::JobsLeftBehind, place.at("command"), message).help(help);
            }
            continue;
        };
        servers.retain(|it| !places.is_further_copy(it.index()));
        let dependents = spec.above(id);
        let waits = |it: &ProcessId| dependents.contains(it);
        let sooner = closest(&spec, servers.iter().copied().filter(|it| !waits(it)).collect());
        let has_signal = |method: &DrainMethod| {
            matches!(method, DrainMethod::Signal(_) | DrainMethod::Notify(_))
        };
        let signal = worker.drain.as_ref().filter(|drain| has_signal(&drain.method));
        let accepting = servers.into_iter().filter(|it| accepts_until_stop(config, &spec, *it));
        let accepting = closest(&spec, accepting.filter(|_| signal.is_some()).collect());
        if !sooner.is_empty() {
            let named = names(config, &sooner);
            let message = format!(
                "`{name}` may end before {named}: nobody runs the jobs that then come into \
                 `{broker}`, and they end with the container"
            );
            let needs_it = |it: &&ProcessId| spec.above(**it).contains(&id);
            let needed: Vec<_> = sooner.iter().filter(needs_it).copied().collect();
            let without = match needed.is_empty() {
                true => String::new(),
                false => format!("let `{name}` not depend on {}, ", names(config, &needed)),
            };
            let lines = sooner.iter().map(|it| line(&config.processes[it.index()], name));
            let lines = lines.collect::<Vec<_>>().join(", ");
            let drain = if worker.drain.is_some() { "in place of its `drain` " } else { "" };
            let key = if worker.drain.is_some() { "drain" } else { "command" };
            problems
                .warning(Rule::JobsLeftBehind, place.at(key), message)
                .help(format!("{without}write {lines}, and for `{name}` {drain}{WAIT}"));
        } else if !accepting.is_empty() {
            let message = format!(
                "the `drain` of `{name}` sends its signal while {} may still accept jobs, which then \
                 end in `{broker}` with the container",
                names(config, &accepting)
            );
            problems.warning(Rule::JobsLeftBehind, place.at("drain"), message).help(format!(
                "write in its place {WAIT}: the hook runs when the server has ended"
            ));
        } else if worker.hooks.pre_stop.is_none() {
            let message = format!(
                "`{name}` leaves the jobs that wait in `{broker}`, and they end with the container"
            );
            problems
                .note(Rule::JobsLeftBehind, place.at("command"), message)
                .help(format!("write {WAIT}"));
        }
    }
}

/// The other half of the remedy for a process that may be a worker, if the queue is in this broker.
pub(crate) fn of_unknown(name: &str, broker: &str) -> String {
    format!("; if it comes from `{broker}`, let the servers depend on `{name}`, and write {WAIT}")
}

/// Whether requests of clients may arrive at a process. A store, which serves other
/// processes, is not a server here.
fn is_server(process: &Process) -> bool {
    let counts = process.drain.as_ref().is_some_and(|it| it.method.counting().is_some());
    let is_known = || {
        let kind = find(&process.command).map(|it| it.program.kind);
        !matches!(kind, Some(Kind::Store | Kind::Worker | Kind::Other))
    };
    let is_service = process.kind == ProcessKind::Service && !process.is_left_out();
    is_service && (counts || undrained::listens(process).is_some()) && is_known()
}

/// Whether a server may accept requests until its own stop, which begins when all drains are over.
/// A server without a drain gets none after the drain of a process in front of it.
fn accepts_until_stop(config: &Config, spec: &Spec, id: ProcessId) -> bool {
    let drain = |id: ProcessId| config.processes[id.index()].drain.as_ref();
    match drain(id) {
        Some(drain) => drain.method.counting().is_some(),
        None => !spec.above(id).into_iter().any(|it| drain(it).is_some()),
    }
}

/// The servers that depend on none of the others.
fn closest(spec: &Spec, servers: Vec<ProcessId>) -> Vec<ProcessId> {
    let behind: BTreeSet<_> = servers.iter().flat_map(|it| spec.above(*it)).collect();
    servers.into_iter().filter(|it| !behind.contains(it)).collect()
}

fn names(config: &Config, servers: &[ProcessId]) -> String {
    list(servers.iter().map(|it| entry(&config.processes[it.index()])))
}

/// The `depends_on` of a server that also has the worker.
fn line(server: &Process, worker: &str) -> String {
    let mut on: Vec<_> = server.depends_on.iter().map(|on| &*on.process).collect();
    on.retain(|it| *it != worker);
    on.push(worker);
    format!("`depends_on: [{}]` for `{}`", on.join(", "), entry(server))
}

/// The name of the entry from which a process was read: its copies have a number behind the name.
fn entry(process: &Process) -> &str {
    let copied = process.scale.and_then(|_| process.name.rsplit_once('-'));
    copied.map_or(&process.name, |(entry, _)| entry)
}
