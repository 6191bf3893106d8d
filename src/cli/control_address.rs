//! Where the running supervisor answers, for every command that asks it.

use crate::config::schema::{Address, Config};

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
