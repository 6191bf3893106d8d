//! Refuses values that two processes share but only one may have: an argument prefix, `args.rest`,
//! a socket, an address to listen on, a rendered file.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use crate::check::own_address::{excludes, is_same_address};
use crate::check::running;
use crate::keys::{Address, Config, Control, Process};
use crate::language::diagnostics::diagnostic::quote;
use crate::language::diagnostics::problems::Problems;
use crate::language::diagnostics::rule::Rule;
use crate::language::places::Places;
use crate::language::yaml::node::Node;
use drainit_os::same_path::normal;

/// A value that only one process may have.
#[derive(PartialEq, Eq, Hash)]
enum Claim<'c> {
    Prefix(&'c str),
    Rest,
    Socket(PathBuf),
    Rendered(PathBuf),
}

/// The values of a process that no other process may have, each with the path of its key.
fn claims(process: &Process) -> Vec<(Claim<'_>, String)> {
    let mut claims = Vec::new();
    if let Some(route) = &process.args {
        let prefix = route.prefix.iter().map(|prefix| Claim::Prefix(prefix));
        claims.extend(prefix.map(|prefix| (prefix, "args.prefix".to_owned())));
        claims.extend(route.rest.then(|| (Claim::Rest, "args.rest".to_owned())));
    }
    for (number, path) in process.sockets.iter().enumerate() {
        claims.push((Claim::Socket(normal(path)), format!("sockets.{number}")));
    }
    for (number, render) in process.render.iter().enumerate() {
        claims.push((Claim::Rendered(normal(&render.to)), format!("render.{number}.to")));
    }
    claims
}

/// Quotes a path of the config for a message.
fn path(problems: &Problems, node: Option<&Node>, path: &Path) -> String {
    quote(&problems.written(node, &path.to_string_lossy()))
}

/// Reports sockets of `listen` that cannot be open beside an earlier one or beside drainit's own.
fn listening(problems: &mut Problems, config: &Config, places: &Places) {
    /// The place at which sockets may exclude each other.
    #[derive(PartialEq, Eq, Hash)]
    enum Spot {
        Port(u16),
        Path(PathBuf),
    }
    let spot = |address: &Address| match address {
        Address::Tcp(address) => Spot::Port(address.port()),
        Address::Unix(path) => Spot::Path(normal(path)),
    };
    let Control { listen, socket } = &config.control;
    let own = [
        listen.map(|address| (Address::Tcp(address), "`control.listen`")),
        socket.path().map(|path| (Address::Unix(path.to_owned()), "`control.socket`")),
    ];
    let mut earlier: HashMap<Spot, Vec<(Address, Owner<'_>)>> = HashMap::new();
    for (address, key) in own.into_iter().flatten() {
        earlier.entry(spot(&address)).or_default().push((address, Owner::Drainit(key)));
    }
    for (index, process, place) in running(config, places) {
        for (number, socket) in process.listen.iter().enumerate() {
            let beside = earlier.entry(spot(&socket.address)).or_default();
            let other = beside.iter().find(|(other, _)| excludes(other, &socket.address));
            let Some((other, owner)) = other else {
                beside.push((socket.address.clone(), Owner::Process(index)));
                continue;
            };
            let key = format!("listen.{number}");
            let at = problems.written(place.find(&key), &socket.to_string());
            let (whose, is_copy) = match owner {
                Owner::Drainit(key) => (format!("drainit's own {key}"), false),
                Owner::Process(first) => {
                    let is_copy = *first != index && places.processes[*first].is_same(place);
                    (format!("process `{}`", config.processes[*first].name), is_copy)
                }
            };
            let is_one = is_same_address(other, &socket.address);
            // drainit opens one socket, and each copy of an entry with `scale` gets the socket.
            if is_copy && is_one {
                continue;
            }
            let message = match is_one {
                true => format!("{whose} already listens on {at}"),
                false => format!("{whose} already listens at this port, which excludes {at}"),
            };
            let help = match is_copy {
                true => "give each copy its own, with `${SCALE_INDEX}` in the path",
                false => "give each socket an address of its own",
            };
            let span = place.at(&key);
            match is_one {
                true => problems.error(Rule::SharedClaim, span, message).help(help),
                // A container may separate the ports of IPv6.
                false => problems.error_in_check(Rule::SharedClaim, span, message).help(help),
            }
        }
    }
}

/// The owner of a socket: a process by its index, or drainit by the name of the key.
enum Owner<'k> {
    Process(usize),
    Drainit(&'k str),
}

pub(crate) fn check(problems: &mut Problems, config: &Config, places: &Places) {
    listening(problems, config, places);
    let mut owners: HashMap<Claim<'_>, usize> = HashMap::new();
    let own = config.control.socket.path().map(normal);
    for (index, (process, place)) in config.processes.iter().zip(&places.processes).enumerate() {
        for (claim, key) in claims(process) {
            let node = place.find(&key);
            if let Claim::Socket(socket) = &claim
                && Some(socket) == own.as_ref()
            {
                let message = format!(
                    "`sockets` of `{}` contains drainit's own `control.socket` {}, which would be removed",
                    process.name,
                    path(problems, node, socket)
                );
                let problem = problems.error(Rule::SharedClaim, place.at(&key), message);
                problem.help("remove it, or give one of them another path");
            }
            let Some(&first) = owners.get(&claim) else {
                owners.insert(claim, index);
                continue;
            };
            let is_copy = first != index && places.processes[first].is_same(place);
            let (has, help) = match &claim {
                Claim::Prefix(_) | Claim::Rest if is_copy => continue,
                Claim::Socket(_) if first == index => continue,
                Claim::Prefix(prefix) => (
                    format!("has the prefix {}", quote(&problems.written(node, prefix))),
                    "give each process a prefix of its own",
                ),
                Claim::Rest => ("has `rest`".to_owned(), "set `rest: true` at one process only"),
                Claim::Socket(socket) => (
                    format!("has the socket {}", path(problems, node, socket)),
                    "list it only at the process that listens on it: each start removes the socket",
                ),
                Claim::Rendered(file) => {
                    (format!("writes {}", path(problems, node, file)), "give each its own file")
                }
            };
            let message = format!("process `{}` already {has}", config.processes[first].name);
            problems.error(Rule::SharedClaim, place.at(&key), message).help(match is_copy {
                true => "give each copy its own, with `${SCALE_INDEX}` in the path",
                false => help,
            });
        }
    }
    for (_, process, place) in running(config, places) {
        for (number, socket) in process.listen.iter().enumerate() {
            // drainit removes the `sockets` of a process before each start, and also when a start
            // is skipped because `only_if` does not hold. The removal must not hit a socket that
            // drainit holds for a process.
            if let Address::Unix(path) = &socket.address
                && let Some(first) = owners.get(&Claim::Socket(normal(path)))
            {
                let name = &config.processes[*first].name;
                let key = format!("listen.{number}");
                let socket = problems.written(place.find(&key), &socket.to_string());
                let message = format!("`sockets` of `{name}` would remove {socket} at each start");
                let span = place.at(&key);
                problems
                    .error(Rule::SharedClaim, span, message)
                    .help("remove it from `sockets`: drainit makes it");
            }
        }
    }
}
