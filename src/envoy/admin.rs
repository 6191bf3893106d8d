//! Requests to Envoy's admin for a drain. Only an answer with 200 counts as success. Each request
//! has a time limit, which the caller gives.

use std::rc::Rc;
use std::time::Duration;

use hyper::Method;

use crate::core::envoy::Call;
use crate::core::envoy::sample::Sample;
use crate::envoy::listeners::Uncounted;
use crate::envoy::server_info::ServerInfo;
use crate::envoy::stats::{self, ONLY_GAUGES, STATS_PATH};
use crate::http::{Answerer, Client, HttpError, beside, request};
use crate::keys::Address;

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

/// Whether no connection can be open: Envoy is not live yet, and there is no older epoch. `None` if
/// Envoy does not answer within the limit.
pub(crate) async fn is_unused(client: &mut Client, limit: Duration) -> Option<bool> {
    ServerInfo::ask(client, limit).await.ok().map(|info| info.is_unused())
}

/// Makes a call once.
///
/// # Errors
/// Fails if there is no answer with 200 within the limit, or if the answer is not that of an Envoy.
pub(crate) async fn post(admin: &Address, call: Call, limit: Duration) -> Result<(), HttpError> {
    let answer =
        request((admin, Answerer::Anybody), Method::POST, call.path(), limit, MAX_REPLY).await?;
    match answer.into_ok_body()?.trim_ascii() {
        b"OK" => Ok(()),
        body => Err(HttpError::malformed(body)),
    }
}
