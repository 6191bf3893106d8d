//! The control endpoints: `/livez`, `/readyz`, `/status`, `/metrics` and `POST /drain` over
//! HTTP/1.1, and the endpoints of drainit's own commands over the control socket.
//!
//! A connection carries one request. The client has one second to send the head of the request. A
//! connection whose request waits for no operation is closed after five seconds. The number of
//! connections of a listener is bounded. The share of the thread's time that the answers take is
//! bounded, too ([`turns`]). Therefore a slow or greedy client neither slows the supervision nor
//! blocks other clients.

pub(crate) mod answer;
pub(crate) mod connections;
mod drain;
pub mod listen;
pub(crate) mod metrics;
pub(crate) mod operate;
pub mod status;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod turns;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::future::{pending, ready};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::control::connections::{
    Caller, ConnectionStage, ConnectionStream, Limits, Listener, accept, max_connections,
};
use crate::control::listen::ControlListeners;
use crate::control::status::Status;
use crate::control::turns::{Snapshot, Turns};
use crate::core::event::Request as Operation;
use crate::os::Peer;
use crate::types::{ProcessId, Signal, Time, escape_json};

const LIMITS: Limits = Limits { head: Duration::from_secs(1), whole: Duration::from_secs(5) };
/// The largest head of a request, in bytes.
const MAX_HEAD: usize = 16 * 1024;

const LIVEZ: &str = "/livez";

const JSON: &str = "application/json";

pub(crate) type Reply = Response<Full<Bytes>>;

/// A reply that may wait for an operation.
pub(crate) type Answering<'a> = Pin<Box<dyn Future<Output = Reply> + 'a>>;

/// The result of an operation, which comes later: a text, or the reason why the operation failed.
pub type Outcome = oneshot::Receiver<Result<String, String>>;

/// The supervisor, as the endpoints see it.
pub trait SupervisorHandle {
    /// The status at this moment.
    fn status(&self) -> Status;
    /// How the processes have started and ended since then, by their names.
    fn told(&self, since: Time) -> BTreeMap<String, Vec<String>>;
    /// A line for each drain, in the words of the log.
    fn drains(&self) -> String;
    /// Begins to drain, and stops nothing. A second call, or a call during a shutdown, has no
    /// effect.
    fn drain(&self);
    /// Begins to stop, start or restart these processes, one after the other, until one fails. The
    /// answer comes when all processes are done or one process has failed. There is no time limit.
    /// The error is a sentence for the operator. The channel closes without an answer only if
    /// drainit itself ends.
    fn request(&self, names: Vec<String>, request: Operation) -> Outcome;
    /// The processes that will follow a restart of these processes (`restart: true`), each with the
    /// process that it follows. If `in_turn` is set, each restart begins when the one before is
    /// done. Call this before [`Self::request`].
    fn followers(&self, names: Vec<String>, in_turn: bool) -> Followers;
    /// Begins the shutdown, or waits for the one that has begun. The answer is the report, and comes
    /// just before drainit exits. The error is the report of a shutdown whose exit code is not 0.
    fn shutdown(&self, client: Peer) -> Outcome;
    /// Reads the config again. The answer comes when every process is as the new config says, or
    /// when the reload has failed. The answer contains the warnings of the config, or the reason of
    /// the failure.
    fn reload(&self) -> Outcome;
    /// Answers what a reload would do.
    fn plan_reload(&self) -> Outcome;
    /// Looks whether the files of the config have changed since drainit read them. The answer is
    /// `false` if that is unknown.
    fn has_config_changed(&self) -> Changed;
    /// Looks at the running instances in these slots.
    fn look(&self, processes: &[ProcessId]) -> Looks;
    /// Sends a signal to a process, but not to its group.
    ///
    /// # Errors
    /// Fails if the process does not run, or the kernel refuses.
    fn signal(&self, process: ProcessId, signal: Signal) -> io::Result<()>;
}

/// The details that `drainit status NAME` shows of an instance that is not ready.
#[derive(Clone, Debug, Default)]
pub struct Look {
    /// Its last lines; empty if drainit does not read its output.
    pub lines: Vec<String>,
    /// The addresses on which it listens; `None` if they are unknown.
    pub listens: Option<Vec<String>>,
}

/// The answer to [`SupervisorHandle::look`].
pub type Looks = Pin<Box<dyn Future<Output = BTreeMap<ProcessId, Look>>>>;

/// The answer to [`SupervisorHandle::followers`].
pub type Followers = Pin<Box<dyn Future<Output = BTreeMap<String, String>>>>;

/// The answer to [`SupervisorHandle::has_config_changed`].
pub type Changed = Pin<Box<dyn Future<Output = bool>>>;

/// The answer that no process follows.
pub(crate) fn nobody() -> Followers {
    Box::pin(ready(BTreeMap::new()))
}

/// Serves requests until the future is dropped. The drop closes all connections and removes the
/// socket. Needs a `LocalSet`.
///
/// # Errors
/// Fails if the runtime cannot watch the listeners because descriptors ran out.
pub async fn serve(
    listeners: ControlListeners,
    supervisor: impl SupervisorHandle + 'static,
) -> io::Result<Infallible> {
    serve_within(listeners, supervisor, LIMITS).await
}

async fn serve_within(
    listeners: ControlListeners,
    supervisor: impl SupervisorHandle + 'static,
    limits: Limits,
) -> io::Result<Infallible> {
    let ControlListeners { tcp, unix, missing: _ } = listeners;
    let tcp = tcp.map(TcpListener::from_std).transpose()?.map(Listener::Tcp);
    // Dropping `_name` removes the socket.
    let (unix, _name) = unix.map(|bound| (bound.listener, bound.name)).unzip();
    let is_private = matches!(_name, Some(None));
    let unix = unix.map(UnixListener::from_std).transpose()?;
    let unix = unix.map(|listener| Listener::Unix { listener, is_private });
    let server = Rc::new(Server::new(supervisor));
    let max = max_connections();
    let accept = async |listener: Option<Listener>| match listener {
        Some(listener) => accept(listener, max, limits, Rc::clone(&server)).await,
        None => pending().await,
    };
    tokio::select! {
        never = accept(tcp) => match never {},
        never = accept(unix) => match never {},
    }
}

/// Answers the requests of all listeners.
pub(crate) struct Server {
    supervisor: Box<dyn SupervisorHandle>,
    turns: Turns,
}

impl Server {
    pub(crate) fn new(supervisor: impl SupervisorHandle + 'static) -> Self {
        Self { supervisor: Box::new(supervisor), turns: Turns::new() }
    }

    /// Reads one request from the stream and answers it. Advances `stage` when the head is
    /// complete.
    async fn converse(
        &self,
        stream: Box<dyn ConnectionStream>,
        caller: Caller,
        stage: &ConnectionStage,
    ) {
        let answer = |request: Request<Incoming>| {
            stage.answer();
            let (asked, caller) = (Instant::now(), &caller);
            async move {
                let answer = || self.answer(&request, caller, stage, asked);
                // A liveness probe needs no status, so the answer does not wait for a turn.
                let answered = match request.uri().path() {
                    LIVEZ => answer(),
                    _ => self.turns.take(answer).await,
                };
                Ok::<_, Infallible>(answered.await)
            }
        };
        // An error on a connection concerns only its client.
        let _ = http1::Builder::new()
            .keep_alive(false)
            .max_buf_size(MAX_HEAD)
            // `connections` limits the time of the exchange, so hyper's own timer is off.
            .header_read_timeout(None)
            .serve_connection(TokioIo::new(stream), service_fn(answer))
            .await;
    }

    /// Answers a request that arrived at `asked`.
    fn answer<'a, B>(
        &'a self,
        request: &Request<B>,
        caller: &Caller,
        stage: &'a ConnectionStage,
        asked: Instant,
    ) -> Answering<'a> {
        if let Caller::Stranger(reason) = caller {
            return at_once(text(StatusCode::FORBIDDEN, format!("{reason}\n")));
        }
        let (path, supervisor) = (request.uri().path(), &*self.supervisor);
        if let Some(path) = path.strip_prefix(operate::PREFIX) {
            return operate::answer(request, path, caller, stage, supervisor);
        }
        let now = || self.turns.since(asked, || supervisor.status());
        at_once(match path {
            "/drain" => drain::answer(request, caller, supervisor),
            _ => respond(request.method(), path, caller, now),
        })
    }
}

/// Answers everything but `/drain` and the paths of operators. Hyper leaves out the body for HEAD.
fn respond(
    method: &Method,
    path: &str,
    caller: &Caller,
    now: impl FnOnce() -> Rc<Snapshot>,
) -> Reply {
    let known = [LIVEZ, "/readyz", "/status", "/metrics"];
    let is_version = |rest: &str| rest.starts_with(|c: char| c.is_ascii_digit());
    if path.strip_prefix("/v").is_some_and(is_version) {
        return operate::unknown_path(path);
    }
    if !known.contains(&path) {
        let body = format!("unknown path; drainit answers {}, and POST /drain\n", known.join(", "));
        return text(StatusCode::NOT_FOUND, body);
    }
    if method != Method::GET && method != Method::HEAD {
        return refuse("GET, HEAD");
    }
    if path == LIVEZ {
        return text(StatusCode::OK, "ok\n");
    }
    let Snapshot { status, full, json: as_json, metrics, .. } = &*now();
    // Only clients of the control socket may see text that a process wrote.
    let full = || full.get_or_init(|| status.clone().with_full_texts());
    match (path, caller) {
        ("/readyz", Caller::Socket(_)) if !status.ready => {
            let reason = format!("{}\n", full().not_ready_reason());
            return text(StatusCode::SERVICE_UNAVAILABLE, reason);
        }
        ("/status", Caller::Socket(_)) => return response(StatusCode::OK, JSON, json(full())),
        _ => {}
    }
    match path {
        "/readyz" if status.ready => text(StatusCode::OK, status.ready_line()),
        "/readyz" => {
            text(StatusCode::SERVICE_UNAVAILABLE, format!("{}\n", status.not_ready_reason()))
        }
        "/status" => response(StatusCode::OK, JSON, as_json.get_or_init(|| json(status)).clone()),
        _ => {
            let format = "text/plain; version=0.0.4; charset=utf-8";
            let render = || Bytes::from(metrics::render(status));
            response(StatusCode::OK, format, metrics.get_or_init(render).clone())
        }
    }
}

/// Data as JSON. Everything in an answer can be serialised, so this never fails.
fn json(data: &impl Serialize) -> Bytes {
    let json = serde_json::to_string(data).unwrap_or_default();
    (escape_json(&json) + "\n").into_owned().into()
}

fn at_once(reply: Reply) -> Answering<'static> {
    Box::pin(ready(reply))
}

fn refuse(allowed: &'static str) -> Reply {
    let mut refusal = text(StatusCode::METHOD_NOT_ALLOWED, format!("{allowed}\n"));
    refusal.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
    refusal
}

fn text(code: StatusCode, body: impl Into<Bytes>) -> Reply {
    response(code, "text/plain; charset=utf-8", body)
}

fn response(code: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Reply {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = code;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
