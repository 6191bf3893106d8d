//! Accepts and answers a bounded number of connections at once. The time of a connection is also
//! bounded, unless its request waits for an operation.
//!
//! Each listener has its own loop and its own limit, so TCP clients cannot use up the connections
//! of the control socket. When the limit is reached, drainit does not refuse a new connection.
//! Instead, drainit closes the oldest connection that has sent no request. If all have sent a
//! request, drainit closes the oldest connection. A real client sends its request immediately and
//! is answered within a millisecond. An old connection is therefore most likely not the connection
//! of a real client.
//!
//! Every process can connect to the private socket. Clients that are not allowed to send requests
//! have a low limit of their own, so they cannot use up the connections of other clients. The
//! answer to such a client gives the reason of the refusal.
//!
//! An operation lasts as long as it needs. Up to half of the connections of a listener can wait for
//! operations. drainit closes none of these to make room for another connection.

use std::cell::RefCell;
use std::convert::Infallible;
use std::io;
use std::net::IpAddr;
use std::pin::pin;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::{AbortHandle, JoinSet, yield_now};
use tokio::time::{Instant, sleep, timeout_at};

use crate::control::Server;
use crate::http::describe_io;
use crate::os::Peer;
use crate::os::private_socket;

/// The highest number of connections of one listener.
const MAX_CONNECTIONS: u64 = 64;
/// One listener may use one sixteenth of drainit's descriptors, because drainit also needs
/// descriptors for the processes that it supervises.
const SHARE: u64 = 16;
/// The lowest limit on the connections of a listener. With two connections, drainit can answer two
/// probes at the same time.
const MIN_CONNECTIONS: u64 = 2;
/// The highest number of connections of clients that may not send requests. Connections of other
/// clients are counted separately.
const MAX_STRANGERS: usize = 4;
/// The pause after a failed accept. The most likely cause is a lack of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The limits of a connection.
#[derive(Clone, Copy)]
pub(crate) struct Limits {
    /// The time from the accept to the last byte of the request's head.
    pub(crate) head: Duration,
    /// The time from the accept to the last byte of the answer.
    pub(crate) whole: Duration,
}

/// The client of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Caller {
    /// Root or drainit's own user, over the control socket.
    Socket(Peer),
    /// A client of the control socket that is not allowed to send requests, and the reason that the
    /// answer gives.
    Stranger(String),
    /// A client of the TCP port, with its address.
    Tcp(IpAddr),
}

pub(crate) enum Listener {
    Tcp(TcpListener),
    /// The control socket. drainit accepts requests only from root and its own user. A private
    /// socket has no file and no mode, so every process can connect. Over a private socket, drainit
    /// therefore also refuses requests from other PID namespaces.
    Unix {
        listener: UnixListener,
        is_private: bool,
    },
}

impl Listener {
    async fn accept(&self) -> io::Result<(Box<dyn ConnectionStream>, Caller)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                Ok((Box::new(stream), Caller::Tcp(peer.ip().to_canonical())))
            }
            Self::Unix { listener, is_private } => {
                let stream = listener.accept().await?.0;
                let peer = private_socket::peer(&stream).map_err(|error| error.to_string());
                let check = |peer| private_socket::check_client(peer, *is_private).map(|()| peer);
                let caller = peer.and_then(check).map_or_else(Caller::Stranger, Caller::Socket);
                Ok((Box::new(stream), caller))
            }
        }
    }
}

pub(crate) trait ConnectionStream: AsyncRead + AsyncWrite + Unpin {}
impl<T: AsyncRead + AsyncWrite + Unpin> ConnectionStream for T {}

/// The progress of a connection, which decides how long the connection may last.
#[derive(Default)]
enum ConnectionProgress {
    #[default]
    NoHead,
    /// The head is complete, and the answer waits for no operation.
    Answering,
    /// The answer takes as long as the requested operation. The permit is free again when the
    /// connection ends.
    Lasting { _permit: OwnedSemaphorePermit },
}

/// The progress of a connection, which the loop that accepts connections sees, too.
pub(crate) struct ConnectionStage {
    progress: Rc<RefCell<ConnectionProgress>>,
    /// Has a permit for each connection of the listener that may wait for an operation.
    operations: Arc<Semaphore>,
}

impl ConnectionStage {
    pub(crate) fn new(operations: Arc<Semaphore>) -> Self {
        Self { progress: Rc::default(), operations }
    }

    /// Records that the head is complete and the answer waits for no operation.
    pub(crate) fn answer(&self) {
        self.progress.replace(ConnectionProgress::Answering);
    }

    /// Records that the answer waits for an operation. If too many connections already wait for
    /// operations, returns `false`, and the answer does not wait.
    pub(crate) fn last(&self) -> bool {
        let Ok(_permit) = Arc::clone(&self.operations).try_acquire_owned() else { return false };
        self.progress.replace(ConnectionProgress::Lasting { _permit });
        true
    }
}

/// The limit on the connections of one listener. The limit is low enough not to exhaust drainit's
/// descriptors.
pub(crate) fn max_connections() -> usize {
    let soft = getrlimit(Resource::RLIMIT_NOFILE).map_or(MAX_CONNECTIONS * SHARE, |(soft, _)| soft);
    usize::try_from((soft / SHARE).clamp(MIN_CONNECTIONS, MAX_CONNECTIONS)).unwrap_or(usize::MAX)
}

/// Accepts connections while this future is polled, at most `max` at once. Needs a `LocalSet`.
pub(crate) async fn accept(
    listener: Listener,
    max: usize,
    limits: Limits,
    server: Rc<Server>,
) -> Infallible {
    let mut tasks = JoinSet::new();
    // The open connections, in the order in which they were accepted.
    let mut open: Vec<OpenConnection> = Vec::new();
    let mut strangers: Vec<OpenConnection> = Vec::new();
    let operations = Arc::new(Semaphore::new(max / 2));
    let mut has_warned = false;
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = tasks.join_next() => continue,
        };
        for open in [&mut open, &mut strangers] {
            open.retain(|connection| !connection.task.is_finished());
        }
        match accepted {
            Ok((stream, caller)) => {
                has_warned = false;
                let (open, max) = match caller {
                    Caller::Stranger(_) => (&mut strangers, MAX_STRANGERS),
                    _ => (&mut open, max),
                };
                if open.len() >= max {
                    close_oldest(open);
                }
                let server = Rc::clone(&server);
                let stage = ConnectionStage::new(Arc::clone(&operations));
                let progress = Rc::downgrade(&stage.progress);
                let task = tasks.spawn_local(async move {
                    converse(&server, stream, caller, limits, &stage).await;
                });
                open.push(OpenConnection { task, progress });
                // Lets the task of the connection run before the next accept. A request that came
                // with the connection is then answered, however many connections wait.
                yield_now().await;
            }
            Err(error) => {
                if !std::mem::replace(&mut has_warned, true) {
                    let why = describe_io(&error);
                    tracing::warn!("control endpoints: cannot accept a connection: {why}");
                }
                close_oldest(&mut open);
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// An open connection.
struct OpenConnection {
    task: AbortHandle,
    progress: Weak<RefCell<ConnectionProgress>>,
}

/// Closes the oldest connection that has sent no request, or else the oldest connection. Never
/// closes a connection whose answer waits for an operation.
fn close_oldest(open: &mut Vec<OpenConnection>) {
    let closable = open.iter().enumerate().filter_map(|(place, it)| {
        let has_head = match *it.progress.upgrade()?.borrow() {
            ConnectionProgress::NoHead => false,
            ConnectionProgress::Answering => true,
            ConnectionProgress::Lasting { .. } => return None,
        };
        Some((has_head, place))
    });
    if let Some((_, place)) = closable.min() {
        open.remove(place).task.abort();
    }
}

async fn converse(
    server: &Server,
    stream: Box<dyn ConnectionStream>,
    caller: Caller,
    limits: Limits,
    stage: &ConnectionStage,
) {
    let accepted = Instant::now();
    let mut exchange = pin!(server.converse(stream, caller, stage));
    if timeout_at(accepted + limits.head, &mut exchange).await.is_ok() {
        return;
    }
    let until = match *stage.progress.borrow() {
        ConnectionProgress::NoHead => return,
        ConnectionProgress::Answering => Some(accepted + limits.whole),
        ConnectionProgress::Lasting { .. } => None,
    };
    match until {
        Some(until) => drop(timeout_at(until, exchange).await),
        None => exchange.await,
    }
}
