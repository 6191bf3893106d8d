//! `listen:` of a process: sockets that drainit opens for it.

use std::fmt;
use std::net::SocketAddr;

use crate::config::Address;

/// A socket that drainit opens before anything starts, holds until the container stops, and hands
/// to each instance of the process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenSocket {
    pub address: Address,
    /// Its name in `LISTEN_FDNAMES`. Default: the name of the process.
    pub name: String,
    /// The permissions of a Unix socket. Default 0666, as systemd's `SocketMode` has it.
    pub mode: u32,
    /// Connections that wait in the kernel. Default and limit: `net.core.somaxconn`.
    pub backlog: Option<u32>,
}

impl ListenSocket {
    /// Whether it takes connections to this address.
    #[must_use]
    pub fn takes(&self, address: SocketAddr) -> bool {
        matches!(self.address, Address::Tcp(held) if held.port() == address.port()
            && (held.ip() == address.ip() || held.ip().is_unspecified()))
    }
}

/// As it is written in a config.
impl fmt::Display for ListenSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.address {
            Address::Tcp(address) => write!(f, "tcp://{address}"),
            Address::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}
