//! Checks `listen`: each address once, and a readiness that drainit's own socket does not answer.

use std::net::{IpAddr, Ipv6Addr};

use crate::config::{Address, Config, ListenSocket, Liveness, OnlyIf, Probe};
use crate::load::check::own_address::{is_own, is_same, normal, overlaps};
use crate::load::diagnostics::problems::Problems;
use crate::load::read::places::Places;

pub(crate) fn check(problems: &mut Problems, config: &Config, places: &Places) {
    let mut taken: Vec<(Address, &str)> = Vec::new();
    for (process, place) in config.processes.iter().zip(&places.processes) {
        if process.only_if == Some(OnlyIf::Never) {
            continue;
        }
        let name = &process.name;
        for (socket, span) in process.listen.iter().zip(&place.listen) {
            let address = match &socket.address {
                Address::Unix(path) => Address::Unix(normal(path)),
                tcp => tcp.clone(),
            };
            let is_taken = |(other, _): &&(Address, &str)| excludes(other, &address);
            if let Some((first, other)) = taken.iter().find(is_taken) {
                let message = format!("`{other}` listens on {socket} already");
                let problem = match is_ipv6(first) == is_ipv6(&address) {
                    true => problems.error(*span, message),
                    // The kernel accepts both with net.ipv6.bindv6only=1.
                    false => problems.error_in_check(*span, message),
                };
                problem.help(match process.copy_of {
                    Some(_) => "give each copy its own, with `${SCALE_INDEX}` in the address",
                    None => "give each socket an address of its own; `[::]` takes IPv4, too",
                });
            }
            taken.push((address, name));
            if is_own(&config.control, &socket.address) {
                let message = format!("`listen` of `{name}` has drainit's own address {socket}");
                problems.error(*span, message).help("give one of them another address");
            }
        }
        let readiness = process.readiness.as_ref().map(|readiness| &readiness.probe);
        let liveness = process.liveness.as_ref().and_then(Liveness::probe);
        let probes = [
            ("readiness", readiness, place.readiness),
            ("liveness", liveness, place.parts.liveness),
        ];
        for (key, probe, span) in probes {
            let (Some(probe), Some(span)) = (probe, span) else { continue };
            if let Some(socket) = process.listen.iter().find(|socket| answers(probe, socket)) {
                let message = format!(
                    "`{key}` of `{name}` always holds: drainit itself listens on {socket} for it"
                );
                let help =
                    "use `http`, `exec`, `log` or `notify`, which only the process can answer";
                problems.error(span, message).help(help);
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
    match (probe, &socket.address) {
        (Probe::Tcp(asked), Address::Tcp(held)) => overlaps(*asked, *held),
        (Probe::Unix(asked) | Probe::File(asked), Address::Unix(held)) => is_same(asked, held),
        _ => false,
    }
}
