//! The sockets of `listen`: opened before anything starts, and again at a reload.

use std::io;
use std::rc::Rc;

use crate::config::{Address, Config, ListenSocket, OnlyIf, Process};
use crate::http::describe_io;
use crate::os::held_sockets::HeldSocket;

/// Those of one process, in the order of its `listen`. The slots of a process share them.
pub(crate) type Sockets = Vec<Rc<HeldSocket>>;

/// The sockets of each process, opened, and what is still to be changed.
pub(crate) struct Opened<'c> {
    sockets: Vec<Sockets>,
    /// Sockets that were held before, with their new permissions and queue.
    adapted: Vec<Adapted<'c>>,
}

struct Adapted<'c> {
    process: &'c Process,
    wanted: &'c ListenSocket,
    was: ListenSocket,
    socket: Rc<HeldSocket>,
}

/// Opens the sockets of each process, except those that are held already: they stay open, and
/// connections wait in them. Those of a process that is left out stay closed. `held`: `None` at the
/// start, when nothing runs.
///
/// # Errors
/// Says which one cannot be opened, and why. Those that were opened are closed again.
pub(crate) fn open<'c>(
    config: &'c Config,
    held: Option<&[(ListenSocket, Rc<HeldSocket>)]>,
) -> Result<Opened<'c>, String> {
    // Held ones change only when all others are open, so that a failure changes nothing.
    let mut adapted = Vec::new();
    let mut one = |process: &'c Process, wanted: &'c ListenSocket| {
        let ListenSocket { address, mode, backlog, .. } = wanted;
        let known = held.unwrap_or_default().iter().find(|(is, _)| is.address == *address);
        let is_same = |is: &ListenSocket| (is.mode, is.backlog) == (*mode, *backlog);
        let opened = match (known, address) {
            (Some((is, socket)), _) if is_same(is) => Ok(Rc::clone(socket)),
            // One that has lost its file is opened anew: its process is replaced anyway.
            (Some((is, socket)), _) if socket.has_address() => {
                let (was, socket) = (is.clone(), Rc::clone(socket));
                adapted.push(Adapted { process, wanted, was, socket: Rc::clone(&socket) });
                Ok(socket)
            }
            (_, Address::Tcp(address)) => HeldSocket::tcp(*address, *backlog).map(Rc::new),
            (_, Address::Unix(path)) => HeldSocket::unix(path, *mode, *backlog).map(Rc::new),
        };
        opened.map_err(|error| match error.kind() {
            io::ErrorKind::AddrInUse if held.is_some() => {
                failed(process, wanted, &error)
                    + "; if a process of this container listens there itself: `drainit stop` it, reload, \
                       and `drainit start` it"
            }
            _ => failed(process, wanted, &error),
        })
    };
    let all = |process: &'c Process| match process.only_if {
        Some(OnlyIf::Never) => Ok(Vec::new()),
        _ => process.listen.iter().map(|wanted| one(process, wanted)).collect(),
    };
    let sockets = config.processes.iter().map(all).collect::<Result<_, _>>()?;
    Ok(Opened { sockets, adapted })
}

impl Opened<'_> {
    /// Changes the sockets that were held before: all, or none.
    ///
    /// # Errors
    /// As above.
    pub(crate) fn adapt(self) -> Result<Vec<Sockets>, String> {
        for (place, Adapted { process, wanted, socket, .. }) in self.adapted.iter().enumerate() {
            if let Err(error) = adapt(socket, wanted) {
                for before in &self.adapted[..place] {
                    // Best effort: the first failure is reported.
                    let _ = adapt(&before.socket, &before.was);
                }
                return Err(failed(process, wanted, &error));
            }
        }
        Ok(self.sockets)
    }
}

/// Gives a socket the permissions and the queue of a definition.
fn adapt(socket: &HeldSocket, to: &ListenSocket) -> io::Result<()> {
    socket.adapt(to.mode, to.backlog)
}

/// Gives a process the sockets that it has as its definition has them, where `tried`, those of a
/// config that it did not get, has changed them.
pub(crate) fn take_back(process: &Process, sockets: &Sockets, tried: &[&ListenSocket]) {
    for (is, socket) in process.listen.iter().zip(sockets) {
        let differs = |tried: &&&ListenSocket| {
            tried.address == is.address && (tried.mode, tried.backlog) != (is.mode, is.backlog)
        };
        if tried.iter().any(|tried| differs(&tried))
            && let Err(error) = adapt(socket, is)
        {
            tracing::warn!("{}", failed(process, is, &error));
        }
    }
}

fn failed(process: &Process, wanted: &ListenSocket, error: &io::Error) -> String {
    format!("{}: `listen` {wanted}: {}", process.name, describe_io(error))
}
