//! Checks `listen`: each address once, and a readiness that drainit's own socket does not answer.

use std::net::{IpAddr, Ipv6Addr};

use crate::config::{Address, Config, ListenSocket, OnlyIf, Probe};
use crate::load::check::own_address::{normal, overlaps, own, reaches};
use crate::load::diagnostics::problems::Problems;
use crate::load::places::Places;

pub(crate) fn check(problems: &mut Problems, config: &Config, places: &Places) {
    let mut taken: Vec<(Address, usize)> = Vec::new();
    for (index, (process, place)) in config.processes.iter().zip(&places.processes).enumerate() {
        if process.only_if == Some(OnlyIf::Never) {
            continue;
        }
        let name = &process.name;
        for (number, socket) in process.listen.iter().enumerate() {
            let span = place.at(&format!("listen.{number}"));
            let address = match &socket.address {
                Address::Unix(path) => Address::Unix(normal(path)),
                tcp => tcp.clone(),
            };
            let is_taken = |(other, _): &&(Address, usize)| excludes(other, &address);
            if let Some((first, owner)) = taken.iter().find(is_taken) {
                let other = &config.processes[*owner].name;
                let message = format!("`{other}` listens on {socket} already");
                let problem = match is_ipv6(first) == is_ipv6(&address) {
                    true => problems.error(span, message),
                    // The kernel accepts both with net.ipv6.bindv6only=1.
                    false => problems.error_in_check(span, message),
                };
                problem.help(match places.processes[*owner].is_same(place) && *owner != index {
                    true => "give each copy its own, with `${SCALE_INDEX}` in the address",
                    false => "give each socket an address of its own; `[::]` takes IPv4, too",
                });
            }
            taken.push((address, index));
            if own(&config.control, &socket.address).is_some() {
                let message = format!("`listen` of `{name}` has drainit's own address {socket}");
                problems.error(span, message).help("give one of them another address");
            }
        }
        for (key, probe) in process.probes() {
            if let Some(socket) = process.listen.iter().find(|socket| answers(probe, socket)) {
                let message = format!(
                    "`{key}` of `{name}` always holds: drainit itself listens on {socket} for it"
                );
                let help =
                    "use `http`, `exec`, `log` or `notify`, which only the process can answer";
                problems.error(place.at(key), message).help(help);
            }
        }
    }
}

/// Whether only one of the addresses can be listened on: `0.0.0.0` has all of IPv4, and `[::]` all
/// of both families.
fn excludes(a: &Address, b: &Address) -> bool {
    let has_both = |ip: IpAddr| ip == Ipv6Addr::UNSPECIFIED;
    match (a, b) {
        (Address::Tcp(a), Address::Tcp(b)) => {
            overlaps(*a, *b) && (a.is_ipv6() == b.is_ipv6() || has_both(a.ip()) || has_both(b.ip()))
        }
        _ => a == b,
    }
}

fn is_ipv6(address: &Address) -> bool {
    matches!(address, Address::Tcp(address) if address.is_ipv6())
}

/// Whether the kernel accepts the connection of this probe for drainit's socket.
fn answers(probe: &Probe, socket: &ListenSocket) -> bool {
    let needs_no_answer = matches!(probe, Probe::Tcp(_) | Probe::Unix(_) | Probe::File(_));
    let asked = probe.address().filter(|_| needs_no_answer);
    asked.is_some_and(|asked| reaches(&asked, &socket.address))
}
