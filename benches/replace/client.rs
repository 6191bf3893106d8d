//! A client with one connection that sends one request at a time.
//!
//! The client behaves well: it honours `Connection: close`, GOAWAY and the Close frame of a
//! WebSocket, and notices when its connection ends between two requests. The client repeats a
//! request only if the server has not processed the request; see [`Problem`].

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use testkit::load::{Failure, lock};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};

use crate::http1::Http1;
use crate::http2::{Grpc, Http2};
use crate::protocol::{Pace, Protocol};
use crate::tcp::Tcp;
use crate::websocket::WebSocket;

/// A request fails if it has no answer after this time.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// After a request without an answer, a client waits this long before its next request.
const AFTER_FAILURE: Duration = Duration::from_millis(100);
/// The time after which a client ends its gRPC stream, its TCP connection and, through a proxy, its
/// WebSocket.
pub(crate) const SESSION: Duration = Duration::from_millis(1500);

/// Whether the connection can be used after an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// The next request can be sent on the same connection.
    SameConnection,
    /// The server has announced that it closes the connection.
    NewConnection,
}

/// Why a request has no answer.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Problem {
    /// Before the request was written, the connection had ended, or the server had announced the
    /// end of the connection.
    NotSent,
    /// The server has said that it has not processed the request: by GOAWAY with a lower stream
    /// identifier, or by a Close frame that crossed the request.
    NotProcessed,
    /// Another failure. The client must not repeat the request.
    Lost(Failure),
}

impl<E: Into<Failure>> From<E> for Problem {
    fn from(error: E) -> Self {
        Self::Lost(error.into())
    }
}

/// The results of all clients of a cell.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counts {
    /// Requests with a complete answer.
    pub(crate) answered: u64,
    /// Requests that were sent and got no complete answer; sessions that were cut.
    pub(crate) failed: u64,
    /// Requests that found no listener.
    pub(crate) refused: u64,
    /// Requests that were sent again because the server had not processed them.
    pub(crate) repeated: u64,
    /// The longest time from the moment at which a request was due until its answer was complete.
    pub(crate) slowest: Duration,
    /// The number of losses of each kind, and the time of the first one since the start of the
    /// cell.
    pub(crate) losses: BTreeMap<Failure, (u64, Duration)>,
}

/// State that the clients of a cell share.
#[derive(Clone, Debug)]
pub(crate) struct Shared {
    pub(crate) address: SocketAddr,
    pub(crate) protocol: Protocol,
    pub(crate) pace: Pace,
    /// Whether the clients end their WebSockets themselves. Behind Envoy they must, because Envoy
    /// cannot announce the end of a WebSocket.
    pub(crate) ends_websockets: bool,
    pub(crate) counts: Arc<Mutex<Counts>>,
    pub(crate) start: Instant,
    /// Whether the clients must stop.
    pub(crate) end: Arc<Mutex<bool>>,
}

impl Shared {
    fn is_over(&self) -> bool {
        *lock(&self.end)
    }

    fn has_sessions(&self) -> bool {
        match self.protocol {
            Protocol::Http1 | Protocol::Http2 => false,
            Protocol::Grpc | Protocol::Tcp => true,
            Protocol::WebSocket => self.ends_websockets,
        }
    }
}

enum Connection {
    Http1(Http1),
    Http2(Http2),
    Grpc(Grpc),
    WebSocket(WebSocket),
    Tcp(Tcp),
}

impl Connection {
    async fn open(shared: &Shared) -> Result<Self, Failure> {
        let stream = TcpStream::connect(shared.address).await?;
        stream.set_nodelay(true)?;
        Ok(match shared.protocol {
            Protocol::Http1 => Self::Http1(Http1::new(stream)),
            Protocol::Http2 => Self::Http2(Http2::open(stream).await?),
            Protocol::Grpc => Self::Grpc(Grpc::open(stream).await?),
            Protocol::WebSocket => Self::WebSocket(WebSocket::open(stream).await?),
            Protocol::Tcp => Self::Tcp(Tcp::new(stream)),
        })
    }

    /// Sends a request and reads the whole answer.
    async fn ask(&mut self) -> Result<Next, Problem> {
        match self {
            Self::Http1(connection) => connection.ask().await,
            Self::Http2(connection) => connection.ask().await,
            Self::Grpc(connection) => connection.ask().await,
            Self::WebSocket(connection) => connection.ask().await,
            Self::Tcp(connection) => connection.ask().await,
        }
    }

    /// Returns when the connection has ended between two requests, which may be never.
    async fn ended(&mut self) -> Result<(), Failure> {
        match self {
            Self::Http1(connection) => connection.ended().await,
            Self::WebSocket(connection) => connection.ended().await,
            Self::Tcp(connection) => connection.ended().await,
            // A task reads these connections, so the client notices GOAWAY when it sends the next
            // request.
            Self::Http2(_) | Self::Grpc(_) => std::future::pending().await,
        }
    }

    /// Ends the session as its protocol demands.
    async fn end(&mut self) -> Result<Next, Failure> {
        match self {
            Self::Http1(_) | Self::Http2(_) => Ok(Next::NewConnection),
            Self::Grpc(connection) => connection.end().await,
            Self::WebSocket(connection) => connection.end().await,
            Self::Tcp(connection) => connection.end().await,
        }
    }
}

/// One client.
pub(crate) struct Client {
    shared: Shared,
    connection: Option<Connection>,
    /// The time at which the client ends its session.
    session_end: Instant,
}

impl Client {
    /// Creates a client without a connection.
    pub(crate) fn new(shared: Shared) -> Self {
        Self { shared, connection: None, session_end: Instant::now() }
    }

    /// Sends requests until the end. `part` is this client's position among all clients, from 0 to
    /// 1, and spreads the requests and sessions of the clients over time.
    pub(crate) async fn run(mut self, part: f64) {
        let period = self.shared.pace.period();
        let mut due = self.shared.start + period.unwrap_or_default().mul_f64(part);
        let mut session = SESSION.mul_f64(0.5 + part / 2.0);
        loop {
            self.idle_until(due).await;
            if self.shared.is_over() {
                break;
            }
            if self.shared.has_sessions() && self.session_end <= Instant::now() {
                self.end_session().await;
            }
            let is_well = self.request(due, session).await;
            session = SESSION;
            due = match period {
                // A late client skips requests, and never sends faster than its rate.
                Some(period) => (due + period).max(Instant::now()),
                None => Instant::now(),
            };
            if !is_well {
                sleep(AFTER_FAILURE).await;
                due = due.max(Instant::now());
            }
        }
        self.end_session().await;
    }

    /// Waits until the next request is due, and notices if the connection ends meanwhile.
    async fn idle_until(&mut self, due: Instant) {
        if due <= Instant::now() {
            return;
        }
        if let Some(connection) = &mut self.connection
            && let Ok(ended) = timeout_at(due, connection.ended()).await
        {
            self.connection = None;
            if let Err(failure) = ended {
                self.lose(failure);
            }
        }
        sleep_until(due).await;
    }

    async fn end_session(&mut self) {
        let Some(mut connection) = self.connection.take() else { return };
        match timeout(ANSWER_TIMEOUT, connection.end()).await {
            Ok(Ok(Next::SameConnection)) => self.connection = Some(connection),
            Ok(Ok(Next::NewConnection)) => {}
            Ok(Err(failure)) => self.lose(failure),
            Err(_) => self.lose(Failure::Timeout),
        }
    }

    /// Sends one request, and repeats the request as long as the server has not processed it.
    /// Returns whether there was an answer.
    async fn request(&mut self, due: Instant, session: Duration) -> bool {
        let due = if self.shared.pace.period().is_some() { due } else { Instant::now() };
        let problem = match timeout(ANSWER_TIMEOUT, self.ask(session)).await {
            Ok(Ok(next)) => {
                if next == Next::NewConnection {
                    self.connection = None;
                }
                let mut counts = lock(&self.shared.counts);
                counts.answered += 1;
                counts.slowest = counts.slowest.max(due.elapsed());
                return true;
            }
            Ok(Err(failure)) => failure,
            Err(_) => Failure::Timeout,
        };
        self.connection = None;
        self.lose(problem);
        false
    }

    async fn ask(&mut self, session: Duration) -> Result<Next, Failure> {
        loop {
            let connection = match &mut self.connection {
                Some(connection) => connection,
                None => {
                    self.session_end = Instant::now() + session;
                    self.connection.insert(Connection::open(&self.shared).await?)
                }
            };
            match connection.ask().await {
                Ok(next) => return Ok(next),
                Err(Problem::NotSent) => {}
                Err(Problem::NotProcessed) => lock(&self.shared.counts).repeated += 1,
                Err(Problem::Lost(failure)) => return Err(failure),
            }
            self.connection = None;
        }
    }

    fn lose(&self, failure: Failure) {
        let mut counts = lock(&self.shared.counts);
        match failure {
            Failure::Refused => counts.refused += 1,
            _ => counts.failed += 1,
        }
        let loss = counts.losses.entry(failure).or_insert((0, self.shared.start.elapsed()));
        loss.0 += 1;
    }
}
