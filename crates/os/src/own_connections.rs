//! The TCP connections that drainit itself makes to servers. drainit may close its side before the
//! server does, so the addresses of the latest connections are kept.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::Mutex;

use tokio::net::TcpStream;

use crate::on_thread::locked;

/// As many connections as the usual accept queue of a server that hangs. The number is small,
/// because a client of the same address may get a port that drainit has had.
const MOST: usize = 128;

/// drainit's address and the server's address of each connection; the latest connection is last.
static RECENT: Mutex<VecDeque<(SocketAddr, SocketAddr)>> = Mutex::new(VecDeque::new());

/// Connects to a server, to probe it or to ask it to drain.
///
/// # Errors
/// Fails as [`TcpStream::connect`].
pub async fn connect(server: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(server).await?;
    let pair = (canonical(&stream.local_addr()?), canonical(&stream.peer_addr()?));
    let mut all = locked(&RECENT);
    all.push_back(pair);
    if all.len() > MOST {
        all.pop_front();
    }
    drop(all);
    Ok(stream)
}

/// The address with an IPv4 address in place of an IPv6 address that stands for it.
pub(crate) fn canonical(at: &SocketAddr) -> SocketAddr {
    SocketAddr::new(at.ip().to_canonical(), at.port())
}

/// Both addresses of each of the latest connections, drainit's address first.
pub(crate) fn recent() -> Vec<(SocketAddr, SocketAddr)> {
    locked(&RECENT).iter().copied().collect()
}

/// Whether a connection between these addresses is one of the latest.
pub(crate) fn is_recent(own: SocketAddr, server: SocketAddr) -> bool {
    locked(&RECENT).contains(&(own, server))
}
