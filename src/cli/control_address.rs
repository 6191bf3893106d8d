//! The control address of the running supervisor, for the commands that send requests.
//!
//! Only `control` is read from the config, because the other keys may need variables that only the
//! supervisor has.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use crate::cli::config_files;
use crate::commands::Whom;
use crate::http::Response;
use crate::keys::{Address, Control, ControlSocket};
use crate::load::control;
use crate::os::on_thread::on_thread;
use crate::os::private_socket;
use crate::types::{exit_code, visible};

/// At most this many characters of an answer are printed.
const MAX_LINE: usize = 1000;

/// An address, and a hint for the error if nothing answers there.
pub(super) struct Found {
    pub(super) address: Address,
    /// A reason why the address may be wrong, to append to an error. Empty if the address is
    /// certain.
    pub(super) doubt: String,
}

impl From<Address> for Found {
    fn from(address: Address) -> Self {
        Self { address, doubt: String::new() }
    }
}

const NOBODY_LISTENS: &str = "the config has `control: {socket: off}` and no `control.listen`, so \
                              nobody listens; remove the one or add the other";
const NO_SOCKET: &str = "the config has `control: {socket: off}`, so no command can reach \
                         drainit; remove it, or name a path";

/// The address of drainit for an operator, who needs the control socket, or for a probe
/// (`is_probe`), which only needs the read-only endpoints. `within` is the time limit for reading
/// the config.
///
/// # Errors
/// Returns the reason and the exit code.
pub(super) async fn find(
    whom: &Whom,
    within: Duration,
    is_probe: bool,
) -> Result<Found, (String, u8)> {
    if let Some(socket) = &whom.socket {
        let name = socket.to_str().and_then(|socket| socket.strip_prefix('@'));
        return Ok(Address::Unix(name.map_or(socket.clone(), private_socket::path)).into());
    }
    let files = whom.files.clone();
    let read = on_thread(within, move || config_files::control(&files)).await;
    let read = read.map_err(|error| {
        let reason = format!("the config cannot be read: {error}; name the socket with --socket");
        (reason, exit_code::NOT_READY)
    })?;
    address_in(read, is_probe).map_err(|reason| (reason, exit_code::CONFIG))
}

/// The address that the config names, or the default address if there is no config. If the config
/// is wrong and PID 1 is a drainit, the private socket of PID 1.
fn address_in(found: Option<control::FoundControl>, is_probe: bool) -> Result<Found, String> {
    let Some(found) = found else {
        let doubt = ", or name its socket with --socket";
        let address = choose(&Control::default(), is_probe)?;
        return Ok(Found { address, doubt: doubt.to_owned() });
    };
    let names: Vec<_> = found.unset.iter().map(|name| format!("`{name}`")).collect();
    let doubt = match names.len() {
        0 => String::new(),
        _ => format!(
            "; `control` uses {}, which is not set here: if it is for the supervisor, name its socket with --socket",
            names.join(" and ")
        ),
    };
    match found.control {
        Ok(control) => Ok(Found { address: choose(&control, is_probe)?, doubt }),
        // The config may have changed since drainit started, or may be missing in a debug
        // container. If PID 1 is a drainit with a private socket, this drainit is certainly meant.
        Err(problems) => {
            if let Ok(path) = private_socket::init_socket()
                && private_socket::is_drainit(&path)
            {
                return Ok(Found { address: Address::Unix(path), doubt });
            }
            // The reason is one line, because a probe shows only one line.
            let first = problems.iter().find(|problem| problem.is_error());
            let first = first.map(|problem| format!(": {}", problem.in_a_line()));
            let remedy = if doubt.is_empty() { "; see `drainit check`" } else { &doubt };
            Err(format!("the config is wrong{}{remedy}", first.unwrap_or_default()))
        }
    }
}

/// The control socket, unless this is the private socket and a probe can use the TCP address.
fn choose(control: &Control, is_probe: bool) -> Result<Address, String> {
    match (&control.socket, control.listen.filter(|_| is_probe)) {
        (ControlSocket::Path(socket), _) => Ok(Address::Unix(socket.clone())),
        (_, Some(listen)) => over_tcp(listen),
        (ControlSocket::Private, None) => private(),
        (ControlSocket::Off, None) if is_probe => Err(NOBODY_LISTENS.to_owned()),
        (ControlSocket::Off, None) => Err(NO_SOCKET.to_owned()),
    }
}

/// The private socket of the drainit in this PID namespace.
fn private() -> Result<Address, String> {
    private_socket::find().map(Address::Unix).map_err(|error| {
        format!("/proc/self/ns/pid cannot be read ({error}), so the name of drainit's socket is unknown: use --socket")
    })
}

/// The TCP address to connect to. For a wildcard address, this is the loopback address.
fn over_tcp(listen: SocketAddr) -> Result<Address, String> {
    let ip = match listen {
        _ if !listen.ip().is_unspecified() => listen.ip(),
        SocketAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
        SocketAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
    };
    match listen.port() {
        0 => Err(
            "`control.listen` lets the kernel choose the port, so nobody knows it; write a port"
                .to_owned(),
        ),
        port => Ok(Address::Tcp((ip, port).into())),
    }
}

/// The first line of an answer, or the status if the answer is empty.
pub(super) fn first_line(response: &Response) -> String {
    let body = String::from_utf8_lossy(&response.body);
    let line = body.lines().next().unwrap_or_default().trim();
    let line: String = line.chars().take(MAX_LINE).map(visible).collect();
    if line.is_empty() { response.status.to_string() } else { line }
}
