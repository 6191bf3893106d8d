//! The addresses of servers on this machine.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use crate::keys::forms::GrpcServer;
use crate::keys::key::Table;

/// Where an HTTP request goes. The server must be an IP address, `localhost` or a Unix socket. For
/// any other name, PID 1 would have to wait for a DNS server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpTarget {
    pub address: Address,
    /// The path and the query of the URL, as one text that begins with `/`.
    pub path: String,
}

/// Writes the target in the form that a config has, without the query, which may be secret.
impl fmt::Display for HttpTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.split('?').next().unwrap_or_default();
        match &self.address {
            Address::Tcp(_) => write!(f, "{}{path}", self.address),
            Address::Unix(_) => write!(f, "{}:{path}", self.address),
        }
    }
}

/// A gRPC server, and the service whose health counts.
#[derive(Clone, Debug, PartialEq, Eq, Table)]
#[table(short = "address", shared = "grpc")]
pub struct GrpcTarget {
    /// The server: `HOST:PORT`, or `unix:/SOCKET`. Example: `address: 127.0.0.1:9003`
    #[key(form = GrpcServer, required = "add it: `address: 127.0.0.1:9003`")]
    pub address: Address,
    /// The service whose health counts. If unset, the health of the server as a whole counts.
    /// Example: `service: policy`
    #[key(default = "none", value = String::new())]
    pub service: String,
}

/// Writes only the address of the server, without the service.
impl fmt::Display for GrpcTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.address {
            Address::Tcp(address) => write!(f, "{address}"),
            Address::Unix(_) => write!(f, "{}", self.address),
        }
    }
}

/// The address of a server.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    Tcp(SocketAddr),
    /// The path of a Unix socket. If the first byte is 0, the rest is not a path, but an abstract
    /// name, as in the kernel (unix(7)).
    Unix(PathBuf),
}

/// Writes the address in the form that a config has.
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
