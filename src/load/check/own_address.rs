//! What is drainit's own: a process must not remove the control socket, nor take drainit's answers
//! for its own.

use std::net::SocketAddr;
use std::path::{Component, Path, PathBuf};

use crate::config::{Address, Config, Control, DrainMethod, Probe};
use crate::load::diagnostics::diagnostic::quote;
use crate::load::diagnostics::problems::Problems;
use crate::load::read::places::Places;

/// Refuses what would remove the control socket, or ask drainit in the place of a process.
pub(crate) fn check(problems: &mut Problems, config: &Config, places: &Places) {
    let control = &config.control;
    for (process, place) in config.processes.iter().zip(&places.processes) {
        let name = &process.name;
        for (path, span) in process.sockets.iter().zip(&place.sockets) {
            if let Some(own) = control.socket.as_ref().filter(|own| is_same(own, path)) {
                let message = format!(
                    "`sockets` of `{name}` holds drainit's own `control.socket` {}, which would be removed",
                    quote(&own.to_string_lossy())
                );
                problems
                    .error(*span, message)
                    .help("take it out, or give one of them another path");
            }
        }
        let asked = process.readiness.as_ref().and_then(|readiness| match &readiness.probe {
            Probe::Unix(path) | Probe::File(path) => own_path(control, path),
            Probe::Tcp(address) => own_port(control, *address),
            Probe::Http(target) => own(control, &target.address),
            Probe::Exec(_) | Probe::Log(_) | Probe::Notify => None,
        });
        if let (Some(key), Some(span)) = (asked, place.readiness) {
            let message = format!("`readiness` of `{name}` looks at drainit's own `{key}`");
            let help = "name what the process itself listens on, or makes";
            problems.error(span, message).help(help);
        }
        let told = process.drain.as_ref().and_then(|drain| match &drain.method {
            DrainMethod::Envoy { admin, .. } => own(control, admin),
            DrainMethod::Http { target, .. } => own(control, &target.address),
            DrainMethod::Exec(_) | DrainMethod::Signal(_) | DrainMethod::Notify(_) => None,
        });
        if let (Some(key), Some(span)) = (told, place.drain) {
            let message = format!("`drain` of `{name}` is sent to drainit's own `{key}`");
            problems.error(span, message).help("name the address at which the process is told");
        }
    }
}

/// The key of `control` that names this address.
fn own(control: &Control, address: &Address) -> Option<&'static str> {
    match address {
        Address::Tcp(address) => own_port(control, *address),
        Address::Unix(path) => own_path(control, path),
    }
}

fn own_path(control: &Control, path: &Path) -> Option<&'static str> {
    control.socket.as_ref().is_some_and(|own| is_same(own, path)).then_some("control.socket")
}

fn own_port(control: &Control, address: SocketAddr) -> Option<&'static str> {
    let is_own = |own: &SocketAddr| {
        let is_everywhere = own.ip().is_unspecified() || address.ip().is_unspecified();
        own.port() == address.port() && (is_everywhere || own.ip() == address.ip())
    };
    control.listen.as_ref().is_some_and(is_own).then_some("control.listen")
}

fn is_same(a: &Path, b: &Path) -> bool {
    normal(a) == normal(b)
}

/// A path without `.`, `..` and doubled slashes. Nothing is looked up: what is checked may be
/// another machine's. But that `/var/run` is `/run` is so everywhere.
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
