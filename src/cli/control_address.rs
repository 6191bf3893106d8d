//! The control address of the running supervisor, for the commands that ask it.
//!
//! Only `control` is read of a config: the rest may need variables that only the supervisor has.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use crate::cli::config_files::ConfigFiles;
use crate::config::{Address, Control};
use crate::http::Response;
use crate::types::visible;

/// The length of an answer that is printed, in characters.
const MAX_LINE: usize = 1000;

/// An address, and a hint for the error when it does not answer.
pub(super) struct Found {
    pub(super) address: Address,
    /// Why the address may be wrong, to append to an error; empty if it is certain.
    pub(super) doubt: String,
}

impl From<Address> for Found {
    fn from(address: Address) -> Self {
        Self { address, doubt: String::new() }
    }
}

/// The address of the read-only endpoints: the control socket, else the TCP address.
pub(super) fn of_probes(files: &ConfigFiles, socket: Option<PathBuf>) -> Result<Found, String> {
    find(files, socket, |control| {
        match (&control.socket, control.listen) {
        (Some(socket), _) => Ok(Address::Unix(socket.clone())),
        (None, Some(listen)) => over_tcp(listen),
        (None, None) => Err(
            "the config sets neither `control.socket` nor `control.listen`, so nobody listens; add one of them"
                .to_owned(),
        ),
    }
    })
}

/// The address that accepts a drain: the control socket, else the TCP address with
/// `control.drain_over_tcp`.
pub(super) fn of_drain(files: &ConfigFiles, socket: Option<PathBuf>) -> Result<Found, String> {
    find(files, socket, |control| {
        match (&control.socket, control.listen) {
        (Some(socket), _) => Ok(Address::Unix(socket.clone())),
        (None, Some(listen)) if control.drain_over_tcp => over_tcp(listen),
        (None, Some(_)) => Err(
            "the config sets `control.listen` only, and the drain is not taken over TCP; add `control: {socket: PATH}`"
                .to_owned(),
        ),
        (None, None) => Err(
            "the config does not set `control.socket`, so nobody listens; add `control: {socket: PATH}`".to_owned(),
        ),
    }
    })
}

fn find(
    files: &ConfigFiles,
    socket: Option<PathBuf>,
    choose: impl Fn(&Control) -> Result<Address, String>,
) -> Result<Found, String> {
    if let Some(socket) = socket {
        return Ok(Address::Unix(socket).into());
    }
    let found = files.control();
    let names: Vec<_> = found.unset.iter().map(|name| format!("`{name}`")).collect();
    let doubt = match names.len() {
        0 => String::new(),
        _ => format!(
            "; `control` uses {}, which is not set here: if it is for the supervisor, name its socket with --socket",
            names.join(" and ")
        ),
    };
    match found.control {
        Ok(control) => Ok(Found { address: choose(&control)?, doubt }),
        Err(problems) => {
            // One line, as a probe shows no more.
            let first = problems.iter().find(|problem| problem.is_error());
            let first = first.map(|problem| format!(": {}", problem.in_a_line()));
            let mend = if doubt.is_empty() { "; see `drainit check`" } else { &doubt };
            Err(format!("the config is wrong{}{mend}", first.unwrap_or_default()))
        }
    }
}

/// A wildcard address is asked on the loopback address.
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

/// The first line of an answer, or its status if it is empty.
pub(super) fn first_line(response: &Response) -> String {
    let body = String::from_utf8_lossy(&response.body);
    let line = body.lines().next().unwrap_or_default().trim();
    let line: String = line.chars().take(MAX_LINE).map(visible).collect();
    if line.is_empty() { response.status.to_string() } else { line }
}
