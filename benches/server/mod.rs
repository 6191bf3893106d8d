//! The server of the load benches. It speaks HTTP/1.1 with WebSockets, HTTP/2 with gRPC, and TCP,
//! and is as polite as each protocol permits.

mod http1;
mod http2;
mod tcp;

use std::io;

use tokio::net::TcpStream;
use tokio::sync::watch;

use crate::load::Protocol;

/// The phase of the server on the way to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Serves as usual.
    Serving,
    /// Announces the end of its connections to the clients.
    Draining,
    /// Drains, and accepts no connection.
    Stopping,
}

/// The phase as seen by one connection or listener.
pub type Phases = watch::Receiver<Phase>;

/// Returns when the phase is at least this one.
pub async fn reached(phases: &mut Phases, phase: Phase) {
    // The sender lives as long as the process.
    let _ = phases.wait_for(|now| *now >= phase).await;
}

/// Serves a connection of clients with this protocol.
pub async fn serve(stream: TcpStream, protocol: Protocol, phases: Phases) -> io::Result<()> {
    stream.set_nodelay(true)?;
    match protocol {
        Protocol::Http1 | Protocol::WebSocket => http1::serve(stream, phases).await,
        Protocol::Http2 | Protocol::Grpc => http2::serve(stream, phases).await,
        Protocol::Tcp => tcp::serve(stream).await,
    }
}
