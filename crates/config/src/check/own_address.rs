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

/// Whether two sockets with these addresses cannot be open at the same time. `[::]` has the ports of
/// all addresses, unless a container turns this off (`net.ipv6.bindv6only`).
pub fn excludes(a: &Address, b: &Address) -> bool {
    match (a, b) {
        (Address::Tcp(a), Address::Tcp(b)) => {
            let has = |a: SocketAddr, b: SocketAddr| {
                a.ip().is_unspecified() && (a.is_ipv6() || b.is_ipv4())
            };
            let is_one = a.ip().to_canonical() == b.ip().to_canonical();
            a.port() != 0 && a.port() == b.port() && (is_one || has(*a, *b) || has(*b, *a))
        }
        _ => is_same_address(a, b),
    }
}

/// Whether both addresses are written in two ways, or in one, but mean one socket.
pub fn is_same_address(a: &Address, b: &Address) -> bool {
    match (a, b) {
        (Address::Unix(a), Address::Unix(b)) => is_same(a, b),
        _ => a == b,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_exclude_each_other_as_in_the_kernel() {
        let all = ["127.0.0.1:0", "127.0.0.2:0", "0.0.0.0:0", "[::1]:0", "[::]:0"];
        for a in all {
            for b in all {
                let Ok(first) = std::net::TcpListener::bind(a) else { continue };
                let at: SocketAddr = first.local_addr().unwrap();
                let mut second: SocketAddr = b.parse().unwrap();
                second.set_port(at.port());
                let is_refused = match std::net::TcpListener::bind(second) {
                    Ok(_) => false,
                    Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => true,
                    Err(_) => continue,
                };
                let [a, b] = [at, second].map(Address::Tcp);
                assert_eq!(excludes(&a, &b), is_refused, "{a} {b}");
            }
        }
    }

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
