//! The sockets of `listen`: opened before anything starts, and again at a reload.

use std::rc::Rc;

use crate::config::{Address, Config, ListenSocket, OnlyIf, Process};
use crate::http::describe_io;
use crate::os::held_sockets::HeldSocket;

/// Those of one process, in the order of its `listen`. The slots of a process share them.
pub(crate) type Sockets = Vec<Rc<HeldSocket>>;

/// Opens the sockets of each process, except those that are held already: they stay open, and
/// connections wait in them. Those of a process that is left out stay closed.
///
/// # Errors
/// Says which one cannot be opened, and why. Those that were opened are closed again.
pub(crate) fn open(
    config: &Config,
    held: &[(ListenSocket, Rc<HeldSocket>)],
) -> Result<Vec<Sockets>, String> {
    let one = |process: &Process, wanted: &ListenSocket| {
        let ListenSocket { address, mode, backlog, .. } = wanted;
        let known = held.iter().find(|(is, _)| is.address == *address);
        let opened = match (known, address) {
            (Some((is, socket)), _) if (is.mode, is.backlog) == (*mode, *backlog) => {
                Ok(Rc::clone(socket))
            }
            (Some((_, socket)), Address::Tcp(_)) => {
                socket.adapt(None, *backlog).map(|()| Rc::clone(socket))
            }
            (Some((_, socket)), Address::Unix(path)) => {
                socket.adapt(Some((path, *mode)), *backlog).map(|()| Rc::clone(socket))
            }
            (None, Address::Tcp(address)) => HeldSocket::tcp(*address, *backlog).map(Rc::new),
            (None, Address::Unix(path)) => HeldSocket::unix(path, *mode, *backlog).map(Rc::new),
        };
        opened.map_err(|error| {
            format!("{}: `listen` {wanted}: {}", process.name, describe_io(&error))
        })
    };
    let all = |process: &Process| match process.only_if {
        Some(OnlyIf::Never) => Ok(Vec::new()),
        _ => process.listen.iter().map(|wanted| one(process, wanted)).collect(),
    };
    config.processes.iter().map(all).collect()
}
