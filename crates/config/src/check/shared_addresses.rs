//! Reports an address at which two processes, or two instances of one process, could answer
//! drainit. drainit could not distinguish their answers.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::check::place_of_drain;
use crate::check::running;
use crate::keys::{Address, Config, DrainMethod, Probe, Process, Update};
use crate::language::diagnostics::problems::Problems;
use crate::language::diagnostics::rule::Rule;
use crate::language::places::{EntryPlace, Places};
use crate::language::yaml::node::Node;
use drainit_os::same_path::normal;

/// Replaces `0.0.0.0` by `127.0.0.1`, and `::` by `::1`, because a connection to an unspecified
/// address goes to the loopback address. Replaces a path by its normal form.
pub(crate) fn local(address: Address) -> Address {
    match address {
        Address::Unix(path) => Address::Unix(normal(&path)),
        Address::Tcp(mut address) => {
            address.set_ip(match address.ip() {
                IpAddr::V4(Ipv4Addr::UNSPECIFIED) => Ipv4Addr::LOCALHOST.into(),
                IpAddr::V6(Ipv6Addr::UNSPECIFIED) => Ipv6Addr::LOCALHOST.into(),
                ip => ip,
            });
            Address::Tcp(address)
        }
    }
}

fn text(address: &Address) -> String {
    match address {
        Address::Tcp(address) => address.to_string(),
        Address::Unix(path) => path.display().to_string(),
    }
}

/// The address that the readiness probe of a process asks, with the path of an HTTP probe or the
/// service of a gRPC probe.
fn asked(process: &Process) -> Option<(Address, Option<&str>)> {
    let probe = &process.readiness.as_ref()?.probe;
    let path = match probe {
        Probe::Http(target) => Some(&*target.path),
        Probe::Grpc(target) => Some(&*target.service),
        _ => None,
    };
    Some((local(probe.address()?), path))
}

/// The value in the config that has the address of the readiness probe.
fn probe_of(place: &EntryPlace) -> Option<&Node> {
    let keys = ["unix", "tcp", "http", "envoy", "grpc"];
    keys.iter().find_map(|key| place.find(&format!("readiness.{key}")))
}

pub(crate) fn check(problems: &mut Problems, config: &Config, places: &Places) {
    readiness(problems, config, places);
    instances(problems, config, places);
    admins(problems, config, places);
}

/// Reports two processes whose readiness probes ask the same address. Two HTTP probes with
/// different paths are not reported, nor are two gRPC probes with different services, because one
/// server may answer for several processes.
fn readiness(problems: &mut Problems, config: &Config, places: &Places) {
    for (index, other, (address, _)) in sharing(config, places, asked) {
        let parts = &places.processes[index];
        let name = &config.processes[index].name;
        let at = problems.written(probe_of(parts), &text(&address));
        let of_other = &config.processes[other].name;
        let message = format!(
            "`readiness` of `{name}` probes {at}, like that of `{of_other}`: it is ready as soon as the other answers"
        );
        let help = match parts.is_same(&places.processes[other]) {
            true => {
                "write `${SCALE_INDEX}` in the address, so that each copy has its own".to_owned()
            }
            false => format!(
                "write the address of `{name}` itself; if it has none, `depends_on: [{of_other}]` is enough"
            ),
        };
        problems.error_in_check(Rule::SharedProbe, parts.at("readiness"), message).help(help);
    }
}

/// Reports a readiness probe of a process with `start-first`, if the old instance could answer the
/// probe of the new instance. Also warns if such a process has no readiness probe.
fn instances(problems: &mut Problems, config: &Config, places: &Places) {
    let all = running(config, places);
    for (_, process, parts) in all.filter(|(_, it, _)| it.update == Update::StartFirst) {
        let name = &process.name;
        if let Some((address, _)) = asked(process) {
            let span = parts.at("readiness");
            let message = format!(
                "`readiness` of `{name}` probes {}, where its old instance answers, too: with \
                 `update: start-first` a new instance that does not work would take over",
                problems.written(probe_of(parts), &text(&address))
            );
            let help = "use `notify` or `log`, which only the new instance can answer, or `update: stop-first`";
            problems.error_in_check(Rule::SharedProbe, span, message).help(help);
        } else if process.readiness.is_none() {
            let span = parts.at("update");
            let message = format!(
                "`{name}` has no `readiness`: with `update: start-first` the old instance ends as \
                 soon as the new instance runs, even if that one does not work"
            );
            problems
                .warning(Rule::UpdateWithoutReadiness, span, message)
                .help("add a `readiness` by `notify` or `log`");
        }
    }
}

/// Reports two Envoys with the same admin address, because drainit would drain one of them twice,
/// and the other never.
fn admins(problems: &mut Problems, config: &Config, places: &Places) {
    for (index, other, what) in sharing(config, places, admin_of) {
        let parts = &places.processes[index];
        let span = place_of_drain(&config.processes[index], parts, "");
        let message = format!(
            "`{}` and `{}` have the same `admin`, {}: one of them is never drained",
            config.processes[other].name,
            config.processes[index].name,
            problems.written(parts.find("drain.envoy.admin"), &text(&what))
        );
        problems
            .error_in_check(Rule::SharedClaim, span, message)
            .help("give each Envoy its own admin address");
    }
}

/// Finds each process for which `of` returns the same value as for an earlier process, if both can
/// run at the same time. Two processes with an `only_if` cannot, because they are probably
/// alternatives. Returns both indexes, and the value.
fn sharing<'c, T: Clone + Eq + Hash>(
    config: &'c Config,
    places: &'c Places,
    of: impl Fn(&'c Process) -> Option<T>,
) -> impl Iterator<Item = (usize, usize, T)> {
    let mut earlier: HashMap<T, Vec<usize>> = HashMap::new();
    running(config, places).filter_map(move |(index, process, _)| {
        let what = of(process)?;
        let others = earlier.entry(what.clone()).or_default();
        let runs = |it: &Process| it.only_if.is_none();
        let is_beside = |other: &usize| runs(process) || runs(&config.processes[*other]);
        let other = others.iter().copied().find(is_beside);
        others.push(index);
        Some((index, other?, what))
    })
}

fn admin_of(process: &Process) -> Option<Address> {
    match &process.drain.as_ref()?.method {
        DrainMethod::Envoy(envoy) => Some(local(envoy.admin.clone())),
        _ => None,
    }
}
