//! Compares addresses: whether two of them mean the same server on this machine.

use std::net::SocketAddr;
use std::path::{Component, Path, PathBuf};

use crate::config::Address;

/// Whether a connection to one of the two addresses may reach a server that listens on the other
/// address.
pub(crate) fn reaches(a: &Address, b: &Address) -> bool {
    match (a, b) {
        (Address::Tcp(a), Address::Tcp(b)) => overlaps(*a, *b),
        (Address::Unix(a), Address::Unix(b)) => is_same(a, b),
        _ => false,
    }
}

/// Whether a connection to one of the two TCP addresses may reach a server that listens on the
/// other address.
fn overlaps(a: SocketAddr, b: SocketAddr) -> bool {
    let is_everywhere = a.ip().is_unspecified() || b.ip().is_unspecified();
    a.port() == b.port() && (is_everywhere || a.ip() == b.ip())
}

pub fn is_same(a: &Path, b: &Path) -> bool {
    normal(a) == normal(b)
}

/// The path without `.`, `..` and doubled slashes, and with `/run` in place of `/var/run`. Does not
/// look at the file system, because the config may be for another machine.
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
