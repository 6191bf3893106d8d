//! Clients that send requests and notice each lost request.

mod client;
mod http1;
mod http2;
mod tcp;
mod websocket;

use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use testkit::load::{Failure, IdleClose, Report, lock};
use tokio::task::JoinSet;
use tokio::time::Instant;

use client::run;
use http1::Http1;
use http2::{Grpc, Http2};
use tcp::Tcp;
use websocket::WebSocket;

/// A kind of traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1 with keep-alive.
    Http1,
    /// With prior knowledge, without TLS.
    Http2,
    /// Messages on a bidirectional stream.
    Grpc,
    /// Messages on an upgraded HTTP/1.1 connection.
    WebSocket,
    /// Messages on a plain connection.
    Tcp,
}

impl Protocol {
    /// All protocols, in the order of the tables.
    pub const ALL: [Self; 5] = [Self::Http1, Self::Http2, Self::Grpc, Self::WebSocket, Self::Tcp];

    /// Whether a client sends all requests of a session on one connection or stream.
    pub fn has_sessions(self) -> bool {
        !matches!(self, Self::Http1 | Self::Http2)
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Http1 => "HTTP/1.1",
            Self::Http2 => "HTTP/2",
            Self::Grpc => "gRPC streams",
            Self::WebSocket => "WebSocket",
            Self::Tcp => "TCP",
        })
    }
}

/// The clients, and what each of them does.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// The number of clients, each with one connection at a time.
    pub clients: u32,
    /// The protocol of all clients.
    pub protocol: Protocol,
    /// The time between two requests of a client. Zero means full speed: a client sends its next
    /// request as soon as the previous answer is complete.
    pub period: Duration,
    /// The time over which the first requests of all clients are spread evenly.
    pub spread: Duration,
    /// The time that the client asks the server to take for an answer; zero for the usual answer.
    /// The first answer takes only a part of this time, so that the clients are out of step.
    pub answer_time: Duration,
    /// Whether the head of an answer comes at once, and its body takes `answer_time`.
    pub is_streamed: bool,
    /// Whether the clients notice that an HTTP/1.1 connection was closed between two requests.
    /// Clients of the other protocols always notice.
    pub idle_close: IdleClose,
    /// Whether the clients open a new connection for every request.
    pub is_fresh: bool,
    /// The time after which a client ends its session and begins a new one; `None` if a client
    /// never ends its session. The first session takes only a part of this time.
    pub session: Option<Duration>,
    /// Whether the clients repeat a request if the server says that it has not processed it.
    pub repeats: bool,
    /// A client at full speed, and a client with a session, waits this long after a failure.
    pub after_failure: Duration,
}

impl Default for Plan {
    /// 100 HTTP/1.1 clients at 1 request/s that never repeat a request, and notice a closed
    /// connection only when they use it.
    fn default() -> Self {
        let second = Duration::from_secs(1);
        Self {
            clients: 100,
            protocol: Protocol::Http1,
            period: second,
            spread: second,
            answer_time: Duration::ZERO,
            is_streamed: false,
            idle_close: IdleClose::Unnoticed,
            is_fresh: false,
            session: None,
            repeats: false,
            after_failure: second,
        }
    }
}

impl Plan {
    /// Starts the clients as tasks of the current runtime. They count their results in the tally.
    pub fn start(self, service: SocketAddr, tally: &Tally) -> JoinSet<()> {
        let mut clients = JoinSet::new();
        for number in 1..=self.clients {
            let part = f64::from(number) / f64::from(self.clients);
            let tally = tally.clone();
            match self.protocol {
                Protocol::Http1 => clients.spawn(run::<Http1>(self, service, tally, part)),
                Protocol::Http2 => clients.spawn(run::<Http2>(self, service, tally, part)),
                Protocol::Grpc => clients.spawn(run::<Grpc>(self, service, tally, part)),
                Protocol::WebSocket => clients.spawn(run::<WebSocket>(self, service, tally, part)),
                Protocol::Tcp => clients.spawn(run::<Tcp>(self, service, tally, part)),
            };
        }
        clients
    }

    /// Returns the number of requests that the clients must have sent after this time. Returns
    /// `None` at full speed, and for sessions, which pause after a failure.
    pub fn due(&self, after: Duration) -> Option<f64> {
        if self.period.is_zero() || self.protocol.has_sessions() {
            return None;
        }
        let after = after.saturating_sub(self.spread).as_secs_f64();
        Some((after / self.period.as_secs_f64()).floor() * f64::from(self.clients))
    }
}

/// The results of all clients.
#[derive(Clone, Debug)]
pub struct Tally {
    /// The start of the clients. The times in the report count from this start.
    pub start: Instant,
    report: Arc<Mutex<Report>>,
    is_over: Arc<AtomicBool>,
}

impl Tally {
    /// Creates counts of zero.
    #[allow(clippy::new_without_default, reason = "the start is now")]
    pub fn new() -> Self {
        Self { start: Instant::now(), report: Arc::default(), is_over: Arc::default() }
    }

    /// Tells all clients to stop.
    pub fn end(&self) {
        self.is_over.store(true, Ordering::Relaxed);
    }

    fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Relaxed)
    }

    /// Returns the results so far.
    pub fn report(&self) -> Report {
        lock(&self.report).clone()
    }

    fn count_answer(&self, took: Duration) {
        let mut report = lock(&self.report);
        report.slowest = report.slowest.max(took);
        report.total.ok += 1;
    }

    fn count_failure(&self, failure: Failure) {
        let at = self.start.elapsed();
        let mut report = lock(&self.report);
        report.total.failed += 1;
        report.failures.push((at, failure));
    }
}

/// Returns how many requests found no listener.
pub fn refused(report: &Report) -> u64 {
    report.failures.iter().filter(|(_, failure)| *failure == Failure::Refused).count() as u64
}
