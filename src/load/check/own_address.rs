//! Refuses drainit's own addresses where a process's are expected: a process must not remove the
//! control socket, and drainit's answers must not pass for a process's.

use std::net::SocketAddr;
use std::path::{Component, Path, PathBuf};

use crate::config::{Address, Config, Control, DrainMethod, Liveness, Probe};
use crate::load::diagnostics::diagnostic::quote;
use crate::load::diagnostics::problems::Problems;
use crate::load::read::places::Places;

pub(crate) fn check(problems: &mut Problems, config: &Config, places: &Places) {
    let control = &config.control;
    for (process, place) in config.processes.iter().zip(&places.processes) {
        let name = &process.name;
        for (path, span) in process.sockets.iter().zip(&place.sockets) {
            if let Some(own) = control.socket.path().filter(|own| is_same(own, path)) {
                let message = format!(
                    "`sockets` of `{name}` contains drainit's own `control.socket` {}, which would be removed",
                    quote(&own.to_string_lossy())
                );
                problems.error(*span, message).help("remove it, or give one of them another path");
            }
        }
        let ready = process.readiness.as_ref().map(|readiness| &readiness.probe);
        let alive = process.liveness.as_ref().and_then(Liveness::probe);
        let parts = &place.parts;
        for (what, probe, span) in
            [("readiness", ready, parts.readiness), ("liveness", alive, parts.liveness)]
        {
            let asked = probe.and_then(|probe| probed(control, probe));
            if let (Some(key), Some(span)) = (asked, span) {
                let message = format!("`{what}` of `{name}` probes drainit's own `{key}`");
                let help = "write the address or file of the process itself";
                problems.error(span, message).help(help);
            }
        }
        let drained_at = process.drain.as_ref().and_then(|drain| match &drain.method {
            DrainMethod::Envoy { admin, .. } => own(control, admin),
            DrainMethod::Http { target, .. } => own(control, &target.address),
            DrainMethod::Exec(_) | DrainMethod::Signal(_) | DrainMethod::Notify(_) => None,
        });
        if let (Some(key), Some(span)) = (drained_at, place.drain) {
            let message = format!("`drain` of `{name}` is sent to drainit's own `{key}`");
            problems.error(span, message).help("write the address of the process itself");
        }
    }
}

/// The key of `control` that names the target of this probe.
fn probed(control: &Control, probe: &Probe) -> Option<&'static str> {
    match probe {
        Probe::Unix(path) | Probe::File(path) => own_path(control, path),
        Probe::Tcp(address) => own_port(control, *address),
        Probe::Http(target) => own(control, &target.address),
        Probe::Envoy(admin) => own(control, admin),
        Probe::Exec(_) | Probe::Log(_) | Probe::Notify => None,
    }
}

/// Whether drainit itself has this address.
pub(crate) fn is_own(control: &Control, address: &Address) -> bool {
    own(control, address).is_some()
}

/// The key of `control` that names this address.
fn own(control: &Control, address: &Address) -> Option<&'static str> {
    match address {
        Address::Tcp(address) => own_port(control, *address),
        Address::Unix(path) => own_path(control, path),
    }
}

fn own_path(control: &Control, path: &Path) -> Option<&'static str> {
    control.socket.path().is_some_and(|own| is_same(own, path)).then_some("control.socket")
}

fn own_port(control: &Control, address: SocketAddr) -> Option<&'static str> {
    control.listen.is_some_and(|own| overlaps(own, address)).then_some("control.listen")
}

/// Whether a connection to one of the addresses may reach the other.
pub(crate) fn overlaps(a: SocketAddr, b: SocketAddr) -> bool {
    let is_everywhere = a.ip().is_unspecified() || b.ip().is_unspecified();
    a.port() == b.port() && (is_everywhere || a.ip() == b.ip())
}

pub(crate) fn is_same(a: &Path, b: &Path) -> bool {
    normal(a) == normal(b)
}

/// A path without `.`, `..` and doubled slashes, and with `/run` for `/var/run`. Does not touch the
/// file system, since the config may be for another machine.
pub(crate) fn normal(path: &Path) -> PathBuf {
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
