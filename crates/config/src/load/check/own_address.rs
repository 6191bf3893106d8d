//! Refuses drainit's own socket among those that a process would remove. Compares addresses and paths.

use std::net::SocketAddr;
use std::path::{Component, Path, PathBuf};

use crate::config::{Address, Config};
use crate::load::diagnostics::diagnostic::quote;
use crate::load::diagnostics::problems::Problems;
use crate::load::places::Places;

pub(crate) fn check(problems: &mut Problems, config: &Config, places: &Places) {
    for (process, place) in config.processes.iter().zip(&places.processes) {
        let name = &process.name;
        for (number, path) in process.sockets.iter().enumerate() {
            if let Some(own) = config.control.socket.path().filter(|own| is_same(own, path)) {
                let message = format!(
                    "`sockets` of `{name}` contains drainit's own `control.socket` {}, which would be removed",
                    quote(&own.to_string_lossy())
                );
                let span = place.at(&format!("sockets.{number}"));
                problems.error(span, message).help("remove it, or give one of them another path");
            }
        }
    }
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
fn overlaps(a: SocketAddr, b: SocketAddr) -> bool {
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
