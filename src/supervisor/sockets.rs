//! The sockets of `listen`: opened before anything starts, and again at a reload. All of this may
//! hang with a file system, so it happens on a thread.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use crate::config::{Address, Config, ListenSocket, OnlyIf, Process};
use crate::http::describe_io;
use crate::os::held_sockets::HeldSocket;
use crate::os::on_thread;

/// The longest wait for all of them.
pub(crate) const LONGEST_OPEN: Duration = Duration::from_secs(10);

/// Those of one process, in the order of its `listen`. The slots of a process share them.
pub(crate) type Sockets = Vec<Arc<HeldSocket>>;

/// Sockets that are open, with the definition of each.
pub(crate) type Held = Vec<(ListenSocket, Arc<HeldSocket>)>;

/// What one process is to listen on.
pub(crate) struct Wanted {
    name: String,
    listen: Vec<ListenSocket>,
}

/// The sockets of each process, opened. What they have changed is taken back when this is dropped.
#[derive(Default)]
pub(crate) struct Opened {
    sockets: Vec<Sockets>,
    /// Sockets that were held before and are to have new permissions or a new queue.
    differ: Vec<Adapted>,
    /// Those that have them.
    adapted: Vec<Adapted>,
}

struct Adapted {
    name: String,
    wanted: ListenSocket,
    was: ListenSocket,
    socket: Arc<HeldSocket>,
}

/// What each process of a config listens on. A process that is left out has no sockets.
pub(crate) fn wanted(config: &Config) -> Vec<Wanted> {
    let one = |process: &Process| Wanted {
        name: process.name.clone(),
        listen: match process.only_if {
            Some(OnlyIf::Never) => Vec::new(),
            _ => process.listen.clone(),
        },
    };
    config.processes.iter().map(one).collect()
}

/// Opens the sockets of each process, except those that are held already: they stay open, and
/// connections wait in them. `held`: `None` at the start, when nothing runs.
///
/// # Errors
/// Says which one cannot be opened, and why. Those that were opened are closed again.
pub(crate) fn open(wanted: Vec<Wanted>, held: Option<&Held>) -> Result<Opened, String> {
    // Held ones change only when all others are open, so that a failure changes nothing.
    let mut opened = Opened::default();
    for Wanted { name, listen } in wanted {
        let mut sockets = Vec::new();
        for wanted in listen {
            sockets.push(opened.one(&name, wanted, held)?);
        }
        opened.sockets.push(sockets);
    }
    Ok(opened)
}

impl Opened {
    fn one(
        &mut self,
        name: &str,
        wanted: ListenSocket,
        held: Option<&Held>,
    ) -> Result<Arc<HeldSocket>, String> {
        let (mode, backlog) = (wanted.mode, wanted.backlog);
        let known = held.into_iter().flatten().find(|(is, _)| is.address == wanted.address);
        let opened = match (known, &wanted.address) {
            (Some((is, socket)), _) if (is.mode, is.backlog) == (mode, backlog) => {
                return Ok(Arc::clone(socket));
            }
            // One that has lost its file is opened anew: its process is replaced anyway.
            (Some((was, socket)), _) if socket.has_address() => {
                let (name, was, socket) = (name.to_owned(), was.clone(), Arc::clone(socket));
                self.differ.push(Adapted { name, wanted, was, socket: Arc::clone(&socket) });
                return Ok(socket);
            }
            (_, Address::Tcp(address)) => HeldSocket::tcp(*address, backlog),
            (_, Address::Unix(path)) => HeldSocket::unix(path, mode, backlog),
        };
        opened.map(Arc::new).map_err(|error| match error.kind() {
            io::ErrorKind::AddrInUse if held.is_some() => {
                failed(name, &wanted, &error)
                    + "; if a process of this container listens there itself: `drainit stop` it, reload, \
                       and `drainit start` it"
            }
            _ => failed(name, &wanted, &error),
        })
    }

    /// Changes the sockets that were held before: all, or none.
    ///
    /// # Errors
    /// As above.
    pub(crate) fn adapt(mut self) -> Result<Self, String> {
        for one in std::mem::take(&mut self.differ) {
            let changed = adapt(&one.socket, &one.wanted);
            changed.map_err(|error| failed(&one.name, &one.wanted, &error))?;
            self.adapted.push(one);
        }
        Ok(self)
    }

    /// They are in use from now on, as they are.
    pub(crate) fn keep(mut self) -> Vec<Sockets> {
        self.adapted.clear();
        std::mem::take(&mut self.sockets)
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        let adapted = std::mem::take(&mut self.adapted).into_iter();
        adapt_later(adapted.map(|Adapted { name, was, socket, .. }| (name, was, socket)).collect());
    }
}

/// Gives a socket the permissions and the queue of a definition.
fn adapt(socket: &HeldSocket, to: &ListenSocket) -> io::Result<()> {
    socket.adapt(to.mode, to.backlog)
}

/// The sockets of a process that another config, which it did not get, has changed, with the
/// definition that they have: see [`adapt_later`].
pub(crate) fn changed_by(
    process: &Process,
    sockets: &Sockets,
    tried: &[&ListenSocket],
) -> Vec<(String, ListenSocket, Arc<HeldSocket>)> {
    let differs = |is: &ListenSocket| {
        let mut same = tried.iter().filter(|tried| tried.address == is.address);
        same.any(|tried| (tried.mode, tried.backlog) != (is.mode, is.backlog))
    };
    let all = process.listen.iter().zip(sockets).filter(|(is, _)| differs(is));
    all.map(|(is, socket)| (process.name.clone(), is.clone(), Arc::clone(socket))).collect()
}

/// Gives sockets of these processes their permissions and queues again.
pub(crate) fn adapt_later(sockets: Vec<(String, ListenSocket, Arc<HeldSocket>)>) {
    if sockets.is_empty() {
        return;
    }
    // Without a thread they stay as they are.
    let _ = on_thread::begin(move || {
        for (name, is, socket) in sockets {
            if let Err(error) = adapt(&socket, &is) {
                tracing::warn!("{}", failed(&name, &is, &error));
            }
        }
    });
}

fn failed(name: &str, wanted: &ListenSocket, error: &io::Error) -> String {
    format!("{name}: `listen` {wanted}: {}", describe_io(error))
}
