//! Refuses drainit's own addresses where a process's are expected: a process must not remove the
//! control socket, and drainit's answers must not pass for a process's.

use std::net::SocketAddr;
use std::path::{Component, Path, PathBuf};

use crate::config::{Address, Config, Control, DrainMethod};
use crate::load::check::place_of_drain;
use crate::load::diagnostics::diagnostic::quote;
use crate::load::diagnostics::problems::Problems;
use crate::load::places::Places;

pub(crate) fn check(problems: &mut Problems, config: &Config, places: &Places) {
    let control = &config.control;
    for (process, place) in config.processes.iter().zip(&places.processes) {
        let name = &process.name;
        for (number, path) in process.sockets.iter().enumerate() {
            if let Some(own) = control.socket.path().filter(|own| is_same(own, path)) {
                let message = format!(
                    "`sockets` of `{name}` contains drainit's own `control.socket` {}, which would be removed",
                    quote(&own.to_string_lossy())
                );
                let span = place.at(&format!("sockets.{number}"));
                problems.error(span, message).help("remove it, or give one of them another path");
            }
        }
        for (what, probe) in process.probes() {
            let asked = probe.address().and_then(|address| own(control, &address));
            if let Some(key) = asked {
                let message = format!("`{what}` of `{name}` probes drainit's own `{key}`");
                let help = "write the address or file of the process itself";
                problems.error(place.at(what), message).help(help);
            }
        }
        let drained_at = process.drain.as_ref().and_then(|drain| match &drain.method {
            DrainMethod::Envoy(envoy) => own(control, &envoy.admin),
            DrainMethod::Http(http) => own(control, &http.url.address),
            DrainMethod::Exec(_) | DrainMethod::Signal(_) | DrainMethod::Notify(_) => None,
        });
        if let Some(key) = drained_at {
            let message = format!("`drain` of `{name}` is sent to drainit's own `{key}`");
            let span = place_of_drain(process, place, "");
            problems.error(span, message).help("write the address of the process itself");
        }
    }
}

/// The key of `control` that names this address.
pub(crate) fn own(control: &Control, address: &Address) -> Option<&'static str> {
    let (key, own) = match address {
        Address::Tcp(_) => ("control.listen", control.listen.map(Address::Tcp)),
        Address::Unix(_) => {
            ("control.socket", control.socket.path().map(|path| Address::Unix(path.to_owned())))
        }
    };
    own.is_some_and(|own| reaches(&own, address)).then_some(key)
}

/// Whether a connection to one of the addresses may reach the other.
pub(crate) fn reaches(a: &Address, b: &Address) -> bool {
    match (a, b) {
        (Address::Tcp(a), Address::Tcp(b)) => overlaps(*a, *b),
        (Address::Unix(a), Address::Unix(b)) => is_same(a, b),
        _ => false,
    }
}

/// Whether a connection to one of the ports may reach the other.
pub(crate) fn overlaps(a: SocketAddr, b: SocketAddr) -> bool {
    let is_everywhere = a.ip().is_unspecified() || b.ip().is_unspecified();
    a.port() == b.port() && (is_everywhere || a.ip() == b.ip())
}

pub fn is_same(a: &Path, b: &Path) -> bool {
    normal(a) == normal(b)
}

/// A path without `.`, `..` and doubled slashes, and with `/run` for `/var/run`. Does not touch the
/// file system, since the config may be for another machine.
pub fn normal(path: &Path) -> PathBuf {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let mut normal = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => {
                normal.pop();
            }
            part => normal.push(part),
        }
    }
    normal.strip_prefix("/var/run").map(|rest| Path::new("/run").join(rest)).unwrap_or(normal)
}
