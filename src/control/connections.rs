//! Accepts connections, a bounded number at once and none for long, and has each answered.
//!
//! Each listener has its own loop and its own bound, so what comes over TCP takes nothing from the private socket. At the
//! bound a new connection is not refused: the one that has been quiet for the longest gives way. A request that is meant is
//! sent at once and answered within a millisecond, so what is quiet is somebody who holds a connection and asks nothing.

use std::cell::Cell;
use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, UnixListener};
use tokio::task::{AbortHandle, JoinSet, yield_now};
use tokio::time::{Instant, sleep, timeout_at};

/// Connections of one listener at once.
const MOST: u64 = 64;
/// The part of drainit's descriptors that the connections of one listener may take: the rest is for its processes.
const SHARE: u64 = 16;
/// With fewer, not even two probes at the same moment could be answered.
const FEWEST: u64 = 2;
/// After a failed accept, most likely because no descriptor is left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How long a connection may last.
#[derive(Clone, Copy)]
pub(crate) struct Limits {
    /// From the accept to the last byte of the head of its request.
    pub(crate) head: Duration,
    /// From the accept to the last byte of the answer.
    pub(crate) whole: Duration,
}

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Caller {
    /// Somebody who may open the private socket.
    Socket,
    /// Somebody who reaches the port, from this address.
    Tcp(IpAddr),
}

/// Either kind of listener.
pub(crate) enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Listener {
    async fn accept(&self) -> io::Result<(Box<dyn Stream>, Caller)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                Ok((Box::new(stream), Caller::Tcp(peer.ip().to_canonical())))
            }
            Self::Unix(listener) => Ok((Box::new(listener.accept().await?.0), Caller::Socket)),
        }
    }
}

/// Either kind of stream.
trait Stream: AsyncRead + AsyncWrite + Unpin {}
impl<T: AsyncRead + AsyncWrite + Unpin> Stream for T {}

/// What a connection is answered by.
pub(crate) trait Answer {
    /// Reads one request from the stream and answers it. `has_head` is set once the head of the request is there.
    fn converse(
        &self,
        stream: Watched,
        caller: Caller,
        has_head: &Cell<bool>,
    ) -> impl Future<Output = ()>;
}

/// At most this many connections of one listener, few enough that they never exhaust drainit's descriptors.
pub(crate) fn most_connections() -> usize {
    let soft = getrlimit(Resource::RLIMIT_NOFILE).map_or(MOST * SHARE, |(soft, _)| soft);
    usize::try_from((soft / SHARE).clamp(FEWEST, MOST)).unwrap_or(usize::MAX)
}

/// Accepts for as long as it is polled, at most `most` connections at once. Inside a `LocalSet`.
pub(crate) async fn accept<A: Answer + 'static>(
    listener: Listener,
    most: usize,
    limits: Limits,
    answer: Rc<A>,
) -> Infallible {
    let mut tasks = JoinSet::new();
    let mut open: Vec<Open> = Vec::with_capacity(most);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = tasks.join_next() => continue,
        };
        open.retain(|connection| !connection.task.is_finished());
        match accepted {
            Ok((stream, caller)) => {
                if open.len() >= most {
                    give_way(&mut open);
                }
                let heard = Rc::new(Cell::new(Instant::now()));
                let stream = Watched { stream, heard: Rc::clone(&heard) };
                let answer = Rc::clone(&answer);
                let task = tasks.spawn_local(async move {
                    converse(&*answer, stream, caller, limits).await;
                });
                open.push(Open { task, heard });
                // It is looked at before the next is accepted: a request that came with the connection is answered
                // however many wait behind it.
                yield_now().await;
            }
            Err(_) => {
                give_way(&mut open);
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// A connection that is not over.
struct Open {
    task: AbortHandle,
    /// When something was last read or written.
    heard: Rc<Cell<Instant>>,
}

/// Ends the connection that has been quiet for the longest.
fn give_way(open: &mut Vec<Open>) {
    let quietest = open.iter().enumerate().min_by_key(|(_, connection)| connection.heard.get());
    if let Some((place, _)) = quietest {
        open.swap_remove(place).task.abort();
    }
}

async fn converse(answer: &impl Answer, stream: Watched, caller: Caller, limits: Limits) {
    let has_head = Cell::new(false);
    let accepted = Instant::now();
    let mut exchange = pin!(answer.converse(stream, caller, &has_head));
    if timeout_at(accepted + limits.head, &mut exchange).await.is_err() && has_head.get() {
        let _ = timeout_at(accepted + limits.whole, exchange).await;
    }
}

/// A stream that notes when something was read or written.
pub(crate) struct Watched {
    stream: Box<dyn Stream>,
    heard: Rc<Cell<Instant>>,
}

impl Watched {
    fn note(&self, something: bool) {
        if something {
            self.heard.set(Instant::now());
        }
    }
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, buffer);
        self.note(buffer.filled().len() > before);
        polled
    }
}

impl AsyncWrite for Watched {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.note(matches!(polled, Poll::Ready(Ok(1..))));
        polled
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write_vectored(cx, parts);
        self.note(matches!(polled, Poll::Ready(Ok(1..))));
        polled
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
