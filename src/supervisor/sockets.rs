//! The sockets of `listen`. The sockets are opened before anything starts, and at a reload. A
//! thread opens them, because a file system may hang.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use crate::check::own_address::{excludes, is_same_address};
use crate::http::describe_io;
use crate::keys::{Address, Config, ListenSocket, OnlyIf, Process};
use crate::os::held_sockets::HeldSocket;
use crate::os::on_thread::on_thread;

/// The longest wait until all sockets are open.
pub(crate) const LONGEST_OPEN: Duration = Duration::from_secs(10);

/// The sockets of one process, in the order of its `listen`. All slots of the process share them.
pub(crate) type Sockets = Vec<Arc<HeldSocket>>;

/// Open sockets, each with its address.
pub(crate) type HeldSockets = Vec<(Address, Arc<HeldSocket>)>;

/// The sockets that one process is to listen on.
pub(crate) struct WantedSockets {
    name: String,
    listen: Vec<ListenSocket>,
}

/// An open socket whose permissions or queue length differ from its definition `wanted`, with the
/// name of the process.
pub(crate) struct DifferingSocket {
    pub(crate) name: String,
    pub(crate) wanted: ListenSocket,
    pub(crate) socket: Arc<HeldSocket>,
}

/// The sockets that each process of a config listens on. A process that the config leaves out
/// (`OnlyIf::Never`) has no sockets.
pub(crate) fn wanted(config: &Config) -> Vec<WantedSockets> {
    let one = |process: &Arc<Process>| WantedSockets {
        name: process.name.clone(),
        listen: match process.only_if {
            Some(OnlyIf::Never) => Vec::new(),
            _ => process.listen.clone(),
        },
    };
    config.processes.iter().map(one).collect()
}

/// Opens the sockets of each process. If drainit already holds a socket for an address, returns
/// this socket, because connections may wait in it. The copies of an entry with `scale` get one
/// socket for an address that all of them have. `held` is `None` at the start, when nothing runs.
///
/// # Errors
/// The error says which socket cannot be opened, and why. In this case, the sockets that this call
/// has opened are closed again.
pub(crate) fn open(
    wanted: Vec<WantedSockets>,
    held: Option<&HeldSockets>,
) -> Result<Vec<Sockets>, String> {
    let mut opened = HeldSockets::new();
    let mut all = |WantedSockets { name, listen }: WantedSockets| {
        let mut one = |wanted: &ListenSocket| {
            let of_copy = opened.iter().find(|(it, _)| is_same_address(it, &wanted.address));
            if let Some((_, socket)) = of_copy {
                return Ok(Arc::clone(socket));
            }
            let socket = open_one(&name, wanted, held)?;
            opened.push((wanted.address.clone(), Arc::clone(&socket)));
            Ok(socket)
        };
        listen.iter().map(&mut one).collect()
    };
    wanted.into_iter().map(&mut all).collect()
}

fn open_one(
    name: &str,
    wanted: &ListenSocket,
    held: Option<&HeldSockets>,
) -> Result<Arc<HeldSocket>, String> {
    let (mode, backlog) = (wanted.mode, wanted.backlog);
    let all = || held.into_iter().flatten();
    let known = all().find(|(address, _)| is_same_address(address, &wanted.address));
    if let Some((_, socket)) = known
        // If a socket has lost its file and differs from its definition, drainit opens a new
        // socket. The process is replaced anyway, because its `listen` differs.
        && (!socket.differs(mode, backlog) || socket.has_address())
    {
        return Ok(Arc::clone(socket));
    }
    let opened = match &wanted.address {
        Address::Tcp(address) => {
            let beside = all().filter(|(other, _)| excludes(other, &wanted.address));
            let beside: Vec<_> = beside.map(|(_, socket)| &**socket).collect();
            HeldSocket::tcp(*address, backlog, &beside)
        }
        Address::Unix(path) => HeldSocket::unix(path, mode, backlog),
    };
    opened.map(Arc::new).map_err(|error| match error.kind() {
        io::ErrorKind::AddrInUse if held.is_some() => {
            failure_of(name, wanted, &error)
                + "; if a process of this container listens there itself: `drainit stop` it, reload, \
                   and `drainit start` it"
        }
        _ => failure_of(name, wanted, &error),
    })
}

/// Listens again on a TCP socket that a server has ended by shutdown(2). Returns `false` if this
/// fails.
pub(crate) fn listen_again(name: &str, wanted: &ListenSocket, socket: &HeldSocket) -> bool {
    if matches!(wanted.address, Address::Unix(_)) || !socket.is_shut() {
        return true;
    }
    let again = socket.listen_again();
    match &again {
        Ok(()) => tracing::warn!(
            "{name}: `listen` {wanted}: a process has ended this socket by shutdown(2), which refuses \
             connections; drainit listens again; let the server close its descriptor instead"
        ),
        Err(error) => tracing::error!("{}", failure_of(name, wanted, error)),
    }
    again.is_ok()
}

/// Opens another socket in place of a Unix socket that a server has ended by shutdown(2).
pub(crate) fn open_again(name: &str, wanted: &ListenSocket) -> Result<Arc<HeldSocket>, String> {
    open_one(name, wanted, None)
}

/// Returns those sockets of a process whose permissions or queue length differ from the definition.
pub(crate) fn differing(process: &Process, sockets: &Sockets) -> Vec<DifferingSocket> {
    let all = process.listen.iter().zip(sockets);
    let differ = all.filter(|(wanted, socket)| socket.differs(wanted.mode, wanted.backlog));
    let one = |(wanted, socket): (&ListenSocket, &Arc<HeldSocket>)| DifferingSocket {
        name: process.name.clone(),
        wanted: wanted.clone(),
        socket: Arc::clone(socket),
    };
    differ.map(one).collect()
}

/// Gives each socket the permissions and the queue length of its definition.
pub(crate) async fn adapt(sockets: Vec<DifferingSocket>) {
    let adapt = move || {
        for DifferingSocket { name, wanted, socket } in sockets {
            if let Err(error) = socket.adapt(wanted.mode, wanted.backlog) {
                tracing::warn!("{}", failure_of(&name, &wanted, &error));
            }
        }
    };
    if let Err(why) = on_thread(LONGEST_OPEN, adapt).await {
        tracing::warn!("`listen`: {why}");
    }
}

fn failure_of(name: &str, wanted: &ListenSocket, error: &io::Error) -> String {
    format!("{name}: `listen` {wanted}: {}", describe_io(error))
}
