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
    adapted: Vec<(&'c Process, &'c ListenSocket, Rc<HeldSocket>)>,
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
            (Some((_, socket)), _) if socket.has_address() => {
                adapted.push((process, wanted, Rc::clone(socket)));
                Ok(Rc::clone(socket))
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
    /// Changes the sockets that were held before.
    ///
    /// # Errors
    /// As above.
    pub(crate) fn adapt(self) -> Result<Vec<Sockets>, String> {
        for (process, wanted, socket) in self.adapted {
            let adapted = socket.adapt(wanted.mode, wanted.backlog);
            adapted.map_err(|error| failed(process, wanted, &error))?;
        }
        Ok(self.sockets)
    }
}

fn failed(process: &Process, wanted: &ListenSocket, error: &io::Error) -> String {
    format!("{}: `listen` {wanted}: {}", process.name, describe_io(error))
}
