//! Requests to Envoy's admin for a drain. Only an answer with 200 counts as success. The caller
//! gives up a request that takes too long.

use std::io;
use std::rc::Rc;
use std::time::Duration;

use hyper::Method;

use crate::config::Address;
use crate::core::envoy::Call;
use crate::core::envoy::sample::Sample;
use crate::envoy::listeners::Uncounted;
use crate::envoy::server_info::ServerInfo;
use crate::envoy::stats::{self, ONLY_GAUGES, STATS_PATH};
use crate::http::{Answerer, Client, HttpError, request};
use crate::os::on_thread::on_thread;

/// The largest answer to a call, in bytes. Envoy sends a word or a sentence.
const MAX_REPLY: usize = 4096;
/// The largest answer with statistics, in bytes. A statistic has about 90 bytes, and there are two
/// for each listener and worker. The limit is enough for 1,000 listeners on 64 workers.
const MAX_STATS: usize = 16 * 1024 * 1024;
/// The largest answer, in bytes, that the event loop's thread reads. A thread of its own reads a
/// larger answer, because a long read would hold up the event loop.
const SMALL: usize = 64 * 1024;

/// Polls the gauges and, if `is_whole`, the counters. The client keeps its connection between
/// polls.
///
/// # Errors
/// Fails if there is no complete, valid answer within `limit`.
pub async fn sample(
    client: &mut Client,
    uncounted: &Rc<Uncounted>,
    is_whole: bool,
    limit: Duration,
) -> Result<Sample, HttpError> {
    let path = format!("{STATS_PATH}{}", if is_whole { "" } else { ONLY_GAUGES });
    let body = client.get(&path, limit, MAX_STATS).await?.into_ok_body()?;
    if body.len() <= SMALL {
        return stats::sample(&body, uncounted);
    }
    let uncounted = Uncounted::clone(uncounted);
    beside(limit, move || stats::sample(&body, &uncounted)).await?
}

/// Reads a large answer on a thread of its own.
pub(super) async fn beside<T: Send + 'static>(
    limit: Duration,
    read: impl FnOnce() -> T + Send + 'static,
) -> Result<T, HttpError> {
    let read = on_thread(limit, read).await;
    read.map_err(|error| HttpError::Io(io::Error::other(error)))
}

/// Whether no connection can be open: Envoy is not live, and there is no older epoch. `None` if
/// Envoy does not answer within the limit.
pub(crate) async fn is_unused(client: &mut Client, limit: Duration) -> Option<bool> {
    ServerInfo::ask(client, limit).await.ok().map(|info| info.is_unused())
}

/// Makes a call once.
///
/// # Errors
/// Fails if there is no answer with 200 within the limit.
pub(crate) async fn post(admin: &Address, call: Call, limit: Duration) -> Result<(), HttpError> {
    let answer =
        request((admin, Answerer::Anybody), Method::POST, call.path(), limit, MAX_REPLY).await?;
    answer.into_ok_body().map(drop)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::testing::http_server::Behaviour::*;
    use crate::testing::http_server::Server;

    const SHORT: Duration = Duration::from_millis(100);

    #[tokio::test]
    async fn misbehaving_admin_cannot_exceed_the_limit() {
        for (behaviour, message) in [
            (Hang, "no answer within"),
            (Trickle, "no answer within"),
            (Answer(403, "Forbidden"), "answered 403 Forbidden"),
            (Answer(204, ""), "answered 204"),
            (Endless, "answered more than"),
            (CloseHalfWay, "closed the connection"),
            (CloseAtOnce, "closed the connection"),
            (NotHttp, "not HTTP"),
        ] {
            let server = Server::tcp(&[behaviour]);
            let begin = Instant::now();
            let error = post(&server.address, Call::FailHealthcheck, SHORT).await.unwrap_err();
            assert!(begin.elapsed() < SHORT * 3, "{behaviour:?}: {:?}", begin.elapsed());
            assert!(error.to_string().contains(message), "{behaviour:?}: {error}");
        }
        let server = Server::unix(&[Answer(200, "OK\n")]);
        post(&server.address, Call::DrainListeners, SHORT).await.unwrap();
        assert_eq!(server.seen(), ["POST /drain_listeners?graceful&skip_exit"]);
    }

    #[tokio::test]
    async fn incomplete_sample_is_an_error() {
        let server = Server::tcp(&[
            Answer(200, r#"{"stats":[{"name":"listener.a.downstream_cx_active","value":2}]}"#),
            Answer(403, ""),
            Answer(200, "OK"),
            Hang,
        ]);
        let mut client = Client::new(server.address.clone());
        let mut ask = async || sample(&mut client, &Rc::default(), true, SHORT).await;
        assert_eq!(ask().await.unwrap().active, None, "`downstream_pre_cx_active` is missing");
        assert_eq!(server.seen(), [format!("GET {STATS_PATH}")]);
        for message in ["answered 403 Forbidden", "not Envoy statistics", "no answer within 100ms"]
        {
            let error = ask().await.unwrap_err().to_string();
            assert!(error.contains(message), "{error}");
        }
    }
}
