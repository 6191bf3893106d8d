//! Requests to Envoy's admin for a drain. Only an answer with 200 counts as success, and every
//! request has a time limit: an admin that refuses or hangs causes an error, not a delay.

use std::time::Duration;

use hyper::Method;

use crate::config::Address;
use crate::core::envoy::Call;
use crate::core::envoy::sample::Sample;
use crate::envoy::listeners::Uncounted;
use crate::envoy::server_info::ServerInfo;
use crate::envoy::stats::{self, STATS_PATH};
use crate::http::{Client, RequestError, request};

/// The time limit of a single request, unless the caller has its own limit.
const LIMIT: Duration = Duration::from_millis(500);
/// The largest answer to a call, in bytes. Envoy sends a word or a sentence.
const MAX_REPLY: usize = 4096;
/// The largest answer with statistics. A statistic has about 90 bytes, and there are two for each
/// listener and worker, so this is enough for 300 listeners on 64 workers.
const MAX_STATS: usize = 4 * 1024 * 1024;

/// Polls the statistics, within 500 ms. The client keeps its connection between polls.
///
/// # Errors
/// Fails if there is no complete, valid answer.
pub async fn sample(client: &mut Client, uncounted: &Uncounted) -> Result<Sample, RequestError> {
    let answer = client.get(STATS_PATH, LIMIT, MAX_STATS).await?;
    stats::sample(&answer.into_ok_body()?, uncounted)
}

/// Whether no connection can be open, because Envoy is not live and there is no older epoch. `None`
/// if Envoy does not answer within the limit.
pub(crate) async fn is_unused(client: &mut Client, limit: Duration) -> Option<bool> {
    ServerInfo::ask(client, limit).await.ok().map(|info| info.is_unused())
}

/// Makes a call once.
///
/// # Errors
/// Fails if there is no answer with 200 within the limit.
pub(crate) async fn post(admin: &Address, call: Call, limit: Duration) -> Result<(), RequestError> {
    let answer = request(admin, Method::POST, call.path(), limit, MAX_REPLY).await?;
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
        assert_eq!(sample(&mut client, &Uncounted::default()).await.unwrap().active, Some(2));
        assert_eq!(server.seen(), [format!("GET {STATS_PATH}")]);
        for message in ["answered 403 Forbidden", "not Envoy statistics", "no answer within 500ms"]
        {
            let error = sample(&mut client, &Uncounted::default()).await.unwrap_err().to_string();
            assert!(error.contains(message), "{error}");
        }
    }
}
