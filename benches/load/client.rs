//! A client with one connection that sends one request at a time.
//!
//! The client behaves well: it honours `Connection: close`, GOAWAY and the Close frame of a
//! WebSocket. The client repeats a request only if the request was not sent, or if its plan permits
//! it and the server has not processed the request; see [`Problem`].

use std::net::SocketAddr;
use std::time::Duration;

use testkit::load::Failure;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};

use super::{Plan, Tally};

/// A request fails if its answer takes this much longer than the time that the request asks for.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// Whether the connection can be used after an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// The next request can be sent on the same connection.
    SameConnection,
    /// The server has announced that it closes the connection.
    NewConnection,
}

/// Why a request has no answer.
#[derive(Clone, Copy, Debug)]
pub(super) enum Problem {
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

/// A connection on which one request is sent at a time.
pub(super) trait Connection: Sized {
    async fn open(stream: TcpStream, plan: &Plan) -> Result<Self, Failure>;

    /// Sends a request and reads the whole answer.
    async fn ask(&mut self, path: &str) -> Result<Next, Problem>;

    /// Returns when the connection has ended between two requests, which may be never. By default,
    /// a client notices the end only when it sends the next request.
    async fn ended(&mut self) -> Result<(), Failure> {
        std::future::pending().await
    }

    /// Ends the session as its protocol demands.
    async fn end(&mut self) -> Result<Next, Failure> {
        Ok(Next::NewConnection)
    }
}

struct Client<C> {
    plan: Plan,
    service: SocketAddr,
    tally: Tally,
    connection: Option<C>,
    /// The time at which the client ends its session.
    session_end: Option<Instant>,
}

/// Sends requests until the end. `part` is this client's position among all clients, above 0 and up
/// to 1.
pub(super) async fn run<C: Connection>(
    plan: Plan,
    service: SocketAddr,
    tally: Tally,
    mut part: f64,
) {
    let mut due = tally.start + plan.spread.mul_f64(part);
    let mut client = Client::<C> { plan, service, tally, connection: None, session_end: None };
    loop {
        let result = match client.idle_until(due).await {
            Ok(()) if client.tally.is_over() => break,
            Ok(()) => client.request(due, part).await,
            failed => failed,
        };
        // A late client skips requests, and never sends faster than its rate.
        due = (due + plan.period).max(Instant::now());
        if let Err(failure) = result {
            client.connection = None;
            client.tally.count_failure(failure);
            if plan.period.is_zero() || plan.protocol.has_sessions() {
                sleep(plan.after_failure).await;
                due = due.max(Instant::now());
            }
        }
        part = 1.0;
    }
    if let Err(failure) = client.end_session().await {
        client.tally.count_failure(failure);
    }
}

impl<C: Connection> Client<C> {
    /// Waits until the next request is due, and notices if the connection ends meanwhile.
    async fn idle_until(&mut self, due: Instant) -> Result<(), Failure> {
        if due <= Instant::now() {
            return Ok(());
        }
        if let Some(connection) = &mut self.connection
            && let Ok(ended) = timeout_at(due, connection.ended()).await
        {
            self.connection = None;
            ended?;
        }
        sleep_until(due).await;
        Ok(())
    }

    async fn end_session(&mut self) -> Result<(), Failure> {
        let Some(mut connection) = self.connection.take() else { return Ok(()) };
        let ended = timeout(ANSWER_TIMEOUT, connection.end()).await;
        if ended.unwrap_or(Err(Failure::Timeout))? == Next::SameConnection {
            self.connection = Some(connection);
            self.session_end = self.plan.session.map(|session| Instant::now() + session);
        }
        Ok(())
    }

    /// Sends the request that was due at this time, and reads its answer.
    async fn request(&mut self, due: Instant, part: f64) -> Result<(), Failure> {
        if self.session_end.is_some_and(|end| end <= Instant::now()) {
            self.end_session().await?;
        }
        let limit = self.plan.answer_time + ANSWER_TIMEOUT;
        let answer = timeout(limit, self.ask(part)).await;
        let next = answer.unwrap_or(Err(Failure::Timeout))?;
        if self.plan.is_fresh || next == Next::NewConnection {
            self.connection = None;
        }
        self.tally.count_answer(due.elapsed());
        Ok(())
    }

    /// Sends one request, and sends it again as long as it must not be lost.
    async fn ask(&mut self, part: f64) -> Result<Next, Failure> {
        let Plan { answer_time, is_streamed, session, repeats, .. } = self.plan;
        let what = if is_streamed { "stream" } else { "slow" };
        let path = match answer_time.mul_f64(part).as_millis() {
            0 => "/".to_owned(),
            time => format!("/upstream/{what}/{time}"),
        };
        loop {
            let connection = match &mut self.connection {
                Some(connection) => connection,
                None => {
                    let stream = TcpStream::connect(self.service).await?;
                    stream.set_nodelay(true)?;
                    self.session_end =
                        session.map(|session| Instant::now() + session.mul_f64(part));
                    self.connection.insert(C::open(stream, &self.plan).await?)
                }
            };
            match connection.ask(&path).await {
                Ok(next) => return Ok(next),
                Err(Problem::Lost(failure)) => return Err(failure),
                Err(Problem::NotProcessed) if !repeats => return Err(Failure::Reset),
                Err(Problem::NotProcessed | Problem::NotSent) => self.connection = None,
            }
        }
    }
}
