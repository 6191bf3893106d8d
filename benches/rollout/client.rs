//! A client that sends requests over one connection at a time and never retries.
//!
//! The client honours `Connection: close` and GOAWAY. The client knows only the address of the
//! service, and never the address of a pod.

use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use testkit::load::{Failure, IdleClose, Report, lock, read_response};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until, timeout};

use crate::http2::{self, Http2};

/// A request fails if its answer takes this much longer than the time that the request asks for.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// After a failure, a client without a rate waits this long before its next request.
const AFTER_FAILURE: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// With keep-alive.
    Http1,
    /// With prior knowledge, without TLS.
    Http2,
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Http1 => "HTTP/1.1",
            Self::Http2 => "HTTP/2",
        })
    }
}

/// The pace at which a client sends its requests.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Pace {
    /// The client sends at a fixed rate. The first requests of all clients are spread evenly.
    Every {
        /// The time between two requests.
        period: Duration,
        /// The time over which the first requests are spread.
        spread: Duration,
    },
    /// The client sends a request as soon as the previous answer is complete.
    AtOnce,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    /// The answer comes after 20 ms, as from a typical service.
    Usual,
    /// The answer comes after this time.
    Slow(Duration),
    /// The head of the answer comes at once, and its body takes this time.
    Stream(Duration),
}

impl Kind {
    /// Returns the path of the request, and the milliseconds by which Envoy delays the answer. The
    /// first long answer takes only this `part` of its time, so that the clients are out of step
    /// when SIGTERM comes.
    fn request(self, part: f64) -> (String, u32) {
        let long = |what, time: Duration| {
            (format!("/upstream/{what}/{}", time.mul_f64(part).as_millis()), 0)
        };
        match self {
            Self::Usual => ("/".to_owned(), 20),
            Self::Slow(time) => long("slow", time),
            Self::Stream(time) => long("stream", time),
        }
    }

    fn time(self) -> Duration {
        match self {
            Self::Usual => Duration::ZERO,
            Self::Slow(time) | Self::Stream(time) => time,
        }
    }
}

/// Clients that send requests.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Requests {
    pub(crate) clients: u32,
    pub(crate) protocol: Protocol,
    pub(crate) pace: Pace,
    pub(crate) kind: Kind,
    /// Whether the clients notice that an HTTP/1.1 connection was closed between two requests.
    /// HTTP/2 clients always notice.
    pub(crate) idle_close: IdleClose,
    /// Whether the clients open a new connection for every request.
    pub(crate) is_fresh: bool,
}

impl Default for Requests {
    /// 100 HTTP/1.1 clients at 1 request/s that notice a closed connection only when they use it.
    fn default() -> Self {
        let second = Duration::from_secs(1);
        Self {
            clients: 100,
            protocol: Protocol::Http1,
            pace: Pace::Every { period: second, spread: second },
            kind: Kind::Usual,
            idle_close: IdleClose::Unnoticed,
            is_fresh: false,
        }
    }
}

impl Requests {
    /// Returns the number of requests that clients with a rate must have sent after this time;
    /// `None` without a rate.
    pub(crate) fn due(&self, after: Duration) -> Option<f64> {
        let Pace::Every { period, spread } = self.pace else { return None };
        let each = (after.saturating_sub(spread).as_secs_f64() / period.as_secs_f64()).floor();
        Some(each * f64::from(self.clients))
    }
}

/// The counts of all clients of a rollout.
#[derive(Clone, Debug)]
pub(crate) struct Tally {
    pub(crate) report: Arc<Mutex<Report>>,
    pub(crate) start: Instant,
    /// The time at which the clients stop by themselves.
    pub(crate) end: Arc<Mutex<Instant>>,
}

impl Tally {
    /// Creates counts of zero. Until the bench sets an end, the clients run for up to an hour.
    pub(crate) fn new() -> Self {
        let start = Instant::now();
        let end = Arc::new(Mutex::new(start + Duration::from_secs(3600)));
        Self { report: Arc::default(), start, end }
    }

    /// Returns whether the clients must stop.
    pub(crate) fn is_over(&self) -> bool {
        *lock(&self.end) <= Instant::now()
    }

    /// Counts one request or session.
    pub(crate) fn count(&self, result: Result<(), Failure>) {
        let at = self.start.elapsed();
        let mut report = lock(&self.report);
        match result {
            Ok(()) => report.count(at, |counts| counts.ok += 1),
            Err(failure) => {
                report.count(at, |counts| counts.failed += 1);
                report.failures.push((at, failure));
            }
        }
    }
}

enum Connection {
    Http1(TcpStream),
    Http2(Http2),
}

/// The state of one client.
pub(crate) struct Client {
    requests: Requests,
    service: SocketAddr,
    tally: Tally,
    connection: Option<Connection>,
}

impl Client {
    /// Creates a client without a connection.
    pub(crate) fn new(requests: Requests, service: SocketAddr, tally: &Tally) -> Self {
        Self { requests, service, tally: tally.clone(), connection: None }
    }

    /// Sends requests until the end. `part` is this client's position among all clients, above 0
    /// and up to 1.
    pub(crate) async fn run(mut self, part: f64) {
        let mut due = self.tally.start;
        if let Pace::Every { spread, .. } = self.requests.pace {
            due += spread.mul_f64(part);
        }
        let limit = self.requests.kind.time() + ANSWER_TIMEOUT;
        let mut request = self.requests.kind.request(part);
        loop {
            self.idle_until(due).await;
            if self.tally.is_over() {
                return;
            }
            let answer = timeout(limit, self.ask(&request.0, request.1)).await;
            let answer = answer.unwrap_or(Err(Failure::Timeout));
            if self.requests.is_fresh || answer != Ok(false) {
                self.connection = None;
            }
            due = match self.requests.pace {
                // A late client skips requests, and never sends faster than its rate.
                Pace::Every { period, .. } => (due + period).max(Instant::now()),
                Pace::AtOnce if answer.is_err() => Instant::now() + AFTER_FAILURE,
                Pace::AtOnce => Instant::now(),
            };
            self.tally.count(answer.map(drop));
            request = self.requests.kind.request(1.0);
        }
    }

    /// Waits until the next request is due. With [`IdleClose::Noticed`] the client notices if its
    /// connection ends meanwhile.
    async fn idle_until(&mut self, due: Instant) {
        if let (Some(Connection::Http1(stream)), IdleClose::Noticed) =
            (&mut self.connection, self.requests.idle_close)
        {
            let mut unasked = [0; 1];
            tokio::select! {
                () = sleep_until(due) => return,
                _ = stream.read(&mut unasked) => {}
            }
            self.connection = None;
        }
        sleep_until(due).await;
    }

    /// Sends a request and reads the whole response. Returns whether the server wants to close the
    /// connection.
    async fn ask(&mut self, path: &str, delay: u32) -> Result<bool, Failure> {
        loop {
            if self.connection.is_none() {
                self.connection = Some(self.connect().await?);
            }
            match &mut self.connection {
                Some(Connection::Http1(stream)) => {
                    let close = if self.requests.is_fresh { "Connection: close\r\n" } else { "" };
                    let head = format!(
                        "GET {path} HTTP/1.1\r\nHost: pod\r\nx-envoy-fault-delay-request: {delay}\r\n{close}\r\n"
                    );
                    stream.write_all(head.as_bytes()).await?;
                    return read_response(stream).await;
                }
                Some(Connection::Http2(sender)) => match http2::ask(sender, path, delay).await {
                    Some(answer) => return answer.map(|()| false),
                    None => self.connection = None,
                },
                None => {}
            }
        }
    }

    async fn connect(&self) -> Result<Connection, Failure> {
        let stream = TcpStream::connect(self.service).await?;
        stream.set_nodelay(true)?;
        match self.requests.protocol {
            Protocol::Http1 => Ok(Connection::Http1(stream)),
            Protocol::Http2 => Ok(Connection::Http2(http2::open(stream).await?)),
        }
    }
}
