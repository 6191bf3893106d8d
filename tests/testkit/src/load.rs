//! Sends load from keep-alive HTTP/1.1 clients, and reports the result of every request.
//!
//! Each client has one connection at a time, sends at a fixed rate and never retries. A client
//! honours `Connection: close`. Like clients behind kube-proxy, it gets an endpoint from the
//! [`Service`] only when it opens a connection: an open connection stays when the endpoints change.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::Builder;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

/// A request that is not answered within this time has failed.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// The endpoints of new connections, which can change at any time, as in a Kubernetes Service.
#[derive(Debug)]
pub struct Service(Mutex<Endpoints>);

#[derive(Debug)]
struct Endpoints {
    list: Vec<SocketAddr>,
    turn: usize,
}

impl Service {
    pub fn new(endpoints: &[SocketAddr]) -> Arc<Self> {
        Arc::new(Self(Mutex::new(Endpoints { list: endpoints.to_vec(), turn: 0 })))
    }

    /// Sends new connections to these endpoints, in turn.
    pub fn set(&self, endpoints: &[SocketAddr]) {
        lock(&self.0).list = endpoints.to_vec();
    }

    /// The endpoint of the next new connection, if there is one.
    pub fn next(&self) -> Option<SocketAddr> {
        let mut endpoints = lock(&self.0);
        endpoints.turn = endpoints.turn.wrapping_add(1);
        let turn = endpoints.turn.checked_rem(endpoints.list.len())?;
        endpoints.list.get(turn).copied()
    }
}

/// Whether a client notices that the server closed its connection between two requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdleClose {
    /// The client notices at once, and opens a new connection for the next request, like event
    /// loops (nginx, Envoy, Go, hyper).
    Noticed,
    /// The client notices the closed connection only when its next request fails, like blocking
    /// clients.
    Unnoticed,
    /// The client notices at once, and leaves an endpoint that is no longer in the [`Service`], like
    /// a load balancer.
    Left,
}

/// The amount and length of the load.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Clients, each with one connection. Their requests are spread evenly over time.
    pub clients: u32,
    /// Requests per second of one client.
    pub rate: f64,
    /// The time after which the clients stop; [`Load::end_after`] can shorten it.
    pub length: Duration,
    /// Whether the clients notice connections closed between requests.
    pub idle_close: IdleClose,
}

/// Why a request failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Failure {
    /// There is no endpoint, or the endpoint does not listen.
    Refused,
    /// The connection was reset, or broke while the request was written.
    Reset,
    /// The connection ended before the response was complete.
    EndOfFile,
    /// The answer did not come in time, and the connection did not end.
    Timeout,
    /// The answer has a status other than 200.
    Status(u16),
    /// The answer is not HTTP.
    Nonsense,
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::ConnectionRefused => Self::Refused,
            io::ErrorKind::UnexpectedEof => Self::EndOfFile,
            _ => Self::Reset,
        }
    }
}

/// Counts of requests and connections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Requests answered with 200.
    pub ok: u64,
    /// Requests that failed.
    pub failed: u64,
    /// Connections opened.
    pub opened: u64,
    /// Connections that the server closed with `Connection: close` in a response.
    pub told_to_close: u64,
    /// Connections that a client found closed by the server between two requests.
    pub idle_closed: u64,
}

/// A snapshot of the report.
#[derive(Clone, Debug, Default)]
pub struct Report {
    pub total: Counts,
    /// Each failure and its time since the start.
    pub failures: Vec<(Duration, Failure)>,
    open: BTreeMap<SocketAddr, u64>,
    /// The longest time from a request to its answer with 200.
    pub slowest: Duration,
}

impl Report {
    /// Open connections to this endpoint.
    pub fn open_to(&self, endpoint: SocketAddr) -> u64 {
        self.open.get(&endpoint).copied().unwrap_or_default()
    }
}

/// Writes the totals, and for each kind of failure its count and its first and last time.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Counts { ok, failed, opened, told_to_close, idle_closed } = self.total;
        writeln!(f, "requests     {ok} served, {failed} failed, slowest {:.0?}", self.slowest)?;
        write!(
            f,
            "connections  {opened} opened, {told_to_close} told to close, {idle_closed} closed while idle"
        )?;
        let mut kinds: BTreeMap<Failure, Vec<Duration>> = BTreeMap::new();
        for (at, failure) in &self.failures {
            kinds.entry(*failure).or_default().push(*at);
        }
        for (kind, times) in kinds {
            if let (Some(first), Some(last)) = (times.iter().min(), times.iter().max()) {
                let (first, last) = (first.as_secs_f64(), last.as_secs_f64());
                write!(
                    f,
                    "\nfailure      {kind:?}: {} ({first:.1} s to {last:.1} s)",
                    times.len()
                )?;
            }
        }
        Ok(())
    }
}

/// Running clients, in a separate thread.
#[derive(Debug)]
pub struct Load {
    clients: JoinHandle<()>,
    report: Arc<Mutex<Report>>,
    start: Instant,
    end: Arc<Mutex<Instant>>,
}

impl Load {
    /// Starts the clients.
    pub fn start(service: &Arc<Service>, plan: Plan) -> Self {
        let report = Arc::new(Mutex::new(Report::default()));
        let start = Instant::now();
        let end = Arc::new(Mutex::new(start + plan.length));
        let period = Duration::from_secs_f64(1.0 / plan.rate);
        let client = |number: u32| {
            let client = Client {
                service: Arc::clone(service),
                report: Arc::clone(&report),
                start,
                end: Arc::clone(&end),
                idle_close: plan.idle_close,
                connection: None,
            };
            let first = start + period.mul_f64(f64::from(number) / f64::from(plan.clients));
            client.run(first, period)
        };
        let clients: Vec<_> = (0..plan.clients).map(client).collect();
        let clients = thread::spawn(move || {
            let runtime = Builder::new_current_thread().enable_all().build().unwrap();
            runtime
                .block_on(async { clients.into_iter().collect::<JoinSet<_>>().join_all().await });
        });
        Self { clients, report, start, end }
    }

    /// Sends a single request, and returns whether it was served.
    pub fn probe(address: SocketAddr) -> bool {
        let length = Duration::from_millis(1);
        let plan = Plan { clients: 1, rate: 1.0, length, idle_close: IdleClose::Noticed };
        Self::start(&Service::new(&[address]), plan).end_after(length).total.ok == 1
    }

    /// The time since the start of the load. The times in the report count from the same start.
    pub fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    /// A snapshot of the report.
    pub fn report(&self) -> Report {
        lock(&self.report).clone()
    }

    /// Stops the clients after this time, unless they stop sooner, and waits until they have
    /// stopped.
    pub fn end_after(self, rest: Duration) -> Report {
        let end = *lock(&self.end);
        *lock(&self.end) = end.min(Instant::now() + rest);
        self.clients.join().unwrap();
        lock(&self.report).clone()
    }
}

struct Connection {
    stream: TcpStream,
    peer: SocketAddr,
}

struct Client {
    service: Arc<Service>,
    report: Arc<Mutex<Report>>,
    start: Instant,
    end: Arc<Mutex<Instant>>,
    idle_close: IdleClose,
    connection: Option<Connection>,
}

impl Client {
    async fn run(mut self, first: Instant, period: Duration) {
        let mut due = first;
        while due < *lock(&self.end) {
            self.idle_until(due).await;
            let sent = Instant::now();
            let result = timeout(ANSWER_TIMEOUT, self.request()).await;
            match result.unwrap_or(Err(Failure::Timeout)) {
                Ok(close) => {
                    let mut report = lock(&self.report);
                    report.slowest = report.slowest.max(sent.elapsed());
                    report.total.ok += 1;
                    report.total.told_to_close += u64::from(close);
                    drop(report);
                    if close {
                        self.close();
                    }
                }
                Err(failure) => {
                    let mut report = lock(&self.report);
                    report.total.failed += 1;
                    report.failures.push((self.start.elapsed(), failure));
                    drop(report);
                    self.close();
                }
            }
            due += period;
        }
        self.close();
    }

    /// Waits for the next request. With [`IdleClose::Noticed`] the client notices if its connection
    /// ends meanwhile.
    async fn idle_until(&mut self, due: Instant) {
        if let Some(connection) = &mut self.connection
            && self.idle_close != IdleClose::Unnoticed
        {
            let mut unasked = [0; 1];
            tokio::select! {
                biased; // after a pause of this machine both may be ready, and the end must win
                _ = connection.stream.read(&mut unasked) => {}
                () = sleep_until(due) => return,
            }
            lock(&self.report).total.idle_closed += 1;
            self.close();
        }
        sleep_until(due).await;
    }

    /// Sends one request and reads its response; returns whether the server closes the connection.
    async fn request(&mut self) -> Result<bool, Failure> {
        let is_gone = |it: &Connection| !lock(&self.service.0).list.contains(&it.peer);
        if self.idle_close == IdleClose::Left && self.connection.as_ref().is_some_and(is_gone) {
            self.close();
        }
        if self.connection.is_none() {
            let peer = self.service.next().ok_or(Failure::Refused)?;
            let stream = TcpStream::connect(peer).await?;
            stream.set_nodelay(true)?;
            self.connection = Some(Connection { stream, peer });
            let mut report = lock(&self.report);
            report.total.opened += 1;
            *report.open.entry(peer).or_default() += 1;
        }
        let connection = self.connection.as_mut().ok_or(Failure::Refused)?;
        connection.stream.write_all(b"GET / HTTP/1.1\r\nHost: gateway\r\n\r\n").await?;
        read_response(&mut connection.stream).await
    }

    fn close(&mut self) {
        if let Some(Connection { peer, .. }) = self.connection.take()
            && let Some(open) = lock(&self.report).open.get_mut(&peer)
        {
            *open -= 1;
        }
    }
}

/// Reads a complete response with status 200; returns whether it closes the connection.
pub async fn read_response(stream: &mut TcpStream) -> Result<bool, Failure> {
    let mut buffer = Vec::with_capacity(1024);
    let head_length = loop {
        if stream.read_buf(&mut buffer).await? == 0 {
            return Err(Failure::EndOfFile);
        }
        if let Some(at) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
            break at + 4;
        }
    };
    let head =
        String::from_utf8_lossy(buffer.get(..head_length).unwrap_or_default()).to_ascii_lowercase();
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    let header = |name: &str| {
        head.lines().filter_map(|line| line.split_once(':')).find(|(key, _)| *key == name)
    };
    let length: Option<usize> =
        header("content-length").and_then(|(_, value)| value.trim().parse().ok());
    let is_chunked =
        header("transfer-encoding").is_some_and(|(_, value)| value.trim() == "chunked");
    if length.is_none() && !is_chunked {
        return Err(Failure::Nonsense);
    }
    let is_whole = |buffer: &[u8]| match length {
        Some(length) => buffer.len() >= head_length + length,
        None => buffer.ends_with(b"\r\n0\r\n\r\n"),
    };
    while !is_whole(&buffer) {
        if stream.read_buf(&mut buffer).await? == 0 {
            return Err(Failure::EndOfFile);
        }
    }
    match status {
        Some(200) => Ok(header("connection").is_some_and(|(_, value)| value.trim() == "close")),
        Some(status) => Err(Failure::Status(status)),
        None => Err(Failure::Nonsense),
    }
}

/// Locks a mutex, even if it is poisoned.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
