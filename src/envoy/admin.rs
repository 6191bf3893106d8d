//! Envoy's admin: the calls that begin and end a drain, and the sample of its statistics.
//!
//! - `POST /drain_listeners?graceful&skip_exit` asks clients to close their connections, but with
//!   Envoy's default strategy only some of them. Without `skip_exit` Envoy closes every listener when
//!   its `--drain-time-s` is over, which may be before `min` is.
//! - `POST /healthcheck/fail` makes every response from then on close its connection.
//! - Plain `POST /drain_listeners` closes the listen sockets at once; accepted connections stay, and
//!   stay counted.
//!
//! This holds for Envoy 1.36.4 to 1.40.0. Only a 200 counts as done, and every wait has a
//! limit: an admin that refuses, forbids or hangs makes an outcome, not a delay.

use std::fmt;
use std::time::Duration;

use hyper::Method;
use tokio::time::{Instant, sleep};

use crate::config::{Address, Direction};
use crate::envoy::listeners::Uncounted;
use crate::envoy::server_info::ServerInfo;
use crate::envoy::stats::{STATS_PATH, Sample};
use crate::http::{Client, RequestError, request};

/// The limit of a single call.
const CALL_LIMIT: Duration = Duration::from_millis(500);
/// The limit of all attempts to begin a drain.
const BEGIN_LIMIT: Duration = Duration::from_secs(2);
/// The first pause between attempts; it doubles.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// The longest pause between attempts.
const LONGEST_PAUSE: Duration = Duration::from_millis(250);
/// The largest answer to a call, in bytes; Envoy sends a word or a sentence.
const MAX_REPLY: usize = 4096;
/// About 90 bytes per statistic, two for each listener and worker: enough for 300 listeners on 64
/// workers.
const MAX_STATS: usize = 4 * 1024 * 1024;

/// A call to the admin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// Begin to drain, and keep accepting.
    DrainListeners,
    /// The same for listeners with `traffic_direction: INBOUND` only.
    DrainInbound,
    /// Every response closes its connection.
    FailHealthcheck,
    /// Stop accepting.
    CloseListeners,
    /// The same for listeners with `traffic_direction: INBOUND` only.
    CloseInbound,
}

impl Call {
    /// Path and query.
    #[must_use]
    pub fn path(self) -> &'static str {
        match self {
            Self::DrainListeners => "/drain_listeners?graceful&skip_exit",
            Self::DrainInbound => "/drain_listeners?inboundonly&graceful&skip_exit",
            Self::FailHealthcheck => "/healthcheck/fail",
            Self::CloseListeners => "/drain_listeners",
            Self::CloseInbound => "/drain_listeners?inboundonly",
        }
    }

    /// The call that begins a drain, and the one that closes the listeners.
    #[must_use]
    pub fn of(direction: Direction) -> (Self, Self) {
        match direction {
            Direction::All => (Self::DrainListeners, Self::CloseListeners),
            Direction::Inbound => (Self::DrainInbound, Self::CloseInbound),
        }
    }
}

/// Writes `POST /healthcheck/fail`.
impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "POST {}", self.path())
    }
}

/// The outcome of a call.
#[derive(Debug)]
pub struct CallOutcome {
    /// The call.
    pub call: Call,
    /// At least 1.
    pub attempts: u32,
    /// The error is that of the last attempt.
    pub result: Result<(), RequestError>,
}

/// Writes `POST /healthcheck/fail: done` or `POST /healthcheck/fail: answered 403 Forbidden (5
/// attempts)`.
impl fmt::Display for CallOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.call)?;
        match &self.result {
            Ok(()) => f.write_str("done")?,
            Err(error) => error.fmt(f)?,
        }
        if self.attempts > 1 {
            write!(f, " ({} attempts)", self.attempts)?;
        }
        Ok(())
    }
}

/// Begins the drain: `drain_listeners?graceful&skip_exit`, then, if set, `healthcheck/fail`, each
/// retried until it is done or 2 s are over. The attempts alternate, so that a call which always
/// fails takes no time from the other. Returns one outcome per call, in this order.
pub async fn begin_drain(
    admin: &Address,
    direction: Direction,
    fail_healthcheck: bool,
) -> Vec<CallOutcome> {
    let calls = [Call::of(direction).0, Call::FailHealthcheck];
    let calls = if fail_healthcheck { &calls[..] } else { &calls[..1] };
    attempt_all(admin, calls, CALL_LIMIT, BEGIN_LIMIT).await
}

/// Makes every response close its connection: the second call of [`begin_drain`], made later.
pub async fn fail_healthcheck(admin: &Address) -> Vec<CallOutcome> {
    attempt_all(admin, &[Call::FailHealthcheck], CALL_LIMIT, BEGIN_LIMIT).await
}

/// Closes the listen sockets, so that from here to SIGTERM no connection is accepted and then cut.
/// One attempt, within 500 ms.
pub async fn close_listeners(admin: &Address, direction: Direction) -> CallOutcome {
    let (_, call) = Call::of(direction);
    let result = post(admin, call, CALL_LIMIT).await;
    CallOutcome { call, attempts: 1, result }
}

/// Polls the statistics, within 500 ms. The client keeps its connection between polls.
///
/// # Errors
/// When there is no complete, valid answer.
pub async fn sample(client: &mut Client, uncounted: &Uncounted) -> Result<Sample, RequestError> {
    let answer = client.get(STATS_PATH, CALL_LIMIT, MAX_STATS).await?;
    Sample::parse(&answer.into_ok_body()?, uncounted)
}

/// Reads which listeners the statistics of a drain leave out.
///
/// # Errors
/// When the admin does not tell; then what is unknown counts.
pub async fn uncounted(
    client: &mut Client,
    direction: Direction,
    ignored: &[String],
) -> (Uncounted, Result<(), RequestError>) {
    Uncounted::ask(client, direction, ignored, CALL_LIMIT).await
}

/// Whether Envoy has not been live yet, as it says within 500 ms.
pub(crate) async fn is_unused(client: &mut Client) -> bool {
    ServerInfo::ask(client, CALL_LIMIT).await.is_ok_and(|info| info.is_unused())
}

async fn attempt_all(
    admin: &Address,
    calls: &[Call],
    call_limit: Duration,
    limit: Duration,
) -> Vec<CallOutcome> {
    let deadline = Instant::now() + limit;
    let left = || deadline.saturating_duration_since(Instant::now());
    let mut outcomes: Vec<CallOutcome> = Vec::with_capacity(calls.len());
    for call in calls {
        let result = post(admin, *call, call_limit.min(left())).await;
        outcomes.push(CallOutcome { call: *call, attempts: 1, result });
    }
    let mut pause = FIRST_PAUSE;
    while outcomes.iter().any(|outcome| outcome.result.is_err()) && pause < left() {
        sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
        for outcome in outcomes.iter_mut().filter(|outcome| outcome.result.is_err()) {
            let limit = call_limit.min(left());
            // An attempt without enough time would only hide the error of the one before.
            if limit >= FIRST_PAUSE.min(call_limit) {
                outcome.attempts += 1;
                outcome.result = post(admin, outcome.call, limit).await;
            }
        }
    }
    outcomes
}

async fn post(admin: &Address, call: Call, limit: Duration) -> Result<(), RequestError> {
    let answer = request(admin, Method::POST, call.path(), limit, MAX_REPLY).await?;
    answer.into_ok_body().map(drop)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;
    use crate::testing::http_server::Behaviour::*;
    use crate::testing::http_server::Server;

    const SHORT: Duration = Duration::from_millis(100);
    const OVERALL: Duration = Duration::from_millis(600);
    const BOTH: &[Call] = &[Call::DrainListeners, Call::FailHealthcheck];

    fn texts(outcomes: &[CallOutcome]) -> Vec<String> {
        outcomes.iter().map(ToString::to_string).collect()
    }

    #[tokio::test]
    async fn a_drain_begins_with_both_calls_in_order() {
        let server = Server::unix(&[Answer(200, "OK\n")]);
        let outcomes = begin_drain(&server.address, Direction::All, true).await;
        assert_eq!(
            texts(&outcomes),
            ["POST /drain_listeners?graceful&skip_exit: done", "POST /healthcheck/fail: done"]
        );
        assert_eq!(
            server.seen(),
            ["POST /drain_listeners?graceful&skip_exit", "POST /healthcheck/fail"]
        );
        assert_eq!(begin_drain(&server.address, Direction::All, false).await.len(), 1);
        assert_eq!(
            close_listeners(&server.address, Direction::All).await.to_string(),
            "POST /drain_listeners: done"
        );
    }

    #[tokio::test]
    async fn only_a_failed_call_is_retried() {
        let server =
            Server::tcp(&[Answer(500, ""), Answer(200, "OK"), Answer(204, ""), Answer(200, "OK")]);
        let outcomes = begin_drain(&server.address, Direction::All, true).await;
        assert_eq!(outcomes.iter().map(|o| o.attempts).collect::<Vec<_>>(), [3, 1]);
        assert!(outcomes.iter().all(|o| o.result.is_ok()));
        assert_eq!(
            texts(&outcomes)[0],
            "POST /drain_listeners?graceful&skip_exit: done (3 attempts)"
        );
    }

    #[tokio::test]
    async fn a_call_that_always_fails_does_not_block_the_other() {
        // Connections 1, 3 and 4 are drain_listeners, 2 is healthcheck/fail.
        let server = Server::tcp(&[Hang, Answer(200, "OK"), Hang, Answer(403, "")]);
        let outcomes = attempt_all(&server.address, BOTH, SHORT, OVERALL).await;
        assert!(outcomes[0].result.is_err(), "{outcomes:?}");
        assert_eq!(outcomes[1].to_string(), "POST /healthcheck/fail: done");
    }

    #[tokio::test]
    async fn an_admin_that_misbehaves_takes_no_longer_than_the_limit() {
        for (behaviour, message) in [
            (Hang, "no answer within"),
            (Trickle, "no answer within"),
            (Answer(403, "Forbidden"), "answered 403 Forbidden"),
            (Endless, "answered more than"),
            (CloseHalfWay, "closed the connection"),
            (CloseAtOnce, "closed the connection"),
            (NotHttp, "not HTTP"),
        ] {
            let server = Server::tcp(&[behaviour]);
            let begin = Instant::now();
            let outcomes = attempt_all(&server.address, BOTH, SHORT, OVERALL).await;
            assert!(begin.elapsed() < OVERALL * 2, "{behaviour:?}: {:?}", begin.elapsed());
            for outcome in outcomes {
                let error = outcome.result.unwrap_err().to_string();
                assert!(error.contains(message), "{behaviour:?}: {error}");
                assert!(outcome.attempts > 1, "{behaviour:?}");
            }
        }
    }

    // holds: S30
    #[tokio::test]
    async fn a_refused_connection_is_retried_until_the_limit() {
        let address = Server::tcp_refusing();
        let begin = Instant::now();
        let outcomes = begin_drain(&address, Direction::All, true).await;
        let elapsed = begin.elapsed();
        assert!(elapsed > BEGIN_LIMIT / 2 && elapsed < BEGIN_LIMIT + SHORT, "{elapsed:?}");
        for outcome in outcomes {
            assert_eq!(outcome.result.unwrap_err().to_string(), "connection refused");
            assert!(outcome.attempts >= 8, "{}", outcome.attempts);
        }
    }

    #[tokio::test]
    async fn a_sample_is_read_or_an_error() {
        let server = Server::tcp(&[
            Answer(200, r#"{"stats":[{"name":"listener.a.downstream_cx_active","value":2}]}"#),
            Answer(403, ""),
            Answer(200, "OK"),
            Hang,
        ]);
        let mut client = Client::new(server.address.clone());
        assert_eq!(sample(&mut client, &Uncounted::default()).await.unwrap().active, Some(2));
        assert_eq!(server.seen(), [format!("GET {STATS_PATH}")]);
        for message in ["answered 403 Forbidden", "not Envoy statistics", "no answer within 500ms"]
        {
            let error = sample(&mut client, &Uncounted::default()).await.unwrap_err().to_string();
            assert!(error.contains(message), "{error}");
        }
    }
}
