//! Where drainit can be asked how it is, and to drain: `/livez`, `/readyz`, `/status`, `/metrics` and `POST /drain` over
//! HTTP/1.1.
//!
//! One request a connection and at most five seconds for it, at most 64 connections: nobody who asks, slowly or often,
//! costs the supervision anything.

pub mod listen;
mod metrics;
pub mod status;

use std::convert::Infallible;
use std::future::pending;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use listen::{BoundSocket, Listeners};
use status::Status;

/// Connections at once; those above it are closed.
const MAX_CONNECTIONS: usize = 64;
/// From the accept to the last byte of the answer.
const CONNECTION_LIMIT: Duration = Duration::from_secs(5);
/// The head of a request.
const MAX_HEAD: usize = 16 * 1024;
/// After a failed accept, most likely because no descriptor is left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

const TEXT: &str = "text/plain; charset=utf-8";

/// What the endpoints ask of the supervisor.
pub trait Supervisor {
    /// How everything is at this moment.
    fn status(&self) -> Status;
    /// Begin to drain, and stop nothing. Asked again, or during a shutdown, it changes nothing.
    fn drain(&self);
    /// A connection is over, and it may be long until the next one.
    fn answered(&self);
}

/// Answers with what `supervisor` says at the moment of each request, until it is dropped; that also closes all connections and
/// removes the socket. Inside a `LocalSet`.
///
/// # Errors
/// When the runtime cannot watch the listeners: no descriptor is left.
pub async fn serve(
    listeners: Listeners,
    supervisor: impl Supervisor + 'static,
) -> io::Result<Infallible> {
    serve_within(listeners, Rc::new(supervisor), CONNECTION_LIMIT).await
}

async fn serve_within(
    listeners: Listeners,
    supervisor: Rc<dyn Supervisor>,
    limit: Duration,
) -> io::Result<Infallible> {
    let tcp = listeners.tcp.map(TcpListener::from_std).transpose()?;
    // Kept to the end for its `Drop`, which removes the socket.
    let bound: Option<BoundSocket> = listeners.unix;
    let unix = match &bound {
        Some(bound) => Some(UnixListener::from_std(bound.listener.try_clone()?)?),
        None => None,
    };
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = accept_tcp(tcp.as_ref()) => accepted,
            accepted = accept_unix(unix.as_ref()) => accepted,
            Some(_) = connections.join_next() => continue,
        };
        match accepted {
            Ok(_) if connections.len() >= MAX_CONNECTIONS => {}
            Ok(stream) => {
                let supervisor = Rc::clone(&supervisor);
                connections.spawn_local(async move {
                    // Whatever goes wrong with a connection is its client's affair.
                    let _ = timeout(limit, converse(stream, Rc::clone(&supervisor))).await;
                    supervisor.answered();
                });
            }
            Err(_) => sleep(ACCEPT_PAUSE).await,
        }
    }
}

/// Either kind of stream.
trait Stream: AsyncRead + AsyncWrite + Unpin {}
impl<T: AsyncRead + AsyncWrite + Unpin> Stream for T {}

/// A connection, and whether its other end is on this machine.
type Accepted = (Box<dyn Stream>, bool);

async fn accept_tcp(listener: Option<&TcpListener>) -> io::Result<Accepted> {
    match listener {
        Some(listener) => {
            let (stream, peer) = listener.accept().await?;
            Ok((Box::new(stream), peer.ip().to_canonical().is_loopback()))
        }
        None => pending().await,
    }
}

async fn accept_unix(listener: Option<&UnixListener>) -> io::Result<Accepted> {
    match listener {
        Some(listener) => Ok((Box::new(listener.accept().await?.0), true)),
        None => pending().await,
    }
}

async fn converse(accepted: Accepted, supervisor: Rc<dyn Supervisor>) -> hyper::Result<()> {
    let (stream, is_local) = accepted;
    let answer = |request: Request<Incoming>| {
        let (method, path) = (request.method(), request.uri().path());
        let response = match path {
            "/drain" => drain(method, is_local, &*supervisor),
            _ => respond(method, path, &*supervisor),
        };
        async move { Ok::<_, Infallible>(response) }
    };
    http1::Builder::new()
        .keep_alive(false)
        .max_buf_size(MAX_HEAD)
        // The limit around all of it needs no second timer inside.
        .header_read_timeout(None)
        .serve_connection(TokioIo::new(stream), service_fn(answer))
        .await
}

/// The whole protocol. Hyper leaves the body out where the method is HEAD.
fn respond(method: &Method, path: &str, supervisor: &dyn Supervisor) -> Response<Full<Bytes>> {
    let known = ["/livez", "/readyz", "/status", "/metrics"];
    if !known.contains(&path) {
        let body = format!("there are {}, and POST /drain\n", known.join(", "));
        return response(StatusCode::NOT_FOUND, TEXT, body);
    }
    if method != Method::GET && method != Method::HEAD {
        return refuse("GET, HEAD");
    }
    if path == "/livez" {
        return response(StatusCode::OK, TEXT, "ok\n".to_owned());
    }
    let status = supervisor.status();
    match path {
        "/readyz" if status.ready => response(StatusCode::OK, TEXT, "ready\n".to_owned()),
        "/readyz" => {
            let reason = format!("{}\n", status.not_ready_reason());
            response(StatusCode::SERVICE_UNAVAILABLE, TEXT, reason)
        }
        "/status" => match serde_json::to_string(&status) {
            Ok(json) => response(StatusCode::OK, "application/json", json + "\n"),
            Err(error) => response(StatusCode::INTERNAL_SERVER_ERROR, TEXT, format!("{error}\n")),
        },
        _ => {
            let format = "text/plain; version=0.0.4; charset=utf-8";
            response(StatusCode::OK, format, metrics::render(&status))
        }
    }
}

/// 202: it has begun, or had; `/status` tells when it is over. Whoever can reach the probes from outside must not be able to
/// take the pod out of service, so only this machine may ask. Before everything is ready there is nothing to drain.
fn drain(method: &Method, is_local: bool, supervisor: &dyn Supervisor) -> Response<Full<Bytes>> {
    if method != Method::POST {
        return refuse("POST");
    }
    if !is_local {
        let body = "only from this machine, or over control.socket\n".to_owned();
        return response(StatusCode::FORBIDDEN, TEXT, body);
    }
    if supervisor.status().phase == status::Phase::Starting {
        let body = "not everything is ready yet, so there is nothing to drain\n".to_owned();
        return response(StatusCode::CONFLICT, TEXT, body);
    }
    supervisor.drain();
    response(StatusCode::ACCEPTED, TEXT, "draining; /status tells when it is over\n".to_owned())
}

fn refuse(allowed: &'static str) -> Response<Full<Bytes>> {
    let mut refusal = response(StatusCode::METHOD_NOT_ALLOWED, TEXT, format!("{allowed}\n"));
    refusal.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
    refusal
}

fn response(code: StatusCode, content_type: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = code;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests;
