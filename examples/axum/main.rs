//! An axum server that drains itself: SIGUSR1 starts the drain, and the server reports the end of
//! the drain to `NOTIFY_SOCKET`.
//!
//!     axum_server ADDRESS:PORT

#![allow(clippy::disallowed_methods, reason = "not part of drainit")]
#![allow(clippy::print_stderr)]

use std::error::Error;
use std::os::fd::FromRawFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::Duration;
use std::{env, io, thread};

use axum::Router;
use axum::extract::{Request, State};
use axum::http::header::{CONNECTION, HeaderValue};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use axum::routing::get;
use signal_hook::consts::{SIGTERM, SIGUSR1};
use signal_hook::iterator::Signals;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::time::sleep;

/// The drain is over when all requests are answered and no new request has come for this time, even
/// if idle connections are open.
const QUIET: Duration = Duration::from_secs(1);

#[derive(Default)]
struct Traffic {
    draining: AtomicBool,
    in_flight: AtomicU64,
    ever: AtomicU64,
}

/// Counts every request. During the drain, the server closes each connection with the next answer.
async fn count(State(traffic): State<Arc<Traffic>>, request: Request, next: Next) -> Response {
    traffic.ever.fetch_add(1, SeqCst);
    traffic.in_flight.fetch_add(1, SeqCst);
    let mut response = next.run(request).await;
    traffic.in_flight.fetch_sub(1, SeqCst);
    if traffic.draining.load(SeqCst) {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

// The `notify` protocol in 20 lines: `drain` runs when SIGUSR1 arrives, and reports its end when no
// request is in flight and none has come for a while; `tell` is sd_notify(3) without a library.
// begin
fn drain(traffic: &Traffic) -> io::Result<()> {
    traffic.draining.store(true, SeqCst);
    loop {
        let before = traffic.ever.load(SeqCst);
        tell(&format!("STATUS={} requests in flight", traffic.in_flight.load(SeqCst)))?;
        thread::sleep(QUIET);
        if traffic.in_flight.load(SeqCst) == 0 && traffic.ever.load(SeqCst) == before {
            return tell("DRAINED=1");
        }
    }
}

fn tell(message: &str) -> io::Result<()> {
    let Ok(name) = env::var("NOTIFY_SOCKET") else { return Ok(()) };
    let address = match name.strip_prefix('@') {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(name)?,
    };
    UnixDatagram::unbound()?.send_to_addr(message.as_bytes(), &address).map(drop)
}
// end

/// The listener that this process was passed as in sd_listen_fds(3), or else a new one.
#[allow(unsafe_code)]
async fn listener(address: &str) -> io::Result<TcpListener> {
    if env::var("LISTEN_PID") != Ok(std::process::id().to_string()) {
        return TcpListener::bind(address).await;
    }
    // SAFETY: descriptor 3 was passed to this process, and nothing else here uses it.
    let listener = unsafe { std::net::TcpListener::from_raw_fd(3) };
    listener.set_nonblocking(true)?;
    TcpListener::from_std(listener)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let address = env::args().nth(1).ok_or("usage: axum_server ADDRESS:PORT")?;
    let traffic = Arc::new(Traffic::default());
    let work = async || {
        sleep(Duration::from_millis(100)).await;
        "hello\n"
    };
    let router =
        Router::new().route("/", get(work)).layer(from_fn_with_state(Arc::clone(&traffic), count));
    let (stop, stopped) = oneshot::channel::<()>();
    let mut signals = Signals::new([SIGUSR1, SIGTERM])?;
    thread::spawn(move || {
        // The server ends at SIGTERM, with or without a drain before.
        if signals.forever().next() == Some(SIGUSR1) {
            thread::spawn(move || {
                drain(&traffic).unwrap_or_else(|error| eprintln!("cannot say so: {error}"));
            });
            signals.forever().find(|signal| *signal == SIGTERM);
        }
        drop(stop);
    });
    let listener = listener(&address).await?;
    tell("READY=1")?;
    let until = async { stopped.await.unwrap_or_default() };
    Ok(axum::serve(listener, router).with_graceful_shutdown(until).await?)
}
