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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wildcard_has_the_ports_of_all_addresses() {
        for (a, b, expected) in [
            ("127.0.0.1:80", "127.0.0.1:80", true),
            ("127.0.0.1:80", "10.0.0.1:80", false),
            ("127.0.0.1:80", "0.0.0.0:80", true),
            ("[::]:80", "127.0.0.1:80", true),
            ("0.0.0.0:80", "127.0.0.1:81", false),
        ] {
            assert_eq!(overlaps(a.parse().unwrap(), b.parse().unwrap()), expected, "{a} {b}");
        }
    }
}
