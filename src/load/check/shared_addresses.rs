//! Reports addresses that two processes share, or two instances of one: the answer of one would pass
//! for the other's.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

use crate::config::{Address, Config, DrainMethod, HttpTarget, OnlyIf, Probe, Process, Update};
use crate::load::diagnostics::problems::Problems;
use crate::load::read::places::Places;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Place<'c> {
    Tcp(SocketAddr),
    Path(&'c Path),
}

impl<'c> Place<'c> {
    fn tcp(address: SocketAddr) -> Self {
        // A connection to `0.0.0.0` goes to this machine.
        let ip = match address.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
            IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
            ip => ip,
        };
        Self::Tcp(SocketAddr::new(ip, address.port()))
    }

    fn of(address: &'c Address) -> Self {
        match address {
            Address::Tcp(address) => Self::tcp(*address),
            Address::Unix(path) => Self::Path(path),
        }
    }

    fn text(self) -> String {
        match self {
            Self::Tcp(address) => address.to_string(),
            Self::Path(path) => path.display().to_string(),
        }
    }
}

/// The address of a readiness probe, and the path of an HTTP one.
fn asked(process: &Process) -> Option<(Place<'_>, Option<&str>)> {
    match &process.readiness.as_ref()?.probe {
        Probe::Tcp(address) => Some((Place::tcp(*address), None)),
        Probe::Http(target) => Some((Place::of(&target.address), Some(&target.path))),
        Probe::Envoy(admin) => Some((Place::of(admin), None)),
        Probe::Unix(path) | Probe::File(path) => Some((Place::Path(path), None)),
        Probe::Exec(_) | Probe::Log(_) | Probe::Notify => None,
    }
}

pub(crate) fn check(problems: &mut Problems, config: &Config, places: &Places) {
    readiness(problems, config, places);
    instances(problems, config, places);
    admins(problems, config, places);
    drain_requests(problems, config, places);
}

fn readiness(problems: &mut Problems, config: &Config, places: &Places) {
    let mut first: HashMap<Place<'_>, Vec<usize>> = HashMap::new();
    let sockets = running(config).flat_map(|(index, process)| {
        process.sockets.iter().map(move |socket| (Place::Path(socket), index))
    });
    let sockets: HashMap<Place<'_>, usize> = sockets.collect();
    for (index, process) in running(config) {
        let Some((place, path)) = asked(process) else { continue };
        let parts = &places.processes[index];
        let span = parts.parts.readiness.unwrap_or(parts.name);
        let (name, at) = (&process.name, place.text());
        if let Some(owner) = sockets.get(&place).filter(|owner| **owner != index) {
            let owner = &config.processes[*owner].name;
            let message =
                format!("`readiness` of `{name}` probes {at}, which is in `sockets` of `{owner}`");
            problems
                .error_in_check(span, message)
                .help(format!("write the address of `{name}` itself"));
            continue;
        }
        let others = first.entry(place).or_default();
        let other = others.iter().map(|other| &config.processes[*other]).find(|other| {
            may_both_run(other, process)
                // One server may answer for several processes, each at its own path.
                && !matches!((asked(other), path), (Some((_, Some(a))), Some(b)) if a != b)
        });
        if let Some(other) = other {
            let message = format!(
                "`readiness` of `{name}` probes {at}, like that of `{}`: it is ready as soon as the other answers",
                other.name
            );
            let help = format!(
                "write the address of `{name}` itself; if it has none, `depends_on: [{}]` is enough",
                other.name
            );
            let help = match is_copy_of_same(other, process) {
                true => "write `${SCALE_INDEX}` in the address, so that each copy has its own"
                    .to_owned(),
                false => help,
            };
            let is_same = asked(other).is_some_and(|(_, of_other)| of_other == path);
            let problem = match is_same {
                true => problems.error_in_check(span, message),
                // A gateway may accept connections for what stands behind it.
                false => problems.warning(span, message),
            };
            problem.help(help);
        }
        others.push(index);
    }
}

/// A new instance beside the old one has the same readiness, so the old one would pass for it.
fn instances(problems: &mut Problems, config: &Config, places: &Places) {
    for (index, process) in running(config) {
        if process.update != Update::StartFirst {
            continue;
        }
        let parts = &places.processes[index];
        let name = &process.name;
        if let Some((place, _)) = asked(process) {
            let span = parts.parts.readiness.unwrap_or(parts.name);
            let message = format!(
                "`readiness` of `{name}` probes {}, where its old instance answers, too: with `update: start-first` a \
                 new one that does not work would take over",
                place.text()
            );
            problems.error_in_check(span, message).help(
                "use `notify` or `log`, which only the new one can answer, or `update: stop-first`",
            );
        } else if process.readiness.is_none() {
            let span = parts.parts.update.unwrap_or(parts.name);
            let message = format!(
                "`{name}` has no `readiness`: with `update: start-first` the old instance ends as soon as the new one \
                 runs, also if that does not work"
            );
            problems.warning(span, message).help("add a `readiness` by `notify` or `log`");
        }
        if let Some(target) = drain_request(process) {
            let span = parts.drain.unwrap_or(parts.name);
            let message = format!(
                "`drain` of `{name}` is sent to {target}, where its new instance answers, too: with `update: start-first` \
                 that may drain the new one, and the old one never"
            );
            problems.warning(span, message).help(
                "use `notify` or `signal`, which go to the old instance itself, or `update: stop-first`",
            );
        }
    }
}

/// Two Envoys with the same admin: one would be drained twice, the other never.
fn admins(problems: &mut Problems, config: &Config, places: &Places) {
    for Sharing { index, what, other, process } in sharing(config, admin_of) {
        let parts = &places.processes[index];
        let span = parts.drain.unwrap_or(parts.name);
        let message = format!(
            "`{}` and `{}` have the same `admin`, {}: one of them is never drained",
            other.name,
            process.name,
            what.text()
        );
        problems.error_in_check(span, message).help("give each Envoy its own admin address");
    }
}

/// Two processes that are drained by the same request: one of them would get both. The server may be
/// another program that knows what to do, so this is no error.
fn drain_requests(problems: &mut Problems, config: &Config, places: &Places) {
    for Sharing { index, other, process, .. } in sharing(config, place_of_drain) {
        let Some(target) = drain_request(process) else { continue };
        let parts = &places.processes[index];
        let span = parts.drain.unwrap_or(parts.name);
        let message = format!(
            "`{}` and `{}` are drained by the same request to {target}: it may drain one of them twice, and the \
             other never",
            other.name, process.name
        );
        problems.warning(span, message).help(match is_copy_of_same(other, process) {
            true => "write `${SCALE_INDEX}` in the `url`, so that each copy has its own",
            false => "give each process a `url` of its own",
        });
    }
}

/// A process that shares something with an earlier one.
struct Sharing<'c, T> {
    index: usize,
    what: T,
    other: &'c Process,
    process: &'c Process,
}

/// The processes that share what `of` returns with an earlier one, if both may be started.
fn sharing<'c, T: Copy + Eq + Hash>(
    config: &'c Config,
    of: impl Fn(&'c Process) -> Option<T>,
) -> impl Iterator<Item = Sharing<'c, T>> {
    let mut earlier: HashMap<T, Vec<&Process>> = HashMap::new();
    running(config).filter_map(move |(index, process)| {
        let what = of(process)?;
        let others = earlier.entry(what).or_default();
        let other = others.iter().find(|other| may_both_run(other, process)).copied();
        others.push(process);
        Some(Sharing { index, what, other: other?, process })
    })
}

/// Of two processes with a condition, only one may be started.
fn may_both_run(one: &Process, other: &Process) -> bool {
    one.only_if.is_none() || other.only_if.is_none()
}

fn admin_of(process: &Process) -> Option<Place<'_>> {
    match &process.drain.as_ref()?.method {
        DrainMethod::Envoy { admin, .. } => Some(Place::of(admin)),
        _ => None,
    }
}

fn place_of_drain(process: &Process) -> Option<(Place<'_>, &str)> {
    drain_request(process).map(|target| (Place::of(&target.address), &*target.path))
}

/// The target of a drain by `http`.
fn drain_request(process: &Process) -> Option<&HttpTarget> {
    match &process.drain.as_ref()?.method {
        DrainMethod::Http { target, .. } => Some(target),
        _ => None,
    }
}

fn is_copy_of_same(one: &Process, other: &Process) -> bool {
    let of = |process: &Process| Some(process.copy_of.as_ref()?.process.clone());
    of(one).is_some() && of(one) == of(other)
}

fn running(config: &Config) -> impl Iterator<Item = (usize, &Process)> {
    let processes = config.processes.iter().enumerate();
    processes.filter(|(_, process)| process.only_if != Some(OnlyIf::Never))
}
