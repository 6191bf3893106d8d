//! The sockets of `listen`: opened before anything starts, and again at a reload.

use std::io;
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
pub(crate) fn open<'c>(
    config: &'c Config,
    held: &[(ListenSocket, Rc<HeldSocket>)],
) -> Result<Vec<Sockets>, String> {
    let failed = |process: &Process, wanted: &ListenSocket, error: &io::Error| {
        format!("{}: `listen` {wanted}: {}", process.name, describe_io(error))
    };
    // Held ones change only when all others are open, so that a failure changes nothing.
    let mut adapted = Vec::new();
    let mut one = |process: &'c Process, wanted: &'c ListenSocket| {
        let ListenSocket { address, mode, backlog, .. } = wanted;
        let known = held.iter().find(|(is, _)| is.address == *address);
        let opened = match (known, address) {
            (Some((is, socket)), _) => {
                if (is.mode, is.backlog) != (*mode, *backlog) {
                    adapted.push((process, wanted, Rc::clone(socket)));
                }
                Ok(Rc::clone(socket))
            }
            (None, Address::Tcp(address)) => HeldSocket::tcp(*address, *backlog).map(Rc::new),
            (None, Address::Unix(path)) => HeldSocket::unix(path, *mode, *backlog).map(Rc::new),
        };
        opened.map_err(|error| failed(process, wanted, &error))
    };
    let all = |process: &'c Process| match process.only_if {
        Some(OnlyIf::Never) => Ok(Vec::new()),
        _ => process.listen.iter().map(|wanted| one(process, wanted)).collect(),
    };
    let sockets = config.processes.iter().map(all).collect::<Result<_, _>>()?;
    for (process, wanted, socket) in adapted {
        let unix = match &wanted.address {
            Address::Tcp(_) => None,
            Address::Unix(path) => Some((path.as_path(), wanted.mode)),
        };
        socket.adapt(unix, wanted.backlog).map_err(|error| failed(process, wanted, &error))?;
    }
    Ok(sockets)
}
