//! Addresses of servers on this machine.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

/// The target of an HTTP request. Names are not resolved, because PID 1 must not block in a
/// resolver: the server is an IP address, `localhost` or a Unix socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpTarget {
    pub address: Address,
    /// Path and query, beginning with `/`.
    pub path: String,
}

/// Writes the target as a config does.
impl fmt::Display for HttpTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.address {
            Address::Tcp(_) => write!(f, "{}{}", self.address, self.path),
            Address::Unix(_) => write!(f, "{}:{}", self.address, self.path),
        }
    }
}

/// The address of a server.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    Tcp(SocketAddr),
    /// The path of a Unix socket. A first byte of 0 marks an abstract name, as in the kernel
    /// (unix(7)).
    Unix(PathBuf),
}

/// Writes the address as a config does.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "http://{address}"),
            Self::Unix(path) => {
                write!(f, "unix:{}", path.to_string_lossy().replacen('\0', "@", 1))
            }
        }
    }
}
