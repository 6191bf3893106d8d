//! Where the running supervisor answers, and what, for every command that asks it.

use crate::config::schema::{Address, Config};
use crate::shell::http::Response;
use crate::vocab::visible;

/// What a probe keeps of an answer, in characters.
const MAX_LINE: usize = 1000;

/// The control socket of a config, else its TCP address.
pub(super) fn of(config: &Config) -> Result<Address, String> {
    let control = &config.control;
    match (&control.socket, control.listen) {
        (Some(socket), _) => Ok(Address::Unix(socket.clone())),
        (None, Some(listen)) if listen.port() != 0 => Ok(Address::Tcp(listen)),
        (None, Some(_)) => {
            let why = "`control.listen` lets the kernel choose the port, so nobody knows it; write a port";
            Err(why.to_owned())
        }
        (None, None) => {
            let why = "the config sets neither `control.socket` nor `control.listen`, so nobody listens; add one of them";
            Err(why.to_owned())
        }
    }
}

/// The first line of an answer, or its status where it says nothing.
pub(super) fn first_line(response: &Response) -> String {
    let body = String::from_utf8_lossy(&response.body);
    let line = body.lines().next().unwrap_or_default().trim();
    let line: String = line.chars().take(MAX_LINE).map(visible).collect();
    if line.is_empty() { response.status.to_string() } else { line }
}
