//! Compares addresses: whether two of them mean the same server on this machine.

use std::net::SocketAddr;

use drainit_os::same_path::is_same;

use crate::keys::Address;

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
