//! `listen:` of a process: sockets that drainit opens for it.

use std::fmt;

use crate::keys::Address;
use crate::keys::forms::{Permissions, leaf};
use crate::keys::key::{Shape, Table};
use crate::keys::reader::{Fields, Reader};
use crate::keys::values;
use crate::language::diagnostics::diagnostic::quote;
use crate::language::invalid::Invalid;

/// A socket that drainit opens before the process starts, holds during restarts, and hands to each
/// instance of the process.
#[derive(Clone, Debug, PartialEq, Eq, Table)]
#[table(settle = Self, short = "address")]
pub struct ListenSocket {
    /// `tcp://HOST:PORT` or `unix:/PATH`. Example: `address: unix:/run/app.sock`
    #[key(form = ListenOn, required = "add `address: tcp://0.0.0.0:8080` or `address: unix:/run/app.sock`")]
    pub address: Address,
    /// The name of the socket in `LISTEN_FDNAMES`. <!-- C182 --> Example: `name: admin`
    #[key(form = SocketName, default = "the name of the process", value = String::new())]
    pub name: String,
    /// Who may connect to a Unix socket. <!-- C183 --> Example: `mode: "0660"`
    // systemd's `SocketMode=` has the same default.
    #[key(form = Permissions, default = "0666")]
    pub mode: u32,
    /// How many connections can wait, at most `net.core.somaxconn`. <!-- C184 --> Example:
    /// `backlog: 64`
    #[key(default = "the kernel's limit")]
    pub backlog: Option<u32>,
}

impl ListenSocket {
    fn settle(mut self, reader: &mut Reader<'_>, _: &Fields<'_>) -> Option<Self> {
        if self.name.is_empty() {
            self.name.clone_from(&reader.process);
        }
        Some(self)
    }
}

/// Writes the socket in the form that a config has.
impl fmt::Display for ListenSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.address {
            Address::Tcp(address) => write!(f, "tcp://{address}"),
            Address::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

leaf! {
    /// The address of a socket in a config: `tcp://HOST:PORT` or `unix:/PATH`.
    struct ListenOn => Address: Shape::Pattern("text", "^(tcp://|unix:)"), address;
    /// The name of a socket, which the process gets in `LISTEN_FDNAMES`.
    struct SocketName => String: Shape::Filled("text"), name;
}

fn address(text: &str) -> Result<Address, Invalid> {
    const HELP: &str = "write `tcp://0.0.0.0:8080` or `unix:/run/app.sock`";
    if let Some(path) = text.strip_prefix("unix:") {
        return values::socket_path(path).map(Address::Unix);
    }
    match text.strip_prefix("tcp://") {
        Some(rest) => values::tcp(rest).map(Address::Tcp),
        None => Err(Invalid::new("not an address to listen on", HELP)),
    }
}

/// Parses the name of a socket. A colon is refused, because colons separate the names in
/// `LISTEN_FDNAMES` (sd_listen_fds(3)).
fn name(text: &str) -> Result<String, Invalid> {
    let fits = |c: char| c.is_ascii_graphic() && c != ':';
    match !text.is_empty() && text.len() <= 255 && text.chars().all(fits) {
        true => Ok(text.to_owned()),
        false => Err(Invalid::new(
            format!("{} cannot be the name of a socket", quote(text)),
            "use at most 255 letters, digits and signs other than `:`",
        )),
    }
}
