//! The service behind both pods, for the answers that Envoy cannot give by itself: slow and
//! streamed answers, WebSockets and TCP.

use std::io;
use std::net::SocketAddr;

use benches::load::Protocol;
use benches::server::{Phase, serve};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::node;

/// A running service, which ends when it is dropped.
#[derive(Debug)]
pub(crate) struct Upstream {
    /// The address for HTTP/1.1.
    pub(crate) http: SocketAddr,
    /// The address for TCP, where the service echoes all data.
    pub(crate) echo: SocketAddr,
    _tasks: JoinSet<()>,
    /// The service never drains.
    _phase: watch::Sender<Phase>,
}

impl Upstream {
    /// Starts the service as tasks of the current runtime.
    pub(crate) async fn start() -> io::Result<Self> {
        let (phase, phases) = watch::channel(Phase::Serving);
        let mut tasks = JoinSet::new();
        let mut addresses = Vec::new();
        for protocol in [Protocol::Http1, Protocol::Tcp] {
            let listener = TcpListener::bind((node::ADDRESS, 0)).await?;
            addresses.push(listener.local_addr()?);
            let phases = phases.clone();
            tasks.spawn(async move {
                while let Ok((stream, _)) = listener.accept().await {
                    // The client decides whether the end of a connection is a failure.
                    tokio::spawn(serve(stream, protocol, phases.clone()));
                }
            });
        }
        Ok(Self { http: addresses[0], echo: addresses[1], _tasks: tasks, _phase: phase })
    }
}
